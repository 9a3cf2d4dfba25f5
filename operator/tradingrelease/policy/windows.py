"""When a freeze holds: windows of time as spans in UTC, from the clock of a place or the sessions of a market.

A window yields the spans that end after now, in any order, touching or overlapping as they come; `look` makes one
answer of them. All spans are half open: at its end a freeze is over.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from tradingrelease.policy.calendars import Calendar, NoCalendar, said

ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
"""Begin of a span that has none."""
NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""End of a span that has none, or whose end nobody knows."""

Span = tuple[datetime, datetime]

DAY: Final = timedelta(days=1)
_WEEKS: Final = 24
"""Days ahead for which weekly hours are laid out."""
_ENDLESS: Final = timedelta(days=15)
"""Weekly hours that go on for so long leave no hour of the week free."""


@dataclass(frozen=True, slots=True)
class Between:
    """One span of time."""

    begin: datetime
    end: datetime

    def spans(self, now: datetime) -> Iterator[Span]:
        """Yield it while it is not over."""
        if self.end > now:
            yield self.begin, self.end

    @property
    def why(self) -> str:
        """Say what it is, for people."""
        return f"from {said(self.begin)} to {said(self.end)}"


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours of some days of the week, by the clock of a place."""

    days: tuple[str, ...]
    begin: int
    """Minutes after midnight."""
    end: int
    """Minutes after midnight of the same day; not after `begin`: of the next day."""
    zone: str

    def on(self, day: date) -> Span | None:
        """Return the span that begins on a day, if one does.

        A time that the clock shows twice or skips on that day is read so that the span is the longer one.
        """
        if WEEK[day.weekday()] not in self.days:
            return None
        begin, end = self.begin, self.end + (1440 if self.end <= self.begin else 0)
        return min(_readings(day, begin, self.zone)), max(_readings(day, end, self.zone))


WEEK: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _readings(day: date, minutes: int, zone: str) -> tuple[datetime, datetime]:
    """Return the moments at which a clock shows a time of a day: two where it shows it twice, or skips it."""
    wall = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)) + timedelta(minutes=minutes)
    return wall.replace(fold=0).astimezone(UTC), wall.replace(fold=1).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Weekly:
    """The same hours every week."""

    hours: tuple[Hours, ...]

    def spans(self, now: datetime) -> Iterator[Span]:
        """Yield the spans of the next weeks, and those of the last days that are not over."""
        for hours in self.hours:
            today = now.astimezone(ZoneInfo(hours.zone)).date()
            for offset in range(-2, _WEEKS):
                span = hours.on(today + DAY * offset)
                if span and span[1] > now:
                    yield span

    @property
    def why(self) -> str:
        """Say what it is, for people."""
        return "; ".join(
            f"{', '.join(d[:3] for d in h.days)} {_clock(h.begin)} to {_clock(h.end)} {h.zone}" for h in self.hours
        )


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


class Part(StrEnum):
    """Which part of a market's day is frozen."""

    OPEN = "Open"
    CLOSED = "Closed"
    EDGES = "Edges"


@dataclass(frozen=True, slots=True)
class Sessions:
    """Hours by a market's calendar. What the calendar does not know is frozen."""

    name: str
    """ConfigMap of the calendar."""
    part: Part
    before: timedelta
    """How much earlier a frozen time begins."""
    after: timedelta
    """How much later it ends."""
    calendar: Calendar | NoCalendar

    def knowing(self, calendar: Calendar | NoCalendar) -> "Sessions":
        """Return the same hours by the calendar as it was read."""
        return replace(self, calendar=calendar)

    def spans(self, now: datetime) -> Iterator[Span]:
        """Yield what is frozen by the sessions, and all that the calendar does not know."""
        calendar = self.calendar
        if isinstance(calendar, NoCalendar):
            yield ALWAYS, NEVER
            return
        yield from ((ALWAYS, calendar.begins), (calendar.ends, NEVER))
        for begin, end in self._edges(calendar):
            if (until := _later(end, self.after)) > now:
                yield _earlier(begin, self.before), until

    def _edges(self, calendar: Calendar) -> Iterator[Span]:
        """Yield what is frozen before anything is added to it."""
        if self.part is Part.OPEN:
            yield from calendar.sessions
        elif self.part is Part.EDGES:
            yield from ((edge, edge) for session in calendar.sessions for edge in session)
        else:
            closed = ALWAYS
            for begin, end in calendar.joined:
                yield closed, begin
                closed = end
            yield closed, NEVER

    @property
    def why(self) -> str:
        """Say what it is, for people."""
        if isinstance(self.calendar, NoCalendar):
            return self.calendar.message
        what = {Part.OPEN: "open hours", Part.CLOSED: "closed hours", Part.EDGES: "opens and closes"}[self.part]
        return f"{what} of {self.calendar.market}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A window that cannot be read holds for ever: nobody knows what it was to protect."""

    why: str

    def spans(self, _: datetime) -> Iterator[Span]:
        """Yield all of time."""
        yield ALWAYS, NEVER


Window = Between | Weekly | Sessions | Unreadable


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a window holds now."""

    active: bool
    until: datetime | None
    """When it ends; None: it is not active, or nobody knows."""
    begins: datetime | None
    """When it begins next; None: it is active, or never."""
    why: str


def look(window: Window, now: datetime) -> Verdict:
    """Tell whether a window holds now, until when, or when it does next."""
    begin, end = next(_merged(window.spans(now), now), (NEVER, NEVER))
    if begin > now:
        return Verdict(active=False, until=None, begins=None if begin == NEVER else begin, why=window.why)
    known = end != NEVER and not (isinstance(window, Weekly) and end - now > _ENDLESS)
    return Verdict(active=True, until=end if known else None, begins=None, why=_unknown(window, now) or window.why)


def _merged(spans: Iterator[Span], now: datetime) -> Iterator[Span]:
    """Yield spans in order, those that touch or overlap as one, from the first that ends after now."""
    current: Span | None = None
    for begin, end in sorted(spans):
        if end <= begin or end <= now:
            continue
        if current is None or begin > current[1]:
            if current is not None:
                yield current
            current = begin, end
        else:
            current = current[0], max(current[1], end)
    if current is not None:
        yield current


def _unknown(window: Window, now: datetime) -> str:
    """Say that a calendar does not know the time of now; "" if it does."""
    if not isinstance(window, Sessions) or isinstance(window.calendar, NoCalendar):
        return ""
    calendar = window.calendar
    if now >= calendar.ends:
        return f"the calendar of {calendar.market} ran out at {said(calendar.ends)}: export it anew"
    if now < calendar.begins:
        return f"the calendar of {calendar.market} begins only at {said(calendar.begins)}: export it anew"
    return ""


def _later(at: datetime, span: timedelta) -> datetime:
    return at if at == NEVER else at + span


def _earlier(at: datetime, span: timedelta) -> datetime:
    return at if at == ALWAYS else at - span
