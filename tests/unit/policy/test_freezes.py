"""What a freeze holds and what it does not; who lifts it, and for what."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy import names
from tradingrelease.policy.calendars import Calendar, NoCalendar
from tradingrelease.policy.decide import decide
from tradingrelease.policy.freeze_status import status_of, warns_from
from tradingrelease.policy.freezes import Freeze, Requirement, latest, parse, unreadable_all
from tradingrelease.policy.model import Backing, CreateDeployment, Override, Person, Rest, Switch
from tradingrelease.policy.reasons import Action, Cause
from tradingrelease.policy.rules import overrides
from tradingrelease.policy.rules.candidate import first_pending
from tradingrelease.policy.rules.freezes import adoption_may_start, candidate_may_start, candidate_may_switch
from tradingrelease.policy.windows import Between, Hours, Part, Sessions, Unreadable, Weekly

from tests.builders import NOW, a_deployment, a_hook, a_release, a_service, a_spec, an_order, parsed, rejected
from tests.simulator import Behaviour, Simulator, Task

HOUR = timedelta(hours=1)


def a_freeze(name="close", begin=-1.0, end=1.0, **fields):
    """Return a freeze from some hours from now to some hours from now."""
    return Freeze(name, f"uid-{name}", "quarter close", "risk", Between(NOW + HOUR * begin, NOW + HOUR * end), **fields)


def verified(**fields):
    return a_release().live("1.0.0").candidate("2.0.0", verified=True).having(**fields)


def an_override(**fields):
    return {"freeze": "close", "reason": "the fix", "issued_by": "jane"} | fields


# --- what is held -----------------------------------------------------------------------------------------------------


def test_a_verified_candidate_is_switched_to_without_a_freeze():
    assert isinstance(decide(verified().world(), NOW).step, Switch)


def test_a_freeze_stops_before_the_switch_and_says_so_once():
    first = decide(verified(freezes=(a_freeze(),)).world(), NOW)
    assert (first.reason, first.memory.candidate.held, len(first.notes)) == ("Frozen", "Switch", 1)
    assert first.rule == "candidate_may_switch"
    world = replace(verified(freezes=(a_freeze(),)).world(), memory=first.memory)
    then = decide(world, NOW)
    assert (then.step, then.reason, then.memory, then.notes) == (Rest(), "Frozen", None, ())
    assert then.look_again == HOUR


def test_at_its_very_end_a_freeze_is_over():
    assert isinstance(decide(verified(freezes=(a_freeze(end=0),)).world(), NOW).step, Switch)


def test_of_several_freezes_the_one_that_ends_last_is_reported():
    several = (a_freeze("a", end=1), a_freeze("b", end=3), a_freeze("c", end=2), a_freeze("later", begin=2, end=9))
    decision = decide(verified(freezes=several).world(), NOW)
    assert "by ReleaseFreeze b " in decision.because


def test_a_freeze_whose_end_nobody_knows_ends_last():
    held = latest([a_freeze("a", end=1000), unreadable_all("denied")], NOW)
    assert held.freeze.name == "unknown"
    assert "until further notice" in held.message


def test_an_attempt_that_is_begun_in_a_freeze_deploys_nothing():
    sim = Simulator("backend")
    sim.freeze_for("close", lasting=HOUR)
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=59)
    assert sim.memory.candidate.held == "Start"
    assert not sim.deployments
    assert sim.phase == "Frozen"
    sim.run(minutes=30)
    assert sim.live == "1.0.0"


def test_an_attempt_of_which_nothing_is_deployed_yet_has_not_begun():
    """A look may do something more urgent between beginning an attempt and deploying it."""
    world = a_release().live("1.0.0").candidate("2.0.0").having(freezes=(a_freeze(),)).world()
    green = world.memory.candidate.stack.members[0].revision
    bare = replace(world, deployments={n: d for n, d in world.deployments.items() if d.revision != green})
    decision = decide(bare, NOW)
    assert (decision.rule, decision.reason) == ("candidate_may_start", "Frozen")
    assert decision.memory.candidate.held == "Start"
    assert decide(world, NOW).rule != "candidate_may_start"


@pytest.mark.parametrize(("made", "begun"), [(0.0, True), (-0.3, True), (-0.4, False), (-60, False)])
def test_what_was_made_in_the_second_in_which_an_attempt_began_was_made_for_it(made, begun):
    """Creation times have whole seconds."""
    began = NOW + timedelta(seconds=0.7)
    world = a_release().live("1.0.0").candidate("2.0.0", created_at=began + timedelta(seconds=made - 0.7)).world()
    services = {name: service for name, service in world.services.items() if not service.preview_of}
    candidate = replace(world.memory.candidate, started_at=began)
    memory = replace(world.memory, candidate=candidate)
    world = replace(world, memory=memory, services=services, freezes=(a_freeze(),))
    assert (candidate_may_start(world, began) is None) is begun


@pytest.mark.parametrize(
    ("replicas", "live", "previewed", "begun"),
    [
        (1, "another", True, True),
        (1, "nothing", True, True),
        (0, "another", True, False),
        (1, "another", False, False),
        (1, "shares it", True, False),
    ],
)
def test_what_stood_before_an_attempt_belongs_to_it_once_a_preview_leads_to_it(replicas, live, previewed, begun):
    """As what failed or was retained does when it is asked for again; what serves belongs to live."""
    release = a_release() if live == "nothing" else a_release().live("1.0.0")
    world = release.candidate("2.0.0", created_at=NOW - HOUR, replicas=replicas).having(freezes=(a_freeze(),)).world()
    if live == "shares it":
        stack = replace(world.memory.live.stack, members=world.memory.candidate.stack.members)
        world = replace(world, memory=replace(world.memory, live=replace(world.memory.live, stack=stack)))
    services = {name: service for name, service in world.services.items() if previewed or not service.preview_of}
    assert (candidate_may_start(replace(world, services=services), NOW) is None) is begun


def test_an_attempt_has_begun_once_anything_of_any_component_was_made_or_previewed():
    world = a_release("backend", "frontend").candidate("2.0.0").having(freezes=(a_freeze(),)).world()
    first, second = world.memory.candidate.stack.members
    alone = {n: d for n, d in world.deployments.items() if d.revision == second.revision}
    assert candidate_may_start(replace(world, deployments=alone), NOW) is None
    before = {n: replace(d, created_at=NOW - HOUR) for n, d in world.deployments.items()}
    twice = (replace(first, services=("other", "backend")), second)
    stack = replace(world.memory.candidate.stack, members=twice)
    memory = replace(world.memory, candidate=replace(world.memory.candidate, stack=stack))
    services = {n: s for n, s in world.services.items() if n != "frontend-preview"}
    world = replace(world, deployments=before, memory=memory, services=services)
    assert candidate_may_start(world, NOW) is None


@pytest.mark.parametrize(
    ("selected", "held"), [((), True), (("backend",), True), (("frontend",), True), (("backend", "frontend"), False)]
)
def test_a_candidate_that_somebody_else_has_given_all_traffic_is_held_no_more(selected, held):
    world = a_release("backend", "frontend").live("1.0.0").candidate("2.0.0", verified=True).world()
    services = dict(world.services)
    for member in world.memory.candidate.stack.members:
        if member.name in selected:
            services[member.name] = replace(
                services[member.name], selector=services[member.name].selector | {names.REVISION: member.revision}
            )
    world = replace(world, services=services, freezes=(a_freeze(),))
    assert first_pending(world) is None
    assert (candidate_may_switch(world, NOW) is not None) is held


def test_what_waited_to_start_starts_when_the_freeze_is_over_though_nothing_is_lacking():
    """As a Retry, whose pods stood all the while: crashes that were seen meanwhile are not its own."""
    world = verified().world()
    held = replace(world.memory, candidate=replace(world.memory.candidate, held="Start"))
    decision = candidate_may_start(replace(world, memory=held), NOW)
    assert (decision.reason, [n.reason for n in decision.notes]) == ("Thawed", ["Thawed"])
    candidate = decision.memory.candidate
    assert (candidate.held, candidate.started_at, candidate.counted_from) == ("", NOW, None)


def test_what_was_verified_and_is_well_no_more_has_its_time_again_and_is_as_old_as_it_was():
    world = a_release().live("1.0.0").candidate("2.0.0").world()
    held = replace(world.memory, candidate=replace(world.memory.candidate, held="Switch"))
    candidate = candidate_may_start(replace(world, memory=held), NOW).memory.candidate
    assert (candidate.held, candidate.counted_from) == ("", NOW)
    assert candidate.started_at == world.memory.candidate.started_at


def test_what_waits_to_be_switched_and_is_well_no_more_waits_on_in_the_freeze():
    world = a_release().live("1.0.0").candidate("2.0.0").having(freezes=(a_freeze(),)).world()
    held = replace(world.memory, candidate=replace(world.memory.candidate, held="Switch"))
    assert candidate_may_start(replace(world, memory=held), NOW) is None
    assert candidate_may_switch(replace(world, memory=held), NOW) is None, "what it lacks is said, and not the freeze"


def test_a_retry_in_a_freeze_waits_though_its_failed_pods_still_stand():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.behaviours["backend:2.0.0"] = Behaviour(crashes_every=5)
    revision = sim.apply(a_spec("2.0.0")).revision
    sim.run_until(lambda s: s.memory.latched, minutes=5)
    sim.run(minutes=1)
    sim.freeze_for("close", lasting=HOUR)
    sim.behaviours["backend:2.0.0"] = Behaviour()
    sim.order(Action.RETRY, revision)
    sim.run(minutes=50)
    assert (sim.memory.candidate.held, sim.live) == ("Start", "1.0.0")
    sim.run(minutes=40)
    assert sim.live == "2.0.0"


def waiting_for_bob(*hooks):
    """Let 2.0.0 wait for an approval before anything is done, beside a proven 1.0.0."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.apply(a_spec("2.0.0", hooks=list(hooks), approvals=[{"at": "BeforeGreen"}]))
    sim.run(minutes=5)
    return sim


