"""The API server's time, from whole seconds in its answers."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from tradingrelease.clock import ServerClock

DATE = "Mon, 02 Mar 2026 12:00:00 GMT"
THEN = datetime(2026, 3, 2, 12, tzinfo=UTC)


def drift(clock, since):
    """Return how far the clock is from the time that passed since THEN."""
    return abs((clock.now() - THEN - timedelta(seconds=time.monotonic() - since)).total_seconds())


def test_time_is_unknown_before_the_server_answers():
    clock = ServerClock()
    assert not clock.known
    with pytest.raises(RuntimeError, match="has not answered yet"):
        clock.now()


def test_the_servers_time_is_told_and_carried_on():
    clock, now = ServerClock(), time.monotonic()
    clock.heard(DATE, now, now)
    assert clock.known
    assert drift(clock, now) < 0.01


def test_a_quicker_answer_makes_it_more_exact_and_a_slower_one_does_not_spoil_it():
    clock, now = ServerClock(), time.monotonic()
    clock.heard(DATE, now - 0.5, now + 0.5)
    clock.heard(DATE, now, now)
    clock.heard(DATE, now - 2, now + 0.9)
    assert drift(clock, now) < 0.01


def test_a_clock_that_was_set_back_is_followed():
    clock, now = ServerClock(), time.monotonic()
    clock.heard("Mon, 02 Mar 2026 13:00:00 GMT", now, now)
    clock.heard(DATE, now, now)
    assert drift(clock, now) < 0.01


def test_a_date_that_is_none_teaches_nothing():
    clock = ServerClock()
    clock.heard("yesterday", 0, 0)
    assert not clock.known
