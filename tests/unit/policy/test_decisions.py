"""Which rule speaks when several could, and what a decision carries beside its step."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import names
from tradingrelease.policy.decide import CHORES, decide
from tradingrelease.policy.model import (
    CreateDeployment,
    ForgetSpec,
    Own,
    Record,
    Rest,
    Restore,
    StoreSpec,
    Unmark,
)
from tradingrelease.policy.reasons import Action, Cause

from tests.builders import (
    KEY,
    NOW,
    UID,
    a_deployment,
    a_release,
    a_service,
    a_spec,
    a_stack,
    an_order,
    parsed,
    rejected,
)

AT_ONCE = timedelta(0)
TYPO = {"version": "oops"}
DEAD = {"dead:backend": NOW - timedelta(minutes=1)}
BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")
FORMER = a_service("former", BLUE.revision, version=4)
"""A Service that left the spec."""


def moved(to, act=2, cause=Cause.PROMOTE, **fields):
    """Return the Service after an act gave it a Deployment's revision."""
    live = a_stack("1.0.0")
    record = Record(act, cause, a_stack(to.created_version).revision, live.revision, to.revision, "x", NOW, "because")
    return a_service("backend", to.revision, version=11, record=replace(record, **fields))


# --- every rule has its say -------------------------------------------------------------------------------------------


def test_a_template_that_somebody_edited_is_restored_with_an_event():
    world = a_release().live().world()
    template = {**BLUE.template, "spec": {"containers": [{"name": "backend", "image": "backend:9"}]}}
    edited = replace(world, deployments={BLUE.name: replace(BLUE, template=template, claims={"backend": 10})})
    decision = decide(edited, NOW)
    assert (type(decision.step), decision.step.template) == (Restore, BLUE.template)
    assert [(n.reason, n.warning) for n in decision.notes] == [("EditRestored", True)]


def test_a_rollback_target_that_somebody_deleted_is_made_anew():
    world = a_release().promoted("2.0.0").world()
    left = {n: d for n, d in world.deployments.items() if n != BLUE.name}
    decision = decide(replace(world, deployments=left), NOW)
    assert (type(decision.step), decision.step.name) == (CreateDeployment, BLUE.name)
    assert decision.look_again == AT_ONCE
    assert [(n.reason, n.warning) for n in decision.notes] == [("RetainedRecreated", True)]


@pytest.mark.parametrize(("asked", "owned"), [("Remove", frozenset()), ("Keep", frozenset({UID}))])
def test_deployments_are_owned_as_on_delete_asks(asked, owned):
    world = a_release().live().asking(a_spec("1.0.0", onDelete=asked)).world()
    world = replace(world, memory=replace(world.memory, settings=replace(world.memory.settings, on_delete=asked)))
    world = replace(world, deployments={n: replace(d, owner_uids=owned) for n, d in world.deployments.items()})
    step = decide(world, NOW).step
    assert (type(step), step.owned) == (Own, asked == "Remove")


def test_a_service_that_left_the_spec_is_freed_and_keeps_its_selector():
    world = a_release().live().world()
    world = replace(world, services={**world.services, "former": FORMER})
    assert decide(world, NOW).step == Unmark("former", 4)


def test_a_stored_spec_that_nothing_refers_to_is_deleted():
    world = a_release().live().world()
    world = replace(world, stored={**world.stored, "forgotten": parsed(a_spec("0.1.0"))})
    assert decide(world, NOW).step == ForgetSpec(names.stored_spec_name(KEY.name, "forgotten"), "")


def test_no_chore_only_waits_since_the_chores_after_it_would_starve():
    """`_next` skips the rest of the chores after the first that speaks."""
    world = a_release().promoted("2.0.0").world()
    said = [decision for rule in CHORES if (decision := rule(world, NOW))]
    assert not [d.rule for d in said if isinstance(d.step, Rest) and d.memory is None]


def test_what_urgently_waits_hides_nothing_urgent_that_can_be_done():
    """Dead with nothing to roll back to, and edited by hand: the edit may be why."""
    world = a_release().live(proven=False, hours_ago=0.1).having(since=DEAD).world()
    template = {**BLUE.template, "spec": {"containers": [{"name": "backend", "image": "backend:9"}]}}
    edited = {n: replace(d, template=template) for n, d in world.deployments.items()}
    assert decide(world, NOW).reason == "NothingToRollBackTo"
    assert isinstance(decide(replace(world, deployments=edited), NOW).step, Restore)


