"""What has happened is taken into memory: once, completely, and before anything is built on it (product.md 4.6 to 4.9)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import absorb as rules
from tradingrelease.policy import names
from tradingrelease.policy.absorb import absorb
from tradingrelease.policy.model import Answer, Latched, Left, Live, Memory, Record, Retained
from tradingrelease.policy.reasons import Action, Cause, Outcome

from tests.builders import (
    NOW,
    a_component,
    a_deployment,
    a_release,
    a_service,
    a_spec,
    a_stack,
    a_template,
    an_order,
    parsed,
    rejected,
)

BEFORE = NOW - timedelta(minutes=5)
BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")
V1, V2, V3 = (a_stack(version) for version in ("1.0.0", "2.0.0", "3.0.0"))
DAY = timedelta(hours=24)


def remembering(world, **changes):
    return replace(world, memory=replace(world.memory, **changes))


def a_record(cause=Cause.PROMOTE, to=V2, origin=V1, act=2, **fields):
    return replace(
        Record(act, cause, to.revision, origin.revision, to.members[0].revision, "x", BEFORE, "why"), **fields
    )


def after(release, record, selected=None):
    """Return the world after an act moved the one Service."""
    moved = a_service("backend", selected or record.selected, version=11, record=record)
    world = release.world()
    return replace(world, services={**world.services, "backend": moved})


def told(world):
    memory, notes = absorb(world, NOW)
    return memory, [(n.reason, n.warning) for n in notes]


# --- a promotion ------------------------------------------------------------------------------------------------------

PROMOTED = after(a_release().live("1.0.0").candidate("2.0.0"), a_record())


def test_after_a_promotion_the_candidate_is_live_and_in_its_watch():
    memory, notes = told(PROMOTED)
    assert memory.live == Live(V2, NOW, NOW, None, 2)
    assert (memory.candidate, memory.act, memory.latched) == (None, 2, ())
    assert memory.retained == (Retained(V1, NOW + DAY),)
    entry = memory.history[0]
    assert (entry.revision, entry.version, entry.outcome) == (V2.revision, "2.0.0", Outcome.PROMOTED)
    assert (entry.started, entry.switched, entry.finished, entry.reason, entry.by) == (
        NOW - timedelta(minutes=1), BEFORE, None, "why", "spec",
    )  # fmt: skip
    assert notes == [("Switched", False)]
    assert absorb(PROMOTED, NOW)[1][0].message == "version 2.0.0 is live (from 1.0.0): why"


def test_only_what_was_proven_is_retained_when_it_is_switched_away_from():
    unproven = after(a_release().live("1.0.0", proven=False).retained("0.9.0").candidate("2.0.0"), a_record())
    memory, _ = told(unproven)
    assert [r.stack.version for r in memory.retained] == ["0.9.0"]
    proven = after(a_release().live("1.0.0").retained("0.9.0").candidate("2.0.0"), a_record())
    assert [r.stack.version for r in told(proven)[0].retained] == ["1.0.0", "0.9.0"]


def test_what_is_live_now_is_retained_no_more():
    world = after(a_release().live("1.0.0").retained("2.0.0").retained("0.9.0").candidate("2.0.0"), a_record())
    assert [r.stack.version for r in told(world)[0].retained] == ["1.0.0", "0.9.0"]
    twice = after(a_release().live("1.0.0").retained("1.0.0").candidate("2.0.0"), a_record())
    assert [r.stack.version for r in told(twice)[0].retained] == ["1.0.0"]


def test_every_retention_counts_from_the_latest_switch_by_the_newest_accepted_time():
    world = after(a_release().live("1.0.0").retained("0.9.0").candidate("2.0.0"), a_record())
    longer = remembering(world, settings=replace(world.memory.settings, retain_for=timedelta(hours=48)))
    assert {r.until for r in told(longer)[0].retained} == {NOW + timedelta(hours=48)}
    settled = a_release().live("1.0.0", hours_ago=2).retained("0.9.0").world()
    off = tuple(replace(r, until=NOW) for r in settled.memory.retained)
    assert told(remembering(settled, retained=off))[0].retained[0].until == NOW + timedelta(hours=22)


def test_at_the_first_release_nothing_is_left():
    memory, _ = told(after(a_release().candidate("2.0.0"), a_record(act=1)))
    assert (memory.live.stack, memory.retained) == (V2, ())
    assert (
        absorb(after(a_release().candidate("2.0.0"), a_record(act=1)), NOW)[1][0].message
        == "version 2.0.0 is live: why"
    )


def test_half_a_switch_is_not_taken_for_a_whole_one():
    pair = ("backend", "frontend")
    release = a_release(*pair).live("1.0.0").candidate("2.0.0")
    to = a_stack("2.0.0", pair)
    memory, notes = told(after(release, a_record(to=to, origin=a_stack("1.0.0", pair))))
    assert (memory.live.stack.version, memory.candidate.stack.version, notes) == ("1.0.0", "2.0.0", [])


def test_a_switch_is_taken_into_memory_once():
    memory, _ = told(PROMOTED)
    assert absorb(replace(PROMOTED, memory=memory), NOW + timedelta(hours=1)) == (memory, ())


# --- a rollback -------------------------------------------------------------------------------------------------------


def rolled_back(release=None, **fields):
    release = release or a_release().live("2.0.0").retained("1.0.0").retained("0.9.0")
    return after(release, a_record(Cause.ROLLBACK, V1, V2, **fields))


def test_after_a_rollback_blue_is_live_and_proven_and_what_it_left_is_latched():
    memory, notes = told(rolled_back(latches=True, reason="HealthFailed"))
    assert memory.live == Live(V1, NOW, NOW, NOW, 2, left=Left(V2.revision, V2.version, 1))
    assert memory.latched == (Latched(V2, "HealthFailed", "why", BEFORE),)
    assert [r.stack.version for r in memory.retained] == ["0.9.0"]
    restored, left = memory.history[0], next(e for e in memory.history if e.revision == V2.revision)
    assert (restored.outcome, restored.switched, restored.started, restored.finished) == (
        Outcome.RESTORED, BEFORE, None, None,
    )  # fmt: skip
    assert (restored.version, restored.reason, restored.by) == ("1.0.0", "why", "operator")
    assert (left.outcome, left.finished, left.reason) == (Outcome.ROLLED_BACK, NOW, "HealthFailed: why")
    assert notes == [("RolledBack", True)]
    assert told(rolled_back(latches=True))[0].latched[0].reason == "RolledBack"


def test_a_rollback_by_manifest_retains_a_proven_green():
    memory, notes = told(rolled_back())
    assert (memory.latched, [r.stack.version for r in memory.retained]) == ((), ["2.0.0", "0.9.0"])
    assert notes == [("RolledBack", False)]
    assert memory.history[0].by == "spec"
    unproven = a_release().live("2.0.0", proven=False).retained("1.0.0")
    assert told(rolled_back(unproven))[0].retained == ()


def test_an_ordered_rollback_answers_its_order():
    """The switch patch carries the order's uid: a crash after it answers Done, not Refused."""
    release = a_release().live("2.0.0").retained("1.0.0").ordered(Action.ROLLBACK, V2.revision)
    memory, _ = told(rolled_back(release, latches=True, order="order-rollback"))
    assert [(a.uid, a.phase, a.reason) for a in memory.answers] == [("order-rollback", "Done", "RolledBack")]
    assert memory.answers[0].message == f"version 1.0.0 ({V1.revision}) is live again"
    assert memory.history[0].by == "ReleaseCommand order-rollback"
    assert told(rolled_back(latches=True))[0].answers == ()


