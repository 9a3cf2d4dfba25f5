"""What each condition says, and the one word for people (product.md 3, Status)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import conditions, signals
from tradingrelease.policy.conditions import compute, merged, phase
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Decision, Latched, Record, Rest
from tradingrelease.policy.reasons import Action, Cause, Condition, Outcome, Phase
from tradingrelease.policy.transitions import told_by_conditions

from tests.builders import NOW, a_deployment, a_release, a_service, a_spec, a_stack, parsed

BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")
SETTLED = Decision(Rest(), "settled", "Settled", "nothing to do")
A, SERVING, AVAILABLE, VERIFIED, PROMOTED, ROLLBACK, READY, STALLED, RECONCILING = (
    Condition.ACCEPTED,
    Condition.SERVING,
    Condition.CANDIDATE_AVAILABLE,
    Condition.CANDIDATE_VERIFIED,
    Condition.PROMOTED,
    Condition.ROLLBACK_READY,
    Condition.READY,
    Condition.STALLED,
    Condition.RECONCILING,
)


def said(world, *asked, decision=None):
    """Return status and reason of conditions, as the decision of now leaves them."""
    decision = decision or decide(world, NOW)
    found = compute(replace(world, memory=decision.memory or world.memory), decision)
    return [(found[c].status, found[c].reason) for c in asked]


def word(world, decision=None):
    decision = decision or decide(world, NOW)
    after = replace(world, memory=decision.memory or world.memory)
    return phase(after, decision, compute(after, decision))


def switching(cause):
    """Return a world in the middle of an act: the first of two Services is moved."""
    pair = ("backend", "frontend")
    world = a_release(*pair).live("2.0.0").retained("1.0.0").candidate("3.0.0", verified=True).world()
    to = a_stack("1.0.0" if cause is Cause.ROLLBACK else "3.0.0", pair)
    record = Record(2, cause, to.revision, a_stack("2.0.0", pair).revision, to.members[0].revision, "x", NOW, "why")
    return replace(
        world, services={**world.services, "backend": a_service("backend", to.members[0].revision, record=record)}
    )


# --- Accepted ---------------------------------------------------------------------------------------------------------


def test_a_stored_spec_is_accepted():
    assert said(a_release().live().world(), A) == [("True", "Valid")]


def test_live_settings_are_accepted_also_where_their_stored_spec_was_deleted():
    assert said(a_release().live().having(stored={}).world(), A) == [("True", "Valid")]


def test_a_spec_that_the_api_server_has_not_judged_is_neither():
    assert said(a_release().live().asking(a_spec("2.0.0")).world(), A) == [("Unknown", "Validating")]


@pytest.mark.parametrize(
    ("generation", "reason", "told"),
    [
        (1, "InvalidTemplate", ("False", "InvalidTemplate")),
        (1, "DeploymentForbidden", ("False", "DeploymentForbidden")),
        (2, "InvalidTemplate", ("Unknown", "Validating")),
        (1, "AdoptionFailed", ("Unknown", "Validating")),
    ],
    ids=["said of this spec", "forbidden", "said of an earlier spec", "said by a rule"],
)
def test_what_the_api_server_refused_stays_refused_until_it_is_asked_again(generation, reason, told):
    """A restart must not turn a refused spec into one that is being validated."""
    before = {"status": "False", "reason": reason, "message": "unknown field", "observedGeneration": 1}
    world = a_release().live().asking(a_spec("2.0.0")).having(conditions={A: before}, generation=generation).world()
    assert said(world, A, decision=SETTLED) == [told]


def test_a_listed_service_that_is_missing_is_said_before_all():
    assert said(a_release().live().having(services={}).world(), A, decision=SETTLED) == [("False", "ServiceMissing")]


def test_what_serves_today_is_not_accepted_before_it_is_adopted():
    adopting = replace(SETTLED, adopting=True, reason="Adopting")
    assert said(a_release().live().world(), A, decision=adopting) == [("Unknown", "Adopting")]


# --- Serving, Promoted ------------------------------------------------------------------------------------------------


def test_before_the_first_release_nothing_serves_and_nothing_is_promoted():
    world = a_release().world()
    assert said(world, SERVING, PROMOTED, ROLLBACK, READY)[:3] == [
        ("False", "NothingLive"),
        ("False", "NothingLive"),
        ("False", "NoTarget"),
    ]


def test_live_that_answers_on_each_service_is_serving_and_promoted():
    assert said(a_release().live().world(), SERVING, PROMOTED, READY, STALLED, RECONCILING) == [
        ("True", "EndpointsReady"),
        ("True", "TrafficSwitched"),
        ("True", "Proven"),
        ("False", "Moving"),
        ("False", "Settled"),
    ]


def test_a_live_service_that_was_deleted_stalls_the_release():
    world = a_release().live().asking(a_spec("2.0.0")).having(services={}).world()
    assert said(world, SERVING, STALLED, decision=SETTLED) == [("False", "ServiceMissing"), ("True", "ServiceMissing")]
    typo = replace(world, spec=parsed(a_spec("2.0.0", ("frontend",))), services={"frontend": a_service("frontend")})
    assert said(typo, SERVING, STALLED, decision=SETTLED) == [("False", "ServiceMissing"), ("True", "ServiceMissing")]


def test_a_live_service_without_a_ready_endpoint_does_not_serve():
    world = a_release().live().having(since={signals.dead("backend"): NOW}).world()
    assert said(world, SERVING) == [("False", "NoEndpoint")]


def test_after_an_outage_it_serves_again_once_the_slices_show_it_and_not_once_traffic_was_moved():
    out = {Condition.SERVING: {"status": "False", "reason": "NoEndpoint"}}
    moved = a_release().live().having(conditions=out, since={}, endpoints={}).world()
    assert said(moved, SERVING) == [("False", "NoEndpoint")]
    assert said(a_release().live().having(conditions=out, since={}).world(), SERVING) == [("True", "EndpointsReady")]


@pytest.mark.parametrize("cause", [Cause.PROMOTE, Cause.ROLLBACK])
def test_half_a_switch_is_not_promoted(cause):
    world = switching(cause)
    assert said(world, PROMOTED) == [("False", "Switching")]
    assert word(world) is (Phase.ROLLED_BACK if cause is Cause.ROLLBACK else Phase.SWITCHING)


def test_a_spec_that_is_not_live_is_not_promoted():
    assert said(a_release().live().candidate().world(), PROMOTED) == [("False", "NotLive")]
    assert said(a_release().live().asking({"version": "oops"}).world(), PROMOTED) == [("False", "NotLive")]


def test_a_switch_is_promoted_when_its_endpoints_are_read_back():
    assert said(a_release().live().having(endpoints={}).world(), PROMOTED) == [("False", "ReadingBack")]


# --- the candidate ----------------------------------------------------------------------------------------------------


def test_without_a_candidate_nothing_is_available_or_verified():
    assert said(a_release().live().world(), AVAILABLE, VERIFIED) == [("False", "NoCandidate")] * 2


def test_a_candidate_is_available_before_it_is_verified():
    world = a_release().live().candidate().world()
    assert said(world, AVAILABLE, VERIFIED) == [("True", "ReplicasReady"), ("False", "HealthPending")]
    assert word(world) is Phase.VERIFYING


def test_a_verified_candidate_is_both():
    world = a_release().live().candidate(verified=True).world()
    assert said(world, AVAILABLE, VERIFIED) == [("True", "ReplicasReady"), ("True", "Verified")]


def test_a_candidate_whose_pods_come_up_is_neither():
    world = a_release().live().candidate(available=0).world()
    assert said(world, AVAILABLE, VERIFIED) == [("False", "Progressing")] * 2
    assert word(world) is Phase.DEPLOYING


# --- RollbackReady ----------------------------------------------------------------------------------------------------


def test_a_rollback_is_ready_when_blue_stands():
    world = a_release().promoted().world()
    assert said(world, ROLLBACK) == [("True", "Standing")]
    without = replace(world, pods=tuple(p for p in world.pods if p.deployment_uid != BLUE.uid))
    assert said(without, ROLLBACK) == [("False", "NotStanding")]


def test_a_component_that_blue_shares_with_live_needs_no_second_look():
    """It serves: were it dead, Serving would say so."""
    world = a_release().live().world()
    shared = replace(a_stack("1.0.0"), revision="other", version="0.9.0")
    target = replace(a_release().promoted().memory.retained[0], stack=shared)
    held = replace(world, memory=replace(world.memory, retained=(target,)), pods=())
    assert said(held, ROLLBACK)[0][1] != "NotStanding"
    nothing_live = replace(held, memory=replace(held.memory, live=None))
    assert said(nothing_live, ROLLBACK, decision=SETTLED) == [("False", "NotStanding")]


# --- Ready, Stalled, Reconciling --------------------------------------------------------------------------------------


def test_a_watch_is_not_ready_and_says_since_when():
    world = a_release().live(proven=False, hours_ago=0.1).world()
    assert said(world, READY, RECONCILING, decision=SETTLED) == [("False", "Watching"), ("True", "Watching")]
    assert word(world) is Phase.WATCHING


def test_a_watch_that_stalls_says_why():
    world = a_release().live(proven=False, hours_ago=0.1).world()
    held = replace(SETTLED, stalled=True, reason="BothSidesFail", rule="live_is_healthy")
    assert said(world, READY, STALLED, RECONCILING, decision=held) == [
        ("False", "BothSidesFail"),
        ("True", "BothSidesFail"),
        ("False", "Stalled"),
    ]
    assert word(world, held) is Phase.STALLED


def test_what_halts_goes_on_halting_while_the_way_out_is_asked_for():
    """Nobody is told that it is over, or paged once more, at each step of the next candidate."""
    dead = a_release().live("2.0.0").having(since={signals.dead("backend"): NOW - timedelta(minutes=5)})
    world = dead.asking(a_spec("3.0.0")).world()
    world = replace(world, stored=world.stored | {world.wanted.revision: world.wanted})
    decision = decide(world, NOW)
    assert (decision.reason, decision.halted[0]) == ("CandidateStarted", "NothingToRollBackTo")
    assert said(world, Condition.STALLED) == [("True", "NothingToRollBackTo")]
    after = replace(world, memory=decision.memory)
    assert word(after) == word(world) == "Stalled"
    assert said(after, Condition.STALLED) == [("True", "NothingToRollBackTo")]
    before = {Condition.STALLED: {"status": "True", "reason": "NothingToRollBackTo"}}
    for look in (world, after):
        decision = decide(look, NOW)
        told = replace(look, conditions=before, memory=decision.memory or look.memory)
        assert list(told_by_conditions(told, compute(told, decision), NOW)) == []


def test_what_was_proven_and_serves_nobody_is_an_outage_whatever_the_spec_asks():
    dark = {signals.dead("backend"): NOW}
    world = a_release().live().asking({"version": "oops"}).having(since=dark).world()
    assert said(world, READY) == [("False", "NoEndpoint")]
    watched = a_release().live(proven=False).asking({"version": "oops"}).having(since=dark).world()
    assert said(watched, READY) == [("False", "InvalidSpec")]


def test_ready_says_what_the_rule_that_speaks_waits_for():
    waiting = replace(SETTLED, rule="traffic_is_on_the_candidate", reason="HealthPending")
    world = a_release().live().candidate().world()
    assert said(world, READY, RECONCILING, decision=waiting) == [("False", "HealthPending"), ("True", "HealthPending")]
    quiet = a_release().live().having(endpoints={}).world()
    assert said(quiet, READY, RECONCILING, decision=SETTLED) == [("False", "ReadingBack"), ("True", "ReadingBack")]
    seen = replace(SETTLED, rule="absorb", reason="Observed")
    assert said(quiet, READY, RECONCILING, decision=seen) == [("False", "ReadingBack"), ("True", "Observed")]


def test_a_latched_spec_waits_for_a_person():
    world = a_release().live().failed("2.0.0").asking(a_spec("2.0.0")).world()
    assert said(world, READY, STALLED, RECONCILING, decision=SETTLED) == [
        ("False", "CrashLoop"),
        ("True", "CrashLoop"),
        ("False", "Stalled"),
    ]


def test_a_live_spec_that_is_latched_as_well_is_ready_and_waits_for_a_person():
    """Its adoption failed before, and something else of it serves: only a Retry ends that."""
    world = a_release().live().world()
    latch = Latched(world.memory.live.stack, "AdoptionFailed", "its clone did not come up", NOW)
    world = replace(world, memory=replace(world.memory, latched=(latch,)))
    assert said(world, STALLED, decision=SETTLED) == [("True", "AdoptionFailed")]


def test_a_refused_spec_stalls_with_the_words_of_the_refusal():
    assert said(a_release().live().asking({"version": "oops"}).world(), STALLED) == [("True", "InvalidSpec")]


def test_a_pause_that_holds_something_back_is_not_ready():
    paused = replace(SETTLED, reason="Paused", because="it waits")
    world = a_release().live().paused().world()
    assert said(world, READY, decision=paused) == [("False", "Paused")]
    assert said(world, READY, decision=SETTLED) == [("True", "Proven")]
    assert said(a_release().live().world(), READY, decision=paused) == [("True", "Proven")]


# --- one word for people ----------------------------------------------------------------------------------------------


def failed(switched):
    world = a_release().live("1.0.0").failed("2.0.0").asking(a_spec("2.0.0")).world()
    entry = replace(world.memory.history[0], revision=a_stack("2.0.0").revision, outcome=Outcome.ROLLED_BACK,
                    switched=NOW if switched else None)  # fmt: skip
    return replace(world, memory=replace(world.memory, history=(entry, *world.memory.history)))


@pytest.mark.parametrize(
    ("world", "decision", "wanted"),
    [
        (a_release().live().world(), None, Phase.READY),
        (a_release().live().candidate().paused().world(), None, Phase.PAUSED),
        (a_release().live().asking(a_spec("2.0.0")).paused().world(), SETTLED, Phase.PAUSED),
        (a_release().live().asking({"version": "oops"}).world(), None, Phase.REJECTED),
        (failed(switched=True), None, Phase.ROLLED_BACK),
        (failed(switched=False), None, Phase.FAILED),
        (a_release().having(services={"backend": a_service()}).world(), SETTLED, Phase.PENDING),
        (a_release().having(services={"backend": a_service()}).world(), replace(SETTLED, adopting=True), Phase.ADOPTING),
        (a_release().live().asking(a_spec("2.0.0")).world(), SETTLED, Phase.PENDING),
        (a_release().live().having(since={signals.dead("backend"): NOW}).world(), SETTLED, Phase.DEGRADED),
    ],
    ids=["live and proven", "paused before the switch", "paused before the start", "typo", "rolled back", "failed",
         "at the very beginning", "adopting", "a new spec", "dark"],
)  # fmt: skip
def test_one_word(world, decision, wanted):
    assert word(world, decision) is wanted


# --- the list in status -----------------------------------------------------------------------------------------------


def test_a_condition_is_written_in_full_and_a_long_message_is_cut():
    found = {READY: conditions.Verdict("True", "Proven", "x" * 2000)}
    assert merged({}, found, 7, NOW + timedelta(hours=1)) == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Proven",
            "message": "x" * 1024,
            "observedGeneration": 7,
            "lastTransitionTime": "2026-03-02T13:00:00Z",
        }
    ]


def test_an_abort_leaves_the_spec_aborted():
    world = a_release().live().candidate().ordered(Action.ABORT, a_stack("2.0.0").revision).world()
    assert said(world, READY, STALLED) == [("False", "Aborted"), ("True", "Aborted")]
