"""What the world says has happened is taken into memory, before anything new is done.

Effects are observed, not assumed: an act counts as done when every Service selects what it was to select, whoever
wrote it, before or after a crash.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from tradingrelease.policy import acts, approvals, hooks, irreversible, names
from tradingrelease.policy.model import (
    Answer,
    Candidate,
    Deployment,
    HistoryEntry,
    Latched,
    Left,
    Live,
    Member,
    Memory,
    Note,
    Record,
    Retained,
    Service,
    Stack,
    World,
)
from tradingrelease.policy.reasons import Cause, Outcome
from tradingrelease.policy.sizes import candidate_size

HISTORY = 10
LATCHES = 10

Absorbed = tuple[Memory, tuple[Note, ...]]


def absorb(world: World, now: datetime) -> Absorbed:
    """Return the memory that the world asks for, and what there is to say about the difference."""
    memory = world.memory
    notes: tuple[Note, ...] = ()
    act = acts.unfinished(world)
    if act is not None and acts.abandoned(world, act):
        memory, notes = _given_up(memory, act)
    elif act is not None and acts.complete(world, act):
        memory, notes = _finish(memory, _with_force(world, act), now)
    elif act is None and memory.live is None and memory.candidate is None:
        memory, notes = _found(world, now)
    elif memory.live is not None:
        memory = _adopt_added(world, memory)
    memory = _retention_follows_the_latest_switch(memory)
    if memory.candidate and memory.candidate == world.memory.candidate:
        memory = replace(memory, candidate=_idle_or_not(world, memory.candidate, now))
    memory = approvals.absorb(world, memory)
    memory, more = hooks.absorb(world, memory, now)
    notes += more
    answered = {order.uid for order in world.orders if not order.open}
    kept = tuple(a for a in memory.answers if a.uid not in answered | world.orders_gone)
    return replace(memory, answers=kept), notes


# --- an act is complete ---------------------------------------------------------------------------------------------


def _with_force(world: World, act: Record) -> Record:
    """Return an act with when it was ordered by force: older versions of ours left that to the order."""
    known = next((order for order in world.orders if order.uid == act.order), None)
    return act if act.forced_at or known is None else replace(act, forced_at=known.forced_at)


def _finish(memory: Memory, act: Record, now: datetime) -> Absorbed:
    memory = replace(memory, act=act.act)
    if act.cause is Cause.PROMOTE:
        return promoted(memory, act, now)
    if act.cause is Cause.ROLLBACK:
        return rolled_back(memory, act, now)
    return _undone(memory, act, now)


def promoted(memory: Memory, act: Record, now: datetime) -> Absorbed:
    """Return the memory after the candidate got the traffic: it is live, the former live retained if proven.

    Watch and retention count from now, when every Service is seen to select it: the write may have been on its way for
    a while since `act.at`, and nobody may have watched since it arrived.
    """
    candidate, former = memory.candidate, memory.live
    if candidate is None or candidate.stack.revision != act.to:
        return memory, ()
    entry = HistoryEntry(
        candidate.stack.revision,
        candidate.stack.version,
        Outcome.PROMOTED,
        candidate.started_at,
        act.at,
        None,
        act.because,
        "spec",
        candidate.attempt,
        approvals.said(candidate),
    )
    result = replace(
        memory,
        live=Live(
            candidate.stack, now, now, None, act.act, candidate.attempt, candidate.hooks, author=candidate.author
        ),
        candidate=None,
        retained=_retain(memory, former, now, leaving_for=candidate.stack),
        history=remember(memory.history, entry),
    )
    left = f" (from {former.stack.version})" if former else ""
    note = Note(
        "Switched",
        f"version {candidate.stack.version} is live{left}: {act.because}",
        f"{act.act}/{act.to}",
    )
    return result, (note,)


def rolled_back(memory: Memory, act: Record, now: datetime) -> Absorbed:
    """Return the memory after a retained stack got the traffic back: what was live is latched, or retained."""
    left, found = memory.live, next((r for r in memory.retained if r.stack.revision == act.to), None)
    if left is None or found is None:
        return memory, ()
    target, gone = found.stack, Left(left.stack.revision, left.stack.version, left.attempt)
    kept = tuple(r for r in memory.retained if r.stack.revision != act.to)
    live = Live(target, now, now, now, act.act, left=gone, unsafe=found.unsafe, forced_at=found.forced_at)
    memory = replace(memory, retained=kept, live=irreversible.forced(live, act.forced_at) if act.forced_at else live)
    if act.latches:
        latch = Latched(left.stack, act.reason or "RolledBack", act.because, act.at, left.author)
        memory = replace(memory, latched=latched(memory.latched, latch))
    else:
        memory = replace(memory, retained=_retain(memory, left, now, leaving_for=target))
    outcome = Outcome.ROLLED_BACK
    memory = replace(memory, history=close(memory.history, left.stack.revision, outcome, act.reason, act.because, now))
    # What was verified beside the old live says nothing beside the restored one.
    text = f"version {target.version} is live again, and it was verified beside version {left.stack.version}"
    memory = _anew(memory, "LiveRolledBack", text, now, Outcome.SUPERSEDED)
    restored = HistoryEntry(
        target.revision, target.version, Outcome.RESTORED, None, act.at, None, act.because, _by(act)
    )
    memory = replace(memory, history=remember(memory.history, restored))
    if act.order:
        text = f"version {target.version} ({target.revision}) is live again"
        memory = answer(memory, Answer(act.order, "Done", "RolledBack", text))
    text = f"version {left.stack.version} -> {target.version}: {act.because}"
    return memory, (Note("RolledBack", text, f"{act.act}/{act.to}", warning=act.latches),)


def _undone(memory: Memory, act: Record, now: datetime) -> Absorbed:
    candidate = memory.candidate
    live = replace(memory.live, act=act.act) if memory.live else None
    memory = replace(memory, live=irreversible.forced(live, act.forced_at) if live and act.forced_at else live)
    note = Note("SwitchUndone", act.because, f"{act.act}/{act.origin}", warning=True)
    if candidate is None or candidate.stack.revision != act.origin:
        return memory, (note,)  # a late write of an undo says nothing of the candidate after it
    if act.latches:
        memory = latch_candidate(memory, act.reason or "Aborted", act.because, now, Outcome.ABORTED)
    else:
        memory = _anew(memory, act.reason, act.because, now, Outcome.FAILED)
    if act.order:
        text = f"the switch to version {candidate.stack.version} was undone"
        memory = answer(memory, Answer(act.order, "Done", "SwitchUndone", text))
    return memory, (note,)


def _given_up(memory: Memory, act: Record) -> Absorbed:
    """Close an act whose revision was given up before one of its writes arrived.

    This memory is stored against the version that was looked at, so it is no older than the act. What the late write
    moved is from then on like any selector that somebody else wrote: put back, to none where nothing is live.
    """
    text = f"a late write of the {act.cause} to {act.to} arrived after that was given up: it is not gone on with"
    return replace(memory, act=act.act), (Note("ActGivenUp", text, f"{act.act}/{act.to}", warning=True),)


def _anew(memory: Memory, reason: str, because: str, now: datetime, outcome: Outcome) -> Memory:
    """Return the memory with the candidate's next attempt; history says how the one before it ended."""
    candidate = memory.candidate
    if candidate is None:
        return memory
    return replace(drop_candidate(memory, reason, because, now, outcome), candidate=_again(candidate, now))