def test_an_act_says_itself_that_it_was_ordered_by_force():
    """Its order may be gone, or not known yet, when the act is remembered."""
    live = told(rolled_back(order="order-rollback", forced_at=BEFORE))[0].live
    assert live.forced_at == BEFORE
    assert told(rolled_back(order="order-rollback"))[0].live.forced_at is None
    release = a_release().live("2.0.0").retained("1.0.0").ordered(Action.ROLLBACK, V2.revision, force=True)
    live = told(rolled_back(release, order="order-rollback"))[0].live  # as an older version wrote its records
    assert live.forced_at == release.world().orders[0].created_at


def test_what_was_verified_beside_the_old_live_begins_a_new_attempt():
    release = a_release().live("2.0.0").retained("1.0.0").candidate("3.0.0")
    candidate = told(rolled_back(release, latches=True))[0].candidate
    assert (candidate.stack, candidate.attempt, candidate.started_at) == (V3, 2, NOW)


# --- an undo ----------------------------------------------------------------------------------------------------------


def undone(origin=V2, release=None, **fields):
    release = release or a_release().live("1.0.0").candidate("2.0.0")
    return after(release, a_record(Cause.UNDO, V1, origin, act=3, **fields))


def test_after_an_undo_live_is_as_it_was_and_the_candidate_tries_again():
    memory, notes = told(undone())
    former = a_release().live("1.0.0").memory.live
    assert memory.live == replace(former, act=3)
    assert (memory.candidate.attempt, memory.candidate.started_at, memory.latched) == (2, NOW, ())
    assert (memory.act, notes) == (3, [("SwitchUndone", True)])


