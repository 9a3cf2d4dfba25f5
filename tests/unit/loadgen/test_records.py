"""Questions about many requests, asked of requests that are written down here."""

import dataclasses

import pytest

from loadgen.record import Mode, Record
from loadgen.records import Records

A_REQUEST = Record(
    due=1000.0,
    target="backend",
    mode=Mode.NEW,
    lag_ms=0.0,
    latency_ms=1.0,
    status=200,
    error="",
    version="1",
    pod="backend-a",
    reused=False,
    retried="",
)


def a_request(due, **what):
    return dataclasses.replace(A_REQUEST, due=due, **what)


def answers(versions, start=1000.0, step=0.1, **what):
    return [a_request(start + step * n, version=version, **what) for n, version in enumerate(versions)]


def test_a_record_survives_its_line():
    full = a_request(1000.123456, mode=Mode.KEEPALIVE, status=0, error="reset: x", reused=True, retried="closed: y")
    assert full == Record.from_json(full.to_json())


def test_a_good_answer_takes_a_short_line():
    assert (
        a_request(1.0).to_json() == '{"t":1.0,"n":"backend","m":"new","g":0.0,"l":1.0,"s":200,"v":"1","p":"backend-a"}'
    )


@pytest.mark.parametrize(
    ("status", "failed"), [(200, False), (204, False), (302, False), (404, True), (500, True), (0, True)]
)
def test_failed_is_what_a_user_would_see_as_an_error(status, failed):
    assert a_request(1.0, status=status).failed is failed


def test_parse_leaves_the_closing_line_out():
    assert Records((a_request(1.0),)) == Records.parse([a_request(1.0).to_json(), '{"end": 1}'])


def test_filters_narrow_one_after_the_other():
    wanted = a_request(1005.0, target="frontend", mode=Mode.KEEPALIVE, status=500)
    others = [
        a_request(1005.0),
        a_request(1005.0, target="frontend"),
        dataclasses.replace(wanted, due=1010.0),
    ]
    found = Records((wanted, *others)).of(target="frontend", mode=Mode.KEEPALIVE).between(1004.0, 1010.0).failed()
    assert found.all == (wanted,)


def test_between_goes_by_the_time_of_sending_not_by_the_time_that_was_due():
    late = a_request(999.0, lag_ms=1500.0)
    assert Records((late,)).between(1000.0).all == (late,)


def test_first_answer_is_the_first_to_be_complete_not_the_first_to_be_sent():
    slow, fast = a_request(1000.0, latency_ms=900.0, version="2"), a_request(1000.5, version="2")
    assert Records((slow, fast)).first_answer("2") == fast


def test_first_and_last_answer_ignore_errors_of_a_connection_that_once_spoke_to_that_version():
    lost = a_request(999.0, version="2", status=0, error="reset: x")
    answered = a_request(1000.0, version="2", status=500)
    records = Records((lost, answered, dataclasses.replace(lost, due=1001.0)))
    assert (records.first_answer("2"), records.last_answer("2")) == (answered, answered)


def test_no_answer_is_none():
    assert Records().first_answer() is None
    assert Records().last_answer("2") is None


def test_by_version_counts_answers_by_the_second():
    records = Records((*answers("11", 1000.0), *answers("12", 1001.0), a_request(1001.5, version="", status=0)))
    assert records.by_version() == [(1000.0, {"1": 2}), (1001.0, {"1": 1, "2": 1, "no answer": 1})]


def test_versions_are_named_in_the_order_in_which_they_answered():
    assert Records(tuple(answers("1110200"))).versions() == ["1", "0", "2"]


def test_by_outcome_tells_statuses_and_errors_apart():
    lost = a_request(1.0, status=0, error="connect: Connection refused")
    assert Records((a_request(1.0), a_request(1.0, status=500), lost)).by_outcome() == {
        "200": 1,
        "500": 1,
        "connect: Connection refused": 1,
    }


@pytest.mark.parametrize(
    ("versions", "mixed_ms"),
    [
        ("", 0),
        ("1111", 0),
        ("1122", 0),  # a clean switch
        ("112122", 100),  # one old answer after the first new one
        ("12111122", 400),
        ("1312", 0),  # the final version came once, and last
    ],
)
def test_mixed_version_is_the_time_from_the_first_new_to_the_last_old_answer(versions, mixed_ms):
    assert Records(tuple(answers(versions))).mixed_version_ms() == pytest.approx(mixed_ms)


def test_mixed_version_asks_new_connections_only():
    """kube-proxy keeps established connections where they are; that is no mixture of the Service."""
    kept = a_request(1001.0, mode=Mode.KEEPALIVE, reused=True, version="1")
    assert Records((*answers("1122"), kept)).mixed_version_ms() == 0


def test_mixed_version_goes_by_the_time_at_which_the_connection_was_opened():
    """An old pod's slow answer may well end after a new pod's quick one."""
    slow_old = a_request(1000.0, latency_ms=5000.0)
    assert Records((slow_old, *answers("22", 1001.0))).mixed_version_ms() == 0


def test_latency_counts_answers_and_lag_counts_everything():
    lost = a_request(1.0, status=0, latency_ms=5000.0, lag_ms=7.0)
    records = Records((*(a_request(1.0, latency_ms=float(ms)) for ms in range(1, 101)), lost))
    assert (records.latency_ms(0.5), records.latency_ms(0.99)) == (51.0, 100.0)
    assert records.lag_ms(1.0) == 7.0
    assert Records().latency_ms(0.99) == 0.0


def test_rate_is_what_was_due():
    assert Records(tuple(answers("1" * 101, step=0.01))).rate() == pytest.approx(100.0)
    assert Records(tuple(answers("1"))).rate() == 0.0
