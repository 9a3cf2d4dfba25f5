"""Facts whose age matters: each is true exactly where the rules that wait for it may rely on it."""

from dataclasses import replace

import pytest
from tradingrelease.policy import signals
from tradingrelease.policy.model import Endpoints, Record
from tradingrelease.policy.reasons import Cause
from tradingrelease.policy.signals import dead, idle, read_back, serving, unread

from tests.builders import NOW, a_deployment, a_pod, a_release, a_service, a_spec, a_stack, endpoints_of

BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")


def promoted():
    """Return a world with 2.0.0 live and 1.0.0 retained."""
    return a_release().promoted("2.0.0").world()


def told(world):
    return signals.signals(world)


def scaled(world, replicas):
    return replace(world, deployments={n: replace(d, replicas=replicas) for n, d in world.deployments.items()})


def test_before_anything_is_live_nothing_is_signalled():
    assert told(a_release().candidate("1.0.0").world()) == frozenset()


def test_a_settled_release_is_read_back_and_its_blue_is_idle():
    assert told(promoted()) == {read_back(1), idle(BLUE.name)}


# --- dead -------------------------------------------------------------------------------------------------------------


def test_a_live_service_without_a_ready_endpoint_is_dead_and_not_read_back():
    world = replace(promoted(), endpoints={})
    assert {dead("backend")} == told(world) - {idle(BLUE.name)}


def test_a_service_that_wants_no_replicas_is_not_dead():
    world = scaled(replace(promoted(), endpoints={}), 0)
    assert dead("backend") not in told(world)


def test_a_live_deployment_that_was_deleted_leaves_its_service_dead():
    assert dead("backend") in told(replace(promoted(), endpoints={}, deployments={}))


@pytest.mark.parametrize("services", [{}, {"backend": a_service(selected="other")}], ids=["gone", "moved by others"])
def test_a_service_that_is_gone_or_elsewhere_is_not_dead_but_to_be_repaired(services):
    assert dead("backend") not in told(replace(promoted(), endpoints={}, services=services))


def test_one_dead_service_of_several_is_named():
    world = a_release("backend", "frontend").live().world()
    dark = replace(world, endpoints={"backend": world.endpoints["backend"]})
    assert {s for s in told(dark) if s.startswith("dead:")} == {dead("frontend")}


# --- serving ----------------------------------------------------------------------------------------------------------


def test_a_pod_serves_when_it_is_ready_on_every_port():
    one, other = a_pod(BLUE, 0), a_pod(BLUE, 1)
    service = a_service(ports=({"name": "http"}, {"name": "grpc"}))
    ready = {"http": frozenset({one.uid, other.uid}), "grpc": frozenset({one.uid})}
    world = a_release().live().having(endpoints={"backend": Endpoints(ready)}).world()
    assert serving(world, service) == {one.uid}


@pytest.mark.parametrize(("pod", "serves"), [({}, True), ({"ready": False}, False), ({"terminating": True}, False)])
def test_where_unready_pods_are_published_the_pods_themselves_are_asked(pod, serves):
    found = a_pod(BLUE, **pod)
    world = a_release().live().having(pods=(found,), endpoints={"backend": endpoints_of(found)}).world()
    assert bool(serving(world, a_service(publish_not_ready=True))) is serves
    assert serving(world, a_service()) == {found.uid}


# --- read back --------------------------------------------------------------------------------------------------------


def test_a_switch_is_not_read_back_while_it_lists_pods_of_another_revision():
    world = promoted()
    both = endpoints_of(*world.pods)
    assert "2 endpoint(s) of other pods" in unread(replace(world, endpoints={"backend": both}))


def test_a_switch_is_read_back_when_each_service_shows_live_and_no_other():
    assert unread(promoted()) == ""
    assert unread(replace(promoted(), services={"backend": a_service(selected=BLUE.revision)})) != ""
    assert unread(replace(promoted(), services={})) != ""
    assert unread(replace(promoted(), deployments={})) != ""
    assert unread(replace(promoted(), endpoints={})) != ""


def test_a_component_without_replicas_has_nothing_to_read_back():
    assert unread(scaled(replace(promoted(), endpoints={}), 0)) == ""


def test_an_act_under_way_is_not_read_back():
    world = a_release("backend", "frontend").live().candidate(verified=True).world()
    green = a_stack("2.0.0", ("backend", "frontend"))
    record = Record(2, Cause.PROMOTE, green.revision, world.memory.live.stack.revision, GREEN.revision, "x", NOW, "why")
    services = {**world.services, "frontend": a_service("frontend", world.services["frontend"].selected, record=record)}
    assert read_back(1) in told(world)
    assert read_back(1) not in told(replace(world, services=services))


# --- idle -------------------------------------------------------------------------------------------------------------


def test_what_a_service_still_lists_is_not_idle():
    """Established connections stay on it: it may not go yet."""
    world = promoted()
    lingering = Endpoints({}, frozenset(p.uid for p in world.pods))
    assert idle(BLUE.name) not in told(replace(world, endpoints={"backend": lingering}))


def test_one_pod_in_an_unmarked_service_does_not_keep_its_deployment_busy():
    world = promoted()
    foreign = {**world.endpoints, "foreign": endpoints_of(*world.pods)}
    assert idle(BLUE.name) in told(replace(world, endpoints=foreign))


def test_what_a_service_selects_is_not_idle_even_without_pods():
    world = replace(promoted(), endpoints={}, pods=())
    other = a_service("other", BLUE.revision)
    assert idle(BLUE.name) in told(world)
    assert idle(BLUE.name) not in told(replace(world, services={**world.services, "other": other}))


def test_the_preview_of_a_candidate_does_not_keep_it_busy():
    world = a_release().live().candidate("2.0.0").world()
    assert idle(GREEN.name) in told(world)


# --- a rollback by manifest -------------------------------------------------------------------------------------------


def test_a_spec_that_asks_for_what_is_retained_asks_for_a_rollback():
    asks = signals.ROLLBACK_ASKED
    assert asks in told(a_release().promoted("2.0.0").asking(a_spec("1.0.0")).world())
    assert asks not in told(a_release().promoted("2.0.0").asking(a_spec("3.0.0")).world())
    assert asks not in told(a_release().promoted("2.0.0").asking({"version": "oops"}).world())
