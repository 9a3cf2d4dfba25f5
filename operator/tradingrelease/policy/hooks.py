"""Hooks: what is done once per revision and attempt. Their runs, their Jobs and calls, and what came of them.

A run is remembered as Running, with the uid of its Job, before that Job may run: so no restart, no second operator and
no late write runs it twice. Outcomes are observed and taken into memory here; what follows from them is decided in
`rules/hooks.py`.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final
from urllib.parse import urlsplit

from tradingrelease.policy import checks, cloudevent, irreversible, names
from tradingrelease.policy.blue import asks_blue, is_due
from tradingrelease.policy.manifests import owner
from tradingrelease.policy.memory import stamp
from tradingrelease.policy.model import (
    Call,
    Candidate,
    HookRun,
    Job,
    JobRefused,
    Live,
    Memory,
    Note,
    Pod,
    Service,
    Stack,
    WebhookLeft,
    World,
)
from tradingrelease.policy.pods import LONGEST_WORDS, of_hook
from tradingrelease.policy.reasons import Moment, Outcome, Progress
from tradingrelease.policy.spec import Hook, Spec

Json = dict[str, Any]

GRACE: Final = timedelta(seconds=10)
"""How much longer than its timeout and the grace of its pods a Job may take to be reported as ended by the cluster."""
PODS_END_WITHIN: Final = 30
"""Seconds of grace of a pod whose template says nothing of it."""
BLUE_WITHIN: Final = timedelta(seconds=60)
"""How long live may take to be found well after a hook that ran beside it."""
UNSEEN: Final = ("JobGone", "HookTimeout", "NoAnswer")
"""How the message of a run begins that failed because nobody saw its end: it may have done all that it was to do."""
GIVEN_UP: Final = "and was given up while it ran"
ABORTED: Final = "Aborted"
"""Reason of the latch of an attempt whose Jobs are ended with it."""
PODS_COME_WITHIN: Final = timedelta(seconds=10)
"""How long the Job controller may take to create a pod, before it is said that there is none."""
NO_POD: Final = "it has no pod"
REREAD: Final = timedelta(seconds=5)
"""How long what was read of a Job holds that no watch tells of."""
JOB_NAME: Final = "batch.kubernetes.io/job-name"
"""Label that the Job controller gives a Job's pods."""


@dataclass(frozen=True, slots=True)
class Series:
    """The runs that belong together: those of one revision and attempt."""

    revision: str
    version: str
    attempt: str
    runs: tuple[HookRun, ...]

    def job_name(self, release: str, hook: str) -> str:
        """Return the name of a run's Job."""
        return names.job_name(release, hook, self.revision, self.attempt)

    def call_id(self, uid: str, hook: str) -> str:
        """Return the id that a receiver of a webhook sees on every call of one run."""
        return f"{uid}/{self.revision}/{self.attempt}/{hook}"

    def at(self, moment: Moment) -> tuple[HookRun, ...]:
        """Return the runs of one moment, in their order."""
        return tuple(run for run in self.runs if run.at is moment)


def of_candidate(candidate: Candidate) -> Series:
    """Return the runs of a candidate."""
    return Series(candidate.stack.revision, candidate.stack.version, str(candidate.attempt), candidate.hooks)


def of_live(live: Live) -> Series:
    """Return the runs of live; after a rollback those of what was left, which are of that rollback alone."""
    if left := live.left:
        return Series(left.revision, left.version, f"{left.attempt}-r{live.act}", live.hooks)
    return Series(live.stack.revision, live.stack.version, str(live.attempt), live.hooks)


def series(memory: Memory) -> Iterator[Series]:
    """Yield all runs that are remembered."""
    if memory.live:
        yield of_live(memory.live)
    if memory.candidate:
        yield of_candidate(memory.candidate)


def running(memory: Memory) -> tuple[Series, HookRun] | None:
    """Return the run that goes on now, if there is one."""
    return next(((s, r) for s in series(memory) for r in s.runs if r.phase is Progress.RUNNING), None)


def hook_of(world: World, whose: Series, run: HookRun) -> Hook | None:
    """Return the hook of a run, as the stored spec of its own revision has it."""
    spec = world.spec_of(whose.revision)
    return spec.hook(run.name) if spec else None


