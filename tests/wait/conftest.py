"""A real API server with the CRDs, and the command `wait` as pipelines run it."""

import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from devcluster.cluster import ControlPlane
from devcluster.crds import wait_until_established
from tests.apiserver import Server
from tests.relay import before

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="package")
def plane():
    """Run a control plane; the tests are inside its network."""
    with ControlPlane.start(f"wait-{os.getpid()}", controller_manager=False) as plane, plane.entered():
        yield plane


@pytest.fixture(scope="package")
def server(plane):
    server = Server(plane)
    server.kubectl("apply", "--server-side", "-f", str(ROOT / "crds" / "tradingreleases.yaml"))
    wait_until_established(server.kubectl)
    return server


@pytest.fixture
def namespace(server):
    return server.new_namespace()


@pytest.fixture
def relayed(plane, tmp_path):
    """Return a relay before the API server, and a kubeconfig that leads through it."""
    file = tmp_path / "relayed.kubeconfig"
    with before(plane.kubeconfig, file) as relay:
        yield relay, file


class Waiting:
    """One run of the command; its lines are read as they come."""

    def __init__(self, arguments, environment):
        argv = [sys.executable, "-m", "tradingrelease", "wait", *arguments]
        self.process = subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )  # fmt: skip
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.seen = []

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def until(self, text):
        """Wait for a line that holds a text."""
        while not self.seen or text not in self.seen[-1]:
            self.seen.append(self._lines.get(timeout=20))

    def end(self):
        """Return the exit code and what was printed to stdout and to stderr."""
        code = self.process.wait(20)
        errors = self.process.stderr.read()
        while not self._lines.empty():
            self.seen.append(self._lines.get())
        return code, "\n".join(self.seen), errors


@pytest.fixture
def wait(plane, tmp_path):
    """Start the command; `summary` is where its job summary goes."""
    started = []

    def start(*arguments, kubeconfig=None, **environment):
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(kubeconfig or plane.kubeconfig), **environment,
        }  # fmt: skip
        started.append(Waiting(arguments, environment))
        return started[-1]

    yield start
    for waiting in started:
        waiting.process.kill()
        waiting.process.communicate()
