"""Override: people lift one freeze for one attempt at one revision. It is kept with the release and with the freeze."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from tradingrelease.policy.approvals import person_of
from tradingrelease.policy.freezes import Freeze
from tradingrelease.policy.model import Answer, Memory, Order, Override, Person, World

KEPT: Final = 10
"""Overrides that a release remembers; the orders themselves are kept for 90 days."""

Subject = tuple[str, int]


def subject(world: World) -> Subject:
    """Return what a freeze holds now: revision and attempt of the candidate; attempt 0 is the adoption before it."""
    candidate = world.memory.candidate
    if candidate:
        return candidate.stack.revision, candidate.attempt
    return (world.wanted.revision if world.wanted else ""), 0


def lifted(memory: Memory, freeze: Freeze, what: Subject) -> bool:
    """Tell whether people enough have lifted a freeze for a revision and attempt."""
    found = _of(memory, freeze, what)
    return found is not None and len(found.people) >= freeze.override_requires


def _of(memory: Memory, freeze: Freeze, what: Subject) -> Override | None:
    wanted = (freeze.name, freeze.uid, *what)
    return next((o for o in memory.overrides if (o.freeze, o.freeze_uid, o.revision, o.attempt) == wanted), None)


def carry_out(world: World, order: Order, now: datetime) -> tuple[Memory, Order, Answer]:
    """Take an Override in, or refuse it. Returns the memory after it, the order, and what to answer."""
    if refusal := _refusal(world, order):
        return world.memory, order, Answer(order.uid, "Refused", *refusal)
    freeze, what = _named(world, order), subject(world)
    if freeze is None:
        raise AssertionError("a refused Override is not carried out")
    memory, found = world.memory, _of(world.memory, freeze, what)
    person = Person(person_of(order, world.trusted_accounts), order.issued_by, order.name, order.reason, now)
    given = (
        replace(found, people=(*found.people, person)) if found else Override(freeze.name, freeze.uid, *what, (person,))
    )
    others = tuple(o for o in memory.overrides if o is not found)
    memory = replace(memory, overrides=(given, *others)[:KEPT])
    here, wanted = len(given.people), freeze.override_requires
    name = f"revision {what[0]}, attempt {what[1]}"
    if here < wanted:
        text = (
            f"{here} of {wanted} people lift ReleaseFreeze {freeze.name} for {name}: {wanted - here} more must order it"
        )
        return memory, order, Answer(order.uid, "Done", "OverrideBegun", text)
    people = " and ".join(p.by for p in given.people)
    text = f"ReleaseFreeze {freeze.name} is lifted for {name} by {people}: {order.reason}"
    return memory, order, Answer(order.uid, "Done", "Overridden", text)


def _named(world: World, order: Order) -> Freeze | None:
    return next((freeze for freeze in world.freezes if freeze.uid and freeze.name == order.freeze), None)


def _refusal(world: World, order: Order) -> tuple[str, str] | None:
    """Return reason and advice where an Override cannot be carried out."""
    (revision, attempt), freeze = subject(world), _named(world, order)
    live = world.memory.live
    if not order.reason.strip():
        return "NoReason", "write a reason: an Override is explained by it in the release and in the freeze"
    if not order.issued_by.strip():
        text = (
            "nobody knows who ordered it: write spec.issuedBy, which an admission policy of the cluster may do for you"
        )
        return "Unidentified", text
    person = person_of(order, world.trusted_accounts)
    if not person:
        return "Unidentified", f"account {order.issued_by} acts for others: it must say onBehalfOf"
    if live and live.stack.revision == order.revision:
        return "AlreadyLive", f"revision {order.revision} is live: no freeze holds it"
    if order.revision != revision:
        return "WrongRevision", f"revision {order.revision} is not the candidate; the candidate is {revision or 'none'}"
    if order.attempt not in {None, attempt}:
        return (
            "WrongAttempt",
            f"attempt {order.attempt} at revision {revision} is not under way; it is attempt {attempt}",
        )
    if freeze is None:
        known = ", ".join(sorted(f.name for f in world.freezes if f.uid)) or "none"
        return "NoSuchFreeze", f"no ReleaseFreeze {order.freeze} is about this release; those that are: {known}"
    found = _of(world.memory, freeze, (revision, attempt))
    if found and any(given.by == person for given in found.people):
        text = f"{person} has ordered it before ({found.people[0].order}): "
        return "SamePerson", text + "another person must" if not lifted(
            world.memory, freeze, (revision, attempt)
        ) else text
    return None
