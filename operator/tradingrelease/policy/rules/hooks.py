"""When hooks run, what waits for them, and what their failure means. Their runs themselves are in `policy/hooks.py`."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import acts, hooks, irreversible, names, signals
from tradingrelease.policy.absorb import drop_candidate
from tradingrelease.policy.accept import RETRY
from tradingrelease.policy.blue import asks_blue
from tradingrelease.policy.hooks import Series, next_attempt
from tradingrelease.policy.model import (
    Annotate,
    Candidate,
    ConfirmGone,
    CreateJob,
    Decision,
    DeleteJob,
    HookRun,
    JobRefused,
    Live,
    Memory,
    Note,
    Pod,
    Rest,
    Retained,
    Stack,
    StartJob,
    World,
)
from tradingrelease.policy.reasons import Moment, Outcome, Progress
from tradingrelease.policy.rules.attempts import failed
from tradingrelease.policy.spec import Hook

AFTER_SWITCH: Final = "hooks_follow_the_switch"
BEGUN: Final = "a_hook_begun_runs"
_SOON: Final = timedelta(seconds=1)
PODS_END_WITHIN: Final = timedelta(minutes=5)
"""How long a pod that was told to end is waited for, before a person is told that only they can help."""


# --- the candidate's --------------------------------------------------------------------------------------------------


def hooks_come_before_green(world: World, now: datetime) -> Decision | None:
    """Run what comes before green, one after the other; a failed hook, or blue unwell after one, ends the attempt."""
    rule = "hooks_come_before_green"
    candidate = world.memory.candidate
    if candidate is None:
        return None
    if found := _judged(world, candidate, now, rule):
        return found
    return _next(world, hooks.of_candidate(candidate), Moment.BEFORE_GREEN, now, rule)


def _judged(world: World, candidate: Candidate, now: datetime, rule: str) -> Decision | None:
    """End the attempt where a hook failed or harmed blue; wait until that is known. None: it is known to be well."""
    whose = hooks.of_candidate(candidate)
    for run in whose.runs:
        if hooks.stops(world, whose, run):
            return failed(world, candidate, "HookFailed", f"hook {run.name} failed: {run.message}", now, rule)
    return _blue(world, candidate, now, rule) if world.memory.live else None


def _blue(world: World, candidate: Candidate, now: datetime, rule: str) -> Decision | None:
    """Wait until live is found well after a hook that ran beside it; give the attempt up where it is not."""
    for run in candidate.hooks:
        if run.at is not Moment.BEFORE_GREEN or not run.over or run.blue_passed_at:
            continue
        unwell, lacking = hooks.blue(world, run)
        # Nobody asked while no operator ran: what an earlier process heard went with it.
        asked = world.since.get(signals.asking_blue(asks_blue(world.memory)), now)
        since = max(run.finished_at or now, asked)
        if not unwell and now - since > hooks.BLUE_WITHIN:
            unwell = f"not found well within {hooks.BLUE_WITHIN.total_seconds():g} s: {lacking}"
        if unwell:
            text = f"live is unwell after hook {run.name}, and nothing else was changed yet: {unwell}"
            return failed(world, candidate, "BlueUnhealthyAfterHook", text, now, rule)
        if lacking:
            text = f"hook {run.name} has run; live is asked whether it is well: {lacking}"
            wait = max(since + hooks.BLUE_WITHIN - now, timedelta(0)) + timedelta(milliseconds=100)
            return Decision(Rest(), rule, "AskingBlue", text, look_again=wait)
    return None


def hooks_come_before_the_switch(world: World, now: datetime) -> Decision | None:
    """Run what comes before the switch, once everything else is verified."""
    candidate = world.memory.candidate
    if candidate is None:
        return None
    return _next(world, hooks.of_candidate(candidate), Moment.BEFORE_SWITCH, now, "hooks_come_before_the_switch")


def lacking(world: World) -> tuple[str, str] | None:
    """Return reason and message of the first hook that the candidate still lacks."""
    candidate = world.memory.candidate
    for run in candidate.hooks if candidate else ():
        if run.at in {Moment.BEFORE_GREEN, Moment.BEFORE_SWITCH} and not run.over:
            return f"Hook{run.phase}", f"hook {run.name} ({run.at}) is {run.phase.lower()}"
    return None


# --- live's -----------------------------------------------------------------------------------------------------------


def hooks_follow_the_switch(world: World, now: datetime) -> Decision | None:
    """Run what follows a switch or a rollback, once every endpoint is read back. A rollback waits for none of it."""
    live = world.memory.live
    if live is None or acts.unfinished(world):
        return None
    whose = hooks.of_live(live)
    due = Moment.AFTER_ROLLBACK if live.left else Moment.AFTER_SWITCH
    begun = any(run.phase is not Progress.PENDING for run in whose.at(due))
    if not begun and signals.unread(world):
        return None
    return _next(world, whose, due, now, AFTER_SWITCH)


def failed_after_switch(world: World, live: Live) -> str:
    """Say which hook failed after the switch so that live has to go; "" if none did."""
    whose = hooks.of_live(live)
    for run in whose.at(Moment.AFTER_SWITCH):
        if hooks.stops(world, whose, run):
            return f"hook {run.name} failed: {run.message}"
    return ""


def a_hook_begun_runs(world: World, now: datetime) -> Decision | None:
    """Let the Job run whose uid is remembered, whatever else is asked for by now; look for it where it is not seen."""
    rule, going = BEGUN, hooks.running(world.memory)
    if going is None or not going[1].job:
        return None
    whose, run = going
    what, job = f"hook {run.name} of version {whose.version}: Job {run.job}", world.jobs.get(run.job)
    if job is None or job.uid != run.job_uid:
        step = ConfirmGone(run.job, run.job_uid)
        return Decision(step, rule, "Confirming", f"{what} is not seen: is it gone?") if _unsure(world, run) else None
    hook = hooks.hook_of(world, whose, run)
    if hook and not job.ended and hooks.out_of_time(hook, run, now) and hooks.unread(world, hook, run):
        return Decision(ConfirmGone(run.job, run.job_uid), rule, "Confirming", f"{what} is out of time: has it ended?")
    if not job.suspended or job.ended:
        return None
    if (refused := hooks.refused_start(world, run)) and now - refused.at < RETRY:
        return Decision(
            Rest(),
            rule,
            refused.reason,
            f"{what} cannot be started: {refused.message}",
            look_again=refused.at + RETRY - now,
        )
    return Decision(StartJob(job.name, job.uid, job.version), rule, "HookStarted", f"{what} may run now")


def _unsure(world: World, run: HookRun) -> bool:
    return world.job_gone != run.job_uid


# --- one after the other ----------------------------------------------------------------------------------------------


def _next(world: World, whose: Series, at: Moment, now: datetime, rule: str) -> Decision | None:
    """Return the next step of the first run that is not over; None: all of that moment are."""
    for run in whose.at(at):
        hook = hooks.hook_of(world, whose, run)
        if run.over or hook is None:
            continue
        if run.phase is Progress.RUNNING:
            return _goes_on(world, whose, hook, run, now, rule)
        if held := _held(world, whose, run, now, rule):
            return held
        return _begin(world, whose, hook, run, now, rule)
    return None


def _held(world: World, whose: Series, run: HookRun, now: datetime, rule: str) -> Decision | None:
    """Say why a run may not begin now."""
    what = f"hook {run.name} of version {whose.version} waits"
    if world.memory.paused and run.at in {Moment.BEFORE_GREEN, Moment.BEFORE_SWITCH}:
        return Decision(Rest(), rule, "Paused", f"{what}: the release is paused")
    if going := hooks.running(world.memory):
        text = f"{what}: hook {going[1].name} of version {going[0].version} still runs"
        return Decision(Rest(), rule, "HookRunning", text)
    if left := world.memory.webhook_left:
        whom = f"the receiver of webhook {left.hook} of version {left.version}"
        text = f"{what}: {whom} may work on it until {left.until:%H:%M:%S} UTC"
        return Decision(Rest(), rule, "HookRunning", text, look_again=left.until - now)
    started = next((job for job in hooks.strays(world) if not job.suspended), None)
    pod = hooks.lingering(world)
    if pod and (started is None or started.ending or started.deleting):
        return _lingers(world, pod, what, now, rule)
    if started:
        text = f"{what}: Job {started.name} of an earlier attempt still runs"
        return Decision(Rest(), rule, "HookRunning", text)
    return None


def _lingers(world: World, pod: Pod, what: str, now: datetime, rule: str) -> Decision:
    """Wait for the pod of an earlier hook. One that does not end is for a person: it may run where nobody sees it."""
    advice = f"if its node is gone for good: kubectl -n {world.key.namespace} delete pod {pod.name} --force"
    text = f"{what}: pod {pod.name} of an earlier one has not ended; {advice}"
    left = PODS_END_WITHIN - (now - world.since.get(signals.ending(pod.uid), now))
    if left > timedelta(0):
        return Decision(Rest(), rule, "HookRunning", text, look_again=left if pod.terminating else None)
    return Decision(Rest(), rule, "HookPodStuck", text, stalled=True)


def _begin(world: World, whose: Series, hook: Hook, run: HookRun, now: datetime, rule: str) -> Decision:
    text = f"hook {hook.name} of version {whose.version} ({hook.at}), attempt {whose.attempt}"
    begun = replace(run, phase=Progress.RUNNING, message="", started_at=now)
    if hook.job is not None:
        name = whose.job_name(world.key.name, hook.name)
        job = world.jobs.get(name)
        if job is None and (refused := world.jobs_refused.get(name)) and now - refused.at < RETRY:
            return _refused(world, whose, hook, run, refused, now, rule)
        if job is None:
            body = hooks.job(world, whose, hook)
            return Decision(CreateJob(name, body), rule, "HookPreparing", f"{text}: Job {name} is created, suspended")
        if job.deleting or job.release_uid != world.uid:
            text = f"{text} waits: Job {name} of an earlier release goes first"
            return Decision(Rest(), rule, "HookPreparing", text, look_again=_SOON)
        begun = replace(begun, job=name, job_uid=job.uid)
        text = f"{text} starts: Job {name}"
    else:
        begun = replace(begun, event=hooks.event(world, whose, hook, begun))
        text = f"{text} starts: {hooks.whom(hook)} is called"
    memory = _with(world.memory, whose, begun)
    note = Note("HookStarted", text, f"{whose.revision}/{whose.attempt}/{run.name}")
    return Decision(Rest(), rule, "HookStarted", text, memory=memory, notes=(note,))


def _refused(  # noqa: PLR0913, PLR0917 - a run, and why it does not begin
    world: World, whose: Series, hook: Hook, run: HookRun, refused: JobRefused, now: datetime, rule: str
) -> Decision:
    """Wait before a Job is tried again that cannot be created. That is told once, and shown for as long as it holds."""
    text = (
        f"hook {hook.name} of version {whose.version} ({hook.at}) waits: its Job cannot be created: {refused.message}"
    )
    if not run.message:
        memory = _with(world.memory, whose, replace(run, message=f"{refused.reason}: {refused.message}"))
        note = Note(refused.reason, text, f"{whose.revision}/{whose.attempt}/{run.name}", warning=True)
        return Decision(Rest(), rule, refused.reason, text, memory=memory, notes=(note,))
    due = min(refused.at + RETRY, refused.since + hook.timeout)
    return Decision(Rest(), rule, refused.reason, text, look_again=max(due - now, timedelta(0)))


def _with(memory: Memory, whose: Series, changed: HookRun) -> Memory:
    """Return the memory with one run changed."""
    runs = tuple(changed if run.name == changed.name else run for run in whose.runs)
    if memory.candidate and hooks.of_candidate(memory.candidate) == whose:
        return replace(memory, candidate=replace(memory.candidate, hooks=runs))
    return replace(memory, live=replace(memory.live, hooks=runs)) if memory.live else memory


def _goes_on(world: World, whose: Series, hook: Hook, run: HookRun, now: datetime, rule: str) -> Decision:
    ends = (run.started_at or now) + hooks.allowed(hook)
    what = f"Job {run.job}" if run.job else hooks.whom(hook)
    text = f"hook {run.name} of version {whose.version} ({run.at}) runs: {what}"
    wait = max(ends - now, timedelta(0))
    if why := hooks.trouble(world, run, now):
        text = f"{text}; {why}"
    if run.job and run.started_at and now < run.started_at + hooks.PODS_COME_WITHIN:
        wait = min(wait, run.started_at + hooks.PODS_COME_WITHIN - now)
    job = world.jobs.get(run.job)
    if job and not job.labelled:
        text = f"{text}; it lost its label {names.RELEASE}: put {world.key.name} back"
        wait = min(wait, hooks.REREAD)
    return Decision(Rest(), rule, "HookRunning", text, look_again=wait + timedelta(milliseconds=100))


# --- what waits for a hook --------------------------------------------------------------------------------------------


def a_running_hook_ends_first(world: World, now: datetime) -> Decision | None:
    """Let the next revision wait for a hook that runs: nothing is superseded in the middle of a migration.

    Nor before its end is judged and blue found well after it: what broke blue is named while it is still cheap.
    """
    memory, spec, rule = world.memory, world.wanted, "a_running_hook_ends_first"
    candidate, live = memory.candidate, memory.live
    going = hooks.running(memory)
    if spec is None or (candidate and candidate.stack.revision == spec.revision):
        return None
    if any(r.stack.revision == spec.revision for r in memory.retained):
        return None  # a rollback waits for nothing
    if going is None:
        return _judged(world, candidate, now, rule) if candidate else None
    nothing_begins = memory.latch_of(spec.revision) or (live and live.stack.revision == spec.revision)
    if candidate is None and nothing_begins:
        return None
    text = f"version {spec.version} waits: hook {going[1].name} of version {going[0].version} runs"
    return Decision(Rest(), rule, "HookRunning", text)


# --- what cannot be undone --------------------------------------------------------------------------------------------


def unsafe(world: World, target: Retained) -> str:
    """Say why nobody goes back to a stack but by a forced order; "" if a rollback may."""
    return no_way_back(world, target.stack, target.unsafe)


def no_way_back(world: World, stack: Stack, mark: str) -> str:
    """Say why only force goes back to a stack: its mark, or a hook whose end nobody knows; "" if anybody may."""
    why = mark or hooks.undecided(world, stack.revision)
    if not why:
        return ""
    return f"{why}: only a Rollback ordered with force goes back to version {stack.version}"


def halted(world: World, target: Retained, failure: str, rule: str) -> Decision | None:
    """Hold still where live fails and an irreversible hook lies, or may come to lie, between it and the target."""
    if not (why := unsafe(world, target)):
        return None
    text = f"{failure}; {why}"
    return Decision(Rest(), rule, "RollbackUnsafe", text, look_again=timedelta(seconds=5), stalled=True)


def not_by_manifest(world: World, target: Retained, now: datetime, rule: str) -> Decision | None:
    """Refuse a rollback by manifest across an irreversible hook."""
    if not (why := unsafe(world, target)):
        return None
    if world.memory.candidate:
        asked = f"version {target.stack.version} was asked for"
        memory = drop_candidate(world.memory, "Superseded", asked, now, Outcome.SUPERSEDED)
        return Decision(Rest(), rule, "Superseded", asked, memory=memory)
    return Decision(Rest(), rule, "RollbackUnsafe", f"the spec asks for what is retained; {why}", stalled=True)


def what_is_unsafe_is_annotated(world: World, _: datetime) -> Decision | None:
    """Write onto the Deployments of a stack that nobody goes back to it, so that it outlives status and release.

    What a person went back to by force since is told by none of them any more.
    """
    memory = world.memory
    roles: list[Live | Retained] = [*memory.retained, *([memory.live] if memory.live else [])]
    for role in roles:
        stack, why = role.stack, role.unsafe
        for member in stack.members if why or role.forced_at else ():
            deployment = world.deployment(member.name, member.revision)
            if deployment is None or (stack.revision in deployment.unsafe) is bool(why):
                continue
            step = Annotate(
                deployment.name, deployment.uid, deployment.version, irreversible.note(deployment, stack, why)
            )
            said = f"is no rollback target as part of {stack.revision}: {why}" if why else "was gone back to by force"
            reason = "RollbackUnsafe" if why else "RollbackForced"
            return Decision(step, "what_is_unsafe_is_annotated", reason, f"Deployment {deployment.name} {said}")
    return None


# --- tidying ----------------------------------------------------------------------------------------------------------


def jobs_go(world: World, now: datetime) -> Decision | None:
    """Delete Jobs that must not run on, and those of revisions that nothing refers to any more."""
    memory = world.memory
    for job in hooks.strays(world):
        overdue = job.ends_at is not None and now > job.ends_at + job.grace + hooks.GRACE
        if job.deleting or job.ending:
            continue  # it ends as it is: with its reason and its logs
        if job.suspended or overdue or hooks.was_aborted(memory, job):
            text = f"Job {job.name} of hook {job.hook} is of no attempt that goes on"
            if (marked := hooks.given_up(world, job)) != memory:
                return Decision(Rest(), "jobs_go", "Tidying", text, memory=marked)
            return Decision(DeleteJob(job.name, job.uid, job.version), "jobs_go", "Tidying", text)
    kept = {(e.revision, e.attempt) for e in memory.history}
    kept |= {(s.revision, hooks.number(s.attempt)) for s in hooks.series(memory)}
    # The number of a latched revision's next attempt is found by its last one, also where history has forgotten that.
    kept |= {(latch.stack.revision, next_attempt(world, latch.stack.revision) - 1) for latch in memory.latched}
    for job in world.jobs.values():
        if job.ended and not job.deleting and (job.revision, hooks.number(job.attempt)) not in kept:
            text = f"Job {job.name} of hook {job.hook}: its attempt is no longer in the history"
            return Decision(DeleteJob(job.name, job.uid, job.version), "jobs_go", "Tidying", text)
    return None
