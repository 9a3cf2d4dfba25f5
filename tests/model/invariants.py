"""What must hold (product.md 6), judged on what is stored, by other means than the policy's own.

S1-S3 and S6 bind our writes: they are judged where a write of an operator arrives, with the state before and after it.
"""

from collections.abc import Iterator
from dataclasses import replace

from tradingrelease.policy import acts, model, names
from tradingrelease.policy.conditions import compute
from tradingrelease.policy.model import Decision, Deployment, Rest, World
from tradingrelease.policy.pods import not_standing, size
from tradingrelease.policy.reasons import Action, Cause, Condition, Outcome
from tradingrelease.policy.writes import Create, Merge, Resource, Write

from tests.builders import KEY
from tests.model.world import PODS, READY, Ghost, Operator, State, pod_uid, running_jobs

# --- where a write arrives --------------------------------------------------------------------------------------------


def of_write(before: State, after: State, request: Write) -> Iterator[str]:
    """Yield what a write of an operator broke."""
    if before is after:
        return
    if request.resource is Resource.JOBS:
        yield from _hook_once(before, after)
        return
    if isinstance(request, Create) or request.resource not in {Resource.SERVICES, Resource.DEPLOYMENTS}:
        return
    old, new = before.get(request.resource, request.name), after.get(request.resource, request.name)
    if old is None or old is new:
        return
    yield from _s6(request, old.raw["metadata"].get("labels") or {})
    if request.resource is Resource.SERVICES:
        if not old.value.preview_of and new is not None:
            yield from _s1_moved(after, old.value, new.value)
            yield from _s2_proven(before, old.value, new.value)
            yield from _back_across(before, old.value, new.value)
    else:
        yield from _s1_went(before, old.value, new.value if new else None)
        yield from _s3(before, old.value, new.value if new else None)


def _begun(before: State, after: State) -> set[tuple[str, str, str]]:
    """Return the runs of hooks that a write let begin."""
    known = {job.uid for job in running_jobs(before)}
    return {(job.hook, job.revision, job.attempt) for job in running_jobs(after) if job.uid not in known}


def _hook_once(before: State, after: State) -> Iterator[str]:
    for hook, revision, attempt in _begun(before, after) & before.ghost.ran:
        yield f"hook: {hook} of {revision} runs a second time in attempt {attempt}"


def _back_across(before: State, old: model.Service, new: model.Service) -> Iterator[str]:
    """Yield a way back to what is older than an irreversible hook that succeeded: nobody of the model orders by force."""
    record = new.record
    if old.selected == new.selected or record is None or record.cause not in {Cause.ROLLBACK, Cause.UNDO}:
        return
    if any(name.endswith(f"-{new.selected}") for name in before.ghost.crossed):
        yield f"irreversible: Service {new.name} goes back to {new.selected}, which is older than a hook that succeeded"


def _s6(request: Write, labels: dict[str, str]) -> Iterator[str]:
    marks = isinstance(request, Merge) and names.RELEASE in (request.body["metadata"].get("labels") or {})
    if labels.get(names.RELEASE) != KEY.name and not marks:
        yield f"S6: a write to {request.resource} {names.RELEASE}={labels.get(names.RELEASE)}, which is not ours"


def _s1_moved(after: State, old: model.Service, new: model.Service) -> Iterator[str]:
    if old.selected == new.selected:
        return
    if new.selected in {None, names.NOTHING}:
        undone = new.record is not None and new.record.cause is Cause.UNDO
        if old.selected not in {None, names.NOTHING} and not undone:
            yield f"S1: Service {new.name} is made to select nothing"
        return
    found = [d for d in after.deployments if d.revision == new.selected]
    if any(name.endswith(f"-{new.selected}") for name in after.ghost.robbed):
        return
    if not found:
        yield f"S1: OUTAGE: Service {new.name} selects {new.selected}, whose Deployment does not exist"
    elif all(d.replicas == 0 for d in found):
        yield f"S1: OUTAGE: Service {new.name} selects {new.selected}, whose Deployment has 0 replicas"


