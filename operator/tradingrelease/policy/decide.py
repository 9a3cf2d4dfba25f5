"""The policy of a release, top to bottom: `decide(world, now)` returns the next step and its reason.

Pure: no I/O, no clock. What has happened is absorbed into memory first; then the first rule that is not content
speaks. A rule that only waits lets the chores go on; everything else comes alone.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import hooks, names, refusals
from tradingrelease.policy.absorb import absorb
from tradingrelease.policy.model import Decision, Deployment, Rest, Retire, Unmark, World
from tradingrelease.policy.records import recorded
from tradingrelease.policy.rules import switching
from tradingrelease.policy.rules.adoption import (
    services_are_adopted,
    services_are_marked,
    what_serves_is_marked,
)
from tradingrelease.policy.rules.approvals import approvals_come_before_green, approvals_run_out
from tradingrelease.policy.rules.candidate import (
    author_is_kept,
    candidate_is_deployed,
    candidate_may_fail,
    settings_are_remembered,
    spec_has_its_candidate,
    spec_is_accepted,
    traffic_is_on_the_candidate,
)
from tradingrelease.policy.rules.checks import candidate_passes_its_checks, live_can_be_judged
from tradingrelease.policy.rules.chores import (
    leftovers_go,
    live_is_annotated,
    live_spec_is_stored,
    next_chore,
    old_orders_go,
    ours_is_owned_as_asked,
    previews_end_with_the_candidate,
    retained_stands,
    retention_ends,
    standby_has_its_size,
    standby_is_claimed,
    unlisted_services_are_free,
    unneeded_specs_go,
)
from tradingrelease.policy.rules.freezes import adoption_may_start, candidate_may_start, candidate_may_switch
from tradingrelease.policy.rules.gates import verified_candidate_runs_its_hooks
from tradingrelease.policy.rules.hooks import (
    a_hook_begun_runs,
    a_running_hook_ends_first,
    hooks_come_before_green,
    hooks_follow_the_switch,
    jobs_go,
    what_is_unsafe_is_annotated,
)
from tradingrelease.policy.rules.live import (
    given_up_serves_nobody,
    live_is_healthy,
    live_is_proven,
    next_death,
    nobody_edited_ours,
    selectors_are_ours,
    traffic_has_a_home,
)
from tradingrelease.policy.rules.orders import orders_are_answered
from tradingrelease.policy.rules.switching import a_switch_is_one_act

Rule = Callable[[World, datetime], Decision | None]

URGENT: Final[tuple[Rule, ...]] = (
    what_serves_is_marked,  # else its records and endpoints are not seen
    a_switch_is_one_act,  # from its first Service to its last
    traffic_has_a_home,  # what is live exists
    live_is_healthy,  # else back to blue, if blue stands
    live_can_be_judged,  # what nobody can measure is not proven
    orders_are_answered,  # people before plans
    selectors_are_ours,  # traffic goes where it was sent
    given_up_serves_nobody,  # and to nobody, where a late write sent it
    nobody_edited_ours,  # what runs is what was written
    a_hook_begun_runs,  # and its end is waited for
    hooks_follow_the_switch,  # what comes after it is done
    what_is_unsafe_is_annotated,  # and outlives status
    live_is_annotated,  # proof outlives the release object
    live_is_proven,  # the watch ends
)
"""Safety of what serves. None of it depends on the spec of now, so a typo disarms nothing."""

PROGRESS: Final[tuple[Rule, ...]] = (
    spec_is_accepted,  # an invalid spec changes nothing
    services_are_marked,  # ours alone to steer
    adoption_may_start,  # no freeze holds it
    services_are_adopted,  # what serves today is live before anything is a candidate
    settings_are_remembered,  # sizes and times
    a_running_hook_ends_first,  # a migration is never cut short
    spec_has_its_candidate,  # latched, retained, settings only, or a new attempt
)
"""From the spec to its candidate."""

CANDIDATE: Final[tuple[Rule, ...]] = (
    candidate_may_start,  # no freeze holds it
    approvals_come_before_green,  # people first
    hooks_come_before_green,  # migrations, and blue is still well after them
    approvals_run_out,  # nobody waits for ever
    candidate_may_fail,  # in seconds where that is certain
    candidate_passes_its_checks,  # one that failed ends the attempt
    candidate_is_deployed,  # one Deployment per changed component, one preview per Service
    verified_candidate_runs_its_hooks,  # smoke tests on its previews
    candidate_may_switch,  # no freeze holds it
    traffic_is_on_the_candidate,  # verified on every pod, then switched
)
"""From the candidate to live. A spec that is refused later does not stop it."""

CHORES: Final[tuple[Rule, ...]] = (
    retained_stands,  # a rollback target is a promise
    standby_is_claimed,  # a switch or rollback is one write a Service
    standby_has_its_size,  # and finds pods enough
    live_spec_is_stored,  # what is live can be judged and recreated
    previews_end_with_the_candidate,
    retention_ends,  # not before its time
    leftovers_go,  # fence first
    ours_is_owned_as_asked,
    unlisted_services_are_free,
    unneeded_specs_go,
    old_orders_go,
    jobs_go,
)
"""Done while everything else waits."""


_HOLD: Final = (what_serves_is_marked, a_switch_is_one_act)
"""What the rules after it rely on, also while the API server refuses it."""
_MOST_MEMORIES: Final = 32
"""Orders may be answered one after the other; nothing else follows from memory more than a few times."""


def decide(world: World, now: datetime) -> Decision:
    """Return what to do next for a release, and why."""
    if not world.uid or world.deleting:
        return _gone(world, now)
    decision = _settle(world, now)
    # Whatever is remembered meanwhile, what was refused is so until the next try.
    told = refusals.told(world) if decision.memory is not None else _refused(world, now)
    again = (refused.until - now for refused in world.refused.values() if refused.until > now)
    return replace(decision, halted=decision.halted or told, look_again=_soonest(decision.look_again, *again))


def _refused(world: World, now: datetime) -> tuple[str, str] | None:
    """Return reason and message of what serves needs, and the API server refuses."""
    speak = [rule for rule in URGENT if any(rule.__name__ == name for name, _ in world.refused)]
    found = (decision for rule in speak if (decision := rule(world, now)))
    asked = {refusals.place(decision) for decision in found}
    return refusals.told(replace(world, refused={k: v for k, v in world.refused.items() if k in asked}))


def _settle(world: World, now: datetime) -> Decision:
    remembered: Decision | None = None
    for _ in range(_MOST_MEMORIES):
        decision = _next(world, now)
        if decision.memory is None:
            if remembered is None:
                return decision
            return replace(remembered, refused=remembered.refused or decision.refused, halted=decision.halted)
        memory = recorded(world, hooks.handed_on(world, decision.memory))
        # What follows from memory alone is remembered with it, in one write; no step is taken before that is stored.
        notes = (*remembered.notes, *decision.notes) if remembered else decision.notes
        remembered = replace(decision, memory=memory, notes=notes)
        world = replace(world, memory=memory)
    raise AssertionError(f"memory never settles: {remembered}")


def _next(world: World, now: datetime) -> Decision:
    memory, notes = absorb(world, now)
    if memory != world.memory:
        # What has happened is stored before anything is built on it.
        because = notes[0].message if notes else "memory follows what has happened"
        reason = notes[0].reason if notes else "Observed"
        return Decision(Rest(), "absorb", reason, because, memory=memory, notes=notes, look_again=timedelta(0))
    urgent = _any(URGENT, world, now)
    if urgent and (not _waits(urgent) or urgent.rule == switching.RULE or urgent.reason == refusals.WRITE):
        return urgent
    planned = _release(world, now)
    halted = _halted(urgent) or planned.halted
    planned = replace(planned, halted=halted)
    if _waits(planned):
        planned = replace(planned, memory=author_is_kept(world))
    if not _waits(planned):
        return planned  # also while both sides fail: what the author asks for next is the way out
    decision = (
        replace(urgent, look_again=_soonest(urgent.look_again, planned.look_again), refused=planned.refused)
        if urgent
        else planned
    )
    chore = next((d for rule in CHORES if (d := rule(world, now)) and not refusals.is_put_aside(world, d, now)), None)
    if chore and not _waits(chore):
        return replace(chore, look_again=timedelta(0), refused=decision.refused, halted=halted)
    return replace(
        decision,
        halted=halted,
        look_again=_soonest(decision.look_again, next_chore(world, now), next_death(world, now)),
    )


def _release(world: World, now: datetime) -> Decision:
    """Return the next step of the release itself. A refused spec stops no candidate that was accepted before it."""
    progress = _first(PROGRESS, world, now)
    if progress and not (progress.refused and world.memory.candidate):
        return progress
    candidate = _first(CANDIDATE, world, now)
    if candidate is None:
        return progress or Decision(Rest(), "settled", "Settled", "nothing to do")
    return replace(candidate, refused=progress.refused) if progress else candidate


def _any(rules: tuple[Rule, ...], world: World, now: datetime) -> Decision | None:
    """Return the first decision that acts, else the first that waits: these rules do not build on each other."""
    waiting: Decision | None = None
    for rule in rules:
        decision = rule(world, now)
        if decision and refusals.is_put_aside(world, decision, now):
            if rule in _HOLD:
                return refusals.waits(world, decision, now)
            continue  # what can be done is done: a rollback does not wait for what is refused before it
        if decision and (not _waits(decision) or decision.rule == switching.RULE):
            return replace(decision, halted=_halted(waiting))
        waiting = waiting or decision
    return waiting


def _halted(urgent: Decision | None) -> tuple[str, str] | None:
    """Return why what serves waits for a person: that is over when it is, not when something else goes on."""
    return (urgent.reason, urgent.because) if urgent and urgent.stalled else None


def _first(rules: tuple[Rule, ...], world: World, now: datetime) -> Decision | None:
    """Return the first decision: each of these rules builds on those before it."""
    found = next((decision for rule in rules if (decision := rule(world, now))), None)
    return refusals.waits(world, found, now) if found and refusals.is_put_aside(world, found, now) else found


def _waits(decision: Decision) -> bool:
    return isinstance(decision.step, Rest) and decision.memory is None


def _soonest(*spans: timedelta | None) -> timedelta | None:
    return min((span for span in spans if span is not None), default=None)


def _gone(world: World, _: datetime) -> Decision:
    """Leave things as deletion promises: Services unmarked first (that write is the fence), then what never served."""
    for service in world.services.values():
        if service.labels.get(names.RELEASE) == world.key.name and not service.preview_of:
            text = f"Service {service.name}: its release is deleted; traffic stays as it is"
            return Decision(Unmark(service.name, service.version), "gone", "Unmarking", text, look_again=timedelta(0))
    for deployment in sorted(world.deployments.values(), key=lambda d: d.name):
        if not deployment.deleting and not _stays(world, deployment):
            text = f"Deployment {deployment.name} never served, and its release is deleted"
            step = Retire(deployment.name, deployment.uid, deployment.claims, delete=True)
            return Decision(step, "gone", "Sweeping", text, look_again=timedelta(0))
    return Decision(Rest(), "gone", "Deleted", "the release is deleted; nothing is left to do")


def _stays(world: World, deployment: Deployment) -> bool:
    selected = any(s.selected == deployment.revision and not s.preview_of for s in world.services.values())
    return deployment.served or bool(deployment.proven) or selected
