"""What serves now: repaired, watched, rolled back or proven (product.md 4.7, 4.9 and Repair)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import names
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import (
    Annotate,
    Ask,
    Asked,
    ConfirmDead,
    CreateDeployment,
    Mark,
    Record,
    Rest,
    Restore,
    Streak,
    Switch,
    scope,
)
from tradingrelease.policy.reasons import Action, Cause, Outcome
from tradingrelease.policy.rules import live
from tradingrelease.policy.rules.live import (
    live_is_healthy,
    live_is_proven,
    next_death,
    nobody_edited_ours,
    selectors_are_ours,
    traffic_has_a_home,
)

from tests.builders import (
    NOW,
    UID,
    a_component,
    a_container,
    a_deployment,
    a_pod,
    a_release,
    a_service,
    a_spec,
    a_stack,
    a_template,
    parsed,
)

BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")
V1, V2 = a_stack("1.0.0"), a_stack("2.0.0")
PAIR = ("backend", "frontend")


def seconds(number):
    return timedelta(seconds=number)


def settings(world, **changes):
    return replace(world, memory=replace(world.memory, settings=replace(world.memory.settings, **changes)))


def deployment(world, found, **changes):
    changed = replace(world.deployments[found.name], **changes)
    return replace(world, deployments={**world.deployments, found.name: changed})


# --- traffic has a home -----------------------------------------------------------------------------------------------


def homeless(**changes):
    return replace(a_release().live().world(), **{"deployments": {}, "pods": (), **changes})


def test_a_live_deployment_that_was_deleted_is_made_anew_from_its_stored_spec():
    decision = traffic_has_a_home(homeless(), NOW)
    body = decision.step.body
    assert (type(decision.step), decision.step.name, decision.reason) == (CreateDeployment, BLUE.name, "Recreating")
    assert decision.rule == "traffic_has_a_home"
    assert (body["spec"]["replicas"], body["spec"]["minReadySeconds"]) == (1, 5)
    assert body["spec"]["template"] == BLUE.template
    notes = body["metadata"]["annotations"]
    assert (notes[names.claim_key("backend")], notes[names.CREATED_FOR], notes[names.VERSION_LABEL]) == (
        "10", V1.revision, "1.0.0",
    )  # fmt: skip
    assert not body["metadata"].get("ownerReferences")
    assert [(n.reason, n.warning) for n in decision.notes] == [("LiveRecreated", True)]
    assert decision.because == decision.notes[0].message


def test_it_is_as_large_as_its_author_wrote_or_as_what_else_stands_of_the_component():
    def size(world):
        return traffic_has_a_home(world, NOW).step.body["spec"]["replicas"]

    assert size(settings(homeless(), replicas={"backend": 5})) == 5
    assert size(settings(homeless(), replicas={"backend": 0})) == 1
    assert size(homeless(deployments={GREEN.name: replace(GREEN, replicas=3)})) == 3
    assert size(homeless(deployments={GREEN.name: replace(GREEN, replicas=0)})) == 1
    older = a_deployment(version="0.9.0", replicas=5)
    assert size(homeless(deployments={GREEN.name: replace(GREEN, replicas=3), older.name: older})) == 5
    other = a_deployment("frontend", replicas=7)
    assert size(homeless(deployments={other.name: other})) == 1


def test_it_goes_with_the_release_where_its_author_wants_that():
    body = traffic_has_a_home(settings(homeless(), on_delete="Remove"), NOW).step.body
    assert [o["uid"] for o in body["metadata"]["ownerReferences"]] == [UID]


@pytest.mark.parametrize(
    "world",
    [
        a_release().live().world(),
        a_release().candidate("1.0.0").having(deployments={}).world(),
        homeless(services={}),
        homeless(services={"backend": a_service(selected="other", annotations={names.BREAK_GLASS: "true"})}),
        homeless(stored={}),
        homeless(stored={V1.revision: parsed(a_spec("1.0.0", ("frontend",)))}),
        homeless(stored={V1.revision: parsed(a_spec("2.0.0"))}),
        homeless(deployments={BLUE.name: replace(BLUE, deleting=True)}),
    ],
    ids=["it stands", "nothing is live", "its Service is gone", "nobody puts it back", "no spec is stored",
         "another component is stored", "another template is stored", "it is still going"],
)  # fmt: skip
def test_nothing_is_made_anew(world):
    assert traffic_has_a_home(world, NOW) is None


def test_it_is_made_anew_also_where_its_service_is_to_be_put_back_to_it():
    for selected in ("other", None):
        assert traffic_has_a_home(homeless(services={"backend": a_service(selected=selected)}), NOW) is not None
    broken = {"backend": a_service(selected=BLUE.revision, annotations={names.BREAK_GLASS: "true"})}
    assert traffic_has_a_home(homeless(services=broken), NOW) is not None, "it serves behind broken glass"


def test_it_claims_the_services_that_are_there():
    both = a_spec("1.0.0", (a_component(services=["backend", "public"]),))
    world = homeless(stored={V1.revision: parsed(both)})
    stack = replace(V1, members=(replace(V1.members[0], services=("backend", "public")),))
    world = replace(world, memory=replace(world.memory, live=replace(world.memory.live, stack=stack)))
    notes = traffic_has_a_home(world, NOW).step.body["metadata"]["annotations"]
    assert [n for n in notes if n.startswith(names.CLAIM_DOMAIN)] == [names.claim_key("backend")]


def test_every_component_has_a_home():
    world = a_release(*PAIR).live().world()
    left = {n: d for n, d in world.deployments.items() if d.component == "backend"}
    step = traffic_has_a_home(replace(world, deployments=left), NOW).step
    assert step.name == a_deployment("frontend").name


# --- selectors are ours -----------------------------------------------------------------------------------------------


def astray(selected="other", **changes):
    """Return a world in which somebody else wrote the selector of a live Service."""
    service = replace(a_service(selected=BLUE.revision), selector={"app": "backend", names.REVISION: selected})
    if selected is None:
        service = replace(service, selector={"app": "backend"})
    return replace(a_release().live().world(), **{"services": {"backend": service}, **changes})


@pytest.mark.parametrize("selected", ["other", names.NOTHING, None])
def test_a_selector_that_somebody_else_wrote_is_put_back_with_an_event(selected):
    decision = selectors_are_ours(astray(selected), NOW)
    record = decision.step.record
    assert (type(decision.step), decision.step.component_revision) == (Switch, BLUE.revision)
    assert (record.cause, record.act, record.to, record.origin, record.at) == (
        Cause.REPAIR, 1, V1.revision, V1.revision, NOW,
    )  # fmt: skip
    assert (record.before, record.reason, record.latches) == (selected or "", "SelectorRepaired", False)
    assert [(n.reason, n.warning) for n in decision.notes] == [("SelectorRepaired", True)]
    assert decision.rule == "selectors_are_ours"
    said = f"selected {selected}" if selected else "had no revision key"
    assert said in decision.notes[0].message


def test_a_repair_that_has_to_claim_first_tells_nobody_yet():
    decision = selectors_are_ours(deployment(astray(), BLUE, claims={"backend": 3}), NOW)
    assert (decision.reason, decision.notes) == ("Claiming", ())


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": a_release().live().paused().memory},
        {"memory": a_release().candidate("1.0.0").memory},
        {"services": {}},
        {"services": {"backend": a_service(selected=BLUE.revision)}},
        {"services": {"backend": a_service(selected="other", labels={names.RELEASE: "another"})}},
        {"services": {"backend": a_service(selected="other", annotations={names.BREAK_GLASS: "true"})}},
    ],
    ids=["paused", "nothing live", "it is gone", "it is right", "another release steers it", "glass is broken"],
)
def test_a_selector_is_left_alone(changes):
    assert selectors_are_ours(astray(**changes), NOW) is None


def test_a_selector_is_left_alone_while_a_switch_is_under_way():
    world = a_release(*PAIR).live().candidate(verified=True).world()
    green = a_stack("2.0.0", PAIR)
    record = Record(2, Cause.PROMOTE, green.revision, "x", green.members[0].revision, "x", NOW, "why")
    moved = a_service("backend", green.members[0].revision, record=record)
    assert selectors_are_ours(replace(world, services={**world.services, "backend": moved}), NOW) is None


def test_the_one_selector_of_several_that_is_wrong_is_found():
    world = a_release(*PAIR).live().world()
    wrong = a_service("frontend", "other")
    assert (
        selectors_are_ours(replace(world, services={**world.services, "frontend": wrong}), NOW).step.service
        == "frontend"
    )
    without = {"frontend": wrong}
    assert selectors_are_ours(replace(world, services=without), NOW).step.service == "frontend"


@pytest.mark.parametrize(("selected", "gates"), [(None, True), (names.NOTHING, False)])
def test_a_service_of_a_component_without_replicas_selects_nothing(selected, gates):
    """No selector may name what has no pods; without our key it would give a candidate its traffic."""
    decision = selectors_are_ours(deployment(astray(selected), BLUE, replicas=0), NOW)
    assert (decision.step if decision else None) == (Mark("backend", 10, gate=True) if gates else None)
    assert decision is None or (decision.rule, decision.reason) == ("selectors_are_ours", "Gating")


def test_a_selector_cannot_be_put_back_to_a_deployment_that_is_gone():
    assert selectors_are_ours(astray(deployments={}), NOW).reason == "TargetMissing"
    assert selectors_are_ours(astray(None, deployments={}), NOW).reason == "TargetMissing"


def test_a_selector_that_names_another_is_wrong_also_where_live_has_no_replicas():
    assert selectors_are_ours(deployment(astray("other"), BLUE, replicas=0), NOW).reason == "TargetMissing"


# --- nobody edited ours -----------------------------------------------------------------------------------------------

EDITED = {**BLUE.template, "spec": {"containers": [{"name": "backend", "image": "backend:9"}]}}


@pytest.mark.parametrize("found", [BLUE, GREEN, a_deployment(version="0.9.0")], ids=["live", "candidate", "retained"])
def test_a_template_that_somebody_edited_is_restored(found):
    world = a_release().live("1.0.0").retained("0.9.0").candidate("2.0.0").world()
    template = {**found.template, "spec": {"containers": [{"name": "backend", "image": "backend:9"}]}}
    decision = nobody_edited_ours(deployment(world, found, template=template), NOW)
    assert decision.step == Restore(found.name, found.uid, found.version, found.template)
    assert (decision.rule, decision.reason) == ("nobody_edited_ours", "EditRestored")
    assert [(n.reason, n.warning) for n in decision.notes] == [("EditRestored", True)]
    assert nobody_edited_ours(world, NOW) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": a_release().live().paused().memory},
        {"deployments": {}},
        {"stored": {}},
        {"stored": {V1.revision: parsed(a_spec("1.0.0", ("frontend",)))}},
        {"stored": {V1.revision: parsed(a_spec("2.0.0"))}},
    ],
    ids=["paused", "it is gone", "no spec is stored", "another component is stored", "another template is stored"],
)
def test_a_template_is_left_alone(changes):
    world = deployment(a_release().live().world(), BLUE, template=EDITED)
    assert nobody_edited_ours(replace(world, **changes), NOW) is None


def of_min_ready(release, stack, wanted):
    """Return a world whose spec of a stack asks for so many seconds."""
    world = release.world()
    spec = parsed(a_spec(stack.version, (a_component(version=stack.version, minReadySeconds=wanted),)))
    return replace(world, stored={**world.stored, stack.revision: spec})


def test_min_ready_seconds_are_set_without_a_new_template():
    """A setting that moves nothing: the pods stay."""
    decision = nobody_edited_ours(of_min_ready(a_release().live(), V1, 9), NOW)
    assert decision.step == Restore(BLUE.name, BLUE.uid, BLUE.version, None, 9)
    assert decision.reason == "SettingsOnly"
    assert nobody_edited_ours(of_min_ready(a_release().live(), V1, 5), NOW) is None


def test_min_ready_seconds_of_a_clone_are_its_owners():
    world = deployment(of_min_ready(a_release().live(), V1, 9), BLUE, adopted_from="backend")
    assert nobody_edited_ours(world, NOW) is None


def test_min_ready_seconds_follow_the_newest_of_the_stacks_that_share_a_deployment():
    release = a_release().live("1.0.0").candidate("2.0.0")
    assert nobody_edited_ours(of_min_ready(release, V1, 9), NOW) is None
    assert nobody_edited_ours(of_min_ready(release, V2, 9), NOW).step.deployment == GREEN.name


# --- live fails -------------------------------------------------------------------------------------------------------


def watched(**changes):
    """Return a world with 2.0.0 in its watch and 1.0.0 retained."""
    return replace(a_release().live("2.0.0", hours_ago=0.1, proven=False).retained("1.0.0").world(), **changes)


def proven(**changes):
    return replace(a_release().promoted("2.0.0").world(), **changes)


def dead(age, service="backend"):
    return {f"dead:{service}": NOW - seconds(age)}


CRASHED = a_container(restarts=1, died="Error", exit_code=1, died_at=NOW)


def crashed(world, container=CRASHED):
    pods = tuple(replace(p, containers=(container,)) if p.deployment_uid == GREEN.uid else p for p in world.pods)
    return replace(world, pods=pods)


def failing_health(world, failed, where=None):
    where = where or scope(V2.revision, None)
    return replace(world, streaks={(where, a_pod(GREEN).uid): Streak(failed=failed, last="HTTP 500")})


def reason(world):
    found = live.failing(world, world.memory.live, NOW)
    return found.reason if found else ""


@pytest.mark.parametrize(("age", "fails"), [(10, True), (9.9, False)])
def test_a_service_is_dead_after_ten_seconds_without_an_endpoint(age, fails):
    found = live.failing(proven(since=dead(age)), proven().memory.live, NOW)
    assert (found.reason if found else "") == ("NoEndpoint" if fails else "")
    assert (found.dead if found else "") == ("backend" if fails else "")


def test_it_is_dead_after_as_long_as_its_own_spec_says():
    patient = parsed(a_spec("2.0.0", watch={"for": "15m", "deadAfter": "1m"}))
    assert reason(proven(since=dead(30), stored={V2.revision: patient})) == ""
    assert reason(proven(since=dead(30), stored={})) == "NoEndpoint"


def test_a_service_of_somebody_else_may_be_dead():
    assert reason(proven(since=dead(30, "other"))) == ""


def test_every_service_of_live_is_looked_at():
    world = a_release(*PAIR).live().world()
    assert reason(replace(world, since=dead(30, "frontend"))) == "NoEndpoint"


def test_a_crash_or_a_failing_check_counts_in_the_watch_only():
    assert [reason(w) for w in (crashed(watched()), crashed(proven()))] == ["Crashed", ""]
    assert [reason(failing_health(w, 2)) for w in (watched(), proven())] == ["HealthFailed", ""]


def test_a_crash_of_before_the_switch_does_not_count():
    old = replace(CRASHED, died_at=NOW - timedelta(hours=1))
    assert reason(crashed(watched(), old)) == ""


def test_a_crash_counts_from_when_the_switch_was_written_if_nobody_saw_it_by_then():
    at = NOW - timedelta(minutes=7)
    world = crashed(watched(), replace(CRASHED, died_at=at))
    assert reason(world) == "", "live since 6 minutes"
    entry = replace(world.memory.history[0], switched=at - seconds(1))
    written = replace(world, memory=replace(world.memory, history=(entry,)))
    assert reason(written) == "Crashed"
    other = replace(world, memory=replace(world.memory, history=(replace(entry, revision="another"),)))
    assert reason(other) == ""
    never = replace(world, memory=replace(world.memory, history=()))
    assert reason(never) == ""
    late = replace(entry, switched=NOW + timedelta(hours=1))
    assert reason(replace(crashed(watched()), memory=replace(world.memory, history=(late,)))) == "Crashed"


@pytest.mark.parametrize(("failed", "fails"), [(2, True), (3, True), (1, False)])
def test_health_fails_after_as_many_failures_in_a_row_as_the_spec_says(failed, fails):
    assert (reason(failing_health(watched(), failed)) == "HealthFailed") is fails


def test_what_a_pod_said_before_the_switch_or_of_another_revision_does_not_count():
    assert reason(failing_health(watched(), 5, scope(V2.revision, 1))) == ""
    assert reason(failing_health(watched(), 5, scope(V1.revision, None))) == ""


def test_without_a_health_block_nothing_fails_it():
    bare = parsed(a_spec("2.0.0", (a_component(version="2.0.0", health=None),)))
    assert reason(failing_health(watched(stored={V2.revision: bare}), 5)) == ""


def test_a_component_without_replicas_never_fails():
    assert reason(deployment(crashed(watched()), GREEN, replicas=0)) == ""
    assert reason(crashed(watched(deployments={}))) == ""


def test_every_component_is_watched():
    world = a_release(*PAIR).live("2.0.0", hours_ago=0.1, proven=False).world()
    front = a_deployment("frontend", "2.0.0")
    pods = tuple(replace(p, containers=(CRASHED,)) if p.deployment_uid == front.uid else p for p in world.pods)
    assert reason(replace(world, pods=pods)) == "Crashed"
    assert reason(deployment(replace(world, pods=pods), a_deployment("backend", "2.0.0"), replicas=0)) == "Crashed"


# --- and what follows -------------------------------------------------------------------------------------------------


def test_nothing_follows_where_nothing_fails():
    assert live_is_healthy(watched(), NOW) is None
    assert live_is_healthy(a_release().world(), NOW) is None


def test_a_crash_asks_blue_and_rolls_back_when_a_pod_of_it_passes():
    world = crashed(watched())
    decision = live_is_healthy(world, NOW)
    assert (type(decision.step), decision.reason) == (Ask, "AskingBlue")
    assert {t.pod_uid for t in decision.step.targets} == {a_pod(BLUE, n).uid for n in (0, 1)}
    assert {t.scope for t in decision.step.targets} == {"asked"}, "no streak of the watch or of an attempt"
    one = Asked(NOW - seconds(5), frozenset({a_pod(BLUE).uid}), "HTTP 200")
    record = live_is_healthy(replace(world, asked={V1.revision: one}), NOW).step.record
    assert (record.cause, record.to, record.origin) == (Cause.ROLLBACK, V1.revision, V2.revision)
    assert (record.latches, record.reason, record.order) == (True, "Crashed", "")
    assert "crashed in its watch" in record.because


def test_an_answer_holds_for_five_seconds():
    old = Asked(NOW - seconds(5.1), frozenset({a_pod(BLUE).uid}), "HTTP 200")
    assert isinstance(live_is_healthy(replace(crashed(watched()), asked={V1.revision: old}), NOW).step, Ask)


@pytest.mark.parametrize(("age", "wait"), [(2, 3.0), (5, 0.1)])
def test_if_no_pod_of_blue_passes_nothing_is_moved_and_a_person_is_called(age, wait):
    none = Asked(NOW - seconds(age), frozenset({a_pod(GREEN).uid}), "HTTP 500")
    decision = live_is_healthy(replace(crashed(watched()), asked={V1.revision: none}), NOW)
    assert (type(decision.step), decision.reason, decision.stalled) == (Rest, "BothSidesFail", True)
    assert decision.look_again == seconds(wait)
    assert "no pod of component backend passes (HTTP 500)" in decision.because
    without = replace(crashed(watched()), asked={V1.revision: none}, deployments={GREEN.name: GREEN})
    assert live_is_healthy(without, NOW).reason == "BothSidesFail"


def test_what_waits_for_a_person_is_told_beside_what_is_done_meanwhile():
    none = Asked(NOW, frozenset({a_pod(GREEN).uid}), "HTTP 500")
    failing = replace(crashed(watched()), asked={V1.revision: none})
    paused = decide(replace(failing, orders=a_release().live().ordered(Action.PAUSE).world().orders), NOW)
    assert paused.memory.paused
    assert paused.halted[0] == "BothSidesFail"
    marked = replace(failing, memory=replace(failing.memory, live=replace(failing.memory.live, unsafe="a migration")))
    written = decide(marked, NOW)
    assert isinstance(written.step, Annotate)
    assert written.halted[0] == "BothSidesFail"


def test_every_component_of_blue_must_pass_that_live_does_not_share():
    world = a_release(*PAIR).live("2.0.0", hours_ago=0.1, proven=False).retained("1.0.0").world()
    green = a_deployment("backend", "2.0.0")
    pods = tuple(replace(p, containers=(CRASHED,)) if p.deployment_uid == green.uid else p for p in world.pods)
    half = Asked(NOW, frozenset({a_pod(BLUE).uid}), "HTTP 500")
    asked = replace(world, pods=pods, asked={a_stack("1.0.0", PAIR).revision: half})
    assert "component frontend" in live_is_healthy(asked, NOW).because
    shared = replace(a_stack("1.0.0", PAIR), members=(V1.members[0], a_stack("2.0.0", PAIR).members[1]))
    kept = replace(world.memory.retained[0], stack=shared)
    same = replace(asked, memory=replace(world.memory, retained=(kept,)))
    assert isinstance(live_is_healthy(same, NOW).step, Switch)


def test_who_has_no_health_block_is_asked_for_readiness():
    bare = parsed(a_spec("1.0.0", (a_component(health=None),)))
    world = crashed(watched())
    pods = tuple(replace(p, ready=p.name.endswith("-0")) for p in world.pods)
    world = replace(world, stored={**world.stored, V1.revision: bare}, pods=pods)
    step = live_is_healthy(world, NOW).step
    assert (step.targets, step.ready_without_probe) == ((), frozenset({a_pod(BLUE).uid}))
    gone = {n: d for n, d in world.deployments.items() if n != BLUE.name}
    assert live_is_healthy(replace(world, deployments=gone), NOW).step.ready_without_probe == frozenset()


def test_of_several_components_each_is_asked_its_own_way():
    world = a_release(*PAIR).live("2.0.0", hours_ago=0.1, proven=False).retained("1.0.0").world()
    blue = a_stack("1.0.0", PAIR)
    mixed = parsed(a_spec("1.0.0", (a_component("backend", health=None), a_component("frontend"))))
    left = {n: d for n, d in world.deployments.items() if d.name != BLUE.name}
    world = replace(world, stored={**world.stored, blue.revision: mixed})
    step = live._question(world, blue)
    assert len(step.ready_without_probe) == len(step.targets) == 2
    assert len(live._question(replace(world, deployments=left), blue).targets) == 2


def test_what_is_dead_is_confirmed_by_a_read_and_then_rolled_back_without_a_question():
    world = proven(since=dead(30))
    decision = live_is_healthy(world, NOW)
    assert (decision.step, decision.reason) == (ConfirmDead("backend"), "Confirming")
    record = live_is_healthy(replace(world, confirmed_dead={"backend": NOW}), NOW).step.record
    assert (record.cause, record.to, record.reason, record.latches) == (
        Cause.ROLLBACK, V1.revision, "NoEndpoint", True,
    )  # fmt: skip


def test_what_is_dead_stays_where_blue_does_not_stand():
    world = proven(since=dead(30), confirmed_dead={"backend": NOW}, pods=())
    decision = live_is_healthy(world, NOW)
    assert (decision.reason, decision.stalled, decision.look_again) == ("BothSidesFail", True, seconds(1))


def test_a_component_that_blue_shares_with_live_is_not_asked_to_stand():
    twin = replace(V2, revision="twin", version="1.9.0")
    world = proven(since=dead(30), confirmed_dead={"backend": NOW}, pods=())
    held = replace(world, memory=replace(world.memory, retained=(replace(world.memory.retained[0], stack=twin),)))
    assert live_is_healthy(held, NOW) is None, "nothing would move"


def test_the_target_is_the_newest_retained_that_is_not_latched():
    world = a_release().live("3.0.0").retained("2.0.0").retained("1.0.0").failed("2.0.0").world()
    world = replace(world, since=dead(30), confirmed_dead={"backend": NOW})
    assert live_is_healthy(world, NOW).step.record.to == V1.revision


def test_without_a_target_a_person_is_called():
    world = a_release().live("2.0.0", hours_ago=0.1, proven=False).world()
    for failing in (crashed(world), replace(world, since=dead(30))):
        decision = live_is_healthy(failing, NOW)
        assert (type(decision.step), decision.reason, decision.stalled) == (Rest, "NothingToRollBackTo", True)
        assert decision.look_again == seconds(5)
    served = a_release().live("2.0.0").having(since=dead(30)).world()
    assert live_is_healthy(served, NOW).reason == "NothingToRollBackTo", "an outage is told also after the watch"


def test_nothing_is_judged_while_a_switch_is_under_way():
    world = a_release(*PAIR).live(proven=False).candidate(verified=True).world()
    green = a_stack("2.0.0", PAIR)
    record = Record(2, Cause.PROMOTE, green.revision, "x", green.members[0].revision, "x", NOW, "why")
    moved = {**world.services, "backend": a_service("backend", green.members[0].revision, record=record)}
    assert live_is_healthy(replace(world, since=dead(30)), NOW) is not None
    assert live_is_healthy(replace(world, since=dead(30), services=moved), NOW) is None
    late = NOW + timedelta(days=1)
    assert live_is_proven(replace(world, services=moved), late) is None
    put_back = {**world.services, "backend": replace(world.services["backend"], record=record)}
    assert live_is_proven(replace(world, services=put_back), late) is None
    assert live_is_proven(world, late).rule == "live_is_proven"


def test_a_death_is_looked_at_again_when_it_has_lasted_long_enough():
    assert next_death(proven(since=dead(4)), NOW) == seconds(6)
    assert next_death(proven(since={**dead(4), **dead(7, "other")}), NOW) == seconds(3)
    assert next_death(proven(since=dead(9.99)), NOW) == timedelta(milliseconds=50)
    assert next_death(proven(since=dead(10)), NOW) is None
    assert next_death(proven(since={"idle:x": NOW}), NOW) is None
    patient = parsed(a_spec("2.0.0", watch={"for": "15m", "deadAfter": "1m"}))
    assert next_death(proven(since=dead(4), stored={V2.revision: patient}), NOW) == seconds(56)
    assert next_death(proven(since=dead(4), stored={}), NOW) == seconds(6)
    assert next_death(a_release().having(since=dead(4)).world(), NOW) == seconds(6)


# --- live is proven ---------------------------------------------------------------------------------------------------


def ending(**changes):
    """Return a world whose watch ends now."""
    world = a_release().live("2.0.0", hours_ago=0.25, proven=False).retained("1.0.0").world()
    return replace(world, **changes)


def test_a_watch_that_ends_without_a_failure_proves_live():
    decision = live_is_proven(ending(), NOW)
    memory = decision.memory
    assert (memory.live.proven_at, memory.history[0].outcome, memory.history[0].finished) == (NOW, Outcome.PROVEN, NOW)
    assert memory.history[0].reason == "the watch ended without a failure"
    assert [n.reason for n in decision.notes] == ["Proven"]
    assert live_is_proven(ending(), NOW - timedelta(milliseconds=1)) is None


def test_a_watch_is_as_long_as_lives_own_spec_says():
    long = parsed(a_spec("2.0.0", watch={"for": "1h"}))
    assert live_is_proven(ending(stored={V2.revision: long}), NOW) is None
    assert live_is_proven(ending(stored={V2.revision: long}), NOW + timedelta(minutes=45)) is not None
    assert live_is_proven(ending(stored={}), NOW) is not None, "15 minutes where no spec is stored"


@pytest.mark.parametrize(
    "world",
    [
        ending(endpoints={}),
        ending(since=dead(1)),
        failing_health(ending(), 2),
        ending(generation=0),
        a_release().live("2.0.0").world(),
        a_release().world(),
    ],
    ids=["not read back", "dead since a second", "failing", "deleted", "proven before", "nothing live"],
)
def test_live_is_not_proven(world):
    assert live_is_proven(world, NOW) is None


def test_a_template_is_compared_anew_for_each_version_of_a_deployment():
    """The answer is remembered for the very same objects only."""
    world = a_release().live().world()
    assert nobody_edited_ours(world, NOW) is None
    assert nobody_edited_ours(deployment(world, BLUE, template=a_template(version="9.0.0")), NOW) is not None