def _s1_went(before: State, old: Deployment, new: Deployment | None) -> Iterator[str]:
    if (new is not None and new.replicas > 0) or old.replicas == 0:
        return
    # What others made a Service select after we read it, no claim of ours can prevent.
    ours = [s for s in before.services if s.record and s.record.selected == s.selected and names.RELEASE in s.labels]
    selecting = [s.name for s in ours if s.selected == old.revision]
    if selecting:
        how = "deleted" if new is None else "scaled to 0"
        yield f"S1: OUTAGE: Deployment {old.name} is {how}, and Service {', '.join(selecting)} selects it"


def _s2_proven(before: State, old: model.Service, new: model.Service) -> Iterator[str]:
    record = new.record
    if old.selected == new.selected or record is None or record.cause is not Cause.ROLLBACK:
        return
    if not any(name.endswith(f"-{new.selected}") for name in before.ghost.proven):
        yield f"S2: Service {new.name} is rolled back to {new.selected}, which was never proven"


def _s3(before: State, old: Deployment, new: Deployment | None) -> Iterator[str]:
    if new is not None and new.replicas >= old.replicas:
        return
    how = "deleted" if new is None else f"scaled to {new.replicas}"
    memory = before.memory
    for retained in memory.retained:
        if any(m.name == old.component and m.revision == old.revision for m in retained.stack.members):
            yield f"S3: retained Deployment {old.name} is {how}"
    span = memory.settings.retain_for
    for component, name, at in before.ghost.left:
        kept = (component, name) == (old.component, old.name) and before.now - at < span.total_seconds()
        latched = any(m.revision == old.revision for entry in memory.latched for m in entry.stack.members)
        if kept and not latched:
            yield f"S3: Deployment {old.name} is {how} {before.now - at} s after it lost its traffic, promised are {span}"


def remembered(before: State, after: State, request: Write) -> Ghost:
    """Return what the invariants remember once a write has arrived: who lost its traffic last, and when."""
    ghost = after.ghost
    if request.resource is Resource.JOBS:
        return replace(ghost, ran=ghost.ran | _begun(before, after))
    if isinstance(request, Create) and request.body["metadata"]["name"] in ghost.robbed:
        return replace(ghost, robbed=ghost.robbed - {request.body["metadata"]["name"]})
    if not isinstance(request, Merge):
        return ghost
    if request.resource is Resource.DEPLOYMENTS and after.get(Resource.DEPLOYMENTS, request.name).value.proven:
        return replace(ghost, proven=ghost.proven | {request.name})
    if request.resource is not Resource.SERVICES:
        return ghost
    old, new = before.get(Resource.SERVICES, request.name), after.get(Resource.SERVICES, request.name)
    if old is None or new is None or old.value.selected == new.value.selected:
        return ghost
    if new.value.record is None or new.value.record.cause not in {Cause.PROMOTE, Cause.ROLLBACK}:
        return ghost  # what a repair or an undo takes back was no former live
    left = {component: (name, at) for component, name, at in ghost.left}
    for d in before.deployments:
        if d.revision == old.value.selected and d.proven and request.name in d.claims:
            left[d.component] = (d.name, after.now)
    return replace(ghost, left=tuple(sorted((c, n, at) for c, (n, at) in left.items())))


def crossed(state: State, job: model.Job) -> Ghost:
    """Return the ghost once a Job has succeeded: what stood then is older than what it did."""
    spec = next(
        (s.value[1] for s in state.kinds[Resource.STORED].values() if s.value and s.value[0] == job.revision), None
    )
    hook = spec.hook(job.hook) if spec else None
    if hook is None or not hook.irreversible:
        return state.ghost
    own = {component.revision for component in spec.components} if spec else set()
    return replace(
        state.ghost, crossed=state.ghost.crossed | {d.name for d in state.deployments if d.revision not in own}
    )


