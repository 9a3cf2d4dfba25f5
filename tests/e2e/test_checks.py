"""Checks on real pods: over real Services, and with a real Prometheus that scrapes them."""

import json
import re

import pytest

from tests.e2e.builders import release, template
from tests.e2e.faults import breakable, crash, crashable, feel, greedy, moody, touch
from tests.e2e.prometheus import Prometheus
from tests.e2e.scenes import WATCH, first, go_live, part, reason, rolled_back, switch_to
from tests.waiting import eventually

ORDERS = {"service": "backend", "path": "/orders", "port": "http"}
NO_ERROR = "response.status == 200 && response.json.version == release.version && !has(response.json.error)"


def orders(expect=NO_ERROR, **fields):
    """Return a check that asks for orders every two seconds."""
    return {
        "name": "orders", "interval": "2s", "timeout": "2s", "failureLimit": 2, "successLimit": 2,
        "inconclusiveLimit": 3, "http": ORDERS | {"expect": expect},
    } | fields  # fmt: skip


def query(text, expect, name="errors", **fields):
    """Return a check that asks Prometheus every two seconds."""
    asked = {"query": text, "expect": expect}
    return orders(http=None, name=name, prometheus=asked, **fields)


def well(check):
    """Return a check as the API server takes it."""
    return {key: value for key, value in check.items() if value is not None}


def checks(*written):
    return [well(check) for check in written]


def verdicts(state, of):
    """Return verdicts by name of the candidate's or live's checks."""
    return {c["name"]: c["verdict"] for c in (state.status().get(of) or {}).get("checks") or ()}


@pytest.fixture
def prometheus(arena):
    """Start a Prometheus, and the operator anew with its address."""
    found = Prometheus(arena.recorder, arena.namespace, arena.folder)
    arena.finally_(found.close)
    found.start()
    arena.operator.stop()
    arena.operator.start(TRADINGRELEASE_PROMETHEUS_URL=found.url)
    return found


# --- before the switch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mood", "words"), [("lie", "HTTP 200, expect is false"), ("hang", "no answer within 2 s"), ("broken", "HTTP 500")]
)
def test_green_whose_check_fails_never_gets_traffic(arena, mood, words):
    """Its pods are Ready and healthy; one of them answers 200 with an error in it, one not at all."""
    before = first(arena, "1", part("1", moody(version="1")))
    arena.apply(release("2", part("2", moody(version="2", mood=mood)), checks=checks(orders())))
    state = arena.until(lambda s: s.latched() == ["2"], "the check has failed", 60)
    assert reason(state, "2") == "CheckFailed"
    assert words in state.status()["latched"][0]["message"]
    assert state.selected("backend") == before.selected("backend")
    assert len(arena.switches()) == 1, "the first release"


def test_green_is_judged_and_not_blue_through_every_switch(arena):
    """Blue lies. One answer of blue taken for green's would fail the attempt, or roll back."""
    strict = checks(orders(failureLimit=1, interval="3s", timeout="3s"))  # one late answer would fail it as well
    first(arena, "1", part("1", moody(version="1", mood="lie"), replicas=2))
    watch = {"for": "20s", "deadAfter": "3s"}
    go_live(arena, "2", part("2", moody(version="2"), replicas=2), checks=strict, watch=watch)
    assert [s["cause"] for s in arena.switches()] == ["Promote", "Promote"]
    assert arena.operator.measured("http", "Failed") == 0
    assert arena.operator.measured("http", "Passed") > 5


def test_a_check_that_is_only_reported_shows_its_verdict_and_does_nothing(arena):
    first(arena, "1", part("1", moody(version="1")))
    arena.apply(
        release("2", part("2", moody(version="2", mood="lie")), watch=WATCH, checks=checks(orders(dryRun=True)))
    )
    state = arena.until(lambda s: s.live() == "2" and verdicts(s, "live") == {"orders": "Failed"}, "it is shown", 60)
    assert state.status()["live"]["checks"][0]["dryRun"] is True
    arena.never(lambda s: s.live() != "2", "version 2 is rolled back", 5)
    told = [line for line in arena.operator.metrics().splitlines() if line.startswith("tradingrelease_check_verdict{")]
    labels = f'check="orders",during="Watch",release="shop",release_namespace="{arena.namespace}",verdict="Failed"'
    assert told == [f"tradingrelease_check_verdict{{{labels}}} 1.0"]


def test_a_check_asks_as_its_author_wrote(arena):
    asked = {"method": "POST", "headers": [{"name": "X-Desk", "value": "equities"}]}
    right = orders("response.json.asked == 'POST' && response.json.desk == 'equities'")
    wrong = orders("response.json.desk == 'bonds'", name="bonds", dryRun=True)
    for check in (right, wrong):
        check["http"] |= asked
    first(arena, "1", part("1", moody(version="1")))
    arena.apply(release("2", part("2", moody(version="2")), watch=WATCH, checks=checks(right, wrong)))
    arena.until(lambda s: verdicts(s, "live") == {"orders": "Passed", "bonds": "Failed"}, "both are measured", 60)


