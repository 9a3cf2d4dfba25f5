"""A real API server, and a relay in front of it for each process or elector that is to lose it alone."""

import contextlib
import os

import pytest

from devcluster.cluster import ControlPlane
from tests.relay import before


@pytest.fixture(scope="package")
def plane():
    """Run a control plane; the tests are inside its network."""
    with ControlPlane.start(f"lease-{os.getpid()}", controller_manager=False) as plane, plane.entered():
        yield plane


@pytest.fixture
def relayed(plane, tmp_path):
    """Make kubeconfigs that lead through a relay of their own."""
    with contextlib.ExitStack() as stack:

        def make(name):
            file = tmp_path / f"{name}.kubeconfig"
            return stack.enter_context(before(plane.kubeconfig, file)), file

        yield make
