"""After the switch: what fails in its watch goes back to blue by itself, and never for a wrong reason."""

import pytest

from tests.e2e.builders import component, release
from tests.e2e.faults import UNREADY, breakable, crash, crashable, ready, spoil
from tests.e2e.scenes import (
    first,
    go_live,
    is_reached,
    names,
    of_version,
    outcome,
    part,
    reason,
    revision_of,
    rolled_back,
    switch_to,
)
from tests.oracle import RELEASE, label, written_at


def stands_reduced(state):
    return state.condition("RollbackReady")["reason"] == "Reduced"


@pytest.mark.parametrize("broken", [3, 2, 1])
def test_green_whose_health_fails_on_some_of_3_pods_after_the_switch_is_left_for_blue(arena, broken):
    first(arena, "1", part("1", replicas=3))
    state = switch_to(arena, "2", part("2", breakable(version="2"), replicas=3))
    green = state.selected("backend")
    spoil(state.pods(green)[:broken])
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert reason(state, "2") == "HealthFailed"
    assert outcome(state, "2") == "RolledBack"
    state = arena.until(is_reached, "the slices name blue's pods")
    assert len(state.endpoints("backend")) == 3
    assert len(arena.switches()) == 3, "one switch each way, and the first"
    assert arena.said("RolledBack")


def test_green_whose_pods_all_become_unready_after_the_switch_is_left_after_dead_after(arena):
    first(arena, "1", part("1", replicas=2))
    state = switch_to(arena, "2", part("2", breakable(version="2", **UNREADY), health=None, replicas=2))
    green = state.selected("backend")
    spoil(state.pods(green))
    dead = arena.until(lambda s: not s.endpoints("backend"), "green has no ready endpoint")
    back = arena.until(lambda s: s.selected("backend") != green, "blue is selected", 60)
    assert 2 < back.seen - dead.seen < 20, "deadAfter is 3 s"
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert reason(state, "2") == "NoEndpoint"
    assert "confirmed by a direct read" in arena.operator.tail(2000)


def test_one_unready_pod_of_3_is_no_failure_where_no_health_is_asked_for(arena):
    first(arena, "1", part("1", replicas=1))
    state = switch_to(
        arena, "2", part("2", breakable(version="2", **UNREADY), health=None, replicas=3),
        watch={"for": "12s", "deadAfter": "3s"},
    )  # fmt: skip
    spoil(state.pods(state.selected("backend"))[:1])
    arena.until(lambda s: len(s.endpoints("backend")) == 2, "one of 3 pods is unready")
    arena.until(lambda s: s.ready("2"), "version 2 is proven by the pods that serve", 60)


def test_long_after_its_watch_live_without_an_endpoint_is_left_for_what_is_retained(arena):
    first(arena, "1")
    state = go_live(arena, "2", part("2", breakable(version="2", **UNREADY)))
    green = state.selected("backend")
    assert state.retained() == ["1"]
    spoil(state.pods(green))
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert reason(state, "2") == "NoEndpoint"
    assert state.retained() == [], "what is latched is no target"


def test_after_its_watch_a_failing_health_check_alone_changes_nothing(arena):
    first(arena, "1")
    state = go_live(arena, "2", part("2", breakable(version="2")))
    spoil(state.pods(state.selected("backend")))
    arena.never(lambda s: s.live() != "2" or not s.ready("2"), "version 2 is left", 10)


@pytest.mark.parametrize("proven", [False, True], ids=["in the watch", "in retention"])
def test_slices_that_lose_our_label_for_a_moment_are_no_death(arena, proven):
    first(arena, "1")
    state = go_live(arena, "2") if proven else switch_to(arena, "2")
    slices = [s for s in state.all("EndpointSlice") if label(s, "kubernetes.io/service-name") == "backend"]
    assert slices
    assert all(label(s, RELEASE) == "shop" for s in slices), "slices inherit their Service's labels"
    for found in slices:
        arena.api.patch("EndpointSlice", found["metadata"]["name"], {"metadata": {"labels": {RELEASE: None}}})
    arena.never(lambda s: s.live() != "2", "version 2 is left", 10)
    assert len(arena.switches()) == 2, "the first release and this one"


def test_where_blue_fails_the_same_probe_nothing_moves_until_a_person_orders_it(arena):
    first(arena, "1", part("1", breakable(version="1")))
    state = switch_to(arena, "2", part("2", breakable(version="2")))
    green, live = state.selected("backend"), revision_of(state, "2")
    spoil(p for p in state.pods() if p["status"].get("podIP"))
    arena.until(
        lambda s: s.condition("Stalled")["status"] == "True" and s.condition("Stalled")["reason"] == "BothSidesFail",
        "both sides fail and it says so",
    )
    arena.never(lambda s: s.selected("backend") != green, "traffic moves", 8)
    order = arena.order("Rollback", live)
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again, as ordered", 60)
    arena.until(lambda s: s.order(order).get("phase") == "Done", "the order is answered")


def test_blue_with_1_of_3_pods_takes_over_from_a_green_without_any(arena):
    state = first(arena, "1", part("1", breakable(version="1", **UNREADY), replicas=3))
    blue = state.selected("backend")
    state = switch_to(arena, "2", part("2", breakable(version="2", **UNREADY), health=None, replicas=1))
    spoil(state.pods(blue)[:2])
    state = arena.until(lambda s: len(ready(s, blue)) == 1, "one of 3 blue pods is ready")
    arena.until(stands_reduced, "the reduced target is shown")
    spoil(state.pods(state.selected("backend")))
    arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    state = arena.until(lambda s: s.endpoints("backend"), "the slices follow the Service's selector")
    assert len(state.endpoints("backend")) == 1


