"""Freezes: gates before the start of a candidate, before its switch, and before what serves is adopted.

A freeze never delays a rollback, an undo, a repair, a watch, an order or a retirement: those rules do not ask here.
An attempt that began before the freeze is verified to its end; a switch under way is one act (switching.py).
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy.approvals import waiting_anew
from tradingrelease.policy.freezes import Hold, latest
from tradingrelease.policy.model import Candidate, Decision, Note, Rest, World
from tradingrelease.policy.reasons import Consent, Progress
from tradingrelease.policy.rules.candidate import first_pending
from tradingrelease.policy.rules.overrides import lifted, subject

FROZEN: Final = "Frozen"
START, SWITCH = "Start", "Switch"


def in_force(world: World, now: datetime) -> Hold | None:
    """Return the freeze that holds the release now and ends last, unless people have lifted it."""
    what = subject(world)
    return latest((freeze for freeze in world.freezes if not lifted(world.memory, freeze, what)), now)


def adoption_may_start(world: World, now: datetime) -> Decision | None:
    """Hold the adoption of a plain Deployment: it starts pods and moves selectors, if to the same code (ADR 13).

    One that has moved a selector goes on: half of it is worse than all.
    """
    spec = world.wanted
    if spec is None or world.memory.paused or not any(b.kind == "Deployment" for b in world.backings.values()):
        return None
    adopted = {d.revision for d in world.deployments.values() if d.adopted_from}
    listed = [world.services.get(name) for component in spec.components for name in component.services]
    if any(service and service.selected in adopted for service in listed):
        return None
    if any(backing.kind == "Ours" for backing in world.backings.values()):
        return None  # a Service that lost its key is put back first
    if found := in_force(world, now):
        text = f"version {spec.version} ({spec.revision}) waits, and what serves today is not adopted: {found.message}"
        return replace(_waits("adoption_may_start", text, found, now), adopting=True)
    return None


def candidate_may_start(world: World, now: datetime) -> Decision | None:
    """Hold an attempt that begins in a freeze before anything of it is deployed; let it go on when the freeze ends."""
    rule, candidate = "candidate_may_start", world.memory.candidate
    if candidate is None:
        return None
    found = in_force(world, now)
    if found and candidate.held == START:
        return _waits(rule, _text(candidate, "waits to start", found), found, now)
    if found and not _begun(world, candidate):
        return _held(world, candidate, START, _text(candidate, "waits to start", found), rule)
    asked = any(gate.phase is Consent.WAITING for gate in candidate.gates)
    if candidate.held and not found and (candidate.held == START or asked or first_pending(world)):
        return _thawed(world, candidate, rule, now)
    return None


def _begun(world: World, candidate: Candidate) -> bool:
    """Tell whether a hook has begun, or anything was deployed or previewed for this attempt.

    What stood before it, failed or retained, does not count, until a preview leads to it.
    """
    if any(run.phase is not Progress.PENDING for run in candidate.hooks):
        return True
    # Creation times have whole seconds: what was made for this attempt must not look older than it.
    since = candidate.started_at - timedelta(seconds=1)
    live = world.memory.live
    previewed = {(service.preview_of, service.selected) for service in world.services.values()}
    for member in candidate.stack.members:
        deployment = world.deployment(member.name, member.revision)
        if deployment is None:
            continue
        if deployment.created_at >= since:
            return True
        is_new = deployment.replicas > 0 and not (live and live.stack.shares(member))
        if is_new and any((name, member.revision) in previewed for name in member.services):
            return True
    return False


def candidate_may_switch(world: World, now: datetime) -> Decision | None:
    """Hold a verified candidate before the first patch of its switch."""
    rule, candidate = "candidate_may_switch", world.memory.candidate
    found = in_force(world, now)
    if candidate is None or found is None or first_pending(world) or _selected(world, candidate):
        return None
    text = _text(candidate, "is verified and waits", found)
    return _waits(rule, text, found, now) if candidate.held else _held(world, candidate, SWITCH, text, rule)


def _selected(world: World, candidate: Candidate) -> bool:
    """Tell whether every Service selects the candidate already, by somebody else's hand: nothing is left to hold."""
    return all(
        (service := world.services.get(name)) is not None and service.selected == member.revision
        for member in candidate.stack.members
        for name in member.services
    )


def _text(candidate: Candidate, what: str, found: Hold) -> str:
    return f"version {candidate.stack.version} ({candidate.stack.revision}) {what}: {found.message}"


def _waits(rule: str, text: str, found: Hold, now: datetime) -> Decision:
    # A freeze whose end nobody knows ends by somebody's hand: that is an event.
    until = found.verdict.until
    return Decision(Rest(), rule, FROZEN, text, look_again=until - now if until else None)


def _held(world: World, candidate: Candidate, where: str, text: str, rule: str) -> Decision:
    memory = replace(world.memory, candidate=replace(candidate, held=where))
    note = Note(
        FROZEN, text, f"{candidate.stack.revision}/{candidate.attempt}/{where}/{candidate.deadline_from.isoformat()}"
    )
    return Decision(Rest(), rule, FROZEN, text, memory=memory, notes=(note,))


def _thawed(world: World, candidate: Candidate, rule: str, now: datetime) -> Decision:
    # One that waited to start starts now: crashes of an earlier attempt's pods, seen while it waited, are not its own.
    freed = (
        replace(candidate, held="", started_at=now, counted_from=None)
        if candidate.held == START
        else replace(candidate, held="", counted_from=now)
    )
    memory = replace(world.memory, candidate=waiting_anew(freed, now))
    text = f"version {candidate.stack.version} ({candidate.stack.revision}) goes on: no freeze holds it any more"
    note = Note("Thawed", text, f"{candidate.stack.revision}/{candidate.attempt}/{now.isoformat()}")
    return Decision(Rest(), rule, "Thawed", text, memory=memory, notes=(note,))