def test_what_was_found_before_a_restart_does_not_count_after_it(arena):
    first(arena, "1", part("1", moody(version="1")))
    slow = checks(orders(interval="2s", successLimit=5))
    arena.apply(release("2", part("2", moody(version="2")), checks=slow))
    arena.until(lambda s: s.condition("CandidateVerified")["reason"] == "CheckPending", "it is being checked", 60)
    arena.operator.kill()
    arena.operator.start()
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 60)
    assert arena.operator.measured("http", "Passed") >= 10, (
        "5 before the switch and 5 after it, all by the second operator"
    )
    assert state.live() == "2"


def test_a_query_without_a_prometheus_is_refused(arena):
    first(arena, "1")
    arena.apply(release("2", checks=checks(query("up", "result > 0.0"))))
    state = arena.until(lambda s: s.seen_generation() and s.condition("Accepted")["status"] == "False", "it is refused")
    assert state.condition("Accepted")["reason"] == "PrometheusNotConfigured"


# --- in the watch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", ["lie", "hang", "broken"])
def test_green_whose_check_fails_in_its_watch_is_left_for_blue(arena, mood):
    first(arena, "1", part("1", moody(version="1"), replicas=2))
    state = switch_to(arena, "2", part("2", moody(version="2"), replicas=2), checks=checks(orders()))
    arena.until(lambda s: verdicts(s, "live") == {"orders": "Passed"}, "the check passes", 30)
    feel(arena, state.pods(state.selected("backend")), mood)
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert reason(state, "2") == "CheckFailed"
    assert "check orders failed 2 times" in state.status()["latched"][0]["message"]


def test_an_allowed_crash_is_forgiven_and_the_next_one_is_not(arena):
    stable = checks({"name": "stable", "pods": {"restarts": 1}})
    first(arena, "1", part("1"))
    state = switch_to(arena, "2", part("2", crashable(version="2"), replicas=2, health=None), checks=stable)
    one, other = state.pods(state.selected("backend"))
    crash(arena, [one])
    arena.until(
        lambda s: any(c["restartCount"] for p in s.pods(s.selected("backend")) for c in p["status"]["containerStatuses"]),
        "it is started again", 30,
    )  # fmt: skip
    arena.never(lambda s: s.live() != "2", "one crash is allowed", 4)
    crash(arena, [other])
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert "check stable failed: component backend: 2 crashes, 1 allowed" in state.status()["latched"][0]["message"]


def test_a_pod_that_is_killed_for_its_memory_rolls_back_and_says_so(arena):
    stable = checks({"name": "stable", "pods": {"restarts": 5}})
    first(arena, "1", part("1"))
    state = switch_to(arena, "2", part("2", greedy(version="2"), health=None), checks=stable)
    touch(arena, state.pods(state.selected("backend"))[0], "/tmp/eat")
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert "1 OOM kills, 0 allowed" in state.status()["latched"][0]["message"]


def test_a_pod_that_loses_its_readiness_for_a_moment_rolls_back_where_that_is_not_allowed(arena):
    steady = checks({"name": "steady", "pods": {"readinessFlaps": 0}})
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/unready"]}, "periodSeconds": 1, "failureThreshold": 1}
    pods = template(version="2", readinessProbe=probe | {"timeoutSeconds": 5})
    first(arena, "1", part("1"))
    state = switch_to(arena, "2", part("2", pods, health=None, replicas=2), checks=steady)
    touch(arena, state.pods(state.selected("backend"))[0], "/tmp/unready")
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert "1 losses of readiness, 0 allowed" in state.status()["latched"][0]["message"]


# --- Prometheus -------------------------------------------------------------------------------------------------------

GREEN = 'http_requests_total{namespace="$(namespace)", release="$(release)", path="/", revision="$(revision)"%s}'
BLUE = 'http_requests_total{namespace="$(namespace)", release="$(release)", path="/", revision!="$(revision)"%s}'
NOW = f"(sum(rate({GREEN}[5s])) or vector(0)) / sum(rate({GREEN}[5s]))" % (', code="500"', "")
BEFORE = f"(sum({BLUE}) or vector(0)) / sum({BLUE})" % (', code="500"', "")
WORSE = f"{NOW} - ({BEFORE})"
"""By how much more of green's answers of now are errors than of all that blue ever gave: it gives none any more."""


