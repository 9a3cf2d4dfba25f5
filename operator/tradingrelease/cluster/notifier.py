"""Tells people and programs what happened: beside the looks at releases, and only while this process leads.

One task a target, with a queue of its own: one that hangs delays neither another nor any release. Messages go through
Apprise in a process of their own that is killed when its time is up; CloudEvents are posted from here. The URL of a
target is read from its file when something is sent, and goes into no log, status, Event or metric.
"""

import asyncio
import json
import logging
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from tradingrelease import telemetry
from tradingrelease.clock import monotonic
from tradingrelease.cluster.cache import Cache
from tradingrelease.cluster.ledger import LAZY, Ledger, Waiting
from tradingrelease.cluster.webhook import TIMEOUT, EmptyKeyError, NoAnswer, key_in, post, signed
from tradingrelease.errors import seconds_of
from tradingrelease.policy import cloudevent
from tradingrelease.policy.memory import stamp
from tradingrelease.policy.messages import MOST, News, data
from tradingrelease.policy.model import Key
from tradingrelease.policy.notifications import SINK, Bucket, Notifications, Sink, Target, backoff
from tradingrelease.policy.reasons import Severity

log: Final = logging.getLogger("tradingrelease.notifications")

PATIENCE: Final = 60.0
"""Seconds after which the process that sends a message is killed."""
CONCURRENT: Final = 4
"""Such processes at a time: each takes 50 MB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending."""

    sent: bool
    said: str = ""
    """Why not. Never a word of what a receiver answered, nor where it is."""
    retry_after: float = 0.0
    refused: bool = False
    """The receiver takes everything but this: to send it again is of no use."""


class Way(Protocol):
    """A way to somebody who is told."""

    most: int
    """Transitions in one go."""

    def wait(self, first: float, *, urgent: bool, now: float) -> float:
        """Return in how many seconds to send what began to wait at `first` (monotonic)."""

    async def send(self, batch: Sequence[News]) -> Answer:
        """Send a batch, in bounded time. Raises nothing."""


