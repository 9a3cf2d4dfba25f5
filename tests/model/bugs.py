"""Protocol bugs, each planted by replacing one small named piece of the operator; the search must find every one.

A bug names the scope that it is looked for in. The same scope without the bug is exhausted and clean, else finding
something in it would prove nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import ModuleType
from typing import Any
from unittest.mock import patch

from tradingrelease.policy import absorb, acts, approvals, hooks, irreversible, model, names, probes, writes
from tradingrelease.policy import decide as policy
from tradingrelease.policy.pods import not_standing
from tradingrelease.policy.reasons import Cause, Consent, Progress
from tradingrelease.policy.rules import candidate, live, orders, switching

from tests.model.search import Limits


@dataclass(frozen=True)
class Bug:
    """One mistake in the protocol."""

    name: str
    scope: str
    pieces: tuple[tuple[ModuleType, str, Any], ...]
    """(module, name, what stands there instead)"""
    breaks: str
    """The invariant that it breaks."""

    @property
    def limits(self) -> Limits:
        """How it is searched for: liveness is judged as well where it does not speak first."""
        return Limits(calm=self.breaks not in {"S1", "S10"})


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Let the operator have a bug for a while."""
    replaced = [patch.object(module, name, piece) for module, name, piece in bug.pieces]
    for piece in replaced:
        piece.start()
    try:
        yield
    finally:
        for piece in replaced:
            piece.stop()


# --- the pieces -------------------------------------------------------------------------------------------------------

_retire, _restore = writes.retire, writes.restore


def _unguarded(_uid: str, _version: int, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata}


def _any_version(target: model.Deployment) -> writes.Delete:
    return writes.Delete(writes.Resource.DEPLOYMENTS, target.name, "")


def _always(*_: Any) -> bool:
    return True


def _never(*_: Any) -> bool:
    return False


def _no_claims(*_: Any) -> dict[str, int]:
    return {}


def _no_claim(_world: model.World, deployment: model.Deployment, _services: set[str]) -> model.Claim:
    return model.Claim(deployment.name, deployment.uid, deployment.version, {})


def _differs(claimed: int, version: int) -> bool:
    return claimed != version


def _unguarded_claim(step: model.Claim) -> dict[str, Any]:
    return {"metadata": {"annotations": {names.claim_key(s): str(v) for s, v in step.claims.items()}}}


def _all_claims(world: model.World, deployment: model.Deployment, services: set[str]) -> model.Claim:
    versions = {name: world.services[name].version for name in sorted(services) if name in world.services}
    found = versions if versions != {n: deployment.claims.get(n) for n in versions} else {}
    return model.Claim(deployment.name, deployment.uid, deployment.version, found)


def _same_fence(service: model.Service, _unique: str) -> writes.Merge:
    body = writes.guarded("", service.version, annotations={names.FENCE: "fenced"})
    return writes.Merge(writes.Resource.SERVICES, service.name, body)


def _zero_is_no_delete(step: model.Retire, unique: str) -> writes.Requests:
    if step.delete:
        return (yield from _retire(step, unique))
    target = yield writes.Read(writes.Resource.DEPLOYMENTS, step.deployment)
    if isinstance(target, model.Deployment):
        yield writes._last(step, target)
    return None


def _all_but(cause: Cause) -> Any:
    return lambda held, version, record: held == version or record.cause is cause


def _of_the_spec(target: model.Deployment) -> dict[str, int]:
    return {name: claimed for name, claimed in target.claims.items() if name == "backend"}


def _missing_is_high(deployment: model.Deployment, service: str) -> int:
    return deployment.claims.get(service, 1_000_000)


def _not_lower(held: int, version: int, _: model.Record) -> bool:
    return held >= version


def _restored_with_claims(step: model.Restore) -> tuple[dict[str, Any], ...]:
    return (
        *_restore(step),
        {"op": "add", "path": "/metadata/annotations/" + names.claim_key("backend").replace("/", "~1"), "value": "1"},
    )


def _from_the_start(memory: model.Memory) -> model.Memory:
    began = next((e.started for e in memory.history if memory.live and e.revision == memory.live.stack.revision), None)
    if began is None:
        return memory
    until = began + memory.settings.retain_for
    return replace(memory, retained=tuple(replace(r, until=until) for r in memory.retained))


def _green_too(world: model.World, stack: model.Stack, skip: model.Stack | None = None) -> str:
    green = world.memory.live
    return not_standing(world, stack, skip) or (not_standing(world, green.stack) if green else "")


def _one_scope(_revision: str, _attempt: int | None) -> str:
    return "everything"


def _scope_of_revision(revision: str, attempt: int | None) -> str:
    return f"{revision}/watch" if attempt is None else revision


def _scopes(piece: Any) -> tuple[tuple[ModuleType, str, Any], ...]:
    return tuple((module, "scope", piece) for module in (candidate, live, probes))


_job, _job_ended, _followed, _given = hooks.job, hooks._job_ended, hooks._followed, approvals.given


def _made_again(world: model.World, whose: hooks.Series, run: model.HookRun, *more: Any) -> model.HookRun:
    gone = run.phase is Progress.RUNNING and run.job not in world.jobs
    return model.HookRun(run.name, run.at) if gone else _followed(world, whose, run, *more)


def _gone_unless_seen(world: model.World, run: model.HookRun) -> Any:
    return _job_ended(replace(world, job_gone=run.job_uid), run)


def _may_run_at_once(*of: Any) -> dict[str, Any]:
    body = _job(*of)
    return {**body, "spec": {**body["spec"], "suspend": False}}


