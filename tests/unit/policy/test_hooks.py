"""Hooks: what is created, what starts it, what came of it, and what no rollback crosses."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import hooks, names
from tradingrelease.policy.blue import asks_blue
from tradingrelease.policy.conditions import compute
from tradingrelease.policy.decide import decide
from tradingrelease.policy.measurements import Incident, Kind, Page
from tradingrelease.policy.model import (
    Called,
    ConfirmGone,
    CreateDeployment,
    CreateJob,
    DeleteJob,
    HistoryEntry,
    HookRun,
    Job,
    Rest,
    StartJob,
    StoreSpec,
    Switch,
)
from tradingrelease.policy.reasons import Action, Cause, Condition, Moment, Outcome, Progress
from tradingrelease.policy.rules import hooks as rules

from tests.builders import (
    KEY,
    NOW,
    UID,
    a_check,
    a_component,
    a_container,
    a_deployment,
    a_hook,
    a_pod,
    a_release,
    a_service,
    a_spec,
    parsed,
    rejected,
)
from tests.simulator import Behaviour, Simulator, Task

WEBHOOK = {"url": "https://hooks.example.com/smoke"}


def a_job(revision, hook="migrate", **fields):
    """Return the Job of a hook, as it stands after its creation."""
    given = {
        "name": f"shop-{hook}-{revision}-1", "uid": "uid-job", "version": 7, "hook": hook, "revision": revision, "attempt": "1",
        "release_uid": UID, "suspended": True, "ends_at": None, "ended": False, "failed": False, "reason": "", "message": "",
    }  # fmt: skip
    return Job(**{**given, **fields})


def begun(*written, run=None, jobs=(), live="1.0.0", **changes):
    """Return a world in which version 2.0.0 with hooks has just become the candidate."""
    raw = a_spec("2.0.0", hooks=list(written))
    spec = parsed(raw)
    held = a_release()
    held = held.live(live) if live else held
    held = held.candidate("2.0.0")
    runs = hooks.begun(spec)
    if run:
        runs = tuple(run if r.name == run.name else r for r in runs)
    stack = replace(held.memory.candidate.stack, revision=spec.revision)
    candidate = replace(held.memory.candidate, stack=stack, hooks=runs)
    held = replace(
        held, asked=raw, memory=replace(held.memory, candidate=candidate), stored=held.stored | {spec.revision: spec}
    )
    green = {name: d for name, d in held.deployments.items() if d.created_version != "2.0.0"}
    held = replace(
        held,
        deployments=green,
        pods=tuple(p for p in held.pods if any(d.uid == p.deployment_uid for d in green.values())),
    )
    world = replace(held.world(), webhook_hosts=frozenset({"hooks.example.com"}), **changes)
    known = {s.revision for s in (world.memory.live and world.memory.live.stack, stack) if s}
    stored = {r: s for r, s in world.stored.items() if r in known}
    services = {n: s for n, s in world.services.items() if not s.preview_of}
    world = replace(world, stored=stored, services=services)
    return replace(world, jobs={j.name: j for j in jobs}), spec.revision


def revision_of(*written):
    return parsed(a_spec("2.0.0", hooks=list(written))).revision


RUNNING = HookRun("migrate", Moment.BEFORE_GREEN, Progress.RUNNING, started_at=NOW - timedelta(seconds=5))


def running(revision):
    return replace(RUNNING, job=f"shop-migrate-{revision}-1", job_uid="uid-job")


def run_of(memory, name="migrate"):
    return next(r for r in memory.candidate.hooks if r.name == name)


# --- starting ---------------------------------------------------------------------------------------------------------


def test_a_job_is_created_suspended_before_anything_is_deployed():
    world, revision = begun(a_hook())
    step = decide(world, NOW).step
    assert (type(step), step.name) == (CreateJob, f"shop-migrate-{revision}-1")
    assert step.body["spec"]["suspend"] is True
    assert step.body["metadata"]["ownerReferences"][0]["uid"] == UID


def test_the_uid_of_a_job_is_remembered_before_it_may_run():
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), jobs=[a_job(revision)])
    decision = decide(world, NOW)
    assert isinstance(decision.step, Rest)
    run = run_of(decision.memory)
    assert (run.phase, run.job_uid, run.started_at) == (Progress.RUNNING, "uid-job", NOW)
    after = decide(replace(world, memory=decision.memory), NOW).step
    assert StartJob(f"shop-migrate-{revision}-1", "uid-job", 7) == after


def test_a_job_that_is_not_seen_is_looked_for_before_it_is_said_to_be_gone():
    """A watch of Jobs may be behind that of releases: another operator may have created it a moment ago."""
    world, revision = begun(a_hook(), run=running(revision_of(a_hook())))
    assert decide(world, NOW).step == ConfirmGone(f"shop-migrate-{revision}-1", "uid-job")
    older = replace(world, job_gone="uid-of-a-job-before")
    assert isinstance(decide(older, NOW).step, ConfirmGone)


def test_a_job_that_is_gone_after_its_uid_was_remembered_is_not_made_again():
    world, _ = begun(a_hook(), run=running(revision_of(a_hook())), job_gone="uid-job")
    decision = decide(world, NOW)
    assert decision.memory.candidate is None
    assert "JobGone" in decision.memory.latched[0].message


def test_another_job_of_that_name_is_never_started():
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), run=running(revision), jobs=[a_job(revision, uid="another")])
    assert isinstance(decide(world, NOW).step, ConfirmGone)
    assert "JobGone" in decide(replace(world, job_gone="uid-job"), NOW).memory.latched[0].message


def test_the_job_of_a_release_of_that_name_before_this_one_goes_first():
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), jobs=[a_job(revision, release_uid="older", ended=True, suspended=False)])
    decision = decide(world, NOW)
    assert (type(decision.step), decision.reason) == (Rest, "HookPreparing")


def test_no_hook_starts_while_the_release_is_paused():
    world, _ = begun(a_hook())
    paused = a_release().live().paused().memory.paused
    decision = decide(replace(world, memory=replace(world.memory, paused=paused)), NOW)
    assert (type(decision.step), decision.reason) == (Rest, "Paused")


def test_a_hook_waits_for_a_job_of_an_earlier_attempt_that_still_runs():
    revision = revision_of(a_hook())
    earlier = a_job(revision, name=f"shop-migrate-{revision}-0", uid="earlier", suspended=False)
    world, _ = begun(a_hook(), jobs=[earlier])
    decision = decide(world, NOW)
    assert (type(decision.step), decision.reason) == (Rest, "HookRunning")


def hung(ends_after, timeout="1m"):
    """Let the migration of 2.0.0 run, whose pod takes its time to end when it is told to."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = {"migrate": Task(takes=0, ends_after=ends_after)}
    sim.apply(a_spec("2.0.0", hooks=[a_hook(timeout=timeout)]))
    sim.run_until(lambda s: s.ran, minutes=1)
    return sim


