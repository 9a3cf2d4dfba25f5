"""A kind cluster: nodes, pods that can be reached, and nothing left, also when its launcher is killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.cluster import Cluster, ClusterNotRunning
from devcluster.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
NAME = "devcluster-test"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a cluster made here needs root on Linux"),
]


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "devcluster" / command), *arguments],
        env=os.environ | {"NAME": NAME, "NODES": "", "K8S": "", "CLUSTER": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def until(holds: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def cgroups() -> set[Path]:
    """List the cgroups of containers, however the machine mounts them."""
    top = Path("/sys/fs/cgroup")
    return {*top.glob("libpod_parent/libpod-*"), *top.glob("*/libpod_parent/libpod-*")}


def cgroups_of(name: str) -> set[Path]:
    """List those of one cluster's containers: tests run beside other clusters."""
    listed = ROOT / ".devcluster" / name / "podman" / "storage" / "overlay-containers" / "containers.json"
    ids = [container["id"] for container in json.loads(listed.read_text())] if listed.exists() else []
    return {group for group in cgroups() if any(container in group.name for container in ids)}


@pytest.fixture(scope="module")
def killed() -> Iterator[Sandbox]:
    """Kill the `up` of a cluster with -9 while kind is making its node."""
    run("down")
    folder = ROOT / ".devcluster" / NAME
    with subprocess.Popen([ROOT / "devcluster" / "up", f"--name={NAME}"], start_new_session=True) as launcher:
        assert until(lambda: bool(cgroups_of(NAME)), 60)
        sandbox = Sandbox.load(folder / "sandbox.json")
        launcher.kill()
    assert sandbox
    yield sandbox
    run("down")


def test_killing_up_ends_every_process(killed, processes_in):
    assert until(lambda: not processes_in(killed.net) and not killed.alive())
    with pytest.raises(ClusterNotRunning, match=f"make cluster-up NAME={NAME}"):
        Cluster.open(NAME)


def test_up_recovers_reaches_pods_and_down_leaves_nothing(killed, nothing_left):
    left = cgroups_of(NAME)
    told = run("up")
    assert told.returncode == 0, told.stderr
    assert not left & cgroups(), "up removes what the killed one left"

    cluster = Cluster.open(NAME)
    assert cluster.nodes() == [f"{NAME}-control-plane"]
    assert "runs already" in run("up").stderr
    first = "-o=jsonpath={.items[0].status.podIP}"
    pod = kubectl(cluster, "-n", "kube-system", "get", "pods", "-l=k8s-app=kube-dns", first)
    # The Service is older than kube-proxy, which `up` starts anew: what that finds of its own it must know again.
    for address in (pod, "10.96.0.10"):
        assert until(lambda address=address: "coredns_build_info" in curl(cluster, f"http://{address}:9153/metrics"))
    assert '"level":"Metadata"' in cluster.audit_log()

    sandbox, groups = Sandbox.load(cluster.kubeconfig.parent / "sandbox.json"), cgroups_of(NAME)
    assert sandbox
    assert groups
    assert run("down").returncode == 0
    nothing_left(sandbox.net)
    assert not groups & cgroups()
    assert not cluster.kubeconfig.parent.exists()


def kubectl(cluster: Cluster, *arguments: str) -> str:
    return subprocess.run(cluster.command(["kubectl", *arguments]), capture_output=True, text=True, check=True).stdout


def curl(cluster: Cluster, address: str) -> str:
    asked = cluster.command(["curl", "-sS", "-m", "3", address])
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout
