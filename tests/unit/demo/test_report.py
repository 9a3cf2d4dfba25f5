"""The numbers of the summary, from requests and moves that are written down here."""

import dataclasses

import pytest

from demo import report
from demo.report import Move
from loadgen import Record, Records
from loadgen.record import Mode

A_REQUEST = Record(
    due=0.0,
    target="backend",
    mode=Mode.NEW,
    lag_ms=0.0,
    latency_ms=10.0,
    status=200,
    error="",
    version="2.0.0",
    pod="a",
    reused=False,
    retried="",
)


def at(due, **what):
    return dataclasses.replace(A_REQUEST, due=due, **what)


def every_tenth(since, until, **what):
    return [at(since + n / 10, **what) for n in range(round((until - since) * 10))]


def bad(since, until, **what):
    return every_tenth(since, until, **({"version": "4.0.0", "status": 500} | what))


def test_a_switch_takes_from_the_move_to_the_first_new_answer_on_a_new_connection():
    kept = at(100.1, version="4.0.0", mode=Mode.KEEPALIVE)
    records = Records((kept, *every_tenth(98, 100.5), *every_tenth(100.5, 102, version="4.0.0")))
    assert report.switch_ms(records, [Move("backend", 100.0, "x")], "4.0.0") == pytest.approx([510.0])


def test_a_switch_that_users_met_before_the_watch_brought_it_took_no_time():
    records = Records(tuple(every_tenth(99.8, 101, version="4.0.0")))
    assert report.switch_ms(records, [Move("backend", 100.0, "x")], "4.0.0") == [0.0]


def test_a_switch_that_users_never_met_has_no_time():
    assert report.switch_ms(Records(tuple(every_tenth(98, 102))), [Move("backend", 100.0, "x")], "4.0.0") == []


def test_an_ordered_rollback_takes_from_the_order_to_the_first_old_answer():
    records = Records((*every_tenth(99, 100.3, version="5.0.0"), *every_tenth(100.3, 101)))
    assert report.ordered_rollback_ms(records, ["backend"], "2.0.0", 100.0) == pytest.approx([310.0])


def test_an_outage_lasts_from_the_first_bad_answer_until_new_connections_are_served_well():
    good_elsewhere = every_tenth(99, 105, target="frontend", version="4.0.0")
    records = Records((*every_tenth(98, 99), *bad(100, 102.5), *every_tenth(102.5, 104), *good_elsewhere))
    (outage,) = report.outages(records, "4.0.0", "2.0.0")
    assert (outage.service, outage.ms) == ("backend", pytest.approx(2500.0))


def test_an_outage_that_never_ended_lasts_for_ever():
    (outage,) = report.outages(Records(tuple(bad(100, 101))), "4.0.0", "2.0.0")
    assert outage.ms == float("inf")


def test_only_what_the_bad_version_answered_badly_in_its_time_is_excused():
    in_time = bad(100, 102)
    dropped = at(101.0, version="4.0.0", status=0, error="reset: x", mode=Mode.KEEPALIVE, reused=True)
    nobody = at(101.0, version="", status=0, error="connect: refused")
    another = at(101.0, version="2.0.0", status=500)
    elsewhere = at(101.0, target="frontend", status=0, version="", error="timeout: x")
    too_late = at(103.0, version="4.0.0", status=500, mode=Mode.KEEPALIVE)
    records = Records((*in_time, dropped, nobody, another, elsewhere, too_late, *every_tenth(102, 104)))
    outages = report.outages(records, "4.0.0", "2.0.0")
    assert set(report.excused(records, "4.0.0", outages)) == {*in_time, dropped}


def test_it_is_the_answer_that_says_whether_a_failure_is_the_bad_version_s_own():
    slow = at(99.7, latency_ms=400.0, version="4.0.0", status=500)
    before = at(99.7, latency_ms=200.0, version="4.0.0", status=0, error="reset: x", mode=Mode.KEEPALIVE, reused=True)
    under_way = at(101.95, latency_ms=200.0, version="4.0.0", status=500)
    records = Records((before, slow, *bad(100, 102), under_way, *every_tenth(102, 104)))
    outages = report.outages(records, "4.0.0", "2.0.0")
    excused = set(report.excused(records, "4.0.0", outages))
    assert (slow in excused, before in excused, under_way in excused) == (True, False, True)


def test_without_an_outage_nothing_is_excused():
    records = Records((at(100.0, status=503), at(101.0, version="4.0.0")))
    assert report.outages(records, "4.0.0", "2.0.0") == []
    assert not report.excused(records, "4.0.0", []).all


def test_a_switch_and_its_way_back_are_two_moves_and_no_mixture():
    records = Records((*every_tenth(90, 100), *every_tenth(100, 105, version="4.0.0"), *every_tenth(105, 110)))
    moves = [Move("backend", 100.0, "x"), Move("backend", 105.0, "y")]
    assert report.mixed_version_ms(records, moves) == 0.0


def test_the_longest_mixture_around_any_move_counts():
    mixed = [at(100.25), at(100.45)]
    records = Records((*every_tenth(90, 100), *every_tenth(100, 105, version="4.0.0"), *mixed))
    frontend = [dataclasses.replace(record, target="frontend", version="2.0.0") for record in records]
    both = Records((*records, *frontend))
    moves = [Move("frontend", 100.0, "x"), Move("backend", 100.0, "x")]
    assert report.mixed_version_ms(both, moves) == pytest.approx(450.0)


def test_the_way_back_to_a_version_is_no_switch_to_it():
    there, away, back = Move("backend", 1.0, "x"), Move("backend", 2.0, "y"), Move("backend", 3.0, "x")
    other = Move("frontend", 3.0, "x")
    assert report.first_moves([there, away, back, other]) == [there, away, other]