def test_no_hook_begins_beside_the_pods_of_an_attempt_that_was_aborted():
    sim = hung(30)
    revision = sim.memory.candidate.stack.revision
    sim.order(Action.ABORT, revision)
    sim.run(seconds=1)
    sim.order(Action.RETRY, revision)
    sim.run(seconds=20)
    assert (len(sim.ran), sim.condition(Condition.READY)[1]) == (1, "HookRunning")
    assert any("has not ended; if its node is gone for good: kubectl -n production delete pod" in x for x in sim.lines)
    sim.run_until(lambda s: len(s.ran) == 2, minutes=1)


def test_a_hook_that_does_not_end_when_told_to_keeps_its_job_and_says_why_it_ended():
    sim = hung(30)
    sim.run_until(lambda s: s.memory.latched, minutes=3)
    assert "DeadlineExceeded" in sim.memory.latched[0].message
    sim.run(minutes=1)
    assert [job.reason for job in sim.jobs.values()] == ["DeadlineExceeded"]


def test_a_job_whose_pods_do_not_end_in_their_grace_says_why_too_and_nothing_begins_beside_them():
    sim = hung(600)
    revision = sim.memory.candidate.stack.revision
    sim.run_until(lambda s: s.memory.latched, minutes=3)
    assert "DeadlineExceeded; its pods have not ended yet; its logs: kubectl" in sim.memory.latched[0].message
    sim.order(Action.RETRY, revision)
    sim.run(minutes=3)
    assert (len(sim.ran), sim.condition(Condition.READY)[1]) == (1, "HookRunning")
    assert "delete pod" in "\n".join(sim.lines[-3:])
    sim.run_until(lambda s: len(s.ran) == 2, minutes=12)


def test_a_pod_that_does_not_end_is_waited_for_and_after_a_while_told_to_a_person():
    """It may run on a node that nobody hears of: no second one beside it, however long that takes."""
    sim = hung(3600)
    sim.order(Action.ABORT, sim.memory.candidate.stack.revision)
    sim.run(seconds=1)
    sim.order(Action.RETRY, sim.memory.latched[0].stack.revision)
    sim.run(minutes=4)
    assert sim.condition(Condition.STALLED)[0] == "False"
    sim.run(minutes=2)
    assert sim.condition(Condition.STALLED) == ("True", "HookPodStuck")
    assert "delete pod" in next(c["message"] for c in sim.status["conditions"] if c["type"] == "Stalled")
    sim.run(minutes=40)
    assert len(sim.ran) == 1
    (pod,) = sim.hook_pods
    del sim.hook_pods[pod], sim.ends[pod]  # as `kubectl delete pod --force` does
    sim.run(minutes=1)
    assert len(sim.ran) == 2
    assert sim.condition(Condition.STALLED)[0] == "False"


def test_hooks_of_one_moment_run_in_the_order_of_the_list():
    world, _ = begun(a_hook("second"), a_hook("first"))
    assert decide(world, NOW).step.body["metadata"]["labels"][names.HOOK] == "second"


# --- a Job that does not get on ---------------------------------------------------------------------------------------


def pod_of(job, **fields):
    """Return the pod of a Job, whose container waits as told."""
    box = a_container("main", **fields)
    labels = {hooks.JOB_NAME: job.name, names.HOOK: job.hook}
    return a_pod(a_deployment(), uid=job.uid, labels=labels, deployment_uid="", ready=False, containers=(box,))


def waiting(*pods, **fields):
    """Return a world in which the Job of a hook runs, by its pods."""
    revision = revision_of(a_hook())
    job = a_job(revision, suspended=False, **fields)
    world = begun(a_hook(), run=running(revision), jobs=[job])[0]
    return replace(world, pods=(*world.pods, *(pod(job) for pod in pods)))


def unpulled(job):
    return pod_of(job, waiting="ImagePullBackOff", waiting_message="not found")


@pytest.mark.parametrize(
    ("pods", "after", "words"),
    [
        ([unpulled], 1, "container main: ImagePullBackOff: not found"),
        ([], 6, "it has no pod; why: kubectl -n production describe job shop-migrate-"),
        ([], 1, ""),
        ([pod_of], 6, ""),
    ],
)
def test_what_keeps_a_job_from_running_is_said_while_it_does(pods, after, words):
    world, now = waiting(*pods), NOW + timedelta(seconds=after)
    decision = decide(world, now)
    if words:
        assert words in run_of(decision.memory).message
        decision = decide(replace(world, memory=decision.memory), now)
    assert (decision.reason, decision.memory) == ("HookRunning", None)
    assert words in decision.because
    assert bool(words) is ("; " in decision.because)


def test_it_is_looked_whether_a_job_got_its_pod():
    assert decide(waiting(), NOW).look_again <= timedelta(seconds=5.1)


