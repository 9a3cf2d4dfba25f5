"""What people order and ask for: rollback, pause, abort, retry. Each order is answered once, and says why."""

import contextlib

import pytest

from tests.e2e.api import ApiError
from tests.e2e.builders import HEALTH, component, order, release
from tests.e2e.faults import UNREADY, breakable, spoil
from tests.e2e.scenes import (
    SHORT,
    component_revision,
    first,
    go_live,
    names,
    of_version,
    outcome,
    part,
    reason,
    revision_of,
    rolled_back,
    switch_to,
)
from tests.oracle import switch_record

AT_ONCE = 10.0
"""Seconds: far below the product's 5 min, far above what an idle machine needs (well under one)."""
NEVER_READY = {"readinessProbe": {"httpGet": {"path": "/no-such-page", "port": "http"}}}


def answered(state, name):
    return state.order(name).get("phase") in {"Done", "Refused"}


def answer_to(arena, name, seconds=30):
    """Wait for an order's answer: phase, reason."""
    state = arena.until(lambda s: answered(s, name), f"order {name} is answered", seconds)
    return state.order(name)["phase"], state.order(name)["reason"]


@contextlib.contextmanager
def unanswerable(arena):
    """Let nobody write a status in this namespace: what is done is not remembered."""
    name, api = f"{arena.namespace}-status", "admissionregistration.k8s.io/v1"
    rules = [
        {
            "apiGroups": ["tradingplatform.io"], "apiVersions": ["*"], "operations": ["UPDATE"],
            "resources": ["tradingreleases/status", "releasecommands/status"],
        }
    ]  # fmt: skip
    policy = {
        "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "false", "message": "the test says no"}],
        },
    }  # fmt: skip
    binding = {
        "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": arena.namespace}}},
        },
    }  # fmt: skip

    def lift():
        arena.api.delete("ValidatingAdmissionPolicyBinding", name)
        arena.api.delete("ValidatingAdmissionPolicy", name)

    def refuses():
        path = arena.api.path("TradingRelease", "shop") + "/status?dryRun=All"
        body = {"status": {"phase": "Pending"}}
        try:
            arena.api._call("PATCH", path, body, content_type="application/merge-patch+json")
        except ApiError as error:
            return error.status in {403, 422}
        return False

    arena.finally_(lift)
    arena.api.create(policy)
    arena.api.create(binding)
    arena.poll(refuses, "no status can be written", 60)
    yield
    lift()
    arena.poll(lambda: not refuses(), "statuses can be written again", 60)


# --- rollback ---------------------------------------------------------------------------------------------------------


def test_a_rollback_by_command_is_one_patch_per_service_at_once_and_in_reverse(arena, record_property):
    services = ("backend", "frontend")
    first(arena, "1", *(component(n, "1") for n in services), services=services)
    state = go_live(arena, "2", *(component(n, "2") for n in services))
    arena.settled(3)
    before = arena.recorder.version
    name = arena.order("Rollback", revision_of(state, "2"), reason="orders are lost")
    state = arena.until(
        lambda s: s.live() == "1" and answered(s, name) and s.condition("Promoted")["reason"] == "NotLive", "it is done"
    )
    assert state.order(name)["phase"] == "Done"
    arena.catch_up()
    history = [e for e in arena.recorder.history() if e.version > before]
    given = next(e for e in history if e.kind == "ReleaseCommand")
    patches = [e for e in history if e.kind == "Service" and e.name in services]
    back = [e for e in patches if switch_record(e.body).get("cause") == "Rollback"]
    assert [e.name for e in patches] == ["frontend", "backend"], "one PATCH a Service, in reverse order"
    assert len(back) == 2
    uid = state.get("ReleaseCommand", name)["metadata"]["uid"]
    assert all(switch_record(e.body)["order"] == uid for e in back), "the order's uid is on the switch"
    record_property("command_to_last_service_ms", round((back[-1].seen - given.seen) * 1000))
    assert back[-1].seen - given.seen < AT_ONCE
    assert reason(state, "2") == "Ordered"
    assert outcome(state, "2") == "RolledBack"
    arena.until(lambda s: rolled_back(s, "2", to="1"), "it stays so")


def test_the_old_manifest_applied_again_is_a_rollback_that_latches_nothing(arena):
    first(arena, "1", part("1", replicas=2))
    state = go_live(arena, "2", part("2", replicas=2))
    before = {p["metadata"]["uid"] for p in state.pods()}
    old = release("1", part("1", replicas=2), watch=SHORT)
    applied = arena.apply(old)[0]
    asked = arena.until(
        lambda s: s.release()["metadata"].get("generation") == applied["metadata"]["generation"], "it is stored"
    )
    state = arena.until(lambda s: s.ready("1"), "version 1 is live and proven again")
    back = [s for s in arena.switches() if s["cause"] == "Rollback"]
    assert len(back) == 1
    assert back[0]["latches"] is False
    moved = next(e for e in arena.recorder.history() if e.kind == "Service" and e.version == back[0]["version"])
    assert moved.seen - asked.seen < AT_ONCE
    assert not arena.ever(lambda s: s.candidate() == "1" and s.retained()), "no gate is asked"
    assert state.latched() == []
    assert state.retained() == ["2"], "a proven green is retained like any former live"
    assert {p["metadata"]["uid"] for p in state.pods()} == before, "nothing is deployed for it"
    arena.apply(release("2", part("2", replicas=2), watch=SHORT))
    state = arena.until(lambda s: s.ready("2"), "and forward again")
    assert {p["metadata"]["uid"] for p in state.pods()} == before


