"""What the API server refuses when it is to be done, though it took the spec (ADR 20).

A refused step is put aside for a while; then it is decided on and tried anew, without end. What does not build on it
goes on meanwhile.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import names
from tradingrelease.policy.accept import RETRY
from tradingrelease.policy.model import Decision, Note, Refused, Rest, Switch, World

PRESSING: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds until what people wait for is tried again. S10 gives half a switch 10 s once writes are taken."""

SWITCH: Final = "SwitchRefused"
WRITE: Final = "WriteRefused"

HOUSEWORK: Final = frozenset(
    {
        "retained_stands", "standby_is_claimed", "standby_has_its_size", "live_spec_is_stored",
        "previews_end_with_the_candidate", "retention_ends", "leftovers_go", "ours_is_owned_as_asked",
        "unlisted_services_are_free", "unneeded_specs_go", "old_orders_go", "jobs_go", "live_is_annotated",
        "what_is_unsafe_is_annotated",
    }
)  # fmt: skip
"""Rules whose steps nobody waits for: what serves and what is asked for go on without them."""

Place = tuple[str, str]
Known = Mapping[Place, Refused]


def place(decision: Decision) -> Place:
    """Name the step of a decision: its rule, and what it says that it does."""
    return decision.rule, decision.because


def refused_again(known: Known, decision: Decision, said: str, now: datetime) -> Known:
    """Return what is known of refused steps with one that was refused just now. `said`: the API server's answer."""
    before = known.get(place(decision))
    times = before.times + 1 if before else 1
    reason = SWITCH if isinstance(decision.step, Switch) else WRITE
    text = f"the API server refuses what comes next ({said}); it is tried again and again: {decision.because}"
    wait = timedelta(seconds=PRESSING[min(times, len(PRESSING)) - 1])
    refused = Refused(reason, text, times, now + (RETRY if decision.rule in HOUSEWORK else wait))
    return {**known, place(decision): refused}


def taken(known: Known, decision: Decision) -> Known:
    """Return what is known of refused steps once one was taken."""
    return {at: refused for at, refused in known.items() if at != place(decision)}


def still(known: Known, now: datetime) -> Known:
    """Return the refused steps that are still asked for, as is known when all else rests: those not yet due again."""
    return {at: refused for at, refused in known.items() if refused.until > now}


def note(known: Known, decision: Decision) -> Note:
    """Return the Event of a step that is refused: one, whatever the words."""
    refused = known[place(decision)]
    return Note(refused.reason, refused.message, names.digest(list(place(decision))), warning=True)


def is_put_aside(world: World, decision: Decision, now: datetime) -> bool:
    """Tell whether the API server refused this very step a moment ago."""
    refused = world.refused.get(place(decision))
    return refused is not None and now < refused.until and not isinstance(decision.step, Rest)


def waits(world: World, decision: Decision, now: datetime) -> Decision:
    """Return that a step waits which was put aside, and why: nothing that builds on it goes on."""
    refused = world.refused[place(decision)]
    said = (refused.reason, refused.message)
    return replace(
        decision, step=Rest(), notes=(), reason=refused.reason, because=refused.message, stalled=True, halted=said,
        look_again=refused.until - now,
    )  # fmt: skip


def told(world: World) -> tuple[str, str] | None:
    """Return reason and message of a step whose refusal people have to know of; None where there is none."""
    pressing = (r for (rule, _), r in world.refused.items() if rule not in HOUSEWORK)
    return next(((refused.reason, refused.message) for refused in pressing), None)
