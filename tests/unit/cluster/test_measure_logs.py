"""Lines of logs: each taken once, counted in the minute in which it was written, and shown without secrets."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tradingrelease.cluster.measure.lines import LONGEST, OVERLAP, SECOND, Line, Once, Split, parsed, stamp_of
from tradingrelease.cluster.measure.logs import Bad, redacted

BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
ZERO = int(BEGIN.timestamp())


def line(milliseconds, text="x"):
    return Line(ZERO * SECOND + milliseconds * 10**6, text)


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
    assert [*found, *split.rest()] == lines


def test_of_a_line_without_end_the_beginning_is_looked_at_and_nothing_is_held():
    split, found = Split(), []
    for chunk in [b"ERROR " + b"x" * LONGEST, *[b"x" * LONGEST] * 9, b"\nnext\n"]:
        found += split.cut(chunk)
    assert found == [(b"ERROR " + b"x" * LONGEST)[:LONGEST], b"next"]


# --- once -------------------------------------------------------------------------------------------------------------

LOGS = st.lists(st.tuples(st.integers(0, 30_000), st.sampled_from("ab")), max_size=40)


@settings(deadline=None)  # how long a story takes says nothing
@given(LOGS, st.data())
def test_every_line_is_taken_once_however_often_and_by_whom_the_log_is_read(written, data):
    """Several readings at once, each broken off and begun anew from where it may; some lines look the same."""
    log = [line(at, text) for at, text in sorted(written)]
    once, taken = Once(BEGIN), []
    readings = []
    for _ in range(data.draw(st.integers(0, 60))):
        if not readings or data.draw(st.booleans()):
            since = stamp_of(once.since)
            readings.append((iter([found for found in log if found.at >= since]), Counter()))
        source, seen = data.draw(st.sampled_from(readings))
        if (found := next(source, None)) is not None and once.new(found, seen):
            taken.append(found)
    last = [found for found in log if found.at >= stamp_of(once.since)]
    seen = Counter()
    taken += [found for found in last if once.new(found, seen)]
    assert Counter(taken) == Counter(log)


def test_two_equal_lines_of_one_moment_are_two_lines():
    once, first, again = Once(BEGIN), Counter(), Counter()
    assert [once.new(line(5), first) for _ in range(2)] == [True, True]
    assert [once.new(line(5), again) for _ in range(3)] == [False, False, True]


def test_lines_of_before_are_not_taken():
    assert not Once(BEGIN).new(line(-1), Counter())


def test_a_log_is_read_again_from_a_little_before_its_last_line():
    once = Once(BEGIN)
    assert once.since == "2026-03-02T12:00:00Z"
    once.new(line(60_900), Counter())
    assert stamp_of(once.since) == (ZERO + 60) * SECOND - OVERLAP


def test_what_is_remembered_is_bounded():
    once, seen = Once(BEGIN), Counter()
    for number in range(40_000):
        once.new(line(number * 20, str(number)), seen)
    assert len(once._seen) < 13_100
    assert len(seen) < 13_100


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


@given(st.lists(st.integers(0, 300), max_size=50))
def test_no_minute_is_missed(seconds):
    bad = Bad()
    for second in seconds:
        bad.take(line(second * 1000))
    by_hand = max((sum(start <= s < start + 60 for s in seconds) for start in seconds), default=0)
    assert most(bad, 301) == by_hand


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


@given(st.text(max_size=500))
def test_words_are_few_and_of_one_line(text):
    assert len(redacted(text)) <= 200
    assert redacted(text).isprintable()
