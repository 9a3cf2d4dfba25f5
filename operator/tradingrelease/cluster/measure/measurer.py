"""Keeps one task for each check that judges something now, and the tally of what each found."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Final

from tradingrelease import telemetry
from tradingrelease.cluster.api import Api
from tradingrelease.cluster.measure import http, prometheus, verdicts
from tradingrelease.cluster.measure.logs import LogReader
from tradingrelease.cluster.probe import without_verification
from tradingrelease.cluster.tasks import end
from tradingrelease.policy.measurements import Finding, Measurement, Tally, Verdict, counted, matters
from tradingrelease.policy.model import Key

log: Final = logging.getLogger("tradingrelease.measure")

CONCURRENT: Final = 64
SLACK: Final = 2.0
"""Seconds beyond a check's own timeout after which a measurement that does not end is ended."""

Place = tuple[str, str]


class Measurer:
    """What is measured is what it was last aimed at. `wake` is called when a decision may come out differently."""

    def __init__(self, wake: Callable[[Key], None], prometheus_url: str = "") -> None:
        self._wake = wake
        self._prometheus = prometheus_url
        self._aims: dict[Key, dict[Place, Measurement]] = defaultdict(dict)
        self._tasks: dict[Key, dict[Place, asyncio.Task[None]]] = defaultdict(dict)
        self._tallies: dict[Key, dict[Place, Tally]] = defaultdict(dict)
        self._readers: dict[Key, dict[Place, LogReader]] = defaultdict(dict)
        self._api: Api | None = None
        self._now: Callable[[], datetime] | None = None
        self._limit = asyncio.Semaphore(CONCURRENT)
        self._insecure = without_verification()

    def read_logs(self, api: Api, now: Callable[[], datetime]) -> None:
        """Read logs through this API server, by its clock."""
        self._api, self._now = api, now

    def tallies(self, key: Key) -> dict[Place, Tally]:
        """Return what was found of a release, by scope and check. A check that is begun has a tally."""
        return dict(self._tallies.get(key, ()))

    def aim(self, key: Key, wanted: frozenset[Measurement], now: datetime) -> None:
        """Measure exactly this from now on. What was found of anything else is forgotten.

        A check that goes on keeps its tally, though whom it asks may have changed: pods come and go.
        """
        aims = {m.place: m for m in wanted}
        tasks, tallies = self._tasks[key], self._tallies[key]
        for place in [p for p in tasks if p not in aims or aims[p].check != self._aims[key][p].check]:
            tasks.pop(place).cancel()
            tallies.pop(place, None)
            if reader := self._readers[key].pop(place, None):
                reader.close()
        self._aims[key] = aims
        for place in aims:
            if place not in tasks:
                tallies[place] = Tally(since=now)
                tasks[place] = asyncio.create_task(self._keep_measuring(key, place))
        if not aims:
            for held in (self._aims, self._tasks, self._tallies, self._readers):
                held.pop(key, None)

    async def close(self) -> None:
        """Stop measuring, and forget what was found."""
        await end(task for held in self._tasks.values() for task in held.values())
        for reader in [r for held in self._readers.values() for r in held.values()]:
            reader.close()
        for held in (self._aims, self._tasks, self._tallies, self._readers):
            held.clear()
        verdicts.forget()

    async def _keep_measuring(self, key: Key, place: Place) -> None:
        await asyncio.sleep(self._aims[key][place].delay.total_seconds())
        while True:
            measurement = self._aims[key][place]
            finding = await self._measure(key, measurement)
            self._count(key, place, finding)
            await asyncio.sleep(measurement.check.interval.total_seconds())

    def _count(self, key: Key, place: Place, finding: Finding) -> None:
        check = self._aims[key][place].check
        before = self._tallies[key][place]
        after = self._tallies[key][place] = counted(before, finding, check)
        telemetry.CHECKS.labels(check.kind, str(finding.verdict)).inc()
        telemetry.check_value(key.namespace, key.name, check.name, finding.value)
        if matters(before, after, check):
            log.info("check %s: %s", check.name, finding.said, extra={"release": str(key), "verdict": after.verdict})
            self._wake(key)

    async def _measure(self, key: Key, measurement: Measurement) -> Finding:
        seconds = measurement.check.timeout.total_seconds() + SLACK
        try:
            async with self._limit, asyncio.timeout(seconds):
                return await self._ask(key, measurement)
        except TimeoutError:
            return Finding(Verdict.INCONCLUSIVE, f"no finding within {seconds:g} s")
        except Exception as error:
            # A check that cannot be measured says nothing; it must not end the task that would find out later.
            log.exception("check %s cannot be measured", measurement.check.name)
            return Finding(Verdict.INCONCLUSIVE, f"cannot be measured ({type(error).__name__})")

    async def _ask(self, key: Key, measurement: Measurement) -> Finding:
        check = measurement.check
        if check.http:
            return await http.measure(measurement, check.http, self._insecure)
        if check.prometheus:
            return await prometheus.measure(measurement, check.prometheus, self._prometheus)
        if check.logs and self._api and self._now:
            readers, place = self._readers[key], measurement.place
            if place not in readers:
                readers[place] = LogReader(self._api, self._now, key.namespace)
            return await readers[place].measure(measurement, check.logs)
        raise TypeError(f"a check of kind {check.kind} is not measured")
