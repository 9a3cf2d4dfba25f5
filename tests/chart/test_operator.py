"""The operator runs with what the chart gives its pod: account, rights and settings, no more."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
import yaml

from devcluster.cluster import ControlPlane
from devcluster.crds import wait_until_established
from tests.apiserver import Server
from tests.chart.helm import ROOT, only
from tests.waiting import eventually

pytestmark = pytest.mark.apiserver

NAMESPACE = "tradingrelease-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:tradingrelease-operator"


@pytest.fixture
def plane():
    with ControlPlane.start(f"cht-op-{os.getpid()}") as plane:
        yield plane


def pod_settings(made):
    """Return what the kubelet would put into the container's environment."""
    (container,) = only(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    pod = {"$(POD_NAME)": "operator-1", "$(POD_NAMESPACE)": NAMESPACE}
    settings = {}
    for entry in container["env"]:
        if value := entry.get("value"):
            for name, meant in pod.items():
                value = value.replace(name, meant)
            settings[entry["name"]] = value
    return settings


@contextlib.contextmanager
def running(plane, settings, folder):
    """Run the operator in the cluster's network, as its ServiceAccount; return how to ask it."""
    token = Server(plane).kubectl("create", "token", "tradingrelease-operator", "-n", NAMESPACE).strip()
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    env = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator"), "TRADINGRELEASE_HTTP_HOST": "127.0.0.1"}
    program = plane.sandbox.in_network([sys.executable, "-m", "tradingrelease"], env | settings)

    def ask(path):
        asked = plane.command(["curl", "-sS", "-m", "2", f"http://127.0.0.1:8080{path}"])
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout

    with (folder / "log").open("wb") as log, subprocess.Popen(program, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: ask("/readyz") == "ok", (folder / "log").read_text)
            yield ask
        finally:
            process.terminate()
            process.wait(20)


def refused(plane):
    """Return what the API server forbade the operator."""
    entries = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    return {
        f"{e['verb']} {e['requestURI']}"
        for e in entries
        if e["user"]["username"] == OPERATOR and e.get("responseStatus", {}).get("code") == 403
    }


@pytest.mark.parametrize("namespaces", [[], ["shop", "payments"]], ids=["the whole cluster", "two namespaces"])
def test_the_rights_of_the_chart_are_enough(helm, plane, tmp_path, namespaces):
    server = Server(plane)
    for name in ("shop", "payments", NAMESPACE):
        server.kubectl("create", "namespace", name)
    made = helm.render({"namespaces": namespaces})
    server.kubectl("apply", "--server-side", "-f", "crds")
    wait_until_established(server.kubectl)
    for body in made:
        server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=body)
    server.settle()
    release = yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())

    with running(plane, pod_settings(made), tmp_path) as ask:
        eventually(lambda: "\ntradingrelease_leading 1.0\n" in ask("/metrics"), lambda: ask("/metrics"))
        for place in ("shop", "payments"):
            server.create(place, release)
            server.kubectl(
                "wait",
                "-n",
                place,
                "tradingrelease/trading-platform",
                "--for=condition=Accepted=False",
                "--timeout=30s",
            )
        lease = server.read("get", "lease", "tradingrelease-operator", "-n", NAMESPACE)["spec"]
    assert refused(plane) == set()
    assert lease["holderIdentity"].startswith("operator-1")
    assert lease["leaseDurationSeconds"] == 6
