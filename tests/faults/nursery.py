"""Starts operators quickly: a process that has imported everything and forks, each child being `python -m tradingrelease`.

An operator's start costs more than a second of imports, and hundreds of plans start two each. The child has its own
environment, log, event loop and process id, and ends by the same signals as any other.
Run as a module it is that process; `Nursery` speaks to it: a JSON object a line each way.
"""

import contextlib
import gc
import json
import os
import runpy
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, cast

from devcluster.orphans import end_with_parent

ROOT = Path(__file__).resolve().parents[2]
DEFECT = "TEST_DEFECT"
"""Names the bug of tests/model/bugs.py that a child has: to see that plans find it."""


class Child:
    """One started process."""

    def __init__(self, ended: Callable[[int], None]) -> None:
        self.pid = 0
        self._ended = ended
        self._born = threading.Event()
        self._over = threading.Event()

    @property
    def runs(self) -> bool:
        """Whether it is there."""
        return not self._over.is_set()

    def kill(self) -> None:
        """End it with SIGKILL; its end is told later."""
        self.born()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def born(self) -> None:
        """Wait until it has a process id."""
        assert self._born.wait(30), "the nursery does not answer: see nursery.log"

    def wait(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        return self._over.wait(seconds)

    def _tell(self, news: dict[str, int]) -> None:
        if "code" in news:
            self._over.set()
            self._ended(news["code"])
        else:
            self.pid = news["pid"]
            self._born.set()


class Nursery:
    """The parent of all operators. Ends with this process."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT)])}
        with (folder / "nursery.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.nursery"], env=os.environ | paths | dict(env or {}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one C call; nothing is left behind by a killed run
            )  # fmt: skip
        self._children: dict[int, Child] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, env: Mapping[str, str], log: Path, ended: Callable[[int], None]) -> Child:
        """Start an operator; `ended` is told its exit code, negative for a signal."""
        child = Child(ended)
        with self._lock:
            number = len(self._children) + 1
            self._children[number] = child
            order = {"number": number, "env": dict(env), "log": str(log)}
            told = cast("IO[bytes]", self._process.stdin)
            told.write(json.dumps(order).encode() + b"\n")
            told.flush()
        return child

    def close(self) -> None:
        """End it, and with it all children."""
        self._process.kill()
        self._process.wait()
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # an order to a process that ended
                cast("IO[bytes]", pipe).close()

    def _read(self) -> None:
        for line in cast("IO[bytes]", self._process.stdout):
            news = json.loads(line)
            self._children[news.pop("number")]._tell(news)


# --- the process itself -----------------------------------------------------------------------------------------------


def _serve() -> None:
    # What every child needs, imported once; `tradingrelease.__main__` itself is run by each.
    import tradingrelease.app
    import tradingrelease.config
    import tradingrelease.logs  # noqa: F401
    import uvloop  # noqa: F401

    assert threading.active_count() == 1, "a fork would lose threads"
    gc.collect()
    gc.freeze()
    children: dict[int, int] = {}
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    watch = selectors.DefaultSelector()
    watch.register(0, selectors.EVENT_READ)
    watch.register(read, selectors.EVENT_READ)
    left = b""
    while True:
        for key, _ in watch.select():
            if key.fd == read:
                os.read(read, 4096)
                _bury(children)
                continue
            chunk = os.read(0, 65536)
            if not chunk:
                return
            *lines, left = (left + chunk).split(b"\n")
            for line in lines:
                _fork(json.loads(line), children)


def _fork(order: dict, children: dict[int, int]) -> None:
    pid = os.fork()
    if pid:
        children[pid] = order["number"]
        _say(number=order["number"], pid=pid)
        return
    _become(order)


def _become(order: dict) -> None:
    """Be what `python -m tradingrelease` is, with its own environment and log."""
    code = 1
    try:
        end_with_parent()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(order["env"])
        from kubernetes.config import kube_config

        kube_config.KUBE_CONFIG_DEFAULT_LOCATION = order["env"]["KUBECONFIG"]  # read at import otherwise
        if defect := order["env"].get(DEFECT):
            from tests.model.bugs import BUGS, planted

            bug = planted(next(bug for bug in BUGS if bug.name == defect))
            bug.__enter__()  # for as long as the child lives
        sys.argv = ["tradingrelease"]
        runpy.run_module("tradingrelease", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - a child must never return into the nursery's loop
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _bury(children: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _say(number=children.pop(pid), code=os.waitstatus_to_exitcode(status))


def _say(**news: int) -> None:
    os.write(1, json.dumps(news).encode() + b"\n")


if __name__ == "__main__":
    _serve()
