"""A sandbox: one process (sandbox_init.py) that holds a mount, a network and a process namespace.

Everything that a cluster or a control plane consists of runs in its sandbox; ending process 1 ends all of it.
Nothing is pinned in the host's file system, so nothing has to be unmounted, and the host's network stays as it is.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from devcluster.places import HERE
from devcluster.progress import StepFailedError, failure

_NAMESPACES = ("net", "pid", "mnt")
_UNSHARE = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--propagation=slave", "--fork", "--kill-child"]
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, told from a later process with the same number by its namespaces."""

    pid: int
    net: str
    pids: str
    mnt: str

    @classmethod
    def start(cls, log: Path) -> tuple["Sandbox", subprocess.Popen[bytes]]:
        """Start a sandbox that lives as long as the returned process's stdin is open, or for good after `keep`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as err:
            holder = subprocess.Popen(
                [*_UNSHARE, sys.executable, "-S", "-E", str(HERE / "sandbox_init.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, start_new_session=True, cwd="/",
            )  # fmt: skip
        with cast("IO[bytes]", holder.stdout) as told:
            if told.readline() != b"ready\n":
                holder.communicate()
                raise StepFailedError(failure("the sandbox did not start", log))
        pid = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])
        return cls(pid, *(_namespace(pid, kind) for kind in _NAMESPACES)), holder

    @classmethod
    def load(cls, file: Path) -> "Sandbox | None":
        """Find the sandbox that `file` names, if it is still alive."""
        try:
            sandbox = cls(**json.loads(file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return sandbox if sandbox.alive() else None

    def save(self, file: Path) -> None:
        """Write down how to find this sandbox again."""
        file.write_text(json.dumps(asdict(self)))

    def alive(self) -> bool:
        """Whether process 1 is there and is the one that we started."""
        try:
            return _namespace(self.pid, "net") == self.net and _namespace(self.pid, "pid") == self.pids
        except OSError:
            return False

    def inside(self) -> bool:
        """Whether this process is in the sandbox's network already."""
        return _namespace("thread-self", "net") == self.net

    def in_network(self, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """`argv` wrapped to run in the network only: the same process id, so a signal reaches the command itself."""
        settings = [f"{key}={value}" for key, value in env.items()]
        enter = [] if self.inside() else ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]
        return [*enter, "env", *settings, *argv]

    def in_full(self, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """`argv` wrapped to run in all namespaces: for podman, kind and what belongs to the cluster itself."""
        settings = [f"{key}={value}" for key, value in env.items()]
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", f"--wdns={Path.cwd()}", "--"]
        return [*enter, "env", *settings, *argv]

    def processes(self) -> Iterator[int]:
        """Every process in the sandbox's network or process namespace, process 1 left out."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in {self.pid, os.getpid()}:
                continue
            with contextlib.suppress(OSError):
                if _namespace(entry.name, "net") == self.net or _namespace(entry.name, "pid") == self.pids:
                    yield int(entry.name)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the sandbox's network, and back: threads and processes it starts are inside."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/thread-self/ns/net").open() as home, Path(f"/proc/{self.pid}/ns/net").open() as there:
            _move(libc, there.fileno())
            try:
                yield
            finally:
                _move(libc, home.fileno())

    def end(self, timeout: float = 30.0, frozen: Sequence[Path] = ()) -> None:
        """End everything inside. `frozen` are cgroups (v1) that may be so: a frozen process cannot die."""
        members = list(self.processes())
        ending = [self.pid, *members] if self.alive() else members
        deadline = time.monotonic() + timeout
        _kill(self.pid) if self.alive() else None
        while not all(map(has_ended, ending)):  # process 1 goes last, when the kernel has ended all others
            for pid in members:
                with contextlib.suppress(OSError):
                    if _namespace(pid, "net") == self.net:
                        _kill(pid)
            for cgroup in frozen:
                thaw(cgroup)
            if time.monotonic() > deadline:
                left = ",".join(str(pid) for pid in ending if not has_ended(pid))
                raise StepFailedError(f"processes of a sandbox do not end; look further: ps -o pid,stat,args -p {left}")
            time.sleep(0.02)


def keep(holder: subprocess.Popen[bytes]) -> None:
    """Let the sandbox outlive this process."""
    with cast("IO[bytes]", holder.stdin) as told:
        told.write(b"keep")


def thaw(cgroup: Path) -> None:
    """Thaw every frozen cgroup (v1) at and below `cgroup`."""
    for state in [*cgroup.glob("freezer.state"), *cgroup.rglob("freezer.state")]:
        with contextlib.suppress(OSError):
            if state.read_text().strip() != "THAWED":
                state.write_text("THAWED")


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone with all its threads: the last of them closes what it listens on."""
    process = Path("/proc") / str(pid)
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX" and len(list((process / "task").iterdir())) <= 1
    except OSError:
        return True


def _namespace(pid: int | str, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _move(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