def approved(sim):
    sim.order(Action.APPROVE, sim.memory.candidate.stack.revision, attempt=1, issued_by="bob")
    return sim


@pytest.mark.parametrize("hooks", [(), (a_hook(),)], ids=["", "with a hook"])
def test_a_freeze_that_begins_while_people_are_waited_for_holds_the_start(hooks):
    sim = waiting_for_bob(*hooks)
    sim.freeze_for("close", lasting=2 * HOUR)
    sim.run(minutes=5)
    assert (sim.memory.candidate.held, sim.phase) == ("Start", "Frozen")
    approved(sim).run(minutes=100)
    assert [o.phase for o in sim.orders.values()] == ["Done"]  # no freeze delays an approval
    assert ({d.created_version for d in sim.deployments.values()}, sim.jobs) == ({"1.0.0"}, {})
    sim.run(minutes=30)
    assert sim.live == "2.0.0"  # and no deadline ran since bob's yes


def test_a_freeze_that_begins_by_itself_meanwhile_holds_it_too():
    """Nothing wakes the operator when a window opens; what comes next does."""
    sim = waiting_for_bob()
    sim.freeze_for("close", after=HOUR, lasting=HOUR)
    sim.run(minutes=61)
    approved(sim).run(minutes=30)
    assert (sim.memory.candidate.held, len(sim.deployments)) == ("Start", 1)


