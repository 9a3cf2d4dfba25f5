"""The candidate: begun, deployed, verified on every pod, switched to; or given up with the cluster's own words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import accept, acts, approvals, checks, manifests, names
from tradingrelease.policy.absorb import drop_candidate, promoted, remember
from tradingrelease.policy.hooks import begun, next_attempt
from tradingrelease.policy.model import (
    Candidate,
    CreateDeployment,
    CreatePreview,
    Decision,
    DeletePreview,
    Deployment,
    HistoryEntry,
    Latched,
    Member,
    Memory,
    Note,
    PatchPreview,
    Pod,
    Record,
    Rest,
    Retire,
    Scale,
    Service,
    Settings,
    Stack,
    Waiting,
    World,
    scope,
    stack_for,
)
from tradingrelease.policy.pods import troubles
from tradingrelease.policy.probes import unprobeable
from tradingrelease.policy.reasons import Cause, Outcome
from tradingrelease.policy.rules.approvals import approvals_come_before_the_switch, waits_before_the_switch
from tradingrelease.policy.rules.attempts import failed
from tradingrelease.policy.rules.hooks import not_by_manifest
from tradingrelease.policy.rules.orders import roll_back
from tradingrelease.policy.sizes import candidate_size, wanted_replicas
from tradingrelease.policy.spec import Component, Spec

# --- accept ----------------------------------------------------------------------------------------------------------


def spec_is_accepted(world: World, _: datetime) -> Decision | None:
    """Refuse what cannot work, and say what to write instead. Nothing is changed for a spec that is not accepted."""
    rule = "spec_is_accepted"
    spec = world.wanted
    if spec is None:
        return accept.refused(world, rule, world.spec) if not isinstance(world.spec, Spec) else None
    if found := accept.problem(world, spec):
        return accept.refused(world, rule, found)
    return accept.judged(world, spec, rule)


def settings_are_remembered(world: World, _: datetime) -> Decision | None:
    """Remember what an accepted spec says beside its revision, so that a later typo shortens nothing."""
    spec = world.wanted
    if spec is None:
        return None
    settings = Settings(
        replicas={c.name: c.replicas for c in spec.components if c.replicas is not None},
        retain_for=spec.retain.for_,
        retain_revisions=spec.retain.revisions,
        keep_failed_for=spec.keep_failed_for,
        on_delete=spec.on_delete,
    )
    if settings == world.memory.settings:
        return None
    memory = replace(world.memory, settings=settings)
    return Decision(Rest(), "settings_are_remembered", "Accepted", "replicas and times of the spec", memory=memory)


# --- begin -----------------------------------------------------------------------------------------------------------


def spec_has_its_candidate(world: World, now: datetime) -> Decision | None:
    """Begin, replace or end the candidate, so that it is what the accepted spec asks for."""
    rule = "spec_has_its_candidate"
    spec, memory = world.wanted, world.memory
    if spec is None:
        return None
    live, candidate = memory.live, memory.candidate
    if live and live.stack.revision == spec.revision:
        return _superseded(world, spec, now, rule) if candidate else None
    if latch := memory.latch_of(spec.revision):
        return _not_again(world, spec, latch, now, rule)
    if retained := next((r for r in memory.retained if r.stack.revision == spec.revision), None):
        if refused := not_by_manifest(world, retained, now, rule):
            return refused
        since = world.since.get("rollback-asked", now)
        because = f"the spec asks for version {spec.version} again, which is retained and proven"
        return roll_back(world, retained, now, since, because=because, order=None, latches=False, reason="AskedBySpec")
    if live and _same_members(live.stack, spec):
        return _settings_only(world, spec, now, rule)
    if candidate and candidate.stack.revision == spec.revision:
        return None
    if memory.paused:
        text = f"version {spec.version} waits: the release is paused"
        return Decision(Rest(), rule, "Paused", text)
    return _begin(world, spec, now, rule)


def _begin(world: World, spec: Spec, now: datetime, rule: str) -> Decision:
    memory = world.memory
    waited = memory.waiting
    notes: tuple[Note, ...] = ()
    if memory.candidate:
        old, attempt = memory.candidate.stack, memory.candidate.attempt
        text = f"version {spec.version} was asked for"
        memory = drop_candidate(memory, "Superseded", text, now, Outcome.SUPERSEDED)
        notes = (
            Note(
                "Superseded",
                f"version {old.version} ({old.revision}): {text}",
                f"{old.revision}/{attempt}/{world.generation}",
            ),
        )
    candidate = Candidate(
        stack_for(spec),
        next_attempt(world, spec.revision),
        now,
        hooks=begun(spec),
        gates=approvals.begun(spec),
        author=waited.author if waited and waited.revision == spec.revision else world.author,
    )
    text = f"version {spec.version} ({spec.revision}) is deployed and verified before it gets traffic"
    note = Note("CandidateStarted", text, f"{spec.revision}/{candidate.attempt}/{world.generation}")
    memory = replace(memory, candidate=candidate, waiting=None)
    return Decision(Rest(), rule, "CandidateStarted", text, memory=memory, notes=(*notes, note))


def author_is_kept(world: World) -> Memory | None:
    """Remember who applied a revision that waits to begin, before somebody else touches the release; None: it is known.

    Asked only where a release waits: one that begins at once notes its author by that.
    """
    spec, memory = world.wanted, world.memory
    if spec is None:
        return None
    waiting = memory.waiting
    if memory.stack_of(spec.revision):
        waiting = None
    elif waiting is None or waiting.revision != spec.revision:
        waiting = Waiting(spec.revision, world.author)
    return None if waiting == memory.waiting else replace(memory, waiting=waiting)


def _superseded(world: World, spec: Spec, now: datetime, rule: str) -> Decision:
    text = f"the spec asks for the live version {spec.version} again"
    memory = drop_candidate(world.memory, "Superseded", text, now, Outcome.SUPERSEDED)
    return Decision(Rest(), rule, "Superseded", text, memory=memory)


def not_again(latch: Latched) -> str:
    """Say why a latched revision is not tried again."""
    name = f"version {latch.stack.version} ({latch.stack.revision})"
    return f"{name} is not tried again until its spec changes or a Retry is ordered; {latch.reason}: {latch.message}"


def _not_again(world: World, spec: Spec, latch: Latched, now: datetime, rule: str) -> Decision:
    memory, text = world.memory, not_again(latch)
    if memory.candidate:
        memory = drop_candidate(memory, "Superseded", f"version {spec.version} was asked for", now, Outcome.SUPERSEDED)
        return Decision(Rest(), rule, "Superseded", text, memory=memory)
    return Decision(Rest(), rule, latch.reason, text, stalled=True)


def _same_members(live: Stack, spec: Spec) -> bool:
    for component in spec.components:
        member = live.member(component.name)
        if (
            member is None
            or member.revision != component.revision
            or not set(component.services) <= set(member.services)
        ):
            return False
    return True


def _settings_only(world: World, spec: Spec, now: datetime, rule: str) -> Decision:
    memory, live = world.memory, world.memory.live
    if live is None:
        raise AssertionError("settings change only what is live")
    if memory.candidate:
        memory = drop_candidate(memory, "Superseded", f"version {spec.version} was asked for", now, Outcome.SUPERSEDED)
    watch_since = live.watch_since if live.proven_at else now
    text = f"version {spec.version} ({spec.revision}) runs the live component revisions: settings only"
    if spec.hooks or spec.approvals:
        text += "; nothing is deployed, so no hook of it runs and nobody is asked: change a template where they should"
    entry = HistoryEntry(
        spec.revision, spec.version, Outcome.SETTINGS_ONLY, now, None, live.proven_at and now, text, "spec"
    )
    stack = stack_for(spec)
    memory = replace(
        memory,
        live=replace(live, stack=stack, watch_since=watch_since),
        retained=tuple(r for r in memory.retained if r.stack.revision != spec.revision),
        history=remember(memory.history, entry),
    )
    note = Note("SettingsOnly", text, f"{spec.revision}/{world.generation}")
    return Decision(Rest(), rule, "SettingsOnly", text, memory=memory, notes=(note,))


# --- deploy ----------------------------------------------------------------------------------------------------------


def candidate_is_deployed(world: World, now: datetime) -> Decision | None:
    """Create what the candidate lacks: Deployments with their claims, and previews of its Services."""
    rule = "candidate_is_deployed"
    candidate = world.memory.candidate
    spec = world.spec_of(candidate.stack.revision) if candidate else None
    if candidate is None or spec is None or world.memory.paused:
        return None
    for member in candidate.stack.members:
        component = spec.component(member.name)
        if component is None:
            continue
        deployment = world.deployment(member.name, member.revision)
        if deployment is None:
            if names.deployment_name(world.key.name, member.name, member.revision) in world.deployments:
                text = f"the former Deployment of {member.name} {member.revision} is still being deleted"
                return Decision(Rest(), rule, "Deploying", text, look_again=timedelta(seconds=1))
            return _create(world, candidate, spec, component, rule)
        if decision := _revive(world, candidate, member, deployment, rule):
            return decision
    return _previews(world, candidate, rule)


def _create(world: World, candidate: Candidate, spec: Spec, component: Component, rule: str) -> Decision:
    body = manifests.deployment(
        world.key,
        world.uid,
        component=component.name,
        revision=component.revision,
        template=component.template,
        replicas=wanted_replicas(world, _newest_sizes(world, spec), component.name),
        claims={n: world.services[n].version for n in component.services if n in world.services},
        created_for=candidate.stack.revision,
        version=candidate.stack.version,
        min_ready_seconds=component.min_ready_seconds,
        progress_deadline=component.progress_deadline,
        owned=world.memory.settings.on_delete == "Remove",
    )
    text = f"component {component.name}: revision {component.revision} (version {spec.version}) has no Deployment yet"
    return Decision(CreateDeployment(body["metadata"]["name"], body), rule, "Deploying", text)


def _newest_sizes(world: World, spec: Spec) -> Spec:
    """Return the spec with the newest accepted replicas: scaling is not a release."""
    sizes = world.memory.settings.replicas
    components = tuple(c.model_copy(update={"replicas": sizes.get(c.name)}) for c in spec.components)
    return spec.model_copy(update={"components": components})


def _revive(world: World, candidate: Candidate, member: Member, deployment: Deployment, rule: str) -> Decision | None:
    """Bring a Deployment that failed in an earlier attempt up again, or replace it where its pods are spent."""
    if _serves(world, member):
        return None
    if pod := _spent_before(world, candidate, member, deployment):
        text = f"Deployment {deployment.name} failed in an earlier attempt ({pod.name}): made anew"
        return Decision(
            Retire(deployment.name, deployment.uid, deployment.claims, delete=True), rule, "Deploying", text
        )
    if deployment.replicas == 0:
        size = candidate_size(world, member)
        if size > 0:
            text = f"Deployment {deployment.name} is brought up again with {size} replicas"
            step = Scale(deployment.name, deployment.uid, deployment.version, size)
            return Decision(step, rule, "Deploying", text)
    return None


def _spent_before(world: World, candidate: Candidate, member: Member, deployment: Deployment) -> Pod | None:
    """Return a pod that an earlier attempt left broken, where its Deployment is to be made anew for this one."""
    # Creation times have whole seconds: what was made for this attempt must not look older than it.
    before = candidate.started_at - timedelta(seconds=1)
    # What a Service selects, by a late write or another hand, stays: it may come up by itself, else its time runs out.
    held = _retained(world, member) or any(s.selected == member.revision for s in acts.steered(world).values())
    if held or deployment.created_at >= before:
        return None
    return next((p for p in world.pods_of(deployment) if p.created_at < before and _spent(p)), None)


def _spent(pod: Pod) -> bool:
    return any(
        c.restarts > 0 or (c.waiting and c.waiting not in {"ContainerCreating", "PodInitializing"})
        for c in pod.containers
    )


def _retained(world: World, member: Member) -> bool:
    return any(r.stack.shares(member) for r in world.memory.retained)


def _serves(world: World, member: Member) -> bool:
    live = world.memory.live
    return live is not None and live.stack.shares(member)


def _previews(world: World, candidate: Candidate, rule: str) -> Decision | None:
    for member in candidate.stack.members:
        for name in member.services:
            service = world.services.get(name)
            if service is None:
                continue
            body = manifests.preview(world.key, world.uid, service, member.revision)
            found = world.services.get(body["metadata"]["name"])
            text = f"{body['metadata']['name']} leads to revision {member.revision} of component {member.name}"
            if found is None:
                return Decision(CreatePreview(body["metadata"]["name"], body), rule, "Deploying", text)
            if found.preview_of == name and not manifests.preview_matches(body, found):
                return _remake(found, body, service, text, rule)
    return None


def _remake(found: Service, body: dict[str, object], service: Service, text: str, rule: str) -> Decision:
    if found.headless != service.headless:  # clusterIP is immutable
        return Decision(DeletePreview(found.name, found.uid), rule, "Deploying", text)
    return Decision(PatchPreview(found.name, found.version, body), rule, "Deploying", text)


# --- verify ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pending:
    """What the candidate still lacks before it may get traffic."""

    reason: str
    message: str
    available: bool
    """Its replicas are all there; what lacks is evidence."""
    component: str = ""
    stalled: bool = False
    """Only a person can help."""


def candidate_may_fail(world: World, now: datetime) -> Decision | None:
    """Give up on a candidate that cannot become well, at once where that is certain."""
    rule = "candidate_may_fail"
    candidate = world.memory.candidate
    spec = world.spec_of(candidate.stack.revision) if candidate else None
    if candidate is None or spec is None:
        return None
    for component in spec.components:
        deployment = world.deployment(component.name, component.revision)
        member = Member(component.name, component.revision, ())
        if deployment is None or _serves(world, member) or _spent_before(world, candidate, member, deployment):
            continue  # what an earlier attempt left broken is made anew, and says nothing of this one
        limit = spec.fail_fast.restart_limit
        for trouble in troubles(world, deployment, limit, candidate.started_at):
            if trouble.fatal or now - trouble.since > spec.fail_fast.stuck_for:
                after = "" if trouble.fatal else f" for {_seconds(now - trouble.since)}"
                return failed(
                    world,
                    candidate,
                    trouble.reason,
                    f"component {component.name}{after}: {trouble.message}",
                    now,
                    rule,
                )
        lacking = next((p for p in pending(world) if p.component == component.name), None)
        # To want no replicas is never a failure; nor is a freeze, nor to wait for people: it may last for days.
        waits = candidate.idle or candidate.held or waits_before_the_switch(candidate)
        if lacking and not waits and now - candidate.deadline_from > component.progress_deadline:
            limit_text = _seconds(component.progress_deadline)
            text = f"component {component.name}: not verified within {limit_text}: {lacking.message}"
            return failed(world, candidate, "DeadlineExceeded", text, now, rule)
    return None


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.0f} s"


def first_pending(world: World) -> Pending | None:
    """Return the first thing that the candidate lacks; None: it may get traffic."""
    return next(pending(world), None)


def pending(world: World) -> Iterator[Pending]:
    """Yield everything that the candidate lacks: first its replicas, then its evidence."""
    candidate = world.memory.candidate
    if candidate is None:
        return
    if world.spec_of(candidate.stack.revision) is None:
        # Deleted by hand while the spec of now is refused: without it nobody knows what is to be checked.
        text = f"the stored spec of version {candidate.stack.version} is gone: apply it again"
        yield Pending("SpecMissing", text, available=False)
    for member in candidate.stack.members:
        yield from _of(member, _not_available(world, member))
    for member in candidate.stack.members:
        yield from _of(member, _not_resolved(world, member))
    for member in candidate.stack.members:
        yield from _of(member, _not_healthy(world, candidate, member))
    for lack in checks.lacking(world, checks.candidate(world)):
        yield Pending(lack.reason, lack.message, True, lack.component, lack.stalled)  # noqa: FBT003


def stands(world: World) -> bool:
    """Tell whether the candidate has its replicas, each an endpoint of its previews: what checks are begun on."""
    candidate = world.memory.candidate
    members = candidate.stack.members if candidate else ()
    return not any(any(_not_available(world, m)) or any(_not_resolved(world, m)) for m in members)


def _of(member: Member, found: Iterator[Pending]) -> Iterator[Pending]:
    return (replace(p, component=member.name) for p in found)


def _not_available(world: World, member: Member) -> Iterator[Pending]:
    deployment = world.deployment(member.name, member.revision)
    if deployment is None:
        yield Pending("Deploying", f"component {member.name} has no Deployment yet", available=False)
        return
    if deployment.replicas == 0:
        yield Pending(
            "ZeroReplicas",
            f"component {member.name} wants 0 replicas and is not switched to: write `replicas`, or scale what is live",
            available=False,
        )
        return
    pods = world.pods_of(deployment)
    ready = sum(pod.ready for pod in pods)
    enough = deployment.available >= deployment.replicas <= deployment.updated
    if deployment.settled and enough and ready == len(pods) >= deployment.replicas:
        return
    text = f"component {member.name}: {min(ready, deployment.available)} of {deployment.replicas} replicas available"
    found = troubles(world, deployment, 1_000_000, deployment.created_at)
    if found:
        text = f"{text}; {found[0].message}"
    yield Pending(found[0].reason if found else "Progressing", text, available=False)


def _not_resolved(world: World, member: Member) -> Iterator[Pending]:
    """Ports must resolve: the preview's EndpointSlices list every pod, ready, on every port."""
    deployment = world.deployment(member.name, member.revision)
    if deployment is None:
        return
    pods = {pod.uid for pod in world.pods_of(deployment)}
    for name in member.services:
        service = world.services.get(name)
        preview = world.services.get(names.preview_name(name))
        if service is None:
            yield Pending("ServiceMissing", f"Service {name} does not exist", available=False)
        elif preview is None or preview.selected != member.revision:
            yield Pending("Deploying", f"Service {name} has no preview yet", available=False)
        else:
            found = world.endpoints.get(preview.name)
            lacking = len(pods - (found.serving(service.ports) if found else frozenset()))
            if lacking:
                ports = ", ".join(str(p.get("targetPort", p.get("port"))) for p in service.ports)
                text = (
                    f"component {member.name}: {lacking} of {len(pods)} ready pods are no endpoint of {preview.name} "
                    f"yet (do the pods have the target port {ports}?)"
                )
                yield Pending("NoEndpoints", text, available=True)