def _for_any_attempt(world: model.World, order: model.Order, now: datetime) -> Any:
    candidate = world.memory.candidate
    if candidate is None:
        return _given(world, order, now)
    gates = tuple(replace(g, phase=Consent.WAITING, since=now) if g.since is None else g for g in candidate.gates)
    memory = replace(world.memory, candidate=replace(candidate, gates=gates))
    return _given(replace(world, memory=memory), replace(order, attempt=candidate.attempt), now)


def _with_its_approvals(candidate: model.Candidate, now: datetime) -> model.Candidate:
    gates = candidate.gates
    return model.Candidate(candidate.stack, candidate.attempt + 1, now, gates=gates, author=candidate.author)


def _nothing_forbids(_: model.World) -> str:
    return ""


def _nobody(*_: Any) -> None:
    return None


def _status_alone(_: model.World, memory: model.Memory) -> model.Memory:
    return memory


def _without(rules: str, rule: Any) -> tuple[ModuleType, str, Any]:
    found = getattr(policy, rules)
    assert rule in found
    return policy, rules, tuple(kept for kept in found if kept is not rule)


BUGS = (
    Bug("no precondition at all", "revert", ((writes, "guarded", _unguarded), (writes, "remove", _any_version)), "S1"),
    Bug(
        "Service version only",
        "revert",
        ((acts, "allows", _always), (acts, "claim", _no_claim), (writes, "claimed_services", _no_claims)),
        "S1",
    ),
    Bug("claims compared for equality", "old read", ((writes, "outdated", _differs),), "S1"),
    Bug("a claim patch without a precondition", "late claim", ((writes, "claim", _unguarded_claim),), "S1"),
    Bug("a claim that may be lowered", "old read", ((acts, "claim", _all_claims),), "S1"),
    Bug("a fence that repeats its value", "fenced twice", ((writes, "fence", _same_fence),), "S1"),
    Bug("fence without claim", "asked again", ((acts, "allows", _always), (acts, "claim", _no_claim)), "S1"),
    Bug("claim without fence", "revert", ((writes, "needs_fence", _never),), "S1"),
    Bug("scaling to zero outside the delete rule", "abort", ((writes, "retire", _zero_is_no_delete),), "S1"),
    Bug("an undo without a claim", "half way", ((acts, "allows", _all_but(Cause.UNDO)),), "S1"),
    Bug("a drift repair without a claim", "put back late", ((acts, "allows", _all_but(Cause.REPAIR)),), "S1"),
    Bug(
        "a delete that looks only at its own spec's Services",
        "left out",
        ((writes, "claimed_services", _of_the_spec),),
        "S1",
    ),
    Bug(
        "a missing claim read as not lower",
        "unclaimed",
        ((acts, "claimed", _missing_is_high), (acts, "allows", _not_lower)),
        "S1",
    ),
    Bug("restoring a Deployment resets its claims", "edited", ((writes, "restore", _restored_with_claims),), "S1"),
    Bug(
        "a retention clock that starts before the switch",
        "retention",
        ((absorb, "_retention_follows_the_latest_switch", _from_the_start),),
        "S3",
    ),
    Bug("a rollback that asks green", "rollback", ((orders, "not_standing", _green_too),), "S4"),
    Bug(
        "a late switch that makes an aborted first release live",
        "abort at first",
        ((absorb, "ended_unswitched", _never),),
        "S2",
    ),
    Bug(
        "a late switch that nobody takes back",
        "abort at first",
        (_without("URGENT", policy.given_up_serves_nobody),),
        "S2",
    ),
    Bug("a former candidate that nobody clears away", "revert", (_without("CHORES", policy.leftovers_go),), "S5"),
    Bug(
        "a Service that is written before it is marked",
        "made again",
        (_without("URGENT", policy.what_serves_is_marked), _without("PROGRESS", policy.services_are_marked)),
        "S6",
    ),
    Bug("a selector that nobody puts back", "put back late", (_without("URGENT", policy.selectors_are_ours),), "S10"),
    Bug(
        "a selector that nobody puts back, told by liveness",
        "put back late",
        (_without("URGENT", policy.selectors_are_ours),),
        "liveness",
    ),
    Bug("evidence carried over to another revision", "another revision", _scopes(_one_scope), "S2"),
    Bug("evidence carried over to another attempt", "another attempt", _scopes(_scope_of_revision), "S2"),
    Bug("a Job that is gone is made again", "migration", ((hooks, "_followed", _made_again),), "hook"),
    Bug("a Job that may run before its uid is stored", "migration", ((hooks, "job", _may_run_at_once),), "hook"),
    Bug("a Job that is not seen is said to be gone", "unseen Job", ((hooks, "_job_ended", _gone_unless_seen),), "hook"),
    Bug(
        "a migration that is superseded", "migration", (_without("PROGRESS", policy.a_running_hook_ends_first),), "hook"
    ),
    Bug(
        "an approval that counts for any attempt, asked for or not",
        "approval",
        ((approvals, "given", _for_any_attempt),),
        "approval",
    ),
    Bug(
        "approvals carried over to another attempt", "approval", ((absorb, "_again", _with_its_approvals),), "approval"
    ),
    Bug("a rollback across an irreversible hook", "no way back", ((live, "halted", _nobody),), "irreversible"),
    Bug(
        "half a switch undone across an irreversible hook",
        "half way past a migration",
        ((switching, "_no_way_back", _nothing_forbids),),
        "irreversible",
    ),
    Bug(
        "an irreversible hook that only status knows of",
        "no way back",
        ((irreversible, "found_again", _status_alone),),
        "irreversible",
    ),
)
