"""Lines of one container's log: each taken once, however often the log is read again.

A log can be asked for again from a whole second only, so what was read of late is remembered, and is skipped when it
comes once more. Two lines of one nanosecond and of the same words are two lines.

Lines are stamped by the clock of their node, and asked for by it. Where it is seen to be off, lines may be missed or
belong to the time before, so nobody is judged by them: `doubt` says it.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

SECOND: Final = 10**9
OVERLAP: Final = 5 * SECOND
"""So much is read again: stdout and stderr are stamped apart, so stamps are not quite in order.

A clock that differs by no more is taken for right.
"""
LATE: Final = 30 * SECOND
"""So long the number of restarts may take to be known."""
MOST: Final = 20_000
"""Lines of one container that are remembered: some 150 bytes each, whatever they say."""
LONGEST: Final = 16 * 1024
"""Bytes of a line that are looked at."""

Stamp = int
"""Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when it was written, and what it says."""

    at: Stamp
    text: str

    @property
    def mark(self) -> bytes:
        """What is remembered of it."""
        return blake2b(f"{self.at} {self.text}".encode(errors="replace"), digest_size=16).digest()


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

    @property
    def rest(self) -> bytes:
        """What came after the last newline."""
        return self._held


class Counts:
    """How often each line was met, by the second in which it was written. Whole seconds are forgotten, first met first.

    No order of stamps is built on here: a clock may be set back.
    """

    def __init__(self) -> None:
        self._seconds: OrderedDict[int, Counter[bytes]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def first(self) -> int:
        """The second that is forgotten next. Raises StopIteration where nothing is kept."""
        return next(iter(self._seconds))

    def of(self, second: int, mark: bytes) -> int:
        """Return how often a line was met."""
        held = self._seconds.get(second)
        return held[mark] if held else 0

    def met(self, second: int, mark: bytes) -> int:
        """Count a line; return how often it was met by now."""
        held = self._seconds.setdefault(second, Counter())
        held[mark] += 1
        self._size += held[mark] == 1
        return held[mark]

    def forget(self) -> int:
        """Forget the second that was met first, and return it."""
        second, held = self._seconds.popitem(last=False)
        self._size -= len(held)
        return second


class Once:
    """Lets every line of a container through once, whichever of several readings brings it first.

    A reading begins a little before the newest line of all, so what is older than what is remembered was read. Only of
    a container that ended more may be unread: it is read from the oldest that is remembered on.
    """

    def __init__(self, begin: datetime) -> None:
        self._asked: Stamp = int(begin.timestamp()) * SECOND
        self._begin: Stamp = self._asked
        self.newest: Stamp = self._asked
        self._seen = Counts()
        """How often each line of late is known to stand in the log."""
        self._floor: Stamp = 0
        """What is older is forgotten."""
        self._part = b""
        """What came after the last newline when this was last read to the end."""
        self._doubt = ""

    def stands_at(self, last: Stamp, now: datetime) -> None:
        """Take in the stamp of the last line, before anything else is read: what is written from now on comes after it.

        Where it is older than the beginning, its container has been silent since, or its clock is behind.
        """
        if last < self._begin or last > _stamp(now) + OVERLAP:
            self._begin = self.newest = last + 1

    @property
    def since(self) -> str:
        """From when to read, as the API server takes it."""
        return _second(max(self.newest - OVERLAP, self._begin))

    def since_before(self, read: Stamp) -> str:
        """From when to read the container before this one, of which nothing after `read` is sure to have been read."""
        if self._floor > max(read - LATE, self._begin):
            self._doubt = f"more than {MOST} lines were written since the last measurement, and it was started again"
        return _second(max(self._floor, self._begin))

    def new(self, line: Line, reading: "Reading") -> bool:
        """Tell whether a line was not read before. `reading`: the one that brings it."""
        back = reading.newest - line.at
        if back > OVERLAP:
            self._floor = min(self._floor, line.at)
        if line.at < max(self._begin, self._floor):
            return False
        second, mark = line.at // SECOND, line.mark
        if reading.met(line, mark) <= self._seen.of(second, mark):
            return False
        self._seen.met(second, mark)
        if back > OVERLAP:
            self._doubt = f"the clock of its node was set back by {back // SECOND} s"
        self.newest = line.at if back > OVERLAP else max(self.newest, line.at)
        if line.at < self._asked:
            behind = (self._asked - line.at) // SECOND
            self._doubt = f"the clock of its node is behind: what is written now is {behind} s before the beginning"
        while len(self._seen) > MOST:
            self._floor = max(self._floor, (self._seen.forget() + 1) * SECOND)
            if self._floor > self.newest - OVERLAP:
                self._doubt = f"more than {MOST} lines within {OVERLAP // SECOND} s cannot be told apart"
        return True

    def is_whole(self, part: bytes) -> bool:
        """Tell whether a line without a newline at the end of a log is all of it: nothing was added since the last."""
        same, self._part = part == self._part, part
        return same

    def doubt(self, now: datetime) -> str:
        """Say why lines may have been missed since this was last asked; "" if there is no reason to think so."""
        said, self._doubt = self._doubt, ""
        ahead = (self.newest - _stamp(now)) // SECOND
        return said or (f"the clock of its node is {ahead} s ahead" if ahead * SECOND > OVERLAP else "")


class Reading:
    """One reading of a log: the lines that it brings and that were not read before.

    `followed`: it goes on as long as the log, and what it ends with may be part of a line. `over`: the container ended,
    and wrote all that it ever will.
    """

    def __init__(self, once: Once, *, followed: bool = False, over: bool = False) -> None:
        self._once, self._followed, self._over = once, followed, over
        self._split = Split()
        self._counts = Counts()
        """Of late: lines that are one and the same stand close together in a log."""
        self.newest: Stamp = 0

    def __len__(self) -> int:
        return len(self._counts)

    def hear(self, chunk: bytes) -> Iterator[Line]:
        """Yield what is new in what arrived."""
        yield from self._new(self._split.cut(chunk))

    def end(self) -> Iterator[Line]:
        """Yield what is new once nothing more arrives: a last line without a newline, where it is no part of one."""
        if (part := self._split.rest) and not self._followed and (self._over or self._once.is_whole(part)):
            yield from self._new([part])

    def _new(self, raws: Iterable[bytes]) -> Iterator[Line]:
        for raw in raws:
            line = parsed(raw)
            if line and self._once.new(line, self):
                yield line

    def met(self, line: Line, mark: bytes) -> int:
        """Count a line; return how often this reading brought it by now."""
        count = self._counts.met(line.at // SECOND, mark)
        set_back = line.at < self.newest - OVERLAP
        self.newest = line.at if set_back else max(self.newest, line.at)
        late = (self.newest - OVERLAP) // SECOND
        while len(self._counts) > MOST or self._counts.first < late:
            self._counts.forget()
        return count


def _stamp(at: datetime) -> Stamp:
    return int(at.timestamp() * 1000) * 10**6


def _second(stamp: Stamp) -> str:
    return datetime.fromtimestamp(stamp // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