def stops(world: World, whose: Series, run: HookRun) -> bool:
    """Tell whether a run failed and that ends the attempt."""
    hook = hook_of(world, whose, run)
    return run.phase is Progress.FAILED and (hook is None or hook.stops)


def next_attempt(world: World, revision: str) -> int:
    """Return the number of a revision's next attempt: one that no attempt, Job or answer of it ever had."""
    ended = [entry for entry in world.memory.history if entry.revision == revision]
    known = [len(ended), *(entry.attempt for entry in ended)]
    known += [number(job.attempt) for job in world.jobs.values() if job.revision == revision]
    return max(known) + 1


def number(attempt: str) -> int:
    """Return the number of an attempt; what follows a rollback (`3-r7`) belongs to the one that was left."""
    first = attempt.partition("-")[0]
    return int(first) if first.isascii() and first.isdigit() else 0


# --- what came of them ------------------------------------------------------------------------------------------------

Absorbed = tuple[Memory, tuple[Note, ...]]


def absorb(world: World, memory: Memory, now: datetime) -> Absorbed:
    """Return the memory with what came of running hooks, and what there is to say about it."""
    notes: list[Note] = []
    if candidate := memory.candidate:
        candidate = replace(candidate, hooks=_begun(world, candidate))
        before = of_candidate(candidate)
        after = replace(before, runs=tuple(_followed(world, before, run, now, notes) for run in before.runs))
        memory = _cannot_be_undone(world, memory, before, after)
        after = _blue_is_well(world, after, now)
        candidate = replace(candidate, hooks=after.runs)
        if green_may_begin(memory, after) and not green_may_begin(memory, before):
            candidate = replace(candidate, counted_from=now)
        if any(r.at is Moment.BEFORE_SWITCH and r.finished_at == now for r in after.runs):
            candidate = replace(candidate, counted_from=now)  # no deadline ran while it did
        memory = replace(memory, candidate=candidate)
    if live := memory.live:
        live = replace(live, hooks=_due_after_rollback(world, live))
        before = of_live(live)
        after = replace(before, runs=tuple(_followed(world, before, run, now, notes) for run in before.runs))
        after = _rest_is_skipped(world, after)
        memory = _cannot_be_undone(world, memory, before, after)
        ended = not pending_after_switch(after.runs) and pending_after_switch(before.runs)
        # The watch counts from the end of what follows the switch.
        live = replace(live, hooks=after.runs, watch_since=now if ended else live.watch_since)
        memory = replace(memory, live=live)
    if memory.webhook_left and now >= memory.webhook_left.until:
        memory = replace(memory, webhook_left=None)
    return irreversible.found_again(world, memory), tuple(notes)


def _begun(world: World, candidate: Candidate) -> tuple[HookRun, ...]:
    spec = world.spec_of(candidate.stack.revision)
    if candidate.hooks or spec is None:
        return candidate.hooks
    return begun(spec)


def begun(spec: Spec) -> tuple[HookRun, ...]:
    """Return the runs of an attempt that begins."""
    return tuple(HookRun(h.name, h.at) for h in spec.hooks if h.at is not Moment.AFTER_ROLLBACK)


def _due_after_rollback(world: World, live: Live) -> tuple[HookRun, ...]:
    spec = world.spec_of(live.left.revision) if live.left else None
    if live.hooks or spec is None:
        return live.hooks
    return tuple(HookRun(h.name, h.at) for h in spec.hooks_at(Moment.AFTER_ROLLBACK))


def _followed(world: World, whose: Series, run: HookRun, now: datetime, notes: list[Note]) -> HookRun:
    """Return a run with what came of it by now."""
    hook = hook_of(world, whose, run)
    if run.phase is Progress.PENDING and hook and (why := _never_created(world, whose, hook, now)):
        return _ended(whose, run, Progress.FAILED, why, now, notes)
    if run.phase is not Progress.RUNNING or run.started_at is None:
        return run
    if hook is None:
        known = world.spec_of(whose.revision)  # a stored spec that was deleted is rebuilt without hooks
        text = "it left the spec while it ran"
        return replace(run, phase=Progress.SKIPPED, message=text, finished_at=now, event="") if known else run
    ended = _job_ended(world, run) if hook.job is not None else _call_ended(world, whose, run)
    if ended is None and out_of_time(hook, run, now) and not unread(world, hook, run):
        ended = _out_of_time(world, hook, run)
    if ended is None:
        # The first that a pod says of it: a kubelet that tries again says now this and now that.
        said = trouble(world, run, now) if not run.message or run.message.startswith(NO_POD) else ""
        if said and (refused := refused_start(world, run)):
            text = f"hook {run.name} of version {whose.version} ({run.at}) waits: {said}"
            notes.append(Note(refused.reason, text, f"{whose.revision}/{whose.attempt}/{run.name}", warning=True))
        return replace(run, message=said) if said else run
    return _ended(whose, run, *ended, now, notes)


