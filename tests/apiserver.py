"""A real API server as its users meet it: through kubectl."""

import itertools
import json
import subprocess

import yaml

from devcluster.crds import wait_until_established
from devcluster.places import ROOT
from tests.e2e import builders
from tests.waiting import eventually

NAMERS = {"TradingRelease": "tradingrelease-author", "ReleaseCommand": "tradingrelease-issuer"}
"""Which policy writes who it was, by kind."""


class Server:
    """An API server, spoken to as its users do: with kubectl."""

    def __init__(self, plane):
        self.plane = plane
        self._numbers = itertools.count(1)

    def run(self, *arguments, manifest=None):
        """Run kubectl, whatever it answers."""
        given = None if manifest is None else json.dumps(manifest)
        argv = self.plane.command(["kubectl", *arguments])
        return subprocess.run(argv, input=given, capture_output=True, text=True, check=False)

    def kubectl(self, *arguments, manifest=None):
        """Run kubectl; a refusal fails the test with kubectl's words."""
        answer = self.run(*arguments, manifest=manifest)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def read(self, *arguments, manifest=None):
        """Run kubectl and read the object that it answers."""
        return json.loads(self.kubectl(*arguments, "-o", "json", manifest=manifest))

    def create(self, namespace, manifest):
        """Store the object and return it as it was stored."""
        return self.read("create", "-n", namespace, "-f", "-", manifest=manifest)

    def accepted(self, manifest):
        """Return the object as it would be stored."""
        return self.read("create", "--dry-run=server", "-f", "-", manifest=manifest)

    def refusal(self, manifest):
        """Tell why the object is refused."""
        answer = self.run("create", "--dry-run=server", "-o", "name", "-f", "-", manifest=manifest)
        assert answer.returncode != 0, "it was accepted"
        return answer.stderr

    def settle(self):
        """Wait until our CRDs are served, and the policies that write who it was are in force where they are installed.

        Such a policy does nothing until the API server heard of it, and then answers 503 until it knows the kind.
        """
        wait_until_established(self.kubectl)
        installed = self.run("get", "mutatingadmissionpolicies", "-o", "name").stdout  # none before Kubernetes 1.36
        minimal = yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())
        minimal["metadata"]["name"] = "probe"  # what exists already is refused before anybody names it
        for body in (minimal, builders.order("Pause", "probe")):
            stamped = f"/{NAMERS[body['kind']]}\n" in installed
            eventually(lambda b=body, s=stamped: self._takes(b, stamped=s), lambda b=body: self._as_anna(b).stderr)

    def _takes(self, body, *, stamped):
        answer = self._as_anna(body)
        if answer.returncode:
            return "is invalid" in answer.stderr  # a stricter CRD comes after the policies
        return "anna" in answer.stdout or not stamped

    def _as_anna(self, body):
        anna = ["--as=anna", "--as-group=system:masters"]
        return self.run("create", "--dry-run=server", "-o", "json", *anna, "-f", "-", manifest=body)

    def new_namespace(self):
        """Create a namespace that nobody else uses."""
        name = f"test-{next(self._numbers)}"
        self.kubectl("create", "namespace", name)
        return name
