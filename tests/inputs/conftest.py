"""One bare control plane, one operator for the whole of it, and a stand-in for the nodes; a namespace for each test.

The operator is the real process with the rights of manifests/. One process serves every test of a run, so a test that
harms it fails all others: `healthy` in the end says which line of its log tells of it.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from devcluster.cluster import ControlPlane
from tests.e2e.api import Access, Api
from tests.e2e.installed import ACCOUNT, FILES, SYSTEM, kubectl
from tests.e2e.process import Operator
from tests.inputs.nodes import Nodes
from tests.inputs.place import Place


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.apiserver)


@pytest.fixture(scope="session")
def plane():
    """Start a control plane with CRDs and RBAC; the test process itself enters its network."""
    sys.setrecursionlimit(12_000)  # tests store JSON as deep as an API server takes it, and watch it
    with (
        ControlPlane.start(f"inp-{os.getpid()}") as plane,
        plane.entered(),
        pytest.MonkeyPatch.context() as environment,
    ):
        for key, value in plane.environment().items():
            environment.setenv(key, value)
        kubectl("apply", "--server-side", *(f"--filename={file}" for file in FILES))
        kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        yield plane


@pytest.fixture(scope="session")
def access(plane):
    return Access.load()


@pytest.fixture(scope="session")
def nodes(access):
    nodes = Nodes(Api(access, ""))
    nodes.start()
    yield nodes
    nodes.stop()


@pytest.fixture(scope="session")
def operator_kubeconfig(plane, tmp_path_factory):
    config = yaml.safe_load(plane.kubeconfig.read_text())
    token = kubectl("create", "token", ACCOUNT, f"--namespace={SYSTEM}", "--duration=8h").strip()
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    target = tmp_path_factory.mktemp("operator") / "kubeconfig"
    target.write_text(json.dumps(config))
    return target


@pytest.fixture(scope="session")
def operator(nodes, operator_kubeconfig, tmp_path_factory):
    """Serve all namespaces with one operator."""
    operator = Operator("", operator_kubeconfig, tmp_path_factory.mktemp("log") / "operator.log", lambda _: None)
    operator.start()
    yield operator
    operator.kill()


@pytest.fixture
def opened(access, operator, plane, tmp_path):
    """Open a namespace of its own; in the end, the invariants, and the operator as well as before."""

    @contextlib.contextmanager
    def opened():
        place = Place(access, operator, plane, tmp_path)
        place.open()
        try:
            yield place
            place.nothing_broke()
        finally:
            place.close()

    return opened


@pytest.fixture
def place(opened):
    """Give the test a namespace of its own."""
    with opened() as place:
        yield place
