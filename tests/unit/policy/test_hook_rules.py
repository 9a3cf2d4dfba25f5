"""When a hook runs, what it waits for, what waits for it, and when its Job goes."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import acts, signals
from tradingrelease.policy.model import (
    ConfirmGone,
    CreateJob,
    DeleteJob,
    HookRun,
    JobRefused,
    Latched,
    Left,
    Paused,
    Record,
    Rest,
    StartJob,
    WebhookLeft,
)
from tradingrelease.policy.reasons import Cause, Moment, Outcome, Progress
from tradingrelease.policy.rules import hooks as rules

from tests.builders import NOW, a_hook, a_release, a_spec, a_stack, parsed, rejected
from tests.unit.policy.test_hooks import CALLED, WEBHOOK, a_job, begun, in_its_watch, pod_of, revision_of, running

SECOND = timedelta(seconds=1)


def green(world, now=NOW):
    """Return what comes before green."""
    decision = rules.hooks_come_before_green(world, now)
    assert decision is None or decision.rule == "hooks_come_before_green"
    return decision


def remembering(world, **changes):
    return replace(world, memory=replace(world.memory, **changes))


# --- what a hook waits for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "rule"),
    [("BeforeGreen", rules.hooks_come_before_green), ("BeforeSwitch", rules.hooks_come_before_the_switch)],
)
def test_in_a_pause_no_hook_of_a_candidate_begins(at, rule):
    world = remembering(begun(a_hook(at=at))[0], paused=Paused(NOW, "", "order"))
    decision = rule(world, NOW)
    assert (decision.rule, type(decision.step), decision.reason) == (rule.__name__, Rest, "Paused")
    assert isinstance(rule(remembering(world, paused=None), NOW).step, CreateJob)


def test_a_pause_keeps_nothing_back_that_follows_a_switch():
    run = HookRun("flush", Moment.AFTER_SWITCH)
    world = in_its_watch(a_hook("flush", "AfterSwitch"), run)
    paused = remembering(world, paused=Paused(NOW, "", "order"))
    assert isinstance(rules.hooks_follow_the_switch(paused, NOW).step, CreateJob)


def test_one_hook_of_a_release_runs_at_a_time():
    world, _ = begun(a_hook())
    runs = (HookRun("flush", Moment.AFTER_SWITCH, Progress.RUNNING, started_at=NOW),)
    held = green(remembering(world, live=replace(world.memory.live, hooks=runs)))
    assert (type(held.step), held.reason) == (Rest, "HookRunning")
    assert held.because == "hook migrate of version 2.0.0 waits: hook flush of version 1.0.0 still runs"


def test_a_hook_waits_for_the_receiver_of_a_webhook_that_was_given_up():
    left = WebhookLeft("smoke", "0.9.0", NOW + 9 * SECOND)
    held = green(remembering(begun(a_hook())[0], webhook_left=left))
    assert (held.reason, held.look_again) == ("HookRunning", 9 * SECOND)
    assert "the receiver of webhook smoke of version 0.9.0 may work on it until 12:00:09 UTC" in held.because


@pytest.mark.parametrize(
    ("fields", "waits"),
    [
        ({"suspended": False}, "Job earlier of an earlier attempt still runs"),
        ({"suspended": True}, ""),
        ({"suspended": False, "ended": True}, ""),
    ],
    ids=str,
)
def test_a_hook_waits_for_the_job_of_an_earlier_attempt(fields, waits):
    world, _ = begun(a_hook(), jobs=[a_job("x", name="earlier", uid="earlier", **fields)])
    decision = green(world)
    assert (decision.reason, waits in decision.because) == ("HookRunning" if waits else "HookPreparing", True)


@pytest.mark.parametrize(
    ("job", "named"),
    [(None, "pod"), ({}, "Job"), ({"ending": "DeadlineExceeded"}, "pod"), ({"deleting": True}, "pod")],
)
def test_a_pod_is_named_where_its_job_is_gone_or_on_its_way(job, named):
    earlier = a_job("x", name="earlier", uid="earlier", suspended=False, **(job or {}))
    world, _ = begun(a_hook(), jobs=[earlier] if job is not None else [])
    decision = green(replace(world, pods=(*world.pods, pod_of(earlier))))
    assert (type(decision.step), decision.reason) == (Rest, "HookRunning")
    assert decision.because.startswith(f"hook migrate of version 2.0.0 waits: {named} ")


@pytest.mark.parametrize(
    ("seconds", "reason", "stalled"),
    [(0, "HookRunning", False), (299, "HookRunning", False), (300, "HookPodStuck", True), (3000, "HookPodStuck", True)],
)
def test_a_pod_that_was_told_to_end_is_waited_for_five_minutes_before_a_person_is_told(seconds, reason, stalled):
    earlier = a_job("x", name="earlier", uid="earlier", suspended=False)
    pod = replace(pod_of(earlier), terminating=True)
    world, _ = begun(a_hook())
    since = {**world.since, signals.ending(pod.uid): NOW - seconds * SECOND}
    held = green(replace(world, pods=(*world.pods, pod), since=since))
    assert (type(held.step), held.reason, held.stalled) == (Rest, reason, stalled)
    assert held.look_again == (None if stalled else (300 - seconds) * SECOND)


def test_a_pod_that_nobody_told_to_end_has_no_time_at_which_to_look_again():
    earlier = a_job("x", name="earlier", uid="earlier", suspended=False)
    world, _ = begun(a_hook())
    held = green(replace(world, pods=(*world.pods, pod_of(earlier))))
    assert (held.reason, held.look_again) == ("HookRunning", None)


def test_beside_no_live_nobody_is_asked_whether_a_hook_harmed_it():
    """What a hook before the first release of all did can harm no blue."""
    done = HookRun("migrate", Moment.BEFORE_GREEN, Progress.SUCCEEDED, started_at=NOW, finished_at=NOW)
    assert green(begun(a_hook(), run=done, live="")[0]) is None
    assert green(begun(a_hook(), run=done)[0]).reason == "AskingBlue"


# --- how a run begins -------------------------------------------------------------------------------------------------


def test_the_job_of_an_attempt_is_begun_by_its_uid_and_said_once():
    world, revision = begun(a_hook(), jobs=[a_job(revision_of(a_hook()))])
    decision = green(world)
    assert (decision.reason, [(n.reason, n.warning) for n in decision.notes]) == (
        "HookStarted",
        [("HookStarted", False)],
    )
    assert decision.memory.candidate.hooks == (
        HookRun("migrate", Moment.BEFORE_GREEN, Progress.RUNNING, "", NOW, None, f"shop-migrate-{revision}-1", "uid-job"),
    )  # fmt: skip


@pytest.mark.parametrize("fields", [{"deleting": True}, {"release_uid": "another"}], ids=str)
def test_a_job_of_that_name_that_is_another_or_goes_is_waited_for(fields):
    world, _ = begun(a_hook(), jobs=[a_job(revision_of(a_hook()), ended=True, suspended=False, **fields)])
    decision = green(world)
    assert (type(decision.step), decision.reason, decision.memory) == (Rest, "HookPreparing", None)
    assert decision.look_again == SECOND


def test_a_webhook_begins_without_a_job_and_shows_only_its_host():
    decision = green(begun(a_hook(webhook=WEBHOOK))[0])
    (run,) = decision.memory.candidate.hooks
    assert (run.phase, run.started_at, run.job, run.job_uid) == (Progress.RUNNING, NOW, "", "")
    assert decision.notes[0].message.endswith("starts: https://hooks.example.com is called")


def refused(ago, since=5, message="", **hook):
    """Return what is decided where the Job cannot be created since, and as of the last answer `ago`."""
    run = HookRun("migrate", Moment.BEFORE_GREEN, message=message)
    world, revision = begun(a_hook(**hook), run=run)
    answer = JobRefused("JobForbidden", "quota", NOW - since * SECOND, NOW - ago * SECOND)
    return green(replace(world, jobs_refused={f"shop-migrate-{revision}-1": answer}))


def test_a_job_that_cannot_be_created_is_told_once_and_then_waited_with():
    told = refused(1)
    assert (told.reason, [(n.reason, n.warning) for n in told.notes]) == ("JobForbidden", [("JobForbidden", True)])
    assert told.memory.candidate.hooks[0].message == "JobForbidden: quota"
    then = refused(1, message="JobForbidden: quota")
    assert (then.reason, then.memory, then.notes) == ("JobForbidden", None, ())
    assert then.look_again == rules.RETRY - SECOND
    assert isinstance(refused(rules.RETRY / SECOND).step, CreateJob), "tried again"


def test_a_job_that_was_created_after_all_begins_and_what_was_said_of_it_is_forgotten():
    revision = revision_of(a_hook())
    run = HookRun("migrate", Moment.BEFORE_GREEN, message="JobForbidden: quota")
    world, _ = begun(a_hook(), run=run, jobs=[a_job(revision)])
    answer = JobRefused("JobForbidden", "quota", NOW - SECOND, NOW)
    decision = green(replace(world, jobs_refused={f"shop-migrate-{revision}-1": answer}))
    (begins,) = decision.memory.candidate.hooks
    assert (begins.phase, begins.message) == (Progress.RUNNING, "")


def test_its_time_is_up_when_its_timeout_is_though_it_would_be_tried_later():
    known = {"message": "JobForbidden: quota"}
    assert refused(1, since=58, timeout="60s", **known).look_again == 2 * SECOND
    assert refused(1, since=70, timeout="60s", **known).look_again == timedelta(0)


# --- while it runs ----------------------------------------------------------------------------------------------------


def goes_on(seconds, *pods, hook=None, **fields):
    """Return what is decided so many seconds after a run of a minute began."""
    revision = revision_of(hook or a_hook(timeout="1m"))
    job = a_job(revision, suspended=False, **fields)
    world = begun(hook or a_hook(timeout="1m"), run=replace(running(revision), started_at=NOW), jobs=[job])[0]
    return green(replace(world, pods=(*world.pods, *(pod(job) for pod in pods))), NOW + seconds * SECOND)


def test_a_run_is_looked_at_when_its_pod_is_due_and_when_its_time_is_up():
    assert goes_on(4, pod_of).look_again == timedelta(seconds=6.1)
    assert goes_on(10, pod_of).look_again == timedelta(seconds=90.1)
    assert goes_on(200, pod_of).look_again == timedelta(seconds=0.1)
    assert (goes_on(4, pod_of).reason, goes_on(4, pod_of).memory) == ("HookRunning", None)
    webhook = a_hook(webhook=WEBHOOK, timeout="1m")
    called = green(begun(webhook, run=replace(CALLED, started_at=NOW))[0], NOW + SECOND)
    assert called.look_again == timedelta(seconds=59.1)
    assert called.because.endswith("runs: https://hooks.example.com")


def test_a_job_that_lost_its_label_is_read_often_and_its_author_told():
    assert "it lost its label" not in goes_on(20, pod_of).because
    lost = goes_on(20, pod_of, labelled=False)
    assert ("it lost its label" in lost.because, lost.look_again) == (True, timedelta(seconds=5.1))


@pytest.mark.parametrize(
    ("job", "gone", "step"),
    [
        ({"suspended": True}, "", StartJob),
        ({"suspended": False}, "", None),
        ({"suspended": True, "ended": True}, "", None),
        ({"uid": "another"}, "", ConfirmGone),
        ({"uid": "another"}, "uid-job", None),
        (None, "", ConfirmGone),
        (None, "uid-job", None),
    ],
    ids=str,
)
def test_only_the_very_job_that_is_remembered_is_started_and_it_alone_is_looked_for(job, gone, step):
    revision = revision_of(a_hook())
    jobs = [] if job is None else [a_job(revision, **job)]
    world, _ = begun(a_hook(), run=running(revision), jobs=jobs, job_gone=gone)
    decision = rules.a_hook_begun_runs(world, NOW)
    assert (decision and type(decision.step)) == step
    assert decision is None or decision.rule == "a_hook_begun_runs"


@pytest.mark.parametrize(("ago", "step"), [(1, Rest), (9, Rest), (10, StartJob), (11, StartJob)])
def test_a_start_that_was_refused_is_tried_again_after_its_time_and_not_before(ago, step):
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), run=running(revision), jobs=[a_job(revision)])
    answer = JobRefused("AdmissionFailing", "no answer", NOW - timedelta(minutes=1), NOW - ago * SECOND)
    decision = rules.a_hook_begun_runs(replace(world, jobs_refused={f"shop-migrate-{revision}-1": answer}), NOW)
    assert type(decision.step) is step
    assert step is StartJob or decision.look_again == (10 - ago) * SECOND


def test_a_job_is_looked_for_and_started_also_where_its_spec_is_gone():
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), run=running(revision), jobs=[a_job(revision, suspended=False)])
    bare = replace(world, stored={})
    assert rules.a_hook_begun_runs(bare, NOW + timedelta(hours=9)) is None
    assert rules.a_hook_begun_runs(replace(bare, jobs={}), NOW).reason == "Confirming"
    pending = replace(begun(a_hook())[0], stored={})
    assert green(pending) is None


def test_of_a_webhook_no_job_is_looked_for():
    assert rules.a_hook_begun_runs(begun(a_hook(webhook=WEBHOOK), run=CALLED, job_gone="other")[0], NOW) is None
    assert rules.a_hook_begun_runs(begun(a_hook())[0], NOW) is None


@pytest.mark.parametrize(("seconds", "read", "asks"), [(99, None, False), (100, None, True), (100, 100, False)])
def test_a_job_whose_time_is_up_is_read_before_that_is_said(seconds, read, asks):
    hook = a_hook(timeout="1m")
    revision = revision_of(hook)
    run = replace(running(revision), started_at=NOW)
    job_read = read and ("uid-job", NOW + read * SECOND)
    world, _ = begun(hook, run=run, jobs=[a_job(revision, suspended=False)], job_read=job_read)
    decision = rules.a_hook_begun_runs(world, NOW + seconds * SECOND)
    assert (decision and decision.reason) == ("Confirming" if asks else None)
    over = {name: replace(job, ended=True) for name, job in world.jobs.items()}
    assert rules.a_hook_begun_runs(replace(world, jobs=over), NOW + seconds * SECOND) is None


# --- after the switch -------------------------------------------------------------------------------------------------


def test_what_follows_a_switch_begins_when_it_is_read_back_and_goes_on_whatever_is_read_then():
    hook = a_hook("flush", "AfterSwitch")
    world = in_its_watch(hook, HookRun("flush", Moment.AFTER_SWITCH))
    assert isinstance(rules.hooks_follow_the_switch(world, NOW).step, CreateJob)
    dark = replace(world, endpoints={})
    assert rules.hooks_follow_the_switch(dark, NOW) is None
    on = HookRun("flush", Moment.AFTER_SWITCH, Progress.RUNNING, started_at=NOW, job="j", job_uid="u")
    decision = rules.hooks_follow_the_switch(replace(in_its_watch(hook, on), endpoints={}), NOW)
    assert (decision.rule, decision.reason) == ("hooks_follow_the_switch", "HookRunning")
    over = replace(on, phase=Progress.SUCCEEDED)
    assert rules.hooks_follow_the_switch(in_its_watch(hook, over), NOW) is None
    assert rules.hooks_follow_the_switch(a_release().world(), NOW) is None


def test_of_what_follows_a_switch_the_next_begins_though_an_endpoint_is_dark_by_then():
    written = [a_hook("flush", "AfterSwitch"), a_hook("warm", "AfterSwitch")]
    over = HookRun("flush", Moment.AFTER_SWITCH, Progress.SUCCEEDED, started_at=NOW, finished_at=NOW)
    world = in_its_watch(None, over, raw=a_spec("2.0.0", hooks=written))
    live = replace(world.memory.live, hooks=(over, HookRun("warm", Moment.AFTER_SWITCH)))
    step = rules.hooks_follow_the_switch(remembering(replace(world, endpoints={}), live=live), NOW).step
    assert "-warm-" in step.name


def test_nothing_follows_a_switch_while_another_act_is_under_way():
    world = in_its_watch(a_hook("flush", "AfterSwitch"), HookRun("flush", Moment.AFTER_SWITCH))
    live = world.memory.live
    record = Record(2, Cause.ROLLBACK, "blue", live.stack.revision, live.stack.members[0].revision, "x", NOW, "why")
    on = replace(world, services={"backend": replace(world.services["backend"], record=record)})
    assert acts.unfinished(on)
    assert rules.hooks_follow_the_switch(on, NOW) is None


def test_a_run_of_live_begins_as_lives_though_a_candidate_has_come():
    world = in_its_watch(a_hook("flush", "AfterSwitch"), HookRun("flush", Moment.AFTER_SWITCH))
    job = a_job(world.memory.live.stack.revision, "flush")
    candidate = a_release().candidate("3.0.0").memory.candidate
    memory = rules.hooks_follow_the_switch(
        remembering(replace(world, jobs={job.name: job}), candidate=candidate), NOW
    ).memory
    assert (memory.live.hooks[0].phase, memory.candidate) == (Progress.RUNNING, candidate)


def test_after_a_rollback_only_what_follows_a_rollback_runs():
    raw = a_spec("2.0.0", hooks=[a_hook("flush", "AfterSwitch"), a_hook("warm", "AfterRollback")])
    spec = parsed(raw)
    world = a_release().live("1.0.0").world()
    left = Left(spec.revision, "2.0.0", 1)
    runs = (HookRun("flush", Moment.AFTER_SWITCH), HookRun("warm", Moment.AFTER_ROLLBACK))
    world = remembering(world, live=replace(world.memory.live, left=left, hooks=runs))
    world = replace(world, stored={**world.stored, spec.revision: spec})
    assert "-warm-" in rules.hooks_follow_the_switch(world, NOW).step.name


@pytest.mark.parametrize(
    ("at", "phase", "failure", "goes"),
    [
        ("AfterSwitch", Progress.FAILED, "Fail", True),
        ("AfterSwitch", Progress.FAILED, "Continue", False),
        ("AfterSwitch", Progress.SUCCEEDED, "Fail", False),
        ("BeforeSwitch", Progress.FAILED, "Fail", False),
    ],
)
def test_live_has_to_go_for_a_hook_that_failed_after_its_switch(at, phase, failure, goes):
    run = HookRun("flush", Moment(at), phase, "it broke", NOW, NOW)
    world = in_its_watch(a_hook("flush", at, onFailure=failure), run)
    said = rules.failed_after_switch(world, world.memory.live)
    assert said == ("hook flush failed: it broke" if goes else "")


@pytest.mark.parametrize(
    ("at", "phase", "lacks"),
    [
        ("BeforeGreen", Progress.PENDING, ("HookPending", "hook migrate (BeforeGreen) is pending")),
        ("BeforeSwitch", Progress.RUNNING, ("HookRunning", "hook migrate (BeforeSwitch) is running")),
        ("BeforeSwitch", Progress.SUCCEEDED, None),
        ("AfterSwitch", Progress.PENDING, None),
    ],
)
def test_a_candidate_lacks_the_hooks_that_come_before_its_switch(at, phase, lacks):
    world, _ = begun(a_hook(at=at), run=HookRun("migrate", Moment(at), phase))
    assert rules.lacking(world) == lacks
    assert rules.lacking(a_release().live().world()) is None


# --- what waits for a hook --------------------------------------------------------------------------------------------


def asked_for(version, run=None, **changes):
    """Return a world whose spec asks for a version while a hook of the candidate 2.0.0 is as told."""
    world, _ = begun(a_hook(), run=run or replace(CALLED, job="j", job_uid="u"))
    return remembering(replace(world, spec=parsed(a_spec(version))), **changes)


def waits(world):
    decision = rules.a_running_hook_ends_first(world, NOW)
    assert decision is None or decision.rule == "a_running_hook_ends_first"
    return decision and decision.reason


def test_what_is_asked_for_waits_for_a_hook_of_another_revision():
    assert waits(asked_for("3.0.0")) == "HookRunning"
    assert waits(replace(asked_for("3.0.0"), spec=rejected({"version": "oops"}))) is None
    own = begun(a_hook(), run=CALLED)[0]
    assert waits(own) is None
    assert waits(asked_for("3.0.0", live=None)) == "HookRunning", "at the first release too"
    pending = HookRun("migrate", Moment.BEFORE_GREEN)
    assert waits(asked_for("3.0.0", pending)) is None
    failed = replace(CALLED, phase=Progress.FAILED)
    assert waits(asked_for("3.0.0", failed)) == "HookFailed"


def test_a_rollback_by_manifest_waits_for_no_hook():
    kept = replace(a_release().promoted().memory.retained[0], stack=a_stack("0.9.0"))
    assert waits(asked_for("0.9.0", retained=(kept,))) is None
    assert waits(asked_for("3.0.0", retained=(kept,))) == "HookRunning"


def test_nothing_waits_beside_live_where_nothing_begins():
    """What the spec asks for is live already, or has failed: to say that it waits for a hook would mislead."""
    world = in_its_watch(a_hook("flush", "AfterSwitch"), HookRun("flush", Moment.AFTER_SWITCH, Progress.RUNNING))
    assert waits(world) is None
    latch = Latched(a_stack("3.0.0"), "CrashLoop", "", NOW)
    other = replace(world, spec=parsed(a_spec("3.0.0")))
    assert waits(other) == "HookRunning"
    assert waits(remembering(other, latched=(latch,))) is None
    assert waits(asked_for("3.0.0", latched=(latch,))) == "HookRunning", "a candidate is not superseded meanwhile"


# --- what cannot be undone --------------------------------------------------------------------------------------------


def unsafe(**more):
    target = replace(a_release().promoted().memory.retained[0], unsafe="hook migrate cannot be undone")
    return remembering(a_release().promoted().world(), retained=(target,), **more), target


def test_live_that_fails_is_held_and_looked_at_again_where_nobody_goes_back():
    world, target = unsafe()
    held = rules.halted(world, target, "it is dead", "live_is_healthy")
    assert (held.rule, held.reason, held.look_again) == ("live_is_healthy", "RollbackUnsafe", 5 * SECOND)
    assert held.because == (
        "it is dead; hook migrate cannot be undone: only a Rollback ordered with force goes back to version 1.0.0"
    )
    assert held.stalled
    assert rules.halted(world, replace(target, unsafe=""), "it is dead", "x") is None


def test_a_manifest_that_asks_for_what_nobody_goes_back_to_supersedes_and_is_refused():
    world, target = unsafe()
    refused = rules.not_by_manifest(world, target, NOW, "spec_has_its_candidate")
    assert (refused.reason, refused.stalled, refused.memory) == ("RollbackUnsafe", True, None)
    candidate = a_release().candidate("3.0.0").memory.candidate
    world, target = unsafe(candidate=candidate)
    given_up = rules.not_by_manifest(world, target, NOW, "spec_has_its_candidate")
    assert (given_up.rule, given_up.reason) == ("spec_has_its_candidate", "Superseded")
    assert (given_up.memory.candidate, given_up.memory.history[0].outcome) == (None, Outcome.SUPERSEDED)
    assert given_up.memory.history[0].reason == "Superseded: version 1.0.0 was asked for"
    assert rules.not_by_manifest(world, replace(target, unsafe=""), NOW, "x") is None


def test_a_mark_is_written_onto_every_deployment_of_what_nobody_goes_back_to_and_onto_live():
    world, target = unsafe()
    step = rules.what_is_unsafe_is_annotated(world, NOW).step
    assert step.deployment == world.deployment("backend", target.stack.members[0].revision).name
    live = remembering(world, retained=(), live=replace(world.memory.live, unsafe="why"))
    decision = rules.what_is_unsafe_is_annotated(live, NOW)
    assert (decision.rule, decision.reason) == ("what_is_unsafe_is_annotated", "RollbackUnsafe")
    assert decision.step.deployment == world.deployment("backend", world.memory.live.stack.members[0].revision).name
    assert rules.what_is_unsafe_is_annotated(replace(live, deployments={}), NOW) is None
    assert rules.what_is_unsafe_is_annotated(remembering(world, retained=(), live=None), NOW) is None
    assert rules.what_is_unsafe_is_annotated(a_release().promoted().world(), NOW) is None
    unread = {name: replace(d, unsafe={target.stack.revision: "why"}) for name, d in world.deployments.items()}
    safe = remembering(replace(world, deployments=unread), retained=(replace(target, unsafe="", forced_at=None),))
    assert rules.what_is_unsafe_is_annotated(safe, NOW) is None, "only what was gone back to by force loses a mark"


# --- when a Job goes --------------------------------------------------------------------------------------------------


def goes(*jobs, **memory):
    world = remembering(replace(a_release().live().world(), jobs={j.name: j for j in jobs}), **memory)
    decision = rules.jobs_go(world, NOW)
    assert decision is None or (decision.rule, decision.reason) == ("jobs_go", "Tidying")
    return decision and decision.step


LATE = timedelta(seconds=30 + 10)


@pytest.mark.parametrize(
    ("fields", "deleted"),
    [
        ({"suspended": True}, True),
        ({"suspended": True, "deleting": True}, False),
        ({"suspended": False}, False),
        ({"suspended": False, "ends_at": NOW - LATE}, False),
        ({"suspended": False, "ends_at": NOW - LATE - SECOND}, True),
        ({"suspended": False, "ends_at": NOW - LATE - SECOND, "ending": "DeadlineExceeded"}, False),
        ({"suspended": False, "ends_at": NOW - LATE - SECOND, "grace": timedelta(seconds=31)}, False),
    ],
    ids=str,
)
def test_a_job_that_no_run_waits_for_goes_unless_it_ends_by_itself(fields, deleted):
    job = a_job("x", **fields)
    assert goes(job) == (DeleteJob(job.name, job.uid, job.version) if deleted else None)


def test_what_a_job_may_have_done_is_remembered_before_it_goes():
    job = a_job("x", suspended=False, irreversible="hook m cannot be undone", ends_at=NOW - LATE - SECOND)
    world = replace(a_release().promoted().world(), jobs={job.name: job})
    decision = rules.jobs_go(world, NOW)
    assert (decision.rule, decision.reason, decision.step) == ("jobs_go", "Tidying", Rest())
    assert rules.jobs_go(replace(world, memory=decision.memory), NOW).step == DeleteJob(job.name, job.uid, job.version)


def test_a_job_that_goes_by_itself_keeps_no_other():
    going = a_job("x", name="a", uid="a", suspended=True, deleting=True)
    assert goes(going, a_job("x", name="b", uid="b", suspended=True)).name == "b"


@pytest.mark.parametrize(
    ("attempt", "fields", "deleted"),
    [("1", {}, False), ("2", {}, True), ("2", {"deleting": True}, False), ("2", {"ended": False}, False)],
    ids=str,
)
def test_the_jobs_of_attempts_that_history_knows_are_kept(attempt, fields, deleted):
    entry = replace(a_release().live().memory.history[0], revision="x", attempt=1)
    job = a_job("x", attempt=attempt, **{"suspended": False, "ended": True, **fields})
    assert (goes(job, history=(entry,)) is not None) is deleted