def test_a_latched_spec_applied_again_does_nothing_and_a_corrected_health_path_does(arena):
    first(arena, "1")
    wrong = HEALTH | {"httpGet": {"path": "/no-such-page", "port": "http"}}
    arena.apply(release("2", part("2", health=wrong, progressDeadline="20s"), watch=SHORT))
    state = arena.until(lambda s: s.latched() == ["2"], "version 2 failed", 60)
    assert reason(state, "2") == "DeadlineExceeded"
    assert "HTTP 404" in state.status()["latched"][0]["message"]
    arena.apply(release("2", part("2", health=wrong, progressDeadline="20s", replicas=2), watch=SHORT))
    arena.until(lambda s: s.seen_generation(), "the same revision again is seen")
    arena.never(lambda s: s.candidate(), "a latched version is tried again", 6)
    state = arena.now
    assert state.condition("Stalled")["reason"] == "DeadlineExceeded"
    assert "Retry" in state.condition("Ready")["message"], "it says what to do"
    arena.apply(release("2", part("2", replicas=2), watch=SHORT))
    arena.until(lambda s: s.ready("2"), "version 2 with the right health path is live and proven", 90)


def test_a_retry_unlatches_and_every_gate_is_asked_again(arena):
    first(arena, "1")
    state = switch_to(arena, "2", part("2", breakable(version="2")))
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    arena.until(lambda s: of_version(s, "2")["spec"]["replicas"] == 0, "green is at zero", 30)
    name = arena.order("Retry", revision_of(state, "2"))
    assert answer_to(arena, name) == ("Done", "Retrying")
    state = arena.until(lambda s: s.candidate() == "2", "version 2 is the candidate")
    assert state.status()["candidate"]["attempt"] == 2
    state = arena.until(lambda s: s.live() == "2" and s.is_true("Promoted"), "version 2 is live", 90)
    assert state.latched() == []
    assert [s["cause"] for s in arena.switches()] == ["Promote", "Promote", "Rollback", "Promote"]


# --- orders that are refused ------------------------------------------------------------------------------------------


def test_orders_for_another_revision_another_release_or_nothing_to_do_are_refused_and_change_nothing(arena):
    state = first(arena, "1")
    live = revision_of(state, "1")
    assert answer_to(arena, arena.order("Rollback", live)) == ("Refused", "NoTarget")
    state = go_live(arena, "2")
    before = arena.switches()
    live, blue = revision_of(state, "2"), revision_of(state, "1")
    assert answer_to(arena, arena.order("Rollback", blue)) == ("Refused", "WrongRevision")
    assert answer_to(arena, arena.order("Rollback", "0000000000")) == ("Refused", "WrongRevision")
    assert answer_to(arena, arena.order("Abort", live)) == ("Refused", "AlreadyLive")
    assert answer_to(arena, arena.order("Abort", blue)) == ("Refused", "WrongRevision")
    assert answer_to(arena, arena.order("Retry", live)) == ("Refused", "NotLatched")
    arena.api.create(order("Rollback", "lost", release_name="no-such-release", revision=live))
    assert answer_to(arena, "lost") == ("Refused", "NoSuchRelease")
    assert arena.switches() == before
    assert arena.now.ready("2")


def test_of_two_orders_for_the_same_rollback_the_second_is_refused(arena):
    first(arena, "1")
    go_live(arena, "2")
    state = go_live(arena, "3", retain={"for": "1h", "revisions": 2})
    assert state.retained() == ["2", "1"]
    live = revision_of(state, "3")
    both = [arena.order("Rollback", live), arena.order("Rollback", live)]
    answers = sorted(answer_to(arena, name) for name in both)
    assert answers == [("Done", "RolledBack"), ("Refused", "WrongRevision")]
    assert arena.now.live() == "2", "not one further"


