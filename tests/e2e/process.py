"""The operator as its own process, with the ServiceAccount of manifests/: so RBAC is tested by every test."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from devcluster.orphans import end_with_parent

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 60.0
STOPS_WITHIN = 20.0
ANSWERS_WITHIN = 20.0


class Operator:
    """One operator for one namespace. `told` hears STARTED and STOPPED."""

    def __init__(self, namespace: str, kubeconfig: Path, log: Path, told: Callable[[str], None]):
        self.log = log
        self._told = told
        self._namespace, self._kubeconfig = namespace, kubeconfig
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """Process id; of a stopped operator it is an error to ask."""
        assert self._process is not None, "the operator does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, **env: str) -> None:
        """Start it; return when its caches are in, from when on it is held to the times of S4 and S10."""
        self._launch(**env)
        deadline = time.monotonic() + STARTS_WITHIN
        while self.ask("/readyz")[0] != 200:
            assert self.runs, f"the operator ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"the operator is not ready after {STARTS_WITHIN} s:\n{self.tail()}"
            time.sleep(0.1)
        self._told("STARTED")

    def launch(self, **env: str) -> None:
        """Start it, and wait for nothing."""
        self._launch(**env)
        self._told("STARTED")

    def _launch(self, **env: str) -> None:
        assert not self.runs, "the operator runs already"
        self.port = free_port()
        own = settings(self._namespace, self._kubeconfig) | {"TRADINGRELEASE_HTTP_PORT": str(self.port)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tradingrelease"],
                env=own | env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one C call; nothing is left behind by a killed test run
            )  # fmt: skip

    def stop(self) -> int:
        """Ask it to end (SIGTERM) and wait until it has; its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a lost node does."""
        self._end(signal.SIGKILL)

    @contextlib.contextmanager
    def frozen(self):
        """Hold it still (SIGSTOP): what it has sent is sent, what it knows grows old."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of its log."""
        found = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(found[-lines:])

    def metrics(self) -> str:
        """Return what /metrics says; a busy machine may need more than one attempt."""
        deadline = time.monotonic() + ANSWERS_WITHIN
        while (answer := self.ask("/metrics"))[0] != 200:
            assert time.monotonic() < deadline, f"/metrics: {answer}"
            time.sleep(0.1)
        return answer[1]

    def samples(self, metric: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each sample of a metric."""
        families = text_string_to_metric_families(self.metrics())
        return [(found.labels, found.value) for family in families for found in family.samples if found.name == metric]

    def writes(self) -> int:
        """Return how often it wrote to the API server, dry runs and refused writes included, as /metrics counts."""
        calls = self.samples("tradingrelease_api_calls_total")
        return int(sum(number for labels, number in calls if labels["verb"] != "GET"))

    def errors(self) -> int:
        """Return how many looks of this process ended in an error, or met a refused step."""
        return int(sum(number for _, number in self.samples("tradingrelease_reconcile_errors_total")))

    def measured(self, kind: str, verdict: str) -> int:
        """Return how often this process found something by a kind of check."""
        wanted = {"kind": kind, "verdict": verdict}
        findings = self.samples("tradingrelease_check_measurements_total")
        return int(sum(number for labels, number in findings if labels == wanted))

    @property
    def leads(self) -> bool:
        """Whether it says that it works."""
        return "\ntradingrelease_leading 1.0\n" in self.ask("/metrics")[1]

    def ask(self, path: str) -> tuple[int, str]:
        """Return what it answers: status and text; 0 where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return int(answer.status), str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, str(refused.read().decode())
        except OSError as error:
            return 0, str(error)

    def _end(self, number: int) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the operator did not end within {STOPS_WITHIN:.0f} s of signal {number}") from None
        finally:
            self._process = None
            self._told("STOPPED")
        return code


def settings(namespace: str, kubeconfig: Path) -> dict[str, str]:
    """Return the environment of an operator for one namespace; its port is yet to be said."""
    return {
        "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT / "operator"),
        "KUBECONFIG": str(kubeconfig), "TRADINGRELEASE_NAMESPACES": namespace,
        "TRADINGRELEASE_HTTP_HOST": "127.0.0.1",
    }  # fmt: skip


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on, and that no connection is given for its own end.

    One from the kernel may be gone to somebody's connection before the operator listens on it. Nor is it one that this
    process, or another worker of its run, has just returned for an operator that does not listen yet.
    """
    while True:
        port = next(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _own_ports() -> Iterator[int]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    block = int(worker) if worker else 10 + os.getpid() % 10
    first = 10_000 + 1_000 * block
    return itertools.cycle(range(first, first + 1_000))


_PORTS = _own_ports()
