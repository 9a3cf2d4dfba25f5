"""The operator as users run it: pods of its own image, installed by Helm. Alone: it takes the CRDs over."""

import json
import subprocess

import pytest

from devcluster import binaries
from tests.chart.helm import CHART
from tests.e2e.faults import kubectl
from tests.e2e.scenes import first, go_live

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

NAME = "e2e-tradingrelease-operator"
CLUSTER_WIDE = {
    "userRoles": {"create": False},
    "admission": {"actionVerbs": {"enabled": False}, "deputy": {"enabled": False}},
}


@pytest.fixture(scope="session")
def helm_program():
    return binaries.helm() / "helm"


class Installation:
    """The chart, in a namespace of its own, for the arena's namespace alone."""

    def __init__(self, arena, helm):
        self._arena, self._helm = arena, str(helm)
        self.namespace = f"{arena.namespace}-operator"

    def install(self):
        """Install it, and wait until every replica is Ready. The CRDs are those that the other tests applied."""
        values = CLUSTER_WIDE | {"namespaces": [self._arena.namespace], "image": {"tag": "dev"}}
        given = self._arena.folder / "values.json"
        given.write_text(json.dumps(values))
        self._arena.finally_(self.remove)
        ours = ["--create-namespace", "--take-ownership", "--force-conflicts"]
        self._run("install", NAME, str(CHART), f"--values={given}", *ours)
        self.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=120s")

    def uninstall(self):
        """Take it away, and wait until its pods have ended."""
        self._run("uninstall", NAME)
        self.kubectl("wait", "--for=delete", "pod", f"--selector={self.selector}", "--timeout=60s")

    def remove(self):
        """Leave nothing, whatever the test did."""
        subprocess.run(
            [self._helm, "uninstall", NAME, f"--namespace={self.namespace}", "--ignore-not-found"], check=False
        )
        kubectl(self._arena, "delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")

    @property
    def selector(self):
        """What its objects are labelled with."""
        return f"app.kubernetes.io/instance={NAME}"

    def kubectl(self, *arguments):
        """Look where it is installed."""
        return kubectl(self._arena, f"--namespace={self.namespace}", *arguments)

    def pods(self):
        """Return its pods."""
        return json.loads(self.kubectl("get", "pods", f"--selector={self.selector}", "-o", "json"))["items"]

    def left(self):
        """Name what is still there of it, in the whole cluster."""
        kinds = kubectl(self._arena, "api-resources", "--verbs=list", "-o", "name").split()
        listed = ",".join(kind for kind in kinds if not kind.startswith(("events", "componentstatuses")))
        told = kubectl(
            self._arena, "get", listed, "-A", f"--selector={self.selector}", "-o", "name", "--ignore-not-found"
        )
        return {line for line in told.split() if "/" in line}

    def _run(self, *arguments):
        argv = [self._helm, *arguments, f"--namespace={self.namespace}"]
        answer = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180)
        assert answer.returncode == 0, answer.stderr


def test_installed_by_helm_it_releases_and_uninstalled_it_leaves_traffic_as_it_is(arena, helm_program):
    arena.operator.stop()  # the pods are to do it
    installation = Installation(arena, helm_program)
    installation.install()
    pods = installation.pods()
    assert [status["ready"] for pod in pods for status in pod["status"]["containerStatuses"]] == [True, True]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2

    first(arena, "1")
    with arena.load("backend") as load:
        state = go_live(arena, "2")
        green = state.selected("backend")
        holder = installation.kubectl("get", "lease", NAME, "-o", "jsonpath={.spec.holderIdentity}")
        assert holder.partition("_")[0] in {pod["metadata"]["name"] for pod in pods}
        serving = {pod["metadata"]["uid"] for pod in state.pods()}
        installation.uninstall()
        arena.never(
            lambda s: s.selected("backend") != green or len(s.pods()) < len(serving), "traffic or pods change", 10
        )
    assert not load.records().failed(), load.records().by_outcome()
    assert {pod["metadata"]["uid"] for pod in arena.now.pods()} == serving

    crds = {
        f"customresourcedefinition.apiextensions.k8s.io/{kind}.tradingplatform.io"
        for kind in ("tradingreleases", "releasecommands", "releasefreezes")
    }
    assert installation.left() == crds
    assert installation.kubectl("get", "leases,serviceaccounts,secrets", "-o", "name").split() == [
        f"lease.coordination.k8s.io/{NAME}", "serviceaccount/default",
    ]  # fmt: skip
