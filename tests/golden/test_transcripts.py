"""Whole releases as readable transcripts. Each story is told by the simulator; the files beside this one are read."""

from datetime import timedelta

import pytest
from tradingrelease.policy import names
from tradingrelease.policy.measurements import Finding, Verdict
from tradingrelease.policy.reasons import Action

from tests.builders import a_check, a_component, a_health, a_hook, a_spec, a_template
from tests.simulator import Behaviour, Simulator, Task

ALL_WEEK = {
    "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "from": "00:00",
    "to": "24:00",
    "timeZone": "Europe/Zurich",
}
PLATFORM = ("backend", "frontend", "ml-engine")


def released(*versions, components=("backend",)):
    """Let versions be released and proven one after the other."""
    sim = Simulator(*components)
    for version in versions:
        sim.apply(a_spec(version, components))
        sim.run(minutes=20)
        assert sim.live == version
    sim.lines.clear()
    del sim.records[:-1]
    sim.began = sim.now
    return sim


def switched(version="2.0.0", former="1.0.0", components=("backend",)):
    """Let a version be in its watch for a minute."""
    sim = released(former, components=components)
    sim.apply(a_spec(version, components))
    sim.run_until(lambda s: s.live == version, minutes=1).run(minutes=1)
    return sim


MIGRATION = a_hook("migrate", irreversible=True)
FLUSH = a_hook("flush-cache", "AfterSwitch")


def killed_mid_switch(sim, version="2.0.0", **fields):
    """Kill the operator right after it moved the first of three Services."""
    first = names.digest(a_template("backend", version))
    sim.apply(a_spec(version, PLATFORM, **fields))
    sim.dies_when = lambda s: s.services["backend"].selected == first
    return sim.run_until(lambda s: s.down, minutes=1)


def mid_switch():
    return killed_mid_switch(released("1.0.0", components=PLATFORM))


def frozen_before_start():
    sim = released("1.0.0")
    sim.freeze_for("quarter-close", lasting=timedelta(hours=2))
    sim.apply(a_spec("2.0.0"))
    return sim.run(hours=3)


def frozen_during_verify():
    sim = released("1.0.0")
    sim.apply(a_spec("2.0.0"))
    sim.run(seconds=5)
    sim.freeze_for("quarter-close", lasting=timedelta(hours=2))
    return sim.run(hours=3)


def frozen_in_the_middle_of_a_switch():
    sim = mid_switch()
    sim.freeze_for("quarter-close", lasting=timedelta(hours=2))
    sim.restart()
    return sim.run(minutes=20)


def freeze_overridden_by_two():
    sim = released("1.0.0")
    sim.freeze("nyse", weekly=[ALL_WEEK], overrideRequires=2)
    sim.apply(a_spec("2.0.0"))
    sim.run(minutes=5)
    for by in ("jane", "jane", "john"):
        sim.override("nyse", by=by)
        sim.run(minutes=1)
    return sim.run(minutes=20)


def rolled_back_in_a_freeze():
    sim = switched()
    sim.freeze_for("quarter-close", lasting=timedelta(hours=2))
    sim.apply(a_spec("3.0.0"))
    sim.run(minutes=1)
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    return sim.run(minutes=5)


def adoption_in_a_freeze():
    sim = Simulator("backend")
    sim.serve_plainly("backend", a_template("backend", "0.9.0"), replicas=3)
    sim.freeze_for("quarter-close", lasting=timedelta(hours=2))
    sim.apply(a_spec("1.0.0"))
    return sim.run(hours=3)


def first_release():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    return sim.run(minutes=20)


def upgrade_of_three_components():
    sim = released("1.0.0", components=PLATFORM)
    sim.apply(a_spec("2.0.0", PLATFORM))
    return sim.run(minutes=20)


def upgrade_of_one_component_of_three():
    sim = released("1.0.0", components=PLATFORM)
    changed = ("backend", a_component("frontend", "2.0.0"), "ml-engine")
    sim.apply(a_spec("1.0.0", changed) | {"version": "2.0.0"})
    return sim.run(minutes=20)


def adoption():
    sim = Simulator("backend")
    sim.serve_plainly("backend", a_template("backend", "0.9.0"), replicas=3)
    sim.apply(a_spec("1.0.0"))
    return sim.run(minutes=20)


def crash_loop_refused():
    sim = released("1.0.0")
    sim.behaviours["backend:2.0.0"] = Behaviour(crashes_every=10)
    sim.apply(a_spec("2.0.0"))
    return sim.run(hours=25)