def test_a_job_that_never_ran_says_at_its_timeout_what_it_waited_for():
    world = waiting(unpulled)
    memory = decide(world, NOW).memory
    (job,) = world.jobs.values()
    failed = replace(job, ended=True, failed=True, reason="DeadlineExceeded")
    world = replace(world, memory=memory, pods=tuple(p for p in world.pods if p.uid != job.uid))
    message = decide(replace(world, jobs={job.name: failed}), NOW).memory.latched[0].message
    assert f"; before that: {run_of(memory).message}; its logs: kubectl" in message
    assert "container main: ImagePullBackOff: not found" in message


# --- a Job that cannot be created -------------------------------------------------------------------------------------

QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch=1'


def forbidden(at):
    """Let 2.0.0 want a hook whose Job the API server does not take."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = {"migrate": Task(refused=QUOTA)}
    sim.apply(a_spec("2.0.0", hooks=[a_hook(at=at, timeout="3m")]))
    return sim


def test_a_job_that_cannot_be_created_is_told_once_and_tried_again():
    sim = forbidden("BeforeGreen")
    sim.run(minutes=1)
    assert sim.condition(Condition.READY) == ("False", "JobForbidden")
    assert run_of(sim.memory).message == f"JobForbidden: {QUOTA}"
    assert [n.reason for n in sim.notes].count("JobForbidden") == 1
    sim.tasks = {}
    sim.run(minutes=3)
    assert (sim.live, sim.memory.live.hooks[0].message) == ("2.0.0", "")


def test_a_job_that_can_never_be_created_fails_its_hook_when_the_time_is_up():
    sim = forbidden("BeforeGreen")
    sim.run_until(lambda s: s.memory.latched, minutes=4)
    latch = sim.memory.latched[0]
    assert (latch.reason, QUOTA in latch.message, sim.ran) == ("HookFailed", True, [])
    assert (latch.at - NOW).total_seconds() == pytest.approx(20 * 60 + 180, abs=11)


def test_what_is_asked_for_next_goes_on_beside_a_job_that_cannot_be_created_after_the_switch():
    sim = forbidden("AfterSwitch")
    sim.run_until(lambda s: s.live == "2.0.0", minutes=2)
    sim.run(seconds=5)
    assert sim.condition(Condition.READY)[1] == "JobForbidden"
    sim.apply(a_spec("3.0.0"))
    sim.run(minutes=2)
    assert sim.live == "3.0.0"


WEBHOOK_DOWN = 'Internal error occurred: failed calling webhook "jobs.example.com": connection refused'


def not_started(**fields):
    """Let 2.0.0 want a hook whose Job is taken, and may not be started."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = {"migrate": Task(held=WEBHOOK_DOWN)}
    sim.apply(a_spec("2.0.0", hooks=[a_hook(timeout="3m", **fields)]))
    return sim


def test_a_job_that_cannot_be_started_after_the_switch_is_what_the_watch_waits_for():
    sim = not_started(at="AfterSwitch")
    sim.run_until(lambda s: s.live == "2.0.0", minutes=2).run(seconds=15)
    assert sim.condition(Condition.READY) == ("False", "AdmissionFailing")


def test_a_job_that_cannot_be_started_is_told_once_and_tried_again():
    sim = not_started()
    sim.run(minutes=1)
    assert sim.condition(Condition.READY) == ("False", "AdmissionFailing")
    assert run_of(sim.memory).message == f"AdmissionFailing: its Job cannot be started: {WEBHOOK_DOWN}"
    assert [n.reason for n in sim.notes].count("AdmissionFailing") == 1
    order = sim.order(Action.PAUSE)
    sim.run(seconds=1)
    assert sim.orders[order.uid].phase == "Done", "the release goes on beside it"
    sim.order(Action.RESUME)
    sim.tasks = {}
    sim.run(minutes=3)
    assert (sim.live, len(sim.ran)) == ("2.0.0", 1)


def test_a_job_that_can_never_be_started_fails_its_hook_when_the_time_is_up_and_has_done_nothing():
    sim = not_started(irreversible=True)
    sim.run_until(lambda s: s.memory.latched, minutes=5)
    latch = sim.memory.latched[0]
    assert (latch.reason, WEBHOOK_DOWN in latch.message, sim.ran) == ("HookFailed", True, [])
    sim.run(minutes=1)
    assert (sim.memory.live.unsafe, sim.jobs) == ("", {})


# --- the body of a Job ------------------------------------------------------------------------------------------------


def test_a_job_ends_with_the_timeout_at_the_latest():
    job = {"activeDeadlineSeconds": 30, "template": a_hook()["job"]["template"]}
    for hook, seconds in ((a_hook(timeout="90s"), 90), (a_hook(job=job), 30), (a_hook(job=job, timeout="10s"), 10)):
        world, _ = begun(hook)
        assert decide(world, NOW).step.body["spec"]["activeDeadlineSeconds"] == seconds


def test_a_job_is_told_what_it_runs_for():
    world, revision = begun(a_hook())
    (container,) = decide(world, NOW).step.body["spec"]["template"]["spec"]["containers"]
    told = {e["name"].removeprefix("TRADINGRELEASE_"): e["value"] for e in container["env"]}
    assert told == {
        "RELEASE": "shop", "NAMESPACE": "production", "VERSION": "2.0.0", "REVISION": revision, "ATTEMPT": "1", "HOOK": "migrate",
        "LIVE_VERSION": "1.0.0", "LIVE_REVISION": world.memory.live.stack.revision,
        "LIVE_URL_BACKEND": "http://backend.production.svc:80",
    }  # fmt: skip


def test_no_service_of_a_release_selects_the_pods_of_a_hook():
    world, _ = begun(a_hook())
    labels = decide(world, NOW).step.body["spec"]["template"]["metadata"]["labels"]
    assert names.REVISION not in labels


def test_pods_of_a_hook_that_a_service_selects_are_refused():
    pod = {"metadata": {"labels": {"app": "backend"}}, "spec": {"containers": [{"name": "main"}]}}
    world = a_release().live().asking(a_spec("2.0.0", hooks=[a_hook(job={"template": pod})])).world()
    assert decide(world, NOW).refused[0] == "HookSelected"