def test_an_attempt_whose_hook_has_begun_has_begun():
    """A failed migration must not be hidden for as long as a freeze lasts, nor blue be left unasked."""
    sim = approved(waiting_for_bob(a_hook()))
    sim.tasks["migrate"] = Task(takes=30)
    sim.run(seconds=10)
    sim.freeze_for("close", lasting=2 * HOUR)
    sim.run(minutes=5)
    assert (sim.memory.candidate.held, sim.live) == ("Switch", "1.0.0")
    sim.run(hours=3)
    assert sim.live == "2.0.0"


def test_a_hook_that_fails_in_a_freeze_fails_its_attempt_there():
    sim = approved(waiting_for_bob(a_hook()))
    sim.tasks["migrate"] = Task(takes=30, fails=True)
    sim.run(seconds=10)
    sim.freeze_for("close", lasting=2 * HOUR)
    sim.run(minutes=1)
    assert [latch.reason for latch in sim.memory.latched] == ["HookFailed"]


def test_no_deadline_runs_in_a_freeze():
    """Days of freeze, and a pod that goes at their end: the candidate gets its whole time again."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.apply(a_spec("2.0.0"))
    sim.run(seconds=5)
    sim.freeze_for("weekend", lasting=timedelta(days=2))
    sim.run(hours=24)
    assert sim.memory.candidate.held == "Switch"
    sim.evict(next(uid for uid, life in sim.lives.items() if life.image == "backend:2.0.0"))
    sim.run(hours=23, minutes=59)
    assert not sim.memory.latched
    sim.behaviours["backend:2.0.0"] = Behaviour(ready_after=60)
    sim.evict(next(uid for uid, life in sim.lives.items() if life.image == "backend:2.0.0"))
    sim.run(minutes=5)
    assert sim.live == "2.0.0"


def test_a_rollback_by_manifest_and_a_change_of_settings_ask_no_freeze():
    sim = Simulator("backend")
    for version in ("1.0.0", "2.0.0"):
        sim.apply(a_spec(version))
        sim.run(minutes=20)
    sim.freeze_for("close", lasting=HOUR * 9)
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=1)
    assert sim.live == "1.0.0"
    sim.apply(a_spec("1.0.0", watch={"for": "5m"}) | {"version": "1.0.1"})
    sim.run(minutes=1)
    assert sim.live == "1.0.1"


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0.1, 3)), min_size=1, max_size=3))
def test_no_promotion_begins_and_no_pod_starts_while_any_freeze_holds(spans):
    freezes = tuple(a_freeze(str(n), begin, begin + length) for n, (begin, length) in enumerate(spans))
    decision = decide(verified(freezes=freezes).world(), NOW)
    holds = any(f.window.begin <= NOW < f.window.end for f in freezes)
    promotes = isinstance(decision.step, Switch) and decision.step.record.cause is Cause.PROMOTE
    assert promotes is not holds
    assert not isinstance(decision.step, CreateDeployment)


def test_a_rollback_that_is_ordered_asks_no_freeze():
    release = a_release().live("2.0.0").retained("1.0.0")
    revision = release.world().memory.live.stack.revision
    frozen = release.ordered(Action.ROLLBACK, revision).having(freezes=(a_freeze(),))
    step = decide(frozen.world(), NOW).step
    assert (type(step), step.record.cause) == (Switch, Cause.ROLLBACK)


def test_what_was_retained_for_long_enough_retires_in_a_freeze():
    release = a_release().promoted("2.0.0", hours_ago=25)
    frozen = release.having(freezes=(a_freeze(),))
    assert decide(frozen.world(), NOW).reason == decide(release.world(), NOW).reason == "Retired"


# --- what is held of an adoption --------------------------------------------------------------------------------------

CLONE = a_deployment("backend", "0.9.0", adopted_from="theirs")


def plain(release=None, **changes):
    """Return a world in a freeze whose Services are to be adopted from a Deployment of the author's."""
    world = (release or a_release("backend", "frontend")).having(freezes=(a_freeze(),)).world()
    services = {name: a_service(name) for name in world.services}
    backings = {name: Backing("Deployment", name="theirs") for name in services}
    return replace(world, **{"services": services, "backings": backings, **changes})


