"""Whoever changes the selector of a Service that a release steers changes nothing; the operator and a broken glass do."""

import itertools
import json
import os

import pytest

from devcluster.cluster import ControlPlane
from tests.apiserver import Server
from tests.waiting import eventually

pytestmark = pytest.mark.apiserver

OPERATOR = "system:serviceaccount:tradingrelease-system:tradingrelease-operator"
KEY = "tradingplatform.io/revision"
STEERED = {"app": "backend", KEY: "k3v9d0q1zm"}
MARK = {"tradingplatform.io/release": "shop"}
BROKEN = {"tradingplatform.io/break-glass": "true"}
PLACES = ("shop", "payments", "other")


class Services:
    """Services as the operator leaves them, and what people do to them."""

    def __init__(self, server):
        self._server = server
        self._numbers = itertools.count(1)

    def made(self, namespace="shop", selector=STEERED, **metadata):
        """Make one that is steered, or was told otherwise."""
        body = {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": f"backend-{next(self._numbers)}", "labels": MARK} | metadata,
            "spec": {"selector": selector, "ports": [{"port": 80}]},
        }  # fmt: skip
        return self._server.create(namespace, body)

    def changed(self, service, change, how="merge", user="maya"):
        """Patch it as somebody; return what it is then."""
        metadata = service["metadata"]
        where = [metadata["name"], f"--namespace={metadata['namespace']}"]
        return self._server.read(
            "patch", "service", *where, f"--as={user}", f"--type={how}", f"-p={json.dumps(change)}"
        )

    def keeps(self, service):
        """Tell whether a change, a new one each time, leaves no trace."""
        value = f"changed-{next(self._numbers)}"
        return self.changed(service, {"spec": {"selector": {KEY: value}}})["spec"]["selector"][KEY] != value

    def forced(self, service, selector):
        """Apply it as Flux does: forced, by another manager, with the selector of its author."""
        metadata = {key: service["metadata"][key] for key in ("name", "namespace")}
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": selector, "ports": [{"port": 80}]},
        }
        arguments = ["--server-side", "--force-conflicts", "--field-manager=flux", "--as=maya", "-f", "-"]
        return self._server.read("apply", *arguments, manifest=body)


@pytest.fixture(scope="module", params=[[], list(PLACES[:2])], ids=["the whole cluster", "two namespaces"])
def services(helm, request):
    """Install the policy, and wait until it is in force."""
    with ControlPlane.start(f"cht-keep-{os.getpid()}", controller_manager=False) as plane:
        server = Server(plane)
        for name in PLACES:
            server.kubectl("create", "namespace", name)
        for made in helm.render({"namespaces": request.param}):
            if made["kind"].startswith("MutatingAdmissionPolicy"):
                server.kubectl("apply", "--server-side", "-f", "-", manifest=made)
        users = ["--user=maya", f"--user={OPERATOR}"]
        server.kubectl("create", "clusterrole", "editor", "--verb=get,create,patch", "--resource=services")
        server.kubectl("create", "clusterrolebinding", "editors", "--clusterrole=editor", *users)
        services = Services(server)
        services.confined = bool(request.param)
        canary = services.made()
        eventually(lambda: server.run("auth", "can-i", "patch", "services", "--as=maya", "-A").stdout.strip() == "yes")
        eventually(lambda: services.keeps(canary))
        yield services


def selector(service):
    return service["spec"].get("selector")


@pytest.mark.parametrize(
    "change",
    [
        {KEY: "another"}, {KEY: None}, {"app": "other"}, {"app": None}, {"tier": "web"},
        {"app": "other", KEY: None, "a/b~c": None, "example.com/tier": "web"},
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_selector_stays_as_it_was(services, change):
    assert selector(services.changed(services.made(), {"spec": {"selector": change}})) == STEERED


def test_a_selector_that_is_taken_away_stays_as_it_was(services):
    taken = [{"op": "remove", "path": "/spec/selector"}]

    assert selector(services.changed(services.made(), taken, how="json")) == STEERED


def test_what_else_the_same_write_changes_is_changed(services):
    change = {"metadata": {"labels": {"team": "shop"}}, "spec": {"selector": {KEY: None}, "ports": [{"port": 81}]}}
    after = services.changed(services.made(), change)

    assert selector(after) == STEERED
    assert [after["metadata"]["labels"]["team"], after["spec"]["ports"][0]["port"]] == ["shop", 81]


def test_a_forced_apply_succeeds_and_changes_nothing_however_often(services):
    service = services.made()
    first, *again = [services.forced(service, {"app": "backend"}) for _ in range(3)]

    assert selector(first) == STEERED
    # The manager is noted once; then there is nothing left to write, and so nothing that watches would see.
    assert {a["metadata"]["resourceVersion"] for a in again} == {first["metadata"]["resourceVersion"]}


def test_the_operator_switches(services):
    green = {"spec": {"selector": {KEY: "another"}}}

    assert selector(services.changed(services.made(), green, user=OPERATOR)) == STEERED | {KEY: "another"}


def test_a_broken_glass_gives_the_selector_back_to_people(services):
    before = services.made(annotations=BROKEN)
    together = services.changed(
        services.made(), {"metadata": {"annotations": BROKEN}, "spec": {"selector": {KEY: "mine"}}}
    )

    assert selector(services.changed(before, {"spec": {"selector": {KEY: "mine"}}})) == STEERED | {KEY: "mine"}
    assert selector(together) == STEERED | {KEY: "mine"}


@pytest.mark.parametrize("metadata", [{"labels": {}}, {"labels": {"team": "shop"}}], ids=["no label", "no mark"])
def test_a_service_of_nobody_s_release_is_left_alone(services, metadata):
    assert selector(services.changed(services.made(**metadata), {"spec": {"selector": {KEY: "x"}}})) == STEERED | {
        KEY: "x"
    }


def test_a_marked_service_that_is_not_steered_yet_is_left_alone(services):
    """Until the operator has written its key, the selector is its author's."""
    service = services.made(selector={"app": "backend"})

    assert selector(services.changed(service, {"spec": {"selector": {"app": "other"}}})) == {"app": "other"}


def test_a_service_without_a_selector_is_left_alone(services):
    service = services.changed(services.made(selector=None), {"spec": {"selector": {"app": "backend"}}})

    assert selector(service) == {"app": "backend"}


def test_only_namespaces_that_are_served_are_kept(services):
    """Elsewhere another installation's operator switches, and must not be undone."""
    change = {"spec": {"selector": {KEY: "another"}}}
    after = {place: selector(services.changed(services.made(place), change))[KEY] for place in PLACES}

    assert after == dict.fromkeys(PLACES, STEERED[KEY]) | ({"other": "another"} if services.confined else {})