def _ended(whose: Series, run: HookRun, phase: Progress, message: str, now: datetime, notes: list[Note]) -> HookRun:
    well = phase is Progress.SUCCEEDED
    text = f"hook {run.name} of version {whose.version} ({run.at})" + ("" if well else f" failed: {message}")
    about = f"{whose.revision}/{whose.attempt}/{run.name}"
    notes.append(Note("HookSucceeded", f"{text} succeeded", about) if well else _failed(text, about))
    return replace(run, phase=phase, message=message, finished_at=now, event="")


def _never_created(world: World, whose: Series, hook: Hook, now: datetime) -> str:
    """Say why a Job could not be created for as long as it might have run; "" if it could, or may yet."""
    refused = world.jobs_refused.get(whose.job_name(world.key.name, hook.name)) if hook.job is not None else None
    if refused is None or now - refused.since < hook.timeout:
        return ""
    return f"{refused.reason}: not created within {_seconds(hook.timeout)}: {refused.message}"


def refused_again(
    known: Mapping[str, JobRefused], name: str, reason: str, message: str, now: datetime
) -> dict[str, JobRefused]:
    """Return what is noted of Jobs that cannot be created, after one more answer. One is tried at a time."""
    since = known[name].since if name in known else now
    return {name: JobRefused(reason, message, since, now)}


def allowed(hook: Hook) -> timedelta:
    """Return how long a run may take until it is taken for failed."""
    if hook.job is None:
        return hook.timeout
    pod = (hook.job.get("template") or {}).get("spec") or {}
    return hook.timeout + GRACE + timedelta(seconds=int(pod.get("terminationGracePeriodSeconds", PODS_END_WITHIN)))


def out_of_time(hook: Hook, run: HookRun, now: datetime) -> bool:
    """Tell whether a run has had all its time."""
    return run.started_at is not None and now - run.started_at >= allowed(hook)


def unread(world: World, hook: Hook, run: HookRun) -> bool:
    """Tell whether a run's Job was not read since its time was up: a watch that is behind may not know of its end."""
    if hook.job is None or run.started_at is None:
        return False
    read = world.job_read
    return read is None or read[0] != run.job_uid or read[1] < run.started_at + allowed(hook)


def _out_of_time(world: World, hook: Hook, run: HookRun) -> tuple[Progress, str]:
    job = world.jobs.get(run.job)
    if job and job.uid == run.job_uid and job.ending:
        return Progress.FAILED, _failure(world, job, run, f"{job.ending}; its pods have not ended yet")
    if refused_start(world, run):
        return Progress.FAILED, f"NotStarted: not started within {_seconds(hook.timeout)}{_before(run)}"
    return Progress.FAILED, f"HookTimeout: not done within {_seconds(hook.timeout)}{_before(run)}"


def _before(run: HookRun) -> str:
    return f"; before that: {run.message}" if run.message else ""


def _failed(text: str, about: str) -> Note:
    return Note("HookFailed", text, about, warning=True)


def _job_ended(world: World, run: HookRun) -> tuple[Progress, str] | None:
    job = world.jobs.get(run.job)
    if job is None or job.uid != run.job_uid:
        if world.job_gone != run.job_uid:
            return None  # the watch may be behind: it is read before anything is said
        return Progress.FAILED, f"JobGone: Job {run.job} was deleted before its end was seen; it is not run twice"
    if not job.ended:
        return None
    if not job.failed:
        return Progress.SUCCEEDED, ""
    said = f": {job.message}" if job.message else ""
    return Progress.FAILED, _failure(world, job, run, f"{job.reason or 'JobFailed'}{said}")


def _failure(world: World, job: Job, run: HookRun, why: str) -> str:
    logs = f"kubectl -n {world.key.namespace} logs job/{job.name} --all-containers"
    return f"{why}{_last_words(world, job) or _before(run)}; its logs: {logs}"


