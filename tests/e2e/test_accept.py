"""What cannot work is refused with a reason and advice; it changes nothing, and is taken up when it can work."""

import pytest

from tests.e2e.builders import PORTS, component, release, service, template
from tests.oracle import label


def refused(reason):
    return lambda s: s.condition("Accepted")["reason"] == reason and s.seen_generation()


def test_a_missing_service_is_waited_for_and_noticed_when_it_appears(arena):
    arena.apply(release("1"))
    state = arena.until(refused("ServiceMissing"), "it says which Service is missing")
    assert "backend" in state.condition("Accepted")["message"]
    assert state.is_true("Stalled")
    assert not state.deployments()
    arena.apply(service())
    arena.until(lambda s: s.is_true("Accepted"), "it is noticed", 10)
    arena.until(lambda s: s.ready("1"), "version 1 is live", 90)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"type": "ExternalName", "externalName": "example.org", "selector": ..., "ports": ...}, id="name"),
        pytest.param({"selector": ...}, id="no selector"),
    ],
)
def test_a_service_that_cannot_be_steered_is_refused_and_left_alone(arena, odd):
    (stored,) = arena.apply(service(**odd))
    arena.apply(release("1"))
    state = arena.until(refused("ServiceNotSteerable"), "it is refused")
    assert "Service backend" in state.condition("Accepted")["message"]
    arena.never(lambda s: s.deployments(), "anything was started", 3)
    untouched = arena.api.get("Service", "backend")["metadata"]["resourceVersion"]
    assert untouched == stored["metadata"]["resourceVersion"]
    arena.api.delete("Service", "backend")
    arena.apply(service())
    arena.until(lambda s: s.ready("1"), "version 1 is live once it can be steered", 90)


def test_a_service_of_another_release_is_refused_until_that_release_is_gone(arena):
    arena.apply(service(), release("1", name="other"))
    arena.until(lambda s: s.ready("1", "other"), "the other release is live", 90)
    first = arena.now.selected("backend")
    arena.apply(release("2", name="shop"))
    state = arena.until(refused("ServiceTaken"), "it is refused")
    assert "TradingRelease other" in state.condition("Accepted")["message"]
    assert state.selected("backend") == first
    assert not state.deployments("shop")
    arena.api.delete("TradingRelease", "other")
    arena.until(lambda s: s.ready("2"), "version 2 is live", 90)
    assert label(arena.now.get("Service", "backend"), "tradingplatform.io/release") == "shop"


def test_two_services_of_a_component_move_together(arena):
    names = ["backend", "backend-internal", "backend-headless"]
    arena.apply(*(service(n, {"app": "backend"}) for n in names[:2]))
    arena.apply(service(names[2], {"app": "backend"}, clusterIP="None"))
    arena.apply(release("1", component(version="1", services=names)))
    arena.until(lambda s: s.ready("1"), "version 1 is live", 90)
    arena.apply(release("2", component(version="2", services=names)))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live", 90)
    assert len({state.selected(n) for n in names}) == 1
    assert all(len(state.endpoints(n)) == 1 for n in names)
    acts = {}
    for move in arena.switches():
        acts.setdefault(move["act"], []).append(move["service"])
    assert list(acts.values()) == [names, names], "one act each, every Service once, in the order of the spec"
    assert not state.get("Service", "backend-preview"), "previews end with the candidate"


def test_an_unlisted_service_that_matches_the_candidates_pods_is_refused_unless_allowed(arena):
    arena.go_live("1")
    arena.apply(service("debug", {"app": "backend"}))
    arena.apply(release("2"))
    state = arena.until(refused("UnlistedService"), "it is refused")
    assert "Service debug" in state.condition("Accepted")["message"]
    arena.never(lambda s: s.candidate(), "a candidate was begun", 3)
    assert arena.now.live() == "1"
    arena.apply(release("2", component(version="2", allowUnlistedServices=["debug"])))
    arena.until(lambda s: s.ready("2"), "version 2 is live", 90)


def test_a_template_that_does_not_satisfy_the_services_own_selector_is_refused(arena):
    arena.apply(service(selector={"app": "backend", "tier": "gold"}))
    arena.apply(release("1"))
    state = arena.until(refused("SelectorMismatch"), "it is refused")
    assert "tier=gold" in state.condition("Accepted")["message"]
    arena.apply(release("1", component(version="1", pods=template(version="1", labels={"tier": "gold"}))))
    arena.until(lambda s: s.ready("1"), "version 1 is live", 90)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        pytest.param({"imagePullPolcy": "Always"}, 'unknown field "spec.template.spec.containers[0].imagePullPolcy"'),
        pytest.param({"imagePullPolicy": "Often"}, 'Unsupported value: "Often"'),
        pytest.param({"ports": [{"name": "http", "containerPort": 99999}]}, "must be between 1 and 65535"),
    ],
    ids=["unknown field", "value", "port"],
)
def test_the_api_servers_own_words_about_a_template_arrive_within_a_moment(arena, wrong, words):
    state = arena.go_live("1")
    first = state.selected("backend")
    arena.apply(release("2", component(pods=template(version="2", **wrong))))
    state = arena.until(refused("InvalidTemplate"), "it is refused", 15)
    assert words in state.condition("Accepted")["message"]
    assert state.selected("backend") == first
    assert not state.is_true("Ready")
    assert state.is_true("Serving")
    arena.settled(5)


def test_an_expression_that_does_not_compile_is_refused(arena):
    part = component(version="1")
    part["health"]["expect"] = "response.status = 200"
    arena.apply(service(), release("1", part))
    state = arena.until(refused("InvalidExpression"), "it is refused", 10)
    assert "health.expect" in state.condition("Accepted")["message"]
    part["health"]["expect"] = "response.status == 200 && response.json.version == release.version"
    arena.apply(release("1", part))
    arena.until(lambda s: s.ready("1"), "version 1 is live", 90)


def test_a_preview_name_that_is_taken_is_refused_and_the_other_service_left_alone(arena):
    mine = service("backend-preview", {"app": "something-else"})
    (stored,) = arena.apply(mine)
    arena.apply(service(), release("1"))
    state = arena.until(refused("PreviewNameTaken"), "it is refused")
    assert "backend-preview" in state.condition("Accepted")["message"]
    untouched = arena.api.get("Service", "backend-preview")
    assert untouched["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]
    assert untouched["spec"]["ports"][0]["port"] == PORTS[0]["port"]
    arena.api.delete("Service", "backend-preview")
    arena.until(lambda s: s.ready("1"), "version 1 is live", 90)