def bad_health_refused_at_the_deadline():
    sim = released("1.0.0")
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    sim.apply(a_spec("2.0.0"))
    return sim.run(minutes=12)


def image_that_cannot_be_pulled():
    sim = released("1.0.0")
    sim.behaviours["backend:2.0.0"] = Behaviour(waiting="ImagePullBackOff")
    sim.apply(a_spec("2.0.0"))
    return sim.run(minutes=5)


def bad_after_switch_rolled_back():
    sim = switched()
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    return sim.run(minutes=20)


def both_sides_bad():
    sim = switched()
    sim.behaviours["backend:1.0.0"] = sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    sim.run(minutes=1)
    sim.behaviours["backend:1.0.0"] = Behaviour()
    return sim.run(minutes=2)


def dead_after_its_watch_rolled_back():
    sim = released("1.0.0", "2.0.0")
    sim.behaviours["backend:2.0.0"] = Behaviour(crashes_every=5)
    return sim.run(minutes=2)


def rollback_by_command():
    sim = released("1.0.0", "2.0.0", components=PLATFORM)
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "orders are lost")
    sim.run(minutes=1)
    sim.apply(a_spec("2.0.0", PLATFORM))
    return sim.run(minutes=20)


def rollback_by_manifest():
    sim = released("1.0.0", "2.0.0")
    sim.apply(a_spec("1.0.0"))
    return sim.run(minutes=20)


def rollback_during_the_watch():
    sim = switched()
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "the dashboard is red")
    return sim.run(minutes=1)


def supersede_during_verify():
    sim = released("1.0.0")
    sim.apply(a_spec("2.0.0"))
    sim.run(seconds=5)
    sim.apply(a_spec("3.0.0"))
    return sim.run(minutes=20)


def supersede_during_watch():
    sim = switched()
    sim.apply(a_spec("3.0.0"))
    return sim.run(minutes=20)


def rolled_back_while_the_next_verifies():
    sim = switched()
    sim.behaviours["backend:3.0.0"] = Behaviour(ready_after=60)
    sim.apply(a_spec("3.0.0"))
    sim.run(seconds=10)
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    return sim.run(minutes=20)


def settings_only():
    sim = released("1.0.0")
    sim.apply(a_spec("1.0.0", watch={"for": "5m"}) | {"version": "1.0.1"})
    return sim.run(minutes=1)


def settings_only_during_the_watch():
    sim = switched()
    sim.apply(a_spec("2.0.0", watch={"for": "5m"}))
    return sim.run(minutes=10)


def scaled():
    sim = released("1.0.0")
    sim.apply(a_spec("1.0.0", (a_component(replicas=3),)))
    return sim.run(minutes=1)


def half_a_switch_aborted():
    sim = mid_switch()
    sim.order(Action.ABORT, sim.memory.candidate.stack.revision, "wrong build")
    sim.restart()
    return sim.run(minutes=1)


def half_a_switch_rolled_back():
    sim = mid_switch()
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "wrong build")
    sim.restart()
    return sim.run(minutes=1)


def half_a_switch_completed():
    sim = mid_switch()
    sim.order(Action.PAUSE, reason="lunch")
    sim.restart()
    return sim.run(minutes=1)


def half_a_switch_across_an_irreversible_hook_waits_for_its_candidate():
    sim = killed_mid_switch(released("1.0.0", components=PLATFORM), hooks=[MIGRATION])
    sim.behaviours["frontend:2.0.0"] = Behaviour(crashes_every=20)
    sim.order(Action.ABORT, sim.memory.candidate.stack.revision, "wrong build")
    sim.restart()
    sim.run(seconds=25)
    sim.behaviours.clear()
    return sim.run(minutes=1)


def half_a_switch_across_an_irreversible_hook_undone_by_force():
    sim = killed_mid_switch(released("1.0.0", components=PLATFORM), hooks=[MIGRATION])
    sim.behaviours["frontend:2.0.0"] = Behaviour(crashes_every=20)
    sim.restart()
    sim.run(seconds=25)
    sim.order(Action.ROLLBACK, sim.memory.candidate.stack.revision, "it reads the new table, I looked", force=True)
    return sim.run(minutes=1)


