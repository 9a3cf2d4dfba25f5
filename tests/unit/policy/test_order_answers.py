"""What becomes of each order, and what its answer says (product.md 3, ReleaseCommand)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Answer, Latched, Rest, Stack, Switch
from tradingrelease.policy.reasons import Action, Cause, Outcome
from tradingrelease.policy.rules.candidate import spec_has_its_candidate
from tradingrelease.policy.rules.orders import aborted, orders_are_answered

from tests.builders import NOW, a_deployment, a_pod, a_release, a_spec, a_stack, an_order

V1, V2, V3 = (a_stack(version) for version in ("1.0.0", "2.0.0", "3.0.0"))
BLUE = a_deployment()


def answered(release):
    """Return the phase and reason of the newest answer, and the memory."""
    decision = orders_are_answered(release.world(), NOW)
    given = decision.memory.answers[-1]
    assert [n.warning for n in decision.notes] == [given.phase == "Refused"]
    assert decision.reason == given.reason
    return (given.phase, given.reason), decision.memory


def test_without_an_open_order_there_is_nothing_to_say():
    assert orders_are_answered(a_release().live().world(), NOW) is None


@pytest.mark.parametrize("phase", ["Done", "Refused"])
def test_an_order_is_answered_once(phase):
    done = an_order(Action.PAUSE, uid="1", phase=phase)
    assert orders_are_answered(a_release().live().having(orders=(done,)).world(), NOW) is None
    again = an_order(Action.PAUSE, uid="2")
    assert orders_are_answered(a_release().live().having(orders=(done, again)).world(), NOW).memory.paused.order == "2"


def test_an_order_whose_answer_is_not_written_yet_is_not_carried_out_again():
    world = a_release().live().ordered(Action.PAUSE).world()
    memory = replace(world.memory, answers=(Answer("order-pause", "Done", "Paused", ""),))
    assert orders_are_answered(replace(world, memory=memory), NOW) is None


@pytest.mark.parametrize(("seconds", "expires"), [(600, False), (601, True)])
def test_an_order_expires_after_ten_minutes(seconds, expires):
    late = an_order(Action.PAUSE, created_at=NOW - timedelta(seconds=seconds))
    (_, reason), _ = answered(a_release().live().having(orders=(late,)))
    assert (reason == "Expired") is expires


# --- rollback ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        (a_release().ordered(Action.ROLLBACK, V1.revision), "NothingLive"),
        (a_release().promoted().ordered(Action.ROLLBACK, V1.revision), "WrongRevision"),
        (a_release().live("2.0.0").ordered(Action.ROLLBACK, V2.revision), "NoTarget"),
    ],
)
def test_a_rollback_without_a_way_back_is_refused(release, reason):
    assert answered(release)[0] == ("Refused", reason)


def test_a_rollback_goes_to_the_newest_target_that_is_not_latched():
    release = a_release().live("3.0.0").retained("2.0.0").retained("1.0.0")
    order = an_order(Action.ROLLBACK, V3.revision, reason="errors")
    world = release.having(orders=(order,)).world()
    record = orders_are_answered(world, NOW).step.record
    assert (record.to, record.origin, record.latches, record.order) == (V2.revision, V3.revision, True, order.uid)
    assert (record.reason, record.because) == ("Ordered", "ordered by ReleaseCommand rollback-1: errors")
    latched = (Latched(V2, "Ordered", "", NOW),)
    other = orders_are_answered(replace(world, memory=replace(world.memory, latched=latched)), NOW)
    assert other.step.record.to == V1.revision


def back(blue=(True, True), asked=0.0, since=None):
    """Return what an order given so many seconds ago does, with blue's pods ready or not."""
    order = an_order(Action.ROLLBACK, V2.revision, created_at=NOW - timedelta(seconds=asked))
    world = a_release().promoted().having(orders=(order,), since=since or {}).world()
    pods = tuple(a_pod(BLUE, n, ready=ready) for n, ready in enumerate(blue))
    return orders_are_answered(replace(world, pods=pods), NOW)


def test_a_rollback_waits_while_no_pod_of_blue_stands():
    decision = back((False, False))
    assert (type(decision.step), decision.reason, decision.stalled) == (Rest, "TargetNotStanding", True)
    assert decision.look_again == timedelta(seconds=1)