def _again(candidate: Candidate, now: datetime) -> Candidate:
    return Candidate(candidate.stack, candidate.attempt + 1, now, author=candidate.author)


def _by(act: Record) -> str:
    return f"ReleaseCommand {act.order}" if act.order else "operator" if act.latches else "spec"


def _retain(memory: Memory, former: Live | None, at: datetime, leaving_for: Stack) -> tuple[Retained, ...]:
    """Return the retained stacks after a switch away from `former`: it joins them if it is proven."""
    kept = tuple(r for r in memory.retained if r.stack.revision != leaving_for.revision)
    if former is None or former.proven_at is None:
        return kept
    others = tuple(r for r in kept if r.stack.revision != former.stack.revision)
    return (Retained(former.stack, at + memory.settings.retain_for, former.unsafe, former.forced_at), *others)


def _retention_follows_the_latest_switch(memory: Memory) -> Memory:
    live = memory.live
    if live is None:
        return memory
    until = live.since + memory.settings.retain_for
    return replace(memory, retained=tuple(replace(r, until=until) for r in memory.retained))


# --- nothing is remembered: adoption is complete, or a release of this name left its Deployments --------------------


def _found(world: World, now: datetime) -> Absorbed:
    memory, newest = world.memory, acts.latest(world)
    if newest and newest.cause is Cause.PROMOTE and newest.act > memory.act and ended_unswitched(memory, newest.to):
        return _given_up(memory, newest)
    return _take_over(world, now)


