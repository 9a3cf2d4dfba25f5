"""/livez and /readyz say what is true: made to fail by a real API server that is away, falls silent, or hangs."""

import math
import socket
import time
from pathlib import Path

import pytest

from devcluster.crds import wait_until_established
from tests.apiserver import Server
from tests.e2e import builders
from tests.e2e.process import Operator
from tests.relay import Mode
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kubectl(plane):
    run = Server(plane).kubectl
    run("apply", "--server-side", "-k", str(ROOT / "crds"))
    wait_until_established(run)
    return run


@pytest.fixture
def operator(kubectl, relayed, tmp_path):
    """Make an operator with a relay of its own in front of the API server; it is not started yet."""
    relay, kubeconfig = relayed("operator")
    operator = Operator("default", kubeconfig, tmp_path / "operator.log", lambda _: None)
    operator.relay = relay
    yield operator
    if operator.runs:
        operator.kill()


def until(holds, what, seconds=30.0):
    eventually(holds, lambda: f"is it so that {what}", seconds)


def test_it_is_ready_when_its_caches_are_in_and_lives_before(operator):
    operator.relay.set(Mode.REFUSING)
    operator.launch()
    until(lambda: operator.ask("/livez") == (200, "ok"), "it lives")
    assert operator.ask("/readyz") == (503, "caches are not in yet")
    operator.relay.set(Mode.OPEN)
    until(lambda: operator.ask("/readyz") == (200, "ok"), "it is ready")


def test_it_is_not_ready_while_a_kind_cannot_be_listed(operator, kubectl):
    kubectl("delete", "crd", "releasecommands.tradingplatform.io")
    try:
        operator.launch()
        until(lambda: "releasecommands" in operator.tail(), "it says what it cannot list")
        assert operator.ask("/readyz") == (503, "caches are not in yet")
    finally:
        kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
    until(lambda: operator.ask("/readyz") == (200, "ok"), "it is ready")


def test_a_look_that_does_not_end_is_no_life(operator, kubectl):
    """An admission webhook that never answers holds the request, as they do."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"https://127.0.0.1:{hole.getsockname()[1]}/"
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
        webhook = {
            "name": "hangs.example.com", "rules": [rule], "clientConfig": {"url": url}, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
        }  # fmt: skip
        kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
        kubectl("create", "-f", "-", manifest=kind | {"metadata": {"name": "hangs"}, "webhooks": [webhook]})
        try:
            operator.start(TRADINGRELEASE_STUCK_SECONDS="2")
            kubectl("create", "-f", "-", manifest=builders.service())
            kubectl("create", "-f", "-", manifest=builders.release("1"))
            until(lambda: operator.ask("/livez")[0] == 500, "it does not live")
            status, said = operator.ask("/livez")
            assert (status, said) == (500, "the look at default/shop does not end")
        finally:
            kubectl("delete", "validatingwebhookconfiguration", "hangs")
    until(lambda: operator.ask("/livez") == (200, "ok"), "it lives again: the request timed out, the next one passed")


def test_a_watch_that_falls_silent_is_no_life(operator):
    """The API server sends a bookmark every minute: what is silent for longer is dead, though its socket stands."""
    operator.start(TRADINGRELEASE_SILENT_SECONDS="66")
    operator.relay.set(Mode.SILENT)
    until(lambda: operator.ask("/livez")[0] == 500, "it does not live", 90)
    assert operator.ask("/livez")[1].startswith("the watch of ")
    operator.relay.set(Mode.REFUSING)  # the silent connections end
    operator.relay.set(Mode.OPEN)
    until(lambda: operator.ask("/livez") == (200, "ok"), "it lives again", 60)


def test_a_watch_that_says_something_is_not_silent(operator, kubectl):
    operator.start()
    until(lambda: 3 < age(operator, "services") < 60, "nothing happens for some time")
    began = time.monotonic()
    kubectl("create", "-f", "-", manifest=builders.service("news"))
    try:
        until(lambda: age(operator, "services") < time.monotonic() - began, "it was heard", 20)
    finally:
        kubectl("delete", "service", "news")


def age(operator, resource):
    """Return how long ago a watch last said anything, as /metrics says; for ever, where that is not known."""
    ages = {labels["resource"]: seconds for labels, seconds in operator.samples("tradingrelease_watch_age_seconds")}
    return ages.get(resource, math.inf)


def test_a_process_that_stands_still_does_not_answer(operator):
    operator.start()
    with operator.frozen():
        assert operator.ask("/livez") == (0, "timed out")
    until(lambda: operator.ask("/livez") == (200, "ok"), "it goes on")