def test_a_bad_release_soon_after_a_good_one_fails_in_its_own_time_and_goes_back_to_the_good_one(arena):
    first(arena, "1")
    go_live(arena, "2")
    never = breakable(version="3", readinessProbe={"httpGet": {"path": "/no-such-page", "port": "http"}})
    arena.apply(release("3", part("3", never, progressDeadline="6s")))
    begun = arena.until(lambda s: s.candidate() == "3", "version 3 is tried")
    state = arena.until(lambda s: s.latched() == ["3"], "version 3 failed", 30)
    assert 5 < state.seen - begun.seen < 25, "its own progressDeadline, whatever is retained"
    assert reason(state, "3") == "DeadlineExceeded"
    assert state.retained() == ["1"]
    state = switch_to(arena, "4", part("4", breakable(version="4")))
    assert state.retained() == ["2", "1"], "nothing is pushed out before version 4 is proven"
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: rolled_back(s, "4", to="2"), "version 2 is live again", 60)
    assert state.retained() == ["1"]


def test_a_crash_in_the_watch_rolls_back_and_green_goes_to_zero_5_s_after_blue_is_read_back(arena):
    first(arena, "1")
    state = switch_to(arena, "2", part("2", crashable(version="2"), health=None))
    green = state.selected("backend")
    crash(arena, state.pods(green))
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert reason(state, "2") == "Crashed"
    gone = arena.until(lambda s: of_version(s, "2")["spec"]["replicas"] == 0, "green is scaled to zero", 30)
    back = arena.recorder.state_at(arena.switches()[-1]["version"])
    stayed = written_at(of_version(gone, "2")) - written_at(back.get("Service", "backend"))
    assert 5 <= stayed.total_seconds() < 20, "whole seconds, rounded down: 5 s are never fewer"
    assert arena.said("RolledBack")


def test_live_is_rolled_back_while_the_next_version_verifies_which_then_begins_anew(arena):
    first(arena, "1")
    state = switch_to(arena, "2", part("2", breakable(version="2")))
    green = state.selected("backend")
    slow = breakable(version="3", env={"STARTUP_DELAY": "20"})
    arena.apply(release("3", part("3", slow)))
    arena.until(lambda s: s.candidate() == "3" and of_version(s, "3"), "version 3 is deployed")
    spoil(state.pods(green))
    state = arena.until(lambda s: s.live() == "1" and s.latched() == ["2"], "version 1 is live again", 60)
    assert state.candidate() == "3"
    assert state.status()["candidate"]["attempt"] == 2
    state = arena.until(lambda s: s.ready("3"), "version 3 is live and proven", 90)
    assert state.retained() == ["1"]
    assert [s["cause"] for s in arena.switches()] == ["Promote", "Promote", "Rollback", "Promote"]


def test_a_new_version_during_the_watch_leaves_the_last_proven_one_as_the_target(arena):
    first(arena, "1")
    switch_to(arena, "2")
    state = switch_to(arena, "3", part("3", breakable(version="3")))
    assert state.retained() == ["1"], "version 2 was never proven"
    arena.until(lambda s: of_version(s, "2") is None, "a former live never proven goes", 30)
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: rolled_back(s, "3", to="1"), "version 1 is live again", 60)


def test_a_new_version_that_verifies_does_not_disarm_the_watch_of_live(arena):
    first(arena, "1")
    state = switch_to(arena, "2", part("2", breakable(version="2", **UNREADY), health=None))
    never = breakable(version="3", readinessProbe={"httpGet": {"path": "/no-such-page", "port": "http"}})
    arena.apply(release("3", part("3", never)))
    arena.until(lambda s: s.candidate() == "3" and of_version(s, "3"), "version 3 is deployed")
    spoil(state.pods(state.selected("backend")))
    arena.until(lambda s: s.live() == "1" and s.latched() == ["2"], "version 1 is live again", 60)


def test_a_typo_during_the_watch_is_refused_and_disarms_nothing(arena):
    first(arena, "1")
    state = switch_to(arena, "2", part("2", breakable(version="2")))
    before = names(state)
    wrong = component(version="3")
    wrong["health"]["expect"] = "response.stats == 200 && respons.json"
    arena.apply(release("3", wrong))
    state = arena.until(
        lambda s: s.seen_generation() and s.condition("Accepted")["status"] == "False", "the typo is refused"
    )
    assert state.condition("Accepted")["reason"] == "InvalidExpression"
    assert names(state) == before
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: s.live() == "1" and s.latched() == ["2"], "version 1 is live again", 60)
    assert state.condition("Accepted")["status"] == "False"
    assert reason(state, "2") == "HealthFailed", "by its own stored spec"


def test_when_one_component_fails_all_go_back_together_in_reverse_order(arena):
    services = ("backend", "frontend")
    first(arena, "1", *(component(n, "1") for n in services), services=services)
    green = component("backend", "2", pods=breakable("backend", "2")), component("frontend", "2")
    state = switch_to(arena, "2", *green)
    spoil(state.pods(state.selected("backend")))
    arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    moved = [(s["cause"], s["service"]) for s in arena.switches()]
    there, back = [("Promote", n) for n in services], [("Rollback", n) for n in reversed(services)]
    assert moved == [*there, *there, *back]
