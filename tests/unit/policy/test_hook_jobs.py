"""The Job and the webhook of a hook: what they are told, how long they have, and what is said of how they fare."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import hooks, names
from tradingrelease.policy.model import Called, HookRun, JobRefused, Latched, Left, WebhookLeft
from tradingrelease.policy.pods import LONGEST_WORDS
from tradingrelease.policy.reasons import Moment, Outcome, Progress

from tests.builders import (
    KEY,
    NOW,
    UID,
    a_hook,
    a_release,
    a_service,
    a_spec,
    a_stack,
    parsed,
)
from tests.unit.policy.test_hooks import CALLED, WEBHOOK, a_job, begun, pod_of, revision_of, running

SECOND = timedelta(seconds=1)


def hook_and_world(**written):
    """Return a hook of a candidate, its runs, and the world."""
    world, revision = begun(a_hook(**written))
    return world.spec_of(revision).hooks[0], hooks.of_candidate(world.memory.candidate), world


# --- the Job ----------------------------------------------------------------------------------------------------------


def test_a_job_is_ours_and_runs_as_its_author_wrote_it():
    pod = {
        "metadata": {"labels": {"app": "migrate"}, "annotations": {"note": "x"}},
        "spec": {
            "restartPolicy": "OnFailure",
            "initContainers": [{"name": "wait", "env": [{"name": "A", "value": "1"}]}],
            "containers": [{"name": "main"}],
        },
    }
    hook, whose, world = hook_and_world(job={"backoffLimit": 2, "template": pod}, irreversible=True)
    body = hooks.job(world, whose, hook)
    why = f"hook migrate of version 2.0.0 ({whose.revision}) cannot be undone"
    assert (body["apiVersion"], body["kind"]) == ("batch/v1", "Job")
    assert body["metadata"]["name"] == whose.job_name(KEY.name, "migrate")
    assert body["metadata"]["namespace"] == KEY.namespace
    labels = {names.RELEASE: KEY.name, names.HOOK: "migrate"}
    assert body["metadata"]["labels"] == labels | {names.REVISION: whose.revision}
    assert body["metadata"]["annotations"] == {
        names.RELEASE_UID: UID,
        names.ATTEMPT: "1",
        names.IRREVERSIBLE: why,
    }
    assert (body["spec"]["backoffLimit"], body["spec"]["suspend"]) == (2, True)
    template = body["spec"]["template"]
    assert template["metadata"] == {"labels": {"app": "migrate"} | labels, "annotations": {"note": "x"}}
    assert template["spec"]["restartPolicy"] == "OnFailure"
    told = [{"name": n, "value": v} for n, v in hooks.environment(world, whose, hook).items()]
    assert template["spec"]["initContainers"][0]["env"] == [{"name": "A", "value": "1"}, *told]
    assert template["spec"]["containers"][0]["env"] == told
    assert "env" not in hook.job["template"]["spec"]["containers"][0], "what its author wrote stays as it is"


def test_a_job_of_which_nothing_is_written_keeps_its_pods_and_can_be_undone():
    hook, whose, world = hook_and_world()
    body = hooks.job(world, whose, hook)
    assert body["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert names.IRREVERSIBLE not in body["metadata"]["annotations"]


def test_of_a_job_of_which_nothing_at_all_is_written_the_api_server_says_what_it_lacks():
    hook, whose, world = hook_and_world(job={})
    assert hooks.job(world, whose, hook)["spec"]["template"]["spec"] == {"restartPolicy": "Never"}
    assert hooks.allowed(hook) == timedelta(minutes=10) + 40 * SECOND


@pytest.mark.parametrize(("timeout", "seconds"), [("1m", 60), ("1500ms", 2), ("10ms", 1)])
def test_a_job_has_its_timeout_in_whole_seconds_and_one_at_least(timeout, seconds):
    hook, whose, world = hook_and_world(timeout=timeout)
    assert hooks.job(world, whose, hook)["spec"]["activeDeadlineSeconds"] == seconds


@pytest.mark.parametrize(
    ("ports", "url"),
    [
        (({"name": "http", "port": 80},), "http://backend.production.svc:80"),
        (({"name": "https", "port": 8443},), "https://backend.production.svc:8443"),
        (({"name": "web", "port": 443},), "https://backend.production.svc:443"),
        (({"name": "web", "appProtocol": "https", "port": 1},), "https://backend.production.svc:1"),
        (({"name": "web", "port": 1}, {"name": "https", "port": 2}), "http://backend.production.svc:1"),
        ((), "http://backend.production.svc"),
    ],
)
def test_a_hook_is_told_the_first_port_of_a_service_and_its_scheme(ports, url):
    hook, whose, world = hook_and_world()
    world = replace(world, services={"backend": a_service(selected="x", ports=ports)})
    assert hooks.environment(world, whose, hook)["TRADINGRELEASE_LIVE_URL_BACKEND"] == url


@pytest.mark.parametrize(("at", "told"), [("BeforeGreen", False), ("BeforeSwitch", True), ("AfterSwitch", False)])
def test_a_hook_is_told_where_green_answers_only_while_there_is_a_preview(at, told):
    hook, whose, world = hook_and_world(at=at)
    preview = a_service("backend-preview", selected="x")
    world = replace(world, services={**world.services, "backend-preview": preview})
    found = {k: v for k, v in hooks.environment(world, whose, hook).items() if "PREVIEW" in k}
    url = {"TRADINGRELEASE_PREVIEW_URL_BACKEND": "http://backend-preview.production.svc:80"}
    assert found == (url if told else {})


def test_a_hook_of_the_first_release_is_told_of_no_live_one():
    world, revision = begun(a_hook(), live="")
    told = hooks.environment(world, hooks.of_candidate(world.memory.candidate), world.spec_of(revision).hooks[0])
    assert (told["TRADINGRELEASE_LIVE_VERSION"], told["TRADINGRELEASE_LIVE_REVISION"]) == ("", "")
    assert not [name for name in told if "URL" in name]


def test_nothing_answers_for_a_candidate_that_is_none_or_for_a_component_without_a_service():
    hook, whose, world = hook_and_world(at="BeforeSwitch")
    preview = a_service("backend-preview", selected="x")
    world = replace(world, services={**world.services, "backend-preview": preview})
    none = replace(world, memory=replace(world.memory, candidate=None))
    assert not [name for name in hooks.environment(none, whose, hook) if "PREVIEW" in name]
    (member,) = world.memory.live.stack.members
    stack = replace(world.memory.live.stack, members=(replace(member, services=()),))
    bare = replace(world, memory=replace(world.memory, live=replace(world.memory.live, stack=stack)))
    assert not [name for name in hooks.environment(bare, whose, hook) if "LIVE_URL" in name]


def test_a_component_is_named_as_a_variable_can_be():
    world = a_release("order-book").live().world()
    hook = parsed(a_spec(hooks=[a_hook()])).hooks[0]
    told = hooks.environment(world, hooks.of_live(world.memory.live), hook)
    assert told["TRADINGRELEASE_LIVE_URL_ORDER_BOOK"] == "http://order-book.production.svc:80"


# --- how long it has --------------------------------------------------------------------------------------------------


def grace(seconds):
    return {"template": {"spec": {"terminationGracePeriodSeconds": seconds, "containers": [{"name": "main"}]}}}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [({}, 60 + 10 + 30), ({"job": grace(5)}, 60 + 10 + 5), ({"webhook": WEBHOOK}, 60)],
    ids=["", "grace", "webhook"],
)
def test_a_run_has_its_timeout_and_what_the_cluster_needs_to_end_its_pods(written, seconds):
    hook, _, _ = hook_and_world(timeout="1m", **written)
    run = HookRun("migrate", Moment.BEFORE_GREEN, Progress.RUNNING, started_at=NOW)
    end = NOW + seconds * SECOND
    assert hooks.allowed(hook) == seconds * SECOND
    assert (hooks.out_of_time(hook, run, end - SECOND), hooks.out_of_time(hook, run, end)) == (False, True)
    assert not hooks.out_of_time(hook, replace(run, started_at=None), end)


@pytest.mark.parametrize(
    ("read", "unread"),
    [(None, True), (("another", 99), True), (("uid-job", 94.9), True), (("uid-job", 95), False)],
)
def test_a_job_is_unread_until_it_was_read_after_its_time(read, unread):
    hook, _, world = hook_and_world(timeout="1m")
    run = running("x")  # since 5 seconds
    read = read and (read[0], NOW + read[1] * SECOND)
    assert hooks.unread(replace(world, job_read=read), hook, run) is unread
    called, _, _ = hook_and_world(webhook=WEBHOOK)
    assert not hooks.unread(world, called, run)
    assert not hooks.unread(world, hook, replace(run, started_at=None))


def test_what_cannot_be_created_is_noted_from_the_first_answer_to_the_last():
    first = hooks.refused_again({}, "a", "JobForbidden", "quota", NOW)
    assert first == {"a": JobRefused("JobForbidden", "quota", NOW, NOW)}
    again = hooks.refused_again(first, "a", "JobInvalid", "typo", NOW + SECOND)
    assert again == {"a": JobRefused("JobInvalid", "typo", NOW, NOW + SECOND)}
    assert hooks.refused_again(again, "b", "JobForbidden", "quota", NOW).keys() == {"b"}


# --- what is said of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "number"), [("3", 3), ("3-r7", 3), ("12", 12), ("", 0), ("x", 0), ("-r7", 0), ("²", 0)]
)
def test_what_follows_a_rollback_belongs_to_the_attempt_that_was_left(attempt, number):
    assert hooks.number(attempt) == number


def went(job, *pods, **changes):
    """Return the message of a run whose Job failed beside these pods."""
    failed = replace(job, suspended=False, ended=True, failed=True, reason="BackoffLimitExceeded", **changes)
    world = begun(a_hook(), run=running(job.revision), jobs=[failed])[0]
    memory, _ = hooks.absorb(replace(world, pods=(*world.pods, *pods)), world.memory, NOW)
    return memory.candidate.hooks[0].message


def test_of_a_failed_job_the_last_words_of_its_newest_pod_that_failed_are_told():
    job = a_job(revision_of(a_hook()))
    older = pod_of(job, died="Error", exit_code=1, last_words="older")
    newer = replace(pod_of(job, died="Error", exit_code=2, last_words="a " + " newer\n" * 99), created_at=NOW, name="b")
    well = replace(pod_of(job, died="Completed", exit_code=0), created_at=NOW + SECOND)
    other = replace(
        pod_of(replace(job, name="x"), died="Error", exit_code=9, last_words="other"), created_at=NOW + SECOND
    )
    words = went(job, older, newer, well, other).partition("; container ")[2].partition("; its logs")[0]
    assert words.startswith("main ended with exit code 2 (Error): ")
    assert words.endswith(("newer " * 99).strip()[-LONGEST_WORDS:])
    assert len(words) == len("main ended with exit code 2 (Error): ") + LONGEST_WORDS
    silent = went(job, pod_of(job, died="Error", exit_code=3))
    assert "; container main ended with exit code 3 (Error); its logs" in silent


def test_a_failed_job_without_words_says_at_least_that():
    job = a_job(revision_of(a_hook()))
    name = f"kubectl -n production logs job/{job.name} --all-containers"
    assert went(job) == f"BackoffLimitExceeded; its logs: {name}"
    assert went(job, message="it did") == f"BackoffLimitExceeded: it did; its logs: {name}"


@pytest.mark.parametrize(
    ("job", "seconds", "said"),
    [
        ({}, 9, ""),
        ({}, 10, "it has no pod"),
        ({"ended": True}, 99, ""),
        ({"ending": "DeadlineExceeded"}, 99, ""),
        ({"suspended": True}, 99, ""),
    ],
    ids=str,
)
def test_a_job_without_a_pod_is_told_while_it_should_run(job, seconds, said):
    run = replace(running("x"), started_at=NOW)
    world = begun(a_hook(), jobs=[a_job("x", **{"suspended": False, **job})])[0]
    found = hooks.trouble(world, run, NOW + seconds * SECOND)
    assert found.startswith(said)
    assert bool(found) is bool(said)
    assert hooks.trouble(world, replace(run, started_at=None), NOW + seconds * SECOND) == ""
    assert hooks.trouble(world, replace(run, job="other"), NOW + seconds * SECOND) == ""


def test_a_pod_that_is_over_or_anothers_says_nothing_of_a_job_that_runs():
    job, run = a_job("x", suspended=False), running("x")
    stuck = pod_of(job, waiting="ImagePullBackOff")
    fine = replace(pod_of(job), uid="fine")
    world = begun(a_hook(), jobs=[job])[0]
    assert "ImagePullBackOff" in hooks.trouble(replace(world, pods=(fine, stuck)), run, NOW)
    over = (fine, replace(stuck, over=True), pod_of(replace(job, name="y"), waiting="ImagePullBackOff"))
    assert hooks.trouble(replace(world, pods=over), run, NOW) == ""


def test_a_pod_lingers_that_is_a_hooks_and_not_over():
    world = begun(a_hook())[0]
    mine = pod_of(a_job("x"))
    assert hooks.lingering(replace(world, pods=(*world.pods, replace(mine, over=True)))) is None
    assert hooks.lingering(replace(world, pods=(*world.pods, mine))) == mine


@pytest.mark.parametrize(
    ("fields", "stray"),
    [
        ({"suspended": False}, True),
        ({"suspended": False, "ended": True}, False),
        ({"suspended": False, "uid": "uid-job"}, False),
        ({"suspended": True, "name": "another"}, True),
        ({"suspended": True}, False),
    ],
    ids=str,
)
def test_a_job_strays_that_goes_on_and_that_no_run_waits_for(fields, stray):
    """A suspended one is waited for by its name: it is started once its uid is remembered."""
    revision = revision_of(a_hook())
    job = a_job(revision, **{"uid": "uid-stray", **fields})
    world = begun(a_hook(), run=running(revision), jobs=[job])[0]
    assert bool(hooks.strays(world)) is stray
    over = replace(running(revision), phase=Progress.SUCCEEDED)
    world = begun(a_hook(), run=over, jobs=[replace(job, suspended=True, ended=False)])[0]
    assert hooks.strays(world)


# --- what came of it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "begins_anew"), [("BeforeGreen", False), ("BeforeSwitch", True)])
def test_no_deadline_ran_while_a_hook_before_the_switch_did(at, begins_anew):
    """Before green it begins when live was found well."""
    hook = a_hook(at=at)
    revision = revision_of(hook)
    run = replace(running(revision), at=Moment(at))
    world, _ = begun(hook, run=run, jobs=[a_job(revision, suspended=False, ended=True)])
    memory, _ = hooks.absorb(world, world.memory, NOW)
    assert memory.candidate.hooks[0].phase is Progress.SUCCEEDED
    assert memory.candidate.counted_from == (NOW if begins_anew else None)
    later, _ = hooks.absorb(replace(world, memory=memory), memory, NOW + SECOND)
    assert later.candidate.counted_from == memory.candidate.counted_from, "once"


def test_a_hook_that_failed_ends_its_attempt_also_where_its_spec_is_gone():
    world, revision = begun(a_hook(onFailure="Continue"), run=replace(CALLED, phase=Progress.FAILED))
    whose = hooks.of_candidate(world.memory.candidate)
    bare = replace(world, stored={r: s for r, s in world.stored.items() if r != revision})
    assert hooks.hook_of(bare, whose, whose.runs[0]) is None
    assert (hooks.stops(world, whose, whose.runs[0]), hooks.stops(bare, whose, whose.runs[0])) == (False, True)


@pytest.mark.parametrize(
    ("phase", "message", "irreversible", "why"),
    [
        (Progress.RUNNING, "", True, "and runs"),
        (Progress.RUNNING, "", False, ""),
        (Progress.FAILED, "JobGone: Job x was deleted", True, "and nobody saw its end (JobGone: Job x was deleted)"),
        (Progress.FAILED, "HookTimeout: not done", True, "and nobody saw its end (HookTimeout: not done)"),
        (Progress.FAILED, "NoAnswer: refused", True, "and nobody saw its end (NoAnswer: refused)"),
        (Progress.FAILED, "BackoffLimitExceeded", True, ""),
        (Progress.FAILED, "it said JobGone", True, ""),
        (Progress.PENDING, "", True, ""),
    ],
)
def test_what_may_be_done_by_now_is_what_runs_or_ended_unseen(phase, message, irreversible, why):
    run = HookRun("migrate", Moment.BEFORE_GREEN, phase, message, NOW)
    world, revision = begun(a_hook(irreversible=irreversible), run=run)
    said = f"hook migrate of version 2.0.0 ({revision}) cannot be undone, {why}" if why else ""
    assert hooks.undecided(world, "another") == said
    assert hooks.undecided(world, revision) == ""
    first = replace(run, name="unknown")
    both = replace(world.memory, candidate=replace(world.memory.candidate, hooks=(first, run)))
    assert hooks.undecided(replace(world, memory=both), "another") == said, "one of which nothing is known hides none"
    assert hooks.undecided(replace(world, stored={}), "another") == ""


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, True),
        ({"irreversible": ""}, False),
        ({"suspended": True}, False),
        ({"ended": True}, False),
        ({"revision": "mine"}, False),
    ],
    ids=str,
)
def test_a_job_that_runs_may_have_done_it_though_no_run_is_remembered(fields, told):
    job = replace(a_job("x", suspended=False, irreversible="hook m cannot be undone"), **fields)
    world = replace(a_release().promoted().world(), jobs={job.name: job})
    assert hooks.undecided(world, "mine") == (f"hook m cannot be undone, and its Job {job.name} runs" if told else "")


def seen(world, now=NOW):
    """Return the runs of the candidate after a look, and what is said of them."""
    memory, notes = hooks.absorb(world, world.memory, now)
    return memory.candidate.hooks, [(n.reason, n.warning, n.message) for n in notes]


def test_an_attempt_begins_with_the_hooks_of_its_own_spec_but_those_of_a_rollback():
    written = [a_hook(), a_hook("flush", "AfterSwitch"), a_hook("warm", "AfterRollback")]
    world, revision = begun(*written)
    bare = replace(world, memory=replace(world.memory, candidate=replace(world.memory.candidate, hooks=())))
    assert [r.name for r in seen(bare)[0]] == ["migrate", "flush"]
    gone = replace(bare, stored={r: s for r, s in bare.stored.items() if r != revision})
    assert seen(gone)[0] == ()


def test_a_hook_that_left_the_spec_while_it_ran_is_skipped_and_one_without_its_spec_is_waited_for():
    other = parsed(a_spec("2.0.0"))
    world, revision = begun(a_hook(), run=CALLED)
    changed = replace(world, stored={**world.stored, revision: other})
    skipped = replace(
        CALLED, phase=Progress.SKIPPED, message="it left the spec while it ran", finished_at=NOW, event=""
    )
    assert seen(changed) == ((skipped,), [])
    gone = replace(world, stored={r: s for r, s in world.stored.items() if r != revision})
    assert seen(gone) == ((CALLED,), [])
    pending = begun(a_hook(), run=HookRun("migrate", Moment.BEFORE_GREEN))[0]
    assert seen(replace(pending, stored={})) == ((HookRun("migrate", Moment.BEFORE_GREEN),), [])


@pytest.mark.parametrize(
    ("run", "since", "fails"),
    [
        (HookRun("migrate", Moment.BEFORE_GREEN), 60, True),
        (HookRun("migrate", Moment.BEFORE_GREEN), 59, False),
        (HookRun("migrate", Moment.BEFORE_GREEN, Progress.SUCCEEDED), 60, False),
        (replace(CALLED, started_at=None), 60, False),
    ],
    ids=str,
)
def test_a_job_that_cannot_be_created_for_its_whole_time_fails_its_hook(run, since, fails):
    world, revision = begun(a_hook(timeout="60s"), run=run)
    answer = JobRefused("JobForbidden", "quota", NOW - since * SECOND, NOW)
    found, notes = seen(replace(world, jobs_refused={f"shop-migrate-{revision}-1": answer}))
    if not fails:
        assert (found[0].phase, notes) == (run.phase, [])
        return
    words = "JobForbidden: not created within 60 s: quota"
    assert found == (replace(run, phase=Progress.FAILED, message=words, finished_at=NOW),)
    assert notes == [("HookFailed", True, f"hook migrate of version 2.0.0 (BeforeGreen) failed: {words}")]


@pytest.mark.parametrize(
    ("job", "message", "told"),
    [
        ({}, "", True),
        ({}, "AdmissionFailing: its Job cannot be started: no answer", False),
        ({"suspended": False}, "", False),
        ({"uid": "another"}, "", False),
    ],
    ids=["first", "known", "it runs", "another Job"],
)
def test_that_a_job_cannot_be_started_is_told_once_and_of_no_other(job, message, told):
    revision = revision_of(a_hook())
    run = replace(running(revision), message=message)
    world, _ = begun(a_hook(), run=run, jobs=[a_job(revision, **job)])
    answer = JobRefused("AdmissionFailing", "no answer", NOW - SECOND, NOW)
    found, notes = seen(replace(world, jobs_refused={f"shop-migrate-{revision}-1": answer}))
    words = "AdmissionFailing: its Job cannot be started: no answer"
    assert found[0].message == (words if told else message)
    waits = f"hook migrate of version 2.0.0 (BeforeGreen) waits: {words}"
    assert notes == ([("AdmissionFailing", True, waits)] if told else [])


def test_a_webhook_is_no_job_that_cannot_be_created():
    world, revision = begun(a_hook(webhook=WEBHOOK, timeout="1s"), run=HookRun("migrate", Moment.BEFORE_GREEN))
    answer = JobRefused("JobForbidden", "quota", NOW - 60 * SECOND, NOW)
    assert seen(replace(world, jobs_refused={f"shop-migrate-{revision}-1": answer}))[1] == []


@pytest.mark.parametrize(
    ("message", "said"), [("", "it has no pod"), ("it has no pod; why", "pod "), ("pod x: Unschedulable", "pod x: U")]
)
def test_the_first_that_a_pod_says_of_a_job_is_kept(message, said):
    """A kubelet that tries again says now this and now that; that there is no pod says nothing of one that comes."""
    revision = revision_of(a_hook())
    job = a_job(revision, suspended=False)
    run = replace(running(revision), message=message)
    world = begun(a_hook(), run=run, jobs=[job])[0]
    if message:
        world = replace(world, pods=(*world.pods, pod_of(job, waiting="ImagePullBackOff")))
    assert seen(world, NOW + 9 * SECOND)[0][0].message.startswith(said)


@pytest.mark.parametrize(
    ("job", "gone", "phase", "message"),
    [
        ({"ended": True}, "", Progress.SUCCEEDED, ""),
        ({"ended": True, "failed": True, "reason": "", "message": ""}, "", Progress.FAILED, "JobFailed; its logs: "),
        ({"ended": False}, "", Progress.RUNNING, ""),
        ({"ended": True, "uid": "another"}, "", Progress.RUNNING, ""),
        ({"ended": True, "uid": "another"}, "uid-job", Progress.FAILED, "JobGone: Job shop-migrate-"),
    ],
    ids=str,
)
def test_a_run_ends_as_its_own_job_did(job, gone, phase, message):
    revision = revision_of(a_hook())
    world, _ = begun(
        a_hook(), run=running(revision), jobs=[a_job(revision, **{"suspended": False, **job})], job_gone=gone
    )
    (run,), notes = seen(world, NOW)
    assert (run.phase, run.message.startswith(message)) == (phase, True)
    assert (run.finished_at, len(notes)) == ((None, 0) if phase is Progress.RUNNING else (NOW, 1))
    if phase is Progress.SUCCEEDED:
        assert notes == [("HookSucceeded", False, "hook migrate of version 2.0.0 (BeforeGreen) succeeded")]


@pytest.mark.parametrize(
    ("passed", "phase"), [(True, Progress.SUCCEEDED), (False, Progress.FAILED), (None, Progress.RUNNING)]
)
def test_a_webhook_ends_as_its_receiver_says(passed, phase):
    world, revision = begun(a_hook(webhook=WEBHOOK), run=CALLED)
    (run,), _ = seen(replace(world, called={f"{UID}/{revision}/1/migrate": Called(passed, "HTTP 200")}))
    assert (run.phase, run.message) == (phase, "" if passed is None else "HTTP 200")
    assert run.event == (CALLED.event if passed is None else ""), "it is sent no more"
    assert seen(world)[0] == (CALLED,), "nobody has called it yet"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ending": "DeadlineExceeded"}, "DeadlineExceeded; its pods have not ended yet; its logs: "),
        ({"ending": "DeadlineExceeded", "uid": "another"}, "HookTimeout: not done within 60 s"),
        ({}, "HookTimeout: not done within 60 s; before that: pod x waits"),
    ],
    ids=str,
)
def test_a_run_whose_time_is_up_says_what_is_known_of_its_job(fields, said):
    hook = a_hook(timeout="60s")
    revision = revision_of(hook)
    run = replace(running(revision), message="" if fields else "pod x waits")
    world, _ = begun(hook, run=run, jobs=[a_job(revision, **{"suspended": False, **fields})])
    late = NOW + 99 * SECOND
    (ended,), _ = seen(replace(world, job_read=("uid-job", late)), late)
    assert (ended.phase, ended.message.startswith(said)) == (Progress.FAILED, True)


# --- live's -----------------------------------------------------------------------------------------------------------


def live_with(*runs, written=None, known=True, **changes):
    """Return live after a look, beside a retained 1.0.0, by its runs."""
    raw = a_spec("2.0.0", hooks=written or [a_hook(r.name, str(r.at)) for r in runs])
    spec = parsed(raw)
    world = a_release().live("2.0.0", proven=False).retained("1.0.0").world()
    live = replace(world.memory.live, stack=replace(world.memory.live.stack, revision=spec.revision), hooks=runs)
    world = replace(world, memory=replace(world.memory, live=live), **changes)
    world = replace(world, stored={spec.revision: spec} if known else {})
    return hooks.absorb(world, world.memory, NOW)[0]


FLUSH = HookRun("flush", Moment.AFTER_SWITCH)
BROKEN = replace(FLUSH, phase=Progress.FAILED, message="x", started_at=NOW, finished_at=NOW)


def test_what_comes_after_a_hook_that_failed_after_the_switch_is_skipped():
    later, before = replace(FLUSH, name="later"), HookRun("warm", Moment.BEFORE_SWITCH)
    memory = live_with(BROKEN, later, before)
    skipped = replace(later, phase=Progress.SKIPPED, message="hook flush failed")
    assert memory.live.hooks == (BROKEN, skipped, before)
    allowed = [a_hook("flush", "AfterSwitch", onFailure="Continue"), a_hook("later", "AfterSwitch")]
    assert live_with(BROKEN, later, written=allowed).live.hooks == (BROKEN, later)


def test_what_left_the_spec_before_it_began_is_skipped_and_waited_for_without_its_spec():
    gone = live_with(FLUSH, written=[a_hook("other", "AfterSwitch")]).live
    assert gone.hooks == (replace(FLUSH, phase=Progress.SKIPPED, message="it left the spec"),)
    assert gone.watch_since == NOW, "nothing that follows the switch is left to be done"
    unknown = live_with(FLUSH, known=False).live
    assert (unknown.hooks, unknown.watch_since) == ((FLUSH,), NOW - timedelta(hours=1))


def test_what_cannot_be_undone_after_the_switch_marks_what_is_retained():
    run = replace(FLUSH, phase=Progress.RUNNING, started_at=NOW, job="j", job_uid="uid-job")
    job = a_job("x", name="j", hook="flush", suspended=False, ended=True)
    for irreversible in (True, False):
        written = [a_hook("flush", "AfterSwitch", irreversible=irreversible)]
        memory = live_with(run, written=written, jobs={"j": job})
        assert memory.live.hooks[0].phase is Progress.SUCCEEDED
        assert bool(memory.retained[0].unsafe) is irreversible
        assert memory.live.unsafe == ""
    done = replace(run, phase=Progress.SUCCEEDED)
    again = live_with(done, written=[a_hook("flush", "AfterSwitch", irreversible=True)])
    assert again.retained[0].unsafe == "", "it is said when it happens"


@pytest.mark.parametrize(("seconds", "left"), [(-1, True), (0, False), (1, False)])
def test_a_webhook_that_was_given_up_is_waited_for_until_its_time_is_up(seconds, left):
    world = a_release().live().world()
    memory = replace(world.memory, webhook_left=WebhookLeft("smoke", "0.9.0", NOW))
    assert bool(hooks.absorb(world, memory, NOW + seconds * SECOND)[0].webhook_left) is left


def test_what_follows_a_rollback_is_due_once_by_the_spec_of_what_was_left():
    spec = parsed(a_spec("2.0.0", hooks=[a_hook("flush", "AfterSwitch"), a_hook("warm", "AfterRollback")]))
    world = a_release().live().world()
    back = replace(world.memory.live, left=Left(spec.revision, "2.0.0", 3), act=7)
    world = replace(world, memory=replace(world.memory, live=back), stored={spec.revision: spec})
    memory, _ = hooks.absorb(world, world.memory, NOW)
    assert memory.live.hooks == (HookRun("warm", Moment.AFTER_ROLLBACK),)
    (whose,) = hooks.series(memory)
    assert (whose.revision, whose.version, whose.attempt) == (spec.revision, "2.0.0", "3-r7")
    bare = replace(world, stored={})
    assert hooks.absorb(bare, bare.memory, NOW)[0].live.hooks == ()
    own = replace(world.memory, live=replace(back, left=None))
    assert hooks.absorb(world, own, NOW)[0].live.hooks == ()
    assert not hooks.pending_after_switch(memory.live.hooks), "and no watch waits for it"


# --- what a memory that leaves a run out hands on ---------------------------------------------------------------------


def handed(run, *, kept=None, latch="", **hook):
    """Return the memory that follows where the candidate is given up while a hook of it is as told."""
    world, revision = begun(a_hook(**hook), run=run)
    latched = (Latched(world.memory.candidate.stack, latch, "", NOW),) if latch else ()
    return hooks.handed_on(world, replace(world.memory, candidate=kept, latched=latched)), revision


def test_of_a_webhook_that_is_given_up_while_it_runs_it_is_known_until_when():
    memory, _ = handed(CALLED, webhook=WEBHOOK, timeout="60s")
    assert memory.webhook_left == WebhookLeft("migrate", "2.0.0", CALLED.started_at + 60 * SECOND)
    assert memory.live.unsafe == ""
    for other in (replace(CALLED, phase=Progress.SUCCEEDED), replace(CALLED, started_at=None)):
        assert handed(other, webhook=WEBHOOK)[0].webhook_left is None
    assert handed(CALLED)[0].webhook_left is None, "a Job says itself how it ends"
    world, _ = begun(a_hook(webhook=WEBHOOK), run=CALLED)
    gone = hooks.handed_on(replace(world, stored={}), replace(world.memory, candidate=None))
    assert gone.webhook_left is None, "nobody knows any more that it was one"
    candidate = world.memory.candidate
    assert handed(CALLED, kept=candidate, webhook=WEBHOOK)[0].webhook_left is None


@pytest.mark.parametrize(
    ("run", "latch", "hook", "given_up"),
    [
        (CALLED, "", {"webhook": WEBHOOK}, True),
        (replace(CALLED, job="j"), "", {}, False),
        (replace(CALLED, job="j"), "Superseded", {}, False),
        (replace(CALLED, job="j"), "Aborted", {}, True),
    ],
    ids=["webhook", "job", "superseded", "aborted"],
)
def test_an_irreversible_run_that_is_given_up_leaves_a_mark_where_nobody_will_see_its_end(run, latch, hook, given_up):
    memory, revision = handed(run, latch=latch, irreversible=True, **hook)
    why = f"hook migrate of version 2.0.0 ({revision}) cannot be undone, and was given up while it ran"
    assert memory.live.unsafe == (why if given_up else "")


def test_an_irreversible_run_whose_end_nobody_saw_leaves_a_mark_when_it_is_left_out():
    run = replace(CALLED, phase=Progress.FAILED, message="JobGone: x", job="j")
    assert "nobody saw its end (JobGone: x)" in handed(run, irreversible=True)[0].live.unsafe
    assert handed(run)[0].live.unsafe == ""
    assert handed(replace(run, message="it broke"), irreversible=True)[0].live.unsafe == ""


def test_one_run_that_leaves_nothing_behind_hides_no_other():
    world, _ = begun(a_hook("first"), a_hook("migrate", irreversible=True))
    first, second = world.memory.candidate.hooks
    for before in (first, replace(first, phase=Progress.RUNNING, started_at=NOW, job="j")):
        runs = (before, replace(second, phase=Progress.FAILED, message="JobGone: x"))
        memory = replace(world.memory, candidate=replace(world.memory.candidate, hooks=runs))
        after = hooks.handed_on(replace(world, memory=memory), replace(memory, candidate=None))
        assert "JobGone" in after.live.unsafe


# --- what was given up ------------------------------------------------------------------------------------------------


def story(attempt, outcome=Outcome.ABORTED, revision="x"):
    entry = a_release().live().memory.history[0]
    return replace(entry, revision=revision, attempt=attempt, outcome=outcome)


@pytest.mark.parametrize(
    ("latch", "history", "aborted"),
    [
        ("Aborted", [], True),
        ("HookFailed", [], False),
        ("", [story(2)], True),
        ("", [story(1)], False),
        ("", [story(2, revision="y")], False),
        ("", [story(2, Outcome.FAILED)], False),
        ("HookFailed", [story(1), story(2)], True),
    ],
)
def test_a_job_was_aborted_whose_attempt_people_ended(latch, history, aborted):
    memory = a_release().live().memory
    latched = (Latched(replace(a_stack("2.0.0"), revision="x"), latch, "", NOW),) if latch else ()
    memory = replace(memory, latched=latched, history=tuple(history))
    assert hooks.was_aborted(memory, a_job("x", attempt="2")) is aborted


@pytest.mark.parametrize(
    ("fields", "marks"), [({}, True), ({"irreversible": ""}, False), ({"suspended": True}, False)], ids=str
)
def test_only_a_job_that_may_have_done_it_leaves_a_mark_where_it_is_given_up(fields, marks):
    world = a_release().promoted().world()
    job = a_job("x", **{"suspended": False, "irreversible": "hook migrate cannot be undone", **fields})
    memory = hooks.given_up(world, job)
    why = "hook migrate cannot be undone, and was given up while it ran" if marks else ""
    assert (memory.live.unsafe, memory.retained[0].unsafe) == (why, why)
    own = hooks.given_up(world, replace(job, revision=world.memory.live.stack.revision))
    assert (own.live.unsafe, own.retained[0].unsafe) == ("", why)
    first = hooks.given_up(replace(world, memory=replace(world.memory, live=None)), job)
    assert (first.live, first.retained[0].unsafe) == (None, why)
    older = hooks.given_up(world, replace(job, revision=world.memory.retained[0].stack.revision))
    assert (older.live.unsafe, older.retained[0].unsafe) == (why, "")


def test_what_is_done_since_says_more_than_that_a_person_went_back_by_force():
    world = a_release().promoted().world()
    kept = tuple(replace(r, forced_at=NOW) for r in world.memory.retained)
    job = a_job("x", suspended=False, irreversible="hook migrate cannot be undone")
    memory = hooks.given_up(replace(world, memory=replace(world.memory, retained=kept)), job)
    assert (bool(memory.retained[0].unsafe), memory.retained[0].forced_at) == (True, None)


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_a_webhook_is_told_of_its_run_as_a_job_is():
    begun_by_an_older_operator = replace(CALLED, event="")
    world, revision = begun(a_hook(webhook=WEBHOOK, timeout="1m"), run=begun_by_an_older_operator)
    (call,) = hooks.calls(world)
    body = json.loads(call.body)
    assert (body["type"], body["subject"]) == (f"{names.GROUP}.hook", "migrate")
    assert (body["id"], call.id) == (f"{UID}/{revision}/1/migrate",) * 2
    assert body["time"] == "2026-03-02T11:59:55.000Z"
    assert (body["data"]["at"], body["data"]["live_version"], body["data"]["attempt"]) == ("BeforeGreen", "1.0.0", "1")
    assert call.until == CALLED.started_at + timedelta(minutes=1)


@pytest.mark.parametrize("run", [replace(CALLED, phase=Progress.SUCCEEDED), replace(CALLED, started_at=None)], ids=str)
def test_a_webhook_is_called_only_while_its_run_goes_on(run):
    assert hooks.calls(begun(a_hook(webhook=WEBHOOK), run=run)[0]) == frozenset()
    assert hooks.calls(replace(begun(a_hook(webhook=WEBHOOK), run=CALLED)[0], stored={})) == frozenset()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://hooks.example.com/T0KEN", "https://hooks.example.com"),
        ("http://hooks.example.com:8080/T0KEN", "http://hooks.example.com:8080"),
        ("https://hooks.example.com:port/T0KEN", "its URL"),
        ("T0KEN", "://"),
    ],
)
def test_of_an_url_only_whom_it_names_is_said(url, said):
    hook, _, _ = hook_and_world(webhook={"url": url})
    assert hooks.whom(hook) == said


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example.com:8443/a", True),
        ("https://hooks.example.com/a", False),
        ("https://hooks.example.com:9/a", False),
        ("https:///a", False),
        ("https://user@hooks.example.com:8443/a", False),
        ("https://:word@hooks.example.com:8443/a", False),
    ],
)
def test_a_host_may_be_allowed_at_one_port_only(url, allowed):
    assert (hooks.refused_url(url, frozenset({"hooks.example.com:8443"})) == "") is allowed


# --- what is asked before a spec is accepted --------------------------------------------------------------------------


def test_the_api_server_is_asked_about_jobs_and_about_each_anew_when_it_changes():
    changed = a_hook("other", job={**a_hook()["job"], "backoffLimit": 1})
    spec = parsed(a_spec("2.0.0", hooks=[a_hook(), a_hook("call", webhook=WEBHOOK), changed]))
    asked = list(hooks.dry_runs(a_release().live().world(), spec))
    assert [hook for _, hook, _ in asked] == ["migrate", "other"]
    assert len({key for key, _, _ in asked}) == 2
    assert all(key.startswith("hook/") for key, _, _ in asked)


def test_a_preview_and_a_webhook_select_no_pods_of_a_hook():
    pod = {"metadata": {"labels": {"app": "backend"}}, "spec": {"containers": [{"name": "main"}]}}
    world = replace(a_release().live().world(), webhook_hosts=frozenset({"hooks.example.com"}))
    spec = parsed(a_spec("2.0.0", hooks=[a_hook(job={"template": pod})]))
    service = replace(world.services["backend"], labels={names.RELEASE: KEY.name, names.PREVIEW_OF: "backend"})
    assert hooks.problem(world, spec)[0] == "HookSelected"
    assert hooks.problem(replace(world, services={"backend": service}), spec) is None
    called = parsed(a_spec("2.0.0", hooks=[a_hook(webhook=WEBHOOK)]))
    every_hook = replace(world.services["backend"], selector={names.HOOK: "migrate"})
    assert hooks.problem(replace(world, services={"backend": every_hook}), called) is None
    unwritten = parsed(a_spec("2.0.0", hooks=[a_hook(job={})]))
    assert hooks.problem(replace(world, services={"backend": every_hook}), unwritten)[0] == "HookSelected"
