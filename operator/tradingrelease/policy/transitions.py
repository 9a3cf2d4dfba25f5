"""Transitions: what happened to a release, with the facts that people and programs ask for.

Reporter stores them in `status.transitions`, in the same write as the memory that they tell of: so what is remembered
is recorded, once, at no write of its own (ADR 18). Notifications are derived from there, and from nowhere else.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from tradingrelease.policy.conditions import Verdict
from tradingrelease.policy.fields import UNREADABLE
from tradingrelease.policy.memory import moment, stamp
from tradingrelease.policy.model import Author, HistoryEntry, Memory, Note, Order, World
from tradingrelease.policy.reasons import Condition, Outcome, Severity
from tradingrelease.policy.rules.orders import rollback_target

Json = dict[str, Any]

KEPT: Final = 20
"""Newest transitions that a status keeps."""
KEPT_UNTOLD: Final = 40
"""As many where some target is yet to be told: more are dropped, and counted."""
LONGEST: Final = 500
"""Characters of a message: a status is read by every watch."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One thing that happened to a release."""

    number: int
    """Counted from 1 for each release."""
    id: str
    """Ends the name of its Event, too."""
    at: datetime
    reason: str
    message: str
    severity: Severity
    outcome: str = ""
    """How an attempt ended by it; "": none did."""
    revision: str = ""
    version: str = ""
    attempt: int = 0
    by: str = ""
    """Who applied the spec, or gave the order; "": nobody knows."""
    why: str = ""
    """The reason that was given with the order."""
    since: datetime | None = None
    """When the attempt began."""
    live: str = ""
    """Revision that was live then."""
    candidate: str = ""
    """Revision and attempt that were on their way then, as revision/attempt."""
    target: str = ""
    """Version that a rollback would go to; "": none."""
    unsafe: str = ""
    """Why only a forced rollback goes there."""


@dataclass(frozen=True, slots=True)
class _Subject:
    revision: str
    version: str
    attempt: int
    author: Author
    since: datetime | None


def identity(uid: str, note: Note) -> str:
    """Return what names a note: the same words about the same thing have the same name, also across a restart."""
    return hashlib.sha256(f"{uid}/{note.reason}/{note.about}".encode()).hexdigest()[:16]


def of(world: World, before: Memory, note: Note, now: datetime) -> Transition:
    """Return a note with its facts, not yet numbered. `world` carries the memory after it, `before` the one before."""
    memory = world.memory
    order = _order(world, note, memory.history)
    ended = _ended(before, memory, note, ordered=order is not None)
    about = _subject(before, memory, note, ended)
    target = rollback_target(memory)
    return Transition(
        number=0,
        id=identity(world.uid, note),
        at=now,
        reason=note.reason,
        message=note.message[:LONGEST],
        severity=note.severity or (Severity.WARNING if note.warning else Severity.INFO),
        outcome=str(ended.outcome) if ended else "",
        revision=about.revision if about else "",
        version=about.version if about else "",
        attempt=about.attempt if about else 0,
        by=_person(order.issued_by, order.on_behalf_of) if order else _author(about.author) if about else "",
        why=order.reason[:LONGEST] if order else "",
        since=about.since if about else None,
        live=memory.live.stack.revision if memory.live else "",
        candidate=f"{memory.candidate.stack.revision}/{memory.candidate.attempt}" if memory.candidate else "",
        target=target.stack.version if target else "",
        unsafe=target.unsafe if target else "",
    )


def _ended(before: Memory, memory: Memory, note: Note, *, ordered: bool) -> HistoryEntry | None:
    """Return the entry of history that a note tells of, where it does."""
    known = {entry.told for entry in before.history}
    new = [entry for entry in memory.history if entry.told not in known and entry.outcome is not Outcome.RESTORED]
    if note.reason == "RolledBack":  # it is about what it left; its note is named by where it went
        return next((entry for entry in new if entry.outcome is Outcome.ROLLED_BACK), None)
    named = [entry for entry in new if entry.revision in note.about.split("/")]
    return next(iter(named or (new if ordered else [])), None)  # an answer is named by its order


def _subject(before: Memory, memory: Memory, note: Note, ended: HistoryEntry | None) -> _Subject | None:
    known = list(_subjects(before, memory))
    if ended is not None:
        author = next((s.author for s in known if s.revision == ended.revision), Author())
        return _Subject(ended.revision, ended.version, ended.attempt, author, ended.started)
    # What a note is about begins or ends with its revision.
    parts = note.about.split("/")
    return next((s for s in known if s.revision in parts), next(iter(known), None))


def _subjects(before: Memory, memory: Memory) -> Iterator[_Subject]:
    """Yield the revisions that something may be said about: what is on its way before what is live."""
    started = {entry.revision: entry.started for entry in reversed(memory.history)}
    for held in (memory, before):
        if c := held.candidate:
            yield _Subject(c.stack.revision, c.stack.version, c.attempt, c.author, c.started_at)
    for held in (memory, before):
        if live := held.live:
            since = started.get(live.stack.revision) or live.since
            yield _Subject(live.stack.revision, live.stack.version, live.attempt, live.author, since)
    for latch in memory.latched:
        yield _Subject(latch.stack.revision, latch.stack.version, 0, latch.author, None)
    for kept in memory.retained:
        yield _Subject(kept.stack.revision, kept.stack.version, 0, Author(), None)


