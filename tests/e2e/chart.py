"""The operator as users run it: pods of its image, installed by Helm, in a namespace of its own."""

import json
import subprocess

import yaml

from devcluster import binaries
from tests.chart.helm import CHART
from tests.e2e.faults import kubectl
from tests.e2e.installed import install
from tests.waiting import eventually

NAME = "e2e-tradingrelease-operator"
CLUSTER_WIDE = {
    "userRoles": {"create": False},
    "admission": {who: {"enabled": False} for who in ("actionVerbs", "deputy", "identity")},
}
"""What the other tests have applied, or would meet."""


class Installation:
    """The chart, for the arena's namespace alone."""

    def __init__(self, arena):
        self._arena, self._helm = arena, str(binaries.helm() / "helm")
        self.namespace = f"{arena.namespace}-operator"

    def install(self, chart=CHART, tag="dev", **values):
        """Install it, and wait until every replica is Ready. The CRDs are those that the other tests applied."""
        self._arena.finally_(self.remove)
        ours = ["--create-namespace", "--take-ownership", "--force-conflicts"]
        self._run("install", NAME, str(chart), self._values(chart, tag, values), *ours)
        self.rolled_out()
        self._arena.recorder.note("STARTED")

    def upgrade(self, chart=CHART, tag="dev", **values):
        """Go over to another version of it, or to other values, and wait until every replica is Ready."""
        self._run("upgrade", NAME, str(chart), self._values(chart, tag, values))
        self.rolled_out()

    def rollback(self):
        """Go back to the version before, and wait until every replica is Ready."""
        self._run("rollback", NAME)
        self.rolled_out()

    def rolled_out(self):
        """Wait until every replica is of the newest version and Ready, and no other one is there."""
        self.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=120s")
        eventually(lambda: len({pod["metadata"]["labels"]["pod-template-hash"] for pod in self.pods()}) == 1)

    def uninstall(self):
        """Take it away, and wait until its pods have ended."""
        self._arena.recorder.note("STOPPED")
        self._run("uninstall", NAME)
        self.kubectl("wait", "--for=delete", "pod", f"--selector={self.selector}", "--timeout=60s")

    def remove(self):
        """Leave nothing but the CRDs of now, whatever the test did."""
        subprocess.run(
            [self._helm, "uninstall", NAME, f"--namespace={self.namespace}", "--ignore-not-found"], check=False
        )
        kubectl(self._arena, "delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")
        install()

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

    def leader(self):
        """Return the pod that holds the Lease; nothing while none of those that are there does."""
        holder = self.kubectl("get", "lease", NAME, "-o", "jsonpath={.spec.holderIdentity}").partition("_")[0]
        return next((pod for pod in self.pods() if pod["metadata"]["name"] == holder), None)

    def left(self):
        """Name what is still there of it, in the whole cluster."""
        kinds = kubectl(self._arena, "api-resources", "--verbs=list", "-o", "name").split()
        listed = ",".join(kind for kind in kinds if not kind.startswith(("events", "componentstatuses")))
        told = kubectl(
            self._arena, "get", listed, "-A", f"--selector={self.selector}", "-o", "name", "--ignore-not-found"
        )
        return {line for line in told.split() if "/" in line}

    def _values(self, chart, tag, values):
        given = self._arena.folder / "values.json"
        known = yaml.safe_load((chart / "values.yaml").read_text())["admission"]  # an earlier version knows fewer
        off = {who: off for who, off in CLUSTER_WIDE["admission"].items() if who in known}
        own = CLUSTER_WIDE | {"admission": off, "namespaces": [self._arena.namespace], "image": {"tag": tag}}
        given.write_text(json.dumps(own | values))
        return f"--values={given}"

    def _run(self, *arguments):
        argv = [self._helm, *arguments, f"--namespace={self.namespace}"]
        answer = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=180)
        assert answer.returncode == 0, answer.stderr
