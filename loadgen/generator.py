"""The schedule: every request is sent when it is due, whatever became of the others."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadgen.client import Client, Exchange, NoAnswerError, Site
from loadgen.record import Mode, Record

Write = Callable[[str], None]

KEPT_CONNECTIONS = 6  # per target: enough to reach every pod of a few


@dataclass(frozen=True)
class Plan:
    """What to send."""

    targets: Sequence[tuple[str, str]]  # (name, URL)
    rate: float  # requests per second, all together
    modes: Sequence[Mode]
    timeout: float
    seconds: float | None = None  # None: until told to stop
    lifetime: int = 0  # how many requests a kept connection serves; 0: no limit


@dataclass
class Clock:
    """The epoch's time by the monotonic clock: a step of the wall clock cannot reorder records."""

    offset: float = field(default_factory=lambda: time.time_ns() / 1e9 - time.monotonic())

    def epoch(self, monotonic: float) -> float:
        """Turn a monotonic time into seconds since the epoch."""
        return monotonic + self.offset


@dataclass
class Stream:
    """The requests of one target in one mode, evenly spaced."""

    target: str
    mode: Mode
    client: Client
    timeout: float
    clock: Clock
    write: Write
    sent: set[asyncio.Task[None]] = field(default_factory=set)
    count: int = 0

    async def run(self, first: float, interval: float, end: float, stop: asyncio.Event) -> None:
        """Send from `first` on, every `interval`; held up, catch up and leave none out."""
        due, number = first, 0
        # A sum of many intervals is not exact: what is due at the end itself is not sent, by a thousandth of one.
        while end - due > interval / 1000 and not await _wait(stop, due - time.monotonic()):
            task = asyncio.create_task(self._one(due))
            self.sent.add(task)
            task.add_done_callback(self.sent.discard)
            number += 1
            due = first + number * interval

    async def finish(self) -> None:
        """Wait for the answers that are still due."""
        while self.sent:
            await asyncio.wait(self.sent)
        self.client.close()

    async def _one(self, due: float) -> None:
        exchange, status, error = Exchange(), 0, ""
        try:
            # From now, not from `due`: how late this process is must not make a server's answer late.
            async with asyncio.timeout(self.timeout):
                status = (await self.client.get(exchange)).status
        except NoAnswerError as failure:
            error = str(failure)
        except TimeoutError:
            error = f"timeout: no answer in {self.timeout:g} s"
        self.count += 1
        self.write(self._record(due, exchange, status, error).to_json())

    def _record(self, due: float, exchange: Exchange, status: int, error: str) -> Record:
        now, connection = time.monotonic(), exchange.connection
        return Record(
            due=self.clock.epoch(due),
            target=self.target,
            mode=self.mode,
            lag_ms=((exchange.sent or now) - due) * 1000,
            latency_ms=(now - due) * 1000,
            status=status,
            error=error,
            version=connection.version if connection else "",
            pod=connection.pod if connection else "",
            reused=exchange.reused,
            retried=exchange.retried,
        )


async def generate(plan: Plan, write: Write, stop: asyncio.Event) -> None:
    """Carry out a plan; the last line counts the records, so that a reader knows it has them all."""
    clock, streams = Clock(), []
    for name, url in plan.targets:
        site = await Site.find(url)
        for mode in plan.modes:
            client = Client(site, KEPT_CONNECTIONS if mode is Mode.KEEPALIVE else 0, plan.lifetime)
            streams.append(Stream(name, mode, client, plan.timeout, clock, write))
    interval, start = len(streams) / plan.rate, time.monotonic()
    end = float("inf") if plan.seconds is None else start + plan.seconds
    phases = [start + interval * number / len(streams) for number in range(len(streams))]
    await asyncio.gather(
        *(stream.run(first, interval, end, stop) for stream, first in zip(streams, phases, strict=True))
    )
    await asyncio.gather(*(stream.finish() for stream in streams))
    write(json.dumps({"end": sum(stream.count for stream in streams)}))


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for a moment; True if told to stop before it came."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return stop.is_set()
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False
