"""What an irreversible hook did is known again where status, the release, or the operator of that moment is gone."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import irreversible, names, writes
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Annotate, DeleteJob
from tradingrelease.policy.reasons import Action, Condition
from tradingrelease.policy.rules import hooks as rules

from tests.builders import KEY, NOW, UID, a_hook, a_release, a_spec
from tests.simulator import Behaviour, Simulator, Task
from tests.unit.policy.test_hooks import a_job

BROKEN = Behaviour(healthy=False)


def migrated(at="BeforeGreen", **task):
    """Let 2.0.0 with an irreversible hook be asked for beside a proven 1.0.0."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = {"migrate": Task(**task)}
    sim.apply(a_spec("2.0.0", hooks=[a_hook(at=at, irreversible=True)]))
    return sim


def unsafe(sim):
    """Return the versions that nobody goes back to but by force."""
    memory = sim.memory
    marked = {r.stack.version for r in memory.retained if r.unsafe}
    return marked | ({memory.live.stack.version} if memory.live and memory.live.unsafe else set())


def holds_still(sim):
    """Let live fail, and tell whether nothing goes back by itself."""
    version = sim.live
    sim.behaviours[f"backend:{version}"] = BROKEN
    sim.run(minutes=2)
    return sim.live == version and sim.phase == "Stalled"


# --- where it is found ------------------------------------------------------------------------------------------------


def test_a_status_that_is_lost_after_the_switch():
    sim = migrated()
    sim.run_until(lambda s: s.live == "2.0.0", minutes=2)
    sim.run(seconds=10)
    sim.status = {}
    sim.run(seconds=1)
    assert unsafe(sim) == {"1.0.0"}


def test_a_release_that_is_deleted_and_made_anew():
    sim = migrated()
    sim.run(minutes=20)
    sim.delete_release()
    sim.run(minutes=1)
    assert not sim.jobs
    sim.apply(a_spec("2.0.0", hooks=[a_hook(irreversible=True)]))
    sim.run(minutes=1)
    assert ([r.stack.version for r in sim.memory.retained], unsafe(sim)) == (["1.0.0"], {"1.0.0"})
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "the dashboard is red")
    sim.run(minutes=1)
    assert sim.live == "2.0.0"
    assert sim.memory.live.stack.revision not in {latch.stack.revision for latch in sim.memory.latched}


def test_an_operator_that_dies_before_it_has_stored_the_success():
    sim = migrated()
    sim.run_until(lambda s: s.ran, minutes=1)
    sim.stop()
    sim.run(minutes=1)
    sim.restart()
    sim.run_until(lambda s: s.live == "2.0.0", minutes=2)
    assert unsafe(sim) == {"1.0.0"}
    assert holds_still(sim)


def test_an_operator_that_dies_there_and_a_status_that_is_lost_meanwhile():
    sim = migrated()
    sim.run_until(lambda s: s.ran, minutes=1)
    sim.stop()
    sim.run(minutes=1)
    sim.status = {}
    sim.restart()
    sim.run(seconds=1)
    assert unsafe(sim) == {"1.0.0"}


def test_a_hook_that_succeeds_after_its_attempt_was_rolled_back():
    sim = migrated("AfterSwitch", takes=60)
    sim.run_until(lambda s: s.ran, minutes=2)
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "the dashboard is red", force=True)
    sim.run(seconds=10)
    assert (sim.live, unsafe(sim)) == ("1.0.0", set())
    sim.run(minutes=2)
    assert unsafe(sim) == {"1.0.0"}
    sim.apply(a_spec("3.0.0"))
    sim.run_until(lambda s: s.live == "3.0.0", minutes=2)
    assert unsafe(sim) == {"1.0.0"}
    assert holds_still(sim)


def test_a_retained_deployment_that_is_made_anew_says_it_again():
    sim = migrated()
    sim.run(minutes=2)
    name = next(d.name for d in sim.deployments.values() if d.created_version == "1.0.0")
    sim.delete_deployment(name)
    sim.run(minutes=1)
    assert sim.deployments[name].unsafe.keys() == {sim.memory.retained[0].stack.revision}


# --- while nobody knows whether it was done ---------------------------------------------------------------------------


def contracting(**task):
    """Let 2.0.0 be live, and its irreversible hook run."""
    sim = migrated("AfterSwitch", **task)
    sim.run_until(lambda s: s.live == "2.0.0" and s.ran, minutes=2)
    return sim


