"""A switch is one act over all Services: finished, or undone in reverse; and nobody's request fails."""

import pytest

from tests.e2e.builders import component, release, service, template
from tests.oracle import COMPONENT, OPERATOR, annotation, label, writer

NAMES = ("backend", "engine", "frontend")
REFUSALS = 8
"""One more than there are steps of the waits after an error."""


def parts(version, **fields):
    return [component(n, version, **fields) for n in NAMES]


def selected(state):
    return {n: state.selected(n) for n in NAMES}


@pytest.fixture
def live(arena):
    """Three components, live and proven as version 1."""
    return arena.go_live("1", *parts("1"))


@pytest.fixture
def half(arena, live):
    """Half a switch to version 2: the API server refuses to move the second Service, until the test lets it."""
    with arena.denied("engine"):
        arena.apply(release("2", *parts("2")))
        state = arena.until(lambda s: s.selected("backend") != live.selected("backend"), "the first Service moved", 90)
        assert state.selected("engine") == live.selected("engine")
        assert state.live() == "1", "until the last Service moved, live is the old revision"
        yield state


def test_three_components_move_in_order_by_one_write_each(arena, live):
    arena.apply(release("2", *parts("2")))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 120)
    moves = [move for move in arena.switches() if move["to"] == state.status()["live"]["revision"]]
    assert [move["service"] for move in moves] == list(NAMES)
    assert len({move["act"] for move in moves}) == 1
    first, last = moves[0]["version"], moves[-1]["version"]
    between = [
        event for event in arena.recorder.history()
        if first < event.version < last and event.kind in {"Service", "Deployment", "TradingRelease"} and ours(event)
    ]  # fmt: skip
    assert [(e.kind, e.name) for e in between] == [("Service", "engine")], "one PATCH a Service and nothing else"
    for move in moves:
        claimed = arena.recorder.state_at(move["version"] - 1)
        target = claimed.deployment(move["service"], move["selected"])
        stood = claimed.get("Service", move["service"])["metadata"]["resourceVersion"]
        assert annotation(target, f"claim.tradingplatform.io/{move['service']}") == stood
        at_birth = [
            e for e in arena.recorder.history()
            if e.kind == "Deployment" and e.name == target["metadata"]["name"] and e.change == "ADDED"
        ]  # fmt: skip
        assert annotation(at_birth[0].body, f"claim.tradingplatform.io/{move['service']}"), "created with its claims"
    assert state.retained() == ["1"]
    arena.settled(8)


def ours(event):
    """Tell whether the newest entry of managedFields is the operator's: who wrote this version."""
    entries = event.body["metadata"].get("managedFields") or ()
    newest = max(entries, key=lambda e: e.get("time", ""), default={})
    return newest.get("manager") == OPERATOR


def test_half_a_switch_that_is_aborted_is_undone_in_reverse(arena, live, half):
    order = arena.order("Abort", half.status()["candidate"]["revision"], reason="second thoughts")
    state = arena.until(lambda s: s.order(order).get("phase") == "Done", "it is aborted", 60)
    assert selected(state) == selected(live)
    assert state.latched() == ["2"]
    assert (state.live(), state.candidate()) == ("1", "")
    undone = arena.switches()[-1]
    assert (undone["cause"], undone["service"]) == ("Undo", "backend")
    assert "second thoughts" in undone["because"]


def test_half_a_switch_that_is_paused_is_completed(arena, live):
    with arena.denied("engine"):
        arena.apply(release("2", *parts("2")))
        arena.until(lambda s: s.selected("backend") != live.selected("backend"), "the first Service moved", 90)
        order = arena.order("Pause", reason="lunch")
        arena.catch_up()
    state = arena.until(lambda s: s.live() == "2" and s.order(order).get("phase") == "Done", "it is completed", 90)
    assert all(state.selected(n) != live.selected(n) for n in NAMES)
    state = arena.until(lambda s: s.status()["live"].get("provenAt"), "a pause stops no watch")
    arena.apply(release("3", *parts("3")))
    arena.never(lambda s: s.candidate(), "something starts in a pause", 4)
    arena.order("Resume")
    arena.until(lambda s: s.ready("3"), "version 3 is live", 90)


