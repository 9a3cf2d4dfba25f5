"""What keeps the house in order, and when each thing is due (product.md 4.8 to 4.10, and section 5)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import names, signals
from tradingrelease.policy.model import (
    Annotate,
    Claim,
    DeletePreview,
    Latched,
    Own,
    Record,
    Retire,
    Scale,
    StoreSpec,
    Unmark,
)
from tradingrelease.policy.reasons import Action, Cause, Role
from tradingrelease.policy.rules import chores
from tradingrelease.policy.rules.chores import next_chore, role_of

from tests.builders import (
    NOW,
    UID,
    a_component,
    a_deployment,
    a_preview,
    a_release,
    a_service,
    a_spec,
    a_stack,
    an_order,
    parsed,
)

PAIR = ("backend", "frontend")
BLUE, GREEN, OLD = a_deployment(), a_deployment(version="2.0.0"), a_deployment(version="0.9.0")
V1, V2 = a_stack("1.0.0"), a_stack("2.0.0")


def minutes(number):
    return timedelta(minutes=number)


def seconds(number):
    return timedelta(seconds=number)


def remembering(world, **changes):
    return replace(world, memory=replace(world.memory, **changes))


def settings(world, **changes):
    return remembering(world, settings=replace(world.memory.settings, **changes))


def deployment(world, found, **changes):
    changed = replace(world.deployments[found.name], **changes)
    return replace(world, deployments={**world.deployments, found.name: changed})


def mid_switch():
    """Return a world with a switch under way: no chore may come between its patches."""
    world = a_release(*PAIR).live("1.0.0").retained("0.9.0").candidate("2.0.0", verified=True).world()
    green = a_stack("2.0.0", PAIR)
    record = Record(2, Cause.PROMOTE, green.revision, "x", green.members[0].revision, "x", NOW, "why")
    moved = a_service("backend", green.members[0].revision, version=11, record=record)
    leftover = a_deployment("backend", "0.1.0")
    world = replace(world, services={**world.services, "backend": moved, "former": a_service("former", "x")})
    held = {n: replace(d, claims={"backend": 1, "frontend": 1}) for n, d in world.deployments.items()}
    late = tuple(replace(r, until=NOW) for r in world.memory.retained)
    world = replace(world, deployments={**held, leftover.name: leftover}, stored={**world.stored, "x": parsed()})
    return remembering(replace(world, since=idle(leftover)), retained=late)


def idle(*found, age=5.0):
    return {signals.read_back(1): NOW - minutes(1)} | {signals.idle(d.name): NOW - seconds(age) for d in found}


@pytest.mark.parametrize(
    "rule",
    [chores.retained_stands, chores.standby_is_claimed, chores.unlisted_services_are_free, chores.retention_ends,
     chores.leftovers_go, chores.unneeded_specs_go],
    ids=lambda rule: rule.__name__,
)  # fmt: skip
def test_nothing_comes_between_the_patches_of_a_switch(rule):
    world = mid_switch()
    assert rule(world, NOW) is None
    over = remembering(world, act=2)
    if rule is chores.retained_stands:
        over = replace(over, deployments={n: d for n, d in over.deployments.items() if d.created_version != "0.9.0"})
    assert rule(over, NOW).rule == rule.__name__


# --- roles ------------------------------------------------------------------------------------------------------------


def all_roles():
    world = a_release().live("1.0.0").retained("0.9.0").candidate("2.0.0").failed("0.5.0").world()
    left = a_deployment(version="0.1.0")
    return replace(world, deployments={**world.deployments, left.name: left})


@pytest.mark.parametrize(
    ("version", "role"),
    [("1.0.0", Role.LIVE), ("0.9.0", Role.RETAINED), ("2.0.0", Role.CANDIDATE), ("0.5.0", Role.FAILED),
     ("0.1.0", Role.LEFTOVER)],
)  # fmt: skip
def test_a_deployment_has_the_role_of_its_revision(version, role):
    assert role_of(all_roles(), a_deployment(version=version)) is role


def test_the_strongest_role_of_several_counts():
    """A Deployment may serve several revisions of the same template: live > retained > candidate > failed."""
    world = all_roles()
    latch = world.memory.latched[0]
    everywhere = tuple(replace(latch, stack=a_stack(v)) for v in ("1.0.0", "0.9.0", "2.0.0"))
    world = remembering(world, latched=everywhere, candidate=replace(world.memory.candidate, stack=a_stack("0.9.0")))
    assert [role_of(world, d) for d in (BLUE, OLD, GREEN)] == [Role.LIVE, Role.RETAINED, Role.FAILED]


def test_what_a_marked_service_selects_by_its_claim_is_live_for_all_that_scales_or_deletes():
    world = all_roles()
    selected = a_service("backend", GREEN.revision)
    moved = replace(world, services={"backend": selected})
    claimed = replace(GREEN, claims={"backend": 1})
    assert role_of(moved, claimed) is Role.LIVE
    assert role_of(moved, replace(GREEN, claims={"other": 1})) is Role.CANDIDATE
    assert role_of(replace(world, services={"backend": replace(selected, labels={})}), claimed) is Role.CANDIDATE


def test_another_component_of_the_same_revision_has_a_role_of_its_own():
    assert role_of(all_roles(), replace(BLUE, component="frontend")) is Role.LEFTOVER


# --- what serves is remembered on the objects -------------------------------------------------------------------------


def test_what_is_proven_is_said_on_its_deployment_so_that_it_outlives_the_release():
    world = deployment(a_release().live().world(), BLUE, proven=("earlier",))
    decision = chores.live_is_annotated(world, NOW)
    notes = {names.SERVED: "true", names.PROVEN: f"earlier,{V1.revision}"}
    assert decision.step == Annotate(BLUE.name, BLUE.uid, BLUE.version, notes)
    assert chores.live_is_annotated(a_release().live().world(), NOW) is None
    assert chores.live_is_annotated(a_release().live(proven=False).world(), NOW) is None
    assert chores.live_is_annotated(a_release().world(), NOW) is None


def test_the_last_ten_proofs_are_kept_on_it():
    world = deployment(a_release().live().world(), BLUE, proven=tuple(f"r{n:02}" for n in reversed(range(12))))
    kept = chores.live_is_annotated(world, NOW).step.annotations[names.PROVEN].split(",")
    assert kept == [*(f"r{n:02}" for n in range(8, -1, -1)), V1.revision], "the newest, whatever they are called"


def test_every_live_deployment_says_so():
    world = a_release(*PAIR).live().world()
    front = a_deployment("frontend")
    assert chores.live_is_annotated(deployment(world, front, proven=()), NOW).step.deployment == front.name


# --- stored specs -----------------------------------------------------------------------------------------------------


def test_a_live_spec_that_is_missing_is_stored_from_the_spec_of_now_where_it_is_the_same():
    decision = chores.live_spec_is_stored(a_release().live().having(stored={}).world(), NOW)
    assert (type(decision.step), decision.step.revision) == (StoreSpec, V1.revision)
    assert decision.step.body["metadata"]["name"] == names.stored_spec_name("shop", V1.revision)
    assert decision.step.body["metadata"]["labels"][names.REVISION] == V1.revision


@pytest.mark.parametrize("spec", [a_spec("3.0.0"), {"version": "oops"}], ids=["another spec", "a typo"])
def test_else_it_is_rebuilt_from_its_deployments_without_checks(spec):
    world = a_release(*PAIR).live().asking(spec).having(stored={}).world()
    body = chores.live_spec_is_stored(world, NOW).step.body
    revision = a_stack("1.0.0", PAIR).revision
    assert body["metadata"]["name"] == names.stored_spec_name("shop", revision)
    assert body["metadata"]["labels"][names.REVISION] == revision
    spec = body["data"]["spec"] if "spec" in body["data"] else body["data"]
    rebuilt = [(c["name"], c["services"], c.get("minReadySeconds"), c.get("health")) for c in spec["components"]]
    assert rebuilt == [("backend", ["backend"], 5, None), ("frontend", ["frontend"], 5, None)]
    assert spec["version"] == "1.0.0"
    assert names.digest(spec["components"][0]["template"]) == BLUE.revision
    left = {n: d for n, d in world.deployments.items() if d.component == "backend"}
    assert chores.live_spec_is_stored(replace(world, deployments=left), NOW) is None


def test_retained_specs_are_stored_too():
    world = a_release().promoted("2.0.0").world()
    assert chores.live_spec_is_stored(world, NOW) is None
    kept = {V2.revision: world.stored[V2.revision]}
    assert chores.live_spec_is_stored(replace(world, stored=kept), NOW).step.revision == V1.revision
    without = replace(world, stored=kept, deployments={})
    assert chores.live_spec_is_stored(without, NOW) is None
    nothing_live = remembering(replace(world, stored={}), live=None)
    assert chores.live_spec_is_stored(nothing_live, NOW).step.revision == V1.revision


def test_what_nothing_refers_to_is_deleted_and_all_else_is_kept():
    world = (
        a_release().live("1.0.0").retained("0.9.0").failed("0.5.0").candidate("2.0.0").asking(a_spec("3.0.0")).world()
    )
    held = ("1.0.0", "0.9.0", "0.5.0", "2.0.0", "3.0.0", "0.7.0")
    entry = replace(world.memory.history[0], revision=a_stack("0.7.0").revision)
    world = remembering(world, history=(entry,))
    world = replace(world, stored={a_stack(v).revision: parsed(a_spec(v)) for v in held})
    assert chores.unneeded_specs_go(world, NOW) is None
    for change in ({"history": ()}, {"latched": ()}, {"retained": ()}, {"candidate": None}):
        assert chores.unneeded_specs_go(remembering(world, **change), NOW) is not None
    typo = replace(world, spec=a_release().asking({"version": "oops"}).world().spec)
    assert chores.unneeded_specs_go(typo, NOW).step.name.endswith(a_stack("3.0.0").revision)
    assert chores.unneeded_specs_go(remembering(world, live=None, history=()), NOW) is None


# --- standby ----------------------------------------------------------------------------------------------------------


def claimable(**changes):
    return deployment(
        a_release().live("1.0.0").candidate("2.0.0").world(), GREEN, **{"claims": {"backend": 3}, **changes}
    )


def test_a_candidate_and_what_is_retained_are_claimed_anew_after_their_services_changed():
    decision = chores.standby_is_claimed(claimable(), NOW)
    assert decision.step == Claim(GREEN.name, GREEN.uid, GREEN.version, {"backend": 10})
    world = deployment(a_release().promoted("2.0.0").world(), BLUE, claims={"backend": 3})
    assert chores.standby_is_claimed(world, NOW).step.deployment == BLUE.name


@pytest.mark.parametrize("changes", [{"claims": {"backend": 10}}, {"replicas": 0}, {"deleting": True}], ids=str)
def test_what_is_current_or_has_no_pods_is_not_claimed(changes):
    assert chores.standby_is_claimed(claimable(**changes), NOW) is None


def test_what_live_shares_is_not_claimed_since_it_is_selected_already():
    world = a_release().live("1.0.0").world()
    shared = replace(V1, revision="shared")
    candidate = replace(claimable().memory.candidate, stack=shared)
    world = deployment(remembering(world, candidate=candidate), BLUE, claims={})
    assert chores.standby_is_claimed(world, NOW) is None
    assert chores.standby_is_claimed(replace(world, services={}), NOW) is None


def test_what_is_due_to_go_is_never_claimed_anew():
    """Its retirement would need a fence."""
    world = a_release().live("3.0.0").retained("2.0.0").retained("1.0.0").world()
    stale = deployment(world, BLUE, claims={"backend": 3})
    assert chores.standby_is_claimed(stale, NOW) is None
    assert chores.standby_is_claimed(settings(stale, retain_revisions=2), NOW).step.deployment == BLUE.name


@pytest.mark.parametrize(
    "changes", [{"paused": a_release().paused().memory.paused}, {"retained": ()}], ids=["paused", "none"]
)
def test_a_rollback_target_is_not_made_anew_while_paused(changes):
    world = a_release().promoted("2.0.0").having(deployments={}).world()
    assert chores.retained_stands(world, NOW).step.name == BLUE.name
    assert chores.retained_stands(remembering(world, **changes), NOW) is None
    assert chores.retained_stands(replace(world, stored={}), NOW) is None


def test_a_rollback_target_that_is_still_going_is_waited_for():
    world = deployment(a_release().promoted("2.0.0").world(), BLUE, deleting=True)
    assert chores.retained_stands(world, NOW) is None


def scale(world):
    decision = chores.standby_has_its_size(world, NOW)
    return (decision.step.deployment, decision.step.replicas) if decision else None


def test_live_candidate_and_retained_have_their_size_and_nothing_else_is_scaled():
    world = settings(a_release().live("1.0.0").world(), replicas={"backend": 4})
    decision = chores.standby_has_its_size(world, NOW)
    assert decision.step == Scale(BLUE.name, BLUE.uid, BLUE.version, 4)
    assert scale(deployment(world, BLUE, deleting=True)) is None
    grown = deployment(a_release().promoted("2.0.0").world(), GREEN, replicas=4)
    assert scale(grown) == (BLUE.name, 4)
    candidate = deployment(a_release().live("1.0.0").candidate("2.0.0").world(), BLUE, replicas=4)
    assert scale(candidate) == (GREEN.name, 4)
    failed = deployment(a_release().live("1.0.0").failed("2.0.0").world(), BLUE, replicas=4)
    assert scale(failed) is None


def test_what_a_service_selects_without_being_remembered_is_not_scaled():
    world = a_release().live("1.0.0").world()
    left = replace(GREEN, claims={"backend": 1}, replicas=1)
    selected = replace(world, services={"backend": a_service("backend", GREEN.revision)}, deployments={left.name: left})
    assert scale(settings(selected, replicas={"backend": 4})) is None


@pytest.mark.parametrize(("wanted", "owners", "owned"), [("Remove", set(), True), ("Keep", {UID}, False), ("Remove", {UID}, None), ("Keep", set(), None), ("Keep", {"former"}, None)])  # fmt: skip
def test_deployments_are_owned_as_on_delete_says(wanted, owners, owned):
    world = deployment(settings(a_release().live().world(), on_delete=wanted), BLUE, owner_uids=frozenset(owners))
    decision = chores.ours_is_owned_as_asked(world, NOW)
    assert (decision.step if decision else None) == (
        Own(BLUE.name, BLUE.uid, BLUE.version, owned) if owned is not None else None
    )
    assert chores.ours_is_owned_as_asked(deployment(world, BLUE, deleting=True), NOW) is None
    assert chores.ours_is_owned_as_asked(remembering(world, live=None), NOW) is None


# --- previews and Services --------------------------------------------------------------------------------------------


def test_a_preview_ends_with_its_candidate():
    world = a_release().live("1.0.0").candidate("2.0.0").world()
    assert chores.previews_end_with_the_candidate(world, NOW) is None
    preview = world.services["backend-preview"]
    without = remembering(world, candidate=None)
    assert chores.previews_end_with_the_candidate(without, NOW).step == DeletePreview(preview.name, preview.uid)
    foreign = replace(preview, labels={**preview.labels, names.RELEASE: "another"})
    others = replace(without, services={"backend-preview": foreign})
    assert chores.previews_end_with_the_candidate(others, NOW) is None
    no_preview = replace(without, services={"backend": world.services["backend"]})
    assert chores.previews_end_with_the_candidate(no_preview, NOW) is None
    dropped = replace(world, services={**world.services, "x-preview": a_preview(a_service("x"), "x")})
    assert chores.previews_end_with_the_candidate(dropped, NOW).step.name == "x-preview"


def test_a_service_that_neither_the_spec_nor_live_nor_the_candidate_lists_is_freed():
    former = a_service("former", "x", version=4)

    def freed(world):
        decision = chores.unlisted_services_are_free(world, NOW)
        return decision.step if decision else None

    world = a_release().live("1.0.0").candidate("2.0.0").world()
    assert freed(world) is None
    world = replace(world, services={**world.services, "former": former})
    assert freed(world) == Unmark("former", 4)
    assert freed(remembering(world, live=None)) is None
    assert freed(replace(world, spec=a_release().asking({"version": "oops"}).world().spec)) is None
    assert freed(replace(world, services={"former": replace(former, labels={})})) is None
    listed = parsed(a_spec("2.0.0", (a_component(services=["backend", "former"]),)))
    assert freed(replace(world, spec=listed)) is None
    by_candidate = a_stack("9.0.0", ("former",))
    assert freed(remembering(world, candidate=replace(world.memory.candidate, stack=by_candidate))) is None
    by_live = replace(world.memory.live, stack=by_candidate)
    assert freed(remembering(world, live=by_live)) is None


# --- retention --------------------------------------------------------------------------------------------------------


def over(world, at=NOW):
    """Return the versions that are retained after the rule spoke, and the reason that it gave."""
    decision = chores.retention_ends(world, at)
    if decision is None:
        return None
    assert [n.reason for n in decision.notes] == [decision.reason]
    return [r.stack.version for r in decision.memory.retained], "its time ended" in decision.because


def test_a_retention_ends_when_its_time_is_over_and_not_before():
    world = a_release().promoted("2.0.0", hours_ago=24).world()
    assert over(world) == ([], True)
    assert over(world, NOW - timedelta(milliseconds=1)) is None


def test_the_oldest_goes_first_where_there_are_too_many():
    world = a_release().live("3.0.0").retained("2.0.0").retained("1.0.0").retained("0.9.0").world()
    assert over(world) == (["2.0.0", "1.0.0"], False)
    assert over(settings(world, retain_revisions=3)) is None
    assert over(settings(world, retain_revisions=2)) == (["2.0.0", "1.0.0"], False)


def test_a_release_that_is_yet_to_prove_itself_costs_no_target():
    world = a_release().live("3.0.0", hours_ago=30, proven=False).retained("2.0.0").retained("1.0.0").world()
    assert over(world) is None
    assert over(remembering(world, live=None)) is None


# --- going ------------------------------------------------------------------------------------------------------------


def going(world, at=NOW):
    decision = chores.leftovers_go(world, at)
    return (decision.step.deployment, decision.step.delete, decision.step.served) if decision else None


def leftover(found=OLD, age=5.0, **changes):
    found = replace(found, claims={"backend": 3}, **changes)
    world = a_release().live("1.0.0").world()
    return replace(world, deployments={**world.deployments, found.name: found}, since=idle(found, age=age))


def test_what_has_no_role_goes_five_seconds_after_its_last_connection_may_have_moved():
    decision = chores.leftovers_go(leftover(), NOW)
    assert decision.step == Retire(OLD.name, OLD.uid, {"backend": 3}, delete=True)
    assert going(leftover(age=4.9)) is None
    assert going(replace(leftover(), since={})) is None
    assert going(replace(leftover(), since={signals.idle(OLD.name): NOW - minutes(1)})) is None, "not read back"


def test_where_nothing_is_live_nothing_can_have_connections():
    world = remembering(replace(leftover(), since={}), live=None)
    assert going(world) == (OLD.name, True, False)


@pytest.mark.parametrize(
    ("service", "stays"),
    [
        ({}, True),
        ({"labels": {}}, True),
        ({"selector": {"app": "another", names.REVISION: OLD.revision}}, False),
        ({"labels": {names.PREVIEW_OF: "backend"}}, False),
        ({"selector": {"app": "backend", names.REVISION: "another"}}, False),
    ],
    ids=["selects it", "unmarked", "selects other pods", "a preview", "another revision"],
)
def test_what_any_service_selects_stays(service, stays):
    """Also a Service that is not ours, and one that left the spec."""
    world = leftover()
    selecting = replace(a_service("backend", OLD.revision, annotations={}), **{"name": "other", **service})
    assert (going(replace(world, services={**world.services, "other": selecting})) is None) is stays


def test_what_is_on_its_way_out_is_not_retired_again():
    assert going(leftover(deleting=True)) is None


def test_the_oldest_goes_first():
    young = a_deployment(version="0.8.0", created_at=NOW)
    world = leftover(created_at=NOW - timedelta(days=1))
    world = replace(world, deployments={young.name: young, **world.deployments}, since=idle(OLD, young))
    assert going(world)[0] == OLD.name


def failed(ago=20.0, served=False, **changes):
    """Return a world in which 2.0.0 failed so many minutes ago."""
    world = a_release().live("1.0.0").failed("2.0.0", minutes_ago=ago, **changes).asking(a_spec("2.0.0")).world()
    if served:
        entry = replace(world.memory.history[0], revision=V2.revision, switched=NOW)
        world = remembering(world, history=(entry, *world.memory.history))
    return world


def test_what_failed_before_it_served_stays_up_for_diagnosis():
    assert going(failed(ago=14.9)) is None
    assert going(failed(ago=15)) == (GREEN.name, False, False)
    assert going(settings(failed(ago=14.9), keep_failed_for=minutes(10))) == (GREEN.name, False, False)


def test_what_failed_while_it_served_goes_to_zero_five_seconds_after_blue_is_read_back():
    """Established connections stay on it until then."""
    for world in (failed(ago=1, served=True), deployment(failed(ago=1), GREEN, served=True)):
        assert going(world) is None
        assert going(replace(world, since=idle(GREEN))) == (GREEN.name, False, True)
        assert going(replace(world, since=idle(GREEN, age=4.9))) is None


def test_what_failed_is_deleted_when_its_retention_is_over():
    zero = failed(ago=15 + 24 * 60, replicas=0)
    assert going(zero) == (GREEN.name, True, False)
    assert going(failed(ago=15 + 24 * 60 - 0.1, replicas=0)) is None


def test_a_newer_failure_of_the_component_pushes_the_older_one_out():
    world = a_release().live("1.0.0").failed("2.0.0", minutes_ago=2).failed("3.0.0", minutes_ago=1).world()
    assert going(replace(world, since=idle(GREEN))) == (GREEN.name, True, False)
    assert going(world) is None
    other = deployment(world, a_deployment(version="3.0.0"), component="frontend")
    assert going(replace(other, since=idle(GREEN))) is None
    newest = idle(a_deployment(version="3.0.0"))
    assert going(replace(world, since=newest)) is None


def test_of_two_that_failed_at_one_time_the_one_that_was_made_later_stays():
    world = a_release().live("1.0.0").failed("2.0.0", minutes_ago=1).failed("3.0.0", minutes_ago=1).world()
    later = deployment(world, a_deployment(version="3.0.0"), created_at=NOW)
    both = idle(GREEN) | idle(a_deployment(version="3.0.0"))
    assert going(replace(later, since=both)) == (GREEN.name, True, False)
    assert going(replace(deployment(world, GREEN, created_at=NOW), since=both))[0] != GREEN.name
    assert going(replace(world, since=both)) is not None, "made in one second as well"


def test_the_newest_failure_of_a_deployment_counts():
    """It failed in two revisions of one template."""
    world = failed(ago=20)
    again = Latched(replace(V2, revision="again"), "CrashLoop", "", NOW - minutes(1))
    assert going(remembering(world, latched=(*world.memory.latched, again))) is None


def test_a_clone_is_not_swept_on_its_way_to_become_live_and_is_when_it_failed():
    clone = replace(OLD, adopted_from="backend", name="shop-backend-clone")
    world = a_release().having(services={"backend": a_service()}).world()
    world = replace(world, deployments={clone.name: clone}, since={})
    assert going(world) is None
    assert going(replace(world, services={"backend": a_service(selected="x")})) == (clone.name, True, False)
    assert going(replace(world, services={})) == (clone.name, True, False)
    assert going(replace(world, spec=a_release().asking({"version": "oops"}).world().spec)) == (clone.name, True, False)
    latch = Latched(replace(V1, members=()), "AdoptionFailed", "", NOW)
    assert going(remembering(world, latched=(latch,))) == (clone.name, True, False)
    other = replace(latch, reason="CrashLoop")
    assert going(remembering(world, latched=(other,))) is None
    kept = replace(clone, proven=("x",))
    assert going(remembering(replace(world, deployments={clone.name: kept}), latched=(latch,))) is None


# --- orders -----------------------------------------------------------------------------------------------------------


def test_an_answered_order_goes_after_ninety_days():
    old = an_order(Action.PAUSE, phase="Done", answered_at=NOW - timedelta(days=90))
    world = a_release().live().having(orders=(an_order(Action.RESUME, uid="open"), old)).world()
    assert chores.old_orders_go(world, NOW) is None
    step = chores.old_orders_go(world, NOW + timedelta(milliseconds=1)).step
    assert (step.name, step.uid) == (old.name, old.uid)


# --- and all of them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "world", "reason"),
    [
        (chores.live_is_annotated, deployment(a_release().live().world(), BLUE, proven=()), "Proven"),
        (chores.live_spec_is_stored, a_release().live().having(stored={}).world(), "SpecRebuilt"),
        (chores.standby_has_its_size, settings(a_release().live().world(), replicas={"backend": 4}), "Scaling"),
        (chores.standby_is_claimed, claimable(), "Claiming"),
        (chores.ours_is_owned_as_asked, settings(a_release().live().world(), on_delete="Remove"), "Owning"),
        (chores.previews_end_with_the_candidate, remembering(claimable(), candidate=None), "Tidying"),
        (chores.retained_stands, a_release().promoted("2.0.0").having(deployments={}).world(), "Recreating"),
        (chores.retention_ends, a_release().promoted("2.0.0", hours_ago=25).world(), "Retired"),
        (chores.leftovers_go, leftover(), "Retiring"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_chore_names_itself_and_says_what_it_does(rule, world, reason):
    decision = rule(world, NOW)
    assert (decision.rule, decision.reason) == (rule.__name__, reason)


# --- when to look again -----------------------------------------------------------------------------------------------


def test_nothing_is_due_where_nothing_waits_for_time():
    assert next_chore(a_release().live().world(), NOW) is None


def test_a_retention_is_looked_at_when_it_ends():
    assert next_chore(a_release().promoted("2.0.0", hours_ago=23).world(), NOW) == timedelta(hours=1)
    two = a_release().live("2.0.0", hours_ago=23).retained("1.0.0").world()
    later = replace(two.memory.retained[0], until=NOW + timedelta(hours=5))
    assert next_chore(remembering(two, retained=(later, *two.memory.retained)), NOW) == timedelta(hours=1)


def test_a_watch_is_looked_at_when_it_ends():
    world = a_release().live("2.0.0", hours_ago=0.1, proven=False).world()
    assert next_chore(world, NOW) == minutes(9)
    long = parsed(a_spec("2.0.0", watch={"for": "1h"}))
    assert next_chore(replace(world, stored={V2.revision: long}), NOW) == minutes(54)
    assert next_chore(replace(world, stored={}), NOW) == minutes(9)
    assert next_chore(remembering(world, live=None), NOW) is None


def test_what_goes_is_looked_at_when_it_may_go():
    assert next_chore(leftover(age=2), NOW) == seconds(3)
    assert next_chore(leftover(age=4.99), NOW) == timedelta(milliseconds=50), "never at once: it would be for ever"
    assert next_chore(leftover(age=5), NOW) is None
    assert next_chore(leftover(age=2, deleting=True), NOW) is None
    assert next_chore(failed(ago=5), NOW) == minutes(10)
    assert next_chore(replace(failed(ago=5), since=idle(GREEN, age=2)), NOW) == seconds(3)
    assert next_chore(failed(ago=5, replicas=0), NOW) == minutes(10 + 24 * 60)
    assert next_chore(failed(ago=15), NOW) == minutes(24 * 60)
    assert next_chore(failed(ago=20), NOW) == minutes(24 * 60 - 5)
    live = a_release().live("1.0.0").world()
    assert next_chore(replace(live, since=idle(BLUE, age=2)), NOW) is None


def test_an_answered_order_is_looked_at_when_it_goes():
    answered = an_order(Action.PAUSE, phase="Done", answered_at=NOW - timedelta(days=80))
    assert next_chore(a_release().live().having(orders=(answered,)).world(), NOW) == timedelta(days=10)
