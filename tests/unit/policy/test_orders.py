"""An order acts when it is given, or never: nobody expects it to act ten minutes later."""

import pytest
from tradingrelease.policy.reasons import Action, Condition

from tests.builders import a_spec
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