def test_live_that_fails_while_its_hook_runs_is_held_until_the_hook_has_ended_without_success():
    sim = contracting(takes=120, fails=True)
    sim.behaviours["backend:2.0.0"] = BROKEN
    sim.run(minutes=1)
    assert (sim.live, sim.phase, unsafe(sim)) == ("2.0.0", "Stalled", set())
    assert any("cannot be undone, and runs" in line for line in sim.lines)
    sim.run(minutes=2)
    assert sim.live == "1.0.0"


def test_live_that_fails_while_its_hook_runs_is_held_when_the_hook_has_succeeded():
    sim = contracting(takes=60)
    sim.behaviours["backend:2.0.0"] = BROKEN
    sim.run(minutes=5)
    assert (sim.live, sim.phase, unsafe(sim)) == ("2.0.0", "Stalled", {"1.0.0"})


def test_nobody_goes_back_by_an_order_without_force_while_it_runs():
    sim = contracting(takes=60)
    order = sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "the dashboard is red")
    sim.run(seconds=5)
    assert (sim.live, sim.orders[order.uid].phase) == ("2.0.0", "Refused")
    assert sim.condition(Condition.ROLLBACK_READY) == ("False", "RollbackUnsafe")


def test_a_job_that_went_before_its_end_was_seen_may_have_done_it():
    sim = contracting(takes=60)
    sim.jobs.clear()
    sim.run(minutes=5)
    assert (sim.live, sim.phase) == ("2.0.0", "Stalled")
    assert any("nobody saw its end (JobGone" in line for line in sim.lines)


def test_live_in_its_watch_is_held_while_the_migration_of_the_next_one_runs():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.apply(a_spec("2.0.0"))
    sim.run_until(lambda s: s.live == "2.0.0", minutes=2)
    sim.tasks = {"migrate": Task(takes=60, fails=True)}
    sim.apply(a_spec("3.0.0", hooks=[a_hook(irreversible=True)]))
    sim.run_until(lambda s: s.ran, minutes=1)
    sim.behaviours["backend:2.0.0"] = BROKEN
    sim.run(seconds=40)
    assert (sim.live, sim.condition(Condition.STALLED)[0]) == ("2.0.0", "True")
    sim.run(minutes=1)
    assert sim.live == "1.0.0"


def test_an_attempt_that_failed_since_nobody_saw_the_end_leaves_the_mark():
    sim = migrated(takes=60)
    sim.run_until(lambda s: s.ran, minutes=1)
    sim.jobs.clear()
    sim.run(minutes=1)
    assert (sim.memory.latched[0].reason, unsafe(sim)) == ("HookFailed", {"1.0.0"})
    assert "JobGone" in sim.memory.live.unsafe


def test_a_job_that_is_ended_by_an_abort_leaves_the_mark():
    sim = migrated(takes=60)
    sim.run_until(lambda s: s.ran, minutes=1)
    sim.order(Action.ABORT, sim.memory.candidate.stack.revision)
    sim.run(minutes=1)
    assert (sim.jobs, unsafe(sim)) == ({}, {"1.0.0"})
    assert "was given up while it ran" in sim.memory.live.unsafe


def test_a_job_that_no_controller_ends_leaves_the_mark_before_it_is_deleted():
    """Its live was rolled back by force, so no run waits for it any more."""
    words = "hook migrate of version 2.0.0 (x) cannot be undone"
    job = a_job("x", suspended=False, irreversible=words, ends_at=NOW - timedelta(minutes=1))
    world = replace(a_release().promoted().world(), jobs={job.name: job})
    decision = decide(world, NOW)
    why = f"{words}, and was given up while it ran"
    assert (decision.memory.live.unsafe, decision.memory.retained[0].unsafe) == (why, why)
    assert rules.jobs_go(replace(world, memory=decision.memory), NOW).step == DeleteJob(job.name, job.uid, job.version)


# --- what it is not said of -------------------------------------------------------------------------------------------


def test_what_came_after_the_hook_is_a_target_as_ever():
    sim = migrated("AfterSwitch")
    sim.run(minutes=20)
    sim.apply(a_spec("3.0.0"))
    sim.run_until(lambda s: s.live == "3.0.0", minutes=2)
    sim.status = {}
    sim.run(seconds=5)
    assert unsafe(sim) == {"1.0.0"} & {r.stack.version for r in sim.memory.retained}
    assert {r.stack.version for r in sim.memory.retained} >= {"2.0.0"}