def _last_words(world: World, job: Job) -> str:
    """Say how the containers of a failed Job ended, where their pods are still there."""
    pods = [pod for pod in world.pods if pod.labels.get(JOB_NAME) == job.name]
    for pod in sorted(pods, key=lambda p: (p.created_at, p.name), reverse=True):
        for container in pod.containers:
            if container.exit_code:
                words = " ".join(container.last_words.split())[-LONGEST_WORDS:]
                code = f"; container {container.name} ended with exit code {container.exit_code}"
                return f"{code} ({container.died})" + (f": {words}" if words else "")
    return ""


def _call_ended(world: World, whose: Series, run: HookRun) -> tuple[Progress, str] | None:
    called = world.called.get(whose.call_id(world.uid, run.name))
    if called is None or called.passed is None:
        return None
    return (Progress.SUCCEEDED, called.said) if called.passed else (Progress.FAILED, called.said)


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"


def _rest_is_skipped(world: World, whose: Series) -> Series:
    """Skip what comes after a switch, once something of it failed: the revision goes."""
    failed = next((run for run in whose.at(Moment.AFTER_SWITCH) if stops(world, whose, run)), None)
    spec = world.spec_of(whose.revision)

    def skipped(run: HookRun) -> HookRun:
        if run.phase is not Progress.PENDING:
            return run
        if failed and run.at is Moment.AFTER_SWITCH:
            return replace(run, phase=Progress.SKIPPED, message=f"hook {failed.name} failed")
        if spec and spec.hook(run.name) is None:
            return replace(run, phase=Progress.SKIPPED, message="it left the spec")
        return run

    return replace(whose, runs=tuple(skipped(run) for run in whose.runs))


def pending_after_switch(runs: tuple[HookRun, ...]) -> bool:
    """Tell whether something that follows the switch is yet to be done."""
    return any(run.at is Moment.AFTER_SWITCH and not run.over for run in runs)


# --- what cannot be undone --------------------------------------------------------------------------------------------


def undecided(world: World, revision: str) -> str:
    """Say which irreversible hook may be done by now, as nobody goes back to a revision meanwhile; "" if none.

    It runs, or nobody saw its end. Asked at every look and stored nowhere: one that ends as a failure takes it away.
    """
    for whose in series(world.memory):
        for run in whose.runs if whose.revision != revision else ():
            if why := _may_be_done(world, whose, run):
                return why
    going = (job for job in world.jobs.values() if job.irreversible and not job.suspended and not job.ended)
    return next((f"{job.irreversible}, and its Job {job.name} runs" for job in going if job.revision != revision), "")


def _may_be_done(world: World, whose: Series, run: HookRun) -> str:
    hook = hook_of(world, whose, run)
    if hook is None or not hook.irreversible:
        return ""
    why = irreversible.words(run.name, whose.version, whose.revision)
    if run.phase is Progress.RUNNING:
        return f"{why}, and runs"
    return f"{why}, and nobody saw its end ({run.message})" if run.message.startswith(UNSEEN) else ""


def handed_on(world: World, memory: Memory) -> Memory:
    """Return a memory that is to be stored, with what must be known of runs that it leaves out.

    Of a webhook that may still be in progress, until when; of an irreversible run that may be done, a mark. A Job that
    goes on says itself how it ends; a webhook, and a Job that goes with its attempt, say nothing more.
    """
    kept = {(s.revision, s.attempt, run.name) for s in series(memory) for run in s.runs}
    for whose in series(world.memory):
        for run in whose.runs:
            if (whose.revision, whose.attempt, run.name) in kept:
                continue
            hook = hook_of(world, whose, run)
            if hook and hook.webhook and run.phase is Progress.RUNNING and run.started_at:
                left = WebhookLeft(run.name, whose.version, run.started_at + hook.timeout)
                memory = replace(memory, webhook_left=left)
            why = _may_be_done(world, whose, run)
            if not why:
                continue
            if run.phase is Progress.RUNNING:
                if run.job and not _ends_aborted(memory, whose.revision):
                    continue
                why = f"{irreversible.words(run.name, whose.version, whose.revision)}, {GIVEN_UP}"
            memory = _marked(memory, whose.revision, why)
    return memory