def held(world):
    decision = adoption_may_start(world, NOW)
    assert decision is None or (decision.rule, decision.reason) == ("adoption_may_start", "Frozen")
    assert decision is None or (decision.adopting, decision.look_again) == (True, HOUR)
    return decision is not None


def test_an_adoption_waits_for_the_end_of_a_freeze():
    assert held(plain())
    assert held(plain(services={"backend": a_service()})), "a Service that is not there yet changes nothing"
    assert not held(plain(freezes=()))


def test_no_freeze_speaks_of_an_adoption_that_something_else_holds_or_that_is_none():
    assert not held(plain(spec=rejected({"version": "oops"})))
    assert not held(plain(a_release().paused()))
    assert not held(plain(backings={"backend": Backing("Nothing")}))


def test_an_adoption_that_has_moved_a_selector_goes_on_in_a_freeze():
    half = {"backend": a_service(selected=CLONE.revision), "frontend": a_service("frontend")}
    assert not held(plain(services=half, deployments={CLONE.name: CLONE}))


def test_what_is_added_to_a_live_release_is_adopted_after_the_freeze():
    """That its other Services select what is ours is no adoption that has begun."""
    blue = a_deployment()
    services = {"backend": a_service(selected=blue.revision), "frontend": a_service("frontend")}
    assert held(plain(services=services, deployments={blue.name: blue}))


