"""From the world and the decision to the conditions of the status. Computed, never set by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tradingrelease.policy import accept, acts, signals
from tradingrelease.policy.approvals import SETTLED
from tradingrelease.policy.memory import stamp
from tradingrelease.policy.model import Decision, World
from tradingrelease.policy.pods import not_standing, size
from tradingrelease.policy.reasons import Cause, Condition, Phase
from tradingrelease.policy.rules import freezes
from tradingrelease.policy.rules.approvals import lacking as lacking_approval
from tradingrelease.policy.rules.candidate import not_again, pending
from tradingrelease.policy.rules.hooks import AFTER_SWITCH, BEGUN, unsafe
from tradingrelease.policy.rules.hooks import lacking as lacking_hook
from tradingrelease.policy.rules.orders import rollback_target
from tradingrelease.policy.spec import Rejected

LONGEST_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status, reason and message of one condition."""

    status: str
    reason: str
    message: str


def _true(reason: str, message: str) -> Verdict:
    return Verdict("True", reason, message)


def _false(reason: str, message: str) -> Verdict:
    return Verdict("False", reason, message)


def compute(world: World, decision: Decision) -> dict[Condition, Verdict]:
    """Return every condition. `world` carries the memory as the decision leaves it."""
    accepted = _accepted(world, decision)
    found = {
        Condition.ACCEPTED: accepted,
        Condition.SERVING: _serving(world),
        **_candidate(world),
        Condition.PROMOTED: _promoted(world),
        Condition.ROLLBACK_READY: _rollback_ready(world),
    }
    found[Condition.READY] = _ready(world, decision, found)
    stalled = _stalled(world, decision, found)
    found[Condition.STALLED] = stalled
    found[Condition.RECONCILING] = _reconciling(found[Condition.READY], stalled, decision)
    return found


def _accepted(world: World, decision: Decision) -> Verdict:
    if decision.refused:
        return _false(*decision.refused)
    spec = world.spec
    if isinstance(spec, Rejected):
        return _false(spec.reason, spec.message)
    if found := accept.problem(world, spec):
        return _false(found.reason, found.message)
    if decision.adopting:
        return Verdict("Unknown", decision.reason, decision.because)
    live = world.memory.live
    if spec.revision in world.stored or (live and live.stack.revision == spec.revision):
        return _true("Valid", f"version {spec.version}, revision {spec.revision}")
    said = world.conditions.get(Condition.ACCEPTED) or {}
    if said.get("reason") in accept.OF_A_DRY_RUN and said.get("observedGeneration") == world.generation:
        return _false(said["reason"], said["message"])  # until the API server says something else of this spec
    return Verdict("Unknown", "Validating", "the API server is asked whether it would take the Deployments")


def _serving(world: World) -> Verdict:
    live = world.memory.live
    if live is None:
        return _false("NothingLive", "no revision is live yet")
    dead = set(world.since)
    if (world.conditions.get(Condition.SERVING) or {}).get("reason") == "NoEndpoint":
        # A switch lets the age of this signal count anew. That somebody answers is said once the slices show it.
        dead |= set(signals.deaths(world, live.stack))
    for name in live.stack.services:
        service = world.services.get(name)
        if service is None:
            return _false("ServiceMissing", f"Service {name} does not exist")
        if signals.dead(name) in dead:
            return _false("NoEndpoint", f"Service {name} has no ready endpoint")
    return _true("EndpointsReady", f"version {live.stack.version} answers on {len(live.stack.services)} Service(s)")


def _candidate(world: World) -> dict[Condition, Verdict]:
    candidate = world.memory.candidate
    if candidate is None:
        none = _false("NoCandidate", "no candidate is asked for")
        return {Condition.CANDIDATE_AVAILABLE: none, Condition.CANDIDATE_VERIFIED: none}
    lacking = list(pending(world))
    first = lacking[0] if lacking else None
    missing = next((p for p in lacking if not p.available), None)
    name = f"version {candidate.stack.version}, attempt {candidate.attempt}"
    available = (
        _false(missing.reason, missing.message) if missing else _true("ReplicasReady", f"{name}: every pod is Ready")
    )
    verified = _true("Verified", f"{name}: verified on every pod")
    if first:
        verified = _false(first.reason, first.message)
    elif hook := lacking_hook(world):
        verified = _false(*hook)
    elif gate := next((g for g in candidate.gates if g.phase not in SETTLED), None):
        verified = _false("ApprovalPending", lacking_approval(world, candidate, gate))
    return {Condition.CANDIDATE_AVAILABLE: available, Condition.CANDIDATE_VERIFIED: verified}


def _promoted(world: World) -> Verdict:
    live, wanted = world.memory.live, world.wanted
    if live is None:
        return _false("NothingLive", "no revision is live yet")
    if act := acts.unfinished(world):
        return _false("Switching", f"{act.cause} to {act.to} is under way")
    if wanted is None or live.stack.revision != wanted.revision:
        asked = f"version {wanted.version}" if wanted else "an invalid spec"
        return _false("NotLive", f"the spec asks for {asked}, live is version {live.stack.version}")
    if text := signals.unread(world):
        return _false("ReadingBack", text)
    return _true("TrafficSwitched", f"every Service selects version {live.stack.version}")


