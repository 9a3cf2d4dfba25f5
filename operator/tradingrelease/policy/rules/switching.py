"""A switch begun is one act: it is finished, or undone in reverse. Nothing else comes between its patches."""

from dataclasses import replace
from datetime import datetime, timedelta

from tradingrelease.policy import acts, names
from tradingrelease.policy.model import Decision, Member, Order, Record, Rest, World
from tradingrelease.policy.reasons import Cause
from tradingrelease.policy.rules.hooks import no_way_back
from tradingrelease.policy.rules.live import recreate
from tradingrelease.policy.rules.orders import aborted, refuse

RULE = "a_switch_is_one_act"


def a_switch_is_one_act(world: World, now: datetime) -> Decision | None:
    """Finish the act under way. A promotion is undone when it is aborted or its candidate is no longer Available.

    To undo it is to go back: across an irreversible hook only a forced order does (ADR 15).
    """
    act = acts.unfinished(world)
    if act is None:
        return None
    if act.cause is not Cause.PROMOTE:
        return acts.go_on(world, act, RULE, now)
    order, why = aborted(world), _no_way_back(world)
    if order and why and not order.force:
        return refuse(world, order, "RollbackUnsafe", why)
    if order:
        return acts.begin(world, _ordered(world, act, order), RULE, now)
    lost = unavailable(world, act.to)
    if lost and why:
        return _forward(world, act, f"{lost}; {why}", now)
    if lost:
        return acts.begin(world, _lost(world, act, lost), RULE, now)
    return acts.go_on(world, act, RULE, now)


def _no_way_back(world: World) -> str:
    """Say why half a switch is not undone but by force; "" if it may be: where nothing is live nobody goes back."""
    live = world.memory.live
    return no_way_back(world, live.stack, live.unsafe) if live else ""


def _ordered(world: World, act: Record, order: Order) -> Record:
    said = f": {order.reason}" if order.reason else ""
    text = f"half a switch undone: {order.action} ordered by ReleaseCommand {order.name}{said}"
    return replace(
        _back(world, act), because=text, order=order.uid, forced_at=order.forced_at, latches=True, reason="Aborted"
    )


def _lost(world: World, act: Record, text: str) -> Record:
    return replace(_back(world, act), because=f"half a switch undone: {text}", reason="CandidateUnavailable")


def _back(world: World, act: Record) -> Record:
    live = world.memory.live
    to = live.stack.revision if live else ""
    return replace(act, cause=Cause.UNDO, to=to, origin=act.to, latches=False, order="", forced_at=None)


def _forward(world: World, act: Record, text: str, now: datetime) -> Decision:
    """Move on to what is Available, since there is no way back; hold still before what is not, until it is."""
    if stack := acts.target_of(world, act):
        behind = {service: member for member in stack.members for service in member.services}
        for name, revision in acts.remaining(world, act):
            if not _unavailable(world, behind[name]):
                return acts.point(world, name, replace(act, selected=revision, at=now), RULE)
        for member in stack.members:
            stands = names.deployment_name(world.key.name, member.name, member.revision) in world.deployments
            if not stands and (decision := recreate(world, stack, member, RULE)):
                because = f"component {member.name} is half switched to: recreated, since {text}"
                return replace(decision, because=because)
    text = f"half a switch waits: {text}"
    return Decision(Rest(), RULE, "RollbackUnsafe", text, look_again=timedelta(seconds=1), stalled=True)


def unavailable(world: World, revision: str) -> str:
    """Say which Deployment of a stack is not Available now; "" if all are."""
    stack = world.memory.stack_of(revision)
    members = stack.members if stack else ()
    return next((text for member in members if (text := _unavailable(world, member))), "")


def _unavailable(world: World, member: Member) -> str:
    deployment = world.deployment(member.name, member.revision)
    if deployment is None:
        return f"Deployment {names.deployment_name(world.key.name, member.name, member.revision)} is gone"
    return f"Deployment {deployment.name} has no available pod" if deployment.available < 1 else ""
