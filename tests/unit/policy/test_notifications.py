"""Who is told of what and how often, and what a fault in the configuration is answered with."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy.model import Key
from tradingrelease.policy.notifications import LONGEST_WAIT, Bucket, Target, backoff, parse
from tradingrelease.policy.reasons import Severity

from tests.builders import KEY
from tests.unit.policy.test_transitions import a_transition

TEAM = {"targets": {"team": {}}, "routes": [{"to": ["team"]}]}


def routed(*routes, targets=("team", "pager"), **more):
    """Return who is told by these routes; what no route names gets one that nothing takes."""
    never = {"to": list(targets), "reasons": ["Never"]}
    return parse({"targets": {name: {} for name in targets}, "routes": [*routes, never], **more})


def told(config, key=KEY, **fields):
    return set(config.receivers(key, a_transition(**fields)))


def test_without_conditions_everything_is_told():
    assert told(parse(TEAM)) == {"team"}


@pytest.mark.parametrize(
    ("severity", "who"), [(Severity.INFO, set()), (Severity.WARNING, {"pager"}), (Severity.CRITICAL, {"pager"})]
)
def test_a_severity_means_at_least(severity, who):
    assert told(routed({"to": ["pager"], "severity": "Warning"}), severity=severity) == who


def test_outcomes_leave_out_what_ends_nothing():
    config = routed({"to": ["pager"], "outcomes": ["Failed", "RolledBack"]})
    assert told(config, outcome="RolledBack") == {"pager"}
    assert told(config, outcome="Proven") == set()
    assert told(config) == set()


def test_namespaces_and_releases_may_be_patterns():
    config = routed({"to": ["team"], "namespaces": ["prod-*"], "releases": ["shop", "desk-?"]})
    assert told(config, Key("prod-eu", "shop")) == {"team"}
    assert told(config, Key("prod-eu", "desk-1")) == {"team"}
    assert told(config, Key("prod-eu", "desk-12")) == set()
    assert told(config, Key("staging", "shop")) == set()


def test_one_that_two_routes_lead_to_is_told_once_and_everybody_else_too():
    config = routed({"to": ["team"]}, {"to": ["team", "pager"], "reasons": ["Proven"]})
    assert told(config, reason="Proven") == {"team", "pager"}


def test_the_sink_gets_everything():
    config = parse(TEAM | {"cloudEvents": {}})
    assert config.names() == ("team", "cloudevents")
    assert told(parse({"cloudEvents": {"mode": "binary"}})) == {"cloudevents"}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ([], "write a mapping with targets and routes"),
        ({}, "nobody is told: write targets and routes, or cloudEvents"),
        ({"targets": {"team": {}}}, "targets.team: no route leads to it"),
        ({"routes": [{"to": ["team"]}]}, "routes: nobody is named 'team' in targets (there: none)"),
        ({"targets": {"Team!": {}}, "routes": []}, "write up to 32 lower-case letters"),
        ({"targets": {"../x": {}}, "routes": []}, "write up to 32 lower-case letters"),
        ({"targets": {"cloudevents": {}}, "routes": []}, "is the name of the sink"),
        (TEAM | {"target": {}}, "target: there is no such field"),
        ({"targets": {"team": {"url": "slack://a"}}, "routes": []}, "targets.team.url: there is no such field"),
        ({"targets": {"team": {"batch": "10"}}, "routes": []}, "targets.team.batch: '10' is no duration: write"),
        ({"targets": {"team": {"perHour": 0}}, "routes": []}, "targets.team.perHour: "),
        ({"targets": {"team": {}}, "routes": [{"to": []}]}, "routes.0.to: "),
        ({"targets": {"team": {}}, "routes": [{"to": ["team"], "severity": "warn"}]}, "routes.0.severity: "),
        ({"targets": {"team": {}}, "routes": [{"to": ["team"], "outcomes": ["Won"]}]}, "routes.0.outcomes.0: "),
        ({"cloudEvents": {"mode": "avro"}}, "cloudEvents.mode: "),
        ({"cloudEvents": {"url": "http://x"}}, "cloudEvents.url: there is no such field"),
    ],
)
def test_a_fault_is_named_with_its_place(written, words):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its words are compared below
        parse(written)
    assert words in str(refused.value)


def test_durations_are_go_style():
    config = parse({"targets": {"team": {"batch": "1m30s"}}, "routes": [{"to": ["team"]}], "keepFor": "2h"})
    assert config.targets["team"].batch == timedelta(seconds=90)
    assert config.keep_for == timedelta(hours=2)


# --- how often ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 3600), st.lists(st.floats(0, 600), min_size=1, max_size=200))
def test_no_hour_holds_more_messages_than_its_rate_and_what_may_come_at_once(per_hour, pauses):
    bucket, now, sent = Bucket.of(Target(per_hour=per_hour), 0.0), 0.0, []
    for pause in pauses:
        now += pause
        now += bucket.wait(now)
        bucket = bucket.taken(now)
        sent.append(now)
    for first in sent:
        within = sum(first <= at < first + 3600 for at in sent)
        assert within <= per_hour + max(1, per_hour / 10) + 1


def test_a_full_bucket_lets_some_through_at_once_and_then_one_at_a_time():
    bucket = Bucket.of(Target(per_hour=60), 0.0)
    for _ in range(6):
        assert bucket.wait(0.0) == 0
        bucket = bucket.taken(0.0)
    assert bucket.wait(0.0) == pytest.approx(60)
    assert bucket.wait(59.0) == pytest.approx(1)
    assert bucket.wait(60.0) == 0


def test_a_target_that_fails_is_left_alone_for_longer_and_longer():
    waits = [backoff(failures, 0) for failures in range(1, 20)]
    assert all(before <= after for before, after in pairwise(waits))
    assert (waits[0], waits[-1]) == (1, 300)


def test_a_receiver_that_asks_for_time_gets_it_but_not_for_ever():
    assert backoff(1, 40) == 40
    assert backoff(19, 40) == 300
    assert backoff(1, 1e9) == LONGEST_WAIT