@pytest.mark.parametrize("label", [names.RELEASE, names.HOOK, "job-name", hooks.JOB_NAME])
def test_a_service_that_selects_what_every_pod_of_a_hook_carries_is_seen_too(label):
    written = a_spec("2.0.0", hooks=[a_hook()])
    known = {names.RELEASE: KEY.name, names.HOOK: "migrate"}
    value = known.get(label, f"shop-migrate-{parsed(written).revision}-1")
    world = a_release().live().asking(written).world()
    other = a_service("other", selector={label: value})
    assert decide(world, NOW).refused is None
    found = hooks.problem(replace(world, services=world.services | {"other": other}), parsed(written))
    assert found[0] == "HookSelected"


@pytest.mark.parametrize(("release", "hook"), [("shop", "migrate"), ("r" * 40, "h" * 50)])
def test_the_name_of_a_job_fits_and_tells_every_run_apart(release, hook):
    found = {
        names.job_name(release, h, r, a)
        for h in (hook, hook[:-1] + "x")
        for r in ("b" * 10, "c" * 10)
        for a in ("1", "2-r17")
    }
    assert len(found) == 8
    assert max(map(len, found)) <= 63


def test_the_api_server_is_asked_about_a_job_before_the_spec_is_stored():
    world = a_release().live().asking(a_spec("2.0.0", hooks=[a_hook()])).having(dry_runs={}).world()
    asked = decide(replace(world, dry_runs={parsed(a_spec("2.0.0")).components[0].revision: None}), NOW).step
    assert (asked.body["kind"], asked.body["metadata"]["name"]) == ("Job", f"shop-migrate-{revision_of(a_hook())}-1")
    known = {parsed(a_spec("2.0.0")).components[0].revision: None, asked.component_revision: None}
    assert isinstance(decide(replace(world, dry_runs=known), NOW).step, StoreSpec)


@pytest.mark.parametrize("field", ["suspend", "managedBy", "selector", "manualSelector", "ttlSecondsAfterFinished"])
def test_what_the_operator_decides_of_a_job_is_refused_with_advice(field):
    hook = a_hook(job={**a_hook()["job"], field: True})
    assert f"remove job.{field}" in rejected(a_spec(hooks=[hook])).message


# --- what came of it --------------------------------------------------------------------------------------------------


def ended(**fields):
    hook = a_hook(**fields.pop("hook", {}))
    revision = revision_of(hook)
    job = a_job(revision, suspended=False, ended=True, **fields)
    return begun(hook, run=running(revision), jobs=[job])[0]


def test_a_failed_hook_fails_the_attempt_at_once_and_says_where_its_logs_are():
    world = ended(failed=True, reason="BackoffLimitExceeded", message="it reached its limit")
    pod = a_pod(a_deployment(), labels={hooks.JOB_NAME: next(iter(world.jobs))}, deployment_uid="",
                containers=(a_container("main", died="Error", exit_code=3, last_words="no such table"),))  # fmt: skip
    decision = decide(replace(world, pods=(*world.pods, pod)), NOW)
    latch = decision.memory.latched[0]
    assert (decision.memory.candidate, latch.reason) == (None, "HookFailed")
    name = next(iter(world.jobs))
    assert latch.message == (
        "hook migrate failed: BackoffLimitExceeded: it reached its limit; container main ended with exit code 3 (Error): "
        f"no such table; its logs: kubectl -n production logs job/{name} --all-containers"
    )


def test_a_failed_hook_that_may_fail_is_shown_and_gone_on_from():
    world = ended(failed=True, reason="BackoffLimitExceeded", hook={"onFailure": "Continue"})
    memory = decide(world, NOW).memory
    assert run_of(memory).phase is Progress.FAILED
    assert memory.candidate is not None


def test_a_job_that_no_controller_ends_is_given_up_and_deleted():
    revision = revision_of(a_hook(timeout="1m"))
    late = a_job(revision, suspended=False, ends_at=NOW)
    world, _ = begun(a_hook(timeout="1m"), run=running(revision), jobs=[late])
    world = replace(world, pods=(*world.pods, pod_of(late)))
    soon, later = NOW + timedelta(seconds=90), NOW + timedelta(seconds=101)
    assert decide(replace(world, job_read=("uid-job", soon)), soon).memory is None
    memory = decide(replace(world, job_read=("uid-job", later)), later).memory
    assert "HookTimeout: not done within 60 s" in memory.latched[0].message
    assert DeleteJob(late.name, late.uid, late.version) == decide(replace(world, memory=memory), later).step


def test_a_job_is_read_before_its_time_is_said_to_be_up():
    """A watch of Jobs that is behind must not fail a migration that has succeeded."""
    revision = revision_of(a_hook(timeout="1m"))
    job = a_job(revision, suspended=False)
    world, _ = begun(a_hook(timeout="1m"), run=running(revision), jobs=[job])
    world = replace(world, pods=(*world.pods, pod_of(job)), job_read=("uid-job", NOW))
    later = NOW + timedelta(seconds=101)
    decision = decide(world, later)
    assert (decision.step, decision.memory) == (ConfirmGone(job.name, job.uid), None)
    found = replace(world, jobs={job.name: replace(job, ended=True)}, job_read=("uid-job", later))
    assert run_of(decide(found, later).memory).phase is Progress.SUCCEEDED


def test_the_deadline_counts_from_the_end_of_what_comes_before_green():
    world = ended()
    green = replace(world, streaks=passed(world, "1.0.0", world.memory.candidate.stack.revision))
    memory = decide(green, NOW).memory
    assert memory.candidate.counted_from == NOW
    assert isinstance(decide(replace(green, memory=memory), NOW + timedelta(minutes=9)).step, CreateDeployment)


