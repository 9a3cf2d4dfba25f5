"""A freeze holds starts and switches on a real cluster, and never a rollback; people see why, until when, and who lifted it."""

from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from tradingrelease.calendars import manifests
from tradingrelease.policy.calendars import Calendar

from devcluster.crds import wait_until_established
from tests.e2e.builders import HEALTH, component, release, template
from tests.e2e.faults import breakable, kubectl, spoil

CRD = Path(__file__).resolve().parents[2] / "crds" / "releasefreezes.yaml"
SLOW = HEALTH | {"successThreshold": 12}
"""Verifies for a dozen seconds: time to declare a freeze in."""


def freeze(name="quarter-close", **spec):
    body = {"reason": "quarter close", "author": "risk"} | spec
    return {
        "apiVersion": "tradingplatform.io/v1alpha1",
        "kind": "ReleaseFreeze",
        "metadata": {"name": name},
        "spec": body,
    }


def between(arena, seconds, begin=0):
    """Return a span by the API server's clock, as its author would write it."""
    raw = arena.api.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "clock-"}}, dryRun="All"
    )
    now = datetime.fromisoformat(raw["metadata"]["creationTimestamp"])
    clock = [(now + timedelta(seconds=after)).isoformat() for after in (begin, begin + seconds)]
    return {"from": clock[0], "to": clock[1]}


def told(arena, name, holds, what, seconds=20.0):
    """Wait until a freeze says something of itself."""
    arena.poll(lambda: holds((arena.api.get("ReleaseFreeze", name) or {}).get("status") or {}), what, seconds)
    return arena.api.get("ReleaseFreeze", name)["status"]


def frozen(version):
    return lambda s: s.candidate() == version and s.condition("Ready")["reason"] == "Frozen"


def test_a_freeze_holds_the_start_and_at_its_end_all_goes_on_by_itself(arena):
    first = arena.go_live("1").selected("backend")
    span = between(arena, 40)
    arena.apply(freeze(between=span))
    told(arena, "quarter-close", lambda s: s.get("active"), "the freeze says that it holds")
    arena.apply(release("2"))
    state = arena.until(frozen("2"), "version 2 waits", 20)
    said = state.condition("Ready")["message"]
    assert "by ReleaseFreeze quarter-close" in said
    assert said.endswith("quarter close")
    assert state.status()["phase"] == "Frozen"
    assert not [d for d in state.deployments() if d["metadata"]["annotations"].get("tradingplatform.io/version") == "2"]
    arena.settled(5)
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 90)
    assert state.selected("backend") != first
    assert told(arena, "quarter-close", lambda s: s.get("active") is False, "the freeze says that it is over")
    assert len(arena.said("Frozen")) == 1
    moved = [s for s in arena.switches() if s["cause"] == "Promote" and s["to"] == state.status()["live"]["revision"]]
    assert moved[0]["at"] >= datetime.fromisoformat(span["to"]).strftime("%Y-%m-%dT%H:%M:%S")


def test_a_freeze_that_begins_during_verify_stops_before_the_switch_and_two_people_lift_it(arena):
    first = arena.go_live("1").selected("backend")
    arena.apply(release("2", component(health=SLOW)))
    arena.until(lambda s: s.candidate() == "2" and s.is_true("CandidateAvailable"), "version 2 is verified")
    arena.apply(freeze(overrideRequires=2, between=between(arena, 3600)))
    state = arena.until(lambda s: frozen("2")(s) and s.is_true("CandidateVerified"), "it is verified and waits", 60)
    assert state.status()["candidate"]["held"] == "Switch"
    assert state.selected("backend") == first
    revision = state.status()["candidate"]["revision"]
    named = {"freeze": "quarter-close", "reason": "the fix of the outage"}
    one = arena.order_as("jane", "Override", revision, **named)
    state = arena.until(lambda s: s.order(one).get("phase") == "Done", "the first is taken")
    assert "1 of 2 people" in state.order(one)["message"]
    again = arena.order_as("jane", "Override", revision, issuedBy="john", **named)
    arena.until(lambda s: s.order(again).get("phase") in {"Done", "Refused"}, "she cannot sign as john")
    arena.never(lambda s: s.selected("backend") != first, "one person lifts it", 3)
    arena.order_as("john", "Override", revision, **named)
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 60)
    (kept,) = state.status()["overrides"]
    assert [p["by"] for p in kept["people"]] == ["jane", "john"]
    status = told(
        arena,
        "quarter-close",
        lambda s: len((s.get("overrides") or [{}])[0].get("people", ())) == 2,
        "the freeze lists it",
    )
    assert status["active"]
    assert status["overrides"][0]["release"] == "shop"