def test_a_hook_that_failed_is_nothing_to_go_back_across():
    sim = migrated("AfterSwitch", fails=True)
    sim.run(minutes=2)
    sim.status = {}
    sim.run(minutes=1)
    assert (sim.live, unsafe(sim)) == ("1.0.0", set())


@pytest.mark.parametrize(
    ("changes", "marks"),
    [
        ({}, True),
        ({"irreversible": ""}, False),
        ({"failed": True}, False),
        ({"ended": False, "ended_at": None}, False),
        ({"ended_at": NOW - timedelta(hours=3)}, False),  # live was made two hours ago
        ({"ended_at": NOW - timedelta(hours=2)}, False),
    ],
)
def test_which_job_tells_of_it(changes, marks):
    job = a_job("x", ended=True, suspended=False, ended_at=NOW, irreversible="hook migrate cannot be undone")
    job = replace(job, **changes)
    world = replace(a_release().live().world(), jobs={job.name: job})
    assert bool(irreversible.found_again(world, world.memory).live.unsafe) is marks


def test_a_revision_on_deployments_of_the_hooks_own_is_not_older_than_the_hook():
    """Settings alone were changed since: other words, the same pods."""
    world = a_release().live().world()
    made_for = next(iter(world.deployments.values())).created_for
    job = a_job(made_for, ended=True, suspended=False, ended_at=NOW, irreversible="hook migrate cannot be undone")
    live = replace(world.memory.live, stack=replace(world.memory.live.stack, revision="another"))
    memory = replace(world.memory, live=live)
    found = irreversible.found_again(replace(world, jobs={job.name: job}), memory)
    assert found.live.unsafe == ""


# --- what a person went back to by force -----------------------------------------------------------------------------


def forced_back(seconds=30, **task):
    """Let a person go back to 1.0.0 across a hook of 2.0.0, some time after that ended, and 3.0.0 be live then."""
    sim = migrated("AfterSwitch", **task)
    sim.run_until(lambda s: s.live == "2.0.0" and "1.0.0" in unsafe(s), minutes=2)
    sim.run(seconds=seconds)
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "it reads the new table, I looked", force=True)
    sim.run(seconds=10)
    assert sim.live == "1.0.0"
    return sim


def next_release(sim):
    sim.apply(a_spec("3.0.0"))
    return sim.run_until(lambda s: s.live == "3.0.0", minutes=2).run(seconds=10)


def test_what_a_person_went_back_to_by_force_is_a_target_as_ever():
    sim = next_release(forced_back())
    assert unsafe(sim) == set()
    assert sim.condition(Condition.ROLLBACK_READY) == ("True", "Standing")
    assert not any(d.unsafe for d in sim.deployments.values() if d.created_version == "1.0.0")
    sim.behaviours["backend:3.0.0"] = BROKEN
    sim.run(minutes=2)
    assert sim.live == "1.0.0"
    assert sim.memory.live.forced_at is not None, "it may be left and come back to again"


def test_a_job_that_may_have_ended_after_the_order_marks_it_again():
    """A creation has whole seconds."""
    sim = next_release(forced_back(seconds=0))
    assert unsafe(sim) == {"1.0.0"}
    assert sim.memory.retained[0].forced_at is None


def test_what_is_done_after_a_person_went_back_by_force_marks_it_again():
    sim = forced_back()
    sim.apply(a_spec("3.0.0", hooks=[a_hook("contract", at="AfterSwitch", irreversible=True)]))
    sim.run_until(lambda s: s.live == "3.0.0", minutes=2).run(minutes=1)
    assert unsafe(sim) == {"1.0.0"}
    assert any(d.unsafe for d in sim.deployments.values() if d.created_version == "1.0.0")


def test_a_status_that_is_lost_after_a_person_went_back_by_force_is_taken_for_the_careful_case():
    sim = forced_back()
    sim.status = {}
    sim.run(seconds=5)
    assert unsafe(sim) == {"1.0.0"}


