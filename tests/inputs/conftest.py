"""One bare control plane, one operator for the whole of it, and a stand-in for the nodes; a namespace for each test.

The operator is the real process with the rights of manifests/. One process serves every test of a run, so a test that
harms it fails all others: `healthy` in the end says which line of its log tells of it.
"""

import contextlib
import sys

import pytest

from tests import plane as bare
from tests.e2e.process import Operator
from tests.inputs.place import Place

access, nodes, operator_kubeconfig = bare.access, bare.nodes, bare.operator_kubeconfig


@pytest.fixture(scope="session")
def plane():
    """Start a control plane with CRDs and RBAC; the test process itself enters its network."""
    sys.setrecursionlimit(12_000)  # tests store JSON as deep as an API server takes it, and watch it
    with bare.running("inp") as plane:
        yield plane


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
