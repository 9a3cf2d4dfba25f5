"""From a spec to its candidate, and from the candidate to live: every gate, and every way to fail (product.md 4.3 to 4.6)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import names
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import (
    CreateDeployment,
    CreatePreview,
    DeletePreview,
    Latched,
    PatchPreview,
    Rest,
    Retire,
    Scale,
    Settings,
    Streak,
    Switch,
    scope,
)
from tradingrelease.policy.reasons import Cause, Outcome
from tradingrelease.policy.rules import candidate as rules
from tradingrelease.policy.rules.candidate import (
    candidate_is_deployed,
    candidate_may_fail,
    pending,
    settings_are_remembered,
    spec_has_its_candidate,
    spec_is_accepted,
    traffic_is_on_the_candidate,
)

from tests.builders import (
    NOW,
    UID,
    a_component,
    a_container,
    a_deployment,
    a_health,
    a_pod,
    a_release,
    a_service,
    a_spec,
    a_stack,
    endpoints_of,
    parsed,
    rejected,
)

PAIR = ("backend", "frontend")
BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")
V1, V2, V3 = (a_stack(version) for version in ("1.0.0", "2.0.0", "3.0.0"))
TYPO = rejected({"version": "oops"})


def minutes(number):
    return timedelta(minutes=number)


def remembering(world, **changes):
    return replace(world, memory=replace(world.memory, **changes))


def deployment(world, found, **changes):
    changed = replace(world.deployments[found.name], **changes)
    return replace(world, deployments={**world.deployments, found.name: changed})


def green(world, **changes):
    """Change the pods of the candidate."""
    pods = tuple(replace(p, **changes) if p.deployment_uid == GREEN.uid else p for p in world.pods)
    return replace(world, pods=pods)


def prepared(**fields):
    """Return a world in which 2.0.0 is asked for, its Deployment stands and all pods are ready."""
    return a_release().live("1.0.0").candidate("2.0.0", **fields).world()


VERIFIED = a_release().live("1.0.0").candidate("2.0.0", verified=True).world()


# --- accept -----------------------------------------------------------------------------------------------------------


def test_a_spec_that_does_not_parse_is_refused_and_one_that_does_is_not():
    assert spec_is_accepted(replace(VERIFIED, spec=TYPO), NOW).refused == (TYPO.reason, TYPO.message)
    assert spec_is_accepted(replace(VERIFIED, services={}), NOW).refused[0] == "ServiceMissing"
    assert {spec_is_accepted(replace(VERIFIED, **c), NOW).rule for c in ({"spec": TYPO}, {"services": {}})} == {
        "spec_is_accepted"
    }
    assert spec_is_accepted(VERIFIED, NOW) is None


def test_what_is_no_part_of_a_revision_is_remembered_from_the_newest_accepted_spec():
    component = a_component(version="2.0.0", replicas=3)
    spec = a_spec(
        "2.0.0", (component, "frontend"), retain={"for": "48h", "revisions": 2}, keepFailedFor="5m", onDelete="Remove"
    )
    decision = settings_are_remembered(replace(VERIFIED, spec=parsed(spec)), NOW)
    memory = decision.memory
    assert (decision.rule, decision.reason) == ("settings_are_remembered", "Accepted")
    assert memory.settings == Settings({"backend": 3}, timedelta(hours=48), 2, minutes(5), "Remove")
    assert settings_are_remembered(VERIFIED, NOW) is None, "these are the defaults"
    assert settings_are_remembered(replace(VERIFIED, spec=TYPO), NOW) is None


# --- begin ------------------------------------------------------------------------------------------------------------


def begun(world):
    decision = spec_has_its_candidate(world, NOW)
    rolls_back = decision and (isinstance(decision.step, Switch) or decision.reason.startswith("Target"))
    assert decision is None or decision.rule == ("orders_are_answered" if rolls_back else "spec_has_its_candidate")
    return decision


def test_a_new_spec_begins_a_candidate():
    decision = begun(a_release().live("1.0.0").asking(a_spec("2.0.0")).world())
    candidate = decision.memory.candidate
    assert (candidate.stack, candidate.attempt, candidate.started_at) == (V2, 1, NOW)
    assert (decision.reason, [n.reason for n in decision.notes]) == ("CandidateStarted", ["CandidateStarted"])
    assert begun(a_release().asking(a_spec("2.0.0")).world()).memory.candidate.stack == V2


def test_it_counts_the_attempts_before_it():
    world = a_release().live("1.0.0").asking(a_spec("2.0.0")).world()
    entry = replace(world.memory.history[0], revision=V2.revision)
    assert begun(remembering(world, history=(entry, entry, *world.memory.history))).memory.candidate.attempt == 3


def test_a_new_spec_supersedes_the_candidate_at_once():
    decision = begun(a_release().live("1.0.0").candidate("2.0.0").asking(a_spec("3.0.0")).world())
    assert decision.memory.candidate.stack == V3
    assert (decision.memory.history[0].revision, decision.memory.history[0].outcome) == (
        V2.revision,
        Outcome.SUPERSEDED,
    )
    assert [n.reason for n in decision.notes] == ["Superseded", "CandidateStarted"]
    assert decision.memory.history[0].reason == "Superseded: version 3.0.0 was asked for"
    assert decision.memory.latched == (), "what was superseded did not fail"


def test_the_candidate_that_is_asked_for_goes_on():
    assert begun(VERIFIED) is None
    assert begun(a_release().live("1.0.0").world()) is None
    assert begun(replace(VERIFIED, spec=TYPO)) is None


def test_to_ask_for_live_again_ends_the_candidate():
    decision = begun(a_release().live("1.0.0").candidate("2.0.0").asking(a_spec("1.0.0")).world())
    assert (decision.reason, decision.memory.candidate) == ("Superseded", None)
    assert decision.memory.history[0].outcome is Outcome.SUPERSEDED
    assert decision.memory.history[0].reason.startswith("Superseded: ")


def test_a_latched_revision_is_not_tried_again():
    release = a_release().live("1.0.0").failed("2.0.0")
    decision = begun(release.asking(a_spec("2.0.0")).world())
    assert (type(decision.step), decision.reason, decision.stalled, decision.memory) == (Rest, "CrashLoop", True, None)
    assert decision.because.endswith(
        "not tried again until its spec changes or a Retry is ordered; CrashLoop: it crashed"
    )
    other = begun(release.candidate("3.0.0").asking(a_spec("2.0.0")).world())
    assert (other.reason, other.memory.candidate, other.memory.history[0].outcome) == (
        "Superseded", None, Outcome.SUPERSEDED,
    )  # fmt: skip
    assert other.memory.history[0].reason == "Superseded: version 2.0.0 was asked for"


def test_a_latched_revision_is_no_rollback_by_manifest():
    world = a_release().promoted("2.0.0").failed("1.0.0").asking(a_spec("1.0.0")).world()
    assert begun(world).stalled


def test_a_manifest_that_asks_for_what_is_retained_rolls_back_at_once():
    world = a_release().promoted("2.0.0").asking(a_spec("1.0.0")).world()
    record = begun(world).step.record
    assert (record.cause, record.to, record.latches, record.order, record.reason) == (
        Cause.ROLLBACK, V1.revision, False, "", "AskedBySpec",
    )  # fmt: skip
    paused = remembering(world, paused=a_release().paused().memory.paused)
    assert isinstance(begun(paused).step, Switch), "a pause stops no rollback"


def test_a_blue_below_its_size_has_thirty_seconds_from_when_it_was_asked_for():
    world = a_release().promoted("2.0.0").asking(a_spec("1.0.0")).world()
    short = replace(world, pods=tuple(p for p in world.pods if p.name != a_pod(BLUE, 1).name))
    assert begun(short).look_again == timedelta(seconds=30)
    asked = {"rollback-asked": NOW - timedelta(seconds=30)}
    assert isinstance(begun(replace(short, since=asked)).step, Switch)


def test_a_paused_release_begins_nothing():
    decision = begun(a_release().live("1.0.0").paused().asking(a_spec("2.0.0")).world())
    assert (type(decision.step), decision.reason, decision.memory) == (Rest, "Paused", None)


# --- settings only ----------------------------------------------------------------------------------------------------

CHANGED = a_component(health=a_health(interval="10s"))


def settings_only(release, raw=None):
    return begun(release.asking(raw or a_spec("1.0.1", (CHANGED,))).world())


def test_a_spec_that_moves_nothing_becomes_lives_own_settings_at_once():
    decision = settings_only(a_release().live("1.0.0"))
    live, entry = decision.memory.live, decision.memory.history[0]
    assert (live.stack.version, live.stack.members, live.proven_at) == (
        "1.0.1", V1.members, a_release().live("1.0.0").memory.live.proven_at,
    )  # fmt: skip
    assert live.watch_since == a_release().live("1.0.0").memory.live.watch_since, "it keeps its proof"
    assert (entry.outcome, entry.started, entry.switched, entry.finished) == (Outcome.SETTINGS_ONLY, NOW, None, NOW)
    assert (entry.version, entry.by) == ("1.0.1", "spec")
    assert [n.reason for n in decision.notes] == ["SettingsOnly"]
    assert decision.memory.candidate is None


def test_in_a_watch_its_clock_restarts():
    memory = settings_only(a_release().live("1.0.0", proven=False)).memory
    assert (memory.live.watch_since, memory.live.proven_at, memory.history[0].finished) == (NOW, None, None)


def test_settings_supersede_a_candidate_with_other_templates():
    memory = settings_only(a_release().live("1.0.0").candidate("2.0.0")).memory
    assert (memory.candidate, memory.history[1].outcome) == (None, Outcome.SUPERSEDED)
    assert memory.history[1].reason == "Superseded: version 1.0.1 was asked for"


@pytest.mark.parametrize(
    "components",
    [(a_component(), "frontend"), (a_component(services=["backend", "public"]),), (a_component(version="1.0.1"),)],
    ids=["another component", "another Service", "another template"],
)
def test_more_than_settings_is_a_candidate(components):
    world = a_release().live("1.0.0").asking(a_spec("1.0.1", components)).world()
    assert begun(world).reason == "CandidateStarted"


def test_a_component_or_service_that_was_taken_out_is_left_as_it_is():
    pair = a_release(*PAIR).live("1.0.0").asking(a_spec("1.0.1", (CHANGED,))).world()
    assert begun(pair).memory.live.stack.members == V1.members


def test_settings_that_were_retained_are_live_now_and_retained_no_more():
    world = a_release().live("1.0.0").retained("0.9.0").asking(a_spec("1.0.1", (CHANGED,))).world()
    twin = replace(world.memory.retained[0], stack=replace(V1, revision=world.wanted.revision))
    memory = rules._settings_only(
        remembering(world, retained=(twin, *world.memory.retained)), world.wanted, NOW, ""
    ).memory
    assert [r.stack.version for r in memory.retained] == ["0.9.0"]


# --- deploy -----------------------------------------------------------------------------------------------------------


def deployed(world):
    decision = candidate_is_deployed(world, NOW)
    assert decision is None or (decision.rule, decision.reason) == ("candidate_is_deployed", "Deploying")
    return decision.step if decision else None


def undeployed(**changes):
    world = prepared()
    left = {n: d for n, d in world.deployments.items() if n != GREEN.name}
    return replace(world, **{"deployments": left, **changes})


def test_a_component_revision_gets_a_deployment_with_its_claims():
    step = deployed(undeployed())
    metadata, spec = step.body["metadata"], step.body["spec"]
    assert (type(step), step.name, spec["replicas"], spec["minReadySeconds"]) == (CreateDeployment, GREEN.name, 2, 5)
    assert metadata["annotations"][names.claim_key("backend")] == "10"
    assert metadata["annotations"][names.CREATED_FOR] == V2.revision
    assert metadata["annotations"][names.VERSION_LABEL] == "2.0.0"
    assert spec["template"] == GREEN.template
    assert not metadata.get("ownerReferences")
    owned = remembering(undeployed(), settings=replace(prepared().memory.settings, on_delete="Remove"))
    assert [o["uid"] for o in deployed(owned).body["metadata"]["ownerReferences"]] == [UID]
    assert names.claim_key("backend") not in deployed(undeployed(services={})).body["metadata"]["annotations"]


def test_its_size_is_the_newest_accepted_one_since_scaling_is_not_a_release():
    sized = remembering(undeployed(), settings=replace(prepared().memory.settings, replicas={"backend": 7}))
    assert deployed(sized).body["spec"]["replicas"] == 7
    of_spec = parsed(a_spec("2.0.0", (a_component(version="2.0.0", replicas=9),)))
    stored = undeployed(stored={**prepared().stored, V2.revision: of_spec})
    assert deployed(stored).body["spec"]["replicas"] == 2, "as many as are live: no number is accepted now"


def test_a_former_deployment_that_is_still_going_is_waited_for():
    decision = candidate_is_deployed(deployment(prepared(), GREEN, deleting=True), NOW)
    assert (type(decision.step), decision.look_again) == (Rest, timedelta(seconds=1))
    assert decision.reason == "Deploying"


@pytest.mark.parametrize(
    "world",
    [
        a_release().live("1.0.0").having(deployments={}).world(),
        undeployed(stored={}),
        remembering(undeployed(), paused=a_release().paused().memory.paused),
    ],
    ids=["no candidate", "no stored spec", "paused"],
)
def test_nothing_is_deployed(world):
    assert deployed(world) is None


def test_a_component_that_its_spec_does_not_name_is_passed_over():
    world = a_release(*PAIR).live("1.0.0").candidate("2.0.0").world()
    only = parsed(a_spec("2.0.0", ("frontend",)))
    left = {n: d for n, d in world.deployments.items() if d.created_version != "2.0.0"}
    stored = {**world.stored, a_stack("2.0.0", PAIR).revision: only}
    assert deployed(replace(world, deployments=left, stored=stored)).name.startswith("shop-frontend-")


def test_a_candidate_at_zero_is_brought_up_again():
    assert deployed(deployment(prepared(), GREEN, replicas=0)) == Scale(GREEN.name, GREEN.uid, GREEN.version, 2)
    zero = remembering(prepared(), settings=replace(prepared().memory.settings, replicas={"backend": 0}))
    assert deployed(deployment(zero, GREEN, replicas=0)) is None, "its author wants none"
    shared = remembering(prepared(), candidate=replace(prepared().memory.candidate, stack=replace(V1, revision="x")))
    shared = replace(shared, stored={"x": parsed()})
    assert not isinstance(deployed(deployment(shared, BLUE, replicas=0)), Scale), "live has its own size"


EARLIER = NOW - timedelta(hours=1)


def spent(**changes):
    """Return a world whose candidate begins a new attempt on pods that crashed in an earlier one."""
    world = deployment(prepared(), GREEN, created_at=EARLIER)
    container = a_container(**{"restarts": 1, **changes})
    return green(world, created_at=EARLIER, containers=(container,))


def test_pods_that_are_spent_are_not_tried_again():
    assert deployed(spent()) == Retire(GREEN.name, GREEN.uid, {"backend": 10}, delete=True)
    assert deployed(spent(restarts=0, waiting="ImagePullBackOff")).delete


@pytest.mark.parametrize("container", [{"restarts": 0}, {"restarts": 0, "waiting": "ContainerCreating"}, {"restarts": 0, "waiting": "PodInitializing"}], ids=str)  # fmt: skip
def test_pods_on_their_way_up_are_not_spent(container):
    assert deployed(spent(**container)) is None


def test_one_container_that_crashed_spends_its_pod():
    both = (a_container("sidecar"), a_container(restarts=1))
    assert deployed(green(spent(), containers=both)).delete


def test_what_is_retained_of_the_component_in_another_revision_does_not_hold_it():
    kept = a_release().live("1.0.0").retained("0.9.0").memory.retained
    assert deployed(remembering(spent(), retained=kept)).delete


def test_what_live_shares_is_not_made_anew():
    live = replace(spent().memory.live, stack=replace(V2, revision="twin"))
    assert deployed(remembering(spent(), live=live)) is None


def test_what_was_made_for_this_attempt_is_not_spent():
    """Creation times have whole seconds: one second of grace."""
    started = prepared().memory.candidate.started_at
    within = started - timedelta(seconds=1)
    assert deployed(green(spent(), created_at=within)) is None
    assert deployed(deployment(spent(), GREEN, created_at=within)) is None
    before = within - timedelta(milliseconds=1)
    assert deployed(deployment(green(spent(), created_at=before), GREEN, created_at=before)).delete


def test_what_a_service_selects_or_is_retained_is_not_made_anew():
    assert (
        deployed(replace(spent(), services={**spent().services, "public": a_service("public", GREEN.revision)})) is None
    )
    kept = a_release().live("1.0.0").retained("2.0.0").memory.retained
    assert deployed(remembering(spent(), retained=kept)) is None
    other = tuple(replace(r, stack=replace(r.stack, members=(replace(r.stack.members[0], name="x"),))) for r in kept)
    assert deployed(remembering(spent(), retained=other)).delete


def test_each_service_gets_a_preview_and_it_leads_to_the_candidate():
    world = prepared()
    only = {"backend": world.services["backend"]}
    step = deployed(replace(world, services=only))
    assert (type(step), step.name) == (CreatePreview, "backend-preview")
    assert step.body["spec"]["selector"][names.REVISION] == GREEN.revision
    astray = replace(world.services["backend-preview"], selector={"app": "backend", names.REVISION: "x"}, version=5)
    step = deployed(replace(world, services={**only, "backend-preview": astray}))
    assert (type(step), step.name, step.version) == (PatchPreview, "backend-preview", 5)
    assert step.body["spec"]["selector"][names.REVISION] == GREEN.revision
    headless = replace(astray, headless=True)
    step = deployed(replace(world, services={**only, "backend-preview": headless}))
    assert step == DeletePreview("backend-preview", headless.uid), "a clusterIP is immutable"
    stranger = replace(astray, labels={})
    assert deployed(replace(world, services={**only, "backend-preview": stranger})) is None
    assert deployed(replace(world, services={})) is None
    assert deployed(world) is None


def test_a_missing_service_keeps_no_other_from_its_preview():
    world = a_release(*PAIR).live("1.0.0").candidate("2.0.0").world()
    assert deployed(replace(world, services={"frontend": world.services["frontend"]})).name == "frontend-preview"


# --- fail -------------------------------------------------------------------------------------------------------------


def fails(world, at=NOW):
    decision = candidate_may_fail(world, at)
    if decision is None:
        return ""
    assert decision.rule == "candidate_may_fail"
    latch = decision.memory.latched[0]
    assert (latch.stack, latch.reason, latch.at) == (world.memory.candidate.stack, decision.reason, at)
    assert (decision.memory.candidate, decision.memory.history[0].outcome) == (None, Outcome.FAILED)
    assert [(n.reason, n.warning) for n in decision.notes] == [(decision.reason, True)]
    return decision.reason


def test_a_container_that_crashed_more_often_than_allowed_fails_at_once():
    assert fails(green(prepared(), containers=(a_container(restarts=3, died="Error"),))) == "CrashLoop"
    assert fails(green(prepared(), containers=(a_container(restarts=2, died="Error"),))) == ""
    strict = parsed(a_spec("2.0.0", failFast={"restartLimit": 0, "stuckFor": "3m"}))
    world = replace(prepared(), stored={V2.revision: strict})
    assert fails(green(world, containers=(a_container(restarts=1, died="Error"),))) == "CrashLoop"


def test_what_may_cure_itself_fails_when_it_is_stuck():
    world = green(prepared(), containers=(a_container(waiting="ImagePullBackOff"),))
    assert fails(world, NOW + minutes(2)) == "", "three minutes from the start of the attempt"
    stuck = candidate_may_fail(world, NOW + minutes(2) + timedelta(seconds=1))
    assert stuck.reason == "ImagePullBackOff"
    assert "component backend for 181 s: pod" in stuck.memory.latched[0].message
    fatal = candidate_may_fail(green(prepared(), containers=(a_container(waiting="InvalidImageName"),)), NOW)
    assert "component backend: pod" in fatal.memory.latched[0].message


def test_the_deadline_of_a_component_ends_the_attempt():
    assert fails(prepared(), NOW + minutes(9)) == ""
    late = candidate_may_fail(prepared(), NOW + minutes(9) + timedelta(seconds=1))
    assert (late.reason, fails(prepared(), NOW + minutes(10))) == ("DeadlineExceeded", "DeadlineExceeded")
    assert "component backend: not verified within 600 s: component backend: health passed on 0" in late.because
    assert fails(VERIFIED, NOW + minutes(99)) == "", "it lacks nothing"
    idle = remembering(prepared(), candidate=replace(prepared().memory.candidate, idle=True))
    assert fails(idle, NOW + minutes(99)) == "", "to want no replicas is never a failure"
    anew = remembering(prepared(), candidate=replace(prepared().memory.candidate, counted_from=NOW))
    assert fails(anew, NOW + minutes(10)) == ""
    short = parsed(a_spec("2.0.0", (a_component(version="2.0.0", progressDeadline="1m"),)))
    assert fails(replace(prepared(), stored={V2.revision: short}), NOW + timedelta(seconds=1)) == "DeadlineExceeded"


def test_a_deadline_counts_for_the_component_that_lacks_something():
    world = a_release(*PAIR).live("1.0.0").candidate("2.0.0", verified=True).world()
    front = a_deployment("frontend", "2.0.0")
    lacking = deployment(world, front, available=0)
    late = candidate_may_fail(lacking, NOW + minutes(10))
    assert late.because.count("component frontend") == 2
    patient = a_component("frontend", "2.0.0", progressDeadline="1h")
    stored = {a_stack("2.0.0", PAIR).revision: parsed(a_spec("2.0.0", (a_component(version="2.0.0"), patient)))}
    assert fails(replace(lacking, stored=stored), NOW + minutes(10)) == ""


def test_what_live_shares_or_has_no_deployment_yet_does_not_fail():
    crashed = green(prepared(), containers=(a_container(restarts=3, died="Error"),))
    assert fails(undeployed(), NOW + minutes(99)) == ""
    live = remembering(crashed, live=replace(crashed.memory.live, stack=V2))
    assert fails(live) == ""
    assert fails(remembering(crashed, candidate=None)) == ""
    assert fails(replace(crashed, stored={})) == ""
    assert fails(remembering(crashed, live=None)) == "CrashLoop"


def test_the_second_component_may_fail_too():
    world = a_release(*PAIR).live("1.0.0").candidate("2.0.0").world()
    front = a_deployment("frontend", "2.0.0")
    container = a_container(waiting="InvalidImageName")
    pods = tuple(replace(p, containers=(container,)) if p.deployment_uid == front.uid else p for p in world.pods)
    assert fails(replace(world, pods=pods)) == "InvalidImageName"


# --- verify -----------------------------------------------------------------------------------------------------------


def lacks(world):
    return [(p.reason, p.available) for p in pending(world)]


def test_a_verified_candidate_lacks_nothing():
    assert lacks(VERIFIED) == []
    assert lacks(a_release().live().world()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"replicas": 0}, "ZeroReplicas"),
        ({"available": 1}, "Progressing"),
        ({"updated": 1}, "Progressing"),
        ({"settled": False}, "Progressing"),
        ({"replicas": 3, "available": 3, "updated": 3}, "Progressing"),
        ({"replica_failure": "exceeded quota", "available": 0}, "PodsForbidden"),
    ],
    ids=["none wanted", "not available", "old pods", "not seen by its controller", "a pod too few", "quota"],
)
def test_a_candidate_is_available_with_all_its_replicas_of_the_newest_template(changes, reason):
    assert lacks(deployment(VERIFIED, GREEN, **changes))[0] == (reason, False)


def test_more_may_be_available_than_are_wanted_but_every_pod_is_ready():
    assert lacks(deployment(VERIFIED, GREEN, available=3, updated=3)) == []
    assert lacks(deployment(VERIFIED, GREEN, replicas=1)) == []
    one_unready = replace(VERIFIED, pods=tuple(replace(p, ready=p.name != a_pod(GREEN, 1).name) for p in VERIFIED.pods))
    assert lacks(one_unready)[0] == ("Progressing", False)
    assert "1 of 2 replicas available" in next(pending(one_unready)).message


def test_a_deployment_that_is_gone_is_deployed_first():
    assert lacks(undeployed()) == [("Deploying", False)]


def test_the_ports_of_each_service_resolve_to_every_pod():
    """The preview's EndpointSlices prove it: all or nothing."""
    one = {**VERIFIED.endpoints, "backend-preview": endpoints_of(a_pod(GREEN, 0))}
    (found,) = pending(replace(VERIFIED, endpoints=one))
    assert (found.reason, found.available, found.component) == ("NoEndpoints", True, "backend")
    assert (
        "1 of 2 ready pods are no endpoint of backend-preview yet (do the pods have the target port http?)"
        in found.message
    )
    without = {n: e for n, e in VERIFIED.endpoints.items() if n != "backend-preview"}
    assert lacks(replace(VERIFIED, endpoints=without)) == [("NoEndpoints", True)]
    by_number = replace(VERIFIED.services["backend"], ports=({"name": "http", "port": 8080},))
    (found,) = pending(replace(VERIFIED, services={**VERIFIED.services, "backend": by_number}, endpoints=without))
    assert "target port 8080?" in found.message