def passed(world, version, revision, **streak):
    from tradingrelease.policy.model import Streak

    given = {"passed": 9, "last": "HTTP 200"} | streak
    blue = next(d for d in world.deployments.values() if d.created_version == version)
    return {(f"{revision}/1/after/migrate", p.uid): Streak(**given) for p in world.pods if p.deployment_uid == blue.uid}


@pytest.mark.parametrize(
    ("at", "phase", "live", "asked"),
    [
        ("BeforeGreen", Progress.SUCCEEDED, "1.0.0", True),
        ("BeforeGreen", Progress.FAILED, "1.0.0", True),  # it may, and has done half of its work
        ("BeforeGreen", Progress.SKIPPED, "1.0.0", False),
        ("BeforeGreen", Progress.SUCCEEDED, "", False),
        ("BeforeSwitch", Progress.SUCCEEDED, "1.0.0", False),  # no verdict of blue is waited for any more
    ],
)
def test_live_is_asked_after_what_ran_beside_it_before_green(at, phase, live, asked):
    hook = a_hook(at=at, onFailure="Continue")
    run = HookRun("migrate", Moment(at), phase, started_at=NOW, finished_at=NOW)
    world, revision = begun(hook, run=run, live=live)
    assert asks_blue(world.memory) == (f"{revision}/1/after/migrate" if asked else "")


def test_nothing_is_deployed_before_blue_was_found_well_after_a_hook():
    world = ended()
    decision = decide(replace(world, memory=decide(world, NOW).memory), NOW)
    assert (type(decision.step), decision.reason) == (Rest, "AskingBlue")


def test_blue_that_fails_after_a_hook_stops_the_attempt():
    world = ended()
    world = replace(
        world,
        streaks=passed(world, "1.0.0", world.memory.candidate.stack.revision, passed=0, failed=2, last="HTTP 500"),
    )
    memory = decide(world, NOW).memory
    assert memory.latched[0].reason == "BlueUnhealthyAfterHook"


def after_the_hook(*incidents, **died):
    """Return what is decided once a migration ended well, by what a pod of live did to itself and what it shows now."""
    world = ended()
    pod = next(p for p in world.pods if p.deployment_uid)
    shown = replace(pod, containers=(a_container(**died),)) if died else pod
    pods = tuple(shown if p is pod else p for p in world.pods)
    unprobed = parsed(a_spec("1.0.0", [a_component(version="1.0.0", health=None)]))
    stored = {**world.stored, world.memory.live.stack.revision: unprobed}
    page = Page({"backend": died.get("restarts", 0)}, incidents=incidents)
    return decide(replace(world, pods=pods, stored=stored, pod_book={pod.uid: page} if incidents else {}), NOW)


CRASH = Incident(Kind.CRASH, NOW - timedelta(seconds=3), "pod a, container backend: died (Error, exit code 1)")


def test_blue_that_crashed_while_the_hook_ran_is_unwell_though_it_stands_again():
    decision = after_the_hook(died="Error", exit_code=1, restarts=1, died_at=NOW - timedelta(seconds=3))
    assert decision.reason == "BlueUnhealthyAfterHook"


def test_a_crash_of_blue_is_not_forgotten_for_what_its_container_did_later():
    """The pod shows its last end only, and that was a clean one; the operator saw the crash before it."""
    later = {"died": "Completed", "exit_code": 0, "restarts": 2, "died_at": NOW - timedelta(seconds=1)}
    decision = after_the_hook(CRASH, **later)
    assert (decision.reason, CRASH.text in decision.because) == ("BlueUnhealthyAfterHook", True)


@pytest.mark.parametrize(
    "incidents",
    [
        [replace(CRASH, at=NOW - timedelta(seconds=30))],  # before the hook began
        [replace(CRASH, kind=Kind.FLAP)],  # one unready pod of several is no failure
    ],
    ids=["before", "flap"],
)
def test_what_is_no_crash_while_the_hook_ran_says_nothing_against_blue(incidents):
    memory = after_the_hook(*incidents).memory
    assert run_of(memory).blue_passed_at == NOW


def test_blue_that_cannot_be_found_well_stops_the_attempt_after_a_minute():
    world = ended()
    memory = decide(world, NOW).memory
    world = replace(world, memory=memory, since={f"asking-blue:{asks_blue(memory)}": NOW})
    assert decide(world, NOW + timedelta(seconds=59)).memory is None
    assert decide(world, NOW + timedelta(seconds=61)).memory.latched[0].reason == "BlueUnhealthyAfterHook"


def test_blue_is_not_unwell_because_no_operator_ran_that_could_ask_it():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.apply(a_spec("2.0.0", hooks=[a_hook()]))
    sim.run_until(lambda s: s.memory.candidate and run_of(s.memory).phase is Progress.SUCCEEDED, minutes=1)
    sim.stop()
    sim.run(seconds=70)
    sim.restart()
    sim.run(minutes=2)
    assert (sim.live, sim.memory.latched) == ("2.0.0", ())