def _order(world: World, note: Note, history: tuple[HistoryEntry, ...]) -> Order | None:
    named = set(note.about.split("/"))
    if note.reason == "RolledBack" and history:
        named.add(history[0].by.removeprefix("ReleaseCommand "))
    return next((order for order in world.orders if order.uid in named), None)


def _author(author: Author) -> str:
    return _person(author.applied_by, author.on_behalf_of)


def _person(account: str, on_behalf_of: str) -> str:
    return f"{on_behalf_of} (by {account})" if on_behalf_of and account else account or on_behalf_of


# --- what conditions tell that no decision does -----------------------------------------------------------------------


def told_by_conditions(world: World, found: Mapping[Condition, Verdict], now: datetime) -> Iterator[Note]:
    """Yield what changed in how a release stands: it holds still, or serves nobody; and when that ended.

    A latched revision is not said again: how it failed was. Nothing is said of a release whose status is still empty.
    """
    was, stalled = world.conditions.get(Condition.STALLED) or {}, found[Condition.STALLED]
    latches = {latch.reason for latch in world.memory.latched}
    if stalled.status == "True" and stalled.reason not in latches:
        if (was.get("status"), was.get("reason")) != ("True", stalled.reason):
            # A spec that is refused changes nothing of what runs: its author waits, nobody else.
            refused = found[Condition.ACCEPTED].status == "False" and found[Condition.ACCEPTED].reason == stalled.reason
            severity = Severity.WARNING if refused else Severity.CRITICAL
            yield Note(stalled.reason, stalled.message, f"stalled/{stamp(now)}", warning=True, severity=severity)
    elif was.get("status") == "True" and stalled.status == "False" and was.get("reason") not in latches:
        yield Note("Recovered", f"it goes on: {was.get('reason')} is over", f"recovered/{stamp(now)}")
    served, serving = world.conditions.get(Condition.SERVING) or {}, found[Condition.SERVING]
    if served.get("status") == "True" and serving.status == "False":
        text, about = serving.message, f"serving/{stamp(now)}"
        yield Note(serving.reason, text, about, warning=True, severity=Severity.CRITICAL)
    elif served.get("status") == "False" and served.get("reason") != "NothingLive" and serving.status == "True":
        yield Note("ServingAgain", serving.message, f"serving/{stamp(now)}")


# --- status -----------------------------------------------------------------------------------------------------------


def recorded(stored: object, fresh: Sequence[Transition], notified: Mapping[str, int]) -> list[Json]:
    """Return the list for status, newest first: what is stored, and before it what is new, numbered.

    What was said before is not said again. What a target is yet to be told is kept longer; what nobody can read goes.
    """
    readable = [(item, found[0]) for item in stored if (found := read([item]))] if isinstance(stored, list) else []
    old = [item for item, _ in readable]
    known = {found.id for _, found in readable}
    last = max((found.number for _, found in readable), default=0)
    for transition in fresh:
        if transition.id not in known:
            known.add(transition.id)
            last += 1
            old.insert(0, to_json(replace(transition, number=last)))
    told = min(notified.values(), default=last)
    keep = max(KEPT, min(last - told, KEPT_UNTOLD))
    return old[:keep]


def newest(stored: object) -> int:
    """Return the number of the newest transition of a status; 0: there is none."""
    return max((t.number for t in read(stored)), default=0)


def to_json(transition: Transition) -> Json:
    """Return what status says of a transition; nothing is said of what is not known."""
    body = {
        "number": transition.number,
        "id": transition.id,
        "at": stamp(transition.at),
        "reason": transition.reason,
        "message": transition.message,
        "severity": str(transition.severity),
        "outcome": transition.outcome,
        "revision": transition.revision,
        "version": transition.version,
        "attempt": transition.attempt,
        "by": transition.by,
        "why": transition.why,
        "since": stamp(transition.since) if transition.since else "",
        "live": transition.live,
        "candidate": transition.candidate,
        "target": transition.target,
        "unsafe": transition.unsafe,
    }
    return {key: value for key, value in body.items() if value}


def read(stored: object) -> tuple[Transition, ...]:
    """Return the transitions of a status, newest first; what cannot be read is absent."""
    return tuple(_read(stored)) if isinstance(stored, Iterable) else ()


def _read(stored: Iterable[Any]) -> Iterator[Transition]:
    for item in stored:
        try:
            yield from_json(item)
        except UNREADABLE:
            continue


def from_json(raw: Mapping[str, Any]) -> Transition:
    """Read back what `to_json` wrote. Raises KeyError, TypeError or ValueError for what it cannot have written."""
    return Transition(
        number=int(raw["number"]),
        id=str(raw["id"]),
        at=moment(raw["at"]),
        reason=str(raw["reason"]),
        message=str(raw.get("message", "")),
        severity=Severity(raw.get("severity", Severity.INFO)),
        outcome=str(raw.get("outcome", "")),
        revision=str(raw.get("revision", "")),
        version=str(raw.get("version", "")),
        attempt=int(raw.get("attempt", 0)),
        by=str(raw.get("by", "")),
        why=str(raw.get("why", "")),
        since=moment(raw["since"]) if raw.get("since") else None,
        live=str(raw.get("live", "")),
        candidate=str(raw.get("candidate", "")),
        target=str(raw.get("target", "")),
        unsafe=str(raw.get("unsafe", "")),
    )


def marks(stored: object) -> dict[str, int]:
    """Return what `status.notified` says: by target, the number of the newest transition that it was told of."""
    if not isinstance(stored, Mapping):
        return {}
    return {str(k): v for k, v in stored.items() if isinstance(v, int)}
