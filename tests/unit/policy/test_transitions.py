"""What is recorded of what happened: the facts of each note, numbered once, kept while somebody is yet to be told."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy import transitions
from tradingrelease.policy.absorb import promoted, rolled_back
from tradingrelease.policy.conditions import Verdict, compute
from tradingrelease.policy.decide import decide
from tradingrelease.policy.memory import stamp
from tradingrelease.policy.model import Author, Decision, Memory, Note, Record, Rest
from tradingrelease.policy.reasons import Action, Cause, Condition, Severity
from tradingrelease.policy.transitions import KEPT, KEPT_UNTOLD, Transition

from tests.builders import NOW, UID, a_release, a_spec, a_stack, an_order

ONE, TWO, THREE = (a_stack(version) for version in ("1.0.0", "2.0.0", "3.0.0"))
ANNA = Author("system:serviceaccount:ci:deployer", "anna")


def an_act(cause, to, origin, **fields):
    given = {"act": 2, "selected": "x", "before": "y", "at": NOW, "because": "503 on 2 pods", "reason": "HealthFailed"}
    return Record(cause=cause, to=to.revision, origin=origin.revision, **{**given, **fields})


def told(world, memory, note):
    return transitions.of(replace(world, memory=memory), world.memory, note, NOW)


def a_transition(number=1, **fields):
    given = {
        "id": f"id-{number}", "at": NOW, "reason": "Proven", "message": "its watch ended", "severity": Severity.INFO,
    }  # fmt: skip
    return Transition(number=number, **{**given, **fields})


# --- facts --------------------------------------------------------------------------------------------------------------


def test_a_promotion_says_whose_version_went_live_and_since_when_it_was_on_its_way():
    world = a_release().live().candidate("2.0.0", verified=True).world()
    world = replace(world, memory=replace(world.memory, candidate=replace(world.memory.candidate, author=ANNA)))
    memory, (note,) = promoted(world.memory, an_act(Cause.PROMOTE, TWO, ONE), NOW)
    found = told(world, memory, note)
    assert (found.reason, found.outcome, found.severity) == ("Switched", "Promoted", Severity.INFO)
    assert (found.version, found.revision, found.attempt) == ("2.0.0", TWO.revision, 1)
    assert found.by == "anna (by system:serviceaccount:ci:deployer)"
    assert found.since == NOW - timedelta(minutes=1)
    assert (found.live, found.target, found.candidate) == (TWO.revision, "1.0.0", "")


def test_a_rollback_is_about_what_it_left_and_who_ordered_it():
    order = an_order(Action.ROLLBACK, TWO.revision, issued_by="bob", reason="wrong prices")
    world = a_release().promoted().having(orders=(order,)).world()
    memory, (note,) = rolled_back(world.memory, an_act(Cause.ROLLBACK, ONE, TWO, order=order.uid, latches=True), NOW)
    found = told(world, memory, note)
    assert (found.reason, found.outcome, found.severity) == ("RolledBack", "RolledBack", Severity.WARNING)
    assert (found.version, found.live, found.target) == ("2.0.0", ONE.revision, "")
    assert (found.by, found.why) == ("bob", "wrong prices")
    assert "503 on 2 pods" in found.message


def test_a_candidate_is_told_of_beside_what_is_live():
    world = a_release().promoted().candidate("3.0.0").world()
    found = told(world, world.memory, Note("HookStarted", "hook smoke runs", f"{TWO.revision}/1/smoke"))
    assert (found.version, found.candidate, found.target) == ("2.0.0", f"{THREE.revision}/1", "1.0.0")
    found = told(world, world.memory, Note("HookStarted", "hook migrate runs", f"{THREE.revision}/1/migrate"))
    assert found.version == "3.0.0"


def test_an_answer_to_an_order_says_who_gave_it_and_what_it_ended():
    world = (
        a_release()
        .live()
        .candidate("2.0.0")
        .ordered(Action.ABORT, TWO.revision, issued_by="eve", reason="late")
        .world()
    )
    decision = decide(world, NOW)
    (note,) = decision.notes
    found = told(world, decision.memory, note)
    assert (found.by, found.why, found.outcome, found.version) == ("eve", "late", "Aborted", "2.0.0")


def test_a_note_that_names_no_revision_is_about_what_is_on_its_way_or_live():
    world = a_release().live().candidate("2.0.0").world()
    assert told(world, world.memory, Note("EditRestored", "edited", "uid/7")).version == "2.0.0"
    world = a_release().live().world()
    assert told(world, world.memory, Note("EditRestored", "edited", "uid/7")).version == "1.0.0"
    world = a_release().world()
    assert told(world, world.memory, Note("EditRestored", "edited", "uid/7")).version == ""


def test_an_unsafe_way_back_is_said():
    world = a_release().promoted().world()
    retained = tuple(replace(r, unsafe="hook migrate cannot be undone") for r in world.memory.retained)
    found = told(world, replace(world.memory, retained=retained), Note("Proven", "proven", "1/x"))
    assert found.unsafe == "hook migrate cannot be undone"


def test_the_same_note_has_the_same_name_and_another_release_another():
    note = Note("Proven", "words", "1/abc")
    assert transitions.identity(UID, note) == transitions.identity(UID, replace(note, message="other words"))
    assert transitions.identity(UID, note) != transitions.identity("uid-2", note)
    assert transitions.identity(UID, note) != transitions.identity(UID, replace(note, about="2/abc"))


# --- conditions ---------------------------------------------------------------------------------------------------------


def found_with(**verdicts):
    world = a_release().live().world()
    found = compute(world, Decision(Rest(), "settled", "Settled", ""))
    return found | {Condition(name): verdict for name, verdict in verdicts.items()}


def notes(found, was=None, memory=None):
    world = a_release().live().world()
    world = replace(world, conditions=was or {}, memory=memory or world.memory)
    return list(transitions.told_by_conditions(world, found, NOW))


STALLED = Verdict("True", "BothSidesFail", "blue fails, too")


def test_a_release_that_holds_still_calls_a_person_once():
    (note,) = notes(found_with(Stalled=STALLED))
    assert (note.reason, note.message, note.severity) == ("BothSidesFail", "blue fails, too", Severity.CRITICAL)
    assert notes(found_with(Stalled=STALLED), {"Stalled": {"status": "True", "reason": "BothSidesFail"}}) == []
    (again,) = notes(found_with(Stalled=STALLED), {"Stalled": {"status": "True", "reason": "ServiceMissing"}})
    assert again.reason == "BothSidesFail"


def test_the_end_of_it_is_said():
    (note,) = notes(found_with(), {"Stalled": {"status": "True", "reason": "BothSidesFail"}})
    assert (note.reason, note.severity) == ("Recovered", None)
    assert "BothSidesFail" in note.message


def test_a_refused_spec_wakes_nobody():
    refused = Verdict("False", "InvalidSpec", "spec.version: missing")
    (note,) = notes(found_with(Accepted=refused, Stalled=Verdict("True", "InvalidSpec", refused.message)))
    assert note.severity is Severity.WARNING


def test_a_latch_is_not_said_again():
    memory = a_release().live().failed("2.0.0").world().memory
    assert notes(found_with(Stalled=Verdict("True", "CrashLoop", "not again")), memory=memory) == []
    assert notes(found_with(), {"Stalled": {"status": "True", "reason": "CrashLoop"}}, memory) == []


def test_an_outage_of_what_serves_is_critical_and_so_is_its_end_said():
    down = Verdict("False", "NoEndpoint", "Service backend has no ready endpoint")
    (note,) = notes(found_with(Serving=down), {"Serving": {"status": "True"}})
    assert (note.reason, note.severity) == ("NoEndpoint", Severity.CRITICAL)
    (note,) = notes(found_with(), {"Serving": {"status": "False", "reason": "NoEndpoint"}})
    assert note.reason == "ServingAgain"
    assert notes(found_with(), {"Serving": {"status": "False", "reason": "NothingLive"}}) == []


# --- status -------------------------------------------------------------------------------------------------------------


def numbers(listed):
    return [item["number"] for item in listed]


def test_what_is_new_is_numbered_and_comes_first():
    listed = transitions.recorded(None, [a_transition(id="a"), a_transition(id="b")], {})
    assert [(item["number"], item["id"]) for item in listed] == [(2, "b"), (1, "a")]
    listed = transitions.recorded(listed, [a_transition(id="c")], {})
    assert [(item["number"], item["id"]) for item in listed] == [(3, "c"), (2, "b"), (1, "a")]


def test_what_was_said_is_not_said_again():
    listed = transitions.recorded(None, [a_transition(id="a")], {})
    assert transitions.recorded(listed, [a_transition(id="a")], {}) == listed


def test_what_is_stored_stays_as_it_is_where_nothing_is_new():
    listed = transitions.recorded(None, [a_transition(id="a")], {})
    listed[0]["ofANewerVersion"] = True
    assert transitions.recorded(listed, [], {}) == listed


@given(st.integers(1, 100), st.integers(0, 100))
def test_the_untold_are_kept_longer_but_not_for_ever(count, behind):
    listed = []
    for number in range(1, count + 1):
        told = max(number - 1 - behind, 0)
        listed = transitions.recorded(listed, [a_transition(number)], {"team": told, "pager": number})
    assert numbers(listed) == list(range(count, count - len(listed), -1))
    assert len(listed) <= KEPT_UNTOLD
    assert len(listed) >= min(count, KEPT)
    assert len(listed) >= min(count, behind, KEPT_UNTOLD)


def test_it_is_read_back_as_it_was():
    full = Transition(
        7, "id", NOW, "RolledBack", "503", Severity.CRITICAL, "RolledBack", "abc", "2.0.0", 3, "bob", "prices",
        NOW - timedelta(hours=1), "def", "ghi/2", "1.0.0", "hook migrate",
    )  # fmt: skip
    assert transitions.from_json(transitions.to_json(full)) == full
    least = a_transition()
    assert transitions.from_json(transitions.to_json(least)) == least


@pytest.mark.parametrize(
    "stored",
    [
        None,
        7,
        "text",
        {},
        [None, 7, "x", {}, {"number": "many"}],
        [{"number": 1, "id": "a", "at": "noon", "reason": "r"}],
    ],
)
def test_what_somebody_else_wrote_is_no_transition(stored):
    assert transitions.read(stored) == ()
    assert transitions.newest(stored) == 0
    assert numbers(transitions.recorded(stored, [a_transition()], {})) == [1]


def test_marks_are_numbers():
    assert transitions.marks({"team": 3, "pager": "x", "ops": None}) == {"team": 3}
    assert transitions.marks([]) == transitions.marks(None) == {}


def test_a_long_message_does_not_fill_the_status():
    world = a_release().live().world()
    found = told(world, world.memory, Note("EditRestored", "x" * 5000, "uid/7"))
    assert len(found.message) == transitions.LONGEST


def test_every_decision_that_begins_something_names_its_version():
    world = a_release().live().asking(a_spec("2.0.0")).world()
    for _ in range(5):
        decision = decide(world, NOW)
        if decision.notes:
            break
        assert decision.memory is not None or decision.step, decision
        world = replace(
            world, memory=decision.memory or world.memory, stored=world.stored | a_release()._with("2.0.0").stored
        )
    (note,) = decision.notes
    assert note.reason == "CandidateStarted"
    found = told(world, decision.memory, note)
    assert (found.version, found.candidate, found.since) == ("2.0.0", f"{TWO.revision}/1", NOW)


def test_nothing_is_remembered_of_an_empty_release():
    assert stamp(NOW) in transitions.to_json(told(a_release().world(), Memory(), Note("Retired", "x", "y")))["at"]