def test_without_its_service_or_preview_a_candidate_is_not_resolved():
    assert lacks(replace(VERIFIED, services={})) == [("ServiceMissing", False)]
    only = {"backend": VERIFIED.services["backend"]}
    assert lacks(replace(VERIFIED, services=only)) == [("Deploying", False)]
    astray = a_service("backend-preview", "x")
    assert lacks(replace(VERIFIED, services={**only, "backend-preview": astray})) == [("Deploying", False)]


WHERE = scope(V2.revision, 1)


def said(**by_pod):
    streaks = {(WHERE, f"{GREEN.uid}-{n[1:]}"): streak for n, streak in by_pod.items()}
    found = list(pending(replace(VERIFIED, streaks=streaks)))
    return (found[0].reason, found[0].message.removeprefix("component backend: health passed on ")) if found else None


def test_health_passes_on_every_pod_or_not_at_all():
    """Knight Capital lost $460 M with new code on 7 of 8 servers."""
    well, one, bad = (
        Streak(passed=2, last="HTTP 200"),
        Streak(passed=1, last="HTTP 200"),
        Streak(failed=1, last="HTTP 500"),
    )
    assert said(p0=well, p1=well) is None
    assert said(p0=well) == ("HealthPending", "1 of 2 pods")
    assert said(p0=well, p1=one) == ("HealthPending", "1 of 2 pods")
    assert said(p0=well, p1=bad) == ("HealthFailing", f"1 of 2 pods; pod {a_pod(GREEN, 1).name}: HTTP 500")
    assert said(p0=bad, p1=well) == ("HealthFailing", f"1 of 2 pods; pod {a_pod(GREEN, 0).name}: HTTP 500")
    assert said(p0=well, p1=Streak()) == ("HealthPending", "1 of 2 pods")