def was_aborted(memory: Memory, job: Job) -> bool:
    """Tell whether people ended the attempt of a Job, also where they have ordered a Retry since: that waits for it."""
    ended = ((e.revision, e.attempt) for e in memory.history if e.outcome is Outcome.ABORTED)
    return _ends_aborted(memory, job.revision) or (job.revision, number(job.attempt)) in ended


def _ends_aborted(memory: Memory, revision: str) -> bool:
    latch = memory.latch_of(revision)
    return latch is not None and latch.reason == ABORTED


def given_up(world: World, job: Job) -> Memory:
    """Return the memory that has to be stored before a Job is deleted that runs: nobody will know how far it came."""
    if not job.irreversible or job.suspended:
        return world.memory
    return _marked(world.memory, job.revision, f"{job.irreversible}, {GIVEN_UP}")


def _marked(memory: Memory, revision: str, why: str) -> Memory:
    """Mark what is older than a hook: all but its own revision."""

    def older(role: irreversible.Role) -> irreversible.Role:
        return role if role.stack.revision == revision else replace(role, unsafe=why, forced_at=None)

    return replace(memory, retained=tuple(map(older, memory.retained)), live=memory.live and older(memory.live))


def _cannot_be_undone(world: World, memory: Memory, before: Series, after: Series) -> Memory:
    """Mark what is older than an irreversible hook that has just succeeded: it is no target of a rollback any more.

    A Job says the same to whoever finds it later (`irreversible.py`).
    """
    for was, run in zip(before.runs, after.runs, strict=True):
        hook = hook_of(world, after, run)
        if run.phase is not Progress.SUCCEEDED or was.phase is run.phase or hook is None or not hook.irreversible:
            continue
        memory = _marked(memory, after.revision, irreversible.words(run.name, after.version, after.revision))
    return memory


# --- blue after a hook that ran beside it -----------------------------------------------------------------------------


def _blue_is_well(world: World, whose: Series, now: datetime) -> Series:
    """Note that live was found well after a hook."""

    def asked(run: HookRun) -> HookRun:
        if not is_due(run) or stops(world, whose, run):
            return run
        unwell, lacking = blue(world, run)
        return run if unwell or lacking else replace(run, blue_passed_at=now)

    return replace(whose, runs=tuple(asked(run) for run in whose.runs))


def blue(world: World, run: HookRun) -> tuple[str, str]:
    """Say how live fails since a hook ran, and what is yet to be heard of it; two times "": it is well."""
    live, where = world.memory.live, asks_blue(world.memory)
    if live is None:
        return "", ""
    lacking = "" if where else "it has not been asked yet"
    for member in live.stack.members:
        deployment = world.deployment(member.name, member.revision)
        if deployment is None or deployment.replicas == 0:
            continue
        if run.started_at and (text := checks.crashed_since(world, deployment, run.started_at)):
            return f"component {member.name}: {text}", ""
        health = world.health_of(live.stack.revision, member.name)
        for pod in world.pods_of(deployment):
            streak = world.streaks.get((where, pod.uid))
            if health is None:
                lacking = lacking if pod.ready else f"component {member.name}, pod {pod.name} is not ready"
            elif streak and streak.failed >= health.failure_threshold:
                return f"component {member.name}, pod {pod.name}: {streak.last}", ""
            elif streak is None or streak.passed < health.success_threshold:
                lacking = f"component {member.name}, pod {pod.name} has not passed yet"
    return "", lacking


def green_may_begin(memory: Memory, whose: Series) -> bool:
    """Tell whether all that comes before green is over, and live was found well after it."""
    first = memory.live is None
    return all(run.over and (first or run.blue_passed_at) for run in whose.at(Moment.BEFORE_GREEN))


# --- Jobs -------------------------------------------------------------------------------------------------------------


