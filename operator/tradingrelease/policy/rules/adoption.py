"""Services that serve something else today are taken over without a moment in which an unverified pod serves."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import accept, acts, manifests, names
from tradingrelease.policy.model import (
    Backing,
    CreateDeployment,
    Decision,
    Deployment,
    Latched,
    Mark,
    Member,
    Record,
    Rest,
    Scale,
    Service,
    Stack,
    World,
)
from tradingrelease.policy.pods import troubles
from tradingrelease.policy.reasons import Cause
from tradingrelease.policy.spec import Component, Spec

RULE: Final = "services_are_adopted"
FAILED: Final = "AdoptionFailed"
FOLLOW: Final = timedelta(seconds=1)
"""How often the user's Deployment is looked at while its clone comes up; it is not ours to watch."""


def services_are_marked(world: World, _: datetime) -> Decision | None:
    """Write our mark on every Service of the spec and of live, before anything is built on it."""
    spec, live = world.wanted, world.memory.live
    if spec is None:
        return None
    listed = [name for component in spec.components for name in component.services]
    for name in dict.fromkeys([*listed, *(live.stack.services if live else ())]):
        service = world.services.get(name)
        if service and service.marked_by != (world.key.name, world.uid):
            if accept.taken(world, service):
                continue  # it left our spec, and another release took it up
            text = f"Service {name} is marked as steered by this release"
            return Decision(Mark(name, service.version), "services_are_marked", "Marking", text)
    return None


def what_serves_is_marked(world: World, _: datetime) -> Decision | None:
    """Keep our mark on the Services of live and candidate, also while the spec is refused.

    A Service without it (recreated, or its label taken off) hides its endpoints and the record of its last switch: a
    switch of it would look like somebody else's.
    """
    memory = world.memory
    stacks = [s for s in (memory.live and memory.live.stack, memory.candidate and memory.candidate.stack) if s]
    for name in dict.fromkeys(name for stack in stacks for name in stack.services):
        service = world.services.get(name)
        if service and service.marked_by is None:
            text = f"Service {name} lost its mark as steered by this release"
            return Decision(Mark(name, service.version), "what_serves_is_marked", "Marking", text)
    return None


def services_are_adopted(world: World, now: datetime) -> Decision | None:
    """Bring every listed Service that lacks our key under it: by a clone of what it serves, or by `none`."""
    spec = world.wanted
    if spec is None or world.memory.paused:
        return None
    waiting: Decision | None = None
    for component in spec.components:
        listed = [world.services[name] for name in component.services]
        unsteered = [s for s in listed if s.selected is None and not s.break_glass]
        decision = _adopt(world, spec, component, unsteered, now) if unsteered else None
        if decision is None:
            continue
        if not isinstance(decision.step, Rest) or decision.memory or decision.refused:
            return decision
        waiting = waiting or decision  # the clones of all components come up side by side
    return waiting


def _adopt(world: World, spec: Spec, component: Component, unsteered: list[Service], now: datetime) -> Decision | None:
    live = world.memory.live
    member = live.stack.member(component.name) if live else None
    backings = {s.name: world.backings.get(s.name, Backing("Ambiguous", "not looked at yet")) for s in unsteered}
    for name, backing in backings.items():
        if backing.kind == "Ambiguous":
            return _refused(f"component {component.name}, Service {name}: {backing.message}", "AdoptionAmbiguous")
    for name, backing in backings.items():
        if backing.kind == "Ours" and _unverified(world, component.name, backing.name):
            service = world.services[name]
            text = (
                f"Service {name} lost its revision key and serves what is not verified: revision {names.NOTHING} again"
            )
            return Decision(Mark(name, service.version, gate=True), RULE, "Gating", text)
        if backing.kind == "Ours":
            because = f"Service {name} serves what is ours already"
            return acts.point(world, name, _record(world, backing.name, because, now), RULE)
    foreign = [b for b in backings.values() if b.kind == "Deployment"]
    if member:
        return _added(world, component.name, member, unsteered[0], foreign, now)
    if not foreign:
        return _gate(unsteered[0])
    if len({b.name for b in foreign}) > 1:
        both = " and ".join(sorted({b.name for b in foreign}))
        return _refused(
            f"component {component.name}: its Services serve different Deployments ({both})",
            "AdoptionAmbiguous",
        )
    return _clone(world, spec, component, unsteered, foreign[0], now)


