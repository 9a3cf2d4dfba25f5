"""Progress lines with elapsed seconds, and commands whose last log lines are shown when they fail."""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_STARTED = time.monotonic()


class StepFailedError(RuntimeError):
    """A step failed; its text says which, shows the end of its log and names the command to look further."""


def say(text: str) -> None:
    """Print one progress line, with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:6.1f}s] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step that may take long, and say how long it took."""
    say(f"{text} ...")
    begun = time.monotonic()
    yield
    say(f"{text}: done in {time.monotonic() - begun:.1f} s")


def run(
    argv: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | None = subprocess.DEVNULL,
) -> None:
    """Run a command with its output appended to `log`; on failure raise with the log's last lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [str(word) for word in argv]
    with log.open("ab") as out:
        out.write(f"$ {_spoken(command)}\n".encode())
        out.flush()
        done = subprocess.run(command, stdin=stdin, stdout=out, stderr=out, env=env, cwd=cwd, check=False)
    if done.returncode:
        raise StepFailedError(failure(f"{_spoken(command)} ended with {done.returncode}", log))


def failure(what: str, log: Path, lines: int = 25) -> str:
    """Compose the text of a failure: what, the end of the log, and where the rest is."""
    tail = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else ["(no log)"]
    shown = "\n".join(f"    {line}" for line in tail)
    return f"{what}; the last lines of its log:\n{shown}\n  more: less {log}"


def output(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command for what it prints; on failure raise with what it said."""
    command = [str(word) for word in argv]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, cwd=cwd, check=False
    )
    if done.returncode:
        raise StepFailedError(f"{_spoken(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _spoken(command: Sequence[str]) -> str:
    """Leave out of a command how it enters a sandbox and with what environment."""
    words = list(command)
    if "env" in words:
        words = words[words.index("env") + 1 :]
        while "=" in words[0]:
            words.pop(0)
    return " ".join(words)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes and other checkouts respect; the kernel frees it when this process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o644), "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {path}")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