class Notifier:
    """Keeps one task a target, for as long as this process leads."""

    def __init__(  # noqa: PLR0913, PLR0917 - it joins what others hold
        self,
        ledger: Ledger,
        cache: Cache,
        config: Notifications,
        secrets: Path,
        clock: Callable[[], datetime],
        wake: Callable[[Key, float], None],
        leads: Callable[[], bool],
    ) -> None:
        self._ledger, self._cache, self._config = ledger, cache, config
        self._clock, self._wake, self._leads = clock, wake, leads
        limit = asyncio.Semaphore(CONCURRENT)
        self._ways: dict[str, Way] = {
            name: Messages(secrets / name, config.cluster, target, limit) for name, target in config.targets.items()
        }
        if config.cloud_events:
            self._ways[SINK] = Events(secrets, config.cluster, config.cloud_events, clock)
        self._changed: set[Key] = set()
        self._stirred = asyncio.Event()
        self._more = {name: asyncio.Event() for name in self._ways}
        ledger.listener = self.changed

    def changed(self, key: Key) -> None:
        """Take note that a release's status may tell of something new. Costs nothing: the caller is on its way."""
        if self._ways:
            self._changed.add(key)
            self._stirred.set()

    async def run(self) -> None:
        """Tell everybody everything that statuses say and nobody was told; ends only by being cancelled."""
        self._ledger.clear()
        for key in self._cache.releases():
            self.changed(key)
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, way in self._ways.items():
                    tasks.create_task(self._keep_telling(name, way))
                tasks.create_task(self._keep_taking_in())
        finally:
            self._ledger.clear()

    async def _keep_taking_in(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._changed:
                key = self._changed.pop()
                try:
                    self._ledger.take_in(key)
                except Exception:
                    # One status that nobody can read must not silence all others.
                    log.exception("the transitions of %s", key)
            for name, queue in self._ledger.queues.items():
                if queue:
                    self._more[name].set()

    async def _keep_telling(self, name: str, way: Way) -> None:
        failures = 0
        while True:
            try:
                batch = await self._gather(name, way)
                if not self._leads():
                    await asyncio.sleep(1)  # another process may be telling by now: whoever leads then goes on
                    continue
                answer = await way.send([waiting.news for waiting in batch])
            except Exception:
                # An error of ours in one target must end neither the others nor the process.
                log.exception("notifications for %s", name)
                batch, answer = [], Answer(sent=False, said="an error of the operator: see its log")
            if answer.sent:
                failures = 0
                telemetry.NOTIFICATIONS_SENT.labels(name).inc(len(batch))
                for key in self._ledger.sent(name, batch):
                    self._wake(key, LAZY)
            elif answer.refused:
                telemetry.NOTIFICATIONS_DROPPED.labels(name, "refused").inc(len(batch))
                log.warning("notifications for %s: dropped, since it answered %s", name, answer.said)
                self._ledger.done(name, batch)
            else:
                failures += 1
                telemetry.NOTIFICATIONS_FAILED.labels(name).inc()
                wait = backoff(failures, answer.retry_after) * random.uniform(1.0, 1.2)  # noqa: S311 - spreads load
                log.warning("notifications for %s: %s; again in %.0f s", name, answer.said, wait)
                await asyncio.sleep(wait)

    async def _gather(self, name: str, way: Way) -> list[Waiting]:
        """Wait for something to tell, and for its time. Returns what is told together, oldest first."""
        queue, more = self._ledger.queues[name], self._more[name]
        first = 0.0
        while True:
            self._drop_old(name)
            if not queue:
                first = 0.0
                more.clear()
                await more.wait()
                continue
            first = first or monotonic()
            urgent = any(waiting.news.what.severity is Severity.CRITICAL for waiting in queue)
            if (wait := way.wait(first, urgent=urgent or len(queue) >= way.most, now=monotonic())) <= 0:
                return [queue[i] for i in range(min(len(queue), way.most))]
            more.clear()
            try:
                async with asyncio.timeout(wait):
                    await more.wait()
            except TimeoutError:
                continue

    def _drop_old(self, name: str) -> None:
        queue, since = self._ledger.queues[name], self._clock() - self._config.keep_for
        old = [waiting for waiting in queue if waiting.news.what.at < since]
        if old:
            telemetry.NOTIFICATIONS_DROPPED.labels(name, "old").inc(len(old))
            log.warning("notifications for %s: %d dropped, since they could not be sent in time", name, len(old))
            self._ledger.done(name, old)

    def measure(self) -> None:
        """Tell Prometheus how much waits, and for how long."""
        for name, queue in self._ledger.queues.items():
            oldest = (self._clock() - queue[0].news.what.at).total_seconds() if queue else 0.0
            telemetry.NOTIFICATIONS_OLDEST.labels(name).set(max(oldest, 0.0))
            telemetry.NOTIFICATIONS_WAITING.labels(name).set(len(queue))


class Messages:
    """Messages for people, through Apprise: batched, and not too many."""

    most = MOST

    def __init__(self, file: Path, cluster: str, target: Target, limit: asyncio.Semaphore) -> None:
        self._file, self._cluster, self._limit = file, cluster, limit
        self._batch = target.batch.total_seconds()
        self._bucket = Bucket.of(target, monotonic())

    def wait(self, first: float, *, urgent: bool, now: float) -> float:
        """Wait for more, unless it is urgent, and for the rate that is allowed."""
        return max(0.0 if urgent else first + self._batch - now, self._bucket.wait(now))

    async def send(self, batch: Sequence[News]) -> Answer:
        """Send one message by a process of its own."""
        async with self._limit:
            self._bucket = self._bucket.taken(monotonic())
            order = {
                "file": str(self._file),
                "cluster": self._cluster,
                "transitions": [data(news, self._cluster) for news in batch],
            }
            try:
                return await _deliver(json.dumps(order))
            except OSError as error:
                return Answer(sent=False, said=f"no process to send it by ({type(error).__name__})")


async def _deliver(order: str) -> Answer:
    """Give an order to `tradingrelease.courier`. What it says besides its answer may hold a URL: nobody reads it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tradingrelease.courier",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            said, _ = await process.communicate(order.encode())
        answer = json.loads(said)
        return Answer(bool(answer["sent"]), str(answer["said"]), float(answer["retryAfter"]))
    except TimeoutError:
        return Answer(sent=False, said=f"no end within {PATIENCE:g} s")
    except (ValueError, KeyError, TypeError):
        return Answer(sent=False, said=f"the process that sends it ended with code {process.returncode}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Events:
    """Every transition as a CloudEvent, one request each, in order."""

    most = 1

    def __init__(self, secrets: Path, cluster: str, sink: Sink, clock: Callable[[], datetime]) -> None:
        self._secrets, self._cluster, self._clock = secrets, cluster, clock
        self._encode = cloudevent.binary if sink.mode == "binary" else cloudevent.structured

    def wait(self, first: float, *, urgent: bool, now: float) -> float:
        """Wait for nothing."""
        return 0.0

    async def send(self, batch: Sequence[News]) -> Answer:
        """Post one event."""
        (news,) = batch
        what = news.what
        body = cloudevent.event(
            news.key,
            kind=f"release.{what.reason}",
            identity=what.id,
            subject=what.revision or news.key.name,
            time=stamp(what.at),
            data=data(news, self._cluster),
        )
        headers, text = self._encode(body)
        try:
            # Read anew each time: a mounted Secret is rotated under us.
            url = (self._secrets / SINK).read_text().strip()
            file = self._secrets / f"{SINK}-key"
            key = key_in(file) if file.exists() else b""
        except EmptyKeyError:
            return Answer(sent=False, said=f"file {file.name} of the Secret is empty: nothing is sent unsigned")
        except (OSError, ValueError) as error:
            return Answer(sent=False, said=f"file {SINK} of the Secret cannot be read ({type(error).__name__})")
        if not url.startswith(("http://", "https://")):
            return Answer(sent=False, said=f"file {SINK} of the Secret: write a URL with http:// or https://")
        try:
            status, after = await post(url, text, headers | signed(key, what.id, text, self._clock()), TIMEOUT)
        except NoAnswer as error:
            return Answer(sent=False, said=str(error))
        return judge(status, after)


def judge(status: int, retry_after: str) -> Answer:
    """Judge what a sink answered: an event that it finds wrong or too large is so for ever, all else may be cured."""
    wait = seconds_of(retry_after)
    return Answer(200 <= status < 300, f"HTTP {status}", wait, refused=status in {400, 413, 415, 422})
