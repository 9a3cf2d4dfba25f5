"""Orders: what a person asked for by a ReleaseCommand. Each is answered once, and says why."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import acts, approvals
from tradingrelease.policy.absorb import answer, latch_candidate, rolled_back
from tradingrelease.policy.hooks import next_attempt
from tradingrelease.policy.model import (
    Answer,
    Candidate,
    Decision,
    Memory,
    Note,
    Order,
    Paused,
    Record,
    Rest,
    Retained,
    World,
)
from tradingrelease.policy.pods import not_standing, size
from tradingrelease.policy.reasons import Action, Outcome
from tradingrelease.policy.rules import overrides
from tradingrelease.policy.rules.hooks import unsafe
from tradingrelease.policy.rules.live import any_dead, rollback_record

EXPIRES_AFTER: Final = timedelta(minutes=10)
"""An order first seen later than this is refused: nobody expects it to act any more (product.md 3)."""
REGAIN: Final = timedelta(seconds=30)
"""How long a blue below its size may take to regain it while live still serves (product.md 4.9)."""

RULE: Final = "orders_are_answered"


def orders_are_answered(world: World, now: datetime) -> Decision | None:
    """Carry out or refuse the oldest order that has no answer yet."""
    answered = {a.uid for a in world.memory.answers}
    for order in world.orders:
        if not order.open or order.uid in answered:
            continue
        if not order.phase and now - order.created_at > EXPIRES_AFTER:
            age = int((now - order.created_at).total_seconds())
            return refuse(world, order, "Expired", f"first seen {age} s after it was given: give it again")
        if decision := _CARRY_OUT[order.action](world, order, now):
            return decision
    return None


def aborted(world: World) -> Order | None:
    """Return the open order that ends a switch under way: Abort of the candidate, or Rollback."""
    answered = {a.uid for a in world.memory.answers}
    candidate, live = world.memory.candidate, world.memory.live
    for order in world.orders:
        if not order.open or order.uid in answered:
            continue
        ends = order.action is Action.ABORT and candidate and order.revision == candidate.stack.revision
        back = order.action is Action.ROLLBACK and order.revision in {
            candidate.stack.revision if candidate else None,
            live.stack.revision if live else None,
        }
        if ends or back:
            return order
    return None


def _rollback(world: World, order: Order, now: datetime) -> Decision | None:
    live = world.memory.live
    if live is None:
        return refuse(world, order, "NothingLive", "no revision is live")
    if order.revision != live.stack.revision:
        text = f"revision {order.revision} is not live; live is {live.stack.revision} (version {live.stack.version})"
        return refuse(world, order, "WrongRevision", text)
    target = rollback_target(world.memory)
    if target is None:
        return refuse(world, order, "NoTarget", "no proven revision is retained")
    if not order.force and (why := unsafe(world, target)):
        return refuse(world, order, "RollbackUnsafe", why)
    because = f"ordered by ReleaseCommand {order.name}" + (f": {order.reason}" if order.reason else "")
    return roll_back(
        world,
        target,
        now,
        since=order.created_at,
        because=because,
        order=order,
        latches=True,
        reason="Ordered",
    )


def rollback_target(memory: Memory) -> Retained | None:
    """Return the newest retained stack that is not latched."""
    return next((r for r in memory.retained if memory.latch_of(r.stack.revision) is None), None)


def roll_back(  # noqa: PLR0913 - an act with all that it says of itself
    world: World,
    target: Retained,
    now: datetime,
    since: datetime,
    *,
    because: str,
    order: Order | None,
    latches: bool,
    reason: str,
) -> Decision | None:
    """Begin a rollback by order or manifest: it asks only that blue stands; green's state delays nothing."""
    live = world.memory.live
    if live is None:
        return None
    if text := not_standing(world, target.stack, skip=live.stack):
        return Decision(
            Rest(), RULE, "TargetNotStanding", f"rollback to version {target.stack.version} waits: {text}",
            look_again=timedelta(seconds=1), stalled=True,
        )  # fmt: skip
    here, wanted = size(world, target.stack)
    if here < wanted and now - since < REGAIN and not any_dead(world):
        return Decision(
            Rest(), RULE, "TargetRegaining",
            f"rollback to version {target.stack.version} waits up to {REGAIN.seconds} s: {here} of {wanted} pods ready",
            look_again=max(since + REGAIN - now, acts.SOON),
        )  # fmt: skip
    record = rollback_record(live.stack, target.stack, because=because, reason=reason, order=order, latches=latches)
    return acts.begin(world, record, RULE, now) or _there_already(world, record, now)