def superseded(hook, task, blue=None):
    """Let 3.0.0 be asked for while the hook of 2.0.0 runs, and blue be as told when that ends."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks["migrate"] = task
    sim.apply(a_spec("2.0.0", hooks=[hook]))
    sim.run(seconds=5)
    sim.apply(a_spec("3.0.0"))
    sim.run(seconds=5)
    sim.behaviours["backend:1.0.0"] = blue or Behaviour()
    return sim


def began(sim, version="3.0.0"):
    candidate = sim.memory.candidate
    return candidate is not None and candidate.stack.version == version


def test_what_comes_next_waits_until_blue_was_found_well_after_the_hook_before_it():
    sim = superseded(a_hook(), Task(takes=30))
    sim.run_until(lambda s: not began(s, "2.0.0"), minutes=2)
    entry = sim.memory.history[0]
    assert (entry.outcome, began(sim)) == (Outcome.SUPERSEDED, True)
    assert any("AskingBlue" in line for line in sim.lines)
    assert (sim.now - NOW - timedelta(minutes=20)).total_seconds() >= 30 + 5  # two good answers, 5 s apart


@pytest.mark.parametrize("asked", ["3.0.0", "1.0.0"])
def test_a_migration_that_breaks_blue_is_named_before_the_next_version_begins(asked):
    sim = superseded(a_hook(), Task(takes=30), Behaviour(healthy=False))
    sim.apply(a_spec(asked))
    sim.run_until(lambda s: s.memory.latched, minutes=2)
    said = [note.reason for note in sim.notes if "3.0.0" in note.message or note.reason.startswith("Blue")]
    assert said[0] == "BlueUnhealthyAfterHook"
    sim.run(minutes=5)
    assert (sim.live, sim.memory.history[1 if asked == "3.0.0" else 0].outcome) == (asked, Outcome.FAILED)


def test_a_hook_that_fails_while_the_next_version_waits_fails_its_own_attempt():
    sim = superseded(a_hook(), Task(takes=30, fails=True))
    sim.run_until(lambda s: s.memory.latched, minutes=2)
    assert sim.memory.latched[0].reason == "HookFailed"
    sim.run(minutes=5)
    assert sim.live == "3.0.0"


def test_a_rollback_by_manifest_waits_for_nobody_to_ask_blue():
    world, _ = begun(a_hook(), run=replace(running(revision_of(a_hook())), phase=Progress.SUCCEEDED, finished_at=NOW))
    target = a_release().promoted().memory.retained[0]
    kept = replace(target, stack=replace(target.stack, revision=parsed(a_spec("0.9.0")).revision))
    world = replace(world, spec=parsed(a_spec("0.9.0")), memory=replace(world.memory, retained=(kept,)))
    assert decide(world, NOW).rule != "a_running_hook_ends_first"


def test_at_the_first_release_there_is_no_blue_to_ask():
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), run=running(revision), jobs=[a_job(revision, suspended=False, ended=True)], live="")
    memory = decide(world, NOW).memory
    assert isinstance(decide(replace(world, memory=memory), NOW).step, CreateDeployment)


# --- webhooks ---------------------------------------------------------------------------------------------------------

CALLED = HookRun(
    "migrate", Moment.BEFORE_GREEN, Progress.RUNNING, started_at=NOW - timedelta(seconds=5), event='{"id":"1"}'
)


def test_a_webhook_is_called_once_it_is_remembered_and_always_with_the_same_words():
    hook = a_hook(webhook=WEBHOOK)
    world, revision = begun(hook)
    assert hooks.calls(world) == frozenset()
    world, _ = begun(hook, run=CALLED)
    (call,) = hooks.calls(world)
    assert (call.id, call.url) == (f"{UID}/{revision}/1/migrate", WEBHOOK["url"])
    assert hooks.calls(replace(world, generation=9)) == {call}


def test_a_webhook_that_is_called_again_by_another_operator_says_the_very_same():
    """Its receiver tells a repetition by the id, and may rely on the words: whatever changed since."""
    sim, identity, _ = called("2.0.0", at="BeforeSwitch")
    before = sim.calls[identity]
    event = json.loads(before.body)
    assert (event["id"], event["data"]["live_url_backend"]) == (identity, "http://backend.production.svc:80")
    sim.stop()
    sim.alter_service("backend", ports=({"name": "http", "port": 8080, "targetPort": "http"},))
    sim.restart()
    sim.run(seconds=5)
    assert sim.calls[identity] == before
    sim.tasks = {"migrate": Task(takes=1)}
    sim.restart()
    sim.run(seconds=10)
    assert [run.event for run in sim.memory.live.hooks] == [""], "it is not needed any more"


@pytest.mark.parametrize(("called", "phase"), [(True, Progress.SUCCEEDED), (None, Progress.RUNNING)])
def test_a_webhook_is_over_when_it_has_answered(called, phase):
    world, revision = begun(a_hook(webhook=WEBHOOK), run=CALLED)
    world = replace(world, called={f"{UID}/{revision}/1/migrate": Called(called, "HTTP 202")})
    memory = decide(world, NOW).memory or world.memory
    assert run_of(memory).phase is phase


def test_a_webhook_without_an_answer_in_time_fails():
    world, _ = begun(a_hook(webhook=WEBHOOK, timeout="1m"), run=CALLED)
    memory = decide(world, NOW + timedelta(seconds=56)).memory
    assert "HookTimeout" in memory.latched[0].message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://hooks.example.com/a", ""),
        ("https://hooks.example.com:8443/a", ""),
        ("http://hooks.example.com/a", ""),
        ("https:///a", "write http:// or https:// and a host"),
        ("https://other.example.com/a", "TRADINGRELEASE_WEBHOOK_HOSTS"),
        ("https://hooks.example.com.evil.org/a", "TRADINGRELEASE_WEBHOOK_HOSTS"),
        ("https://hooks.example.com@evil.org/a", "credentials"),
        ("https://evil.org#@hooks.example.com/a", "TRADINGRELEASE_WEBHOOK_HOSTS"),
        ("ftp://hooks.example.com/a", "http:// or https://"),
        ("https://hooks.example.com:port/a", "port"),
    ],
)
def test_only_hosts_that_the_configuration_names_are_called(url, words):
    said = hooks.refused_url(url, frozenset({"hooks.example.com"}))
    assert words.lower() in said.lower()
    assert bool(said) is bool(words)


def test_a_webhook_to_another_host_is_not_accepted():
    world = a_release().live().asking(a_spec("2.0.0", hooks=[a_hook(webhook=WEBHOOK)])).world()
    assert decide(world, NOW).refused[0] == "WebhookNotAllowed"


def called(version, at="BeforeGreen", **hook):
    """Let the webhook of a version be in progress at its receiver, beside a proven 1.0.0."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = {"migrate": Task(takes=0)}
    sim.apply(a_spec(version, hooks=[a_hook(at=at, webhook=WEBHOOK, timeout="5m", **hook)]))
    sim.run_until(lambda s: s.calls, minutes=2)
    return sim, next(iter(sim.calls)), sim.now


