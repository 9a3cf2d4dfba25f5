"""Lines of logs: each taken once, counted in the minute in which it was written, and shown without secrets."""

import time
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.cluster.measure.lines import (
    LONGEST,
    MOST,
    OVERLAP,
    SECOND,
    Line,
    Once,
    Reading,
    Split,
    parsed,
    stamp_of,
)
from tradingrelease.cluster.measure.logs import Bad, Log, LogReader, Where, redacted
from tradingrelease.policy.measurements import Verdict

from tests.builders import a_check, a_spec
from tests.builders import parsed as checked

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
ZERO = int(BEGIN.timestamp())


def line(milliseconds, text="x"):
    return Line(ZERO * SECOND + int(milliseconds * 10**6), text)


def grows(cost, small, large):
    """Return how many times more the larger size costs, both measured here and now; the least of some tries."""

    def seconds(size):
        tries = []
        for _ in range(5):
            began = time.process_time()
            cost(size)
            tries.append(time.process_time() - began)
        return min(tries)

    return seconds(large) / seconds(small)


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-03-02T12:00:00.000000001Z", 1),
        ("2026-03-02T12:00:00.2Z", 200_000_000),
        ("2026-03-02T12:00:01Z", SECOND),
        ("2026-03-02T13:00:00.123456789+01:00", 123_456_789),
    ],
)
def test_a_stamp_is_read_to_the_nanosecond(text, nanoseconds):
    assert stamp_of(text) == ZERO * SECOND + nanoseconds