def test_a_blue_below_its_size_gets_thirty_seconds_while_live_serves():
    decision = back((True, False), asked=10)
    assert (type(decision.step), decision.reason, decision.stalled) == (Rest, "TargetRegaining", False)
    assert decision.look_again == timedelta(seconds=20)
    assert back((True, False), asked=29.95).look_again == timedelta(milliseconds=200)
    assert isinstance(back((True, False), asked=30).step, Switch)


def test_and_none_where_live_serves_nobody():
    assert isinstance(back((True, False), since={"dead:backend": NOW}).step, Switch)


def test_a_rollback_that_has_nothing_to_move_is_done_and_told():
    """The two share their component revisions: what is left is latched all the same."""
    same = replace(V1, revision="twin", version="1.0.1")
    world = a_release().live("1.0.0").ordered(Action.ROLLBACK, V1.revision).world()
    kept = replace(a_release().promoted().memory.retained[0], stack=same)
    held = replace(world, memory=replace(world.memory, retained=(kept,), act=4))
    decision = orders_are_answered(held, NOW)
    memory = decision.memory
    assert (memory.live.stack, memory.live.act, memory.latched[0].stack) == (same, 4, V1)
    assert (decision.reason, memory.latched[0].at, memory.answers[0].phase) == ("RolledBack", NOW, "Done")
    assert [n.reason for n in decision.notes] == ["RolledBack"]
    further = replace(held.memory, live=replace(held.memory.live, act=9))
    assert orders_are_answered(replace(held, memory=further), NOW).memory.live.act == 9


def test_what_blue_shares_with_live_need_not_stand():
    """It serves: were it down, nothing would be gained by waiting for it."""
    pair = ("backend", "frontend")
    world = (
        a_release(*pair)
        .live("2.0.0")
        .retained("1.0.0")
        .ordered(Action.ROLLBACK, a_stack("2.0.0", pair).revision)
        .world()
    )
    shared = replace(a_stack("1.0.0", pair), members=(V1.members[0], a_stack("2.0.0", pair).members[1]))
    kept = replace(world.memory.retained[0], stack=shared)
    down = tuple(p for p in world.pods if p.deployment_uid != "uid-frontend-2.0.0")
    held = replace(world, memory=replace(world.memory, retained=(kept,)), pods=down)
    late = orders_are_answered(held, NOW + timedelta(minutes=1))
    assert late.step.record.cause is Cause.ROLLBACK


def test_without_anything_live_there_is_nothing_to_roll_back_from():
    world = a_release().promoted("2.0.0").asking(a_spec("1.0.0")).world()
    assert spec_has_its_candidate(replace(world, memory=replace(world.memory, live=None)), NOW) is None


# --- abort, retry -----------------------------------------------------------------------------------------------------


def test_an_abort_ends_the_attempt_and_latches_it():
    told, memory = answered(a_release().live().candidate().ordered(Action.ABORT, V2.revision, reason="typo"))
    assert told == ("Done", "Aborted")
    assert (memory.candidate, memory.latched[0].stack, memory.latched[0].reason) == (None, V2, "Aborted")
    assert memory.latched[0].message == "ordered by ReleaseCommand abort-1: typo"
    assert memory.history[0].outcome is Outcome.ABORTED


@pytest.mark.parametrize(
    ("release", "revision", "reason"),
    [
        (a_release().live(), V1.revision, "AlreadyLive"),
        (a_release().live().candidate(), V1.revision, "AlreadyLive"),
        (a_release().live().candidate(), V3.revision, "WrongRevision"),
        (a_release().live(), V3.revision, "WrongRevision"),
        (a_release().candidate(), V3.revision, "WrongRevision"),
    ],
)
def test_an_abort_of_anything_else_is_refused(release, revision, reason):
    told, memory = answered(release.ordered(Action.ABORT, revision))
    assert told == ("Refused", reason)
    named = release.memory.candidate.stack.revision if release.memory.candidate else "none"
    assert reason == "AlreadyLive" or memory.answers[-1].message.endswith(f"the candidate is {named}")


def test_a_retry_begins_a_new_attempt_with_all_its_gates():
    release = a_release().live().failed("2.0.0").asking(a_spec("2.0.0")).ordered(Action.RETRY, V2.revision)
    told, memory = answered(release)
    assert told == ("Done", "Retrying")
    assert (memory.candidate.stack, memory.candidate.attempt, memory.candidate.started_at) == (V2, 1, NOW)
    assert memory.latched == ()