def never_beside_itself(sim, first, began):
    """Let time pass until another webhook is called; tell whether the one before it had all its time."""
    sim.run_until(lambda s: s.calls and first not in s.calls, minutes=10)
    return sim.now - began >= timedelta(minutes=5)


def test_a_webhook_that_an_abort_gave_up_is_not_called_again_beside_itself():
    sim, first, began = called("2.0.0")
    revision = sim.memory.candidate.stack.revision
    sim.order(Action.ABORT, revision)
    sim.run(seconds=5)
    sim.order(Action.RETRY, revision)
    assert never_beside_itself(sim, first, began)
    assert any("may work on it until" in line for line in sim.lines)
    assert sim.memory.webhook_left is None


def test_nor_by_the_attempt_that_begins_anew_beside_a_live_that_was_rolled_back():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.apply(a_spec("2.0.0"))
    sim.run_until(lambda s: s.live == "2.0.0", minutes=2)
    sim.tasks = {"migrate": Task(takes=0)}
    sim.apply(a_spec("3.0.0", hooks=[a_hook(webhook=WEBHOOK, timeout="5m")]))
    sim.run_until(lambda s: s.calls, minutes=2)
    first, began = next(iter(sim.calls)), sim.now
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "it is slow")
    sim.run_until(lambda s: s.memory.candidate and s.memory.candidate.attempt == 2, minutes=2)
    sim.restart()
    assert never_beside_itself(sim, first, began)


def test_what_follows_a_rollback_waits_for_the_webhook_of_what_was_left():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = {"warm": Task(takes=0)}
    after = a_hook("undo", "AfterRollback", webhook=WEBHOOK)
    sim.apply(a_spec("2.0.0", hooks=[a_hook("warm", "AfterSwitch", webhook=WEBHOOK, timeout="5m"), after]))
    sim.run_until(lambda s: s.calls, minutes=2)
    first, began = next(iter(sim.calls)), sim.now
    sim.order(Action.ROLLBACK, sim.memory.live.stack.revision, "it is slow")
    sim.run_until(lambda s: s.live == "1.0.0", minutes=1)
    assert never_beside_itself(sim, first, began)


def test_an_irreversible_webhook_that_was_given_up_while_it_ran_may_be_done():
    sim, _, _ = called("2.0.0", irreversible=True)
    sim.order(Action.ABORT, sim.memory.candidate.stack.revision)
    sim.run(seconds=5)
    assert "was given up while it ran" in sim.memory.live.unsafe


def test_nothing_that_is_said_of_a_webhook_shows_more_of_its_url_than_the_host():
    """The path or the query of one is often the secret."""
    sim = Simulator("backend")
    sim.tasks = {"migrate": Task(takes=20, fails=True)}
    secret = {"url": "https://hooks.example.com:8443/services/T0KEN?key=T0KEN"}
    sim.apply(a_spec("1.0.0", hooks=[a_hook(webhook=secret)]))
    sim.run(minutes=1)
    said = "\n".join(sim.lines) + str(sim.status)
    assert "T0KEN" not in said
    assert "https://hooks.example.com:8443 is called" in said


def test_nor_what_refuses_it():
    world = (
        a_release().live().asking(a_spec("2.0.0", hooks=[a_hook(webhook={"url": "https://evil.org/T0KEN"})])).world()
    )
    assert "T0KEN" not in decide(world, NOW).refused[1]


# --- after the switch -------------------------------------------------------------------------------------------------


def in_its_watch(hook, run, raw=None, **fields):
    """Return a world in which version 2.0.0 was switched to an hour ago, with one hook of it."""
    held = a_release().live("2.0.0", proven=False).retained("1.0.0")
    raw = raw or a_spec("2.0.0", hooks=[hook])
    spec = parsed(raw)
    live = replace(held.memory.live, stack=replace(held.memory.live.stack, revision=spec.revision), hooks=(run,))
    held = replace(held, asked=raw, memory=replace(held.memory, live=live), stored=held.stored | {spec.revision: spec})
    return replace(held.world(), **fields)


def test_the_watch_counts_from_the_end_of_what_follows_the_switch():
    hook = a_hook("flush", "AfterSwitch", webhook=WEBHOOK)
    run = HookRun("flush", Moment.AFTER_SWITCH, Progress.RUNNING, started_at=NOW - timedelta(seconds=3))
    world = in_its_watch(hook, run, webhook_hosts=frozenset({"hooks.example.com"}))
    assert decide(world, NOW).memory is None, "not proven while the hook runs, though the watch is over by the clock"
    revision = world.memory.live.stack.revision
    memory = decide(replace(world, called={f"{UID}/{revision}/1/flush": Called(True, "HTTP 200")}), NOW).memory
    assert (memory.live.watch_since, memory.live.proven_at) == (NOW, None)


def test_a_watch_whose_hooks_run_is_not_said_to_be_kept_open_by_a_check():
    """Its time has not even begun: that a check has not passed yet is no news before the hooks have ended."""
    hook, check = a_hook("flush", "AfterSwitch", webhook=WEBHOOK, timeout="10m"), a_check()
    raw = a_spec("2.0.0", hooks=[hook], checks=[check])
    run = HookRun("flush", Moment.AFTER_SWITCH, Progress.RUNNING, started_at=NOW - timedelta(seconds=3))
    world = in_its_watch(hook, run, raw=raw)
    decision = decide(world, NOW)
    assert (decision.rule, decision.reason) == ("hooks_follow_the_switch", "HookRunning")
    ended = replace(run, phase=Progress.SUCCEEDED, finished_at=NOW - timedelta(hours=1))
    live = replace(world.memory.live, hooks=(ended,))
    decision = decide(replace(world, memory=replace(world.memory, live=live)), NOW)
    assert (decision.rule, decision.reason) == ("live_can_be_judged", "CheckPending")


