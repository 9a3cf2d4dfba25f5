"""A ReleaseFreeze as a value: whom it holds, when, and in which words.

Pure: (freeze, what is known of its calendar, now) -> active?, until, why. Rules that act on it are in rules/freezes.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tradingrelease.policy.calendars import NOT_READ, Calendar, NoCalendar, said
from tradingrelease.policy.fields import UNREADABLE, duration
from tradingrelease.policy.windows import (
    WEEK,
    Between,
    Hours,
    Part,
    Sessions,
    Unreadable,
    Verdict,
    Weekly,
    Window,
    look,
)

RENEW_BEFORE: Final = timedelta(days=14)
"""So long before a calendar runs out a freeze says so."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of a label selector."""

    key: str
    operator: str
    """In, NotIn, Exists or DoesNotExist."""
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels satisfy it, as everywhere in Kubernetes."""
        found = labels.get(self.key)
        match self.operator:
            case "In":
                return found in self.values
            case "NotIn":
                return found not in self.values
            case "Exists":
                return found is not None
            case "DoesNotExist":
                return found is None
            case _:
                return True  # an operator of a later version: rather one release too many than one too few


@dataclass(frozen=True, slots=True)
class Freeze:
    """A declared time in which nothing may start or switch."""

    name: str
    uid: str
    reason: str
    author: str
    window: Window
    override_requires: int = 1
    selector: tuple[Requirement, ...] = ()
    """Empty: every release of the namespace."""

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it is about a release with these labels."""
        return all(requirement.holds(labels) for requirement in self.selector)

    @property
    def calendar(self) -> str:
        """Name of the ConfigMap with its calendar; "" where it needs none."""
        return self.window.name if isinstance(self.window, Sessions) else ""

    @property
    def calendar_ends(self) -> datetime | None:
        """When its calendar runs out; None where it has none that can be read."""
        window = self.window
        return window.calendar.ends if isinstance(window, Sessions) and isinstance(window.calendar, Calendar) else None

    def knowing(self, calendar: Calendar | NoCalendar) -> "Freeze":
        """Return the freeze with its calendar as it was read."""
        if not isinstance(self.window, Sessions):
            return self
        return replace(self, window=self.window.knowing(calendar))

    def look(self, now: datetime) -> Verdict:
        """Tell whether it holds now, until when, or when it does next."""
        return look(self.window, now)


@dataclass(frozen=True, slots=True)
class Hold:
    """What freezes say of a release now: the one that ends last speaks."""

    freeze: Freeze
    verdict: Verdict

    @property
    def message(self) -> str:
        """Return freeze, end and reason in one sentence."""
        freeze, verdict = self.freeze, self.verdict
        until = f"until {said(verdict.until)}" if verdict.until else "until further notice"
        return f"frozen {until} by ReleaseFreeze {freeze.name} ({verdict.why}): {freeze.reason}"


def latest(freezes: Iterable[Freeze], now: datetime) -> Hold | None:
    """Return the freeze that holds now and ends last; one whose end nobody knows ends after all others."""
    found = [Hold(freeze, verdict) for freeze in freezes if (verdict := freeze.look(now)).active]
    endless = datetime.max.replace(tzinfo=UTC)
    return max(found, key=lambda f: (f.verdict.until or endless, f.freeze.name), default=None)


def unreadable_all(message: str) -> Freeze:
    """Return what holds every release while freezes cannot be read at all."""
    return Freeze("unknown", "", message, "", Unreadable("freezes cannot be read"))


# --- from the object ------------------------------------------------------------------------------------------------


def parse(name: str, uid: str, spec: Mapping[str, Any]) -> Freeze:
    """Read a freeze. Never fails: a window that cannot be read holds, and says why."""
    selector: tuple[Requirement, ...] = ()
    try:
        selector = tuple(_requirements(spec.get("selector") or {}))
        window = _window(spec)
    except UNREADABLE as error:
        window = Unreadable(f"it cannot be read: {type(error).__name__} {error}"[:300])
    requires = spec.get("overrideRequires")
    return Freeze(
        name=name,
        uid=uid,
        reason=str(spec.get("reason") or "no reason given"),
        author=str(spec.get("author") or ""),
        window=window,
        override_requires=requires if isinstance(requires, int) else 1,
        selector=selector,
    )


def _window(spec: Mapping[str, Any]) -> Window:
    if between := spec.get("between"):
        return Between(_moment(between["from"]), _moment(between["to"]))
    if calendar := spec.get("calendar"):
        return Sessions(
            name=str(calendar["name"]),
            part=Part(calendar.get("sessions", Part.OPEN)),
            before=duration(calendar.get("before", "0s")),
            after=duration(calendar.get("after", "0s")),
            calendar=NOT_READ,
        )
    if weekly := spec.get("weekly"):
        return Weekly(tuple(_hours(entry) for entry in weekly))
    raise ValueError("write one of between, weekly and calendar")


def _hours(entry: Mapping[str, Any]) -> Hours:
    zone = str(entry["timeZone"])
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{zone!r} is no time zone: write one such as Europe/Zurich") from error
    days = tuple(day for day in WEEK if day in entry["days"])
    if len(days) != len(set(entry["days"])):
        raise ValueError(f"{entry['days']}: write days such as Monday")
    return Hours(days, _minutes(entry["from"]), _minutes(entry["to"]), zone)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    found = int(hours) * 60 + int(minutes)
    if not 0 <= found <= 1440:
        raise ValueError(f"{text!r} is no time of a day")
    return found


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _requirements(selector: Mapping[str, Any]) -> Iterable[Requirement]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield Requirement(key, "In", (value,))
    for entry in selector.get("matchExpressions") or ():
        yield Requirement(entry["key"], entry["operator"], tuple(entry.get("values") or ()))
