"""History keeps what the checks of an attempt and of its watch came to, and how its hooks ended."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import transitions
from tradingrelease.policy.measurements import Finding, Measured, Verdict
from tradingrelease.policy.memory import from_status, to_status
from tradingrelease.policy.model import CheckResult, HistoryEntry, HookResult, HookRun, Note
from tradingrelease.policy.reasons import Action, Moment, Outcome, Progress
from tradingrelease.policy.records import recorded

from tests.builders import NOW, a_check, a_hook, a_spec
from tests.simulator import Behaviour, Simulator, Task

PASSES = Finding(Verdict.PASSED, "the result is 0.25", 0.25)
FAILS = Finding(Verdict.FAILED, "the result is 0.75", 0.75)
CHECK = a_check("orders", interval="10s", failureLimit=2, successLimit=2)
HOOKS = [a_hook(), a_hook("flush", "AfterSwitch"), a_hook("warm", "AfterRollback")]


def told(*findings, hooks=(), check=CHECK, **tasks):
    """Let 2.0.0 be asked for beside a proven 1.0.0, and find this in Verify and in its watch."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = tasks
    sim.findings["orders"] = findings[0]
    sim.apply(a_spec("2.0.0", checks=[check], hooks=list(hooks)))
    if len(findings) > 1:
        sim.run_until(lambda s: s.live == "2.0.0", minutes=2)
        sim.findings["orders"] = findings[1]
    return sim.run(minutes=20)


def entry(sim, version="2.0.0"):
    found = next(e for e in sim.memory.history if e.version == version and e.outcome is not Outcome.RESTORED)
    assert from_status(to_status(sim.memory)) == sim.memory
    return found


def test_a_proven_revision_keeps_what_its_checks_found_before_the_switch_and_in_the_watch():
    found = entry(told(PASSES, PASSES))
    assert found.outcome is Outcome.PROVEN
    verify, watch = found.checks
    assert verify == CheckResult("orders", "Verify", Verdict.PASSED, Measured(2, 0, 0, 0.25), since=verify.since)
    assert (watch.during, watch.verdict, watch.measured.value) == ("Watch", Verdict.PASSED, 0.25)
    assert 80 < watch.measured.passed <= 91, "each 10 s of 15 minutes"


def test_an_attempt_that_fails_keeps_what_failed_it():
    found = entry(told(FAILS))
    assert found.outcome is Outcome.FAILED
    (check,) = found.checks
    assert check == CheckResult("orders", "Verify", Verdict.FAILED, Measured(0, 2, 0, 0.75), since=check.since)


def test_counts_say_from_when_on_they_are_counted():
    """What an earlier process found went with it: fewer measurements than a watch is long are no riddle then."""
    sim = told(PASSES)
    whole = entry(sim)
    verify, watch = whole.checks
    assert whole.started < verify.since < whole.switched == watch.since
    sim.apply(a_spec("3.0.0", checks=[CHECK]))
    sim.run_until(lambda s: s.live == "3.0.0", minutes=2).run(minutes=10)
    began = sim.now
    sim.restart()
    sim.run(minutes=10)
    verify, watch = entry(sim, "3.0.0").checks
    assert verify.since < began == watch.since
    assert watch.measured.passed < 40, "each 10 s of 5 minutes"


def test_an_attempt_that_begins_anew_beside_a_restored_live_keeps_how_the_one_before_ended():
    sim = told(PASSES)
    sim.apply(a_spec("3.0.0", checks=[CHECK]))
    sim.run_until(lambda s: s.memory.candidate and s.tallies, minutes=2)
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "the dashboard is red")
    sim.run_until(lambda s: s.live == "1.0.0", minutes=1)
    restored, ended, *_ = sim.memory.history
    assert (restored.outcome, restored.version) == (Outcome.RESTORED, "1.0.0")
    assert (ended.version, ended.attempt, ended.outcome, ended.reason) == (
        "3.0.0", 1, Outcome.SUPERSEDED, "LiveRolledBack: version 1.0.0 is live again, and it was verified beside version 2.0.0",
    )  # fmt: skip
    assert [check.name for check in ended.checks] == ["orders"]
    assert sim.memory.candidate.attempt == 2
    told_of = next(n for n in sim.notes if n.reason == "RolledBack")
    before = replace(sim.memory, history=())
    assert transitions.of(sim.world(), before, told_of, sim.now).outcome == "RolledBack"


def test_an_attempt_that_begins_anew_after_half_a_switch_keeps_how_the_one_before_ended():
    pair = ("backend", "frontend")
    sim = Simulator(*pair)
    sim.apply(a_spec("1.0.0", pair))
    sim.run(minutes=20)
    spec = sim.apply(a_spec("2.0.0", pair))
    sim.dies_when = lambda s: s.services["backend"].selected == spec.component("backend").revision
    sim.run_until(lambda s: s.down, minutes=1)
    sim.behaviours["frontend:2.0.0"] = Behaviour(crashes_every=60)
    sim.restart()
    sim.run(seconds=5)
    found = entry(sim)
    assert (found.attempt, found.outcome, sim.memory.candidate.attempt) == (1, Outcome.FAILED, 2)
    assert found.reason.startswith("CandidateUnavailable: half a switch undone: Deployment shop-frontend-")


def test_a_revision_that_is_rolled_back_keeps_what_its_watch_found():
    found = entry(told(PASSES, FAILS))
    assert found.outcome is Outcome.ROLLED_BACK
    assert [(c.during, c.verdict, c.measured.value) for c in found.checks] == [
        ("Verify", Verdict.PASSED, 0.25),
        ("Watch", Verdict.FAILED, 0.75),
    ]
    assert found.checks[1].measured.failed >= 2


