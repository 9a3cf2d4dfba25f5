"""What freezes say of themselves: their calendars are read, their status is written when it changes, at its moment.

Beside the looks at releases: a calendar that cannot be read, or an API server that hangs, delays no rollback. Writes
nothing but the status of ReleaseFreezes.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tradingrelease import telemetry
from tradingrelease.clock import ServerClock
from tradingrelease.cluster.api import CALENDARS, FREEZES, Api
from tradingrelease.cluster.cache import Cache
from tradingrelease.cluster.project import FreezeRead
from tradingrelease.errors import ClusterError, Conflict, Forbidden, NotFound, NotLeading
from tradingrelease.policy import writes
from tradingrelease.policy.calendars import NOT_READ, Calendar, NoCalendar, parse
from tradingrelease.policy.freeze_status import status_of, warns_from
from tradingrelease.policy.freezes import Freeze
from tradingrelease.policy.model import Key

log: Final = logging.getLogger("tradingrelease.freezes")

RETRY: Final = 5.0
"""Seconds after which a status that could not be written, or a calendar that could not be read, is tried again."""
SOON: Final = timedelta(milliseconds=50)

Place = tuple[str, str]


class Calendars:
    """ConfigMaps with calendars, as last read: by name, one GET each, since more would be a right to read them all."""

    def __init__(self) -> None:
        self._read: dict[Place, Calendar | NoCalendar] = {}

    def known(self, freeze: Freeze, namespace: str) -> Freeze:
        """Return a freeze with its calendar as last read."""
        if not freeze.calendar:
            return freeze
        return freeze.knowing(self._read.get((namespace, freeze.calendar), NOT_READ))

    async def refresh(self, api: Api, cache: Cache, *, only_lacking: bool = False) -> set[Key]:
        """Read the calendars that freezes name, or only those that are lacking yet.

        Returns the releases that a change of one concerns.
        """
        wanted = {(f.namespace, f.freeze.calendar) for f in cache.all_freezes() if f.freeze.calendar}
        self._read = {place: found for place, found in self._read.items() if place in wanted}
        changed = set()
        for place in sorted(wanted):
            if only_lacking and isinstance(self._read.get(place), Calendar):
                continue
            found = await _read(api, place, self._read.get(place))
            if found != self._read.get(place):
                self._read[place] = found
                changed.add(place[0])
                log.info("calendar %s/%s: %s", *place, _in_words(found))
        return {key for key in cache.releases() if key.namespace in changed}


async def _read(api: Api, place: Place, before: Calendar | NoCalendar | None) -> Calendar | NoCalendar:
    namespace, name = place
    try:
        raw = await api.get(CALENDARS, namespace, name)
    except NotFound:
        return NoCalendar(
            "Missing", f"its calendar, ConfigMap {name}, does not exist: apply what `calendar export` writes"
        )
    except Forbidden:
        text = f"the operator may not read ConfigMap {name}: apply the Role that `calendar export` writes with it"
        return NoCalendar("Forbidden", text)
    except ClusterError as error:
        # What was read before still holds: the calendar did not change because the API server hangs.
        return before or NoCalendar("NotRead", f"its calendar, ConfigMap {name}, could not be read yet: {error}"[:300])
    return parse(raw.get("data") or {})


def _in_words(found: Calendar | NoCalendar) -> str:
    if isinstance(found, NoCalendar):
        return found.message
    return f"{len(found.sessions)} sessions of {found.market} from {found.begins:%F} to {found.ends:%F}"


class Statuses:
    """Writes what freezes say of themselves."""

    def __init__(
        self, api: Api, cache: Cache, calendars: Calendars, clock: ServerClock, wake: Callable[[Key], None]
    ) -> None:
        self._api, self._cache, self._calendars, self._clock, self._wake = api, cache, calendars, clock, wake
        self.changed = asyncio.Event()
        """A freeze, or what was ordered about one, may have changed."""

    async def run(self) -> None:
        """Keep every status true, for as long as this process leads."""
        while True:
            self.changed.clear()
            try:
                wait = await self._round()
            except Exception:
                # What freezes say of themselves is for people: an error in it must stop no release.
                log.exception("statuses of freezes")
                wait = RETRY
            try:
                async with asyncio.timeout(wait):
                    await self.changed.wait()
            except TimeoutError:
                continue

    async def _round(self) -> float | None:
        """Write what changed. Returns in how many seconds something changes by itself."""
        for key in await self._calendars.refresh(self._api, self._cache, only_lacking=True):
            self._wake(key)
        now = self._clock.now()
        waits: list[float] = []
        for read in self._cache.all_freezes():
            freeze = self._calendars.known(read.freeze, read.namespace)
            try:
                await self._write(read, freeze, now)
            except Conflict:
                waits.append(0.2)
            except NotFound:
                continue
            except NotLeading:
                return None
            except ClusterError as error:
                log.warning("status of ReleaseFreeze %s/%s: %s", read.namespace, freeze.name, error)
                waits.append(RETRY)
            if freeze.calendar and freeze.calendar_ends is None:
                waits.append(RETRY)
            if changes := next_change(freeze, now):
                waits.append(max(changes - now, SOON).total_seconds())
        return min(waits, default=None)

    async def _write(self, read: FreezeRead, freeze: Freeze, now: datetime) -> None:
        overridden = self._cache.overrides(read.namespace, freeze)
        status = status_of(freeze, now, read.generation, read.status, overridden)
        if status == read.status:
            return
        if status["active"] != read.status.get("active"):
            log.info("ReleaseFreeze %s/%s: %s", read.namespace, freeze.name, status["conditions"][0]["message"])
        ops = list(writes.status(read.version, status))
        raw = await self._api.patch(FREEZES, read.namespace, freeze.name, ops, "status")
        self._cache.store(FREEZES, raw)


def next_change(freeze: Freeze, now: datetime) -> datetime | None:
    """Return when a freeze will say something else by the passing of time alone."""
    verdict = freeze.look(now)
    moments = [m for m in (verdict.until, verdict.begins, warns_from(freeze)) if m is not None and m > now]
    return min(moments, default=None)


def measure(cache: Cache, calendars: Calendars, now: datetime) -> None:
    """Tell Prometheus which freezes hold and when calendars run out."""
    telemetry.FREEZE_ACTIVE.clear()
    telemetry.CALENDAR_ENDS.clear()
    for read in cache.all_freezes():
        freeze = calendars.known(read.freeze, read.namespace)
        telemetry.FREEZE_ACTIVE.labels(read.namespace, freeze.name).set(freeze.look(now).active)
        if freeze.calendar:
            telemetry.CALENDAR_ENDS.labels(read.namespace, freeze.name, freeze.calendar).set(_ends(freeze))


def _ends(freeze: Freeze) -> float:
    ends = freeze.calendar_ends
    return ends.timestamp() if ends else 0.0
