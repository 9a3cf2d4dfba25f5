"""Market calendars as data: what a ConfigMap holds, and nothing of how a market comes to its hours.

The keys of such a ConfigMap:
  market    the market's code, for people: XNYS
  begins    RFC 3339: what lies before it the calendar does not know
  ends      RFC 3339: what lies from here on it does not know either
  sessions  one line a session, in order: its open and its close, RFC 3339, with a space between. Holidays have no
            line, an early close is the close; a lunch break is part of its session.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

MOST_SESSIONS = 20_000
"""More than fit into a ConfigMap."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The sessions of a market, as far as they are known."""

    market: str
    begins: datetime
    ends: datetime
    sessions: tuple[tuple[datetime, datetime], ...]
    """Open and close, in order; one may touch the next, none overlaps it."""

    @property
    def joined(self) -> Iterator[tuple[datetime, datetime]]:
        """Yield the sessions, those that touch as one: a market that never closes has one."""
        opened: datetime | None = None
        closed: datetime | None = None
        for begin, end in self.sessions:
            if opened is not None and closed is not None and begin > closed:
                yield opened, closed
                opened = None
            opened, closed = opened or begin, end
        if opened is not None and closed is not None:
            yield opened, closed


@dataclass(frozen=True, slots=True)
class NoCalendar:
    """Why there is no calendar: whoever depends on it counts the market as closed to releases."""

    reason: str
    """One word."""
    message: str


NOT_READ = NoCalendar("NotRead", "its calendar is not read yet")


def parse(data: Mapping[str, str]) -> Calendar | NoCalendar:
    """Read the data of a ConfigMap. Whatever is not as it should be makes it no calendar at all."""
    try:
        calendar = Calendar(
            data["market"].strip(), _moment(data["begins"]), _moment(data["ends"]), tuple(_sessions(data["sessions"]))
        )
    except KeyError as error:
        return NoCalendar("Unreadable", f"its calendar has no key {error}")
    except ValueError as error:
        return NoCalendar("Unreadable", f"its calendar cannot be read: {error}")
    if calendar.ends <= calendar.begins:
        return NoCalendar("Unreadable", "its calendar cannot be read: it ends before it begins")
    return calendar


def write(calendar: Calendar) -> dict[str, str]:
    """Return the data of a ConfigMap, for `parse`."""
    return {
        "market": calendar.market,
        "begins": said(calendar.begins),
        "ends": said(calendar.ends),
        "sessions": "".join(f"{said(begin)} {said(end)}\n" for begin, end in calendar.sessions),
    }


def _sessions(text: str) -> Iterator[tuple[datetime, datetime]]:
    last: datetime | None = None
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_SESSIONS:
        raise ValueError(f"it has {len(lines)} sessions, at most {MOST_SESSIONS} are read")
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) != 2:
            raise ValueError(f"session {number} is {line[:80]!r}: write its open and its close")
        begin, end = (_moment(word) for word in words)
        if end <= begin or (last is not None and begin < last):
            raise ValueError(f"session {number} ({line[:80]}) does not follow the one before it")
        last = end
        yield begin, end


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text.strip())
    if found.tzinfo is None:
        raise ValueError(f"{text.strip()[:40]!r} names no time zone: write it in UTC, with a Z at its end")
    return found.astimezone(UTC)


def said(at: datetime) -> str:
    """Return a moment for people: UTC, to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
