"""What findings add up to, whom they are about, and what they do to the candidate and to live."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy import checks
from tradingrelease.policy.accept import problem
from tradingrelease.policy.decide import decide
from tradingrelease.policy.measurements import Finding, Offers, Tally, Verdict, counted, matters, passes
from tradingrelease.policy.model import Ask, Rest, scope
from tradingrelease.policy.rules.candidate import first_pending
from tradingrelease.policy.rules.checks import candidate_passes_its_checks, live_can_be_judged
from tradingrelease.policy.spec import parse

from tests.builders import KEY, NOW, a_check, a_container, a_release, a_spec, parsed

FINDINGS = st.sampled_from([Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE])
WELL, BAD, SILENT = (Tally(passed=9), Tally(failed=2, verdict=Verdict.FAILED, said="HTTP 500"),
                     Tally(inconclusive=2, verdict=Verdict.INCONCLUSIVE, said="no connection"))  # fmt: skip


def a_parsed_check(**fields):
    return parsed(a_spec(checks=[a_check(**fields)])).checks[0]


def told(findings, check):
    tally = Tally()
    for number, verdict in enumerate(findings):
        tally = counted(tally, Finding(verdict, f"finding {number}"), check)
    return tally


# --- arithmetic -------------------------------------------------------------------------------------------------------


@given(st.lists(FINDINGS, max_size=30), st.integers(1, 5))
def test_a_check_passes_only_by_so_many_findings_in_a_row_that_all_passed(findings, limit):
    check = a_parsed_check(successLimit=limit)
    last = findings[-limit:]
    assert passes(told(findings, check), check) is (len(last) == limit and set(last) == {Verdict.PASSED})


@given(st.lists(FINDINGS, max_size=30), st.integers(1, 5))
def test_a_check_fails_only_by_so_many_failures_with_nothing_that_passed_in_between(findings, limit):
    check = a_parsed_check(failureLimit=limit, successLimit=100, inconclusiveLimit=100)
    runs, run = [0], 0
    for verdict in findings:
        run = {Verdict.PASSED: 0, Verdict.FAILED: run + 1, Verdict.INCONCLUSIVE: run}[verdict]
        runs.append(run)
    assert (told(findings, check).verdict is Verdict.FAILED) is (max(runs) >= limit)


@given(st.lists(st.sampled_from([Verdict.FAILED, Verdict.INCONCLUSIVE]), max_size=30), st.integers(1, 5))
def test_what_never_passed_is_never_a_passed_check(findings, limit):
    check = a_parsed_check(successLimit=limit, failureLimit=limit, inconclusiveLimit=limit)
    tally = told(findings, check)
    assert tally.verdict is not Verdict.PASSED
    assert not passes(tally, check)


@given(st.lists(FINDINGS, max_size=30))
def test_words_of_a_verdict_stay_while_the_verdict_stays(findings):
    check, tally = a_parsed_check(), Tally()
    for number, verdict in enumerate(findings):
        after = counted(tally, Finding(verdict, f"finding {number}"), check)
        assert (after.said == tally.said) is (after.verdict is tally.verdict)
        tally = after


# --- whom it is about -------------------------------------------------------------------------------------------------


def asking(*written, version="2.0.0", components=("backend",)):
    return a_spec(version, components, checks=list(written))


def judged_by(builder, *written, version="2.0.0", components=("backend",), tallies=None, **changes):
    """Let the checks written here judge what the builder made of a version, candidate or live."""
    world = builder.having(**changes).world()
    plain = parsed(a_spec(version, components))
    spec = parsed(asking(*written, version=version, components=components))

    def renamed(role):
        same = role and role.stack.revision == plain.revision
        return replace(role, stack=replace(role.stack, revision=spec.revision)) if same else role

    memory = world.memory
    memory = replace(memory, live=renamed(memory.live), candidate=renamed(memory.candidate))
    where = scope(spec.revision, memory.candidate.attempt if memory.candidate else None)
    streaks = {(where, uid): streak for (_, uid), streak in world.streaks.items()}
    held = {(where, name): tally for name, tally in (tallies or {}).items()}
    stored = dict(world.stored) | {spec.revision: spec}
    world = replace(world, memory=memory, spec=spec, stored=stored, streaks=streaks, tallies=held)
    return replace(world, offers=Offers(prometheus=True))


def candidate(*written, **more):
    return judged_by(a_release().live("1.0.0").candidate("2.0.0", verified=True), *written, **more)


def watched(*written, **more):
    builder = a_release().live("2.0.0", hours_ago=0.05, proven=False).retained("1.0.0")
    return judged_by(builder, *written, **more)


def aims(world, *, stands=True):
    return {m.check.name: m for m in checks.wanted(world, stands=stands)}


def test_a_candidate_is_asked_at_its_preview_and_live_at_its_service():
    assert "backend-preview" in candidate(a_check()).services
    world = candidate(a_check())
    preview = replace(world.services["backend-preview"], cluster_ip="10.96.0.9")
    world = replace(world, services=dict(world.services) | {preview.name: preview})
    assert aims(world)["check"].subject.address == "10.96.0.9"
    assert aims(watched(a_check()))["check"].subject.address == "10.96.0.1"


def test_nothing_is_measured_of_a_candidate_that_does_not_stand():
    assert not aims(candidate(a_check()), stands=False)


def test_a_check_is_measured_only_in_its_phases():
    assert not aims(candidate(a_check(during=["Watch"])))
    assert not aims(watched(a_check(during=["Verify"])))


def test_an_answer_of_the_data_plane_is_waited_for_after_the_switch_was_read_back():
    world = watched(a_check(initialDelay="30s"))
    assert aims(world)["check"].delay == timedelta(seconds=32)
    assert not aims(replace(world, since={})), "the switch is not read back yet"
    where = scope(world.memory.live.stack.revision, None)
    begun = replace(world, since={}, tallies={(where, "check"): Tally(failed=1)})
    assert aims(begun), "what has begun goes on while live has no endpoint"


def test_a_service_that_leads_elsewhere_is_not_asked():
    world = watched(a_check())
    service = world.services["backend"]
    elsewhere = replace(service, selector=dict(service.selector) | {"tradingplatform.io/revision": "other"})
    assert not aims(replace(world, services={"backend": elsewhere}))


def test_a_service_without_our_mark_is_not_asked():
    world = watched(a_check())
    assert not aims(replace(world, services={"backend": replace(world.services["backend"], labels={})}))


def test_who_else_may_answer_is_known():
    subject = aims(watched(a_check()))["check"].subject
    assert (subject.version, subject.other_versions) == ("2.0.0", {"1.0.0"})
    assert len(subject.other_pods) == 2


def test_of_pods_made_since_then_the_whole_log_counts_whatever_their_clocks_say():
    world = watched(a_check(logs={"component": "backend", "pattern": "PANIC"}))
    live = world.memory.live
    mine = world.pods_of(world.deployment("backend", live.stack.members[0].revision))
    later = replace(mine[0], created_at=live.since + timedelta(seconds=1))
    world = replace(world, pods=tuple(later if pod is mine[0] else pod for pod in world.pods))
    subject = aims(world)["check"].subject
    assert {name for name, *_ in subject.containers} == {pod.name for pod in mine}
    assert subject.young == {later.name}


def test_a_query_is_told_whom_it_is_about():
    query = 'up{r="$(release)", c="$(component)", v="$(version)", n="$(namespace)", rev=~"$(revision)"}'
    world = candidate(a_check(prometheus={"query": query, "expect": "result > 0.0"}))
    revision = world.memory.candidate.stack.members[0].revision
    assert aims(world)["check"].subject.query == (
        f'up{{r="shop", c="backend", v="2.0.0", n="production", rev=~"{revision}"}}'
    )


# --- what cannot be measured here is not accepted --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "offers", "service", "reason", "advice"),
    [
        (
            {"prometheus": {"query": "up", "expect": "result > 0.0"}}, Offers(), {},
            "PrometheusNotConfigured", "set TRADINGRELEASE_PROMETHEUS_URL",
        ),
        (
            {"prometheus": {"template": "errors", "expect": "result > 0.0"}}, Offers(True, {"latency": "up"}), {},
            "InvalidCheck", "has no template 'errors'; it has: latency",
        ),
        ({}, Offers(), {"headless": True, "cluster_ip": "None"}, "InvalidCheck", "has no ClusterIP to be asked at"),
        ({}, Offers(), {"ports": ({"name": "grpc", "port": 9},)}, "InvalidCheck", "has no port 'http'"),
    ],
)  # fmt: skip
def test_a_check_that_cannot_be_measured_is_refused(check, offers, service, reason, advice):
    spec = parse(asking(a_check(**check)), KEY.name)
    world = replace(a_release().live("1.0.0").world(), offers=offers)
    changed = replace(world.services["backend"], **service)
    found = problem(replace(world, services={"backend": changed}), spec)
    assert found
    assert found.reason == reason
    assert advice in found.message


# --- what it does -----------------------------------------------------------------------------------------------------


def test_a_candidate_whose_checks_pass_lacks_nothing():
    assert first_pending(candidate(a_check(), tallies={"check": WELL})) is None


@pytest.mark.parametrize(
    "tally", [Tally(), Tally(passed=1), Tally(passed=0, failed=1, verdict=Verdict.PASSED, said="HTTP 200")]
)
def test_a_candidate_waits_for_its_checks(tally):
    lacking = first_pending(candidate(a_check(), tallies={"check": tally}))
    assert lacking.reason == "CheckPending"
    assert lacking.component == "backend", "so that its deadline counts"


def test_what_was_found_in_another_attempt_counts_nothing():
    world = candidate(a_check(), tallies={"check": WELL})
    again = replace(world.memory.candidate, attempt=2)
    lacking = list(checks.lacking(world, checks.candidate(world)))
    world = replace(world, memory=replace(world.memory, candidate=again))
    assert (lacking, len(list(checks.lacking(world, checks.candidate(world))))) == ([], 1)


def test_a_failed_check_ends_the_attempt():
    decision = decide(candidate(a_check(), tallies={"check": BAD}), NOW)
    assert (decision.rule, decision.reason) == ("candidate_passes_its_checks", "CheckFailed")
    assert [(n.reason, n.warning) for n in decision.notes] == [("CheckFailed", True)]
    assert decision.memory.candidate is None
    assert decision.memory.latched[0].message == "check check failed 2 times: HTTP 500"


def test_a_check_that_nobody_can_judge_waits_and_says_so():
    world = candidate(a_check(), tallies={"check": SILENT})
    lacking = first_pending(world)
    assert (lacking.reason, lacking.stalled) == ("CheckInconclusive", True)
    assert lacking.message == "check check could not be judged 2 times in a row: no connection"
    assert decide(world, NOW).memory is None


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE])
def test_measurements_that_change_no_verdict_change_no_word_of_status(verdict):
    """Values differ at every measurement; what is decided, and so every condition, does not."""
    check, tally = a_parsed_check(failureLimit=9, inconclusiveLimit=2, successLimit=9), Tally()
    told = {}
    for number in range(8):
        before, tally = tally, counted(tally, Finding(verdict, f"the result is 0.{number}", number / 10), check)
        assert matters(before, tally, check) is (before.verdict is not tally.verdict)
        written = a_check(failureLimit=9, inconclusiveLimit=2, successLimit=9)
        said = [decide(world(written, tallies={"check": tally}), NOW + timedelta(hours=1)).because
                for world in (candidate, watched)]  # fmt: skip
        told.setdefault(tally.verdict, set()).add(tuple(said))
    assert all(len(said) == 1 for said in told.values())


@pytest.mark.parametrize("tally", [BAD, SILENT, Tally()])
def test_a_check_that_is_only_reported_holds_up_nothing(tally):
    world = candidate(a_check(dryRun=True), tallies={"check": tally})
    assert first_pending(world) is None
    assert decide(world, NOW).reason == "Switching"
    live = watched(a_check(dryRun=True), tallies={"check": tally})
    assert decide(live, NOW + timedelta(hours=1)).reason == "Proven"


def test_a_failed_check_in_the_watch_goes_the_way_of_health_and_asks_blue_first():
    decision = decide(watched(a_check(), tallies={"check": BAD}), NOW)
    assert isinstance(decision.step, Ask)
    assert "check check failed 2 times: HTTP 500" in decision.because


@pytest.mark.parametrize("tally", [SILENT, Tally(), Tally(passed=1)])
def test_the_watch_does_not_end_before_its_checks_pass(tally):
    world = watched(a_check(), tallies={"check": tally})
    decision = decide(world, NOW + timedelta(hours=1))
    assert isinstance(decision.step, Rest)
    assert decision.memory is None
    assert decision.rule == "live_can_be_judged"


@pytest.mark.parametrize(
    ("tally", "before", "since"), [(SILENT, ("CheckInconclusive", True), True), (Tally(), None, False)]
)
def test_what_keeps_live_from_being_proven_is_said_at_its_time(tally, before, since):
    """At once where nobody can judge it; else its time is not over yet."""
    world = watched(a_check(), tallies={"check": tally})
    end = world.memory.live.watch_since + checks.watched(world).spec.watch.for_
    early = live_can_be_judged(world, end - timedelta(milliseconds=1))
    assert (early and (early.reason, early.stalled)) == before
    late = live_can_be_judged(world, end)
    assert (late.reason, late.stalled) == ("CheckInconclusive" if since else "CheckPending", since)
    assert (late.rule, late.look_again) == ("live_can_be_judged", timedelta(seconds=10))


def test_what_stalls_is_named_before_what_is_only_late():
    world = watched(a_check("a"), a_check("b"), tallies={"b": SILENT})
    assert "check b could not be judged" in live_can_be_judged(world, NOW + timedelta(hours=1)).because


def test_status_shows_verdicts_and_not_what_was_measured_last():
    tally = Tally(failed=1, verdict=Verdict.PASSED, said="the result is 0.01, expect is true")
    status = checks.in_status(candidate(a_check(), tallies={"check": tally}), {"candidate": {"attempt": 1}, "live": {}})
    shown = {"name": "check", "verdict": "Passed", "message": "the result is 0.01, expect is true", "dryRun": None}
    assert status["candidate"]["checks"] == [shown]


# --- pods -------------------------------------------------------------------------------------------------------------


def crashed(times, died="Error", ago=1.0):
    at = NOW - timedelta(minutes=ago)
    return a_container(restarts=times, died=died, exit_code=137, died_at=at)


def with_crash(world, container, **pod):
    live = world.memory.live.stack.members[0].revision
    first = next(p for p in world.pods if p.labels["tradingplatform.io/revision"] == live)
    return replace(
        world, pods=tuple(replace(p, containers=(container,), **pod) if p is first else p for p in world.pods)
    )


def test_no_crash_is_allowed_in_the_watch_where_nothing_is_written():
    decision = decide(with_crash(watched(), crashed(1)), NOW)
    assert "component backend crashed in its watch: pod " in decision.because


@pytest.mark.parametrize(
    ("pods", "container", "fails"),
    [
        ({"restarts": 1}, crashed(1), False),
        ({"restarts": 1}, crashed(2), True),
        ({"restarts": 9}, crashed(1, "OOMKilled"), True),
        ({"restarts": 9, "oomKills": 1}, crashed(1, "OOMKilled"), False),
        ({"restarts": 0}, crashed(1, ago=9), False),
        ({"restarts": 0}, crashed(1, "ContainerStatusUnknown"), False),
        ({"component": "backend"}, crashed(1), True),
    ],
)
def test_a_check_of_pods_says_what_is_allowed(pods, container, fails):
    """The pods were made in the watch, which began 3 minutes ago; a crash 9 minutes ago was before it."""
    world = watched(a_check(pods=pods))
    born = NOW - timedelta(minutes=2)
    found = decide(with_crash(world, container, created_at=born), NOW)
    assert isinstance(found.step, Ask) is fails
    assert ("check check failed: component backend: " in found.because) is fails


def test_a_check_of_pods_that_is_only_reported_forgives_every_crash():
    world = with_crash(watched(a_check(pods={}, dryRun=True)), crashed(7))
    assert not isinstance(decide(world, NOW).step, Ask)
    assert next(checks.shown(world, checks.watched(world))).verdict is Verdict.FAILED


def test_a_check_of_pods_before_the_switch_does_not_forgive_a_crash_after_it():
    decision = decide(with_crash(watched(a_check(pods={"restarts": 5}, during=["Verify"])), crashed(1)), NOW)
    assert "crashed in its watch" in decision.because


PAIR = ("backend", "frontend")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("written", [{}, {"logs": {"component": "backend", "pattern": "PANIC"}}], ids=["http", "logs"])
def test_answers_and_logs_of_a_component_that_live_shares_judge_no_candidate(written, shared):
    """They fail what only goes along, and a fix of what they complain of could not be switched to."""
    written = a_check(**written)
    builder = a_release(*PAIR).live("1.0.0").candidate("2.0.0", verified=True)
    world = judged_by(builder, written, components=PAIR)
    green, live = world.memory.candidate.stack, world.memory.live
    if shared:
        members = (green.member("backend"), live.stack.member("frontend"))
        live = replace(live, stack=replace(live.stack, members=members))
        world = replace(world, memory=replace(world.memory, live=live))
    failed = replace(world, tallies={(scope(green.revision, 1), "check"): BAD})
    assert bool(aims(world)) is not shared
    assert bool(checks.failing(failed, checks.candidate(failed))) is not shared
    assert bool(list(checks.lacking(world, checks.candidate(world)))) is not shared
    assert bool(list(checks.shown(world, checks.candidate(world)))) is not shared


def test_a_query_is_asked_whoever_runs_the_component():
    """It may be about more than these pods: the errors that users see."""
    query = {"component": "backend", "query": "up", "expect": "result == 1.0"}
    world = candidate(a_check(prometheus=query))
    live = replace(
        world.memory.live, stack=replace(world.memory.live.stack, members=world.memory.candidate.stack.members)
    )
    assert aims(replace(world, memory=replace(world.memory, live=live)))


@pytest.mark.parametrize("shared", [False, True])
def test_a_crash_of_a_component_that_live_shares_is_no_fault_of_the_candidate(shared):
    world = candidate(a_check(pods={}, initialDelay="0s"))
    stack = world.memory.candidate.stack
    mine = next(p for p in world.pods if p.labels["tradingplatform.io/revision"] == stack.members[0].revision)
    crash = replace(mine, containers=(crashed(1, ago=0.5),), created_at=NOW)
    world = replace(world, pods=tuple(crash if pod is mine else pod for pod in world.pods))
    if shared:
        live = replace(world.memory.live, stack=replace(world.memory.live.stack, members=stack.members))
        world = replace(world, memory=replace(world.memory, live=live))
    judged = checks.candidate(world)
    assert bool(checks.pods_failing(world, judged)) is not shared
    assert [s.verdict for s in checks.shown(world, judged)] == [Verdict.PASSED if shared else Verdict.FAILED]
    decision = candidate_passes_its_checks(world, NOW)
    assert (decision and (decision.reason, decision.memory.candidate)) == (None if shared else ("CheckFailed", None))
