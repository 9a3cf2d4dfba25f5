"""Whom a check asks, since when, and in which words it says what it found."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import checks
from tradingrelease.policy.measurements import Incident, Kind, Measured, Offers, Page, Tally, Verdict
from tradingrelease.policy.model import CheckResult
from tradingrelease.policy.rules.checks import candidate_passes_its_checks

from tests.builders import NOW, a_check, a_deployment, a_pod, a_release, a_spec, parsed
from tests.unit.policy.test_checks import BAD, WELL, aims, candidate, judged_by, watched

PROMETHEUS = {"query": "up", "expect": "result > 0.0"}
LOGS = {"component": "backend", "pattern": "PANIC"}
MINUTE = timedelta(minutes=1)


# --- when it is measured ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switched", "since"), [(None, 60), (50, 60), (70, 70), (60, 60)], ids=["unknown", "later", "earlier", "then"]
)
def test_a_watch_sees_crashes_since_its_switch_was_written(switched, since):
    """It may have arrived a while after that."""
    world = a_release().live("1.0.0", hours_ago=1).world()
    live, entry = world.memory.live, world.memory.history[0]
    of_others = replace(entry, revision="another", switched=NOW - 99 * MINUTE)
    mine = replace(entry, switched=switched and NOW - switched * MINUTE)
    world = replace(world, memory=replace(world.memory, history=(of_others, mine)))
    assert checks.switched_at(world, live) == NOW - since * MINUTE


def test_nothing_is_measured_of_what_is_proven_or_whose_spec_is_gone():
    world = watched(a_check())
    live = world.memory.live
    assert checks.watched(world).during == "Watch"
    proven = replace(world.memory, live=replace(live, proven_at=NOW))
    assert checks.watched(replace(world, memory=proven)) is None
    assert checks.watched(replace(world, stored={})) is None
    assert checks.watched(replace(world, memory=replace(world.memory, live=None))) is None
    world = candidate(a_check())
    assert checks.candidate(world).during == "Verify"
    assert checks.candidate(replace(world, stored={})) is None
    assert checks.candidate(replace(world, memory=replace(world.memory, candidate=None))) is None


@pytest.mark.parametrize(
    ("fields", "seconds"), [({}, 2), ({"prometheus": PROMETHEUS}, 0), ({"logs": LOGS}, 0)], ids=["http", "query", "logs"]
)  # fmt: skip
def test_only_what_goes_through_the_data_plane_waits_for_it(fields, seconds):
    assert aims(watched(a_check(**fields)))["check"].delay == timedelta(seconds=seconds)


def test_what_candidate_and_live_have_to_pass_is_measured_side_by_side():
    world = candidate(a_check())
    live = replace(world.memory.live, proven_at=None)
    spec = parsed(a_spec("1.0.0", checks=[a_check("of-live")]))
    stored = {**world.stored, live.stack.revision: spec}
    world = replace(world, memory=replace(world.memory, live=live), stored=stored)
    assert aims(world).keys() == {"check", "of-live"}
    assert aims(world, stands=False).keys() == {"of-live"}


# --- whom it asks -----------------------------------------------------------------------------------------------------


def with_service(world, name="backend", **fields):
    return replace(world, services={**world.services, name: replace(world.services[name], **fields)})


@pytest.mark.parametrize(
    ("port", "ports", "found"),
    [
        ("http", ({"name": "grpc", "port": 9}, {"name": "http", "port": 80}), 80),
        (9, ({"name": "grpc", "port": 9}, {"name": "http", "port": 80}), 9),
        ("other", ({"name": "http", "port": 80},), 0),
    ],
)
def test_a_service_is_asked_at_the_port_that_is_named(port, ports, found):
    written = a_check(http={"service": "backend", "path": "/", "port": port})
    assert aims(with_service(watched(written), ports=ports))["check"].subject.port == found


def test_a_service_without_an_address_has_none_to_be_asked_at():
    assert aims(with_service(watched(a_check()), headless=True, cluster_ip="None"))["check"].subject.address == ""


def test_a_service_or_deployment_that_is_gone_is_not_asked():
    world = watched(a_check(), a_check("query", prometheus=PROMETHEUS), a_check("logs", logs=LOGS))
    assert aims(world).keys() == {"check", "query", "logs"}
    assert aims(replace(world, services={})).keys() == {"query", "logs"}
    gone = aims(replace(world, deployments={}))
    assert gone.keys() == {"logs"}
    assert gone["logs"].subject.containers == frozenset()


def test_of_other_components_nobody_answers_for_it():
    world = watched(a_check())
    other = a_deployment("frontend", "7.0.0")
    pod = a_pod(other)
    world = replace(world, deployments={**world.deployments, other.name: other}, pods=(*world.pods, pod))
    subject = aims(world)["check"].subject
    assert (subject.other_versions, pod.name in subject.other_pods) == ({"1.0.0"}, False)
    mine = world.deployment("backend", world.memory.live.stack.members[0].revision)
    assert not subject.other_pods & {p.name for p in world.pods_of(mine)}


def test_another_deployment_of_the_same_version_is_not_another_version():
    world = watched(a_check())
    same = {n: replace(d, created_version="2.0.0") for n, d in world.deployments.items()}
    assert aims(replace(world, deployments=same))["check"].subject.other_versions == frozenset()


@pytest.mark.parametrize(("template", "query"), [("errors", 'e{c="backend"}'), ("nosuch", "")])
def test_a_template_is_filled_in_and_one_that_is_gone_asks_nothing(template, query):
    world = watched(a_check(prometheus={"template": template, "expect": "result > 0.0"}))
    offers = Offers(prometheus=True, templates={"errors": 'e{c="$(component)"}'})
    assert aims(replace(world, offers=offers))["check"].subject.query == query


def test_a_log_is_read_from_when_its_time_begins():
    world = watched(a_check(logs=LOGS, initialDelay="30s"))
    since = checks.watched(world).since + timedelta(seconds=30)
    mine = world.pods_of(world.deployment("backend", world.memory.live.stack.members[0].revision))
    for created, young in ((since, set()), (since + timedelta(seconds=1), {mine[0].name})):
        pods = tuple(replace(p, created_at=created) if p is mine[0] else p for p in world.pods)
        subject = aims(replace(world, pods=pods))["check"].subject
        assert (subject.since, subject.young) == (since, young)
    assert {(name, box, n) for name, box, n in subject.containers} == {(p.name, "backend", 0) for p in mine}


def test_what_can_be_measured_here_is_accepted():
    written = [a_check(), a_check("query", prometheus=PROMETHEUS), a_check("logs", logs=LOGS), a_check("pods", pods={}),
               a_check("template", prometheus={"template": "errors", "expect": "result > 0.0"})]  # fmt: skip
    spec = parsed(a_spec("2.0.0", checks=written))
    world = replace(a_release().live().world(), offers=Offers(prometheus=True, templates={"errors": "e"}))
    assert checks.unmeasurable(world, spec) is None
    assert checks.unmeasurable(replace(world, services={}), spec) is None, "a Service that is missing is waited for"
    nameless = with_service(world, cluster_ip="")
    assert "has no ClusterIP" in checks.unmeasurable(nameless, spec)[1]
    bare = replace(world, offers=Offers(prometheus=True))
    assert checks.unmeasurable(bare, spec)[1].endswith("it has: none")


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_check_of_all_components_counts_for_the_first():
    raw = a_spec("2.0.0", ("backend", "frontend"), checks=[a_check(prometheus=PROMETHEUS)])
    spec = parsed(raw)
    stack = a_release("backend", "frontend").candidate("2.0.0").memory.candidate.stack
    judged = checks.Judged(stack, spec, "Verify", "scope", NOW)
    assert judged.component_of(spec.checks[0]) == "backend"
    named = parsed(a_spec("2.0.0", ("backend", "frontend"), checks=[a_check(prometheus=PROMETHEUS | {"component": "frontend"})]))  # fmt: skip
    assert judged.component_of(named.checks[0]) == "frontend"


def test_one_check_that_waits_hides_no_other():
    world = candidate(a_check("a"), a_check("b"), a_check("c"), tallies={"b": WELL})
    assert [lack.reason for lack in checks.lacking(world, checks.candidate(world))] == ["CheckPending"] * 2
    assert not list(checks.lacking(world, None))
    assert checks.failing(world, None) is None
    failed = candidate(a_check("a"), a_check("b"), tallies={"b": BAD})
    assert checks.failing(failed, checks.candidate(failed))[1] == "check b failed 2 times: HTTP 500"


def test_status_is_short_and_only_of_whom_it_shows():
    tally = Tally(failed=1, verdict=Verdict.PASSED, said="x" * 301)
    world = candidate(a_check(), a_check("dry", dryRun=True), tallies={"check": tally})
    shown = checks.in_status(world, {"candidate": {"attempt": 1}})["candidate"]["checks"]
    assert (shown[0]["message"], shown[1]["message"], shown[1]["dryRun"]) == ("x" * 300, None, True)
    assert checks.in_status(world, {"live": {"a": 1}}) == {"live": {"a": 1}}
    plain = candidate()
    assert checks.in_status(plain, {"candidate": {"attempt": 1}}) == {"candidate": {"attempt": 1}}
    world = watched(a_check(), tallies={"check": WELL})
    assert "checks" in checks.in_status(world, {"live": {"a": 1}})["live"]


def test_history_says_what_each_check_came_to():
    world = candidate(a_check(), a_check("pods", pods={}), a_check("of-watch", during=["Watch"]),
                      tallies={"check": replace(BAD, measured=Measured(1, 2, 0, 3.0))})  # fmt: skip
    assert checks.results(world, checks.candidate(world)) == (
        CheckResult("check", "Verify", Verdict.FAILED, Measured(1, 2, 0, 3.0)),
        CheckResult("pods", "Verify", Verdict.PASSED, Measured()),
    )
    assert checks.results(world, None) == ()


# --- pods -------------------------------------------------------------------------------------------------------------


def incidents(world, *kinds, seconds=30):
    """Let a pod of the judged revision have done this to itself, one after the other."""
    judged = checks.watched(world) or checks.candidate(world)
    pod = world.pods_of(world.deployment("backend", judged.stack.members[0].revision))[0]
    found = tuple(Incident(k, judged.since + timedelta(seconds=seconds + n), f"{k} {n}") for n, k in enumerate(kinds))
    return replace(world, pod_book={pod.uid: Page({"backend": 0}, incidents=found)}), judged


@pytest.mark.parametrize(
    ("pods", "kinds", "said"),
    [
        ({}, [Kind.CRASH], "1 crashes, 0 allowed: "),
        ({"restarts": 2}, [Kind.CRASH, Kind.CRASH], ""),
        ({"restarts": 1}, [Kind.CRASH, Kind.CRASH], "2 crashes, 1 allowed: "),
        ({"restarts": 2}, [Kind.CRASH, Kind.OOM_KILL], "1 OOM kills, 0 allowed: "),
        ({"restarts": 1, "oomKills": 1}, [Kind.CRASH, Kind.OOM_KILL], "2 crashes, 1 allowed: "),
        ({}, [Kind.FLAP, Kind.FLAP], ""),
        ({"readinessFlaps": 1}, [Kind.FLAP, Kind.FLAP], "2 losses of readiness, 1 allowed: "),
        ({"readinessFlaps": 2}, [Kind.FLAP, Kind.FLAP], ""),
        ({"restarts": 1, "readinessFlaps": 0}, [Kind.CRASH], ""),
    ],
)
def test_each_kind_of_incident_has_its_limit(pods, kinds, said):
    world, judged = incidents(watched(a_check(pods=pods)), *kinds)
    (check,) = judged.checks
    found = checks.exceeded(world, judged, check, check.pods)
    last = [i for i in next(iter(world.pod_book.values())).incidents
            if ("OOM" not in said or i.kind is Kind.OOM_KILL)][-1]  # fmt: skip
    assert found == (f"component backend: {said}{last.text}" if said else "")


@pytest.mark.parametrize(("seconds", "counts"), [(29, False), (30, True)])
def test_what_happens_in_the_initial_delay_is_allowed(seconds, counts):
    world, judged = incidents(watched(a_check(pods={}, initialDelay="30s")), Kind.CRASH, seconds=seconds)
    assert bool(checks.pods_failing(world, judged)) is counts


def test_a_check_of_one_component_says_nothing_of_another():
    world, judged = incidents(watched(a_check(pods={"component": "backend"})), Kind.CRASH)
    assert checks.pods_failing(world, judged)[0] == "CheckFailed"
    (check,) = judged.checks
    of_others = check.pods.model_copy(update={"component": "frontend"})
    assert checks.exceeded(world, judged, check, of_others) == ""
    assert checks.exceeded(replace(world, deployments={}), judged, check, check.pods) == ""


def test_at_the_first_release_every_component_is_the_candidates_own():
    world, judged = incidents(judged_by(a_release().candidate("2.0.0"), a_check(pods={})), Kind.CRASH)
    assert checks.pods_failing(world, judged)[0] == "CheckFailed"


def test_no_check_judges_a_candidate_whose_spec_is_gone():
    world = candidate(a_check(), tallies={"check": BAD})
    assert candidate_passes_its_checks(replace(world, stored={}), NOW) is None


def test_a_crash_of_live_is_forgiven_only_by_its_own_check_of_pods():
    live = watched().memory.live
    (member,) = live.stack.members
    for written, forgiven in (([], False), ([a_check(pods={})], True), ([a_check()], False)):
        world, _ = incidents(watched(*written), Kind.CRASH)
        live = world.memory.live
        deployment = world.deployment("backend", member.revision)
        assert (checks.crashed(world, live, member, deployment) == "") is forgiven
    world, judged = incidents(watched(a_check(pods={})), Kind.CRASH)
    (check,) = judged.checks
    other = check.model_copy(update={"pods": check.pods.model_copy(update={"component": "frontend"})})
    spec = judged.spec.model_copy(update={"checks": (other,)})
    world = replace(world, stored={**world.stored, spec.revision: spec, live.stack.revision: spec})
    assert checks.crashed(world, world.memory.live, member, deployment)
    proven = replace(world.memory.live, proven_at=NOW)
    assert checks.crashed(replace(world, memory=replace(world.memory, live=proven)), proven, member, deployment)
    flapped, _ = incidents(watched(), Kind.CRASH, Kind.OOM_KILL, Kind.FLAP)
    assert checks.crashed(flapped, flapped.memory.live, member, deployment) == f"{Kind.OOM_KILL} 1"
