"""The very first release: there is nothing to go back to, and still nothing unverified gets traffic."""

from tests.e2e.builders import component, release, service


def test_a_service_that_selects_nothing_yet_is_gated_before_any_candidate_exists(arena):
    arena.apply(service())
    arena.apply(release("1"))
    state = arena.until(lambda s: s.ready("1"), "version 1 is live", 90)
    assert len(state.endpoints("backend")) == 1
    assert not arena.ever(lambda s: s.deployments() and s.selected("backend") is None), "gated first"
    assert not arena.ever(lambda s: s.selected("backend") in {None, "none"} and s.endpoints("backend"))
    assert [move["cause"] for move in arena.switches()] == ["Promote"]
    assert state.retained() == []


def test_the_first_release_goes_through_the_same_gates_as_any_other(arena):
    arena.apply(service())
    bad = component(version="1", progressDeadline="20s")
    bad["health"]["httpGet"]["path"] = "/nowhere"
    arena.apply(release("1", bad))
    state = arena.until(lambda s: s.latched() == ["1"], "version 1 is given up")
    assert state.selected("backend") == "none"
    assert "HTTP 404" in state.condition("Stalled")["message"]
    arena.apply(release("2"))
    arena.until(lambda s: s.ready("2"), "version 2 is live", 90)
    assert [move["to"] for move in arena.switches()] == [arena.now.status()["live"]["revision"]]


def test_half_a_first_switch_that_is_aborted_returns_to_nothing(arena):
    names = ("backend", "frontend")
    arena.apply(*(service(n) for n in names))
    with arena.denied("frontend"):
        arena.apply(release("1", *(component(n, "1") for n in names)))
        state = arena.until(lambda s: s.selected("backend") not in {None, "none"}, "half of it is switched", 90)
        order = arena.order("Abort", state.status()["candidate"]["revision"])
        state = arena.until(lambda s: s.order(order).get("phase") == "Done", "it is aborted")
    assert {state.selected(n) for n in names} == {"none"}
    assert state.latched() == ["1"]
    assert state.live() == ""
    arena.apply(release("2", *(component(n, "2") for n in names)))
    arena.until(lambda s: s.ready("2"), "version 2 is live", 90)
