"""An order acts when it is given, or never: nobody expects it to act ten minutes later."""

from dataclasses import replace

import pytest
from tradingrelease.policy.decide import decide
from tradingrelease.policy.reasons import Action, Condition

from tests.builders import NOW, a_release, a_service, a_spec, a_stack
from tests.simulator import Behaviour, Simulator


@pytest.fixture
def sim():
    """Return a cluster in which version 2 is live and proven, and version 1 retained."""
    sim = Simulator("backend")
    for version in ("1.0.0", "2.0.0"):
        sim.apply(a_spec(version))
        sim.run(minutes=20)
    return sim


def given_while_down(sim, **span):
    sim.stop()
    order = sim.order(Action.ROLLBACK, sim.memory.live.stack.revision)
    sim.run(**span)
    sim.restart()
    sim.run(minutes=1)
    return sim.orders[order.uid]


def test_an_order_first_seen_after_ten_minutes_is_refused_as_expired(sim):
    order = given_while_down(sim, minutes=10, seconds=1)
    assert order.phase == "Refused"
    assert "give it again" in "".join(note.message for note in sim.notes if note.reason == "Expired")
    assert sim.live == "2.0.0"


def test_an_order_first_seen_within_ten_minutes_is_carried_out(sim):
    order = given_while_down(sim, minutes=9, seconds=59)
    assert order.phase == "Done"
    assert sim.live == "1.0.0"


def test_an_order_that_was_seen_in_time_may_wait_for_longer(sim):
    sim.behaviours["backend:1.0.0"] = Behaviour(ready_after=1e6)
    order = sim.order(Action.ROLLBACK, sim.memory.live.stack.revision)
    sim.run(minutes=15)
    assert sim.orders[order.uid].phase == "Pending"
    assert sim.condition(Condition.STALLED)[0] == "True", "and it says what it waits for"
    sim.behaviours["backend:1.0.0"] = Behaviour()
    sim.run(minutes=1)
    assert sim.orders[order.uid].phase == "Done"
    assert sim.live == "1.0.0"


def test_answered_orders_are_kept_for_ninety_days(sim):
    order = sim.order(Action.ROLLBACK, "no such")
    sim.run(days=89)
    assert sim.orders[order.uid].phase == "Refused"
    sim.run(days=2)
    assert order.uid not in sim.orders


# --- a rollback for which nothing seems to move ----------------------------------------------------------------------


@pytest.fixture
def old_read():
    """Return 2.0.0 live by memory, and its Service as it was read before that: still selecting 1.0.0."""
    blue = a_service("backend", a_stack("1.0.0").members[0].revision)
    return a_release().promoted("2.0.0").having(services={"backend": blue})


def test_a_rollback_by_manifest_decided_on_an_old_read_retains_what_it_leaves(old_read):
    world = old_read.asking(a_spec("1.0.0")).world()
    claimed = {name: replace(d, claims={"backend": 99}) for name, d in world.deployments.items()}
    memory = decide(replace(world, deployments=claimed), NOW).memory
    assert (memory.live.stack.version, [r.stack.version for r in memory.retained]) == ("1.0.0", ["2.0.0"])


def test_an_ordered_rollback_decided_on_an_old_read_is_answered_and_latches_what_it_leaves(old_read):
    given = old_read.ordered(Action.ROLLBACK, a_stack("2.0.0").revision).world()
    memory = decide(given, NOW).memory
    assert (memory.live.stack.version, [latch.stack.version for latch in memory.latched]) == ("1.0.0", ["2.0.0"])
    assert [(a.uid, a.phase) for a in memory.answers] == [(given.orders[0].uid, "Done")]


def test_a_retry_begins_with_new_pods_where_the_last_attempt_left_a_crash_loop():
    """Crashes of an earlier attempt are not those of this one."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=20)
    sim.behaviours["backend:2.0.0"] = Behaviour(crashes_every=5)
    revision = sim.apply(a_spec("2.0.0")).revision
    sim.run_until(lambda s: s.memory.latched, minutes=5)
    sim.run(minutes=1)
    sim.behaviours["backend:2.0.0"] = Behaviour()
    sim.order(Action.RETRY, revision)
    sim.run(minutes=5)
    assert sim.live == "2.0.0"
