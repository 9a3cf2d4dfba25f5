"""From its first Service to its last a switch is one act: what undoes it, and what does not (product.md 4.6)."""

from dataclasses import replace

import pytest
from tradingrelease.policy import names
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Answer, CreateDeployment, Job, Record, Rest, Switch
from tradingrelease.policy.reasons import Action, Cause
from tradingrelease.policy.rules.orders import aborted
from tradingrelease.policy.rules.switching import a_switch_is_one_act, unavailable

from tests.builders import KEY, NOW, a_deployment, a_release, a_service, a_spec, a_stack, an_order

PAIR = ("backend", "frontend")
LIVE, GREEN = a_stack("1.0.0", PAIR), a_stack("2.0.0", PAIR)
FRONTEND = a_deployment("frontend", "2.0.0")


def halfway(cause=Cause.PROMOTE, **changes):
    """Return a world in which the backend is moved, and the frontend is not."""
    release = a_release(*PAIR).live("1.0.0").retained("0.9.0")
    world = (release.candidate("2.0.0", verified=True) if cause is Cause.PROMOTE else release).world()
    to = GREEN if cause is Cause.PROMOTE else a_stack("0.9.0", PAIR)
    record = Record(2, cause, to.revision, LIVE.revision, to.members[0].revision, LIVE.members[0].revision, NOW, "why")
    moved = a_service("backend", to.members[0].revision, record=record)
    return replace(world, services={**world.services, "backend": moved}, **changes)


def ordering(action, revision, **fields):
    return halfway(orders=(an_order(action, revision, **fields),))


def causes(world):
    step = a_switch_is_one_act(world, NOW).step
    return (step.service, step.record.cause) if isinstance(step, Switch) else type(step)


FORWARD, BACK = ("frontend", Cause.PROMOTE), ("backend", Cause.UNDO)


@pytest.mark.parametrize(
    "world",
    [
        halfway(),
        replace(halfway(), memory=a_release(*PAIR).live("1.0.0").candidate("2.0.0").paused().memory),
        replace(halfway(), spec=a_release(*PAIR).asking(a_spec("3.0.0", PAIR)).world().spec),
        replace(halfway(), spec=a_release(*PAIR).asking({"version": "oops"}).world().spec),
    ],
    ids=["nothing happens", "a pause", "a new spec", "a typo"],
)
def test_a_switch_completes_in_spite_of(world):
    assert causes(world) == FORWARD


@pytest.mark.parametrize(
    ("action", "revision", "undone"),
    [
        (Action.ABORT, GREEN.revision, True),
        (Action.ROLLBACK, GREEN.revision, True),
        (Action.ROLLBACK, LIVE.revision, True),
        (Action.ABORT, LIVE.revision, False),
        (Action.ABORT, "another", False),
        (Action.ROLLBACK, "another", False),
        (Action.PAUSE, GREEN.revision, False),
        (Action.RETRY, GREEN.revision, False),
    ],
)
def test_an_abort_of_the_candidate_or_a_rollback_undoes_it(action, revision, undone):
    assert causes(ordering(action, revision)) == (BACK if undone else FORWARD)


@pytest.mark.parametrize("phase", ["Done", "Refused"])
def test_an_order_that_was_answered_undoes_nothing(phase):
    assert aborted(ordering(Action.ABORT, GREEN.revision, phase=phase)) is None
    assert aborted(ordering(Action.ABORT, GREEN.revision, phase="Pending")) is not None


def test_an_order_whose_answer_is_not_written_yet_undoes_nothing_more():
    world = ordering(Action.ABORT, GREEN.revision)
    answers = (Answer("order-abort", "Done", "SwitchUndone", ""),)
    assert aborted(replace(world, memory=replace(world.memory, answers=answers))) is None


def test_without_a_candidate_there_is_nothing_to_abort():
    world = halfway(Cause.ROLLBACK)
    assert aborted(replace(world, orders=(an_order(Action.ABORT, GREEN.revision),))) is None
    assert aborted(replace(world, orders=(an_order(Action.ROLLBACK, GREEN.revision),))) is None


def test_the_order_that_undoes_is_found_behind_others():
    first = an_order(Action.ABORT, GREEN.revision, uid="1", phase="Done")
    second = an_order(Action.PAUSE, uid="2")
    third = an_order(Action.ABORT, GREEN.revision, uid="3")
    assert aborted(halfway(orders=(first, second, third))).uid == "3"


def test_what_is_ordered_is_latched_and_answered_and_says_who_and_why():
    record = a_switch_is_one_act(ordering(Action.ABORT, GREEN.revision, reason="errors in the log"), NOW).step.record
    assert (record.order, record.latches, record.reason) == ("order-abort", True, "Aborted")
    assert (record.to, record.origin) == (LIVE.revision, GREEN.revision)
    assert record.because.endswith("Abort ordered by ReleaseCommand abort-1: errors in the log")


@pytest.mark.parametrize(
    "deployments",
    [
        lambda world: {n: d for n, d in world.deployments.items() if n != FRONTEND.name},
        lambda world: {**world.deployments, FRONTEND.name: replace(world.deployments[FRONTEND.name], available=0)},
    ],
    ids=["gone", "without an available pod"],
)
def test_a_candidate_that_is_no_longer_available_undoes_it_and_is_tried_again(deployments):
    """Nobody ordered it, so nothing is latched."""
    world = halfway()
    record = a_switch_is_one_act(replace(world, deployments=deployments(world)), NOW).step.record
    assert (record.cause, record.order, record.latches, record.reason) == (
        Cause.UNDO, "", False, "CandidateUnavailable",
    )  # fmt: skip


