"""Follows the logs of the pods that are judged, and of no others, through the API server.

Each log is read twice: a stream follows it, so that nothing is lost when it is rotated, and each measurement reads it
to its end, which proves that it can be read and that nothing is behind. A stream may end at any time (a container that
is started again, an API server that goes away); lines that come twice are taken once (lines.py).
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from tradingrelease.cluster.api import Api
from tradingrelease.cluster.measure.lines import SECOND, Line, Once, Split, parsed
from tradingrelease.errors import ClusterError, Invalid, NotFound
from tradingrelease.policy import patterns
from tradingrelease.policy.check_spec import LogsCheck
from tradingrelease.policy.measurements import Finding, LogSubject, Measurement, Verdict

MINUTE: Final = 60
KEPT: Final = 10 * MINUTE
"""Seconds for which bad lines are remembered, for one that is read late."""
AGAIN: Final = 1.0
"""Seconds between two attempts to open a log."""
LONGEST_WORDS: Final = 200

_SECRETS: Final = (
    (re.compile(r"(?i)([a-z]+://)[^/\s:@]*:[^/\s@]*@"), r"\1***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+\S+"), r"\1 ***"),
    (
        re.compile(r"(?i)([\w-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|credential|authorization|cookie|session)[\w-]*[\"']?\s*[=:]\s*)(?:\"[^\"]*\"?|'[^']*'?|[^\s,;&]+)"),
        r"\1***",
    ),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.?[\w-]*"), "***"),
    (re.compile(r"\b[A-Za-z0-9+/_=-]{32,}"), "***"),
    (re.compile(r"\b(?:\d[ -]?){13,19}\b"), "***"),
)  # fmt: skip
"""What looks like a secret, and what stands in its place."""


def redacted(text: str) -> str:
    """Return the beginning of a line without what looks like a secret or would break a log of ours."""
    words = "".join(char if char.isprintable() else " " for char in text[:4096])
    for pattern, instead in _SECRETS:
        words = pattern.sub(instead, words)
    return words[:LONGEST_WORDS]


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

    def take(self, line: Line) -> None:
        """Count a bad line."""
        self.count += 1
        self.first = self.first or redacted(line.text)
        second = line.at // SECOND
        self.seconds[second] += 1
        self.fresh.add(second)

    def most(self, now: int) -> int:
        """Return the most in one minute: in the one that ends now, or in any with a line that was found since."""
        ends = {s for s in self.seconds if any(s - MINUTE < f <= s for f in self.fresh)} if self.fresh else set()
        found = [self._in_minute(end) for end in ends]
        found.append(sum(n for second, n in self.seconds.items() if second > now - MINUTE))
        self.fresh.clear()
        for old in [second for second in self.seconds if second <= now - KEPT]:
            del self.seconds[old]
        return max(found)

    def _in_minute(self, end: int) -> int:
        return sum(self.seconds.get(second, 0) for second in range(end - MINUTE + 1, end + 1))


class Log:
    """The log of one container."""

    def __init__(self, api: Api, where: Where, since: datetime, take: Callable[[Line], None]) -> None:
        self._api, self._where, self._take = api, where, take
        self._once = Once(since)
        self._restarts = 0

    async def follow(self) -> None:
        """Read lines as they are written, until the pod is gone. A log that is rotated meanwhile is read on."""
        while True:
            try:
                await self._read({"follow": "true"})
            except NotFound:
                return
            except ClusterError:
                pass  # `catch_up` says what is wrong
            await asyncio.sleep(AGAIN)

    async def catch_up(self, restarts: int) -> None:
        """Read to the end of what is written now. Raises ClusterError where that cannot be done."""
        if restarts > self._restarts:
            with suppress(Invalid, NotFound):  # the container before this one left no log
                await self._read({"previous": "true"})
        await self._read({})
        self._restarts = restarts

    async def _read(self, how: dict[str, str]) -> None:
        query = {"container": self._where.container, "timestamps": "true", "sinceTime": self._once.since, **how}
        split, reading = Split(), Counter[Line]()
        async for chunk in self._api.log(self._where.namespace, self._where.pod, query):
            self._hear(split.cut(chunk), reading)
        self._hear(split.rest(), reading)

    def _hear(self, raws: Iterator[bytes], reading: Counter[Line]) -> None:
        for raw in raws:
            line = parsed(raw)
            if line and self._once.new(line, reading):
                self._take(line)


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
        for where, _ in judged:
            if where not in self._logs:
                log = Log(self._api, where, subject.since, lambda line: self._hear(line, check))
                self._logs[where] = (log, asyncio.create_task(log.follow()))
        readings = [self._logs[where][0].catch_up(restarts) for where, restarts in judged]
        async with asyncio.timeout(measurement.check.timeout.total_seconds()):
            results = await asyncio.gather(*readings, return_exceptions=True)
        return self._finding(check, [where for where, _ in judged], results)

    def _finding(self, check: LogsCheck, judged: list[Where], results: list[BaseException | None]) -> Finding:
        found = self._bad.most(int(self._now().timestamp()))
        if found > check.max_per_minute:
            text = f"{found} bad lines in a minute, {check.max_per_minute} allowed, {self._bad.count} in all"
            text += f"; the first: {self._bad.first}" if check.show_first_line else ""
            return Finding(Verdict.FAILED, text, float(found))
        for where, result in zip(judged, results, strict=True):
            if isinstance(result, ClusterError):
                text = " ".join(f"pod {where.pod}, container {where.container}: {result}".split())
                return Finding(Verdict.INCONCLUSIVE, text[:LONGEST_WORDS], float(found))
            if result is not None:
                raise result
        if not judged:
            return Finding(Verdict.INCONCLUSIVE, "there is no pod to read")
        return Finding(Verdict.PASSED, f"{found} bad lines in a minute", float(found))

    def _hear(self, line: Line, check: LogsCheck) -> None:
        bad = patterns.matches(check.pattern, line.text)
        if bad and not (check.allow and patterns.matches(check.allow, line.text)):
            self._bad.take(line)

    def close(self) -> None:
        """Read nothing any more."""
        for _, task in self._logs.values():
            task.cancel()
        self._logs.clear()