def test_evidence_of_another_attempt_or_revision_counts_for_nothing():
    again = remembering(VERIFIED, candidate=replace(VERIFIED.memory.candidate, attempt=2))
    assert lacks(again) == [("HealthPending", True)]


def test_a_candidate_whose_stored_spec_is_gone_is_not_verified_and_not_switched_to():
    """Somebody deleted it while the spec of now is a typo: nobody knows any more how it is to be checked."""
    world = replace(VERIFIED, stored={V1.revision: VERIFIED.stored[V1.revision]}, spec=TYPO)
    decision = decide(world, NOW)
    assert (type(decision.step), decision.reason) == (Rest, "SpecMissing")
    assert lacks(world)[0] == ("SpecMissing", False)


def test_a_pod_that_cannot_be_asked_fails_the_gate_and_says_why():
    (found,) = pending(green(VERIFIED, host_network=True))
    assert (found.reason, found.available) == ("HealthFailing", True)
    assert found.message.endswith(
        "0 of 2 pods; pods on the node's own network are not probed, since their address is the node's"
    )


def test_without_a_health_block_readiness_is_enough():
    bare = parsed(a_spec("2.0.0", (a_component(version="2.0.0", health=None),)))
    assert lacks(replace(VERIFIED, streaks={}, stored={V2.revision: bare})) == []


