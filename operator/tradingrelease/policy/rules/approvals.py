"""A candidate waits for people: before it is deployed, and before it gets traffic. No rollback ever does."""

from dataclasses import replace
from datetime import datetime, timedelta

from tradingrelease.policy import approvals
from tradingrelease.policy.absorb import latch_candidate
from tradingrelease.policy.model import Candidate, Decision, Gate, Note, Rest, World
from tradingrelease.policy.reasons import Consent, Moment, Outcome, Progress
from tradingrelease.policy.spec import Asked


def approvals_come_before_green(world: World, now: datetime) -> Decision | None:
    """Wait for those who have to agree before anything is done."""
    return _waits(world, Moment.BEFORE_GREEN, now, "approvals_come_before_green")


def approvals_come_before_the_switch(world: World, now: datetime) -> Decision | None:
    """Wait for those who have to agree before traffic moves."""
    return _waits(world, Moment.BEFORE_SWITCH, now, "approvals_come_before_the_switch")


def _waits(world: World, at: Moment, now: datetime, rule: str) -> Decision | None:
    candidate = world.memory.candidate
    gate = approvals.gate(candidate, at) if candidate else None
    spec = world.spec_of(candidate.stack.revision) if candidate else None
    asked = spec.asked_at(at) if spec else None
    if candidate is None or gate is None or asked is None:
        return None
    text = lacking(world, candidate, gate)
    about = f"{candidate.stack.revision}/{candidate.attempt}/{at}"
    if gate.since is None:
        waiting = approvals.changed(candidate, replace(gate, phase=Consent.WAITING, since=now), now)
        memory = replace(world.memory, candidate=waiting)
        note = Note("ApprovalWanted", text, about)
        return Decision(Rest(), rule, "ApprovalPending", text, memory=memory, notes=(note,))
    if now - gate.since >= asked.timeout and not world.memory.paused:
        return _out_of_time(world, candidate, gate, asked, now, rule)
    wait = gate.since + asked.timeout - now + timedelta(milliseconds=100)
    return Decision(Rest(), rule, "ApprovalPending", text, look_again=wait)


def approvals_run_out(world: World, now: datetime) -> Decision | None:
    """End the wait for people in its time, also where what was verified is well no more."""
    candidate = world.memory.candidate
    if candidate is None or candidate.held:
        return None
    gate = approvals.gate(candidate, Moment.BEFORE_SWITCH)
    waits = gate and gate.since and _waits(world, gate.at, now, "approvals_run_out")
    return waits if waits and waits.memory else None


def lacking(world: World, candidate: Candidate, gate: Gate) -> str:
    """Say what a gate waits for, and what to order."""
    if nobody := approvals.nobody_can(world, candidate, gate):
        return f"version {candidate.stack.version} waits for approval ({gate.at}), and {nobody}"
    who = ", ".join(yes.by for yes in gate.given)
    return (
        f"version {candidate.stack.version} waits for approval ({gate.at}): {len(gate.given)} of {gate.required} given"
        + (f", by {who}" if who else "")
        + f"; to approve, order Approve of revision {candidate.stack.revision}, attempt {candidate.attempt}"
    )


def _out_of_time(world: World, candidate: Candidate, gate: Gate, asked: Asked, now: datetime, rule: str) -> Decision:
    about = f"{candidate.stack.revision}/{candidate.attempt}/{gate.at}"
    late = f"{len(gate.given)} of {gate.required} approvals within {asked.timeout.total_seconds():g} s ({gate.at})"
    if asked.on_timeout == "Continue":
        text = f"version {candidate.stack.version} goes on with {late}, as its spec says"
        after = approvals.changed(candidate, replace(gate, phase=Consent.TIMED_OUT), now)
        note = Note("ApprovalTimeout", text, about, warning=True)
        memory = replace(world.memory, candidate=after)
        return Decision(Rest(), rule, "ApprovalTimeout", text, memory=memory, notes=(note,))
    memory = latch_candidate(world.memory, "ApprovalTimeout", f"only {late}", now, Outcome.ABORTED)
    text = f"version {candidate.stack.version} ({candidate.stack.revision}) is given up: only {late}"
    note = Note("ApprovalTimeout", text, about, warning=True)
    return Decision(Rest(), rule, "ApprovalTimeout", text, memory=memory, notes=(note,))


def waits_before_the_switch(candidate: Candidate) -> bool:
    """Tell whether a verified candidate waits for a person or a hook: no deadline runs meanwhile."""
    person = any(g.at is Moment.BEFORE_SWITCH and g.phase is Consent.WAITING for g in candidate.gates)
    return person or any(r.at is Moment.BEFORE_SWITCH and r.phase is Progress.RUNNING for r in candidate.hooks)
