"""The real Helm, the chart, and one API server with everything that the chart may ask for."""

import os
from pathlib import Path

import pytest

from devcluster import binaries, pins
from devcluster.cluster import ControlPlane
from devcluster.crds import wait_until_established
from tests.apiserver import Server
from tests.chart.helm import Helm


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents and "server" in item.fixturenames:
            item.add_marker(pytest.mark.apiserver)


@pytest.fixture(scope="session")
def helm(tmp_path_factory):
    return Helm(binaries.helm() / "helm", tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def helm_3(tmp_path_factory):
    """Run the Helm before it, which many still have."""
    return Helm(binaries.helm_3() / "helm", tmp_path_factory.mktemp("helm-3"))


@pytest.fixture(scope="session")
def plane():
    with ControlPlane.start(f"cht-{os.getpid()}") as plane:
        yield plane


@pytest.fixture(scope="session")
def server(plane):
    """Know the CRDs of the Prometheus operator, too; ours come with the chart."""
    server = Server(plane)
    source = binaries.module_source("github.com/prometheus-operator/prometheus-operator", pins.PROMETHEUS_OPERATOR)
    for kind in ("podmonitors", "servicemonitors", "prometheusrules"):
        crd = source / "example" / "prometheus-operator-crd" / f"monitoring.coreos.com_{kind}.yaml"
        server.kubectl("apply", "--server-side", "-f", str(crd))
    wait_until_established(server.kubectl)
    return server