def test_a_service_that_lost_its_key_is_put_back_in_a_freeze_before_another_is_adopted():
    backings = {"backend": Backing("Ours"), "frontend": Backing("Deployment", name="theirs")}
    assert not held(plain(backings=backings))


# --- who lifts it -----------------------------------------------------------------------------------------------------


def ordered(held_by=None, memory=None, revision="", trusted=(), **fields):
    """Return the answer to an Override, and the memory after it."""
    built = verified(freezes=(held_by or a_freeze(),))
    revision = revision or built.memory.candidate.stack.revision
    built = built.ordered(Action.OVERRIDE, revision, **an_override(**fields))
    world = built.world()
    world = replace(world, memory=memory or world.memory, trusted_accounts=frozenset(trusted))
    decision = decide(world, NOW)
    return decision.memory.answers[0], decision.memory


def test_an_override_lifts_the_freeze_for_the_attempt_of_now():
    answer, memory = ordered()
    assert (answer.phase, answer.reason) == ("Done", "Overridden")
    world = replace(verified(freezes=(a_freeze(),)).world(), memory=replace(memory, answers=()))
    assert isinstance(decide(world, NOW).step, Switch)
    again = replace(memory, candidate=replace(memory.candidate, attempt=2), answers=())
    world = replace(verified(freezes=(a_freeze(),)).world(), memory=again)
    assert not isinstance(decide(world, NOW).step, Switch)


def test_a_freeze_that_was_created_anew_is_another():
    _, memory = ordered()
    anew = replace(a_freeze(), uid="another")
    world = replace(verified(freezes=(anew,)).world(), memory=replace(memory, answers=()))
    assert decide(world, NOW).reason == "Frozen"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"reason": " "}, "NoReason"),
        ({"issued_by": ""}, "Unidentified"),
        ({"revision": "nosuch"}, "WrongRevision"),
        ({"attempt": 7}, "WrongAttempt"),
        ({"freeze": "other"}, "NoSuchFreeze"),
    ],
)  # fmt: skip
def test_an_override_is_refused_with_advice(fields, reason):
    answer, memory = ordered(**fields)
    assert (answer.phase, answer.reason) == ("Refused", reason)
    assert memory.overrides == ()


def test_two_people_are_two():
    freeze = a_freeze(override_requires=2)
    answer, memory = ordered(freeze)
    assert (answer.phase, answer.reason) == ("Done", "OverrideBegun")
    memory = replace(memory, answers=())
    assert ordered(freeze, memory)[0].reason == "SamePerson"
    answer, memory = ordered(freeze, memory, issued_by="john")
    assert answer.reason == "Overridden"
    assert [[p.by for p in o.people] for o in memory.overrides] == [["jane", "john"]]


def test_each_of_several_people_counts_once():
    freeze, memory = a_freeze(override_requires=3), None
    for person in ("jane", "john"):
        _, memory = ordered(freeze, memory and replace(memory, answers=()), issued_by=person)
    for person in ("jane", "john"):
        assert ordered(freeze, replace(memory, answers=()), issued_by=person)[0].reason == "SamePerson"


def test_an_override_of_nobody_says_what_it_lacks():
    assert "write spec.issuedBy" in ordered(issued_by=" ")[0].message


def test_a_pipeline_is_whom_it_speaks_for():
    """Nobody counts twice by another door, and two who use the same door are two."""
    freeze = a_freeze(override_requires=2)
    through = {"trusted": ("ci",), "issued_by": "ci"}
    _, memory = ordered(freeze, on_behalf_of="anna", **through)
    memory = replace(memory, answers=())
    assert ordered(freeze, memory, trusted=("ci",), issued_by="anna")[0].reason == "SamePerson"
    answer, memory = ordered(freeze, memory, on_behalf_of="jane", **through)
    assert (answer.reason, answer.message.partition(" by ")[2]) == ("Overridden", "anna and jane: the fix")
    assert [(p.by, p.account) for p in memory.overrides[0].people] == [("anna", "ci"), ("jane", "ci")]


def test_a_pipeline_that_speaks_for_nobody_lifts_nothing():
    answer, memory = ordered(trusted=("ci",), issued_by="ci")
    assert (answer.phase, answer.reason) == ("Refused", "Unidentified")
    assert "onBehalfOf" in answer.message
    assert memory.overrides == ()