def _added(
    world: World, component: str, live: Member, service: Service, foreign: list[Backing], now: datetime
) -> Decision:
    """Take up a Service that was added to a live component."""
    if foreign:
        text = (
            f"component {component} is live as {live.revision}, but its Service serves Deployment "
            f"{foreign[0].name}: list that Service under a component of its own"
        )
        return _refused(text, "AdoptionAmbiguous")
    deployment, own = world.deployment(component, live.revision), names.own_selector(service.selector)
    if deployment and any(deployment.pod_labels.get(k) != v for k, v in own.items()):
        return _gate(service)  # only the candidate's pods have the labels that it asks for
    because = f"Service {service.name} was added to component {component}"
    return acts.point(world, service.name, _record(world, live.revision, because, now), RULE)


def _gate(service: Service) -> Decision:
    text = f"Service {service.name} selects no pod yet: it selects revision {names.NOTHING} until one is verified"
    return Decision(Mark(service.name, service.version, gate=True), RULE, "Gating", text)


def _unverified(world: World, component: str, revision: str) -> bool:
    deployment = world.deployment(component, revision)
    return deployment is not None and not (deployment.adopted_from or deployment.served or deployment.proven)


def _clone(
    world: World, spec: Spec, component: Component, unsteered: list[Service], source: Backing, now: datetime
) -> Decision | None:
    revision = names.digest(dict(source.template))
    clone = world.deployment(component.name, revision)
    adopted = names.digest({"adopted": source.name, "template": revision})
    if (latch := world.memory.latch_of(spec.revision)) and latch.reason == FAILED:
        return _refused(latch.message, FAILED)
    if clone is None:
        body = manifests.deployment(
            world.key, world.uid, component=component.name, revision=revision, template=source.template,
            replicas=source.replicas, claims={s.name: s.version for s in unsteered}, created_for=adopted,
            version=_version(source), min_ready_seconds=source.min_ready_seconds,
            progress_deadline=component.progress_deadline, owned=spec.on_delete == "Remove", adopted_from=source.name,
        )  # fmt: skip
        text = f"component {component.name}: what Deployment {source.name} serves today is released first, unchanged"
        return Decision(CreateDeployment(body["metadata"]["name"], body), RULE, "Adopting", text, adopting=True)
    if clone.replicas != source.replicas and source.replicas > 0:
        text = f"Deployment {clone.name} follows {source.name} to {source.replicas} replicas until it serves"
        step = Scale(clone.name, clone.uid, clone.version, source.replicas)
        return Decision(step, RULE, "Adopting", text, adopting=True)
    if not clone.settled or clone.available < clone.replicas:
        return _wait(world, spec, component, clone, source, now)
    because = f"its pods run the same template as Deployment {source.name}, which no longer serves"
    return acts.point(world, unsteered[0].name, _record(world, revision, because, now), RULE)


def _wait(
    world: World, spec: Spec, component: Component, clone: Deployment, source: Backing, now: datetime
) -> Decision:
    found = troubles(world, clone, restart_limit=0, attempt_start=clone.created_at)
    why = f"; {found[0].message}" if found else ""
    there = f"{clone.available} of {clone.replicas} replicas available"
    text = f"Deployment {clone.name}, the clone of {source.name}: {there}{why}"
    if now - clone.created_at > component.progress_deadline:
        stack = Stack(spec.revision, spec.version, ())
        latch = Latched(stack, FAILED, f"{text} after {component.progress_deadline}", now)
        memory = replace(world.memory, latched=(latch, *world.memory.latched))
        return replace(_refused(latch.message, FAILED), memory=memory)
    return Decision(Rest(), RULE, "Adopting", text, look_again=FOLLOW, adopting=True)


def failed_clones(world: World) -> list[Deployment]:
    """Return clones that never served and are wanted no more."""
    latch = world.memory.latch_of(world.wanted.revision) if world.wanted else None
    if latch is None or latch.reason != FAILED:
        return []
    return [d for d in world.deployments.values() if d.adopted_from and not d.proven]


def _version(source: Backing) -> str:
    labels = (source.template.get("metadata") or {}).get("labels") or {}
    return str(labels.get("app.kubernetes.io/version") or labels.get("version") or "adopted")


def _record(world: World, revision: str, because: str, now: datetime) -> Record:
    live = world.memory.live
    number = live.act if live else acts.next_number(world)
    return Record(
        act=number, cause=Cause.ADOPT, to=live.stack.revision if live else "", origin="", selected=revision,
        before="", at=now, because=because, reason="Adopted",
    )  # fmt: skip


def _refused(message: str, reason: str) -> Decision:
    return Decision(Rest(), RULE, reason, message, look_again=timedelta(seconds=5), refused=(reason, message))
