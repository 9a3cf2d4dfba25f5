"""Memory goes into status and comes back whole."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy.measurements import Measured, Verdict
from tradingrelease.policy.memory import from_status, moment, stamp, to_status
from tradingrelease.policy.model import (
    Answer,
    Approval,
    Author,
    Candidate,
    CheckResult,
    Gate,
    HistoryEntry,
    HookResult,
    HookRun,
    Latched,
    Left,
    Live,
    Member,
    Memory,
    Override,
    Paused,
    Person,
    Retained,
    Settings,
    Stack,
    Waiting,
    WebhookLeft,
)
from tradingrelease.policy.reasons import Consent, Moment, Outcome, Progress

words = st.text("abcdefghijk0123456789.-é", min_size=1, max_size=8)
sentences = st.text(max_size=30)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda at: at.replace(tzinfo=UTC, microsecond=at.microsecond // 1000 * 1000)
)
spans = st.integers(0, 10**7).map(lambda n: timedelta(milliseconds=100 * n))
members = st.builds(Member, words, words, st.lists(words, max_size=3).map(tuple))
stacks = st.builds(Stack, words, words, st.lists(members, max_size=3).map(tuple))
people = st.lists(st.builds(Person, words, words, words, sentences, instants), max_size=3).map(tuple)
overrides = st.lists(st.builds(Override, words, words, words, st.integers(0, 99), people), max_size=3).map(tuple)
runs = st.builds(
    HookRun, words, st.sampled_from(Moment), st.sampled_from(Progress), sentences, st.none() | instants, st.none() | instants,
    words | st.just(""), words | st.just(""), st.none() | instants, sentences,
)  # fmt: skip
finite = st.floats(allow_nan=False, allow_infinity=False)
hooks = st.lists(runs, max_size=3).map(tuple)
authors = st.builds(Author, words | st.just(""), words | st.just(""))
said = st.lists(st.builds(Approval, st.sampled_from(Moment), words, words, instants, sentences, words), max_size=2).map(
    tuple
)
gates = st.lists(
    st.builds(Gate, st.sampled_from(Moment), st.integers(1, 10), st.sampled_from(Consent), st.none() | instants, said),
    max_size=2,
).map(tuple)
counts = st.builds(Measured, st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.none() | finite)
judged = st.lists(
    st.builds(
        CheckResult,
        words,
        st.sampled_from(["Verify", "Watch"]),
        st.sampled_from(Verdict),
        counts,
        st.booleans(),
        st.none() | instants,
    ),
    max_size=2,
).map(tuple)
done = st.lists(st.builds(HookResult, words, st.sampled_from(Progress), st.none() | finite), max_size=2).map(tuple)
memories = st.builds(
    Memory,
    live=st.none() | st.builds(Live, stacks, instants, instants, st.none() | instants, st.integers(0, 10**9),
        st.integers(1, 99), hooks, st.none() | st.builds(Left, words, words, st.integers(1, 99)), sentences, st.none() | instants, authors),
    candidate=st.none() | st.builds(Candidate, stacks, st.integers(1, 99), instants, idle=st.booleans(), counted_from=st.none() | instants, held=st.sampled_from(["", "Start", "Switch"]), hooks=hooks, gates=gates, author=authors),
    retained=st.lists(st.builds(Retained, stacks, instants, sentences, st.none() | instants), max_size=3).map(tuple),
    latched=st.lists(st.builds(Latched, stacks, words, sentences, instants, authors), max_size=3).map(tuple),
    history=st.lists(
        st.builds(
            HistoryEntry, words, words, st.sampled_from(Outcome), st.none() | instants, st.none() | instants,
            st.none() | instants, sentences, words, st.integers(0, 99), said, judged, done,
        ),
        max_size=3,
    ).map(tuple),
    paused=st.none() | st.builds(Paused, instants, sentences, words),
    answers=st.lists(st.builds(Answer, words, st.sampled_from(["Done", "Refused"]), words, sentences), max_size=3).map(tuple),
    settings=st.builds(
        Settings,
        st.dictionaries(words, st.integers(0, 100), max_size=3),
        spans,
        st.integers(1, 10),
        spans,
        st.sampled_from(["Keep", "Remove"]),
    ),
    act=st.integers(0, 10**9),
    waiting=st.none() | st.builds(Waiting, words, authors),
    webhook_left=st.none() | st.builds(WebhookLeft, words, words, instants),
)  # fmt: skip

"""How long a memory takes to be made up says nothing of it."""


@given(memories)
def test_what_is_remembered_reads_back_the_same(memory):
    assert memory == from_status(to_status(memory))


@given(overrides)
def test_what_people_ordered_reads_back_the_same(given):
    memory = Memory(overrides=given)
    assert memory == from_status(to_status(memory))


@given(memories)
def test_what_the_api_server_drops_is_not_missed(memory):
    """It stores no nulls."""
    kept = {key: value for key, value in to_status(memory).items() if value is not None}
    assert memory == from_status(kept)


def test_an_empty_status_is_an_empty_memory():
    assert Memory() == from_status({})


@given(instants)
def test_a_stamp_is_read_back_to_the_millisecond(at):
    assert at == moment(stamp(at))


@pytest.mark.parametrize(
    "status",
    [
        {"live": {}, "candidate": {}, "paused": {}},
        {"live": {"revision": "x", "since": "yesterday"}, "act": "many"},
        {"retained": [{"revision": "x"}], "latched": [{}, None], "history": [{"outcome": "Nonsense"}], "orders": [{}]},
        {"settings": {"retainFor": "soon"}},
        {"settings": {"replicas": ["x"]}},
    ],
    ids=str,
)
def test_what_somebody_else_wrote_and_cannot_be_read_is_absent(status):
    assert from_status(status) == Memory()