def job(world: World, whose: Series, hook: Hook) -> Json:
    """Return the Job of a run: as its author wrote it, suspended, and ended by the cluster itself when its time is up.

    Its pods carry no revision, so that no Service of a release selects them.
    """
    written: Json = copy.deepcopy(hook.job or {})
    most = max(ceil(hook.timeout.total_seconds()), 1)
    template = written.setdefault("template", {})
    metadata = template.get("metadata") or {}
    labels = {names.RELEASE: world.key.name, names.HOOK: hook.name}
    template["metadata"] = {**metadata, "labels": dict(metadata.get("labels") or {}) | labels}
    pod = template.get("spec") or {}
    pod.setdefault("restartPolicy", "Never")  # its pods stay, and with them their logs
    why = irreversible.words(hook.name, whose.version, whose.revision) if hook.irreversible else ""
    env = [{"name": name, "value": value} for name, value in environment(world, whose, hook).items()]
    for container in [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]:
        container["env"] = [*(container.get("env") or ()), *env]
    template["spec"] = pod
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": whose.job_name(world.key.name, hook.name),
            "namespace": world.key.namespace,
            "labels": labels | {names.REVISION: whose.revision},
            "annotations": {
                names.RELEASE_UID: world.uid,
                names.ATTEMPT: whose.attempt,
                **({names.IRREVERSIBLE: why} if why else {}),
            },
            "ownerReferences": [owner(world.key, world.uid)],
        },
        "spec": {
            **written,
            "suspend": True,
            "activeDeadlineSeconds": min(int(written.get("activeDeadlineSeconds") or most), most),
        },
    }


def environment(world: World, whose: Series, hook: Hook) -> dict[str, str]:
    """Return what a hook is told: which release and revision it runs for, and where green and blue answer."""
    memory = world.memory
    live = memory.live.stack if memory.live else None
    told = {
        "RELEASE": world.key.name,
        "NAMESPACE": world.key.namespace,
        "VERSION": whose.version,
        "REVISION": whose.revision,
        "ATTEMPT": whose.attempt,
        "HOOK": hook.name,
        "LIVE_VERSION": live.version if live else "",
        "LIVE_REVISION": live.revision if live else "",
    }
    for kind, urls in (("PREVIEW_URL", _previews(world, hook)), ("LIVE_URL", _urls(world, live))):
        told |= {f"{kind}_{name.upper().replace('-', '_')}": url for name, url in urls.items()}
    return {f"TRADINGRELEASE_{name}": value for name, value in told.items()}


def _previews(world: World, hook: Hook) -> dict[str, str]:
    """Return where green answers: only before the switch is there anything to preview."""
    candidate = world.memory.candidate
    green = candidate.stack if candidate and hook.at is Moment.BEFORE_SWITCH else None
    return _urls(world, green, names.preview_name)


def _urls(world: World, stack: Stack | None, named: Any = str) -> dict[str, str]:  # noqa: ANN401 - a function of names
    """Return the URL of each component's first Service."""
    found = ((m.name, world.services.get(named(m.services[0]))) for m in (stack.members if stack else ()) if m.services)
    return {name: _url(world, service) for name, service in found if service}


def _url(world: World, service: Service) -> str:
    port: Mapping[str, Any] = service.ports[0] if service.ports else {}
    hints = (port.get("name"), port.get("appProtocol"))
    secure = port.get("port") == 443 or any(str(hint).startswith("https") for hint in hints)
    number = f":{port['port']}" if "port" in port else ""
    return f"http{'s' if secure else ''}://{service.name}.{world.key.namespace}.svc{number}"


def strays(world: World) -> list[Job]:
    """Return Jobs that have not ended and that no remembered run waits for."""
    known = {run.job_uid for s in series(world.memory) for run in s.runs if run.phase is Progress.RUNNING}
    due = {s.job_name(world.key.name, run.name) for s in series(world.memory) for run in s.runs if not run.over}
    return [
        job
        for job in world.jobs.values()
        if not job.ended and job.uid not in known and not (job.suspended and job.name in due)
    ]


def trouble(world: World, run: HookRun, now: datetime) -> str:
    """Say what keeps the Job of a run from running, in the cluster's words; "" if it runs, or is yet to begin."""
    job = world.jobs.get(run.job)
    if refused := refused_start(world, run):
        return f"{refused.reason}: its Job cannot be started: {refused.message}"
    if job is None or job.ended or job.ending or job.suspended or run.started_at is None:
        return ""
    mine = [pod for pod in world.pods if pod.labels.get(JOB_NAME) == job.name]
    if not mine and now - run.started_at >= PODS_COME_WITHIN:
        return f"{NO_POD}; why: kubectl -n {world.key.namespace} describe job {job.name}"
    found = (of_hook(pod) for pod in mine if not pod.over)
    return next((t.message for t in found if t), "")