@pytest.mark.parametrize("builder", [verified(), a_release().live()], ids=["a candidate", "none"])
def test_what_is_live_is_held_by_no_freeze(builder):
    revision = builder.memory.live.stack.revision
    world = builder.having(freezes=(a_freeze(),)).ordered(Action.OVERRIDE, revision, **an_override()).world()
    answer = decide(world, NOW).memory.answers[0]
    assert (answer.phase, answer.reason) == ("Refused", "AlreadyLive")


def test_what_waits_to_be_adopted_is_lifted_as_attempt_zero():
    builder = a_release().asking(a_spec("2.0.0")).having(freezes=(a_freeze(),))
    revision = parsed(a_spec("2.0.0")).revision
    for attempt, reason in ((None, "Overridden"), (0, "Overridden"), (1, "WrongAttempt")):
        memory, _, answer = overrides.carry_out(builder.world(), override(revision, attempt=attempt), NOW)
        assert answer.reason == reason
        assert [(o.revision, o.attempt) for o in memory.overrides] == [(revision, 0)][: reason == "Overridden"]


def override(revision, **fields):
    return an_order(Action.OVERRIDE, revision, **an_override(**fields))


def test_there_is_nothing_to_lift_where_the_spec_is_refused():
    world = a_release().asking({"version": "oops"}).having(freezes=(a_freeze(),)).world()
    _, _, answer = overrides.carry_out(world, override("abc"), NOW)
    assert answer.message == "revision abc is not the candidate; the candidate is none"


def test_a_release_remembers_its_newest_overrides():
    world = verified(freezes=(a_freeze(),)).world()
    older = tuple(Override(f"f{n}", "u", "abc", 1, (Person("x", "x", "o", "r", NOW),)) for n in range(11))
    world = replace(world, memory=replace(world.memory, overrides=older))
    memory, _, _ = overrides.carry_out(world, override(world.memory.candidate.stack.revision), NOW)
    assert [o.freeze for o in memory.overrides] == ["close", *(f"f{n}" for n in range(9))]


def test_a_freeze_that_is_lifted_already_asks_for_nobody_more():
    answer, memory = ordered()
    answer, _ = ordered(memory=replace(memory, answers=()))
    assert (answer.reason, answer.message) == ("SamePerson", "jane has ordered it before (override-1): ")
    two = a_freeze(override_requires=2)
    _, memory = ordered(two)
    assert ordered(two, replace(memory, answers=()))[0].message.endswith("another person must")


def test_an_override_of_an_unknown_freeze_is_told_those_that_are():
    freezes = (a_freeze("b"), a_freeze("a"), unreadable_all("denied"))
    world = verified(freezes=freezes).world()
    _, _, answer = overrides.carry_out(world, override(world.memory.candidate.stack.revision, freeze="c"), NOW)
    assert answer.message.endswith("those that are: a, b")


# --- what it says of itself -------------------------------------------------------------------------------------------


def conditions(freeze, now=NOW, before=None):
    status = status_of(freeze, now, 1, before or {}, [])
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def by_calendar(calendar):
    return replace(a_freeze(), window=Sessions("xnys", Part.OPEN, timedelta(0), timedelta(0), calendar))


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (15, ("True", "Current")),
        (14, ("False", "RunsOutSoon")),
        (1, ("False", "RunsOutSoon")),
        (0, ("False", "RanOut")),
    ],
)
def test_a_freeze_says_days_ahead_that_its_calendar_runs_out(days, said):
    freeze = by_calendar(Calendar("XNYS", NOW - HOUR, NOW + timedelta(days=days), ()))
    assert conditions(freeze)["CalendarCurrent"] == said
    assert warns_from(freeze) == NOW + timedelta(days=days - 14)
    assert status_of(freeze, NOW, 1, {}, [])["active"] is (days == 0)


def test_a_freeze_without_its_calendar_holds_and_says_why():
    freeze = by_calendar(NoCalendar("Missing", "it does not exist"))
    assert conditions(freeze) == {"Active": ("True", "Frozen"), "CalendarCurrent": ("False", "Missing")}


def test_a_freeze_that_cannot_be_read_says_so():
    assert conditions(replace(a_freeze(), window=Unreadable("odd"))) == {"Active": ("True", "Unreadable")}