def of_memory(before: State, after: State) -> Iterator[str]:
    """Yield what no memory may say: that what failed is live, that a hook that runs was superseded, or lost its Job.

    A rollback by manifest alone may come before the end of a hook.
    """
    candidate, now = before.memory.candidate, after.memory
    if now.live and now.latch_of(now.live.stack.revision):
        yield f"S2: {now.live.stack.version} ended before it got any traffic, and is taken for live"
    standing = {stored.uid for stored in before.kinds[Resource.JOBS].values()}
    for run in candidate.hooks if candidate else ():
        gone = any(entry.at == after.clock and "JobGone" in entry.message for entry in now.latched)
        if gone and run.job_uid in standing:
            yield f"hook: {run.name} is said to have lost its Job, which stands"
    if candidate is None or (now.candidate and now.candidate.stack.revision == candidate.stack.revision):
        return
    entry = now.history[0] if now.history else None
    if entry is None or entry.revision != candidate.stack.revision or entry.outcome is not Outcome.SUPERSEDED:
        return
    wanted = before.release.value.spec
    if any(r.stack.revision == wanted.revision for r in before.memory.retained):
        return
    for job in running_jobs(before):
        if (job.revision, job.attempt) == (candidate.stack.revision, str(candidate.attempt)):
            yield f"hook: {candidate.stack.version} is superseded while its hook {job.hook} runs"


def known_as_proven(state: State) -> Ghost:
    """Return the ghost once a memory is stored: what ended its watch well is proven, annotated yet or not."""
    live = state.memory.live
    if live is None or live.proven_at is None:
        return state.ghost
    found = {names.deployment_name(KEY.name, m.name, m.revision) for m in live.stack.members}
    return replace(state.ghost, proven=state.ghost.proven | found)


# --- where an operator decides ----------------------------------------------------------------------------------------


def of_decision(state: State, operator: Operator, world: World, decision: Decision) -> Iterator[str]:
    """Yield what a decision breaks."""
    yield from _s2_verified(state, world, decision)
    yield from _approved(state, world, decision)
    yield from _s4(state, operator, world, decision)


def _s2_verified(state: State, world: World, decision: Decision) -> Iterator[str]:
    step, candidate = decision.step, world.memory.candidate
    if not isinstance(step, model.Switch) or step.record.cause is not Cause.PROMOTE:
        return
    if candidate is None or candidate.stack.revision != step.record.to:
        yield f"S2: Service {step.service} is moved to {step.record.to}, which is no candidate any more"
        return
    if acts.unfinished(world):
        return  # from its first Service to its last a switch is one act
    live = world.memory.live
    for member in candidate.stack.members:
        same = live.stack.member(member.name) if live else None
        if same is not None and same.revision == member.revision:
            continue
        deployment = world.deployment(member.name, member.revision)
        for pod in world.pods_of(deployment) if deployment else ():
            proof = (candidate.stack.revision, candidate.attempt, pod.uid)
            if proof not in state.ghost.proofs:
                yield (
                    f"S2: switch to {candidate.stack.version}, whose pod never passed its check in this revision's "
                    f"attempt {candidate.attempt}"
                )


def _approved(state: State, world: World, decision: Decision) -> Iterator[str]:
    """Yield a switch that too few people have agreed to: for this revision, and for this attempt at it."""
    step, candidate = decision.step, world.memory.candidate
    if not isinstance(step, model.Switch) or step.record.cause is not Cause.PROMOTE or acts.unfinished(world):
        return
    spec = world.spec_of(candidate.stack.revision) if candidate else None
    for asked in spec.approvals if spec and candidate else ():
        place = (candidate.stack.revision, candidate.attempt)
        given = {person for revision, attempt, person in state.ghost.agreed if (revision, attempt) == place}
        if len(given) < asked.required:
            yield f"approval: switch to {candidate.stack.version}, attempt {candidate.attempt}, with {len(given)} of {asked.required}"