def test_a_check_that_is_only_reported_says_so():
    assert [c.dry_run for c in entry(told(FAILS, check=CHECK | {"dryRun": True})).checks] == [True, True]


def test_hooks_keep_how_they_ended_and_how_long_they_took():
    found = entry(told(PASSES, hooks=HOOKS, migrate=Task(takes=30), flush=Task(takes=5)))
    assert [(h.name, h.phase) for h in found.hooks] == [
        ("migrate", Progress.SUCCEEDED),
        ("flush", Progress.SUCCEEDED),
    ]
    assert [h.seconds for h in found.hooks] == [pytest.approx(30, abs=1), pytest.approx(5, abs=1)]


def test_what_is_done_after_a_rollback_is_kept_with_what_was_rolled_back():
    sim = told(PASSES, FAILS, hooks=HOOKS, warm=Task(takes=20))
    assert [(h.name, h.phase) for h in entry(sim).hooks] == [
        ("migrate", Progress.SUCCEEDED),
        ("flush", Progress.SUCCEEDED),
        ("warm", Progress.SUCCEEDED),
    ]


def test_evidence_that_comes_later_tells_no_end_again():
    sim = told(PASSES, FAILS, hooks=HOOKS, warm=Task(takes=20))
    ended = entry(sim)
    less = replace(ended, hooks=(HookResult("warm", Progress.RUNNING),))
    before = replace(sim.memory, history=tuple(less if e == ended else e for e in sim.memory.history))
    assert before != sim.memory
    note = Note("HookSucceeded", "done", f"warm/{ended.revision}")
    assert transitions.of(sim.world(), before, note, sim.now).outcome == ""
    assert transitions.of(sim.world(), replace(before, history=()), note, sim.now).outcome == "RolledBack"


def verifying():
    """Let a check of 2.0.0 have been measured, and its attempt go on."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.findings["orders"] = PASSES
    sim.apply(a_spec("2.0.0", checks=[a_check("orders", interval="10s", successLimit=99)]))
    return sim.run(minutes=1).world()


def test_what_an_attempt_found_is_kept_when_it_ends_and_not_before():
    world = verifying()
    candidate = world.memory.candidate
    ended = HistoryEntry(candidate.stack.revision, "2.0.0", Outcome.FAILED, None, None, NOW, "", "", candidate.attempt)
    memory = replace(world.memory, history=(ended, *world.memory.history))
    assert recorded(world, memory) == memory
    for after in (
        None,
        replace(candidate, attempt=candidate.attempt + 1),
        replace(candidate, stack=replace(candidate.stack, revision="another")),
    ):
        kept = recorded(world, replace(memory, candidate=after)).history
        assert [c.during for c in kept[0].checks] == ["Verify"]
        assert kept[1:] == memory.history[1:]


def test_what_a_watch_found_is_kept_when_it_ends_and_not_before():
    sim = Simulator("backend")
    sim.findings["orders"] = PASSES
    sim.apply(a_spec("1.0.0", checks=[CHECK]))
    world = sim.run(minutes=10).world()
    live, memory = world.memory.live, world.memory
    assert live.proven_at is None
    assert recorded(world, memory) == memory
    for after in (
        None,
        replace(live, proven_at=sim.now),
        replace(live, stack=replace(live.stack, revision="another")),
    ):
        kept = recorded(world, replace(memory, live=after)).history
        assert [c.during for c in kept[0].checks] == ["Verify", "Watch"]


def test_a_watch_that_ended_before_says_nothing_anew():
    sim = told(PASSES, PASSES)
    world = sim.world()
    assert world.memory.live.proven_at
    gone = replace(world.memory, live=None)
    assert recorded(world, gone) == gone


def test_evidence_goes_into_the_story_of_its_own_attempt():
    """A Retry may have its story already when what was rolled back has run its last hook."""
    world = verifying()
    candidate, others = world.memory.candidate, world.memory.history
    first = HistoryEntry(candidate.stack.revision, "2.0.0", Outcome.FAILED, None, None, NOW, "", "", candidate.attempt)
    second = replace(first, attempt=candidate.attempt + 1)
    kept = recorded(world, replace(world.memory, candidate=None, history=(second, first, *others))).history
    assert kept == (second, replace(first, checks=kept[1].checks), *others)
    assert kept[1].checks


def test_what_the_watch_of_settings_alone_found_is_kept_though_no_attempt_made_them():
    world = verifying()
    candidate = replace(world.memory.candidate, attempt=3)
    story = HistoryEntry(candidate.stack.revision, "2.0.0", Outcome.SETTINGS_ONLY, None, None, NOW, "", "")
    world = replace(world, memory=replace(world.memory, candidate=candidate, history=(story,)))
    assert recorded(world, replace(world.memory, candidate=None)).history[0].checks


def test_of_hooks_only_those_that_began_are_kept_to_the_millisecond():
    world = verifying()
    lasted = timedelta(seconds=1, microseconds=234567)
    begun = HookRun("migrate", Moment.BEFORE_GREEN, Progress.SUCCEEDED, started_at=NOW, finished_at=NOW + lasted)
    waits = HookRun("flush", Moment.AFTER_SWITCH)
    candidate = replace(world.memory.candidate, hooks=(begun, waits))
    story = HistoryEntry(candidate.stack.revision, "2.0.0", Outcome.FAILED, None, None, NOW, "", "", candidate.attempt)
    world = replace(world, memory=replace(world.memory, candidate=candidate, history=(story,)))
    kept = recorded(world, replace(world.memory, candidate=None)).history[0].hooks
    assert kept == (HookResult("migrate", Progress.SUCCEEDED, 1.235),)
