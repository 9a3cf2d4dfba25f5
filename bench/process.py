"""The operator as its own process, as its own ServiceAccount, with the rights that manifests/ give it."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import yaml

from bench.server import Server, path
from devcluster.cluster import ControlPlane
from devcluster.crds import wait_until_established
from devcluster.orphans import end_with_parent

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "tradingrelease-system"
ACCOUNT = "tradingrelease-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
_PORT = 18080


class Operator:
    """A running operator."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self._process = process
        self.log = log
        self._port = port

    @classmethod
    async def start(cls, plane: ControlPlane, server: Server) -> "Operator":
        """Install what the operator needs, start it alone, and wait until it is ready."""
        manifests = ["namespace.yaml", "serviceaccount.yaml", "rbac.yaml"]
        files = [*sorted((ROOT / "crds").glob("*.yaml")), *(ROOT / "manifests" / name for name in manifests)]
        _kubectl(plane, "apply", "--server-side", *(f"-f={file}" for file in files))
        wait_until_established(partial(_kubectl, plane))
        return await cls.replica(plane, server, number=0)

    @classmethod
    async def replica(cls, plane: ControlPlane, server: Server, number: int, lease: str = "") -> "Operator":
        """Start one of several operators that agree by a Lease, and wait until it is ready."""
        kubeconfig = await _kubeconfig(plane, server)
        log = plane.folder.parent.parent / "log" / f"bench-operator{f'-{number}' if number else ''}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        env = {
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(ROOT / "operator"),
            "TRADINGRELEASE_HTTP_HOST": "127.0.0.1",
            "TRADINGRELEASE_HTTP_PORT": str(_PORT + number),
            "TRADINGRELEASE_LEASE": lease,
            "TRADINGRELEASE_IDENTITY": f"replica-{number}",
        }
        program = os.environ.get("BENCH_OPERATOR", f"{sys.executable} -m tradingrelease").split()
        operator = cls(_start(plane.sandbox.in_network(program, env), log), log, _PORT + number)
        await operator._ready()
        return operator

    async def _ready(self) -> None:
        for _ in range(600):
            if self._process.poll() is not None:
                raise RuntimeError(f"the operator ended: read {self.log}")
            try:
                await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{self._port}/readyz", timeout=2)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                return
        raise RuntimeError(f"the operator did not become ready: read {self.log}")

    def rss_mib(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def kill(self) -> None:
        """End it as a lost node does."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to end, and wait for nothing."""
        self._process.terminate()

    def stop(self) -> None:
        """End it as the kubelet does: SIGTERM, later SIGKILL."""
        self.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _start(argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(argv, stdout=out, stderr=out, preexec_fn=end_with_parent)  # noqa: PLW1509 - one C call


def _kubectl(plane: ControlPlane, *arguments: str) -> None:
    done = subprocess.run(plane.command(["kubectl", *arguments]), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


async def _kubeconfig(plane: ControlPlane, server: Server) -> Path:
    """Write a kubeconfig with a token of the operator's ServiceAccount."""
    body = {"spec": {"expirationSeconds": 86400}}
    answer = await server.ask("POST", path("serviceaccounts", NAMESPACE, ACCOUNT, "token"), body)
    found = yaml.safe_load(plane.kubeconfig.read_text())
    found["users"][0]["user"] = {"token": answer["status"]["token"]}
    file = plane.folder / "operator.kubeconfig"
    file.write_text(json.dumps(found))
    file.chmod(0o600)
    return file