def ended_unswitched(memory: Memory, revision: str) -> bool:
    """Tell whether a revision is known to have ended before it got its traffic: a late write makes it live no more.

    Of what another release, or a former one of this name, made live nothing is known.
    """
    told = [entry for entry in memory.history if entry.revision == revision]
    return memory.latch_of(revision) is not None or (bool(told) and not any(entry.switched for entry in told))


def _take_over(world: World, now: datetime) -> Absorbed:
    spec, memory = world.wanted, world.memory
    if spec is None:
        return memory, ()
    members = []
    for component in spec.components:
        listed = [world.services.get(name) for name in component.services]
        steered = [s for s in listed if s and s.selected is not None]
        if len(steered) != len(component.services):
            return memory, ()  # adoption goes on, or a Service is missing
        if member := _selected_member(world, component.name, steered):
            members.append(member)
    if not members:
        return memory, ()
    found = _deployments(world, members)
    stack = Stack(_revision_of(world, found), _version_of(found), tuple(members))
    newest = acts.latest(world)
    adopted = newest is not None and newest.cause is Cause.ADOPT and all(d.adopted_from for d in found)
    made_for = {stack.revision, *(d.created_for for d in found if not d.proven)}
    if not adopted and any(ended_unswitched(memory, revision) for revision in made_for):
        return memory, ()
    since = newest.at if newest else now
    live = Live(stack, since, since, now, newest.act if newest else 0)
    outcome = Outcome.ADOPTED if adopted else Outcome.TAKEN_OVER
    what = "adopted what the Services served" if adopted else "took over what a release of this name left behind"
    entry = HistoryEntry(stack.revision, stack.version, outcome, None, since, now, what, "operator")
    memory = replace(
        memory,
        live=live,
        retained=_left_proven(world, stack, now),
        history=remember(memory.history, entry),
        act=live.act,
    )
    return memory, (Note(str(outcome), f"{what}: version {stack.version}", f"{stack.revision}/{world.uid}"),)


def _selected_member(world: World, component: str, services: list[Service]) -> Member | None:
    revisions = {s.selected for s in services}
    if len(revisions) != 1:
        return None
    revision = revisions.pop() or ""
    if world.deployment(component, revision) is None:
        return None
    return Member(component, revision, tuple(s.name for s in services))


def _deployments(world: World, members: Iterable[Member]) -> list[Deployment]:
    found = (world.deployment(m.name, m.revision) for m in members)
    return [d for d in found if d]


def _revision_of(world: World, found: list[Deployment]) -> str:
    made_for = {d.created_for for d in found}
    proven = [revision for revision in found[0].proven if all(revision in d.proven for d in found)] if found else []
    if len(made_for) == 1 and not (proven and made_for.isdisjoint(proven)):
        return made_for.pop()
    if proven:
        return proven[-1]
    return names.digest({d.component: d.revision for d in found})


def _version_of(found: list[Deployment]) -> str:
    versions = sorted({d.created_version for d in found})
    return versions[0] if len(versions) == 1 else "mixed"


def _left_proven(world: World, live: Stack, now: datetime) -> tuple[Retained, ...]:
    """Return the stacks that stand complete on Deployments annotated as proven, newest first."""
    revisions = {revision for d in world.deployments.values() for revision in d.proven}
    stacks: list[tuple[datetime, Stack]] = []
    for revision in revisions:
        on = [d for d in world.deployments.values() if revision in d.proven and not d.deleting and d.replicas > 0]
        by_component = {d.component: d for d in on}
        members = tuple(
            Member(m.name, by_component[m.name].revision, m.services) for m in live.members if m.name in by_component
        )
        same = all((m := live.member(x.name)) and m.revision == x.revision for x in members)
        if len(members) == len(live.members) and not same:
            newest = max(d.created_at for d in by_component.values())
            stacks.append((newest, Stack(revision, _version_of(list(by_component.values())), members)))
    stacks.sort(key=lambda item: item[0], reverse=True)
    return tuple(Retained(stack, now + timedelta(hours=24)) for _, stack in stacks)