def _rollback_ready(world: World) -> Verdict:
    live, target = world.memory.live, rollback_target(world.memory)
    if target is None:
        return _false("NoTarget", "no proven revision is retained")
    if text := not_standing(world, target.stack, skip=live.stack if live else None):
        return _false("NotStanding", text)
    if why := unsafe(world, target):
        return _false("RollbackUnsafe", why)
    here, wanted = size(world, target.stack)
    if here < wanted:
        return _false("Reduced", f"version {target.stack.version}: {here} of {wanted} pods ready; still usable")
    return _true("Standing", f"version {target.stack.version} ({target.stack.revision}) stands at full size")


def _ready(world: World, decision: Decision, found: Mapping[Condition, Verdict]) -> Verdict:
    live, wanted = world.memory.live, world.wanted
    order = [Condition.ACCEPTED, Condition.PROMOTED, Condition.SERVING]
    if live and live.proven_at:
        # What was live and proven and serves nobody is not a switch that is read back: it is an outage.
        order = [Condition.SERVING, Condition.ACCEPTED, Condition.PROMOTED]
    for condition in order:
        verdict = found[condition]
        if verdict.status == "True":
            continue
        if condition is Condition.PROMOTED and wanted and (latch := world.memory.latch_of(wanted.revision)):
            return _false(latch.reason, not_again(latch))
        # The rule that speaks knows best what is waited for; where none does, what holds what serves.
        says = condition is Condition.PROMOTED and decision.rule not in {"settled", "absorb"}
        if condition is Condition.PROMOTED and decision.halted and not says:
            return _false(*decision.halted)
        return _false(decision.reason, decision.because) if says else _false(verdict.reason, verdict.message)
    if live and decision.halted:
        return _false(*decision.halted)
    if live and live.proven_at is None:
        if decision.stalled or decision.rule in {AFTER_SWITCH, BEGUN}:
            return _false(decision.reason, decision.because)
        return _false(
            "Watching",
            f"version {live.stack.version} is live and in its watch since {stamp(live.watch_since)}",
        )
    if world.memory.paused and decision.reason == "Paused":
        return _false("Paused", decision.because)
    return _true("Proven", f"version {wanted.version if wanted else ''} is live and proven")


def _stalled(world: World, decision: Decision, found: Mapping[Condition, Verdict]) -> Verdict:
    accepted, serving = found[Condition.ACCEPTED], found[Condition.SERVING]
    if decision.stalled:
        return _true(decision.reason, decision.because)
    if decision.halted:
        return _true(*decision.halted)
    if accepted.status == "False":
        return _true(accepted.reason, accepted.message)
    if serving.reason == "ServiceMissing":
        return _true(serving.reason, serving.message)
    wanted = world.wanted
    latch = world.memory.latch_of(wanted.revision) if wanted else None
    if latch:
        return _true(latch.reason, not_again(latch))
    return _false("Moving", "nothing waits for a person")


def _reconciling(ready: Verdict, stalled: Verdict, decision: Decision) -> Verdict:
    if ready.status == "True":
        return _false("Settled", "nothing to do")
    if stalled.status == "True":
        return _false("Stalled", stalled.message)
    return _true(decision.reason if decision.rule != "settled" else ready.reason, ready.message)


def phase(  # noqa: C901, PLR0911 - one line a phase
    world: World, decision: Decision, found: Mapping[Condition, Verdict]
) -> Phase:
    """Return one word for people, derived from the conditions."""
    memory, wanted = world.memory, world.wanted
    if act := acts.unfinished(world):
        moving = Phase.ROLLED_BACK if act.cause is Cause.ROLLBACK else Phase.SWITCHING
        return Phase.STALLED if decision.stalled else moving
    if memory.candidate:
        if decision.halted:
            return Phase.STALLED  # the candidate may be the way out; what serves is in trouble all the same
        if memory.paused:
            return Phase.PAUSED
        if decision.reason == freezes.FROZEN or memory.candidate.held == freezes.START:
            return Phase.FROZEN
        available = found[Condition.CANDIDATE_AVAILABLE].status == "True"
        return Phase.VERIFYING if available else Phase.DEPLOYING
    if found[Condition.READY].status == "True":
        return Phase.READY
    if found[Condition.ACCEPTED].status == "False":
        return Phase.REJECTED
    if latch := memory.latch_of(wanted.revision) if wanted else None:
        switched = any(e.revision == latch.stack.revision and e.switched for e in memory.history)
        return Phase.ROLLED_BACK if switched else Phase.FAILED
    if decision.adopting and not decision.halted:
        return Phase.ADOPTING
    if memory.paused:
        return Phase.PAUSED
    if found[Condition.STALLED].status == "True":
        return Phase.STALLED
    if memory.live and memory.live.proven_at is None:
        return Phase.WATCHING
    return Phase.DEGRADED if memory.live and found[Condition.SERVING].status == "False" else Phase.PENDING


def merged(
    stored: Mapping[str, Mapping[str, Any]],
    found: Mapping[Condition, Verdict],
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """Return the list for status: a condition's transition time moves only with its status."""
    return [stated(kind, verdict, stored.get(kind) or {}, generation, now) for kind, verdict in found.items()]


def stated(kind: str, verdict: Verdict, before: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    """Return one condition as it is stored. `before`: what is stored of it now."""
    since = before.get("lastTransitionTime") if before.get("status") == verdict.status else None
    return {
        "type": str(kind),
        "status": verdict.status,
        "reason": verdict.reason,
        "message": verdict.message[:LONGEST_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
