"""From a freeze and the moment to its status. Computed, never set by hand; equal where nothing changed."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from tradingrelease.policy import conditions
from tradingrelease.policy.calendars import NoCalendar, said
from tradingrelease.policy.freezes import RENEW_BEFORE, Freeze
from tradingrelease.policy.memory import people_out
from tradingrelease.policy.model import Override
from tradingrelease.policy.windows import Sessions, Unreadable, Verdict

KEPT: Final = 20
Json = dict[str, Any]
Statement = tuple[str, str, str, str]
"""Type, status, reason, message."""


def status_of(
    freeze: Freeze,
    now: datetime,
    generation: int,
    before: Mapping[str, Any],
    overridden: Iterable[tuple[str, Override]],
) -> Json:
    """Return the status of a freeze. `overridden`: what releases remember of its Overrides now."""
    verdict = freeze.look(now)
    statements = [
        _active(freeze, verdict),
        *([_calendar(freeze.window, now)] if isinstance(freeze.window, Sessions) else []),
    ]
    stored = {c.get("type"): c for c in before.get("conditions") or ()}
    found = {
        "observedGeneration": generation,
        "active": verdict.active,
        "until": verdict.until and said(verdict.until),
        "begins": verdict.begins and said(verdict.begins),
        "calendarEnds": freeze.calendar_ends and said(freeze.calendar_ends),
        "overrides": _overrides(before.get("overrides") or (), overridden) or None,
        "conditions": [
            conditions.stated(kind, conditions.Verdict(*said_of_it), stored.get(kind) or {}, generation, now)
            for kind, *said_of_it in statements
        ],
    }
    return {key: value for key, value in found.items() if value is not None}


def warns_from(freeze: Freeze) -> datetime | None:
    """Return from when a freeze says that its calendar runs out."""
    ends = freeze.calendar_ends
    return ends - RENEW_BEFORE if ends else None


def _active(freeze: Freeze, verdict: Verdict) -> Statement:
    if isinstance(freeze.window, Unreadable):
        return "Active", "True", "Unreadable", f"nothing starts or switches: {verdict.why}"
    if verdict.active:
        until = f"until {said(verdict.until)}" if verdict.until else "until further notice"
        return "Active", "True", "Frozen", f"nothing starts or switches {until} ({verdict.why})"
    if verdict.begins:
        return "Active", "False", "Waiting", f"it holds next from {said(verdict.begins)} ({verdict.why})"
    return "Active", "False", "Over", f"it is over ({verdict.why})"


def _calendar(window: Sessions, now: datetime) -> Statement:
    kind, calendar = "CalendarCurrent", window.calendar
    if isinstance(calendar, NoCalendar):
        return kind, "False", calendar.reason, f"{calendar.message}; until then everything is frozen"
    what = f"ConfigMap {window.name} knows the sessions of {calendar.market} until {said(calendar.ends)}"
    renew = f"export it anew: tradingrelease calendar export {calendar.market}"
    if now >= calendar.ends:
        return kind, "False", "RanOut", f"{what}, so everything is frozen: {renew}"
    if now >= calendar.ends - RENEW_BEFORE:
        return kind, "False", "RunsOutSoon", f"{what}, then everything is frozen: {renew}"
    return kind, "True", "Current", what


def _overrides(stored: Iterable[Mapping[str, Any]], overridden: Iterable[tuple[str, Override]]) -> list[Json]:
    """Return what is known of Overrides, newest first; what a release has forgotten since stays."""
    known = {(o["release"], o["revision"], o["attempt"]): dict(o) for o in stored}
    for release, override in overridden:
        known[release, override.revision, override.attempt] = {
            "release": release, "revision": override.revision, "attempt": override.attempt,
            "people": people_out(override),
        }  # fmt: skip
    # Two of one millisecond keep their places, or each look would write them anew.
    newest = sorted(
        known.values(),
        key=lambda o: (o["people"][-1]["at"] if o.get("people") else "", o["release"], o["revision"], o["attempt"]),
    )
    return newest[::-1][:KEPT]