def half_a_switch_undone_at_the_first_release():
    sim = killed_mid_switch(Simulator(*PLATFORM), "1.0.0")
    sim.order(Action.ABORT, sim.memory.candidate.stack.revision, "wrong build")
    sim.restart()
    sim.run(minutes=1)
    sim.order(Action.RETRY, sim.memory.latched[0].stack.revision)
    return sim.run(minutes=20)


def superseded_in_the_middle_of_a_switch():
    sim = mid_switch()
    sim.apply(a_spec("3.0.0", PLATFORM))
    sim.restart()
    return sim.run(minutes=1)


def retire_after_retention():
    sim = released("1.0.0", "2.0.0")
    return sim.run(hours=25)


def latched_applied_again_then_retried():
    sim = switched()
    revision = sim.memory.live.stack.revision
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    sim.run(minutes=2)
    sim.apply(a_spec("2.0.0"))
    sim.run(minutes=1)
    sim.behaviours["backend:2.0.0"] = Behaviour()
    sim.order(Action.RETRY, revision, "the database is back")
    return sim.run(minutes=20)


def typo_during_the_watch():
    sim = switched()
    broken = a_spec("3.0.0", (a_component(version="3.0.0", health=a_health(expect="respnse.status == 200")),))
    sim.apply(broken)
    sim.run(minutes=1)
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    return sim.run(minutes=2)


def paused_and_resumed():
    sim = released("1.0.0")
    sim.order(Action.PAUSE, reason="quarter end")
    sim.run(seconds=1)
    sim.apply(a_spec("2.0.0"))
    sim.run(minutes=5)
    sim.order(Action.RESUME)
    return sim.run(minutes=20)


def selector_changed_by_others():
    sim = released("1.0.0")
    sim.alter_service("backend", selector={"app": "backend"})
    return sim.run(minutes=1)


def live_deployment_deleted():
    sim = released("1.0.0")
    sim.delete_deployment(f"shop-backend-{names.digest(a_template())}")
    return sim.run(minutes=1)


def release_deleted_and_made_anew():
    sim = released("1.0.0", "2.0.0")
    sim.apply(a_spec("3.0.0"))
    sim.run(seconds=4)
    sim.delete_release()
    sim.run(minutes=1)
    sim.apply(a_spec("2.0.0"))
    return sim.run(minutes=1)


def hooked(*hooks, **tasks):
    """Let version 2.0.0 with hooks be asked for beside a proven 1.0.0."""
    sim = released("1.0.0")
    sim.tasks = {name.replace("_", "-"): task for name, task in tasks.items()}
    sim.apply(a_spec("2.0.0", hooks=list(hooks)))
    return sim


def every_hook_of_a_release():
    webhook = {"url": "https://hooks.example.com/smoke"}
    return hooked(a_hook(), a_hook("smoke", "BeforeSwitch", webhook=webhook), FLUSH).run(minutes=20)


def hook_before_green_fails():
    return hooked(a_hook(), migrate=Task(fails=True)).run(minutes=1)


def hook_that_hangs_is_ended_by_the_cluster():
    return hooked(a_hook(timeout="2m"), migrate=Task(takes=0)).run(minutes=3)


def hook_goes_on_across_a_restart():
    sim = hooked(a_hook(), migrate=Task(takes=30))
    sim.dies_when = lambda s: bool(s.ran)
    sim.run(seconds=10)
    sim.restart()
    return sim.run(minutes=20)


def hook_that_runs_is_not_superseded():
    sim = hooked(a_hook(), migrate=Task(takes=30))
    sim.run(seconds=5)
    sim.apply(a_spec("3.0.0"))
    return sim.run(minutes=20)


def hook_after_the_switch_fails_and_rolls_back():
    warm = a_hook("warm-cache", "AfterRollback")
    return hooked(FLUSH, a_hook("tell", "AfterSwitch"), warm, flush_cache=Task(fails=True)).run(minutes=1)


def blue_is_unwell_after_a_hook():
    sim = hooked(a_hook(), migrate=Task(takes=10))
    sim.run(seconds=5)
    sim.behaviours["backend:1.0.0"] = Behaviour(healthy=False)
    return sim.run(minutes=1)


def nobody_goes_back_across_an_irreversible_hook():
    sim = hooked(MIGRATION)
    sim.run(minutes=2)
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    sim.run(minutes=1)
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=1)
    revision = sim.memory.live.stack.revision
    sim.order(Action.ROLLBACK, revision, "the dashboard is red")
    sim.run(seconds=10)
    sim.order(Action.ROLLBACK, revision, "it reads the new table, I looked", force=True)
    return sim.run(minutes=1)


