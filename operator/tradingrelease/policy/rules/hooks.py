"""When hooks run, what waits for them, and what their failure means. Their runs themselves are in `policy/hooks.py`."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import acts, hooks, signals
from tradingrelease.policy.absorb import drop_candidate, latch_candidate
from tradingrelease.policy.hooks import Series
from tradingrelease.policy.model import (
    Candidate,
    CreateJob,
    Decision,
    DeleteJob,
    HookRun,
    Live,
    Memory,
    Note,
    Rest,
    Retained,
    StartJob,
    World,
)
from tradingrelease.policy.reasons import Moment, Outcome, Progress
from tradingrelease.policy.spec import Hook

AFTER_SWITCH: Final = "hooks_follow_the_switch"
_SOON: Final = timedelta(seconds=1)


# --- the candidate's --------------------------------------------------------------------------------------------------


def hooks_come_before_green(world: World, now: datetime) -> Decision | None:
    """Run what comes before green, one after the other; a failed hook, or blue unwell after one, ends the attempt."""
    rule = "hooks_come_before_green"
    candidate = world.memory.candidate
    if candidate is None:
        return None
    whose = hooks.of_candidate(candidate)
    for run in whose.runs:
        if hooks.stops(world, whose, run):
            return _fail(world, candidate, "HookFailed", f"hook {run.name} failed: {run.message}", now, rule)
    if world.memory.live and (unwell := _blue(world, candidate, now, rule)):
        return unwell
    return _next(world, whose, Moment.BEFORE_GREEN, now, rule)


def _blue(world: World, candidate: Candidate, now: datetime, rule: str) -> Decision | None:
    """Wait until live is found well after a hook that ran beside it; give the attempt up where it is not."""
    for run in candidate.hooks:
        if run.at is not Moment.BEFORE_GREEN or not run.over or run.blue_passed_at:
            continue
        unwell, lacking = hooks.blue(world, run)
        since = run.finished_at or now
        if not unwell and now - since > hooks.BLUE_WITHIN:
            unwell = f"not found well within {hooks.BLUE_WITHIN.total_seconds():g} s: {lacking}"
        if unwell:
            text = f"live is unwell after hook {run.name}, and nothing else was changed yet: {unwell}"
            return _fail(world, candidate, "BlueUnhealthyAfterHook", text, now, rule)
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


def _fail(world: World, candidate: Candidate, reason: str, message: str, now: datetime, rule: str) -> Decision:
    memory = latch_candidate(world.memory, reason, message, now, Outcome.FAILED)
    text = f"version {candidate.stack.version} ({candidate.stack.revision}) failed: {message}"
    note = Note(reason, text, f"{candidate.stack.revision}/{candidate.attempt}/failed", warning=True)
    return Decision(Rest(), rule, reason, text, memory=memory, notes=(note,))


# --- live's -----------------------------------------------------------------------------------------------------------


def hooks_follow_the_switch(world: World, now: datetime) -> Decision | None:
    """Run what follows a switch or a rollback, once every endpoint is read back. A rollback waits for none of it."""
    live = world.memory.live
    if live is None or acts.unfinished(world) or all(run.over for run in live.hooks):
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


def a_hook_begun_runs(world: World, _: datetime) -> Decision | None:
    """Let the Job run whose uid is remembered, whatever else is asked for by now."""
    going = hooks.running(world.memory)
    job = world.jobs.get(going[1].job) if going else None
    if going is None or job is None or job.uid != going[1].job_uid or not job.suspended or job.ended:
        return None
    text = f"hook {going[1].name} of version {going[0].version}: Job {job.name} may run now"
    return Decision(StartJob(job.name, job.uid, job.version), "a_hook_begun_runs", "HookStarted", text)


# --- one after the other ----------------------------------------------------------------------------------------------


def _next(world: World, whose: Series, at: Moment, now: datetime, rule: str) -> Decision | None:
    """Return the next step of the first run that is not over; None: all of that moment are."""
    for run in whose.at(at):
        hook = hooks.hook_of(world, whose, run)
        if run.over or hook is None:
            continue
        if run.phase is Progress.RUNNING:
            return _goes_on(world, whose, hook, run, now, rule)
        if held := _held(world, whose, run, rule):
            return held
        return _begin(world, whose, hook, run, now, rule)
    return None


def _held(world: World, whose: Series, run: HookRun, rule: str) -> Decision | None:
    """Say why a run may not begin now."""
    what = f"hook {run.name} of version {whose.version} waits"
    if world.memory.paused and run.at in {Moment.BEFORE_GREEN, Moment.BEFORE_SWITCH}:
        return Decision(Rest(), rule, "Paused", f"{what}: the release is paused")
    if going := hooks.running(world.memory):
        text = f"{what}: hook {going[1].name} of version {going[0].version} still runs"
        return Decision(Rest(), rule, "HookRunning", text)
    started = next((job for job in hooks.strays(world) if not job.suspended), None)
    if started:
        text = f"{what}: Job {started.name} of an earlier attempt still runs"
        return Decision(Rest(), rule, "HookRunning", text)
    return None


def _begin(world: World, whose: Series, hook: Hook, run: HookRun, now: datetime, rule: str) -> Decision:
    text = f"hook {hook.name} of version {whose.version} ({hook.at}), attempt {whose.attempt}"
    begun = replace(run, phase=Progress.RUNNING, started_at=now)
    if hook.job is not None:
        name = whose.job_name(world.key.name, hook.name)
        job = world.jobs.get(name)
        if job is None:
            body = hooks.job(world, whose, hook)
            return Decision(CreateJob(name, body), rule, "HookPreparing", f"{text}: Job {name} is created, suspended")
        if job.deleting or job.release_uid != world.uid:
            text = f"{text} waits: Job {name} of an earlier release goes first"
            return Decision(Rest(), rule, "HookPreparing", text, look_again=_SOON)
        begun = replace(begun, job=name, job_uid=job.uid)
        text = f"{text} starts: Job {name}"
    else:
        text = f"{text} starts: {hook.webhook.url if hook.webhook else ''} is called"
    memory = _with(world.memory, whose, begun)
    note = Note("HookStarted", text, f"{whose.revision}/{whose.attempt}/{run.name}")
    return Decision(Rest(), rule, "HookStarted", text, memory=memory, notes=(note,))


def _with(memory: Memory, whose: Series, changed: HookRun) -> Memory:
    """Return the memory with one run changed."""
    runs = tuple(changed if run.name == changed.name else run for run in whose.runs)
    if memory.candidate and hooks.of_candidate(memory.candidate) == whose:
        return replace(memory, candidate=replace(memory.candidate, hooks=runs))
    return replace(memory, live=replace(memory.live, hooks=runs)) if memory.live else memory


def _goes_on(world: World, whose: Series, hook: Hook, run: HookRun, now: datetime, rule: str) -> Decision:
    ends = (run.started_at or now) + hook.timeout + (hooks.GRACE if run.job else timedelta(0))
    what = f"Job {run.job}" if run.job else hook.webhook.url if hook.webhook else ""
    text = f"hook {run.name} of version {whose.version} ({run.at}) runs: {what}"
    wait = max(ends - now, timedelta(0)) + timedelta(milliseconds=100)
    return Decision(Rest(), rule, "HookRunning", text, look_again=wait)


# --- what waits for a hook --------------------------------------------------------------------------------------------


def a_running_hook_ends_first(world: World, _: datetime) -> Decision | None:
    """Let the next revision wait for a hook that runs: nothing is superseded in the middle of a migration."""
    memory, spec = world.memory, world.wanted
    candidate, live = memory.candidate, memory.live
    going = hooks.running(memory)
    if going is None or spec is None or (candidate and candidate.stack.revision == spec.revision):
        return None
    if any(r.stack.revision == spec.revision for r in memory.retained):
        return None  # a rollback waits for nothing
    nothing_begins = memory.latch_of(spec.revision) or (live and live.stack.revision == spec.revision)
    if candidate is None and nothing_begins:
        return None
    text = f"version {spec.version} waits: hook {going[1].name} of version {going[0].version} runs"
    return Decision(Rest(), "a_running_hook_ends_first", "HookRunning", text)


# --- what cannot be undone --------------------------------------------------------------------------------------------


def unsafe(target: Retained) -> str:
    """Say why nobody goes back to a stack but by a forced order; "" if a rollback may."""
    if not target.unsafe:
        return ""
    return f"{target.unsafe}: only a Rollback ordered with force goes back to version {target.stack.version}"


def halted(target: Retained, failure: str, rule: str) -> Decision | None:
    """Hold still where live fails and an irreversible hook lies between it and the target."""
    if not (why := unsafe(target)):
        return None
    text = f"{failure}; {why}"
    return Decision(Rest(), rule, "RollbackUnsafe", text, look_again=timedelta(seconds=5), stalled=True)


def not_by_manifest(world: World, target: Retained, now: datetime, rule: str) -> Decision | None:
    """Refuse a rollback by manifest across an irreversible hook."""
    if not (why := unsafe(target)):
        return None
    if world.memory.candidate:
        asked = f"version {target.stack.version} was asked for"
        memory = drop_candidate(world.memory, "Superseded", asked, now, Outcome.SUPERSEDED)
        return Decision(Rest(), rule, "Superseded", asked, memory=memory)
    return Decision(Rest(), rule, "RollbackUnsafe", f"the spec asks for what is retained; {why}", stalled=True)


# --- tidying ----------------------------------------------------------------------------------------------------------


def jobs_go(world: World, now: datetime) -> Decision | None:
    """Delete Jobs that must not run on, and those of revisions that nothing refers to any more."""
    memory = world.memory
    for job in hooks.strays(world):
        latch = memory.latch_of(job.revision)
        overdue = job.ends_at is not None and now > job.ends_at + hooks.GRACE
        if job.suspended or overdue or (latch and latch.reason == "Aborted"):
            text = f"Job {job.name} of hook {job.hook} is of no attempt that goes on"
            return Decision(DeleteJob(job.name, job.uid), "jobs_go", "Tidying", text)
    kept = {e.revision for e in memory.history} | {latch.stack.revision for latch in memory.latched}
    kept |= {s.revision for s in hooks.series(memory)}
    for job in world.jobs.values():
        if job.ended and not job.deleting and job.revision not in kept:
            text = f"Job {job.name} of hook {job.hook}: its revision is no longer in the history"
            return Decision(DeleteJob(job.name, job.uid), "jobs_go", "Tidying", text)
    return None