def test_half_a_switch_that_is_undone_by_force_leaves_a_live_that_can_be_come_back_to():
    pair = ("backend", "frontend")
    sim = Simulator(*pair)
    sim.apply(a_spec("1.0.0", pair))
    sim.run(minutes=20)
    spec = sim.apply(a_spec("2.0.0", pair, hooks=[a_hook(at="BeforeSwitch", irreversible=True)]))
    sim.dies_when = lambda s: s.services["backend"].selected == spec.component("backend").revision
    sim.run_until(lambda s: s.down, minutes=2)
    sim.run(seconds=5)
    assert sim.memory.live.unsafe
    sim.order(Action.ROLLBACK, sim.memory.candidate.stack.revision, "it reads the new table, I looked", force=True)
    sim.restart()
    sim.run(seconds=5)
    assert (sim.live, unsafe(sim)) == ("1.0.0", set())


def done(revision="x", name="shop-migrate-x-1", why="hook migrate cannot be undone"):
    """Return the Job of a hook that has just succeeded."""
    return a_job(revision, name=name, ended=True, suspended=False, ended_at=NOW, irreversible=why)


def found(world, *jobs):
    """Return what is said of live where these Jobs are found."""
    return irreversible.found_again(replace(world, jobs={j.name: j for j in jobs}), world.memory).live.unsafe


def test_a_job_that_can_be_undone_hides_none_that_cannot():
    world = a_release().live().world()
    assert found(world, done(name="a", why=""), done(name="b"))


def test_settings_on_older_pods_are_not_older_than_their_own_hook():
    """Its Deployments were made for another revision before the hook ran, and are its own all the same."""
    world = a_release().live().world()
    older = {name: replace(d, created_for="another") for name, d in world.deployments.items()}
    assert not found(replace(world, deployments=older), done(world.memory.live.stack.revision))


def test_nothing_is_said_of_the_age_of_what_stands_no_more():
    world = a_release().live().world()
    assert not found(replace(world, deployments={}), done())


def test_a_stack_of_which_one_component_came_after_the_hook_is_not_older():
    world = a_release("backend", "frontend").live().world()
    assert found(world, done())
    first, second = world.deployments.values()
    for changes in ({"created_at": NOW + timedelta(seconds=1)}, {"created_for": "x"}):
        newer = {first.name: first, second.name: replace(second, **changes)}
        assert not found(replace(world, deployments=newer), done())


def test_one_deployment_of_a_stack_is_enough_to_tell():
    world = a_release("backend", "frontend").live().world()
    first, second = world.deployments.values()
    told = replace(second, unsafe={world.memory.live.stack.revision: "hook migrate cannot be undone"})
    assert found(replace(world, deployments={first.name: first, second.name: told}))


# --- where it is written ----------------------------------------------------------------------------------------------


def marked(**unsafe):
    world = a_release().promoted().world()
    kept = tuple(replace(r, unsafe="hook migrate cannot be undone") for r in world.memory.retained)
    held = {n: replace(d, unsafe=unsafe) for n, d in world.deployments.items()}
    return replace(world, memory=replace(world.memory, retained=kept), deployments=held)


def test_a_mark_is_written_once_and_against_what_was_read():
    world = marked()
    stack = world.memory.retained[0].stack
    step = decide(world, NOW).step
    target = world.deployment("backend", stack.members[0].revision)
    words = {names.UNSAFE: f'{{"{stack.revision}":"hook migrate cannot be undone"}}'}
    assert step == Annotate(target.name, target.uid, target.version, words)
    assert not isinstance(decide(marked(**{stack.revision: "hook migrate cannot be undone"}), NOW).step, Annotate)


def test_a_deployment_keeps_the_newest_marks_only():
    deployment = next(iter(marked(**{f"r{n}": "why" for n in range(12)}).deployments.values()))
    stack = a_release().live().memory.live.stack
    written = irreversible.note(deployment, stack, "why")[names.UNSAFE]
    assert list(json.loads(written)) == [*(f"r{n}" for n in range(3, 12)), stack.revision]


def test_a_job_that_succeeded_unseen_is_not_deleted_by_an_abort():
    """The deletion was decided on a Job that ran; its success is the only record of itself."""
    job = a_job("x", suspended=False, irreversible="hook migrate cannot be undone")
    world = a_release().live().world()
    latch = a_release().failed("2.0.0", reason="Aborted").memory.latched[0]
    latch = replace(latch, stack=replace(latch.stack, revision="x"))
    world = replace(world, jobs={job.name: job}, memory=replace(world.memory, latched=(latch,)))
    step = rules.jobs_go(replace(world, memory=decide(world, NOW).memory), NOW).step
    deletion = writes.Delete(writes.Resource.JOBS, job.name, job.uid, job.version, with_pods=True)
    assert writes.write(step, KEY, UID) == deletion