def live_that_fails_waits_for_the_end_of_an_irreversible_hook():
    sim = hooked(a_hook("contract", "AfterSwitch", irreversible=True), contract=Task(takes=40, fails=True))
    sim.run_until(lambda s: s.ran, minutes=2)
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    return sim.run(minutes=2)


def job_that_a_quota_forbids():
    sim = hooked(FLUSH, flush_cache=Task(refused="exceeded quota: few, requested: count/jobs.batch=1"))
    sim.run(minutes=1)
    sim.tasks = {}
    return sim.run(minutes=1)


def retried_while_the_pod_of_the_last_attempt_ends():
    sim = hooked(a_hook(), migrate=Task(takes=0, ends_after=30))
    sim.run(seconds=5)
    revision = sim.memory.candidate.stack.revision
    sim.order(Action.ABORT, revision, "wrong table")
    sim.run(seconds=5)
    sim.order(Action.RETRY, revision, "the right one")
    return sim.run(seconds=40)


def aborted_while_its_hook_runs():
    sim = hooked(a_hook(), migrate=Task(takes=0))
    sim.run(seconds=5)
    sim.order(Action.ABORT, sim.memory.candidate.stack.revision, "wrong table")
    return sim.run(minutes=1)


def wanting(**asked):
    """Let version 2.0.0, applied by anna, wait for approval beside a proven 1.0.0."""
    sim = released("1.0.0")
    sim.apply(a_spec("2.0.0", approvals=[{"at": "BeforeSwitch", **asked}]))
    return sim.run(minutes=1)


def approved_by_a_second_person():
    sim = wanting()
    revision = sim.memory.candidate.stack.revision
    sim.order(Action.APPROVE, revision, "I wrote it", attempt=1, issued_by="anna")
    sim.run(seconds=10)
    sim.order(Action.APPROVE, revision, "smoke tests looked at", attempt=1, issued_by="bob")
    return sim.run(minutes=20)


def approval_for_another_revision_or_attempt():
    sim = wanting()
    older = sim.memory.candidate.stack.revision
    sim.apply(a_spec("3.0.0", approvals=[{"at": "BeforeSwitch"}]))
    sim.run(minutes=1)
    sim.order(Action.APPROVE, older, attempt=1, issued_by="bob")
    sim.run(seconds=1)
    sim.order(Action.APPROVE, sim.memory.candidate.stack.revision, attempt=2, issued_by="bob")
    return sim.run(minutes=1)


def nobody_approves_in_time():
    return wanting(timeout="1h").run(hours=2)


def approved_before_anything_is_done():
    sim = released("1.0.0")
    sim.apply(a_spec("2.0.0", hooks=[a_hook()], approvals=[{"at": "BeforeGreen", "required": 2}]))
    sim.run(hours=1)
    revision = sim.memory.candidate.stack.revision
    for who in ("bob", "bob", "carol"):
        sim.order(Action.APPROVE, revision, attempt=1, issued_by=who)
        sim.run(seconds=1)
    return sim.run(minutes=20)


def checked(**fields):
    """Return the spec of version 2.0.0 with one check, beside 1.0.0 that has none."""
    return a_spec("2.0.0", checks=[a_check("orders", **fields)])


FAILS = Finding(Verdict.FAILED, "HTTP 200, expect is false")
SAYS_NOTHING = Finding(Verdict.INCONCLUSIVE, "Prometheus gave no answer within 2 s")


def check_passes_in_verify_and_in_the_watch():
    sim = released("1.0.0")
    sim.apply(checked())
    return sim.run(minutes=20)


def check_fails_in_verify():
    sim = released("1.0.0")
    sim.findings["orders"] = FAILS
    sim.apply(checked())
    return sim.run(minutes=20)


def check_fails_in_the_watch():
    sim = released("1.0.0")
    sim.apply(checked())
    sim.run_until(lambda s: s.live == "2.0.0", minutes=1).run(minutes=1)
    sim.findings["orders"] = FAILS
    return sim.run(minutes=20)


def check_fails_in_the_watch_and_blue_is_bad():
    sim = released("1.0.0")
    sim.apply(checked())
    sim.run_until(lambda s: s.live == "2.0.0", minutes=1).run(minutes=1)
    sim.findings["orders"], sim.behaviours["backend:1.0.0"] = FAILS, Behaviour(healthy=False)
    sim.run(seconds=20)
    del sim.findings["orders"]
    return sim.run(minutes=20)


