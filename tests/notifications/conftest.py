"""A bare control plane, a stand-in for the nodes, receivers on the loopback address; an operator for each test.

The operator is the real process with the rights of manifests/; admission says who applied and who ordered.
"""

import json

import pytest
import yaml

from tests import plane as bare
from tests.e2e.arena import Arena
from tests.receiver import CANARY, Receiver, write_urls

access, nodes, operator_kubeconfig = bare.access, bare.nodes, bare.operator_kubeconfig


@pytest.fixture(scope="session")
def plane():
    """Start a control plane with all that is installed beside the operator; the test process enters its network."""
    with bare.running("ntf", admission=True) as plane:
        yield plane


@pytest.fixture
def receiver(plane):
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def settings(receiver, tmp_path):
    """Return the environment of an operator that tells two targets and a sink, with nothing to wait for."""
    secrets = tmp_path / "secrets"
    write_urls(secrets, receiver, "team", "pager")
    often = {"batch": "100ms", "perHour": 3600}
    written = {
        "cluster": "prod-eu",
        "targets": {"team": often, "pager": often},
        "routes": [{"to": ["team"]}, {"to": ["pager"], "outcomes": ["RolledBack"]}],
        "cloudEvents": {},
    }
    file = tmp_path / "notifications.yaml"
    file.write_text(yaml.safe_dump(written))
    return {"TRADINGRELEASE_NOTIFICATIONS": str(file), "TRADINGRELEASE_NOTIFICATION_SECRETS": str(secrets)}


@pytest.fixture
def arena(access, nodes, plane, operator_kubeconfig, settings, tmp_path):
    """Give the test a namespace and an operator of its own; in the end, the invariants, and no secret in sight."""
    arena = Arena(access, operator_kubeconfig, tmp_path, plane.name)
    try:
        arena.open(**settings)
        yield arena
        broken = arena.violations()
        assert not broken, "\n".join(map(str, broken))
        seen = arena.operator.log.read_text(errors="replace") + arena.operator.metrics()
        seen += json.dumps([event.body for event in arena.recorder.history()])
        assert CANARY not in seen, "the URL of a target was told"
    finally:
        arena.close()
