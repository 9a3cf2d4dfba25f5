"""Hooks: what is created, what starts it, what came of it, and what no rollback crosses."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import hooks, names
from tradingrelease.policy.conditions import compute
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import (
    Called,
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

from tests.builders import KEY, NOW, UID, a_container, a_deployment, a_hook, a_pod, a_release, a_spec, parsed, rejected

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


def test_a_job_that_is_gone_after_its_uid_was_remembered_is_not_made_again():
    world, _ = begun(a_hook(), run=running(revision_of(a_hook())))
    decision = decide(world, NOW)
    assert decision.memory.candidate is None
    assert "JobGone" in decision.memory.latched[0].message


def test_another_job_of_that_name_is_never_started():
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), run=running(revision), jobs=[a_job(revision, uid="another")])
    assert not isinstance(decide(world, NOW).step, StartJob)


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


def test_hooks_of_one_moment_run_in_the_order_of_the_list():
    world, _ = begun(a_hook("second"), a_hook("first"))
    assert decide(world, NOW).step.body["metadata"]["labels"][names.HOOK] == "second"


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
    soon, later = NOW + timedelta(seconds=60), NOW + timedelta(seconds=70)
    assert decide(world, soon).memory is None
    memory = decide(world, later).memory
    assert "HookTimeout: not done within 60 s" in memory.latched[0].message
    assert DeleteJob(late.name, late.uid) == decide(replace(world, memory=memory), later).step


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


def test_blue_that_cannot_be_found_well_stops_the_attempt_after_a_minute():
    world = ended()
    world = replace(world, memory=decide(world, NOW).memory)
    assert decide(world, NOW + timedelta(seconds=59)).memory is None
    assert decide(world, NOW + timedelta(seconds=61)).memory.latched[0].reason == "BlueUnhealthyAfterHook"


def test_at_the_first_release_there_is_no_blue_to_ask():
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), run=running(revision), jobs=[a_job(revision, suspended=False, ended=True)], live="")
    memory = decide(world, NOW).memory
    assert isinstance(decide(replace(world, memory=memory), NOW).step, CreateDeployment)


# --- webhooks ---------------------------------------------------------------------------------------------------------

CALLED = HookRun("migrate", Moment.BEFORE_GREEN, Progress.RUNNING, started_at=NOW - timedelta(seconds=5))


def test_a_webhook_is_called_once_it_is_remembered_and_always_with_the_same_words():
    hook = a_hook(webhook=WEBHOOK)
    world, revision = begun(hook)
    assert hooks.calls(world) == frozenset()
    world, _ = begun(hook, run=CALLED)
    (call,) = hooks.calls(world)
    assert (call.id, call.url) == (f"{UID}/{revision}/1/migrate", WEBHOOK["url"])
    assert hooks.calls(replace(world, generation=9)) == {call}


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


# --- after the switch -------------------------------------------------------------------------------------------------


def in_its_watch(hook, run, **fields):
    """Return a world in which version 2.0.0 was switched to an hour ago, with one hook of it."""
    held = a_release().live("2.0.0", proven=False).retained("1.0.0")
    raw = a_spec("2.0.0", hooks=[hook])
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
    kept = tuple(replace(r, unsafe="hook migrate cannot be undone") for r in world.memory.retained)
    return replace(world, memory=replace(world.memory, retained=kept), **fields)


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


def test_the_job_of_a_revision_that_history_forgot_goes():
    gone = a_job("forgotten", suspended=False, ended=True)
    assert (
        DeleteJob(gone.name, gone.uid) == decide(replace(a_release().live().world(), jobs={gone.name: gone}), NOW).step
    )
    assert KEY.name in gone.name
