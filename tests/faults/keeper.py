"""Keeps one operator running, as a kubelet does: when it ends it is started anew, until it is released."""

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from tests.e2e.process import free_port, settings
from tests.faults.nursery import Child, Nursery

GOES_ON_PURPOSE = "exiting, to be started anew"
"""The last words of an operator that ends so that it is started anew (`app.main`)."""
MOST_STARTS = 20
"""More than any plan needs: an operator that ends again and again is a defect."""


class Keeper:
    """One operator for one namespace. `told` hears STARTED and STOPPED."""

    def __init__(self, nursery: Nursery, env: dict[str, str], log: Path, told: Callable[[str], None]) -> None:
        self.log = log
        self.exits: list[int] = []
        self.crashes: list[str] = []
        """Ends that nobody wanted: neither killed by the plan, nor said by the operator to be on purpose."""
        self._kills = 0
        self.starts = 0
        self._nursery, self._env, self._told = nursery, env, told
        self._child: Child | None = None
        self._port = 0
        self._released = False
        self._lock = threading.Lock()

    @classmethod
    def of(
        cls, nursery: Nursery, namespace: str, kubeconfig: Path, log: Path, told: Callable[[str], None],
        more: dict[str, str],
    ) -> "Keeper":  # fmt: skip
        """Return the keeper of a namespace's operator. It looks and lists more often than in production."""
        often = {
            "TRADINGRELEASE_RESYNC_SECONDS": "5",
            "TRADINGRELEASE_AUDIT_SECONDS": "4",
            "TRADINGRELEASE_WORKERS": "2",
        }
        return cls(nursery, settings(namespace, kubeconfig) | often | more, log, told)

    def start(self) -> None:
        """Start it."""
        with self._lock:
            self._port = free_port()
            self.starts += 1
            env = self._env | {"TRADINGRELEASE_HTTP_PORT": str(self._port)}
            self._child = self._nursery.start(env, self.log, self._ended)
        self._told("STARTED")

    def kill(self) -> None:
        """End it as a lost node does; it is started anew."""
        if self._child:
            self._kills += 1
            self._child.kill()

    def release(self) -> None:
        """End it for good."""
        self._released = True
        if self._child:
            self._child.kill()
            self._child.wait(10)

    def reconciles(self) -> int:
        """Return how many looks the running process has taken."""
        deadline = time.monotonic() + 10
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                    text = answer.read().decode()
                break
            except OSError:  # it has only just been started
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        line = next(n for n in text.splitlines() if n.startswith("tradingrelease_reconcile_seconds_count"))
        return int(float(line.split()[-1]))

    def clock(self) -> datetime:
        """Return the operator's own time of day: its HTTP server says it in every answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            return parsedate_to_datetime(answer.headers["Date"])

    def words(self, lines: int = 25) -> list[str]:
        """Return what its log said last: when, and what."""
        found = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [_short(line) for line in found[-lines:]]

    def _ended(self, code: int) -> None:
        self._told("STOPPED")
        self.exits.append(code)
        killed = code == -signal.SIGKILL and self.exits.count(code) <= self._kills
        if not (self._released or killed or (code == 1 and any(GOES_ON_PURPOSE in line for line in self.words(3)))):
            self.crashes.append(f"exit code {code}")
        if not self._released and self.starts < MOST_STARTS:
            self.start()


def _short(line: str) -> str:
    try:
        told = json.loads(line)
        return f"{told['time'][11:23]} {told.get('step', told['level'])}: {told['message']}"
    except (ValueError, KeyError, TypeError):
        return line
