"""The terminal: a story that scrolls, and below it a few lines that are always about now.

Plain ANSI: the lines below are erased and drawn again. Where the output is no terminal, only the story is written.
"""

import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from loadgen import Records
from loadgen.record import Mode

REDRAWS_EVERY = 0.25  # seconds
BAR = 30  # characters
COLOURS = (36, 32, 35, 33, 34, 31)  # of versions, in the order in which they appear
BOLD, DIM, RED, GREEN = 1, 2, 31, 32
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

Draw = Callable[[], Sequence[str]]


def paint(text: str, *codes: int) -> str:
    """Colour a text."""
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m"


def cut(line: str, width: int) -> str:
    """Shorten a line to so many visible characters, and end its colours."""
    if len(ESCAPES.sub("", line)) <= width:
        return line
    kept, room = [], width - 1
    for part in re.split(f"({ESCAPES.pattern})", line):
        if ESCAPES.fullmatch(part):
            kept.append(part)
        else:
            kept.append(part[:room])
            room -= len(part[:room])
    return "".join(kept) + "…\x1b[0m"


class View:
    """Writes the story; in a terminal also what `draw` returns, four times a second, below it."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._started = time.monotonic()
        self._drawn = 0
        self._draw: Draw = list
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live:
            self._out.write("\x1b[?25l")
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture standing."""
        self._closed.set()
        if self._live:
            self._thread.join()
            self._out.write("\x1b[?25h")
            self._out.flush()

    def show(self, draw: Draw) -> None:
        """Set what is drawn below the story from now on."""
        with self._lock:
            self._draw = draw

    def say(self, text: str, *codes: int) -> None:
        """Tell the next line of the story."""
        for line in text.splitlines() or [""]:
            self._tell(f"[{time.monotonic() - self._started:6.1f} s] {line}", codes)

    def _tell(self, line: str, codes: Sequence[int]) -> None:
        with self._lock:
            self._erase()
            self._out.write((paint(line, *codes) if codes and self._live else line) + "\n")
            self._picture()
            self._out.flush()

    def _run(self) -> None:
        while not self._closed.wait(REDRAWS_EVERY):
            with self._lock:
                self._erase()
                self._picture()
                self._out.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _picture(self) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns
            lines = [cut(line, width) for line in self._draw()]
            self._out.write("".join(line + "\n" for line in lines))
            self._drawn = len(lines)


class Palette:
    """Gives each version its colour."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def colour(self, version: str) -> int:
        """Return the colour of a version; no answer is red."""
        if not version:
            return RED
        return self._known.setdefault(version, COLOURS[len(self._known) % len(COLOURS)])


def traffic_lines(recent: Records, services: Sequence[str], palette: Palette) -> list[str]:
    """Draw who answered whom just now: a bar for new connections, and one for kept ones."""
    lines = []
    for service in services:
        mine = recent.of(target=service)
        bars = "   ".join(f"{mode.value:9} {_bar(mine.of(mode=mode), palette)}" for mode in (Mode.NEW, Mode.KEEPALIVE))
        lines.append(f"  {service:10} {bars}")
    return lines


def _bar(records: Records, palette: Palette) -> str:
    """Draw shares of versions; what failed is red."""
    counts: Counter[tuple[str, bool]] = Counter((record.version, record.failed) for record in records)
    total = sum(counts.values())
    if not total:
        return paint("·" * BAR, DIM)
    bar, room, names = "", BAR, []
    for (version, failed), count in sorted(counts.items()):
        width = min(room, max(1, round(BAR * count / total)))
        room -= width
        bar += paint("█" * width, RED if failed else palette.colour(version))
        names.append(paint(f"{version or 'lost'}{' failing' if failed else ''}", palette.colour(version)))
    return f"{bar}{' ' * room} {' '.join(names)}"