def failing_after(seconds, version):
    """Return a backend whose health nobody asks, and whose pods are well: users alone see that it fails."""
    pods = breakable(version=version, env={"FAIL_AFTER_SWITCH": seconds})
    return part(version, pods, health=None, replicas=2)


def test_green_that_answers_worse_than_blue_is_left_for_blue(arena, prometheus):
    first(arena, "1", part("1", health=None, replicas=2))
    with arena.load("backend", rate=40):
        worse = checks(query(WORSE, "result < 0.4", during=["Watch"], initialDelay="3s", failureLimit=3))
        switch_to(arena, "2", failing_after("12", "2"), checks=worse)
        arena.until(lambda s: verdicts(s, "live") == {"errors": "Passed"}, "green answers as well as blue", 30)
        state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert reason(state, "2") == "CheckFailed"
    assert re.search(
        r"check errors failed 3 times: the result is \d.*, expect is false", str(state.status()["latched"])
    )


def test_green_that_answers_as_badly_as_blue_did_stays(arena, prometheus):
    first(arena, "1", failing_after("1", "1"))
    errors = 'sum(http_requests_total{path="/", code="500"}) / sum(http_requests_total{path="/"})'
    with arena.load("backend", rate=40):
        eventually(lambda: (prometheus.value(errors) or 0) > 0.8, lambda: "blue fails nearly always", 60)
        worse = checks(query(WORSE, "result < 0.4", during=["Watch"], initialDelay="3s", failureLimit=3))
        switch_to(arena, "2", failing_after("1", "2"), checks=worse, watch={"for": "30s", "deadAfter": "3s"})
        arena.until(lambda s: verdicts(s, "live") == {"errors": "Passed"}, "green answers no worse", 30)
        measured = [
            v for names, v in arena.operator.samples("tradingrelease_check_value") if names["check"] == "errors"
        ]
        state = arena.until(lambda s: s.ready("2"), "version 2 is proven", 90)
    assert [value < 0.4 for value in measured] == [True]
    assert [entry["verdict"] for entry in state.status()["history"][0]["checks"]] == ["Passed"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 / vector(0)", "the query gives NaN"),
        ("1 / vector(0)", "the query gives +Inf"),
        ('no_such_metric{revision="$(revision)"}', "the query gives nothing and not one number"),
        ('http_requests_total{namespace="$(namespace)"}', "series and not one number"),
        ("up[1m]", "the query gives a matrix and not one number"),
        ('"zero"', "the query gives a string and not one number"),
        ("sum(", "parse error"),
    ],
)
def test_what_is_no_number_neither_passes_nor_fails(arena, prometheus, text, words):
    first(arena, "1")
    arena.apply(release("2", checks=checks(query(text, "result < 0.05 || result >= 0.05", during=["Verify"]))))
    state = arena.until(lambda s: s.condition("Stalled")["reason"] == "CheckInconclusive", "somebody is told", 60)
    assert words in state.condition("CandidateVerified")["message"]
    assert (state.live(), state.candidate()) == ("1", "2")
    arena.never(lambda s: s.live() == "2" or s.latched(), "it is taken for passed, or for failed", 3)


def test_a_prometheus_that_is_away_holds_the_watch_and_rolls_nothing_back(arena, prometheus):
    first(arena, "1")
    up = 'min(up{namespace="$(namespace)", revision="$(revision)"})'
    watch = {"for": "3s", "deadAfter": "3s"}
    prometheus.end()
    arena.apply(release("2", checks=checks(query(up, "result == 1.0", during=["Watch"])), watch=watch))
    state = arena.until(lambda s: s.condition("Stalled")["reason"] == "CheckInconclusive", "somebody is told", 60)
    assert "Prometheus gave no answer" in state.condition("Stalled")["message"]
    arena.never(lambda s: s.live() != "2" or s.ready("2"), "it is rolled back, or proven", 5)
    prometheus.start()
    arena.until(lambda s: s.ready("2"), "version 2 is proven", 60)


def test_a_version_is_escaped_and_not_pasted(arena, prometheus):
    """Pasted, this one would be a regular expression that does not match itself."""
    odd = "2.0+b.7"
    prometheus.labels["odd"] = odd
    named = 'count(up{namespace="$(namespace)", revision="$(revision)", odd=~"$(version)"})'
    templates = arena.folder / "templates.json"
    templates.write_text(json.dumps({"named": named}))
    arena.operator.stop()
    arena.operator.start(
        TRADINGRELEASE_PROMETHEUS_URL=prometheus.url, TRADINGRELEASE_PROMETHEUS_TEMPLATES=str(templates)
    )
    first(arena, "1")
    check = orders(http=None, prometheus={"template": "named", "expect": "result == 1.0"})
    state = go_live(arena, odd, checks=checks(check))
    assert {entry["verdict"] for entry in state.status()["history"][0]["checks"]} == {"Passed"}