def test_an_abort_latches_what_it_undid_and_answers():
    release = a_release().live("1.0.0").candidate("2.0.0").ordered(Action.ABORT, V2.revision)
    memory, _ = told(undone(release=release, latches=True, order="order-abort", reason="Aborted"))
    assert memory.candidate is None
    assert memory.latched == (Latched(V2, "Aborted", "why", NOW),)
    assert (memory.history[0].outcome, memory.history[0].reason) == (Outcome.ABORTED, "Aborted: why")
    assert [(a.uid, a.phase, a.reason) for a in memory.answers] == [("order-abort", "Done", "SwitchUndone")]
    assert memory.answers[0].message == "the switch to version 2.0.0 was undone"
    assert told(undone(latches=True))[0].latched[0].reason == "Aborted"
    assert told(undone())[0].answers == ()


def test_a_late_undo_of_another_candidate_says_nothing_of_this_one():
    memory, notes = told(undone(origin=V3))
    assert (memory.candidate, memory.act) == (undone().memory.candidate, 3)
    assert notes == [("SwitchUndone", True)]
    nobody = told(undone(release=a_release().live("1.0.0")))[0]
    assert (nobody.candidate, nobody.live.act) == (None, 3)


def test_at_the_first_release_an_undo_leaves_nothing_live():
    memory, _ = told(undone(release=a_release().candidate("2.0.0")))
    assert (memory.live, memory.candidate.attempt) == (None, 2)


# --- an act that was given up -----------------------------------------------------------------------------------------


def test_a_late_write_to_what_was_given_up_closes_its_act():
    memory, notes = told(after(a_release().live("1.0.0"), a_record()))
    assert (memory.live.stack, memory.act, notes) == (V1, 2, [("ActGivenUp", True)])
    assert memory == replace(a_release().live("1.0.0").memory, act=2)


# --- nothing is remembered --------------------------------------------------------------------------------------------


def forgotten(*deployments, selected=BLUE.revision, record=None, **changes):
    """Return a world without memory, as a deleted release of this name or an adoption leaves it."""
    held = {d.name: d for d in deployments}
    service = a_service("backend", selected, record=record)
    world = a_release().having(services={"backend": service}, deployments=held).world()
    return replace(world, **changes)


PROVEN = replace(BLUE, proven=(V1.revision,), served=True)


def test_what_the_services_select_is_taken_over_as_live_and_proven():
    memory, notes = told(forgotten(PROVEN))
    assert memory.live == Live(V1, NOW, NOW, NOW, 0)
    assert (memory.retained, memory.act) == ((), 0)
    entry = memory.history[0]
    assert (entry.outcome, entry.switched, entry.finished, entry.by) == (Outcome.TAKEN_OVER, NOW, NOW, "operator")
    assert (entry.started, entry.version) == (None, "1.0.0")
    assert "took over" in entry.reason
    assert [reason for reason, _ in notes] == [str(Outcome.TAKEN_OVER)]


def test_since_and_number_come_from_the_record_that_the_service_carries():
    memory, _ = told(forgotten(PROVEN, record=a_record(to=V1, act=7)))
    assert (memory.live.since, memory.live.watch_since, memory.live.act, memory.act) == (BEFORE, BEFORE, 7, 7)
    assert memory.history[0].switched == BEFORE


