"""Which act is under way, how far it came, and what its next write is: read from the Services alone (product.md 4.6)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import acts, names
from tradingrelease.policy.model import Claim, Record, Rest, Switch
from tradingrelease.policy.reasons import Cause

from tests.builders import NOW, a_deployment, a_release, a_service, a_stack

TRIO = ("backend", "frontend", "ml-engine")
GREEN = a_stack("2.0.0", TRIO)
LIVE = a_stack("1.0.0", TRIO)


def a_record(act=2, cause=Cause.PROMOTE, to=GREEN, origin=LIVE, component="backend", **fields):
    """Return the record of an act on one Service."""
    selected = to.member(component).revision if to.member(component) else "x"
    before = origin.member(component).revision if origin.member(component) else ""
    return replace(Record(act, cause, to.revision, origin.revision, selected, before, NOW, "why"), **fields)


def halfway(*moved, **fields):
    """Return a world in which the switch to 2.0.0 has moved some Services."""
    world = a_release(*TRIO).live("1.0.0").candidate("2.0.0", verified=True).world()
    given = {n: a_service(n, GREEN.member(n).revision, record=a_record(component=n, **fields)) for n in moved}
    return replace(world, services={**world.services, **given})


def elsewhere(world, name, **changes):
    """Let somebody else write a Service."""
    return replace(world, services={**world.services, name: replace(world.services[name], **changes)})


# --- which act --------------------------------------------------------------------------------------------------------


def test_the_newest_record_names_the_act():
    world = elsewhere(halfway("backend"), "frontend", record=a_record(3, Cause.UNDO, LIVE, GREEN, "frontend"))
    assert (acts.latest(world).act, acts.latest(world).cause) == (3, Cause.UNDO)


@pytest.mark.parametrize(("release", "counts"), [("", True), ("shop", True), ("former", False)])
def test_a_record_that_another_release_left_on_a_service_has_a_count_of_its_own(release, counts):
    """A Service may come from another release: its act 99 must not look like ours."""
    world = halfway("backend", act=99, release=release)
    assert (acts.unfinished(world) is not None) is counts


def test_a_service_without_our_mark_tells_nothing():
    assert acts.unfinished(elsewhere(halfway("backend"), "backend", labels={})) is None


@pytest.mark.parametrize("cause", [Cause.ADOPT, Cause.REPAIR])
def test_an_adoption_or_a_repair_is_no_act_under_way(cause):
    """Each is one write to one Service: nothing has to follow."""
    assert acts.unfinished(halfway("backend", cause=cause)) is None


def test_an_act_that_is_remembered_is_over():
    assert acts.unfinished(halfway("backend", act=1)) is None


def test_what_a_deleted_release_of_this_name_began_is_not_gone_on_with():
    world = halfway("backend")
    empty = replace(world, memory=replace(world.memory, live=None, candidate=None))
    assert acts.unfinished(world) is not None
    assert acts.unfinished(empty) is None
    for left in ({"live": None}, {"candidate": None}):
        assert acts.unfinished(replace(world, memory=replace(world.memory, **left))) is not None


def test_acts_are_numbered_from_one_and_go_on_from_the_newest_that_anything_tells_of():
    assert acts.next_number(a_release().world()) == 1
    world = halfway("backend", act=7)
    assert acts.next_number(world) == 8
    live = replace(world.memory.live, act=9)
    assert acts.next_number(replace(world, memory=replace(world.memory, live=live))) == 10
    assert acts.next_number(replace(world, memory=replace(world.memory, act=11))) == 12


# --- how far it came --------------------------------------------------------------------------------------------------


def left(world, act=None):
    return [name for name, _ in acts.remaining(world, act or acts.latest(world))]


def test_a_promotion_moves_what_is_left_in_the_order_of_the_spec():
    assert left(halfway("backend")) == ["frontend", "ml-engine"]
    assert left(halfway(*TRIO)) == []
    assert acts.complete(halfway(*TRIO), a_record())
    assert not acts.complete(halfway("backend"), a_record())


def test_a_rollback_moves_in_reverse():
    world = a_release(*TRIO).live("2.0.0").retained("1.0.0").world()
    assert left(world, a_record(2, Cause.ROLLBACK, LIVE, GREEN)) == ["ml-engine", "frontend", "backend"]


def test_a_service_that_is_gone_is_not_waited_for():
    world = halfway("backend")
    without = {n: s for n, s in world.services.items() if n != "frontend"}
    assert left(replace(world, services=without)) == ["ml-engine"]


def test_an_act_to_what_nobody_remembers_is_not_complete():
    """Its candidate was given up: that is another rule's to say."""
    world = halfway(*TRIO)
    assert not acts.complete(world, a_record(to=a_stack("9.0.0", TRIO)))
    assert left(world, a_record(to=a_stack("9.0.0", TRIO))) == []


