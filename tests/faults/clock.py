"""The operator's own clock, set to another day while it runs.

libfaketime stands between the process and the kernel: whatever asks for the time of day is told the shifted one, C
code included. The monotonic clock stays true, as it does when somebody sets the clock of a node.
"""

import platform
from pathlib import Path

from devcluster import host

_LIBRARY = f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketimeMT.so.1"


def need() -> None:
    """Make sure that libfaketime is there."""
    host.need({_LIBRARY: "libfaketime"})


def preloaded() -> dict[str, str]:
    """Return the environment of a process whose children may have a clock of their own."""
    return {"LD_PRELOAD": _LIBRARY} | _settings(Path("/dev/null"))


def settings(folder: Path) -> dict[str, str]:
    """Return the environment of an operator whose clock is set by `shift`."""
    shift(folder, 0)
    return _settings(folder / "clock")


def shift(folder: Path, hours: int) -> None:
    """Set the clock, at once."""
    half = folder / "clock.new"
    half.write_text(f"{hours:+}h\n")
    half.rename(folder / "clock")


def _settings(file: Path) -> dict[str, str]:
    return {"FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