def test_a_status_changes_only_when_what_it_says_changes():
    freeze = a_freeze()
    first = status_of(freeze, NOW, 1, {}, [])
    assert first == status_of(freeze, NOW + HOUR * 0.9, 1, first, [])
    after = status_of(freeze, NOW + HOUR, 1, first, [])
    assert (first["active"], after["active"]) == (True, False)
    assert after["conditions"][0]["lastTransitionTime"] != first["conditions"][0]["lastTransitionTime"]


def test_overrides_stay_listed_when_the_release_has_forgotten_them():
    override = Override("close", "uid-close", "abc", 1, (Person("jane", "jane", "override-1", "the fix", NOW),))
    first = status_of(a_freeze(), NOW, 1, {}, [("shop", override)])
    assert [o["release"] for o in first["overrides"]] == ["shop"]
    assert status_of(a_freeze(), NOW, 1, first, [])["overrides"] == first["overrides"]


# --- what an author writes --------------------------------------------------------------------------------------------


def test_what_an_author_writes_is_read():
    spec = {"reason": "r", "author": "a", "overrideRequires": 2, "calendar": {"name": "xnys", "before": "30m"}}
    freeze = parse("nyse", "u", spec)
    assert (freeze.reason, freeze.author, freeze.calendar, freeze.override_requires) == ("r", "a", "xnys", 2)
    assert (freeze.window.before, freeze.window.after) == (timedelta(minutes=30), timedelta(0))
    assert freeze.look(datetime.fromisoformat("2026-11-25T00:00:00Z")).active


def test_what_an_author_leaves_out_is_the_least():
    freeze = parse("nyse", "u", {"calendar": {"name": "xnys", "after": "15m"}})
    assert (freeze.reason, freeze.author, freeze.override_requires) == ("no reason given", "", 1)
    assert (freeze.window.before, freeze.window.after) == (timedelta(0), timedelta(minutes=15))
    assert parse("nyse", "u", {"overrideRequires": "2"}).override_requires == 1


def test_hours_of_a_week_are_read():
    hours = {"days": ["Friday", "Monday"], "from": "09:30", "to": "24:00", "timeZone": "Europe/Zurich"}
    window = parse("night", "u", {"weekly": [hours]}).window
    assert window == Weekly((Hours(("Monday", "Friday"), 9 * 60 + 30, 24 * 60, "Europe/Zurich"),))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "write one of between, weekly and calendar"),
        ({"weekly": [{"days": ["Monday"], "from": "00:00", "to": "24:01", "timeZone": "UTC"}]}, "no time of a day"),
        ({"calendar": {"name": "xnys", "sessions": "Lunch" * 99}}, "Lunch"),
    ],
)
def test_what_cannot_be_read_holds_and_says_why_in_few_words(spec, words):
    verdict = parse("odd", "u", spec).look(NOW)
    assert (verdict.active, verdict.until, words in verdict.why) == (True, None, True)
    assert len(verdict.why) <= 300


def test_a_selector_of_a_later_version_holds_everybody():
    """Rather one release too many than one too few."""
    assert a_freeze(selector=(Requirement("tier", "Resembles", ("core",)),)).holds({"tier": "edge"}) is True


def test_a_freeze_is_told_its_calendar_where_it_has_one():
    calendar = Calendar("XNYS", NOW - HOUR, NOW + HOUR, ())
    waits = by_calendar(NoCalendar("NotRead", "not read yet"))
    assert (waits.calendar, waits.calendar_ends) == ("xnys", None)
    assert waits.knowing(calendar) == by_calendar(calendar)
    assert by_calendar(calendar).calendar_ends == NOW + HOUR
    plain = a_freeze()
    assert (plain.calendar, plain.calendar_ends, plain.knowing(calendar)) == ("", None, plain)


def test_freezes_that_cannot_be_read_at_all_hold_everybody_and_nobody_lifts_them():
    """Which of them holds nobody knows, so no order can name one."""
    freeze = unreadable_all("denied")
    assert (freeze.author, freeze.holds({}), freeze.reason) == ("", True, "denied")
    answer, memory = ordered(freeze, freeze="unknown")
    assert (answer.phase, answer.reason, memory.overrides) == ("Refused", "NoSuchFreeze", ())