def test_an_adoption_that_is_complete_is_live_and_told_as_such():
    clone = replace(BLUE, adopted_from="theirs", created_for="adopted-x")
    record = a_record(Cause.ADOPT, to=V1, act=1)
    memory, notes = told(forgotten(clone, record=record))
    assert (memory.history[0].outcome, memory.live.stack.revision) == (Outcome.ADOPTED, "adopted-x")
    assert [reason for reason, _ in notes] == [str(Outcome.ADOPTED)]
    own = told(forgotten(BLUE, record=record))[0]
    assert own.history[0].outcome is Outcome.TAKEN_OVER
    promoted = told(forgotten(clone, record=a_record(to=V1, act=1)))[0]
    assert promoted.history[0].outcome is Outcome.TAKEN_OVER


@pytest.mark.parametrize(
    "world",
    [
        forgotten(PROVEN, spec=rejected({"version": "oops"})),
        forgotten(PROVEN, services={}),
        forgotten(PROVEN, services={"backend": a_service()}),
        forgotten(PROVEN, selected=names.NOTHING),
        forgotten(selected="gone"),
        replace(forgotten(PROVEN), memory=a_release().candidate("2.0.0").memory),
    ],
    ids=["a typo", "its Service is missing", "it is not steered yet", "it selects nothing", "its Deployment is gone",
         "a candidate is remembered"],
)  # fmt: skip
def test_nothing_is_taken_over(world):
    memory, notes = told(world)
    assert (memory.live, notes) == (None, [])


def test_services_of_one_component_that_select_different_revisions_are_not_taken_over():
    spec = parsed(a_spec("1.0.0", (a_component(services=["backend", "public"]),)))
    both = {"backend": a_service("backend", BLUE.revision), "public": a_service("public", GREEN.revision)}
    world = forgotten(PROVEN, GREEN, spec=spec, services=both)
    assert told(world)[0].live is None
    same = replace(both["public"], selector=both["backend"].selector)
    live = told(replace(world, services={**both, "public": same}))[0].live
    assert [(m.name, m.services) for m in live.stack.members] == [("backend", ("backend", "public"))]


def test_what_is_selected_is_taken_over_beside_a_component_that_is_new():
    spec = parsed(a_spec("1.0.0", ("backend", "frontend")))
    services = {"backend": a_service("backend", BLUE.revision), "frontend": a_service("frontend", names.NOTHING)}
    assert told(forgotten(PROVEN, spec=spec, services=services))[0].live.stack.members == V1.members


FRONT = a_deployment("frontend", created_for=BLUE.created_for)


def of(*deployments):
    return rules._revision_of(a_release().world(), list(deployments))


def test_the_revision_of_what_is_found_is_the_one_that_it_was_made_for_if_that_was_proven():
    assert of(BLUE, FRONT) == BLUE.created_for
    assert of(replace(BLUE, proven=(BLUE.created_for, "x"))) == BLUE.created_for
    both = ("y", "x")
    assert of(replace(BLUE, proven=both)) == "x", "it was proven under another revision of the same template"
    assert of(replace(BLUE, proven=both), replace(FRONT, created_for="z", proven=("y",))) == "y"
    assert of(BLUE, replace(FRONT, created_for="z")) == names.digest(
        {"backend": BLUE.revision, "frontend": FRONT.revision}
    )


def test_its_version_is_mixed_where_its_components_differ():
    assert rules._version_of([BLUE, FRONT]) == "1.0.0"
    assert rules._version_of([BLUE, replace(FRONT, created_version="2.0.0")]) == "mixed"


def left(*deployments):
    return [(r.stack.revision, r.stack.version, r.until) for r in told(forgotten(PROVEN, *deployments))[0].retained]


def test_what_is_annotated_as_proven_is_retained_from_now_the_newest_first():
    older = replace(GREEN, proven=("older",), created_at=BEFORE)
    newer = replace(a_deployment(version="3.0.0"), proven=("newer",), created_at=NOW)
    assert left(older, newer) == [("newer", "3.0.0", NOW + DAY), ("older", "2.0.0", NOW + DAY)]