def test_one_available_pod_is_enough_to_go_on():
    world = halfway()
    few = {n: replace(d, available=1) for n, d in world.deployments.items()}
    assert causes(replace(world, deployments=few)) == FORWARD
    assert unavailable(world, "nobody remembers") == ""


def test_a_rollback_is_never_undone():
    """Nothing about green's state may delay it; an order neither."""
    world = halfway(Cause.ROLLBACK)
    orders = (an_order(Action.ROLLBACK, LIVE.revision),)
    assert causes(replace(world, orders=orders)) == ("frontend", Cause.ROLLBACK)


def test_at_the_first_release_it_is_undone_to_nothing():
    world = halfway(orders=(an_order(Action.ABORT, GREEN.revision),))
    first = replace(world, memory=replace(world.memory, live=None))
    assert a_switch_is_one_act(first, NOW).step.record.to == ""
    assert aborted(replace(first, orders=(an_order(Action.ROLLBACK, GREEN.revision),))) is not None
    assert aborted(replace(first, orders=(an_order(Action.ROLLBACK, LIVE.revision),))) is None


def test_without_an_act_the_rule_is_silent():
    assert a_switch_is_one_act(a_release().live().world(), NOW) is None
    assert decide(halfway(), NOW).rule == "a_switch_is_one_act"


# --- across an irreversible hook --------------------------------------------------------------------------------------

MARK = "hook migrate of version 2.0.0 (abc) cannot be undone"


def no_way_back(**changes):
    """Return a world in which half a switch lies across an irreversible hook that succeeded."""
    world = halfway(**changes)
    return replace(world, memory=replace(world.memory, live=replace(world.memory.live, unsafe=MARK)))


def lacking(world, *components):
    """Return a world in which Deployments of the candidate have no available pod."""
    lost = {names.deployment_name(KEY.name, m.name, m.revision) for m in GREEN.members if m.name in components}
    found = {n: replace(d, available=0) if n in lost else d for n, d in world.deployments.items()}
    return replace(world, deployments=found)


@pytest.mark.parametrize("action", [Action.ABORT, Action.ROLLBACK])
def test_only_a_forced_order_undoes_half_a_switch_across_an_irreversible_hook(action):
    refused = a_switch_is_one_act(no_way_back(orders=(an_order(action, GREEN.revision),)), NOW)
    assert (refused.reason, refused.memory.answers[0].phase) == ("RollbackUnsafe", "Refused")
    assert MARK in refused.because
    assert causes(no_way_back(orders=(an_order(action, GREEN.revision, force=True, reason="I looked"),))) == BACK


def test_a_forced_order_is_carried_out_behind_one_that_is_refused():
    orders = (
        an_order(Action.ABORT, GREEN.revision, uid="1"),
        an_order(Action.ABORT, GREEN.revision, uid="2", force=True),
    )
    world = no_way_back(orders=orders)
    refused = a_switch_is_one_act(world, NOW)
    assert causes(replace(world, memory=refused.memory)) == BACK


def test_half_a_switch_across_an_irreversible_hook_goes_on_to_what_is_available():
    """What was moved already is lost either way: its other half is not left to code that is older than the hook."""
    assert causes(lacking(no_way_back(), "backend")) == FORWARD
    assert causes(lacking(halfway(), "backend")) == BACK


def test_half_a_switch_across_an_irreversible_hook_holds_still_before_what_is_not_available():
    decision = decide(lacking(no_way_back(), "frontend"), NOW)
    assert (type(decision.step), decision.reason, decision.stalled) == (Rest, "RollbackUnsafe", True)
    assert f"Deployment {FRONTEND.name} has no available pod; {MARK}" in decision.because


def test_half_a_switch_holds_still_while_nobody_knows_how_an_irreversible_hook_ended():
    going = Job(
        "shop-migrate", "uid", 1, "migrate", GREEN.revision, "1", "uid", suspended=False, ends_at=None, ended=False, failed=False,
        reason="", message="", irreversible=MARK,
    )  # fmt: skip
    assert causes(lacking(halfway(jobs={going.name: going}), "frontend")) is Rest


def test_what_is_gone_of_half_a_switch_with_no_way_back_is_recreated():
    world = no_way_back()
    rest = {n: d for n, d in world.deployments.items() if n != FRONTEND.name}
    step = a_switch_is_one_act(replace(world, deployments=rest), NOW).step
    assert (type(step), step.name) == (CreateDeployment, FRONTEND.name)


def test_at_the_first_release_there_is_nothing_to_go_back_to_and_so_no_way_that_is_closed():
    going = Job(
        "shop-migrate", "uid", 1, "migrate", "older", "1", "uid", suspended=False, ends_at=None, ended=False, failed=False,
        reason="", message="", irreversible=MARK,
    )  # fmt: skip
    world = lacking(halfway(jobs={going.name: going}), "frontend")
    assert causes(replace(world, memory=replace(world.memory, live=None))) == BACK