def _adopt_added(world: World, memory: Memory) -> Memory:
    """Take a component or Service that was added to the spec, and is adopted by now, into the live stack."""
    spec, live = world.wanted, memory.live
    if spec is None or live is None:
        return memory
    members = list(live.stack.members)
    for component in spec.components:
        adopted = [
            s
            for name in component.services
            if (s := world.services.get(name)) and s.record and s.record.cause is Cause.ADOPT
        ]
        known = live.stack.member(component.name)
        if known is None:
            if len(adopted) == len(component.services) and (m := _selected_member(world, component.name, adopted)):
                members.append(m)
        else:
            more = tuple(s.name for s in adopted if s.selected == known.revision and s.name not in known.services)
            members[members.index(known)] = replace(known, services=known.services + more)
    if tuple(members) == live.stack.members:
        return memory
    return replace(memory, live=replace(live, stack=replace(live.stack, members=tuple(members))))


def _idle_or_not(world: World, candidate: Candidate, now: datetime) -> Candidate:
    """Stop the deadline while a component wants no replicas; let it begin anew when all want some."""
    found = ((m, world.deployment(m.name, m.revision)) for m in candidate.stack.members)
    idle = any(d is not None and d.replicas == 0 and candidate_size(world, m) == 0 for m, d in found)
    if idle is candidate.idle:
        return candidate
    return replace(candidate, idle=idle, counted_from=candidate.counted_from if idle else now)


# --- small changes of memory, used by the rules too -----------------------------------------------------------------


def remember(history: tuple[HistoryEntry, ...], entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    """Return the history with a new entry in front."""
    return (entry, *history)[:HISTORY]


def close(
    history: tuple[HistoryEntry, ...],
    revision: str,
    outcome: Outcome,
    reason: str,
    because: str,
    at: datetime,
) -> tuple[HistoryEntry, ...]:
    """Return the history with the newest open entry of a revision closed."""
    for i, entry in enumerate(history):
        if entry.revision == revision and (entry.finished is None or outcome is Outcome.ROLLED_BACK):
            text = because if not reason else f"{reason}: {because}"
            return (
                *history[:i],
                replace(entry, outcome=outcome, finished=at, reason=text),
                *history[i + 1 :],
            )
    return history


def latched(latches: tuple[Latched, ...], latch: Latched) -> tuple[Latched, ...]:
    """Return the latches with a new one in front."""
    others = tuple(entry for entry in latches if entry.stack.revision != latch.stack.revision)
    return (latch, *others)[:LATCHES]


def latch_candidate(memory: Memory, reason: str, because: str, now: datetime, outcome: Outcome) -> Memory:
    """Return the memory after the candidate's attempt ended for good."""
    candidate = memory.candidate
    if candidate is None:
        return memory
    latch = Latched(candidate.stack, reason, because, now, candidate.author)
    return replace(drop_candidate(memory, reason, because, now, outcome), latched=latched(memory.latched, latch))


def drop_candidate(memory: Memory, reason: str, because: str, now: datetime, outcome: Outcome) -> Memory:
    """Return the memory without its candidate; history says how it ended."""
    candidate = memory.candidate
    if candidate is None:
        return memory
    stack, text = candidate.stack, f"{reason}: {because}"
    entry = HistoryEntry(
        stack.revision, stack.version, outcome, candidate.started_at, None, now, text, "operator", candidate.attempt,
        approvals.said(candidate),
    )  # fmt: skip
    return replace(memory, candidate=None, history=remember(memory.history, entry))


def answer(memory: Memory, given: Answer) -> Memory:
    """Return the memory with an order's answer to be written onto it."""
    others = tuple(a for a in memory.answers if a.uid != given.uid)
    return replace(memory, answers=(*others, given))