def test_a_retry_counts_the_attempts_before_it():
    release = a_release().live().failed("2.0.0").failed("3.0.0").asking(a_spec("2.0.0"))
    world = release.ordered(Action.RETRY, V2.revision).world()
    entry = replace(world.memory.history[0], revision=V2.revision)
    memory = replace(world.memory, history=(entry, entry, *world.memory.history))
    memory = orders_are_answered(replace(world, memory=memory), NOW).memory
    assert (memory.candidate.attempt, [latch.stack for latch in memory.latched]) == (3, [V3])


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        (a_release().live().asking(a_spec("2.0.0")), "NotLatched"),
        (a_release().live().failed("2.0.0"), "WrongRevision"),
        (a_release().live().failed("2.0.0").asking({"version": "oops"}), "WrongRevision"),
    ],
)
def test_a_retry_of_what_did_not_fail_or_is_not_asked_for_is_refused(release, reason):
    told, memory = answered(release.ordered(Action.RETRY, V2.revision))
    assert told == ("Refused", reason)
    asked = V1.revision if release.asked == a_spec("1.0.0") else "invalid"
    assert reason == "NotLatched" or f"(it is {asked})" in memory.answers[-1].message


def test_a_retry_after_a_failed_adoption_lets_it_begin_anew_without_a_candidate():
    world = a_release().asking(a_spec("2.0.0")).ordered(Action.RETRY, V2.revision).world()
    latch = Latched(Stack(V2.revision, "2.0.0", ()), "AdoptionFailed", "", NOW)
    memory = orders_are_answered(replace(world, memory=replace(world.memory, latched=(latch,))), NOW).memory
    assert (memory.candidate, memory.latched, memory.answers[0].reason) == (None, (), "Retrying")


# --- what ends a switch under way -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "revision", "ends"),
    [
        (Action.ABORT, V2.revision, True),
        (Action.ABORT, V1.revision, False),
        (Action.ROLLBACK, V2.revision, True),
        (Action.ROLLBACK, V1.revision, True),
        (Action.ROLLBACK, V3.revision, False),
        (Action.PAUSE, V2.revision, False),
    ],
)
def test_an_abort_of_the_candidate_and_a_rollback_of_either_side_end_a_switch(action, revision, ends):
    order, settled = an_order(action, revision), an_order(action, revision, uid="settled", phase="Done")
    world = a_release().live("1.0.0").candidate("2.0.0").having(orders=(settled, order)).world()
    assert aborted(world) == (order if ends else None)
    told = replace(world.memory, answers=(Answer(order.uid, "Done", "", ""),))
    assert aborted(replace(world, memory=told)) is None


def test_without_a_candidate_or_a_live_one_an_order_of_the_other_ends_it():
    abort, back = an_order(Action.ABORT, V1.revision), an_order(Action.ROLLBACK, V1.revision)
    assert aborted(a_release().live("1.0.0").having(orders=(abort,)).world()) is None
    assert aborted(a_release().live("1.0.0").having(orders=(abort, back)).world()) == back
    assert aborted(a_release().candidate("1.0.0").having(orders=(back,)).world()) == back
    assert aborted(a_release().having(orders=(abort, back)).world()) is None


# --- pause, resume ----------------------------------------------------------------------------------------------------


def test_a_pause_is_remembered_with_its_reason():
    told, memory = answered(a_release().live().ordered(Action.PAUSE, reason="lunch"))
    assert told == ("Done", "Paused")
    assert (memory.paused.at, memory.paused.reason, memory.paused.order) == (NOW, "lunch", "order-pause")


def test_what_is_so_already_is_done():
    (told, memory), before = answered(a_release().live().paused().ordered(Action.PAUSE)), a_release().live().paused()
    assert told == ("Done", "AlreadyPaused")
    assert memory.paused == before.memory.paused
    assert answered(a_release().live().ordered(Action.RESUME))[0] == ("Done", "NotPaused")


def test_a_resume_ends_the_pause():
    told, memory = answered(a_release().live().paused().ordered(Action.RESUME))
    assert (told, memory.paused) == (("Done", "Resumed"), None)


def test_an_order_is_carried_out_while_the_release_is_paused():
    world = a_release().promoted().paused().ordered(Action.ROLLBACK, V2.revision).world()
    assert decide(world, NOW).step.record.cause is Cause.ROLLBACK