def _s4(state: State, operator: Operator, world: World, decision: Decision) -> Iterator[str]:
    """Yield an ordered rollback that waits though blue stands at full size, whatever green is like."""
    memory = world.memory
    waits = isinstance(decision.step, Rest) and decision.memory is None
    if operator.behind or not waits or memory.live is None or acts.unfinished(world):
        return
    open_orders = [o for o in world.orders if o.action is Action.ROLLBACK and o.phase not in {"Done", "Refused"}]
    answered = {a.uid for a in memory.answers}
    target = next((r for r in memory.retained if memory.latch_of(r.stack.revision) is None), None)
    for order in open_orders:
        if order.uid in answered or order.revision != memory.live.stack.revision or target is None:
            continue
        here, wanted = size(world, target.stack)
        if not not_standing(world, target.stack) and here >= wanted:
            yield f"S4: blue stands at full size, and the ordered rollback waits: {decision.because}"


# --- where time passes, and at the end --------------------------------------------------------------------------------


def of_time(state: State, resting: list[tuple[Operator, Decision]], seconds: int) -> Iterator[str]:
    """Yield what must not last: Services away from live, while an operator sees it and could write (S10)."""
    live = state.memory.live
    if seconds < 10 or live is None or all(o.behind or d.stalled for o, d in resting):
        return
    selected = {s.name: s.selected for s in state.services}
    places = [(name, member.revision) for member in live.stack.members for name in member.services if name in selected]
    if apart := [name for name, revision in places if selected[name] != revision]:
        yield f"S10: Service {', '.join(apart)} stays apart from live {live.stack.version}"


def ended(state: State, world: World, decision: Decision) -> str:
    """Say why a state in which everybody rests is an end: the word of Ready or of Stalled; "" if it is none."""
    found = compute(world, decision)
    ready, stalled = found[Condition.READY], found[Condition.STALLED]
    if ready.status == "True":
        return f"Ready: {ready.reason}"
    return f"Stalled: {stalled.reason}" if stalled.status == "True" else ""


ENDS = frozenset(
    {
        "Ready: Proven", "Stalled: Aborted", "Stalled: ApprovalTimeout", "Stalled: BlueUnhealthyAfterHook",
        "Stalled: Crashed", "Stalled: DeadlineExceeded", "Stalled: HealthFailed", "Stalled: HookFailed",
        "Stalled: NoEndpoint", "Stalled: NothingToRollBackTo", "Stalled: Ordered", "Stalled: RollbackUnsafe",
    }
)  # fmt: skip
"""Where a release may come to rest once faults have stopped. Any other reason means that it is stuck."""


def of_end(state: State, end: str) -> Iterator[str]:
    """Yield what is wrong where everything has come to rest: liveness, and what is one too many (S5)."""
    if end not in ENDS:
        yield f"liveness: it ends as {end}, though no fault is left"
    memory = state.memory
    stacks = [s for s in (memory.live and memory.live.stack, memory.candidate and memory.candidate.stack) if s]
    stacks += [r.stack for r in memory.retained]
    roles = {names.deployment_name(KEY.name, m.name, m.revision) for stack in stacks for m in stack.members}
    selected = {s.selected for s in state.services}
    if memory.live is None and (moved := [s.name for s in state.services if s.selected != names.NOTHING]):
        yield f"S2: nothing is live, and Service {', '.join(moved)} selects a revision"
    others = [d for d in state.deployments if d.name not in roles and d.revision not in selected]
    for component in {d.component for d in others}:
        found = [d for d in others if d.component == component]
        if len(found) > 1 or any(d.replicas for d in found):
            yield f"S5: beside its roles component {component} has {', '.join(f'{d.name} ({d.replicas})' for d in found)}"


def evidence(state: State, world: World) -> Ghost:
    """Return the ghost with what a probe of every pod proves now."""
    candidate = world.memory.candidate
    if candidate is None:
        return state.ghost
    found = set(state.ghost.proofs)
    for d in state.deployments:
        member = candidate.stack.member(d.component)
        life = state.get(PODS, d.uid)
        if member and member.revision == d.revision and life and life.mode == READY:
            found.add((candidate.stack.revision, candidate.attempt, pod_uid(d, life)))
    return replace(state.ghost, proofs=frozenset(found))
