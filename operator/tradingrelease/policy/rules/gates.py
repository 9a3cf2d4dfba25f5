"""Hooks before the switch begin once everything else of the candidate is verified."""

from datetime import datetime

from tradingrelease.policy.model import Decision, World
from tradingrelease.policy.rules.candidate import first_pending
from tradingrelease.policy.rules.hooks import hooks_come_before_the_switch


def verified_candidate_runs_its_hooks(world: World, now: datetime) -> Decision | None:
    """Run what comes before the switch on a candidate that lacks nothing else; a freeze and people come after it."""
    return None if first_pending(world) else hooks_come_before_the_switch(world, now)
