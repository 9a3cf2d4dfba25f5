"""A bare control plane with what the operator needs, for tests that have no nodes: they bind and ready pods themselves.

The fixtures are for conftest.py files, which give `plane` by `running`.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest

from devcluster.cluster import ControlPlane
from tests.e2e.api import Access, Api
from tests.e2e.installed import ACCOUNT, SYSTEM, install, logged_in
from tests.inputs.nodes import Nodes


@contextlib.contextmanager
def running(name: str, *, admission: bool = False) -> Iterator[ControlPlane]:
    """Start one, with CRDs and RBAC, and admission if asked for; the test process itself enters its network."""
    with (
        ControlPlane.start(f"{name}-{os.getpid()}") as plane,
        plane.entered(),
        pytest.MonkeyPatch.context() as environment,
    ):
        for key, value in plane.environment().items():
            environment.setenv(key, value)
        install(admission=admission)
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
    target = tmp_path_factory.mktemp("operator") / "kubeconfig"
    target.write_text(logged_in(ACCOUNT, SYSTEM))
    return target
