"""Lines of one container's log: each taken once, however often the log is read again.

A log can be asked for again from a whole second only, so what was read of the last seconds is remembered, and is
skipped when it comes once more. Two lines of one nanosecond and of the same words are two lines.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

SECOND: Final = 10**9
OVERLAP: Final = 5 * SECOND
"""So much is read again: stdout and stderr are stamped apart, so stamps are not quite in order."""
REMEMBERED: Final = 60 * SECOND
"""By so much one reading may be behind another."""
MANY: Final = 10_000
"""Lines that are remembered before the old ones among them are forgotten."""
LONGEST: Final = 16 * 1024
"""Bytes of a line that are looked at."""

Stamp = int
"""Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when it was written, and what it says."""

    at: Stamp
    text: str


def parsed(raw: bytes) -> Line | None:
    """Read a line with its timestamp; None where it has none."""
    stamp, _, text = raw.partition(b" ")
    at = stamp_of(stamp.decode(errors="replace"))
    return None if at is None else Line(at, text.decode(errors="replace").rstrip("\r"))


def stamp_of(text: str) -> Stamp | None:
    """Read RFC 3339 with up to nine digits, which datetime cuts to six."""
    head, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if dot else ""
    zone = rest[len(digits) :] if dot else ""
    try:
        whole = datetime.fromisoformat(head + zone)
        nanoseconds = int(digits.ljust(9, "0")[:9] or 0)
    except ValueError:
        return None
    return None if whole.tzinfo is None else int(whole.timestamp()) * SECOND + nanoseconds


class Split:
    """Cuts what arrives into lines; of one that is too long, the beginning."""

    def __init__(self) -> None:
        self._held = b""
        self._dropping = False

    def cut(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that are whole by now."""
        *whole, rest = (self._held + chunk).split(b"\n")
        for raw in whole:
            if not self._dropping:
                yield raw[:LONGEST]
            self._dropping = False
        if len(rest) > LONGEST and not self._dropping:
            yield rest[:LONGEST]
            self._dropping = True
        self._held = b"" if self._dropping else rest

    def rest(self) -> Iterator[bytes]:
        """Yield what is left when the log ends without a newline."""
        if self._held and not self._dropping:
            yield self._held
        self._held, self._dropping = b"", False


class Once:
    """Lets every line through once, whichever of several readings brings it first."""

    def __init__(self, begin: datetime) -> None:
        self._begin = int(begin.timestamp()) * SECOND
        self._newest: Stamp = self._begin
        self._seen: Counter[Line] = Counter()
        """How often each line of late is known to stand in the log."""

    @property
    def since(self) -> str:
        """From when to read, as the API server takes it."""
        second = max(self._newest - OVERLAP, self._begin) // SECOND
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def new(self, line: Line, reading: Counter[Line]) -> bool:
        """Tell whether a line was not read before. `reading`: what this reading of the log has brought so far."""
        if line.at < max(self._begin, self._newest - REMEMBERED):
            return False
        reading[line] += 1
        if reading[line] <= self._seen[line]:
            return False
        self._seen[line] = reading[line]
        self._newest = max(self._newest, line.at)
        self._forget(reading)
        return True

    def _forget(self, reading: Counter[Line]) -> None:
        for held in (self._seen, reading):
            if len(held) > MANY:
                for old in [line for line in held if line.at < self._newest - REMEMBERED]:
                    del held[old]