UNDO = a_record(3, Cause.UNDO, LIVE, GREEN)


def test_an_undo_takes_back_in_reverse_what_each_service_selected_before():
    world = elsewhere(halfway("backend", "frontend"), "backend", record=a_record(before="whatever"))
    assert acts.remaining(world, UNDO) == [("frontend", LIVE.member("frontend").revision), ("backend", "whatever")]
    everything = [name for name, _ in acts.remaining(halfway(*TRIO), UNDO)]
    assert everything == ["ml-engine", "frontend", "backend"]


def test_an_undo_leaves_alone_what_the_act_did_not_move():
    assert left(halfway("backend"), UNDO) == ["backend"]
    assert left(elsewhere(halfway("backend"), "backend", record=a_record(act=1)), UNDO) == []


def test_an_undo_leaves_alone_what_somebody_else_moved_since():
    moved_on = elsewhere(halfway("backend"), "backend", selector={names.REVISION: "theirs"})
    assert left(moved_on, UNDO) == []


def test_an_undo_takes_back_only_what_moved_to_the_revision_that_it_undoes():
    other = a_record(to=replace(GREEN, revision="another"))
    assert left(elsewhere(halfway("backend"), "backend", record=other), UNDO) == []


def test_an_undo_takes_back_also_what_moved_to_a_candidate_that_nobody_remembers():
    world = halfway("backend")
    assert left(replace(world, memory=replace(world.memory, candidate=None)), UNDO) == ["backend"]


def test_an_undo_is_complete_when_nothing_of_its_act_is_left():
    assert acts.complete(halfway(), UNDO)
    assert not acts.complete(halfway("backend"), UNDO)
    nobody = replace(UNDO, to="nobody remembers")
    assert acts.complete(halfway(), nobody)


@pytest.mark.parametrize(
    ("act", "abandoned"),
    [
        (a_record(), False),
        (a_record(to=a_stack("9.0.0", TRIO)), True),
        (a_record(cause=Cause.ROLLBACK, to=a_stack("0.9.0", TRIO)), False),
        (a_record(cause=Cause.ROLLBACK, to=a_stack("9.0.0", TRIO)), True),
        (a_record(cause=Cause.UNDO, to=a_stack("9.0.0", TRIO)), False),
    ],
    ids=["to the candidate", "to no candidate", "back to what is retained", "back to nothing", "an undo"],
)
def test_an_act_whose_revision_was_given_up_is_abandoned(act, abandoned):
    world = a_release(*TRIO).live("1.0.0").retained("0.8.0").retained("0.9.0").candidate("2.0.0").world()
    assert acts.abandoned(world, act) is abandoned
    none = replace(world, memory=replace(world.memory, candidate=None))
    assert acts.abandoned(none, a_record())


# --- its next write ---------------------------------------------------------------------------------------------------


