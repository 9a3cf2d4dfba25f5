"""What must stand before the first release: cluster, images, operator, and the application as it runs today."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from demo.kubectl import Kubectl, KubectlError
from demo.view import DIM, View
from devcluster.cluster import Cluster, ClusterNotRunning
from devcluster.crds import wait_until_established
from loadgen import Target

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "trading-platform"
APP_IMAGE = "localhost/tradingrelease/trading-platform:dev"
STORES_IMAGE = "localhost/tradingrelease/stores:dev"
OPERATOR_NAMESPACE = "tradingrelease-system"
OPERATOR = "deployment/tradingrelease-operator"
STORES = ("postgres", "redis", "prometheus")
SERVICES = ("backend", "ml-engine", "frontend")  # in the order of the release


class SetupError(Exception):
    """Something that the demo needs could not be made."""


def cluster(name: str, view: View) -> Cluster:
    """Return the running cluster of that name, started with three nodes if there is none."""
    up = [str(ROOT / "devcluster" / "up"), "--name", name]
    try:
        Cluster.open(name)
        view.say(f"a cluster {name} is here already; the demo uses it as it is")
    except ClusterNotRunning:
        view.say(f"no cluster {name} is here; starting one with 3 nodes (the very first time its parts are built, too)")
        up += ["--nodes", "3"]
    _tell(up, view, seconds=3000)
    found = Cluster.open(name)
    Kubectl(found, "default")("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s", seconds=90)
    return found


def images(target: Cluster, view: View) -> None:
    """Build the three images and bring them onto the nodes; a cluster of others pulls its own."""
    if target.kind == "current":
        view.say(
            f"CLUSTER=current: {APP_IMAGE}, {STORES_IMAGE} and the operator's image must be where its nodes find them"
        )
        return
    os.environ |= {"NAME": target.name, "PYTHON": sys.executable}  # for the tools
    dockerfile = str(EXAMPLE / "Dockerfile")
    _tell([str(ROOT / "devcluster" / "image"), APP_IMAGE, str(ROOT), "--file", dockerfile], view, seconds=900)
    for tool in ("operator-image", "stores-image"):
        _tell([str(ROOT / "tools" / tool)], view, seconds=900)


def operator(target: Cluster, view: View) -> None:
    """Install CRDs and operator as a user does; an operator that ran before starts anew, with the image of now.

    It is told where Prometheus and the team's chat room will be; admission says who applied and who ordered.
    """
    kubectl = Kubectl(target, OPERATOR_NAMESPACE)
    ran_before = kubectl("get", OPERATOR, "--ignore-not-found", "--output=name")
    kubectl("apply", "--kustomize", str(ROOT / "demo" / "operator"), seconds=120)
    wait_until_established(kubectl, "crd/tradingreleases.tradingplatform.io", "crd/releasecommands.tradingplatform.io")
    kubectl("apply", "--kustomize", str(ROOT / "manifests" / "admission"))
    if ran_before:
        kubectl("rollout", "restart", OPERATOR)
    kubectl("rollout", "status", OPERATOR, "--timeout=120s", seconds=150)
    view.say("the operator runs as a pod of its own image, with its own ServiceAccount")


def application(kubectl: Kubectl, view: View) -> None:
    """Deploy the application as users have it today, what the load comes from, and the room where the team is told."""
    if kubectl("get", "namespace", kubectl.namespace, "--ignore-not-found", "--output=name"):
        view.say(f"removing namespace {kubectl.namespace} of an earlier demo")
        # First what the operator would repair, then the pods, which drain; a namespace alone takes its time.
        kubectl("delete", "tradingreleases,deployments,pods", "--all", "--timeout=120s", seconds=150)
        kubectl("delete", "namespace", kubectl.namespace, "--timeout=120s", seconds=150)
    kubectl("apply", "--filename", str(EXAMPLE / "today.yaml"))
    for part in ("load.yaml", "chat.yaml"):
        kubectl("apply", "--filename", str(ROOT / "demo" / part))
    kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s", seconds=150)
    kubectl("wait", "--for=condition=Ready", "pod/load", "pod/team-chat", "--timeout=60s", seconds=90)


def stores(kubectl: Kubectl, view: View) -> None:
    """Start what stands behind the application, and leave something in the cache that will be stale."""
    kubectl("apply", "--filename", str(EXAMPLE / "stores.yaml"))
    kubectl("wait", "--for=condition=Available", *(f"deployment/{n}" for n in STORES), "--timeout=120s", seconds=150)
    kubectl("exec", "deployment/redis", "--", "redis-cli", "-e", "SET", "quote:XAU", "2650.5")
    view.say("each in a pod: " + ", ".join(STORES))


def targets(kubectl: Kubectl) -> list[Target]:
    """Return the ClusterIPs that the load goes to."""
    found = {
        service["metadata"]["name"]: f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/"
        for service in kubectl.get("services")["items"]
    }
    return [Target(name, found[name]) for name in SERVICES]


def diagnosis(kubectl: Kubectl, release: str) -> str:
    """Collect what somebody needs who wants to know why it did not work."""
    system = Kubectl(kubectl.cluster, OPERATOR_NAMESPACE)
    asked = (
        (system, ("logs", OPERATOR, "--tail=40")),
        (kubectl, ("describe", "tradingrelease", release)),
        (kubectl, ("get", "services,deployments,pods", "--output=wide")),
    )
    told = []
    for whom, arguments in asked:
        told.append(f"--- kubectl {' '.join(arguments)}")
        try:
            told.append(whom(*arguments, seconds=20))
        except KubectlError as error:
            told.append(str(error))
    return "\n".join(told)


def _tell(argv: list[str], view: View, seconds: float) -> None:
    """Run a command and tell what it says; end it when it takes too long."""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        began, deadline = time.monotonic(), threading.Timer(seconds, process.terminate)
        deadline.start()
        for line in process.stdout:
            view.say(f"  {line.rstrip()}", DIM)
        deadline.cancel()
    if time.monotonic() - began >= seconds:
        raise SetupError(f"{argv[0]}: not done in {seconds:g} s")
    if process.returncode:
        raise SetupError(f"{argv[0]} ended with {process.returncode}")