def check_says_nothing_in_verify():
    sim = released("1.0.0")
    sim.findings["orders"] = SAYS_NOTHING
    sim.apply(checked())
    return sim.run(minutes=20)


def check_says_nothing_in_the_watch():
    sim = released("1.0.0")
    sim.apply(checked(during=["Watch"]))
    sim.run_until(lambda s: s.live == "2.0.0", minutes=1).run(minutes=1)
    sim.findings["orders"] = SAYS_NOTHING
    sim.run(minutes=20)
    del sim.findings["orders"]
    return sim.run(minutes=1)


def check_that_is_only_reported_fails():
    sim = released("1.0.0")
    sim.findings["orders"] = FAILS
    sim.apply(checked(dryRun=True))
    return sim.run(minutes=20)


def check_is_measured_anew_after_a_restart():
    sim = released("1.0.0")
    sim.apply(checked())
    sim.run_until(lambda s: any(t.passed for t in s.tallies.values()), minutes=1)
    sim.restart()
    sim.run_until(lambda s: s.live == "2.0.0", minutes=1).run(minutes=14, seconds=50)
    sim.restart()
    return sim.run(minutes=2)


def crashes_that_a_check_allows():
    sim = released("1.0.0")
    sim.apply(a_spec("2.0.0", checks=[a_check("stable", pods={"restarts": 1})]))
    sim.run_until(lambda s: s.live == "2.0.0", minutes=1).run(minutes=1)
    pod = sim.pods_of(f"shop-backend-{names.digest(a_template(version='2.0.0'))}")[0].uid
    sim.crash(pod)
    sim.run(minutes=1)
    sim.crash(pod)
    return sim.run(minutes=1)


STORIES = [
    approved_by_a_second_person,
    approval_for_another_revision_or_attempt,
    nobody_approves_in_time,
    approved_before_anything_is_done,
    every_hook_of_a_release,
    hook_before_green_fails,
    hook_that_hangs_is_ended_by_the_cluster,
    hook_goes_on_across_a_restart,
    hook_that_runs_is_not_superseded,
    hook_after_the_switch_fails_and_rolls_back,
    blue_is_unwell_after_a_hook,
    nobody_goes_back_across_an_irreversible_hook,
    live_that_fails_waits_for_the_end_of_an_irreversible_hook,
    job_that_a_quota_forbids,
    retried_while_the_pod_of_the_last_attempt_ends,
    aborted_while_its_hook_runs,
    check_passes_in_verify_and_in_the_watch,
    check_fails_in_verify,
    check_fails_in_the_watch,
    check_fails_in_the_watch_and_blue_is_bad,
    check_says_nothing_in_verify,
    check_says_nothing_in_the_watch,
    check_that_is_only_reported_fails,
    check_is_measured_anew_after_a_restart,
    crashes_that_a_check_allows,
    first_release,
    upgrade_of_three_components,
    upgrade_of_one_component_of_three,
    adoption,
    crash_loop_refused,
    bad_health_refused_at_the_deadline,
    image_that_cannot_be_pulled,
    bad_after_switch_rolled_back,
    both_sides_bad,
    dead_after_its_watch_rolled_back,
    rollback_by_command,
    rollback_by_manifest,
    rollback_during_the_watch,
    supersede_during_verify,
    supersede_during_watch,
    rolled_back_while_the_next_verifies,
    settings_only,
    settings_only_during_the_watch,
    scaled,
    half_a_switch_aborted,
    half_a_switch_rolled_back,
    half_a_switch_completed,
    half_a_switch_across_an_irreversible_hook_waits_for_its_candidate,
    half_a_switch_across_an_irreversible_hook_undone_by_force,
    half_a_switch_undone_at_the_first_release,
    superseded_in_the_middle_of_a_switch,
    retire_after_retention,
    latched_applied_again_then_retried,
    typo_during_the_watch,
    paused_and_resumed,
    selector_changed_by_others,
    live_deployment_deleted,
    release_deleted_and_made_anew,
    frozen_before_start,
    frozen_during_verify,
    frozen_in_the_middle_of_a_switch,
    freeze_overridden_by_two,
    rolled_back_in_a_freeze,
    adoption_in_a_freeze,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_story_is_told_as_written_and_then_the_operator_is_silent(golden, story):
    sim = story()
    golden(story.__name__, sim.transcript)
    seen = sim.version
    sim.restart()
    sim.run(seconds=30)
    assert seen == sim.version, sim.transcript
