"""Runs the generator as a child process and answers questions while it runs.

`Load` knows nothing of clusters: a prefix says where the generator runs, and any command will do that hands
on standard input and output.

    Load(targets, path)                                                      here
    Load(targets, path, prefix=cluster.command([]))                          in the cluster's network
    Load(targets, path, prefix=["kubectl", "exec", "-i", "load", "--"], python="python3")   in a pod

The generator stops when its standard input closes: nothing is left behind when this process is killed. Its
last line counts its records, so that a broken stream is noticed and never taken for "no request failed".
"""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

from loadgen.record import Record
from loadgen.records import Records

T = TypeVar("T")
ASK_EVERY = 0.02  # seconds between two questions in `wait_for`: they cost time that the cluster could use
ENDS_WITHIN = 20.0  # seconds: its timeout, and some


class IncompleteError(Exception):
    """The generator ended before it should, or not all of its records arrived."""


@dataclass(frozen=True)
class Target:
    """One place to send requests to."""

    name: str
    url: str


class Load:
    """A running load. As a context manager it starts with the block and is complete at its end."""

    def __init__(  # noqa: PLR0913 - all but two are keywords
        self,
        targets: Sequence[Target],
        path: Path,
        *,
        rate: float = 100.0,
        mode: str = "both",
        lifetime: int = 0,
        prefix: Sequence[str] = (),
        python: str = sys.executable,
    ) -> None:
        """Prepare a load; `path` is where its records go (and, with .stderr added, its complaints)."""
        flags = [flag for target in targets for flag in ("--target", f"{target.name}={target.url}")]
        options = ["--rate", str(rate), "--mode", mode, "--lifetime", str(lifetime), "--until-stdin-closes"]
        self.command = [*prefix, python, "-m", "loadgen", *flags, *options]
        self.path = path
        self._complaints = path.with_name(path.name + ".stderr")
        self._records: list[Record] = []
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._promised: int | None = None
        self._news = threading.Condition()

    def __enter__(self) -> Self:
        """Start it for a block."""
        return self.start()

    def start(self) -> Self:
        """Start; return when the first request was answered, well or badly."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                cwd=Path(__file__).parent.parent,
                start_new_session=True,  # Ctrl-C is for the parent, which then closes this in good order
            )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        try:
            self.wait_for(lambda records: len(records) > 0, ENDS_WITHIN)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; without an error in the block, insist on every record."""
        self.close()
        if kind is None:
            self._insist()

    def stop(self) -> Records:
        """Stop now and return every record; asking again is fine."""
        self.close()
        self._insist()
        return self.records()

    def close(self) -> None:
        """Stop, and ask for nothing."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    @property
    def runs(self) -> bool:
        """Whether records may still arrive."""
        return self._reader.is_alive()

    def count(self) -> Counter[tuple[str, bool]]:
        """Count requests so far by the version that answered and whether they failed: cheap, for a live view."""
        with self._news:
            return self._counts.copy()

    def records(self, since: float = 0.0) -> Records:
        """Return what was answered (or failed) since then, so far."""
        with self._news:
            if not since:
                return Records(tuple(self._records))
            recent = []
            for record in reversed(self._records):
                # They arrive in the order in which they end, give or take a moment.
                if record.done < since - 1:
                    break
                if record.done >= since:
                    recent.append(record)
        return Records(tuple(reversed(recent)))

    def wait_for(self, question: Callable[[Records], T | None], seconds: float, since: float = 0.0) -> T:
        """Ask a question about the records since then again and again, until its answer is true."""
        deadline = time.monotonic() + seconds
        seen = -1
        while True:
            with self._news:
                while len(self._records) == seen and self.runs and time.monotonic() < deadline:
                    self._news.wait(min(0.2, max(0.0, deadline - time.monotonic())))
                seen = len(self._records)
            if answer := question(self.records(since)):
                return answer
            if not self.runs:
                raise IncompleteError(f"the load generator has ended: {self._last_words()}")
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{seen} requests in, and still not so after {seconds:g} s")
            time.sleep(ASK_EVERY)

    def _read(self, stream: IO[bytes]) -> None:
        with stream, self.path.open("wb", buffering=0) as copy:
            for line in stream:
                copy.write(line)
                self._take(line)
        with self._news:
            self._news.notify_all()

    def _take(self, line: bytes) -> None:
        if line.startswith(b'{"end"'):
            self._promised = json.loads(line)["end"]
            return
        record = Record.from_json(line)
        with self._news:
            self._records.append(record)
            self._counts[record.version, record.failed] += 1
            self._news.notify_all()

    def _insist(self) -> None:
        if self._promised != len(self._records):
            raise IncompleteError(f"{len(self._records)} records of {self._promised} arrived: {self._last_words()}")

    def _last_words(self) -> str:
        return self._complaints.read_text(errors="replace").strip()[-500:] or "it said nothing"