def refused_start(world: World, run: HookRun) -> JobRefused | None:
    """Return why the Job of a run could not be started when that was last tried; None if it runs, or was not tried."""
    job = world.jobs.get(run.job)
    return world.jobs_refused.get(run.job) if job and job.suspended and job.uid == run.job_uid else None


def lingering(world: World) -> Pod | None:
    """Return a pod of a hook that still runs. Its Job may be gone already: a pod takes its time to end."""
    return next((pod for pod in world.pods if names.HOOK in pod.labels and not pod.over), None)


# --- webhooks ---------------------------------------------------------------------------------------------------------


def calls(world: World) -> frozenset[Call]:
    """Return every webhook that is to be called now, until it has answered."""
    found = set()
    for whose in series(world.memory):
        for run in whose.runs:
            hook = hook_of(world, whose, run)
            if run.phase is Progress.RUNNING and run.started_at and hook and hook.webhook:
                body = run.event or event(world, whose, hook, run)  # one that an older operator began has none
                identity = whose.call_id(world.uid, run.name)
                found.add(Call(identity, hook.webhook.url, body, run.started_at + hook.timeout))
    return frozenset(found)


def event(world: World, whose: Series, hook: Hook, run: HookRun) -> str:
    """Return the CloudEvent of a run that begins. It is remembered with it: what it tells of may change meanwhile."""
    told = environment(world, whose, hook)
    said = cloudevent.event(
        world.key,
        kind="hook",
        identity=whose.call_id(world.uid, run.name),
        subject=run.name,
        time=stamp(run.started_at) if run.started_at else "",
        data={"at": str(hook.at)} | {name.removeprefix("TRADINGRELEASE_").lower(): v for name, v in told.items()},
    )
    return cloudevent.structured(said)[1]


def whom(hook: Hook) -> str:
    """Return the scheme and host of a hook's webhook: what follows them may be a secret, as a token in the path."""
    try:
        parts = urlsplit(hook.webhook.url if hook.webhook else "")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "its URL"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def refused_url(url: str, hosts: frozenset[str]) -> str:
    """Say why a URL must not be called; "" if it may be."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "write http:// or https:// and a host"
    if parts.username or parts.password:
        return "it carries credentials: leave them out, requests are signed"
    named = {parts.hostname, f"{parts.hostname}:{port}" if port else parts.hostname}
    if named & hosts:
        return ""
    return f"host {parts.hostname!r} is not among those that the operator's TRADINGRELEASE_WEBHOOK_HOSTS allows"


# --- accept -----------------------------------------------------------------------------------------------------------


def problem(world: World, spec: Spec) -> tuple[str, str] | None:
    """Return reason and message where a hook cannot be worked with."""
    for hook in spec.hooks:
        if hook.webhook and (text := refused_url(hook.webhook.url, world.webhook_hosts)):
            return "WebhookNotAllowed", f"hook {hook.name}: {whom(hook)}: {text}"
        labels = _pod_labels(world, spec, hook) if hook.job is not None else {}
        for service in world.services.values():
            if not service.preview_of and names.matches(names.own_selector(service.selector), labels):
                text = (
                    f"hook {hook.name}: Service {service.name} selects the labels of its pods and could send them "
                    "traffic: give them labels of their own"
                )
                return "HookSelected", text
    return None


def _pod_labels(world: World, spec: Spec, hook: Hook) -> dict[str, str]:
    """Return the labels of a hook's pods in its first attempt: those of its author, ours and the Job controller's."""
    written = (((hook.job or {}).get("template") or {}).get("metadata") or {}).get("labels") or {}
    name = Series(spec.revision, spec.version, "1", ()).job_name(world.key.name, hook.name)
    ours = {names.RELEASE: world.key.name, names.HOOK: hook.name}
    return dict(written) | ours | {JOB_NAME: name, JOB_NAME.rpartition("/")[2]: name}


def dry_runs(world: World, spec: Spec) -> Iterator[tuple[str, str, Json]]:
    """Yield what the API server is to be asked about: the key of its answer, the hook, and the Job."""
    whose = Series(spec.revision, spec.version, "1", ())
    for hook in spec.hooks:
        if hook.job is not None:
            yield f"hook/{names.digest([hook.name, hook.job])}", hook.name, job(world, whose, hook)
