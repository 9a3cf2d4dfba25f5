"""What failed checks do: they end a candidate's attempt, and hold a watch that cannot be judged."""

from datetime import datetime, timedelta

from tradingrelease.policy import checks
from tradingrelease.policy.hooks import pending_after_switch
from tradingrelease.policy.model import Decision, Rest, World
from tradingrelease.policy.rules.attempts import failed


def candidate_passes_its_checks(world: World, now: datetime) -> Decision | None:
    """End the attempt of a candidate that a check found bad."""
    candidate, judged = world.memory.candidate, checks.candidate(world)
    if candidate is None or judged is None:
        return None
    found = checks.failing(world, judged) or checks.pods_failing(world, judged)
    if found is None:
        return None
    reason, message = found
    return failed(world, candidate, reason, message, now, "candidate_passes_its_checks")


def live_can_be_judged(world: World, now: datetime) -> Decision | None:
    """Say which check keeps live from being proven: at once where nobody can judge it, else when its time is over."""
    judged, live = checks.watched(world), world.memory.live
    if judged is None or live is None:
        return None
    found = list(checks.lacking(world, judged))
    lack = next((lack for lack in found if lack.stalled), None)
    # Its time begins when the hooks after the switch have ended.
    late = not pending_after_switch(live.hooks) and now >= live.watch_since + judged.spec.watch.for_
    lack = lack or (found[0] if found and late else None)
    if lack is None:
        return None
    text = f"version {judged.stack.version} is live and not proven: {lack.message}"
    wait = timedelta(seconds=10)
    return Decision(Rest(), "live_can_be_judged", lack.reason, text, look_again=wait, stalled=lack.stalled)
