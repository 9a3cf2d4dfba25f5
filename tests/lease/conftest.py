"""A real API server, and a relay in front of it for each process or elector that is to lose it alone."""

import contextlib
import os
from urllib.parse import urlsplit

import pytest
import yaml

from devcluster.cluster import ControlPlane
from tests.relay import Relay


@pytest.fixture(scope="package")
def plane():
    """Run a control plane; the tests are inside its network."""
    with ControlPlane.start(f"lease-{os.getpid()}", controller_manager=False) as plane, plane.entered():
        yield plane


@pytest.fixture
def relayed(plane, tmp_path):
    """Make kubeconfigs that lead through a relay of their own."""
    config = yaml.safe_load(plane.kubeconfig.read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    with contextlib.ExitStack() as stack:

        def make(name):
            relay = stack.enter_context(Relay(server.hostname, server.port).running())
            config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
            file = tmp_path / f"{name}.kubeconfig"
            file.write_text(yaml.safe_dump(config))
            return relay, file

        yield make