@pytest.mark.parametrize(
    "changes", [{"proven": ()}, {"deleting": True}, {"replicas": 0}, {"component": "other"}], ids=str
)
def test_what_does_not_stand_or_was_not_proven_is_not_retained(changes):
    assert left(replace(GREEN, **{"proven": ("x",), **changes})) == []


def test_what_shares_all_its_components_with_live_is_no_rollback_target():
    both = (V1.revision, "settings only")
    assert told(forgotten(replace(PROVEN, proven=both)))[0].retained == ()


def test_a_target_that_shares_one_component_with_live_is_retained_whole():
    pair = parsed(a_spec("1.0.0", ("backend", "frontend")))
    front = replace(FRONT, proven=(V1.revision, "former"))
    green = replace(GREEN, proven=("former",), created_at=NOW)
    services = {"backend": a_service("backend", BLUE.revision), "frontend": a_service("frontend", FRONT.revision)}
    memory, _ = told(forgotten(PROVEN, front, green, spec=pair, services=services))
    (kept,) = memory.retained
    assert [(m.name, m.revision, m.services) for m in kept.stack.members] == [
        ("backend", GREEN.revision, ("backend",)), ("frontend", FRONT.revision, ("frontend",)),
    ]  # fmt: skip
    assert kept.stack.version == "mixed"
    alone = told(forgotten(PROVEN, FRONT, green, spec=pair, services=services))[0]
    assert alone.retained == (), "half of it is gone"


# --- what was added and is adopted by now -----------------------------------------------------------------------------


def added(**changes):
    """Return a world with a Service that was added to the live backend, and adopted."""
    spec = parsed(a_spec("1.0.0", (a_component(services=["backend", "public"]),)))
    record = a_record(Cause.ADOPT, to=V1, act=1)
    world = a_release().live("1.0.0").world()
    public = replace(a_service("public", BLUE.revision, record=record), **changes)
    return replace(world, spec=spec, services={**world.services, "public": public})


def services_of(world):
    return [m.services for m in told(world)[0].live.stack.members]


def test_a_service_that_was_added_and_adopted_belongs_to_live():
    assert services_of(added()) == [("backend", "public")]
    assert services_of(replace(added(), memory=told(added())[0])) == [("backend", "public")], "once"
    assert services_of(added(record=None)) == [("backend",)]
    assert services_of(added(record=a_record(to=V1, act=1))) == [("backend",)]
    assert services_of(added(selector={names.REVISION: "x"})) == [("backend",)]
    assert services_of(replace(added(), spec=rejected({"version": "oops"}))) == [("backend",)]


def test_a_component_that_was_added_and_adopted_belongs_to_live():
    spec = parsed(a_spec("1.0.0", ("backend", "frontend")))
    world = a_release().live("1.0.0").world()
    record = a_record(Cause.ADOPT, to=V1, act=1)
    front = a_deployment("frontend", written=a_template("frontend", "0.9.0"))
    service = a_service("frontend", front.revision, record=record)
    world = replace(
        world,
        spec=spec,
        services={**world.services, "frontend": service},
        deployments={**world.deployments, front.name: front},
    )
    members = told(world)[0].live.stack.members
    assert [(m.name, m.revision, m.services) for m in members] == [
        ("backend", BLUE.revision, ("backend",)), ("frontend", front.revision, ("frontend",)),
    ]  # fmt: skip
    waiting = replace(world, services={**world.services, "frontend": replace(service, record=None)})
    assert len(told(waiting)[0].live.stack.members) == 1
    gone = {n: d for n, d in world.deployments.items() if n != front.name}
    assert len(told(replace(world, deployments=gone))[0].live.stack.members) == 1


# --- answers, histories, latches --------------------------------------------------------------------------------------


def test_an_answer_is_remembered_until_its_order_says_it_or_is_gone():
    """One that no watch has told of yet is not gone: only who looked for it knows that."""
    given = tuple(Answer(uid, "Done", "Paused", "") for uid in ("open", "done", "refused", "unknown", "gone"))
    phases = {"open": "Pending", "done": "Done", "refused": "Refused"}
    orders = tuple(an_order(Action.PAUSE, uid=uid, phase=phase) for uid, phase in phases.items())
    world = remembering(a_release().live().having(orders=orders).world(), answers=given)
    world = replace(world, orders_gone=frozenset({"gone"}))
    assert [a.uid for a in told(world)[0].answers] == ["open", "unknown"]


