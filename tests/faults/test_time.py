"""Orders grow old: by the API server's clock, which the wire sets ahead. The operator goes by no other."""

from datetime import timedelta

import pytest

from tests.faults.plan import Plan
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage


@pytest.fixture
def stage(lab):
    """Make version 2 live, with version 1 to go back to."""
    with Stage(lab, Plan("command", "clean")) as stage:
        stage.prepare(None)
        yield stage


def pass_by(stage, **span):
    """Let time pass while the operator is away."""
    starts = stage.keeper.starts
    stage.proxy.ahead = timedelta(**span)
    stage.keeper.kill()
    stage.until(lambda s: s.running and stage.keeper.starts > starts, "the operator is started anew")


def test_an_order_that_is_found_after_10_minutes_is_refused_and_nothing_moves(stage):
    pass_by(stage, minutes=10, seconds=5)
    stage.act()
    state = stage.until(lambda s: s.order("back").get("phase"), "the order is answered")
    assert (state.order("back")["phase"], state.order("back")["reason"]) == ("Refused", "Expired")
    stage.rest()
    assert stage.recorder.state().live() == "2"
    assert not any("switch" in str(write) for write in stage.proxy.writes)
    assert stage.violations() == []


def test_an_order_that_is_found_before_that_is_obeyed(stage):
    pass_by(stage, minutes=9)
    stage.act()
    stage.until(SCENARIOS["command"].ends, "version 1 is live again, and the order is done")
    assert stage.violations() == []


def test_an_order_that_was_answered_90_days_ago_is_deleted(stage):
    stage.act()
    stage.until(SCENARIOS["command"].ends, "the order is done")
    pass_by(stage, days=89, hours=23)
    stage.until(lambda s: not s.retained(), "what was kept for a day is not kept any more")
    stage.rest()
    assert stage.recorder.state().get("ReleaseCommand", "back")
    pass_by(stage, days=90, minutes=1)
    state = stage.until(lambda s: not s.get("ReleaseCommand", "back"), "the order is gone")
    assert state.live() == "1"
