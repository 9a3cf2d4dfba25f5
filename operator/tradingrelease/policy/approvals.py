"""Approvals: who said yes to one revision and attempt. They are counted here; `rules/approvals.py` waits for them.

Who somebody is comes from admission (manifests/admission), never from what they wrote: `issuedBy` of an order, and the
author of a release in its annotations.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from tradingrelease.policy.model import Approval, Author, Candidate, Gate, Memory, Note, Order, World
from tradingrelease.policy.reasons import Consent, Moment
from tradingrelease.policy.spec import Spec

SETTLED: Final = frozenset({Consent.APPROVED, Consent.TIMED_OUT})


def begun(spec: Spec) -> tuple[Gate, ...]:
    """Return the gates of an attempt that begins, in the order of its life."""
    listed = {asked.at: asked for asked in spec.approvals}
    found = (listed.get(at) for at in (Moment.BEFORE_GREEN, Moment.BEFORE_SWITCH))
    return tuple(Gate(asked.at, asked.required) for asked in found if asked)


def absorb(world: World, memory: Memory) -> Memory:
    """Return the memory with the gates of a candidate that has just begun."""
    candidate = memory.candidate
    spec = world.spec_of(candidate.stack.revision) if candidate else None
    if candidate is None or candidate.gates or spec is None or not spec.approvals:
        return memory
    return replace(memory, candidate=replace(candidate, gates=begun(spec)))


def gate(candidate: Candidate, at: Moment) -> Gate | None:
    """Return the gate of a moment that is not settled yet."""
    return next((g for g in candidate.gates if g.at is at and g.phase not in SETTLED), None)


def changed(candidate: Candidate, after: Gate, now: datetime) -> Candidate:
    """Return the candidate with one gate changed; where it is settled by that, the deadline begins to count."""
    gates = tuple(after if g.at is after.at else g for g in candidate.gates)
    counted = now if after.phase in SETTLED else candidate.counted_from
    return replace(candidate, gates=gates, counted_from=counted)


def given(world: World, order: Order, now: datetime) -> tuple[Memory | None, str, str, Note | None]:
    """Return what an Approve changes, and its answer: no memory where it does not count."""
    candidate = world.memory.candidate
    if candidate is None or candidate.stack.revision != order.revision:
        named = candidate.stack.revision if candidate else "none"
        return None, "WrongRevision", f"revision {order.revision} is not the candidate; the candidate is {named}", None
    if candidate.attempt != order.attempt:
        text = (
            f"attempt {order.attempt} of revision {order.revision} is not under way; it is attempt {candidate.attempt}"
        )
        return None, "WrongAttempt", text, None
    waits = next((g for g in candidate.gates if g.phase not in SETTLED), None)
    if waits is None:
        return None, "NothingToApprove", f"version {candidate.stack.version} waits for no approval", None
    if refused := _does_not_count(world, candidate, waits, order):
        return None, *refused, None
    person = _person(order, world.trusted_accounts)
    yes = Approval(waits.at, person, order.issued_by, now, order.reason, order.name)
    after = replace(waits, given=(*waits.given, yes))
    enough = len(after.given) >= after.required
    after = replace(after, phase=Consent.APPROVED) if enough else after
    memory = replace(world.memory, candidate=changed(candidate, after, now))
    said = f": {order.reason}" if order.reason else ""
    count = f"{len(after.given)} of {after.required}"
    what = f"version {candidate.stack.version} ({order.revision}), attempt {order.attempt}"
    text = f"{what}, {waits.at}: {count}, by {person}{said}"
    note = Note("Approved", text, f"{order.revision}/{order.attempt}/{waits.at}/{order.uid}")
    return memory, "Approved", text, note


def _does_not_count(world: World, candidate: Candidate, waits: Gate, order: Order) -> tuple[str, str] | None:
    if not order.issued_by:
        text = "nobody knows who ordered it: install manifests/admission, which writes spec.issuedBy"
        return "IssuerUnknown", text
    person = _person(order, world.trusted_accounts)
    if not person:
        return "IssuerUnknown", f"account {order.issued_by} acts for others: it must say onBehalfOf"
    if any(yes.by == person for yes in waits.given):
        return "AlreadyCounted", f"{person} has approved this attempt already: one person counts once"
    spec = world.spec_of(candidate.stack.revision)
    asked = next((a for a in spec.approvals if a.at is waits.at), None) if spec else None
    if asked is None or not asked.not_by_author:
        return None
    if not _known(candidate.author, world.trusted_accounts):
        text = (
            "nobody knows who applied this version: install manifests/admission, and let an account that acts for "
            "others say on-behalf-of"
        )
        return "AuthorUnknown", text
    # Both count: who applied it for somebody may not approve it, nor may that somebody.
    if {person, order.issued_by} & {candidate.author.applied_by, candidate.author.on_behalf_of}:
        return "ByAuthor", f"{person} applied this version: somebody else has to approve it"
    return None


def _person(order: Order, trusted: frozenset[str]) -> str:
    """Return who approves: whom a trusted account speaks for, else the account itself."""
    return order.on_behalf_of if order.issued_by in trusted else order.issued_by


def _known(author: Author, trusted: frozenset[str]) -> bool:
    return bool(author.applied_by) and (author.applied_by not in trusted or bool(author.on_behalf_of))


def said(candidate: Candidate) -> tuple[Approval, ...]:
    """Return every approval of an attempt, for history."""
    return tuple(yes for g in candidate.gates for yes in g.given)
