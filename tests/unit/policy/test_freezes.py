"""What a freeze holds and what it does not; who lifts it, and for what."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tradingrelease.policy.calendars import Calendar, NoCalendar
from tradingrelease.policy.decide import decide
from tradingrelease.policy.freeze_status import status_of, warns_from
from tradingrelease.policy.freezes import Freeze, latest, parse, unreadable_all
from tradingrelease.policy.model import CreateDeployment, Override, Person, Rest, Switch
from tradingrelease.policy.reasons import Action, Cause
from tradingrelease.policy.windows import Between, Part, Sessions, Unreadable

from tests.builders import NOW, a_release, a_spec
from tests.simulator import Behaviour, Simulator

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
    assert (decision.reason, decision.memory.candidate.held) == ("Frozen", "Start")
    assert decide(world, NOW).rule != "candidate_may_start"


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


@settings(deadline=None)  # a busy machine
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0.1, 3)), min_size=1, max_size=3))
def test_no_promotion_begins_and_no_pod_starts_while_any_freeze_holds(spans):
    freezes = tuple(a_freeze(str(n), begin, begin + length) for n, (begin, length) in enumerate(spans))
    decision = decide(verified(freezes=freezes).world(), NOW)
    holds = any(f.window.begin <= NOW < f.window.end for f in freezes)
    promotes = isinstance(decision.step, Switch) and decision.step.record.cause is Cause.PROMOTE
    assert promotes is not holds
    assert not isinstance(decision.step, CreateDeployment)


# --- who lifts it -----------------------------------------------------------------------------------------------------


def ordered(held_by=None, memory=None, revision="", **fields):
    """Return the answer to an Override, and the memory after it."""
    built = verified(freezes=(held_by or a_freeze(),))
    revision = revision or built.memory.candidate.stack.revision
    built = built.ordered(Action.OVERRIDE, revision, **an_override(**fields))
    world = built.world()
    world = replace(world, memory=memory) if memory else world
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
        ({"freeze": "unknown" }, "NoSuchFreeze"),
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
    assert [p.by for p in memory.overrides[0].people] == ["jane", "john"]


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
    override = Override("close", "uid-close", "abc", 1, (Person("jane", "override-1", "the fix", NOW),))
    first = status_of(a_freeze(), NOW, 1, {}, [("shop", override)])
    assert [o["release"] for o in first["overrides"]] == ["shop"]
    assert status_of(a_freeze(), NOW, 1, first, [])["overrides"] == first["overrides"]


def test_what_an_author_writes_is_read():
    spec = {"reason": "r", "author": "a", "overrideRequires": 2, "calendar": {"name": "xnys", "before": "30m"}}
    freeze = parse("nyse", "u", spec)
    assert (freeze.calendar, freeze.override_requires, freeze.window.before) == ("xnys", 2, timedelta(minutes=30))
    assert freeze.look(datetime.fromisoformat("2026-11-25T00:00:00Z")).active
