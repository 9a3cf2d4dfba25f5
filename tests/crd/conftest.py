"""One API server for all tests of this folder, with both CRDs, and the manifests that the tests begin with."""

import copy
import itertools
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from devcluster.cluster import ControlPlane

ROOT = Path(__file__).resolve().parents[2]
CRDS = [ROOT / "crds" / "tradingreleases.yaml", ROOT / "crds" / "releasecommands.yaml"]


class Server:
    """An API server, spoken to as its users do: with kubectl."""

    def __init__(self, plane):
        self._plane = plane
        self._numbers = itertools.count(1)

    def run(self, *arguments, manifest=None):
        """Run kubectl, whatever it answers."""
        given = None if manifest is None else json.dumps(manifest)
        argv = self._plane.command(["kubectl", *arguments])
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

    def new_namespace(self):
        """Create a namespace that nobody else uses."""
        name = f"test-{next(self._numbers)}"
        self.kubectl("create", "namespace", name)
        return name


@pytest.fixture(scope="session")
def server():
    with ControlPlane.start(f"crd-{os.getpid()}", controller_manager=False) as plane:
        server = Server(plane)
        for crd in CRDS:
            server.kubectl("apply", "--server-side", "-f", str(crd))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        yield server


@pytest.fixture
def namespace(server):
    return server.new_namespace()


@pytest.fixture
def changed():
    """Copy a manifest and change it: JSON pointer -> value, or ... to take it away."""
    return _changed


@pytest.fixture
def release():
    """Begin with the smallest useful release."""
    return yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())


@pytest.fixture
def order():
    """Begin with an order that needs no more than it has."""
    return {
        "apiVersion": "tradingplatform.io/v1alpha1",
        "kind": "ReleaseCommand",
        "metadata": {"name": "back"},
        "spec": {"release": "trading-platform", "action": "Rollback", "revision": "k3v9d0q1zm"},
    }


@pytest.fixture(scope="session", params=CRDS, ids=lambda file: file.stem)
def crd(request):
    """Read each CRD as it is written."""
    return yaml.safe_load(request.param.read_text())


def _changed(manifest, changes):
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        *way, last = (int(step) if step.isdigit() else step.replace("~1", "/") for step in path.split("/"))
        place = result
        for step in way:
            place = place[step]
        if value is ...:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return result