# --- nothing comes between the patches of a switch ----------------------------------------------------------------------


def test_half_a_switch_whose_target_is_gone_waits_and_nothing_else_is_done():
    """From its first to its last Service a switch is one act: it says what it waits for, and no plan goes on."""
    pair = ("backend", "frontend")
    world = a_release(*pair).live("2.0.0").retained("1.0.0").asking(a_spec("3.0.0", pair)).world()
    stack = a_stack("1.0.0", pair)
    back = Record(2, Cause.ROLLBACK, stack.revision, a_stack("2.0.0", pair).revision, stack.members[1].revision, "x",
                  NOW, "because")  # fmt: skip
    services = {**world.services, "frontend": a_service("frontend", stack.members[1].revision, record=back)}
    left = {n: d for n, d in world.deployments.items() if d.component != "backend" or d.created_version != "1.0.0"}
    for orders in ((), (an_order(Action.PAUSE),)):
        decision = decide(replace(world, services=services, deployments=left, orders=orders), NOW)
        assert (decision.rule, decision.reason, decision.stalled) == ("a_switch_is_one_act", "TargetMissing", True)
        assert decision.memory is None


# --- what a decision carries ----------------------------------------------------------------------------------------


def test_what_has_happened_is_stored_and_looked_upon_at_once():
    """A complete switch is taken into memory before anything is built on it."""
    world = a_release().live().candidate(verified=True).having(services={"backend": moved(GREEN)}).world()
    decision = decide(world, NOW)
    assert (decision.rule, decision.look_again) == ("absorb", AT_ONCE)
    assert (decision.memory.live.stack.version, [n.reason for n in decision.notes]) == ("2.0.0", ["Switched"])


def test_all_that_follows_from_memory_is_told():
    """Two orders are answered in one write: an Event for each."""
    ordered = a_release().live().ordered(Action.PAUSE, uid="1").ordered(Action.RESUME, uid="2")
    decision = decide(ordered.world(), NOW)
    assert [(a.uid, a.phase) for a in decision.memory.answers] == [("1", "Done"), ("2", "Done")]
    assert [n.reason for n in decision.notes] == ["Paused", "Resumed"]


def owned():
    world = a_release().live().world()
    return replace(
        world, deployments={n: replace(d, owner_uids=frozenset({UID})) for n, d in world.deployments.items()}
    )


@pytest.mark.parametrize(
    "busy",
    [
        a_release().live().ordered(Action.PAUSE).world(),
        a_release().live(proven=False, hours_ago=0.1).having(since=DEAD).world(),
        a_release().live().candidate(verified=True).world(),
        owned(),
    ],
    ids=["an order is answered", "live is dead", "the candidate goes on", "a chore is done"],
)
def test_a_refused_spec_is_said_to_be_refused_whatever_else_goes_on(busy):
    """CI learns of a typo within a second, also while other things are done."""
    decision = decide(replace(busy, spec=rejected(TYPO)), NOW)
    assert decision.refused is not None
    assert decision.refused[0] == "InvalidSpec"


def test_of_two_that_wait_the_sooner_is_looked_at():
    """A refused spec is tried again every 10 s; what is dead with nothing to roll back to, every 5 s."""
    world = a_release().live(proven=False, hours_ago=0.1).having(since=DEAD).asking(TYPO).world()
    assert (decide(world, NOW).look_again, decide(replace(world, since={}), NOW).look_again) == (
        timedelta(seconds=5),
        timedelta(seconds=10),
    )


def test_a_deadline_that_ends_sooner_than_what_is_urgent_is_looked_at_in_time():
    world = a_release().live(proven=False, hours_ago=0.1).candidate().having(since=DEAD).world()
    ends_in = timedelta(seconds=1)
    started = replace(world.memory.candidate, started_at=NOW - timedelta(minutes=10) + ends_in)
    decision = decide(replace(world, memory=replace(world.memory, candidate=started)), NOW)
    assert decision.rule == "live_is_healthy"
    assert ends_in <= decision.look_again < ends_in + timedelta(seconds=1)


def test_a_settled_release_says_so():
    decision = decide(a_release().live().world(), NOW)
    assert (decision.rule, decision.reason, decision.look_again) == ("settled", "Settled", None)


def test_a_new_spec_is_stored_before_a_candidate_begins():
    world = a_release().live().asking(a_spec("2.0.0")).world()
    known = replace(world, dry_runs={GREEN.revision: None})
    assert isinstance(decide(known, NOW).step, StoreSpec)