def test_replicas_come_first_then_ports_then_health():
    world = a_release(*PAIR).live("1.0.0").candidate("2.0.0").world()
    front = a_deployment("frontend", "2.0.0")
    without = {n: e for n, e in world.endpoints.items() if n != "backend-preview"}
    found = [
        (p.component, p.reason) for p in pending(replace(deployment(world, front, available=0), endpoints=without))
    ]
    assert found == [
        ("frontend", "Progressing"),
        ("backend", "NoEndpoints"),
        ("backend", "HealthPending"),
        ("frontend", "HealthPending"),
    ]


# --- switch -----------------------------------------------------------------------------------------------------------


def test_a_verified_candidate_is_switched_to():
    record = traffic_is_on_the_candidate(VERIFIED, NOW).step.record
    assert (record.cause, record.to, record.origin, record.at) == (Cause.PROMOTE, V2.revision, V1.revision, NOW)
    assert (record.reason, record.latches, record.order) == ("Switching", False, "")
    first = remembering(VERIFIED, live=None)
    assert traffic_is_on_the_candidate(first, NOW).step.record.origin == ""
    assert traffic_is_on_the_candidate(a_release().live().world(), NOW) is None


def test_a_verified_candidate_of_a_paused_release_waits():
    paused = remembering(VERIFIED, paused=a_release().paused().memory.paused)
    decision = traffic_is_on_the_candidate(paused, NOW)
    assert (type(decision.step), decision.reason) == (Rest, "Paused")


