"""Every fault by its name in a plan."""

from tests.faults import faults, poisoned, streams, world
from tests.faults.faults import Nothing
from tests.faults.plan import Learned, Plan
from tests.faults.scenarios import SCENARIOS

MAIN = ("kill-before", "kill-after", "lost-reply", "conflict", "errors", "held")
"""What a network and a restart can do to one write: it never left, it was done and nobody heard, it was done and said
to have failed, somebody else was first, it is refused for a while, it lands much later."""

FAULTS: dict[str, type[Nothing]] = {
    "clean": faults.Clean,
    # a write
    "kill-before": faults.KillBefore,
    "kill-after": faults.KillAfter,
    "lost-reply": faults.LostReply,
    "conflict": faults.Conflict,
    "errors": faults.Errors,
    "held": faults.Held,
    "too-many": faults.TooMany,
    "forbidden": faults.Forbidden,
    "unauthorized": faults.Unauthorized,
    "twice": faults.Twice,
    "slow": faults.Slow,
    "stale-start": streams.StaleStart,
    "stale-orders": streams.StaleOrders,
    "behind": streams.Behind,
    "unlisted": streams.Unlisted,
    "unlisted-orders": streams.UnlistedOrders,
    "orders-unread": streams.OrdersUnread,
    # a line of a watch
    "dropped": streams.Dropped,
    "doubled": streams.Doubled,
    "delayed": streams.Delayed,
    "swapped": streams.Swapped,
    "watch-500": streams.Failed,
    "watch-410": streams.TooOld,
    "half-line": streams.HalfALine,
    "silent": streams.Silent,
    "restless": streams.Restless,
    # the world, at the moment of a write
    "flap": world.Flap,
    "edit-and-back": world.EditThereAndBack,
    "edit-and-repent": world.EditAndRepent,
    "service-edited": world.ServiceEdited,
    "service-replaced": world.ServiceReplaced,
    "scaled": world.Scaled,
    "job-deleted": world.JobDeleted,
    "order-deleted": world.OrderDeleted,
    "rights-revoked": world.RightsRevoked,
    "deaf": world.Deaf,
    "deaf-for-long": world.DeafForLong,
    "token-expired": world.TokenExpired,
    "clock-ahead": world.ClockAhead,
    "clock-behind": world.ClockBehind,
    "crds-removed": world.CrdsRemoved,
    "poisoned": poisoned.Poisoned,
    "apiserver-restarted": world.ApiServerRestarted,
    "no-leader": world.NoLeader,
}


def plans(scenario: str, fault: str, learned: Learned, seed: int) -> list[Plan]:
    """Return one plan for each place of a scenario that a fault can strike."""
    named = FAULTS[fault].scenarios
    if scenario not in named and (named or not SCENARIOS[scenario].common):
        return []
    places = {"write": learned.writes, "event": learned.events, "": [""]}[FAULTS[fault].needs]
    kind = FAULTS[fault]
    if kind.few and places:
        chosen = {places[0], places[len(places) // 2], places[-1], *(p for p in places if " switch #" in str(p))}
        places = [place for place in places if place in chosen]
    return [Plan(scenario, fault, str(place), seed + more) for place in places for more in range(kind.ways(str(place)))]
