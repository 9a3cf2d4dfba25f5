"""A switch begun is one act: it is finished, or undone in reverse. Nothing else comes between its patches."""

from dataclasses import replace
from datetime import datetime

from tradingrelease.policy import acts, names
from tradingrelease.policy.model import Decision, Record, World
from tradingrelease.policy.reasons import Cause
from tradingrelease.policy.rules.orders import aborted

RULE = "a_switch_is_one_act"


def a_switch_is_one_act(world: World, now: datetime) -> Decision | None:
    """Finish the act under way. A promotion is undone when it is aborted or its candidate is no longer Available."""
    act = acts.unfinished(world)
    if act is None:
        return None
    if act.cause is Cause.PROMOTE and (undo := _undo(world, act)):
        return acts.begin(world, undo, RULE, now)
    return acts.go_on(world, act, RULE, now)


def _undo(world: World, act: Record) -> Record | None:
    live = world.memory.live
    back = replace(
        act, cause=Cause.UNDO, to=live.stack.revision if live else "", origin=act.to, latches=False, order=""
    )
    if order := aborted(world):
        said = f": {order.reason}" if order.reason else ""
        text = f"half a switch undone: {order.action} ordered by ReleaseCommand {order.name}{said}"
        return replace(back, because=text, order=order.uid, latches=True, reason="Aborted")
    if text := unavailable(world, act.to):
        return replace(back, because=f"half a switch undone: {text}", reason="CandidateUnavailable")
    return None


def unavailable(world: World, revision: str) -> str:
    """Say which Deployment of a stack is not Available now; "" if all are."""
    stack = world.memory.stack_of(revision)
    for member in stack.members if stack else ():
        deployment = world.deployment(member.name, member.revision)
        if deployment is None:
            return f"Deployment {names.deployment_name(world.key.name, member.name, member.revision)} is gone"
        if deployment.available < 1:
            return f"Deployment {deployment.name} has no available pod"
    return ""
