"""Acts: moving the Services of a stack, one guarded patch each.

An act (adoption, promotion, rollback, undo) has a number; every Service that it moved carries its record. Which act
is under way, and how far it came, is read from those records alone, so a crash between two patches loses nothing.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from tradingrelease.policy import names, writes
from tradingrelease.policy.model import (
    Claim,
    Decision,
    Deployment,
    Record,
    Rest,
    Service,
    Stack,
    Switch,
    World,
)
from tradingrelease.policy.reasons import Cause

SOON = timedelta(milliseconds=200)


def steered(world: World) -> dict[str, Service]:
    """Return the Services that carry this release's mark."""
    return {
        name: s
        for name, s in world.services.items()
        if s.labels.get(names.RELEASE) == world.key.name and not s.preview_of
    }


def latest(world: World) -> Record | None:
    """Return the record of the newest act of this release that any of its Services carries."""
    records = [s.record for s in steered(world).values() if s.record and s.record.release in {"", world.key.name}]
    return max(records, key=lambda r: r.act, default=None)


def next_number(world: World) -> int:
    """Return the number for a new act."""
    newest = latest(world)
    return max(newest.act if newest else 0, _done(world)) + 1


def _done(world: World) -> int:
    memory = world.memory
    return max(memory.act, memory.live.act if memory.live else 0)


def unfinished(world: World) -> Record | None:
    """Return the record of an act that has begun and is not yet remembered as done."""
    newest, memory = latest(world), world.memory
    if newest is None or newest.cause in {Cause.ADOPT, Cause.REPAIR}:
        return None
    if memory.live is None and memory.candidate is None:
        return None  # what a deleted release of this name left behind
    return newest if newest.act > _done(world) else None


def moved_by(world: World, act: int) -> list[Service]:
    """Return the Services whose newest record is that of an act, and that still select what it gave them."""
    return [s for s in steered(world).values() if s.record and s.record.act == act and s.selected == s.record.selected]


def target_of(world: World, act: Record) -> Stack | None:
    """Return the stack that an act moves to."""
    return world.memory.stack_of(act.to)


def remaining(world: World, act: Record) -> list[tuple[str, str]]:
    """Return what an act still has to move, in its order: (Service, component revision to select).

    An undo takes back what the act before it moved, in reverse; everything else moves a stack's Services, a rollback
    in reverse.
    """
    if act.cause is Cause.UNDO:
        undone = [s for s in moved_by(world, act.act - 1) if s.record and s.record.to == act.origin]
        order = {name: i for i, name in enumerate(_order(world, act.origin))}
        undone.sort(key=lambda s: order.get(s.name, -1), reverse=True)
        return [(s.name, s.record.before) for s in undone if s.record]
    stack = target_of(world, act)
    if stack is None:
        return []
    left = [
        (name, member.revision)
        for member in stack.members
        for name in member.services
        if (service := world.services.get(name)) and service.selected != member.revision
    ]
    return left[::-1] if act.cause is Cause.ROLLBACK else left


def _order(world: World, revision: str) -> tuple[str, ...]:
    stack = world.memory.stack_of(revision)
    return stack.services if stack else ()


def complete(world: World, act: Record) -> bool:
    """Tell whether an act has moved all that it has to move."""
    if act.cause is not Cause.UNDO and target_of(world, act) is None:
        return False
    return not remaining(world, act)


def abandoned(world: World, act: Record) -> bool:
    """Tell whether an act moves to what was given up before one of its writes arrived."""
    memory = world.memory
    if act.cause is Cause.PROMOTE:
        stacks = [s for s in (memory.candidate and memory.candidate.stack, memory.live and memory.live.stack) if s]
        return all(stack.revision != act.to for stack in stacks)
    return act.cause is Cause.ROLLBACK and all(r.stack.revision != act.to for r in memory.retained)


def begin(world: World, template: Record, rule: str, now: datetime) -> Decision | None:
    """Return the first write of a new act, or None where there is nothing to move."""
    return _move(world, replace(template, act=next_number(world), at=now), rule)


def go_on(world: World, act: Record, rule: str, now: datetime) -> Decision | None:
    """Return the next write of an act under way, or None where it is complete."""
    return _move(world, replace(act, at=now), rule)


def _move(world: World, act: Record, rule: str) -> Decision | None:
    left = remaining(world, act)
    if not left:
        return None
    name, revision = left[0]
    return point(world, name, replace(act, selected=revision), rule)


def point(world: World, service_name: str, record: Record, rule: str) -> Decision:
    """Return the write that makes a Service select `record.selected`: its claim first, where that is not in place."""
    service = world.services[service_name]
    record = replace(record, before=service.selected or "", release=world.key.name)
    switch = Switch(service.name, service.version, record.selected, record)
    because = f"Service {service.name}: {record.before or 'no revision'} -> {record.selected}: {record.because}"
    if record.selected == names.NOTHING:
        return Decision(switch, rule, record.reason or str(record.cause), because)
    deployment = _deployment_behind(world, record.selected, service)
    if deployment is None or deployment.replicas == 0:
        state = "gone" if deployment is None else f"scaled to zero ({deployment.name})"
        text = f"Service {service.name} is to select {record.selected}, whose Deployment is {state}"
        return Decision(Rest(), rule, "TargetMissing", text, look_again=timedelta(seconds=1), stalled=True)
    held = claimed(deployment, service.name)
    if allows(held, service.version, record):
        return Decision(switch, rule, record.reason or str(record.cause), because)
    if held > service.version:
        text = f"the last read of Service {service.name} is older than the claim on it"
        return Decision(Rest(), rule, "StaleRead", text, look_again=SOON)
    text = f"Deployment {deployment.name} claims Service {service.name} at {service.version} before the switch"
    return Decision(claim(world, deployment, {service.name}), rule, "Claiming", text)


def claim(world: World, deployment: Deployment, services: set[str]) -> Claim:
    """Return the write that brings a Deployment's claims up to its Services' versions; never lowers one."""
    versions = {name: world.services[name].version for name in sorted(services) if name in world.services}
    raised = {name: seen for name, seen in versions.items() if writes.outdated(claimed(deployment, name), seen)}
    return Claim(deployment.name, deployment.uid, deployment.version, raised)


def claimed(deployment: Deployment, service: str) -> int:
    """Return the Service version that a Deployment may be switched at; a missing claim allows none."""
    return deployment.claims.get(service, 0)


def allows(held: int, version: int, record: Record) -> bool:
    """Tell whether a claim allows a switch: the same for every cause, for an undo and a repair as well."""
    return held == version


def _deployment_behind(world: World, component_revision: str, service: Service) -> Deployment | None:
    """Return the Deployment of that component revision whose pods satisfy the Service's own selector."""
    own = names.own_selector(service.selector)
    fitting = [
        d
        for d in world.deployments.values()
        if d.revision == component_revision and not d.deleting and all(d.pod_labels.get(k) == v for k, v in own.items())
    ]
    # Two components with one template have Deployments of one revision: the one that claims the Service is meant.
    return max(fitting, key=lambda d: (claimed(d, service.name), d.name), default=None)