def test_a_rollback_does_not_ask_whether_there_is_a_freeze(arena):
    first = arena.go_live("1").selected("backend")
    arena.apply(release("2", component(pods=breakable(version="2")), watch={"for": "10m", "deadAfter": "3s"}))
    state = arena.until(lambda s: s.live() == "2", "version 2 is live", 60)
    arena.apply(freeze(between=between(arena, 3600)))
    told(arena, "quarter-close", lambda s: s.get("active"), "the freeze says that it holds")
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: s.live() == "1" and s.selected("backend") == first, "version 1 is live again", 40)
    arena.apply(release("2", component(pods=template(version="2a")), watch={"for": "3s", "deadAfter": "3s"}))
    arena.until(frozen("2"), "the next one waits", 20)


def test_a_calendar_is_read_by_its_name_alone_and_what_it_does_not_know_is_frozen(arena):
    arena.go_live("1")
    arena.apply(freeze("nyse", calendar={"name": "xnys", "sessions": "Open"}))
    status = told(arena, "nyse", lambda s: s.get("conditions"), "it speaks")
    assert status["active"]
    assert {c["type"]: c["reason"] for c in status["conditions"]}["CalendarCurrent"] in {"Forbidden", "Missing"}
    arena.apply(release("2"))
    arena.until(frozen("2"), "version 2 waits", 20)
    today = datetime.fromisoformat(between(arena, 1)["from"]).date()
    begins, ends = (datetime.combine(day, datetime.min.time(), UTC) for day in (today - timedelta(1), date(2099, 1, 1)))
    holidays = Calendar("XNYS", begins, ends, ())
    arena.apply(*manifests(holidays, "xnys", arena.namespace))
    arena.until(lambda s: s.ready("2"), "the market is closed: version 2 goes live", 90)
    status = told(arena, "nyse", lambda s: s.get("active") is False, "it says that it holds no more")
    assert status["conditions"][1]["reason"] == "Current"
    ((labels, at),) = arena.operator.samples("tradingrelease_calendar_end_timestamp_seconds")
    assert (labels["calendar"], at) == ("xnys", ends.timestamp()), "alerts are made of it, days ahead"


def install(arena):
    kubectl(arena, "apply", "--server-side", "--force-conflicts", f"--filename={CRD}")
    wait_until_established(partial(kubectl, arena), f"--filename={CRD}")


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_an_operator_that_is_newer_than_the_crds_works_and_takes_freezes_up_once_they_are_installed(arena):
    """An upgrade may bring the operator first. Alone: the CRD is the cluster's."""
    arena.operator.stop()
    arena.finally_(lambda: install(arena))
    kubectl(arena, "delete", "--wait=true", "--timeout=60s", f"--filename={CRD}")
    arena.operator.start(TRADINGRELEASE_AUDIT_SECONDS="2")
    arena.go_live("1")
    assert "their CRD is not installed: there are none" in arena.operator.log.read_text()
    install(arena)
    arena.poll(lambda: not arena.operator.runs, "it ends, to be started anew", 60)
    assert arena.operator.stop() == 1
    arena.operator.start()
    arena.apply(freeze(between=between(arena, 3600)))
    told(arena, "quarter-close", lambda s: s.get("active"), "the freeze says that it holds")
    arena.apply(release("2"))
    arena.until(frozen("2"), "version 2 waits", 30)