@pytest.mark.parametrize("text", ["", "now", "2026-03-02T12:00:00.5", "unable to retrieve container logs"])
def test_what_is_no_stamp_is_no_line(text):
    assert parsed(text.encode() + b" words") is None


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b), max_size=20), st.data())
def test_lines_are_cut_wherever_the_chunks_end(lines, data):
    whole = b"".join(part + b"\n" for part in lines)
    split, found = Split(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += split.cut(whole[:size])
        whole = whole[size:]
    assert [*found, *([split.rest] if split.rest else [])] == lines


def test_of_a_line_without_end_the_beginning_is_looked_at_and_nothing_is_held():
    split, found = Split(), []
    for chunk in [b"ERROR " + b"x" * LONGEST, *[b"x" * LONGEST] * 9, b"\nnext\n"]:
        found += split.cut(chunk)
    assert found == [(b"ERROR " + b"x" * LONGEST)[:LONGEST], b"next"]


def new(once, *lines, **how):
    """Return what one reading of these lines takes."""
    reading = Reading(once, **how)
    found = [taken for given in lines for taken in reading.hear(written(given))]
    return found + list(reading.end())


def written(given, end=b"\n"):
    seconds, rest = divmod(given.at, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z {given.text}".encode() + end


# --- once -------------------------------------------------------------------------------------------------------------

LOGS = st.lists(st.tuples(st.integers(0, 30_000), st.sampled_from("ab")), max_size=40)


@given(LOGS, st.data())
def test_every_line_is_taken_once_however_often_and_by_whom_the_log_is_read(written, data):
    """Several readings at once, each broken off and begun anew from where it may; some lines look the same."""
    log = [line(at, text) for at, text in sorted(written)]
    once, taken = Once(BEGIN), []
    readings = []
    for _ in range(data.draw(st.integers(0, 60))):
        if not readings or data.draw(st.booleans()):
            since = stamp_of(once.since)
            readings.append((iter([found for found in log if found.at >= since]), Reading(once)))
        source, seen = data.draw(st.sampled_from(readings))
        if (found := next(source, None)) is not None and once.new(found, seen):
            taken.append(found)
    last = [found for found in log if found.at >= stamp_of(once.since)]
    seen = Reading(once)
    taken += [found for found in last if once.new(found, seen)]
    assert Counter(taken) == Counter(log)


def test_two_equal_lines_of_one_moment_are_two_lines():
    once = Once(BEGIN)
    first, again = Reading(once), Reading(once)
    assert [once.new(line(5), first) for _ in range(2)] == [True, True]
    assert [once.new(line(5), again) for _ in range(3)] == [False, False, True]


def test_lines_of_before_are_not_taken():
    assert new(Once(BEGIN), line(-1)) == []


def test_a_log_is_read_again_from_a_little_before_its_last_line():
    once = Once(BEGIN)
    assert once.since == "2026-03-02T12:00:00Z"
    new(once, line(60_900))
    assert stamp_of(once.since) == (ZERO + 60) * SECOND - OVERLAP


def test_what_is_remembered_is_bounded_whatever_the_lines_say():
    reading = Reading(once := Once(BEGIN))
    tracemalloc.start()
    for number in range(2 * MOST):
        once.new(line(number * 2, f"{number} {'x' * 2000}"), reading)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert MOST / 2 < len(once._seen) <= MOST
    assert held < 200 * (len(once._seen) + len(reading)), "bytes"


def test_of_lines_too_many_to_tell_apart_it_is_said_once():
    reading = Reading(once := Once(BEGIN))
    for number in range(MOST + 1):
        once.new(line(number * 4999 / MOST, str(number)), reading)
    assert once.doubt(BEGIN) == "more than 20000 lines within 5 s cannot be told apart"
    assert once.doubt(BEGIN) == ""


def test_a_log_of_any_length_is_read_without_doubt():
    reading = Reading(once := Once(BEGIN))
    taken = sum(once.new(line(number, str(number)), reading) for number in range(3 * MOST))
    assert taken == 3 * MOST
    assert once.doubt(BEGIN + timedelta(minutes=1)) == ""


def test_what_was_forgotten_is_not_taken_again():
    reading = Reading(once := Once(BEGIN))
    for number in range(2 * MOST):
        once.new(line(number, str(number)), reading)
    assert new(once, line(0, "0")) == []


@pytest.mark.parametrize("apart", [1, 1000], ids=["many in a second", "one a second"])
def test_reading_costs_no_more_than_the_number_of_lines(apart):
    def taken(size):
        reading = Reading(once := Once(BEGIN))
        assert sum(once.new(line(number * apart, "x"), reading) for number in range(size)) == size

    assert grows(taken, MOST // 4, MOST * 2) < 8 * 3, "8 times as many: 64 times as much would be quadratic"


# --- a container that was started again -------------------------------------------------------------------------------


def since(text):
    return stamp_of(text) - ZERO * SECOND


def test_the_last_words_of_a_container_are_read_though_the_next_was_heard_before_them():
    """It waited five minutes to be started again, and its stream came first: after a restart of the operator."""
    once = Once(BEGIN)
    assert new(once, line(300_000, "starting"), followed=True)
    assert since(once.since_before(0)) == 0
    assert new(once, line(10, "begins"), line(900, "PANIC"), over=True) == [line(10, "begins"), line(900, "PANIC")]
    assert new(once, line(10, "begins"), line(900, "PANIC"), over=True) == []
    assert once.doubt(BEGIN + timedelta(seconds=300)) == ""


def test_much_that_the_container_before_left_is_read_as_a_whole_before_the_next_is_heard():
    once = Once(BEGIN)
    left = [line(number * 5, str(number)) for number in range(2 * MOST)]
    assert new(once, *left, over=True) == left
    assert new(once, line(300_000, "starting"), followed=True)
    assert new(once, *left, over=True) == []
    assert once.doubt(at(300)) == ""


@given(LOGS, LOGS, st.integers(0, 900_000), st.data())
def test_every_line_of_two_containers_is_taken_once(before, after, gap, data):
    """The first is read for a while, the second heard before anybody knows of it; then both are read to their ends."""
    first = [line(at, text) for at, text in sorted(before)]
    second = [line(31_000 + gap + at, text) for at, text in sorted(after)]
    once = Once(BEGIN)
    read = data.draw(st.integers(0, len(first)))
    taken = new(once, *first[:read], followed=True)
    begun = once.newest
    taken += new(once, *second[: data.draw(st.integers(0, len(second)))], followed=True)
    left = stamp_of(once.since_before(begun))
    taken += new(once, *[found for found in first if found.at >= left], over=True)
    left = stamp_of(once.since)
    taken += new(once, *[found for found in second if found.at >= left])
    assert Counter(taken) == Counter(first + second)


def test_where_its_last_words_cannot_be_told_apart_any_more_it_is_said():
    reading = Reading(once := Once(BEGIN))
    for number in range(2 * MOST):
        once.new(line(number * 5, str(number)), reading)
    now = BEGIN + timedelta(seconds=200)
    once.since_before(once.newest)
    assert once.doubt(now) == "", "it was read not long ago"
    once.since_before(0)
    assert "20000 lines were written since the last measurement" in once.doubt(now)


# --- the end of a log -------------------------------------------------------------------------------------------------

PART, WHOLE = written(line(1, "ERROR no"), b""), written(line(1, "ERROR no prices"))


def read(once, chunk, **how):
    reading = Reading(once, **how)
    return [*reading.hear(chunk), *reading.end()]


def test_part_of_a_line_is_no_line():
    once = Once(BEGIN)
    assert read(once, PART, followed=True) == [], "its stream ended in the middle"
    assert read(once, PART) == []
    assert read(once, WHOLE) == [line(1, "ERROR no prices")]


def test_a_last_line_without_a_newline_is_taken_when_nothing_was_added_to_it():
    once = Once(BEGIN)
    assert [read(once, PART) for _ in range(3)] == [[], [line(1, "ERROR no")], []]


def test_a_container_that_ended_adds_nothing():
    assert read(Once(BEGIN), PART, over=True) == [line(1, "ERROR no")]


# --- clocks of nodes --------------------------------------------------------------------------------------------------


def at(seconds):
    return BEGIN + timedelta(seconds=seconds)


def test_what_a_node_writes_whose_clock_is_behind_counts_and_is_doubted():
    once = Once(BEGIN)
    once.stands_at(line(-300_000).at, at(1))
    assert since(once.since) <= -300_000, "older lines are asked for"
    assert new(once, line(-300_000), line(-299_000, "PANIC")) == [line(-299_000, "PANIC")]
    text = "the clock of its node is behind: what is written now is 299 s before the beginning"
    assert once.doubt(at(2)) == text
    assert once.doubt(at(3)) == ""


def test_what_a_node_wrote_before_the_beginning_counts_for_nothing_though_its_clock_is_ahead():
    once = Once(BEGIN)
    once.stands_at(line(300_000).at, at(1))
    assert new(once, line(299_000, "PANIC"), line(300_000), line(302_000)) == [line(302_000)]
    assert once.doubt(at(2)) == "the clock of its node is 300 s ahead"


@pytest.mark.parametrize("last", [-1, 0, 1_000, 5_000])
def test_a_clock_that_is_right_is_not_doubted(last):
    once = Once(BEGIN)
    once.stands_at(line(last).at, at(1))
    assert new(once, line(7_000)) == [line(7_000)]
    assert once.doubt(at(7)) == ""


def test_a_clock_that_is_set_back_silences_nobody():
    """As after a jump ahead that is put right: forgotten lines, and lines to come, are told by no order of stamps."""
    once = Once(BEGIN)
    stream = Reading(once, followed=True)
    lines = [line(1_000), line(3_600_000, "ahead"), line(2_000, "back"), line(3_000)]
    assert [found for given in lines for found in stream.hear(written(given))] == lines
    assert once.doubt(at(3)) == "the clock of its node was set back by 3598 s"
    assert since(once.since) <= 3_000
    assert new(once, *lines) == []
    assert once.doubt(at(3)) == ""


# --- a minute ---------------------------------------------------------------------------------------------------------


def most(bad, seconds):
    return bad.most(ZERO + seconds)


def test_bad_lines_are_counted_in_the_minute_in_which_they_were_written():
    bad = Bad()
    for second in (0, 10, 59, 61):
        bad.take(line(second * 1000))
    assert most(bad, 62) == 3, "the four are not of one minute"
    assert most(bad, 75) == 2, "what was told is told; two are of the last minute"
    assert most(bad, 130) == 0


def test_a_burst_that_is_read_late_counts():
    bad = Bad()
    for _ in range(5):
        bad.take(line(0))
    assert most(bad, 300) == 5
    assert most(bad, 300) == 0


def test_what_is_stamped_in_the_future_is_counted_by_its_own_minute():
    bad = Bad()
    for second in (0, 100, 200):
        bad.take(line(second * 1000))
    assert [most(bad, 0), most(bad, 1)] == [1, 1]


@given(st.lists(st.integers(0, 300), max_size=50))
def test_no_minute_is_missed(seconds):
    bad = Bad()
    for second in seconds:
        bad.take(line(second * 1000))
    by_hand = max((sum(start <= s < start + 60 for s in seconds) for start in seconds), default=0)
    assert most(bad, 301) == by_hand


def test_many_bad_seconds_cost_no_more_than_their_number():
    def judged(size):
        bad = Bad()
        for second in range(size):
            bad.take(line(second * 1000))
        assert most(bad, size) == 60

    assert grows(judged, 1_000, 8_000) < 8 * 3, "8 times as many: 64 times as much would be quadratic"


# --- words ------------------------------------------------------------------------------------------------------------

CANARY = "c4n4ry"


@pytest.mark.parametrize(
    "text",
    [
        f"password={CANARY}",
        f'{{"db_password": "{CANARY}"}}',
        f"Authorization: Bearer {CANARY}",
        f"API-KEY: {CANARY} rest",
        f"cannot reach postgres://trader:{CANARY}@db:5432/x",
        f"session_token='{CANARY} {CANARY}'",
        f"eyJhbGciOi.{CANARY}.{CANARY}",
        f"key {CANARY * 8}",
    ],
)
def test_what_looks_like_a_secret_is_not_shown(text):
    assert CANARY not in redacted(f"ERROR {text}")
    assert redacted(f"ERROR {text}").startswith("ERROR ")


def test_a_card_number_is_not_shown():
    assert "4111" not in redacted("charged 4111 1111 1111 1111 twice")


@pytest.mark.parametrize("word", ["x", "token", "password-", "a://b:", "eyJ", "1 "])
def test_redacting_a_line_costs_no_more_than_its_length(word):
    def shown(size):
        redacted(word * (size // len(word)))

    assert grows(shown, 512, 4096) < 8 * 3, "8 times as long: 64 times as much would be quadratic"


def test_the_first_bad_line_is_kept_only_where_it_is_shown():
    bad, shown = Bad(), Bad()
    for at in (1, 2):
        bad.take(line(at, f"ERROR {at}"))
        shown.take(line(at, f"ERROR {at}"), show=True)
    assert (bad.first, shown.first) == ("", "ERROR 1")


@given(st.text(max_size=500))
def test_words_are_few_and_of_one_line(text):
    assert len(redacted(text)) <= 200
    assert redacted(text).isprintable()


def test_more_bad_lines_in_a_minute_than_are_allowed_fail_and_as_many_pass():
    """Also where the log of another pod cannot be read, or hangs."""
    written = a_check(logs={"component": "backend", "pattern": "FATAL", "maxPerMinute": 2})
    check = checked(a_spec(checks=[written])).checks[0].logs
    here, there = (Where("production", name, "app") for name in ("a", "b"))
    reader = LogReader(None, lambda: BEGIN, "production")
    for where in (here, there):
        reader._logs[where] = (Log(None, where, BEGIN, lambda: BEGIN, None), None)
    for n in range(2):
        reader._hear(line(-n, "FATAL"), check)
    assert reader._finding(check, [here, there], [None, None]).verdict is Verdict.PASSED
    finding = reader._finding(check, [here, there], [None, TimeoutError()])
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.said == "pod b, container app: its log was not read to its end in time"
    reader._hear(line(-2, "FATAL"), check)
    finding = reader._finding(check, [here, there], [None, TimeoutError()])
    assert (finding.verdict, finding.value) == (Verdict.FAILED, 3.0)
    assert finding.said == "3 bad lines in a minute, 2 allowed, 3 in all"