def test_an_act_begins_with_a_number_of_its_own_and_the_time_of_now():
    world = a_release(*TRIO).live("1.0.0").candidate("2.0.0", verified=True).world()
    step = acts.begin(world, a_record(act=0), "rule", NOW + timedelta(hours=1)).step
    record = step.record
    assert (step.service, step.version, step.component_revision) == ("backend", 10, GREEN.members[0].revision)
    assert (record.act, record.at, record.before) == (2, NOW + timedelta(hours=1), LIVE.members[0].revision)
    assert (record.selected, record.release) == (GREEN.members[0].revision, "shop")
    assert acts.begin(halfway(*TRIO), a_record(act=0), "rule", NOW) is None


def test_an_act_goes_on_under_its_number():
    decision = acts.go_on(halfway("backend"), a_record(reason="Switching"), "rule", NOW + timedelta(hours=1))
    assert (decision.step.service, decision.step.record.act, decision.rule, decision.reason) == (
        "frontend", 2, "rule", "Switching",
    )  # fmt: skip
    assert decision.step.record.at == NOW + timedelta(hours=1)
    assert acts.go_on(halfway(*TRIO), a_record(), "rule", NOW) is None


def point(world, revision, **fields):
    return acts.point(world, "backend", a_record(selected=revision, **fields), "rule")


def one(**fields):
    return a_release().live("1.0.0").candidate("2.0.0", **fields).world()


TARGET = a_deployment(version="2.0.0")


def test_a_selector_that_is_to_name_nothing_needs_no_claim():
    decision = point(one(), names.NOTHING)
    assert (type(decision.step), decision.reason) == (Switch, str(Cause.PROMOTE))


def test_a_service_that_selected_nothing_of_ours_is_recorded_so():
    """An undo takes it back to no key at all."""
    world = replace(one(), services={"backend": a_service()})
    assert point(world, TARGET.revision).step.record.before == ""


@pytest.mark.parametrize(
    ("fields", "step", "reason"),
    [
        ({"claims": {"backend": 10}}, Switch, str(Cause.PROMOTE)),
        ({"claims": {"backend": 9}}, Claim, "Claiming"),
        ({"claims": {"other": 10}}, Claim, "Claiming"),
        ({"claims": {"backend": 11}}, Rest, "StaleRead"),
        ({"replicas": 0}, Rest, "TargetMissing"),
        ({"deleting": True}, Rest, "TargetMissing"),
    ],
    ids=["claimed", "claimed before", "never claimed", "read too early", "at zero", "going"],
)
def test_a_switch_asks_for_a_claim_at_the_version_of_the_service_and_for_pods(fields, step, reason):
    decision = point(one(**fields), TARGET.revision)
    assert (type(decision.step), decision.reason) == (step, reason)
    assert decision.stalled is (reason == "TargetMissing")
    wait = {"TargetMissing": timedelta(seconds=1), "StaleRead": timedelta(milliseconds=200)}
    assert decision.look_again == wait.get(reason)


def test_a_missing_claim_allows_no_switch_at_any_version():
    world = replace(one(claims={"other": 1}), services={"backend": a_service(version=1)})
    assert isinstance(point(world, TARGET.revision).step, Claim)


def test_what_is_claimed_is_the_one_service_that_moves():
    decision = point(one(claims={"backend": 9, "other": 3}), TARGET.revision)
    assert decision.step == Claim(TARGET.name, TARGET.uid, TARGET.version, {"backend": 10})


def test_a_service_that_is_gone_is_not_claimed():
    assert acts.claim(one(), replace(TARGET, claims={}), {"gone"}).claims == {}


def test_of_two_deployments_of_one_revision_the_one_that_claims_the_service_is_meant():
    """Two components with one template: each has its own Deployment, and its own Services."""
    twin = replace(TARGET, name="shop-zzz", uid="twin", claims={"other": 10})
    world = one()
    world = replace(world, deployments={**world.deployments, twin.name: twin})
    assert isinstance(point(world, TARGET.revision).step, Switch)


def test_only_a_deployment_whose_pods_satisfy_the_services_own_selector_is_switched_to():
    other = a_service("backend", "x", selector={"app": "backend", "tier": "internal", names.REVISION: "x"})
    assert point(replace(one(), services={"backend": other}), TARGET.revision).reason == "TargetMissing"
