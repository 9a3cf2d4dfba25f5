"""Follows the logs of the pods that are judged, and of no others, through the API server.

Each log is read twice: a stream follows it, so that no whole line is lost when it is rotated, and each measurement
reads it to its end, which proves that it can be read and that nothing is behind. A stream may end at any time (a
container that is started again, an API server that goes away); lines that come twice are taken once (lines.py).
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from tradingrelease.cluster.api import Api
from tradingrelease.cluster.measure.lines import SECOND, Line, Once, Reading, Split, parsed
from tradingrelease.errors import ClusterError, Invalid, NotFound
from tradingrelease.policy import patterns, redaction
from tradingrelease.policy.check_spec import LogsCheck
from tradingrelease.policy.measurements import Finding, LogSubject, Measurement, Verdict

MINUTE: Final = 60
KEPT: Final = 10 * MINUTE
"""Seconds for which bad lines are remembered, for one that is read late."""
AGAIN: Final = 1.0
"""Seconds between two attempts to open a log."""
LONGEST_WORDS: Final = 200
BEFORE_ALL: Final = datetime.fromtimestamp(0, UTC)


def redacted(text: str) -> str:
    """Return the beginning of a line without what looks like a secret or would break a log of ours."""
    return redaction.redacted(text[:4096])[:LONGEST_WORDS]


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """One container."""

    namespace: str
    pod: str
    container: str


@dataclass(slots=True)
class Bad:
    """The bad lines of all pods of one check."""

    seconds: Counter[int] = field(default_factory=Counter)
    """How many were written in each second of late."""
    fresh: set[int] = field(default_factory=set)
    """Seconds of those that were found since this was last asked."""
    count: int = 0
    first: str = ""

    def take(self, line: Line, *, show: bool = False) -> None:
        """Count a bad line. `show`: the words of the first are kept."""
        self.count += 1
        if show and not self.first:
            self.first = redacted(line.text)
        second = line.at // SECOND
        self.seconds[second] += 1
        self.fresh.add(second)

    def most(self, now: int) -> int:
        """Return the most in one minute: in the one that ends now, or in any with a line that was found since."""
        found = max(self._fresh_minutes(), default=0)
        found = max(found, sum(n for second, n in self.seconds.items() if now - MINUTE < second <= now))
        self.fresh.clear()
        for old in [second for second in self.seconds if second <= now - KEPT]:
            del self.seconds[old]
        return found

    def _fresh_minutes(self) -> Iterator[int]:
        """Yield how many were written in each minute that ends with a bad line and has one that was found since."""
        window: deque[int] = deque()
        within, newest_fresh = 0, -MINUTE
        for second in sorted(self.seconds):
            window.append(second)
            within += self.seconds[second]
            newest_fresh = second if second in self.fresh else newest_fresh
            while window[0] <= second - MINUTE:
                within -= self.seconds[window.popleft()]
            if newest_fresh > second - MINUTE:
                yield within


class Log:
    """The log of one container, of which everything counts that is written from a moment on."""

    def __init__(
        self, api: Api, where: Where, since: datetime, now: Callable[[], datetime], take: Callable[[Line], None]
    ) -> None:
        self._api, self._where, self._now, self._take = api, where, now, take
        self._once = Once(since)
        self._looked = False
        self._ready = asyncio.Event()
        self._restarts = 0
        self._read_to = 0

    @property
    def is_followed(self) -> bool:
        """Whether it was found out where it stands."""
        return self._ready.is_set()

    async def follow(self) -> None:
        """Read lines as they are written, until the pod is gone. A log that is rotated meanwhile is read on.

        It begins within the first `catch_up`, once that has read what the container before this one left: of two that
        write much, the first would be forgotten for the second.
        """
        await self._ready.wait()
        while True:
            try:
                await self._read(Reading(self._once, followed=True), {"follow": "true", "sinceTime": self._once.since})
            except NotFound:
                return
            except ClusterError:
                pass  # `catch_up` says what is wrong
            await asyncio.sleep(AGAIN)

    async def catch_up(self, restarts: int) -> None:
        """Read to the end of what is written now. Raises ClusterError where that cannot be done."""
        if not self._looked:
            await self._look()
            self._looked = True
        begun = self._once.newest
        try:
            if restarts > self._restarts:
                since = self._once.since_before(self._read_to)
                with suppress(Invalid, NotFound):  # the container before this one left no log
                    await self._read(Reading(self._once, over=True), {"previous": "true", "sinceTime": since})
        finally:
            self._ready.set()
        await self._read(Reading(self._once), {"sinceTime": self._once.since})
        self._restarts, self._read_to = restarts, begun

    def doubt(self) -> str:
        """Say why lines may have been missed since this was last asked; "" if there is no reason to think so."""
        return self._once.doubt(self._now())

    async def _look(self) -> None:
        """Find out where the log stands, before anything of it is taken."""
        split = Split()
        async for chunk in self._open({"tailLines": "1"}):
            for raw in split.cut(chunk):
                self._last(raw)
        self._last(split.rest)

    def _last(self, raw: bytes) -> None:
        if line := parsed(raw):
            self._once.stands_at(line.at, self._now())

    async def _read(self, reading: Reading, how: dict[str, str]) -> None:
        async for chunk in self._open(how):
            for line in reading.hear(chunk):
                self._take(line)
        for line in reading.end():
            self._take(line)

    def _open(self, how: dict[str, str]) -> AsyncIterator[bytes]:
        query = {"container": self._where.container, "timestamps": "true", **how}
        return self._api.log(self._where.namespace, self._where.pod, query)


class LogReader:
    """The logs of one check: whom it reads, and what was bad in them."""

    def __init__(self, api: Api, now: Callable[[], datetime], namespace: str) -> None:
        self._api, self._now, self._namespace = api, now, namespace
        self._bad = Bad()
        self._logs: dict[Where, tuple[Log, asyncio.Task[None]]] = {}

    async def measure(self, measurement: Measurement, check: LogsCheck) -> Finding:
        """Read to the end of every log that is judged now; say what was bad since the last time."""
        subject = measurement.subject
        if not isinstance(subject, LogSubject):
            raise TypeError("a logs check reads pods")
        judged = [(Where(self._namespace, pod, name), restarts) for pod, name, restarts in sorted(subject.containers)]
        self._forget_gone({where for where, _ in judged})
        for where, _ in judged:
            if where not in self._logs:
                since = BEFORE_ALL if where.pod in subject.young else subject.since
                log = Log(self._api, where, since, self._now, lambda line: self._hear(line, check))
                self._logs[where] = (log, asyncio.create_task(log.follow()))
        seconds = measurement.check.timeout.total_seconds()
        # Each has its own time: what is bad in one log counts, also where another one hangs with its kubelet.
        readings = [asyncio.wait_for(self._logs[where][0].catch_up(restarts), seconds) for where, restarts in judged]
        results = await asyncio.gather(*readings, return_exceptions=True)
        return self._finding(check, [where for where, _ in judged], results)

    @property
    def followed(self) -> int:
        """How many logs are kept."""
        return len(self._logs)

    def _forget_gone(self, judged: set[Where]) -> None:
        """Forget the logs of pods that are gone. One that only ends is read to its end, though it is judged no more."""
        for where, (log, task) in list(self._logs.items()):
            if where not in judged and (task.done() or not log.is_followed):
                task.cancel()
                del self._logs[where]

    def _finding(self, check: LogsCheck, judged: list[Where], results: list[BaseException | None]) -> Finding:
        found = self._bad.most(int(self._now().timestamp()))
        if found > check.max_per_minute:
            text = f"{found} bad lines in a minute, {check.max_per_minute} allowed, {self._bad.count} in all"
            text += f"; the first: {self._bad.first}" if check.show_first_line else ""
            return Finding(Verdict.FAILED, text, float(found))
        for where, result in zip(judged, results, strict=True):
            if isinstance(result, (ClusterError, TimeoutError)):
                said = str(result) or "its log was not read to its end in time"
                text = " ".join(f"pod {where.pod}, container {where.container}: {said}".split())
                return Finding(Verdict.INCONCLUSIVE, text[:LONGEST_WORDS], float(found))
            if result is not None:
                raise result
            if doubt := self._logs[where][0].doubt():
                text = f"pod {where.pod}, container {where.container}: {doubt}"
                return Finding(Verdict.INCONCLUSIVE, text, float(found))
        if not judged:
            return Finding(Verdict.INCONCLUSIVE, "there is no pod to read")
        return Finding(Verdict.PASSED, f"{found} bad lines in a minute", float(found))

    def _hear(self, line: Line, check: LogsCheck) -> None:
        bad = patterns.matches(check.pattern, line.text)
        if bad and not (check.allow and patterns.matches(check.allow, line.text)):
            self._bad.take(line, show=check.show_first_line)

    def close(self) -> None:
        """Read nothing any more."""
        for _, task in self._logs.values():
            task.cancel()
        self._logs.clear()
