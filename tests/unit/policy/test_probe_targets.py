"""Whom to ask for health: only pods of our own Deployments, at the pod's own address (product.md 3 and 4.6)."""

from dataclasses import replace

import pytest
from tradingrelease.policy import probes
from tradingrelease.policy.model import scope

from tests.builders import a_component, a_deployment, a_health, a_pod, a_release, a_spec, a_stack, parsed

BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")


def asked(world):
    return {(t.scope, t.pod_uid) for t in probes.wanted(world)}


def test_every_pod_of_a_candidate_is_asked_under_its_attempt():
    world = a_release().live().candidate("2.0.0").world()
    where = scope(a_stack("2.0.0").revision, 1)
    assert asked(world) == {(where, a_pod(GREEN, 0).uid), (where, a_pod(GREEN, 1).uid)}


def test_live_is_asked_in_its_watch_and_no_more_once_it_is_proven():
    where = scope(a_stack("1.0.0").revision, None)
    assert asked(a_release().live(proven=False).world()) == {(where, a_pod(BLUE, n).uid) for n in (0, 1)}
    assert asked(a_release().live().world()) == set()
    assert asked(a_release().world()) == set()


def test_who_has_no_health_block_is_not_asked():
    bare = parsed(a_spec("1.0.0", (a_component(health=None),)))
    world = a_release().live(proven=False).world()
    assert asked(replace(world, stored={a_stack("1.0.0").revision: bare})) == set()
    assert asked(replace(world, deployments={})) == set()


def target(port="http", **pod):
    health = parsed(a_spec(components=(a_component(health=a_health(httpGet={"path": "/", "port": port})),)))
    world = a_release().live().having(pods=(a_pod(BLUE, **pod),)).world()
    return probes.pod_targets(world, "asked", BLUE, health.components[0].health)


@pytest.mark.parametrize(("port", "number"), [("http", 8080), (9090, 9090)])
def test_a_pod_is_asked_at_its_own_address_before_it_is_ready(port, number):
    (found,) = target(port, ready=False)
    assert (found.ip, found.host_ip, found.port, found.version) == ("10.0.0.1", "192.168.0.1", number, "1.0.0")


@pytest.mark.parametrize("pod", [{"ip": ""}, {"host_network": True}, {"terminating": True}, {"ports": {}}], ids=str)
def test_a_pod_is_not_asked(pod):
    """Without an address, on its node's own network, on its way out, or without the port."""
    assert target(**pod) == []


def test_it_is_said_why_a_pod_cannot_be_asked():
    health = parsed().components[0].health
    assert probes.unprobeable(a_pod(BLUE), health) == ""
    assert "node's own network" in probes.unprobeable(a_pod(BLUE, host_network=True), health)
    assert "is named 'http'" in probes.unprobeable(a_pod(BLUE, ports={}), health)
    assert probes.unprobeable(a_pod(BLUE, ports={}, ip=""), health) == "", "its ports are not known yet"
