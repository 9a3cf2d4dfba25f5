"""One API server for all tests of this folder, with all CRDs, and the manifests that the tests begin with."""

import os
from pathlib import Path

import pytest
import yaml

from devcluster.cluster import ControlPlane
from devcluster.crds import wait_until_established
from tests.apiserver import Server
from tests.inputs.mutate import put

ROOT = Path(__file__).resolve().parents[2]
CRDS = [ROOT / "crds" / f"{kind}.yaml" for kind in ("tradingreleases", "releasecommands", "releasefreezes")]


@pytest.fixture(scope="session")
def server():
    with ControlPlane.start(f"crd-{os.getpid()}", controller_manager=False) as plane:
        server = Server(plane)
        for crd in CRDS:
            server.kubectl("apply", "--server-side", "-f", str(crd))
        wait_until_established(server.kubectl)
        yield server


@pytest.fixture
def namespace(server):
    return server.new_namespace()


@pytest.fixture
def changed():
    """Copy a manifest and change it: JSON pointer -> value, or ... to take it away."""
    return put


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


@pytest.fixture
def freeze():
    """Begin with a freeze that needs no more than it has."""
    return {
        "apiVersion": "tradingplatform.io/v1alpha1",
        "kind": "ReleaseFreeze",
        "metadata": {"name": "quarter-close"},
        "spec": {
            "reason": "quarter close",
            "author": "risk",
            "between": {"from": "2026-12-18T18:00:00Z", "to": "2027-01-04T08:00:00+01:00"},
        },
    }


@pytest.fixture(scope="session", params=CRDS, ids=lambda file: file.stem)
def crd(request):
    """Read each CRD as it is written."""
    return yaml.safe_load(request.param.read_text())
