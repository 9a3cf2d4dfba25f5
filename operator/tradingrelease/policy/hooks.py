"""Hooks: what is done once per revision and attempt. Their runs, their Jobs and calls, and what came of them.

A run is remembered as Running, with the uid of its Job, before that Job may run: so no restart, no second operator and
no late write runs it twice. Outcomes are observed and taken into memory here; what follows from them is decided in
`rules/hooks.py`.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final
from urllib.parse import urlsplit

from tradingrelease.policy import checks, names
from tradingrelease.policy.manifests import owner
from tradingrelease.policy.memory import stamp
from tradingrelease.policy.model import (
    Call,
    Candidate,
    HookRun,
    Job,
    Live,
    Memory,
    Note,
    Service,
    Stack,
    World,
    scope,
)
from tradingrelease.policy.pods import LONGEST_WORDS
from tradingrelease.policy.reasons import Moment, Progress
from tradingrelease.policy.spec import Hook, Spec

Json = dict[str, Any]

GRACE: Final = timedelta(seconds=10)
"""How much longer than its timeout a Job may take to be reported as ended by the cluster itself."""
BLUE_WITHIN: Final = timedelta(seconds=60)
"""How long live may take to be found well after a hook that ran beside it."""
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
    known += [int(job.attempt.partition("-")[0] or 0) for job in world.jobs.values() if job.revision == revision]
    return max(known) + 1


# --- what came of them ------------------------------------------------------------------------------------------------

Absorbed = tuple[Memory, tuple[Note, ...]]


def absorb(world: World, memory: Memory, now: datetime) -> Absorbed:
    """Return the memory with what came of running hooks, and what there is to say about it."""
    notes: list[Note] = []
    if candidate := memory.candidate:
        candidate = replace(candidate, hooks=_begun(world, candidate))
        memory = replace(memory, candidate=candidate)
        before = of_candidate(candidate)
        after = replace(before, runs=tuple(_followed(world, before, run, now, notes) for run in before.runs))
        memory = _cannot_be_undone(world, memory, before, after)
        after = _blue_is_well(world, after, now)
        candidate = replace(candidate, hooks=after.runs)
        if after.at(Moment.BEFORE_GREEN) and green_may_begin(memory, after) and not green_may_begin(memory, before):
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
    return memory, tuple(notes)


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
    if run.phase is not Progress.RUNNING or run.started_at is None:
        return run
    if hook is None:
        known = world.spec_of(whose.revision)  # a stored spec that was deleted is rebuilt without hooks
        text = "it left the spec while it ran"
        return replace(run, phase=Progress.SKIPPED, message=text, finished_at=now) if known else run
    ended = _job_ended(world, run) if hook.job is not None else _call_ended(world, whose, run)
    wait = hook.timeout + (GRACE if hook.job is not None else timedelta(0))
    if ended is None and now - run.started_at >= wait:
        ended = (Progress.FAILED, f"HookTimeout: not done within {_seconds(hook.timeout)}")
    if ended is None:
        return run
    phase, message = ended
    well = phase is Progress.SUCCEEDED
    text = f"hook {run.name} of version {whose.version} ({run.at})" + ("" if well else f" failed: {message}")
    about = f"{whose.revision}/{whose.attempt}/{run.name}"
    notes.append(Note("HookSucceeded", f"{text} succeeded", about) if well else _failed(text, about))
    return replace(run, phase=phase, message=message, finished_at=now)


def _failed(text: str, about: str) -> Note:
    return Note("HookFailed", text, about, warning=True)


def _job_ended(world: World, run: HookRun) -> tuple[Progress, str] | None:
    job = world.jobs.get(run.job)
    if job is None or job.uid != run.job_uid:
        return Progress.FAILED, f"JobGone: Job {run.job} was deleted before its end was seen; it is not run twice"
    if not job.ended:
        return None
    if not job.failed:
        return Progress.SUCCEEDED, ""
    said = f": {job.message}" if job.message else ""
    logs = f"kubectl -n {world.key.namespace} logs job/{job.name} --all-containers"
    return Progress.FAILED, f"{job.reason or 'JobFailed'}{said}{_last_words(world, job)}; its logs: {logs}"


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


def _cannot_be_undone(world: World, memory: Memory, before: Series, after: Series) -> Memory:
    """Mark what is older than an irreversible hook that has just succeeded: it is no target of a rollback any more."""
    for was, run in zip(before.runs, after.runs, strict=True):
        hook = hook_of(world, after, run)
        if run.phase is not Progress.SUCCEEDED or was.phase is run.phase or hook is None or not hook.irreversible:
            continue
        why = f"hook {run.name} of version {after.version} ({after.revision}) cannot be undone"
        memory = replace(memory, retained=tuple(replace(r, unsafe=why) for r in memory.retained))
        if memory.live and memory.live.stack.revision != after.revision:
            memory = replace(memory, live=replace(memory.live, unsafe=why))
    return memory


# --- blue after a hook that ran beside it -----------------------------------------------------------------------------


def asks_blue(memory: Memory) -> str:
    """Return the scope under which live is probed because a hook ran beside it; "" where none did."""
    candidate = memory.candidate
    if candidate is None or memory.live is None:
        return ""
    due = next((run for run in candidate.hooks if _blue_is_due(run)), None)
    return f"{scope(candidate.stack.revision, candidate.attempt)}/after/{due.name}" if due else ""


def _blue_is_due(run: HookRun) -> bool:
    ran = run.phase in {Progress.SUCCEEDED, Progress.FAILED}
    return run.at is Moment.BEFORE_GREEN and ran and run.blue_passed_at is None


def _blue_is_well(world: World, whose: Series, now: datetime) -> Series:
    """Note that live was found well after a hook."""

    def asked(run: HookRun) -> HookRun:
        if not _blue_is_due(run) or stops(world, whose, run):
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
            "annotations": {names.RELEASE_UID: world.uid, names.ATTEMPT: whose.attempt},
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
    hints = (str(port.get("name") or ""), str(port.get("appProtocol") or ""))
    secure = port.get("port") == 443 or any(hint.startswith("https") for hint in hints)
    number = f":{port['port']}" if "port" in port else ""
    return f"http{'s' if secure else ''}://{service.name}.{world.key.namespace}.svc{number}"


def strays(world: World) -> list[Job]:
    """Return Jobs that have not ended and that no remembered run waits for."""
    known = {run.job_uid for s in series(world.memory) for run in s.runs if run.phase is Progress.RUNNING}
    due = {s.job_name(world.key.name, run.name) for s in series(world.memory) for run in s.runs if not run.over}
    return [
        job
        for job in world.jobs.values()
        if not job.ended and not job.deleting and job.uid not in known and not (job.suspended and job.name in due)
    ]


# --- webhooks ---------------------------------------------------------------------------------------------------------


def calls(world: World) -> frozenset[Call]:
    """Return every webhook that is to be called now, until it has answered."""
    found = set()
    for whose in series(world.memory):
        for run in whose.runs:
            hook = hook_of(world, whose, run)
            if run.phase is Progress.RUNNING and run.started_at and hook and hook.webhook:
                body = json.dumps(_event(world, whose, hook, run), separators=(",", ":"), sort_keys=True)
                identity = whose.call_id(world.uid, run.name)
                found.add(Call(identity, hook.webhook.url, body, run.started_at + hook.timeout))
    return frozenset(found)


def _event(world: World, whose: Series, hook: Hook, run: HookRun) -> Json:
    """Return the CloudEvent of a run: the same bytes' worth of news on every call of it."""
    told = environment(world, whose, hook)
    key = world.key
    return {
        "specversion": "1.0",
        "id": whose.call_id(world.uid, run.name),
        "type": f"{names.GROUP}.hook",
        "source": f"/namespaces/{key.namespace}/tradingreleases/{key.name}",
        "subject": run.name,
        "time": stamp(run.started_at) if run.started_at else "",
        "datacontenttype": "application/json",
        "data": {"at": str(hook.at)} | {name.removeprefix("TRADINGRELEASE_").lower(): v for name, v in told.items()},
    }


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
            return "WebhookNotAllowed", f"hook {hook.name}: {hook.webhook.url}: {text}"
        labels = (((hook.job or {}).get("template") or {}).get("metadata") or {}).get("labels") or {}
        for service in world.services.values():
            if not service.preview_of and names.matches(names.own_selector(service.selector), labels):
                text = (
                    f"hook {hook.name}: Service {service.name} selects the labels of its pods and could send them "
                    "traffic: give them labels of their own"
                )
                return "HookSelected", text
    return None


def dry_runs(world: World, spec: Spec) -> Iterator[tuple[str, str, Json]]:
    """Yield what the API server is to be asked about: the key of its answer, the hook, and the Job."""
    whose = Series(spec.revision, spec.version, "1", ())
    for hook in spec.hooks:
        if hook.job is not None:
            yield f"hook/{names.digest([hook.name, hook.job])}", hook.name, job(world, whose, hook)