def test_half_a_switch_that_was_refused_for_long_is_completed_soon_after(arena, live):
    """S10 says how soon. Where traffic is not split, the waits between two tries have grown to half a minute by then."""
    with arena.denied("engine"):
        arena.apply(release("2", *parts("2")))
        arena.until(lambda s: s.selected("backend") != live.selected("backend"), "the first Service moved", 90)
        arena.poll(lambda: arena.operator.errors() >= REFUSALS, "it was refused again and again", 60)
        arena.poll(lambda: arena.operator.errors() >= REFUSALS + 2, "it is tried every few seconds", 20)
        state = arena.until(lambda s: s.condition("Stalled")["reason"] == "SwitchRefused", "people are told", 15)
        assert (state.status()["phase"], state.live(), state.is_true("Stalled")) == ("Stalled", "1", True)
        assert "Service engine" in state.condition("Ready")["message"]
    arena.until(lambda s: s.ready("2"), "version 2 is live", 60)


def test_half_a_switch_that_is_superseded_is_completed_before_the_next_begins(arena, live):
    with arena.denied("engine"):
        arena.apply(release("2", *parts("2")))
        arena.until(lambda s: s.selected("backend") != live.selected("backend"), "the first Service moved", 90)
        arena.apply(release("3", *parts("3")))
        arena.catch_up()
    arena.until(lambda s: s.ready("3"), "version 3 is live", 150)
    moves = arena.switches()[len(NAMES) :]
    assert [move["service"] for move in moves] == [*NAMES, *NAMES]
    assert [move["cause"] for move in moves] == ["Promote"] * 6
    assert len({move["to"] for move in moves[:3]}) == len({move["to"] for move in moves[3:]}) == 1


def test_half_a_switch_whose_candidate_is_lost_is_undone_and_tried_again(arena, live):
    with arena.denied("engine"):
        arena.apply(release("2", *parts("2")))
        state = arena.until(lambda s: s.selected("backend") != live.selected("backend"), "the first Service moved", 90)
        lost = next(c for c in state.status()["candidate"]["components"] if c["name"] == "frontend")
        arena.api.delete("Deployment", state.deployment("frontend", lost["revision"])["metadata"]["name"])
        arena.until(lambda s: s.selected("backend") == live.selected("backend"), "the first Service moved back", 60)
        assert arena.switches()[-1]["cause"] == "Undo"
    state = arena.until(lambda s: s.ready("2"), "a second attempt goes through", 150)
    assert state.latched() == []


def test_half_a_switch_survives_a_killed_operator(arena, live):
    with arena.denied("engine"):
        arena.apply(release("2", *parts("2")))
        arena.until(lambda s: s.selected("backend") != live.selected("backend"), "the first Service moved", 90)
        arena.operator.kill()
    arena.operator.start()
    state = arena.until(lambda s: s.ready("2"), "it is completed", 60)
    moves = arena.switches()[len(NAMES) :]
    assert [move["service"] for move in moves] == list(NAMES)
    assert len({move["act"] for move in moves}) == 1
    assert state.retained() == ["1"]


@pytest.mark.timeout(900)
def test_thirty_switches_of_three_components_fail_no_request(arena):
    def drained(version):
        return [component(n, pods=template(n, version, drain=True)) for n in NAMES]

    quick = {"watch": {"for": "0s", "deadAfter": "3s"}}
    arena.apply(*(service(n) for n in NAMES))
    arena.apply(release("0", *drained("0")))  # its watch is longer than kube-proxy needs to let the first one in
    arena.until(lambda s: s.ready("0"), "version 0 is live", 90)
    with arena.load(*NAMES, rate=60) as load:
        for number in range(1, 11):
            new, old = str(number), str(number - 1)
            # Forward to a new version, back to the proven one, and forward again: three switches.
            for version in (new, old, new):
                arena.apply(release(version, *drained(version), **quick))
                arena.until(lambda s, v=version: s.ready(v), f"version {version} is live", 90)
                load.wait_for(
                    lambda r, v=version: all(r.of(target=n, version=v) for n in NAMES), 20, since=load_time(load)
                )
    records = load.records()
    assert not records.failed(), records.by_outcome()
    moves = [move for move in arena.switches() if move["from"]]
    assert len(moves) == 30 * len(NAMES)
    for start in range(0, len(moves), len(NAMES)):
        act = moves[start : start + len(NAMES)]
        assert len({move["act"] for move in act}) == 1
        backwards = act[0]["cause"] == "Rollback"
        assert [move["service"] for move in act] == (list(reversed(NAMES)) if backwards else list(NAMES))
    assert len({label(d, COMPONENT) for d in arena.now.deployments()}) == len(NAMES)


def load_time(load):
    """Return when the newest answer came: what is asked for must be newer."""
    return max(record.done for record in load.records())


def test_the_selector_is_written_by_the_operator_under_its_own_name(arena, live):
    assert {writer(live.get("Service", n), "spec", "selector") for n in NAMES} == {OPERATOR}