def test_a_second_answer_to_an_order_replaces_the_first():
    memory = rules.answer(
        Memory(answers=(Answer("1", "Done", "a", ""), Answer("2", "Done", "b", ""))), Answer("1", "Refused", "c", "")
    )
    assert [(a.uid, a.reason) for a in memory.answers] == [("2", "b"), ("1", "c")]


def test_the_last_ten_stories_and_latches_are_kept():
    entry = a_release().live().memory.history[0]
    history, latches = (), ()
    for n in range(12):
        history = rules.remember(history, replace(entry, version=str(n)))
        latches = rules.latched(latches, Latched(replace(V1, revision=str(n)), "x", "", NOW))
    assert [e.version for e in history] == [str(n) for n in range(11, 1, -1)]
    assert [latch.stack.revision for latch in latches] == [str(n) for n in range(11, 1, -1)]


def test_a_revision_is_latched_once_with_its_newest_reason():
    first, other = Latched(V1, "old", "", BEFORE), Latched(V2, "x", "", BEFORE)
    newest = Latched(V1, "new", "", NOW)
    assert rules.latched((first, other), newest) == (newest, other)


def test_the_newest_open_story_of_a_revision_is_closed():
    entry = a_release().live().memory.history[0]
    closed, foreign = replace(entry, finished=BEFORE), replace(entry, revision="another")
    history = (foreign, closed, entry, entry)
    done = rules.close(history, entry.revision, Outcome.PROVEN, "", "well", NOW)
    assert done == (foreign, closed, replace(entry, outcome=Outcome.PROVEN, finished=NOW, reason="well"), entry)
    back = rules.close(history, entry.revision, Outcome.ROLLED_BACK, "Crashed", "why", NOW)
    assert (back[1].outcome, back[1].finished, back[1].reason, back[2:]) == (
        Outcome.ROLLED_BACK, NOW, "Crashed: why", (entry, entry),
    )  # fmt: skip
    assert rules.close((foreign, closed), entry.revision, Outcome.PROVEN, "", "", NOW) == (foreign, closed)


def test_without_a_candidate_there_is_none_to_end():
    memory = a_release().live().memory
    assert rules.latch_candidate(memory, "x", "", NOW, Outcome.FAILED) == memory
    assert rules.drop_candidate(memory, "x", "", NOW, Outcome.FAILED) == memory


def test_the_story_of_a_candidate_that_ended_says_when_it_began_and_why_it_ended():
    memory = rules.drop_candidate(
        a_release().live().candidate("2.0.0").memory, "Superseded", "why", NOW, Outcome.SUPERSEDED
    )
    entry = memory.history[0]
    assert (entry.started, entry.switched, entry.finished, entry.reason, entry.by) == (
        NOW - timedelta(minutes=1), None, NOW, "Superseded: why", "operator",
    )  # fmt: skip


# --- a candidate that wants no replicas -------------------------------------------------------------------------------


def wanting(replicas, idle, deployed=0, **changes):
    world = a_release().live("1.0.0").candidate("2.0.0", replicas=deployed).world()
    settings = replace(world.memory.settings, replicas={"backend": replicas})
    candidate = replace(world.memory.candidate, idle=idle, counted_from=BEFORE)
    return replace(remembering(world, settings=settings, candidate=candidate), **changes)


@pytest.mark.parametrize(("replicas", "deployed", "idle"), [(0, 0, True), (0, 2, False), (2, 0, False), (2, 2, False)])
def test_a_candidate_is_idle_while_a_component_wants_and_has_no_replicas(replicas, deployed, idle):
    assert told(wanting(replicas, not idle, deployed))[0].candidate.idle is idle
    assert told(wanting(replicas, idle, deployed))[0].candidate.counted_from == BEFORE


def test_its_deadline_begins_anew_when_all_want_some():
    assert told(wanting(0, idle=False))[0].candidate.counted_from == BEFORE
    assert told(wanting(2, idle=True))[0].candidate.counted_from == NOW
    assert told(wanting(0, idle=True, deployments={}))[0].candidate.idle is False