def test_an_answered_order_is_not_carried_out_again_by_a_restarted_operator(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    live = revision_of(state, "2")
    back = arena.order("Rollback", live)
    assert answer_to(arena, back) == ("Done", "RolledBack")
    assert answer_to(arena, arena.order("Retry", live)) == ("Done", "Retrying")
    arena.until(lambda s: s.ready("2"), "version 2 is live and proven, by a Retry", 90)
    before, said = arena.switches(), arena.now.order(back)
    arena.operator.kill()
    arena.operator.start()
    arena.never(lambda s: s.live() != "2" or s.order(back) != said, "the old order acts again", 6)
    assert arena.switches() == before


def test_an_order_given_while_the_operator_is_down_for_a_moment_is_carried_out(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    assert arena.operator.stop() == 0
    name = arena.order("Rollback", revision_of(state, "2"))
    arena.never(lambda s: answered(s, name), "nobody answers", 2)
    arena.operator.start()
    assert answer_to(arena, name) == ("Done", "RolledBack")
    arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again")


def test_an_order_carried_out_just_before_kill_9_is_answered_done_after_the_restart(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    green = state.selected("backend")
    with unanswerable(arena):
        name = arena.order("Rollback", revision_of(state, "2"))
        arena.until(lambda s: s.selected("backend") != green, "the selector moved", 60)
        arena.operator.kill()
        state = arena.now
        assert state.live() == "2", "nobody has remembered it"
        assert not answered(state, name)
    arena.operator.start()
    assert answer_to(arena, name) == ("Done", "RolledBack")
    arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again")
    assert [s["cause"] for s in arena.switches()] == ["Promote", "Promote", "Rollback"]


# --- pause, abort -----------------------------------------------------------------------------------------------------


def test_paused_nothing_starts_or_switches_and_resumed_it_goes_on(arena):
    first(arena, "1")
    assert answer_to(arena, arena.order("Pause", reason="the exchange is open")) == ("Done", "Paused")
    arena.apply(release("2", watch=SHORT))
    arena.until(lambda s: s.seen_generation() and s.status()["phase"] == "Paused", "it says that it is paused")
    arena.never(lambda s: s.candidate() or len(s.deployments()) > 1, "something starts", 5)
    assert answer_to(arena, arena.order("Resume")) == ("Done", "Resumed")
    arena.until(lambda s: s.candidate() == "2" and of_version(s, "2"), "version 2 starts")
    assert answer_to(arena, arena.order("Pause")) == ("Done", "Paused")
    arena.until(lambda s: s.is_true("CandidateVerified"), "version 2 is verified all the same", 90)
    arena.never(lambda s: s.live() != "1", "traffic moves", 5)
    assert answer_to(arena, arena.order("Resume")) == ("Done", "Resumed")
    arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 60)


@pytest.mark.parametrize("by", ["order", "watch"])
def test_pause_never_stops_a_rollback(arena, by):
    first(arena, "1")
    state = switch_to(arena, "2", part("2", breakable(version="2")))
    assert answer_to(arena, arena.order("Pause")) == ("Done", "Paused")
    if by == "order":
        assert answer_to(arena, arena.order("Rollback", revision_of(state, "2"))) == ("Done", "RolledBack")
    else:
        spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: s.live() == "1" and s.latched() == ["2"] and s.is_true("Serving"), "back on 1", 60)
    assert len(arena.switches()) == 3


def test_an_abort_ends_the_attempt_and_latches_it_and_serves_on(arena):
    state = first(arena, "1")
    blue = state.selected("backend")
    arena.apply(release("2", part("2", breakable(version="2", **NEVER_READY)), keepFailedFor="3s"))
    state = arena.until(lambda s: s.candidate() == "2" and of_version(s, "2"), "version 2 is deployed")
    name = arena.order("Abort", revision_of(state, "2"), reason="wrong branch")
    assert answer_to(arena, name) == ("Done", "Aborted")
    state = arena.until(lambda s: s.latched() == ["2"] and s.status()["phase"] == "Failed", "version 2 is latched")
    assert outcome(state, "2") == "Aborted"
    assert "wrong branch" in state.status()["latched"][0]["message"]
    arena.until(lambda s: of_version(s, "2")["spec"]["replicas"] == 0, "it goes to zero after keepFailedFor", 30)
    arena.until(lambda s: s.get("Service", "backend-preview") is None, "its preview goes")
    assert arena.now.selected("backend") == blue
    assert len(names(arena.now)) == 2


def test_a_rollback_reaches_below_size_only_after_30_s_while_live_still_serves(arena):
    first(arena, "1", part("1", breakable(version="1", **UNREADY), replicas=2))
    state = go_live(arena, "2", part("2", replicas=2))
    blue = component_revision(of_version(state, "1"))
    spoil(state.pods(blue)[:1])
    arena.until(lambda s: s.condition("RollbackReady")["reason"] == "Reduced", "blue is below its size")
    name = arena.order("Rollback", revision_of(state, "2"))
    given = arena.until(lambda s: s.get("ReleaseCommand", name), "the order is stored")
    state = arena.until(lambda s: s.selected("backend") == blue, "blue is selected all the same", 60)
    assert 25 < state.seen - given.seen < 50
    assert answer_to(arena, name) == ("Done", "RolledBack")
