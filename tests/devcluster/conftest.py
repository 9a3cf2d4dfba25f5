"""What the tests of the development cluster look at: processes and namespaces, as the kernel shows them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _processes_in(namespace: str) -> list[str]:
    """List the command lines of every process whose network namespace is `namespace`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str((entry / "ns" / "net").readlink()) == namespace:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


@pytest.fixture
def processes_in() -> Callable[[str], list[str]]:
    """Find the processes in a network namespace."""
    return _processes_in


@pytest.fixture
def nothing_left() -> Iterator[Callable[[str], None]]:
    """Check that a namespace has no process, and that the host's mounts and interfaces are as before the test."""
    before = _host()

    def check(namespace: str) -> None:
        assert _processes_in(namespace) == []
        assert _host() == before

    yield check
    assert _host() == before


def _host() -> tuple[set[str], set[str]]:
    mounts = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
    return {mount for mount in mounts if str(ROOT) in mount}, {entry.name for entry in Path("/sys/class/net").iterdir()}
