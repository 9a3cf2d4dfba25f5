"""How an answer is judged, what is counted, and which addresses are never asked."""

import pytest
from tradingrelease.cluster.probe import BODY_LIMIT, Verdict, _changed, counted, forbidden, judge
from tradingrelease.policy.model import Streak, Target

from tests.builders import a_component, a_health, a_spec, parsed


def target(expect=None):
    """Return a target whose component revision was first deployed as version 2.0.0."""
    health = a_health(expect=expect) if expect else a_health()
    component = parsed(a_spec(components=(a_component(health=health),))).components[0]
    return Target("scope", "uid", "pod", "10.0.0.1", "192.168.0.1", 8080, component.health, "2.0.0")


@pytest.mark.parametrize(
    ("status", "passes"), [(200, True), (204, True), (302, True), (399, True), (400, False), (503, False), (199, False)]
)
def test_without_an_expression_the_status_decides(status, passes):
    assert judge(target(), status, b"") == Verdict(passes, f"HTTP {status}")


@pytest.mark.parametrize(
    ("expect", "body", "passes"),
    [
        ("response.status == 200 && response.json.version == release.version", b'{"version": "2.0.0"}', True),
        ("response.status == 200 && response.json.version == release.version", b'{"version": "1.0.0"}', False),
        ("response.body == 'ok'", b"ok", True),
        ("response.json == null", b"not json", True),
    ],
)
def test_an_expression_sees_the_answer_and_the_version(expect, body, passes):
    assert judge(target(expect), 200, body).passed is passes


@pytest.mark.parametrize(
    "expect", ["response.json.version == 'x'", "response.json.a.b.c", "response.json[9] == 1", "1 / 0 == 1"]
)
def test_an_expression_that_cannot_be_evaluated_fails_and_raises_nothing(expect):
    verdict = judge(target(expect), 200, b"[]")
    assert not verdict.passed
    assert verdict.said.startswith("HTTP 200, expect ")


def test_an_expression_that_gives_no_truth_fails():
    assert judge(target("response.status"), 200, b"").said == "HTTP 200, expect gives int, not true or false"


def test_what_the_body_says_stays_here():
    assert "secret" not in judge(target("response.json.token == ''"), 500, b'{"token": "secret"}').said


def test_a_body_without_end_fails():
    assert not judge(target(), 200, b"x" * (BODY_LIMIT + 1)).passed


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("10.0.0.7", ""),
        ("fd12:3456::7", ""),
        ("192.168.0.1", "it is the node's own address"),
        ("127.0.0.1", "it is a loopback"),
        ("::1", "it is a loopback"),
        ("169.254.169.254", "it is a loopback, link-local"),
        ("fe80::1", "it is a loopback, link-local"),
        ("224.0.0.1", "it is a loopback, link-local, multicast"),
        ("0.0.0.0", "it is a loopback, link-local, multicast or unspecified"),  # noqa: S104 - not bound to
        ("fd00:ec2::254", "it is a metadata service"),
        ("::ffff:127.0.0.1", "it is a loopback"),
        ("::ffff:169.254.169.254", "it is a loopback"),
        ("example.com", "'example.com' is no address"),
        ("", "'' is no address"),
    ],
)
def test_an_address_that_is_no_pods_is_not_asked(ip, why):
    said = forbidden(ip, "192.168.0.1")
    assert said.startswith(why)
    assert bool(said) == bool(why)


def test_passes_and_failures_count_in_a_row():
    good, bad = Verdict(passed=True, said="HTTP 200"), Verdict(passed=False, said="HTTP 500")
    streak = Streak()
    seen = []
    for verdict in (good, good, bad, bad, good):
        streak = counted(streak, verdict)
        seen.append((streak.passed, streak.failed))
    assert seen == [(1, 0), (2, 0), (0, 1), (0, 2), (1, 0)]


def test_the_silence_of_a_node_is_no_failure_of_the_code_but_ends_a_pass():
    silence = Verdict(passed=False, said="no connection", reached=False)
    assert counted(Streak(passed=3), silence) == Streak(unreachable=1, last="no connection")
    assert counted(Streak(failed=1), silence) == Streak(failed=1, unreachable=1, last="no connection")


def test_brackets_without_an_end_are_no_json():
    """An error here would end the probing of that pod for ever."""
    assert judge(target("response.json == null"), 200, b"[" * 60_000).passed


@pytest.mark.parametrize(
    ("before", "after", "wakes"),
    [
        (Streak(passed=1), Streak(passed=2, last="HTTP 200"), True),
        (Streak(passed=2), Streak(passed=3, last="HTTP 200"), False),
        (Streak(), Streak(passed=1, last="HTTP 200"), False),
        (Streak(failed=1, last="HTTP 500"), Streak(failed=2, last="HTTP 500"), True),
        (Streak(failed=2, last="HTTP 500"), Streak(failed=3, last="HTTP 500"), False),
        (Streak(passed=2, last="x"), Streak(failed=1, last="x"), True),
        (Streak(passed=1, last="x"), Streak(failed=1, last="x"), False),
        (Streak(failed=3, last="HTTP 500"), Streak(failed=4, last="HTTP 503"), True),
    ],
    ids=[
        "it passes now",
        "it passed before",
        "one pass is not enough",
        "it fails now",
        "it failed before",
        "it passes no more",
        "it never passed",
        "it says something else",
    ],
)
def test_a_verdict_wakes_the_release_only_where_something_may_follow(before, after, wakes):
    """With two good answers, or two bad ones, in a row; else a release would be looked at with every probe."""
    assert _changed(before, after, target().health) is wakes


def test_a_body_of_just_the_limit_is_judged():
    assert judge(target(), 200, b"x" * BODY_LIMIT).passed
    assert BODY_LIMIT == 65536