def _not_healthy(world: World, candidate: Candidate, member: Member) -> Iterator[Pending]:
    deployment = world.deployment(member.name, member.revision)
    health = world.health_of(candidate.stack.revision, member.name)
    if deployment is None or health is None:
        return
    where = scope(candidate.stack.revision, candidate.attempt)
    pods = world.pods_of(deployment)
    passed = 0
    worst = ""
    for pod in pods:
        streak = world.streaks.get((where, pod.uid))
        if text := unprobeable(pod, health):
            worst = text
        elif streak and streak.passed >= health.success_threshold:
            passed += 1
        elif streak and streak.last and not streak.passed:
            worst = f"pod {pod.name}: {streak.last}"
    if passed < len(pods):
        text = f"component {member.name}: health passed on {passed} of {len(pods)} pods" + (
            f"; {worst}" if worst else ""
        )
        yield Pending("HealthFailing" if worst else "HealthPending", text, available=True)


# --- switch ----------------------------------------------------------------------------------------------------------


def traffic_is_on_the_candidate(world: World, now: datetime) -> Decision | None:
    """Switch to a verified candidate: the first patch of the act. Until then, say what it waits for."""
    rule = "traffic_is_on_the_candidate"
    candidate, live = world.memory.candidate, world.memory.live
    if candidate is None:
        return None
    if lacking := first_pending(world):
        wait = _deadline(world, candidate, now)
        return Decision(Rest(), rule, lacking.reason, lacking.message, look_again=wait, stalled=lacking.stalled)
    if world.memory.paused:
        return Decision(
            Rest(),
            rule,
            "Paused",
            f"version {candidate.stack.version} is verified and waits: the release is paused",
        )
    if waiting := approvals_come_before_the_switch(world, now):
        return waiting
    because = f"version {candidate.stack.version} ({candidate.stack.revision}) is verified on every pod"
    record = Record(
        act=0, cause=Cause.PROMOTE, to=candidate.stack.revision, origin=live.stack.revision if live else "",
        selected="", before="", at=now, because=because, reason="Switching",
    )  # fmt: skip
    return acts.begin(world, record, rule, now) or _there_already(world, record, rule, now)


def _there_already(world: World, record: Record, rule: str, now: datetime) -> Decision:
    """Take a candidate for live that every Service selects already, by somebody else's hand."""
    number = max(world.memory.act, world.memory.live.act if world.memory.live else 0)
    memory, notes = promoted(world.memory, replace(record, act=number, at=now), now)
    return Decision(Rest(), rule, "Switched", record.because, memory=memory, notes=notes)


_LOOK: Final = timedelta(seconds=10)


def _deadline(world: World, candidate: Candidate, now: datetime) -> timedelta:
    spec = world.spec_of(candidate.stack.revision)
    if spec is None:
        return _LOOK
    ends = [candidate.deadline_from + c.progress_deadline - now for c in spec.components]
    stuck = [
        t.since + spec.fail_fast.stuck_for - now
        for c in spec.components
        if (d := world.deployment(c.name, c.revision))
        for t in troubles(world, d, spec.fail_fast.restart_limit, candidate.started_at)
    ]
    # What is over and did not end the attempt (zero replicas, a component that live shares) is waited for no more.
    soonest = min([span for span in [*ends, *stuck] if span >= timedelta(0)] + [_LOOK])
    return soonest + timedelta(milliseconds=100)