def test_a_hook_that_fails_after_the_switch_rolls_back():
    run = HookRun("flush", Moment.AFTER_SWITCH, Progress.FAILED, "BackoffLimitExceeded", NOW, NOW)
    world = in_its_watch(a_hook("flush", "AfterSwitch"), run)
    assert decide(world, NOW).reason == "AskingBlue"


def test_a_hook_that_may_fail_after_the_switch_does_not():
    run = HookRun("flush", Moment.AFTER_SWITCH, Progress.FAILED, "BackoffLimitExceeded", NOW, NOW)
    world = in_its_watch(a_hook("flush", "AfterSwitch", onFailure="Continue"), run)
    assert decide(world, NOW).reason == "Proven"


# --- what cannot be undone --------------------------------------------------------------------------------------------


def test_an_irreversible_hook_marks_what_is_older():
    world = ended(hook={"irreversible": True})
    live = decide(world, NOW).memory.live
    assert "hook migrate of version 2.0.0" in live.unsafe


def test_an_irreversible_hook_that_failed_marks_nothing():
    world = ended(hook={"irreversible": True, "onFailure": "Continue"}, failed=True)
    assert decide(world, NOW).memory.live.unsafe == ""


def across(**fields):
    world = a_release().promoted().world()
    why = "hook migrate cannot be undone"
    kept = tuple(replace(r, unsafe=why) for r in world.memory.retained)
    said = {r.stack.revision: why for r in kept}
    held = {n: replace(d, unsafe=said) for n, d in world.deployments.items()}
    return replace(world, memory=replace(world.memory, retained=kept), deployments=held, **fields)


def test_live_that_is_dead_does_not_go_back_across_an_irreversible_hook():
    decision = decide(across(since={"dead:backend": NOW - timedelta(hours=1)}, confirmed_dead={"backend": NOW}), NOW)
    assert (type(decision.step), decision.reason, decision.stalled) == (Rest, "RollbackUnsafe", True)


def test_a_manifest_does_not_go_back_across_an_irreversible_hook():
    decision = decide(across(spec=parsed(a_spec("1.0.0"))), NOW)
    assert (type(decision.step), decision.reason, decision.stalled) == (Rest, "RollbackUnsafe", True)


@pytest.mark.parametrize("force", [False, True])
def test_only_a_forced_order_goes_back_across_an_irreversible_hook(force):
    world = across()
    order = a_release().ordered(Action.ROLLBACK, world.memory.live.stack.revision, force=force).changes["orders"]
    decision = decide(replace(world, orders=order), NOW)
    if force:
        assert (type(decision.step), decision.step.record.cause) == (Switch, Cause.ROLLBACK)
    else:
        assert decision.memory.answers[0].reason == "RollbackUnsafe"


def test_it_is_not_said_that_one_can_go_back_where_one_cannot():
    found = compute(across(), decide(across(), NOW))
    verdict = found[Condition.ROLLBACK_READY]
    assert (verdict.status, verdict.reason) == ("False", "RollbackUnsafe")


# --- attempts ---------------------------------------------------------------------------------------------------------


def test_the_number_of_an_attempt_never_comes_again():
    """A history that forgot, and attempts that left no entry, must not lead to the name of a Job that ran."""
    world = a_release().live().world()
    entry = HistoryEntry("x", "2", Outcome.SUPERSEDED, NOW, None, NOW, "", "", attempt=4)
    assert hooks.next_attempt(world, "x") == 1
    assert hooks.next_attempt(replace(world, memory=replace(world.memory, history=(entry,))), "x") == 5
    jobs = {"a": a_job("x", attempt="7-r3"), "b": a_job("y", attempt="9")}
    assert hooks.next_attempt(replace(world, jobs=jobs), "x") == 8


def test_the_job_of_an_aborted_attempt_goes_though_a_retry_was_ordered_at_once():
    """The latch that said so is gone with the Retry; which waited for the aborted Job as long as that may run."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.tasks = {"migrate": Task(takes=500)}
    spec = sim.apply(a_spec("2.0.0", hooks=[a_hook(timeout="10m")]))
    sim.run(seconds=10)
    (first,) = sim.ran
    sim.order(Action.ABORT, spec.revision)
    sim.order(Action.RETRY, spec.revision)
    sim.run(minutes=1)
    assert first not in sim.jobs
    assert len(sim.ran) == 2, "and the next attempt runs its own"


def test_only_the_jobs_of_attempts_in_the_history_are_kept():
    """A hundred Retries of one revision must not leave a hundred Jobs with their pods."""
    sim = Simulator("backend")
    sim.tasks = {"migrate": Task(fails=True)}
    spec = sim.apply(a_spec("1.0.0", hooks=[a_hook()]))
    for _ in range(15):
        sim.run(minutes=1)
        sim.order(Action.RETRY, spec.revision)
    sim.run(minutes=1)
    assert len(sim.ran) == 16
    assert {hooks.number(job.attempt) for job in sim.jobs.values()} == set(range(7, 17))


def test_the_last_job_of_what_is_latched_is_kept_though_history_forgot_its_attempt():
    held = a_release().live().failed("2.0.0")
    revision = held.memory.latched[0].stack.revision
    jobs = [a_job(revision, name=n, uid=n, attempt=n, suspended=False, ended=True) for n in ("3", "4")]
    world = replace(held.world(), jobs={job.name: job for job in jobs})
    deletion = rules.jobs_go(world, NOW)
    assert deletion.step.name == "3"
    del world.jobs["3"]
    assert rules.jobs_go(world, NOW) is None


def test_the_job_of_a_revision_that_history_forgot_goes():
    gone = a_job("forgotten", suspended=False, ended=True)
    assert (
        DeleteJob(gone.name, gone.uid, gone.version)
        == decide(replace(a_release().live().world(), jobs={gone.name: gone}), NOW).step
    )
    assert KEY.name in gone.name
