"""Approvals: who said yes to one revision and attempt. They are counted here; `rules/approvals.py` waits for them.

Who somebody is comes from admission (manifests/admission), never from what they wrote: `issuedBy` of an order, and the
author of a release in its annotations.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy.model import Approval, Author, Candidate, Gate, Memory, Note, Order, World
from tradingrelease.policy.reasons import Consent, Moment
from tradingrelease.policy.spec import Asked, Spec

SETTLED: Final = frozenset({Consent.APPROVED, Consent.TIMED_OUT})


def begun(spec: Spec) -> tuple[Gate, ...]:
    """Return the gates of an attempt that begins, in the order of its life."""
    found = (spec.asked_at(at) for at in (Moment.BEFORE_GREEN, Moment.BEFORE_SWITCH))
    return tuple(Gate(asked.at, asked.required) for asked in found if asked)


def absorb(world: World, memory: Memory) -> Memory:
    """Return the memory with the gates of a candidate that has just begun."""
    candidate = memory.candidate
    spec = world.spec_of(candidate.stack.revision) if candidate else None
    if candidate is None or candidate.gates or spec is None:
        return memory
    return replace(memory, candidate=replace(candidate, gates=begun(spec)))


def waiting_anew(candidate: Candidate, now: datetime) -> Candidate:
    """Return the candidate whose gates wait from now on: while a freeze or a pause held it, nobody's time ran."""
    gates = tuple(replace(g, since=now) if g.phase is Consent.WAITING else g for g in candidate.gates)
    return replace(candidate, gates=gates)


def gate(candidate: Candidate, at: Moment) -> Gate | None:
    """Return the gate of a moment that is not settled yet."""
    return next((g for g in candidate.gates if g.at is at and g.phase not in SETTLED), None)


def changed(candidate: Candidate, after: Gate, now: datetime) -> Candidate:
    """Return the candidate with one gate changed; where it is settled by that, the deadline begins to count."""
    gates = tuple(after if g.at is after.at else g for g in candidate.gates)
    counted = now if after.phase in SETTLED else candidate.counted_from
    return replace(candidate, gates=gates, counted_from=counted)


def given(world: World, order: Order, now: datetime) -> tuple[Memory | None, str, str, Note | None] | None:
    """Return what an Approve changes, and its answer: no memory where it does not count.

    None: nobody knows yet whether it counts. The stored spec of the candidate says who may approve: its watch is behind
    that of the release, or it was deleted by hand. It is stored again at the next look, if the spec of now is the same.
    """
    candidate = world.memory.candidate
    if candidate is None or candidate.stack.revision != order.revision:
        named = candidate.stack.revision if candidate else "none"
        return None, "WrongRevision", f"revision {order.revision} is not the candidate; the candidate is {named}", None
    if candidate.attempt != order.attempt:
        text = (
            f"attempt {order.attempt} of revision {order.revision} is not under way; it is attempt {candidate.attempt}"
        )
        return None, "WrongAttempt", text, None
    waits = next((g for g in candidate.gates if g.phase is Consent.WAITING), None)
    if waits is None or waits.since is None:
        return None, "NothingToApprove", _nobody_is_asked(candidate), None
    # Two yeses to what came before are not one to what comes after it. Creation times have whole seconds.
    settled = any(g.phase in SETTLED for g in candidate.gates)
    if settled and order.created_at + timedelta(seconds=1) <= waits.since:
        text = f"it was ordered before {waits.at} was asked for: look at what is asked for now, and order it again"
        return None, "TooEarly", text, None
    asked = _asked(world, candidate, waits)
    if asked is None:
        return None
    if refused := _does_not_count(world, candidate, waits, order, asked):
        return None, *refused, None
    person = person_of(order, world.trusted_accounts)
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


def _nobody_is_asked(candidate: Candidate) -> str:
    text = f"version {candidate.stack.version} waits for no approval"
    later = next((g for g in candidate.gates if g.phase not in SETTLED), None)
    return f"{text} yet: order it again when its condition says that {later.at} waits" if later else text


def _does_not_count(
    world: World, candidate: Candidate, waits: Gate, order: Order, asked: Asked
) -> tuple[str, str] | None:
    if not order.issued_by:
        text = "nobody knows who ordered it: install manifests/admission, which writes spec.issuedBy"
        return "IssuerUnknown", text
    person = person_of(order, world.trusted_accounts)
    if not person:
        return "IssuerUnknown", f"account {order.issued_by} acts for others: it must say onBehalfOf"
    if any(yes.by == person for yes in waits.given):
        return "AlreadyCounted", f"{person} has approved this attempt already: one person counts once"
    if not asked.not_by_author:
        return None
    if text := nobody_can(world, candidate, waits):
        return "AuthorUnknown", text
    # Both count: who applied it for somebody may not approve it, nor may that somebody.
    if {person, order.issued_by} & {candidate.author.applied_by, candidate.author.on_behalf_of}:
        return "ByAuthor", f"{person} applied this version: somebody else has to approve it"
    return None


def _asked(world: World, candidate: Candidate, waits: Gate) -> Asked | None:
    spec = world.spec_of(candidate.stack.revision)
    return spec.asked_at(waits.at) if spec else None


def nobody_can(world: World, candidate: Candidate, waits: Gate) -> str:
    """Say why no approval of a gate counts, whoever gives it; "" where some do."""
    asked = _asked(world, candidate, waits)
    if asked is None or not asked.not_by_author or _known(candidate.author, world.trusted_accounts):
        return ""
    return (
        "nobody knows who applied this version, so nobody can approve it: install manifests/admission, let an account "
        "that acts for others say on-behalf-of, and change the spec, its version for one"
    )


def person_of(order: Order, trusted: frozenset[str]) -> str:
    """Return who ordered it: whom a trusted account speaks for ("": it does not say), else the account."""
    return order.on_behalf_of if order.issued_by in trusted else order.issued_by


def _known(author: Author, trusted: frozenset[str]) -> bool:
    return bool(author.applied_by) and (author.applied_by not in trusted or bool(author.on_behalf_of))


def said(candidate: Candidate) -> tuple[Approval, ...]:
    """Return every approval of an attempt, for history."""
    return tuple(yes for g in candidate.gates for yes in g.given)