def test_a_candidate_that_every_service_selects_already_is_live():
    """By somebody else's hand, or since it shares all with live."""
    selected = replace(VERIFIED, services={**VERIFIED.services, "backend": a_service("backend", GREEN.revision)})
    world = remembering(selected, act=7)
    decision = traffic_is_on_the_candidate(world, NOW)
    live = decision.memory.live
    assert (decision.reason, live.stack, live.act, live.since) == ("Switched", V2, 7, NOW)
    assert [n.reason for n in decision.notes] == ["Switched"]
    assert decision.memory.history[0].switched == NOW
    of_live = remembering(selected, live=replace(selected.memory.live, act=9), act=7)
    assert traffic_is_on_the_candidate(of_live, NOW).memory.live.act == 9
    assert traffic_is_on_the_candidate(remembering(selected, live=None), NOW).memory.live.act == 0


def look_again(world, at=NOW):
    decision = traffic_is_on_the_candidate(world, at)
    assert decision.rule == "traffic_is_on_the_candidate"
    return decision.look_again


def test_what_waits_is_looked_at_when_its_time_runs_out():
    grace = timedelta(milliseconds=100)
    assert look_again(prepared()) == timedelta(seconds=10) + grace, "at the latest"
    assert look_again(prepared(), NOW + minutes(9) - timedelta(seconds=4)) == timedelta(seconds=4) + grace
    assert look_again(prepared(), NOW + minutes(9)) == grace
    assert look_again(prepared(), NOW + minutes(10)) == timedelta(seconds=10) + grace, "what is over is not waited for"
    stuck = green(prepared(), ready=False, containers=(a_container(waiting="ImagePullBackOff"),))
    assert look_again(stuck, NOW + minutes(2) - timedelta(seconds=3)) == timedelta(seconds=3) + grace
    assert look_again(replace(prepared(), stored={})) == timedelta(seconds=10)
    assert look_again(undeployed()) == timedelta(seconds=10) + grace


def test_the_latch_of_another_revision_is_none_of_its_business():
    world = a_release().live("1.0.0").asking(a_spec("2.0.0")).world()
    latch = Latched(V3, "CrashLoop", "", NOW)
    assert begun(remembering(world, latched=(latch,))).reason == "CandidateStarted"
