"""Single decisions: which write comes next, and by which reason."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import acts, names, pod_book, pods, signals, sizes
from tradingrelease.policy.conditions import compute, merged, phase
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Backing, Claim, CreateDeployment, Mark, Rest, Restore, Retire, Scale, Switch
from tradingrelease.policy.reasons import Action, Cause, Condition, Phase
from tradingrelease.policy.rules.live import nobody_edited_ours

from tests.builders import (
    KEY,
    NOW,
    UID,
    a_component,
    a_container,
    a_deployment,
    a_pod,
    a_release,
    a_service,
    a_spec,
    a_stack,
    a_template,
    an_order,
    parsed,
)

PLATFORM = ("backend", "frontend", "ml-engine")


# --- acts -------------------------------------------------------------------------------------------------------------


def test_a_claim_is_never_lowered():
    world = a_release().live().world()
    deployment = replace(a_deployment(), claims={"backend": 99})
    assert acts.claim(world, deployment, {"backend"}).claims == {}


def test_a_claim_is_raised_to_the_version_of_the_service():
    world = a_release().live().world()
    assert acts.claim(world, replace(a_deployment(), claims={"backend": 3}), {"backend"}).claims == {"backend": 10}


def test_a_candidate_without_a_current_claim_claims_before_it_is_switched_to():
    world = a_release().live().candidate(verified=True, claims={"backend": 9}).world()
    assert isinstance(decide(world, NOW).step, Claim)


def test_a_claim_beyond_what_was_read_waits_for_a_newer_read():
    decision = decide(a_release().live().candidate(verified=True, claims={"backend": 11}).world(), NOW)
    assert (type(decision.step), decision.reason) == (Rest, "StaleRead")


def test_a_verified_candidate_is_switched_to_in_the_order_of_the_spec():
    decision = decide(a_release(*PLATFORM).live().candidate(verified=True).world(), NOW)
    assert (decision.step.service, decision.step.record.cause) == ("backend", Cause.PROMOTE)


def test_a_rollback_begins_with_the_last_component():
    world = a_release(*PLATFORM).promoted().ordered(Action.ROLLBACK, a_stack("2.0.0", PLATFORM).revision).world()
    step = decide(world, NOW).step
    assert (step.service, step.record.cause, step.record.latches) == ("ml-engine", Cause.ROLLBACK, True)
    assert step.record.order == "order-rollback"


def test_a_manifest_that_asks_for_what_is_retained_rolls_back_and_latches_nothing():
    step = decide(a_release().promoted().asking(a_spec("1.0.0")).world(), NOW).step
    assert (type(step), step.record.cause, step.record.latches) == (Switch, Cause.ROLLBACK, False)


def test_a_rollback_order_for_another_revision_acts_on_nothing():
    decision = decide(a_release().promoted().ordered(Action.ROLLBACK, "another").world(), NOW)
    assert (decision.memory.answers[0].phase, decision.memory.answers[0].reason) == ("Refused", "WrongRevision")


def test_an_order_that_comes_too_late_is_refused():
    late = an_order(Action.ROLLBACK, a_stack("2.0.0").revision, created_at=NOW - timedelta(minutes=11))
    decision = decide(a_release().promoted().having(orders=(late,)).world(), NOW)
    assert decision.memory.answers[0].reason == "Expired"


def test_an_order_seen_in_time_does_not_expire_while_it_waits():
    seen = an_order(Action.ROLLBACK, a_stack("2.0.0").revision, created_at=NOW - timedelta(minutes=11), phase="Pending")
    assert isinstance(decide(a_release().promoted().having(orders=(seen,)).world(), NOW).step, Switch)


def test_an_abort_of_what_is_live_is_refused_with_the_order_that_helps():
    decision = decide(a_release().promoted().ordered(Action.ABORT, a_stack("2.0.0").revision).world(), NOW)
    assert decision.memory.answers[0].message.endswith("is live: order a Rollback")


def test_a_blue_below_its_size_may_regain_it_while_live_serves():
    world = a_release().promoted().ordered(Action.ROLLBACK, a_stack("2.0.0").revision).world()
    short = tuple(p for p in world.pods if p.name != a_pod(a_deployment(), 1).name)
    assert decide(replace(world, pods=short), NOW).reason == "TargetRegaining"
    assert isinstance(decide(replace(world, pods=short), NOW + timedelta(seconds=30)).step, Switch)


def _idle(*, replicas=0):
    """Return a world with a candidate whose author wants no replicas, and whose Deployment has so many."""
    world = a_release().live().candidate(replicas=replicas, available=replicas, updated=replicas).world()
    settings = replace(world.memory.settings, replicas={"backend": replicas})
    spec = parsed(a_spec("2.0.0", (a_component(version="2.0.0", replicas=replicas),)))
    return replace(world, spec=spec, memory=replace(world.memory, settings=settings))


def test_a_candidate_of_zero_replicas_waits():
    memory = decide(_idle(), NOW).memory
    assert memory.candidate.idle
    waiting = replace(_idle(), memory=memory)
    assert decide(waiting, NOW).reason == "ZeroReplicas"
    much_later = decide(waiting, NOW + timedelta(days=3))
    assert (much_later.reason, much_later.memory) == ("ZeroReplicas", None)


def test_the_deadline_runs_anew_once_replicas_are_wanted():
    sized = _idle(replicas=1)
    idle = replace(sized.memory.candidate, idle=True)
    later = NOW + timedelta(days=3)
    memory = decide(replace(sized, memory=replace(sized.memory, candidate=idle)), later).memory
    assert (memory.candidate.idle, memory.candidate.deadline_from) == (False, later)
    assert memory.candidate.started_at == idle.started_at
    counting = replace(sized, memory=memory)
    assert decide(counting, later + timedelta(minutes=9)).memory is None
    assert decide(counting, later + timedelta(minutes=11)).reason == "DeadlineExceeded"


# --- a Retire never targets what a Service selects ------------------------------------------------------------------------


def test_a_failed_candidate_stays_for_diagnosis_then_goes_to_zero():
    release = a_release().live().failed("2.0.0", minutes_ago=14).asking(a_spec("2.0.0"))
    assert isinstance(decide(release.world(), NOW).step, Rest)
    step = decide(release.world(), NOW + timedelta(minutes=2)).step
    assert (type(step), step.deployment, step.delete) == (Retire, a_deployment(version="2.0.0").name, False)


def test_what_a_service_still_selects_is_not_retired():
    world = a_release().live().failed("2.0.0", minutes_ago=60).asking(a_spec("2.0.0")).world()
    revision = a_deployment(version="2.0.0").revision
    service = a_service(
        selected=revision, annotations=world.services["backend"].annotations | {names.BREAK_GLASS: "true"}
    )
    assert not isinstance(decide(replace(world, services={"backend": service}), NOW).step, Retire)


def test_a_candidate_that_crashed_in_an_earlier_attempt_is_not_made_anew_while_a_service_selects_it():
    """A late write of its first attempt may have arrived; a Retire would be refused again and again."""
    ready = a_release().candidate()
    crashed = tuple(
        replace(p, containers=(a_container(restarts=1),), created_at=NOW - timedelta(hours=1)) for p in ready.pods
    )
    made = {n: replace(d, created_at=NOW - timedelta(hours=1)) for n, d in ready.deployments.items()}
    world = replace(ready, pods=crashed, deployments=made).world()
    assert isinstance(decide(world, NOW).step, Retire)
    selected = {**world.services, "backend": a_service("backend", a_stack("2.0.0").members[0].revision)}
    assert not isinstance(decide(replace(world, services=selected), NOW).step, Retire)


def test_a_deployment_that_is_failed_in_one_revision_and_live_in_another_stays():
    release = a_release().live("1.0.0")
    shared = replace(a_stack("1.0.0"), revision="failed-one")
    latch = release.failed("2.0.0", minutes_ago=600).memory.latched[0]
    memory = replace(release.memory, latched=(replace(latch, stack=shared),))
    assert isinstance(decide(replace(release.world(), memory=memory), NOW).step, Rest)


def test_retention_ends_no_sooner_than_it_was_promised():
    before = a_release().promoted(hours_ago=23.99).world()
    assert decide(before, NOW).memory is None
    after = decide(a_release().promoted(hours_ago=24).world(), NOW)
    assert (after.rule, after.memory.retained) == ("retention_ends", ())


def test_retained_revisions_are_not_counted_before_live_is_proven():
    world = a_release().live("3.0.0", proven=False).retained("2.0.0").retained("1.0.0").world()
    assert decide(world, NOW - timedelta(minutes=50)).memory is None


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "live", "wanted"), [(None, None, 1), (None, 4, 4), (3, None, 3), (3, 5, 5), (0, 5, 0)]
)
def test_a_candidate_is_as_large_as_its_author_wrote_and_never_below_live(written, live, wanted):
    assert sizes._size(written, live) == wanted


def test_live_takes_the_size_that_its_author_wrote():
    spec = a_spec(components=(a_component(replicas=5),))
    world = a_release().live().asking(spec).world()
    settings = replace(world.memory.settings, replicas={"backend": 5})
    step = decide(replace(world, memory=replace(world.memory, settings=settings)), NOW).step
    assert (type(step), step.replicas) == (Scale, 5)


def test_what_is_retained_follows_live_upwards_only():
    def size_of(live, blue):
        world = a_release().live("2.0.0").retained("1.0.0", replicas=blue).world()
        grown = {
            n: replace(d, replicas=live) if d.created_version == "2.0.0" else d for n, d in world.deployments.items()
        }
        step = decide(replace(world, deployments=grown), NOW).step
        return step.replicas if isinstance(step, Scale) else blue

    assert [size_of(4, 2), size_of(1, 2)] == [4, 2]


# --- pods -------------------------------------------------------------------------------------------------------------


def troubled(**container):
    """Return the troubles of a Deployment with one such container."""
    deployment = a_deployment()
    pod = a_pod(deployment, containers=(a_container(**container),))
    world = a_release().live().having(pods=(pod,)).world()
    return [(t.reason, t.fatal) for t in pods.troubles(world, deployment, 2, NOW)]


@pytest.mark.parametrize(
    ("container", "trouble"),
    [
        ({"restarts": 3, "died": "Error"}, ("CrashLoop", True)),
        ({"restarts": 3, "died": "OOMKilled"}, ("OOMKilled", True)),
        ({"restarts": 2, "died": "Error", "down": True}, ("CrashLoop", True)),
        ({"waiting": "InvalidImageName"}, ("InvalidImageName", True)),
        ({"waiting": "ImagePullBackOff"}, ("ImagePullBackOff", False)),
        ({"waiting": "CreateContainerConfigError"}, ("CreateContainerConfigError", False)),
    ],
    ids=str,
)
def test_trouble_is_told_with_whether_it_may_cure_itself(container, trouble):
    assert troubled(**container) == [trouble]


@pytest.mark.parametrize(
    "container",
    [
        {},
        {"restarts": 2, "died": "Error"},
        {"restarts": 1, "died": "Error", "down": True},
        {"waiting": "ContainerCreating"},
    ],
    ids=str,
)
def test_what_pods_do_on_their_way_up_is_no_trouble(container):
    assert troubled(**container) == []


@pytest.mark.parametrize(("seconds", "counts"), [(-1.1, False), (-0.4, True), (0, True), (5, True)])
def test_a_crash_in_the_second_of_the_switch_counts_since_a_kubelet_tells_whole_seconds(seconds, counts):
    deployment, switched = a_deployment(), NOW + timedelta(seconds=0.4)
    died_at = (switched + timedelta(seconds=seconds)).replace(microsecond=0)
    container = a_container(restarts=1, died="Error", exit_code=3, died_at=died_at)
    pod = a_pod(deployment, containers=(container,))
    assert bool(pod_book.since(pod_book.noted({}, [pod]), [pod], switched)) is counts


def test_a_pod_that_no_node_takes_is_trouble_since_it_was_refused():
    deployment, since = a_deployment(), NOW - timedelta(minutes=1)
    pod = a_pod(deployment, ip="", unschedulable="0/3 nodes are available", unschedulable_since=since)
    world = a_release().live().having(pods=(pod,)).world()
    found = pods.troubles(world, deployment, 2, NOW - timedelta(hours=1))
    assert [(t.reason, t.since) for t in found] == [("Unschedulable", since)]


def test_trouble_older_than_the_attempt_counts_from_the_attempt():
    deployment = replace(a_deployment(), replica_failure="quota", replica_failure_since=NOW - timedelta(days=1))
    world = a_release().live().having(pods=()).world()
    assert pods.troubles(world, deployment, 2, NOW)[0].since == NOW


# --- conditions -------------------------------------------------------------------------------------------------------


def told(release):
    """Return the phase, and what Ready and Stalled say, as the decision of now leaves them."""
    world = release.world()
    decision = decide(world, NOW)
    after = replace(world, memory=decision.memory or world.memory)
    found = compute(after, decision)
    ready, stalled = found[Condition.READY], found[Condition.STALLED]
    return phase(after, decision, found), ready.status, ready.reason, stalled.status


def test_live_and_proven_is_ready():
    assert told(a_release().promoted()) == (Phase.READY, "True", "Proven", "False")


def test_a_watch_is_not_ready_yet():
    assert told(a_release().live(proven=False, hours_ago=0.1)) == (Phase.WATCHING, "False", "Watching", "False")


def test_a_candidate_without_evidence_is_verifying():
    assert told(a_release().live().candidate()) == (Phase.VERIFYING, "False", "HealthPending", "False")


def test_live_and_proven_without_an_endpoint_is_degraded_and_not_read_back():
    world = a_release().promoted().world()
    dark = replace(world, since={signals.dead("backend"): NOW})
    found = compute(dark, decision := decide(dark, NOW))
    ready = found[Condition.READY]
    assert (phase(dark, decision, found), ready.status, ready.reason) == (Phase.DEGRADED, "False", "NoEndpoint")


def test_a_failed_spec_waits_for_a_person():
    failed = a_release().live().failed("2.0.0").asking(a_spec("2.0.0"))
    assert told(failed) == (Phase.FAILED, "False", "CrashLoop", "True")


def test_a_spec_that_does_not_parse_is_rejected_while_live_goes_on():
    rejected = a_release().live().asking({"version": "oops"})
    assert told(rejected) == (Phase.REJECTED, "False", "InvalidSpec", "True")


def test_a_rollback_target_below_its_size_is_said_to_be_usable():
    world = a_release().promoted().world()
    short = replace(world, pods=tuple(p for p in world.pods if p.name != a_pod(a_deployment(), 1).name))
    found = compute(short, decide(short, NOW))[Condition.ROLLBACK_READY]
    assert (found.status, found.reason, found.message) == (
        "False",
        "Reduced",
        "version 1.0.0: 1 of 2 pods ready; still usable",
    )


def test_a_transition_time_moves_only_with_its_status():
    world = a_release().promoted().world()
    found = compute(world, decide(world, NOW))
    stored = {c["type"]: c | {"lastTransitionTime": "then"} for c in merged({}, found, 1, NOW)}
    again = merged(stored, found, 2, NOW)
    assert {c["lastTransitionTime"] for c in again} == {"then"}
    turned = merged({t: c | {"status": "Unknown"} for t, c in stored.items()}, found, 2, NOW)
    assert {c["lastTransitionTime"] for c in turned} == {"2026-03-02T12:00:00Z"}


# --- repair -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", [{}, {names.REVISION: names.NOTHING}, {names.REVISION: "another"}])
def test_a_live_deployment_is_made_anew_whatever_its_service_selects(selector):
    """The Service was made anew, or somebody else wrote it: it can only be put back to a Deployment that stands."""
    service = replace(a_service("backend", names.NOTHING), selector={"app": "backend", **selector})
    world = a_release().live().having(services={"backend": service}).world()
    gone = replace(world, deployments={}, pods=())
    assert isinstance(decide(gone, NOW).step, CreateDeployment)
    if selector:
        broken = replace(service, annotations={**service.annotations, names.BREAK_GLASS: "true"})
        assert not isinstance(decide(replace(gone, services={"backend": broken}), NOW).step, CreateDeployment)


def test_a_live_deployment_that_was_deleted_is_made_anew_with_its_claims():
    world = a_release().live().world()
    step = decide(replace(world, deployments={}, pods=()), NOW).step
    assert (type(step), step.body["metadata"]["annotations"]["claim.tradingplatform.io/backend"]) == (
        CreateDeployment,
        "10",
    )


def test_a_retained_deployment_that_was_made_anew_is_said_to_be_proven_so_that_it_outlives_the_release():
    world = a_release().promoted().world()
    name, blue = next((n, d) for n, d in world.deployments.items() if d.created_version == "1.0.0")
    anew = replace(blue, served=False, proven=())
    step = decide(replace(world, deployments={**world.deployments, name: anew}), NOW).step
    assert (step.deployment, step.annotations[names.SERVED]) == (name, "true")
    assert step.annotations[names.PROVEN] == world.memory.retained[0].stack.revision


@pytest.mark.parametrize("why", ["true", "incident 17", ""])
def test_nothing_is_repaired_while_paused_or_behind_broken_glass(why):
    world = a_release().live().world()
    other = a_service(selected="other")
    paused = replace(a_release().live().paused().world(), services={"backend": other})
    glass = replace(other, annotations=dict(other.annotations) | {names.BREAK_GLASS: why})
    broken = replace(world, services={"backend": glass})
    assert [type(decide(w, NOW).step) for w in (paused, broken)] == [Rest, Rest]


def test_glass_that_is_whole_again_hinders_no_repair():
    other = a_service(selected="other", annotations={names.BREAK_GLASS: "false"})
    world = replace(a_release().live().world(), services={"backend": other})
    assert not isinstance(decide(world, NOW).step, Rest)


def test_an_added_service_that_only_the_candidates_pods_satisfy_is_gated_until_then():
    template = a_template("backend", "2.0.0")
    template["metadata"]["labels"]["tier"] = "internal"
    added = a_component("backend", template=template, services=["backend", "internal"])
    release = a_release().live("1.0.0").asking(a_spec("2.0.0", (added,)))
    world = release.world()
    internal = a_service("internal", selector={"app": "backend", "tier": "internal"}, labels={names.RELEASE: KEY.name},
                         annotations={names.RELEASE_UID: UID})  # fmt: skip
    spec = world.wanted
    world = replace(
        world, services=dict(world.services) | {"internal": internal}, stored=dict(world.stored) | {spec.revision: spec},
        backings={"internal": Backing("Nothing")},
    )  # fmt: skip
    step = decide(world, NOW).step
    assert (type(step), step.service, step.gate) == (Mark, "internal", True)


def test_a_recreated_service_of_a_component_at_zero_selects_nothing_and_stops_no_release():
    """Its claim rule forbids to select what has no pods; without our key a candidate would get traffic unverified."""
    world = a_release().live().world()
    zero = {n: replace(d, replicas=0, available=0, updated=0) for n, d in world.deployments.items()}
    marks = {"labels": world.services["backend"].labels, "annotations": world.services["backend"].annotations}
    recreated = replace(world, deployments=zero, pods=(), services={"backend": a_service(**marks)})
    assert decide(recreated, NOW).step == Mark("backend", 10, gate=True)
    gated = replace(recreated, services={"backend": a_service(selected=names.NOTHING)})
    decision = decide(gated, NOW)
    assert (type(decision.step), decision.stalled) == (Rest, False)


def test_what_is_dead_with_nothing_to_roll_back_to_is_not_looked_at_without_a_pause():
    dead = {"dead:backend": NOW - timedelta(minutes=1)}
    decision = decide(
        a_release().live(proven=False, hours_ago=9).having(since=dead, pods=(), endpoints={}).world(), NOW
    )
    assert (decision.reason, decision.look_again) == ("NothingToRollBackTo", timedelta(seconds=5))


def test_a_retention_that_waits_for_the_proof_of_live_is_not_looked_at_without_a_pause():
    world = a_release().live("2.0.0", proven=False, hours_ago=30).retained("1.0.0").world()
    dead = replace(world, since={"dead:backend": NOW}, endpoints={})
    assert decide(dead, NOW).look_again == timedelta(seconds=10)


# --- Events ------------------------------------------------------------------------------------------------------------


def test_what_is_decided_again_after_a_crash_is_said_under_the_same_name():
    """An Event is written before the status that it tells of: a crash between them must not make it come twice."""
    # The accepted spec is stored already, and its dry run is done.
    asked = a_spec("3.0.0")
    spec = parsed(asked)
    begun = a_release().live().candidate("2.0.0").asking(asked)
    world = begun.having(stored={spec.revision: spec}, dry_runs={c.revision: None for c in spec.components}).world()
    said = [{(n.reason, n.about) for n in decide(world, NOW + timedelta(seconds=s)).notes} for s in (0, 9)]
    assert {reason for reason, _ in said[0]} == {"Superseded", "CandidateStarted"}
    assert said[0] == said[1]


def test_what_an_admission_policy_makes_of_our_own_write_is_no_edit():
    """To restore it would be a war: the policy changes it again with each write."""
    world = a_release().live().world()
    (found,) = world.deployments.values()
    changed = replace(found, template=found.template | {"spec": found.template["spec"] | {"nodeName": "n"}})
    edited = replace(world, deployments={found.name: changed})
    assert isinstance(nobody_edited_ours(edited, NOW).step, Restore)
    assert nobody_edited_ours(replace(edited, admitted={found.uid: changed.template}), NOW) is None