def _there_already(world: World, record: Record, now: datetime) -> Decision:
    """Take a rollback for done for which no Service has to move.

    The two stacks share their component revisions, or somebody else moved the Services; or they were read before live
    got them, and will be put back like any drift. What is left is latched or retained in every case.
    """
    number = max(world.memory.act, world.memory.live.act if world.memory.live else 0)
    memory, notes = rolled_back(world.memory, replace(record, act=number, at=now), now)
    return Decision(Rest(), RULE, "RolledBack", record.because, memory=memory, notes=notes)


def _abort(world: World, order: Order, now: datetime) -> Decision:
    candidate, live = world.memory.candidate, world.memory.live
    if candidate is None or candidate.stack.revision != order.revision:
        if live and live.stack.revision == order.revision:
            return refuse(world, order, "AlreadyLive", f"revision {order.revision} is live: order a Rollback")
        named = candidate.stack.revision if candidate else "none"
        text = f"revision {order.revision} is not the candidate; the candidate is {named}"
        return refuse(world, order, "WrongRevision", text)
    because = f"ordered by ReleaseCommand {order.name}" + (f": {order.reason}" if order.reason else "")
    memory = latch_candidate(world.memory, "Aborted", because, now, Outcome.ABORTED)
    text = f"the attempt at version {candidate.stack.version} has ended"
    return _done(memory, order, "Aborted", text)


def _retry(world: World, order: Order, now: datetime) -> Decision:
    memory, wanted = world.memory, world.wanted
    latch = memory.latch_of(order.revision)
    if latch is None:
        return refuse(
            world, order, "NotLatched", f"revision {order.revision} has not failed: there is nothing to retry"
        )
    if wanted is None or wanted.revision != order.revision:
        named = wanted.revision if wanted else "invalid"
        text = f"the spec does not ask for revision {order.revision} any more (it is {named}): apply it again"
        return refuse(world, order, "WrongRevision", text)
    rest = tuple(entry for entry in memory.latched if entry is not latch)
    if not latch.stack.members:
        return _done(replace(memory, latched=rest), order, "Retrying", "what serves today is adopted anew")
    candidate = Candidate(latch.stack, next_attempt(world, order.revision), now, author=latch.author)
    memory = replace(memory, latched=rest, candidate=candidate)
    return _done(memory, order, "Retrying", f"version {latch.stack.version} begins attempt {candidate.attempt}")


def _pause(world: World, order: Order, now: datetime) -> Decision:
    if world.memory.paused:
        return _done(world.memory, order, "AlreadyPaused", "the release is paused already")
    memory = replace(world.memory, paused=Paused(now, order.reason, order.uid))
    return _done(memory, order, "Paused", "nothing starts or switches, no drift is repaired; rollback and watch go on")


def _resume(world: World, order: Order, now: datetime) -> Decision:
    memory = world.memory
    if memory.paused is None:
        return _done(memory, order, "NotPaused", "the release was not paused")
    candidate = memory.candidate and approvals.waiting_anew(memory.candidate, now)
    return _done(replace(memory, paused=None, candidate=candidate), order, "Resumed", "the release goes on")


def _override(world: World, order: Order, now: datetime) -> Decision:
    return _answered(*overrides.carry_out(world, order, now))


def _approve(world: World, order: Order, now: datetime) -> Decision | None:
    if (told := approvals.given(world, order, now)) is None:
        if now - order.created_at <= EXPIRES_AFTER:
            return None
        text = f"the stored spec of revision {order.revision} is gone: apply it again, then order it again"
        return refuse(world, order, "SpecMissing", text)
    memory, reason, message, note = told
    if memory is None:
        return refuse(world, order, reason, message)
    decision = _done(memory, order, reason, message)
    return replace(decision, notes=(note,)) if note else decision


_CARRY_OUT: Final[dict[Action, Callable[[World, Order, datetime], Decision | None]]] = {
    Action.ROLLBACK: _rollback,
    Action.ABORT: _abort,
    Action.RETRY: _retry,
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.OVERRIDE: _override,
    Action.APPROVE: _approve,
}


def _done(memory: Memory, order: Order, reason: str, message: str) -> Decision:
    return _answered(memory, order, Answer(order.uid, "Done", reason, message))


def refuse(world: World, order: Order, reason: str, message: str) -> Decision:
    """Answer that an order is not carried out, and why."""
    return _answered(world.memory, order, Answer(order.uid, "Refused", reason, message))


def _answered(memory: Memory, order: Order, given: Answer) -> Decision:
    text = f"{order.action} ({order.name}): {given.message}"
    note = Note(given.reason, text, order.uid, warning=given.phase == "Refused")
    return Decision(Rest(), RULE, given.reason, text, memory=answer(memory, given), notes=(note,))
