"""Whose approval counts, for what, and what happens where nobody gives one."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import approvals
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Approval, Author, CreateDeployment, Rest, Switch
from tradingrelease.policy.reasons import Action, Consent, Moment, Outcome

from tests.builders import NOW, a_release, a_spec, an_order, parsed

WAITS = timedelta(minutes=5)
ANNA = Author("anna")


def waiting(at="BeforeSwitch", author=ANNA, trusted=(), since=WAITS, **asked):
    """Return a world whose verified candidate 2.0.0 waits for approval, and its revision."""
    raw = a_spec("2.0.0", approvals=[{"at": at, **asked}])
    spec = parsed(raw)
    held = a_release().live().candidate("2.0.0")
    gates = tuple(replace(g, phase=Consent.WAITING, since=NOW - since) for g in approvals.begun(spec))
    stack = replace(held.memory.candidate.stack, revision=spec.revision)
    candidate = replace(held.memory.candidate, stack=stack, gates=gates, author=author)
    held = replace(
        held,
        memory=replace(held.memory, candidate=candidate),
        verified=True,
        asked=raw,
        stored=held.stored | {spec.revision: spec},
    )
    if at == "BeforeGreen":
        held = replace(held, deployments={n: d for n, d in held.deployments.items() if d.created_version != "2.0.0"})
    live = held.memory.live.stack.revision
    world = replace(held.world(), trusted_accounts=frozenset(trusted))
    return replace(world, stored={r: s for r, s in world.stored.items() if r in {live, spec.revision}}), spec.revision


def approve(world, revision, issued_by="bob", *, attempt=1, **fields):
    """Return the memory after an Approve, and its answer."""
    uid = f"order-{issued_by}-{fields.get('on_behalf_of', '')}"
    order = an_order(Action.APPROVE, revision, uid=uid, attempt=attempt, issued_by=issued_by, **fields)
    memory = decide(replace(world, orders=(order,)), NOW).memory
    return memory, memory.answers[-1]


def gate_of(memory):
    return memory.candidate.gates[0]


@pytest.mark.parametrize("at", ["BeforeGreen", "BeforeSwitch"])
def test_nothing_is_done_before_it_is_approved(at):
    world, _ = waiting(at)
    decision = decide(world, NOW)
    assert (type(decision.step), decision.reason) == (Rest, "ApprovalPending")


@pytest.mark.parametrize(("at", "step"), [("BeforeGreen", CreateDeployment), ("BeforeSwitch", Switch)])
def test_what_is_approved_goes_on(at, step):
    world, revision = waiting(at)
    memory, answer = approve(world, revision, reason="I looked")
    assert (answer.phase, answer.reason) == ("Done", "Approved")
    assert gate_of(memory).given == (Approval(Moment(at), "bob", "bob", NOW, "I looked", "approve-1"),)
    assert isinstance(decide(replace(world, memory=replace(memory, answers=())), NOW).step, step)


def test_since_when_it_waits_is_remembered_and_told():
    world, revision = waiting()
    candidate = replace(world.memory.candidate, gates=approvals.begun(world.spec_of(revision)))
    decision = decide(replace(world, memory=replace(world.memory, candidate=candidate)), NOW)
    assert (gate_of(decision.memory).phase, gate_of(decision.memory).since) == (Consent.WAITING, NOW)
    assert [note.reason for note in decision.notes] == ["ApprovalWanted"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revision": "another"}, "WrongRevision"),
        ({"attempt": 2}, "WrongAttempt"),
        ({"attempt": 0}, "WrongAttempt"),
        ({"issued_by": "anna"}, "ByAuthor"),
        ({"issued_by": ""}, "IssuerUnknown"),
        ({"created_at": NOW - timedelta(minutes=11)}, "Expired"),
    ],
    ids=str,
)
def test_an_approval_that_does_not_count(changes, reason):
    world, revision = waiting()
    given = {"revision": revision, "issued_by": "bob"} | changes
    memory, answer = approve(world, given.pop("revision"), given.pop("issued_by"), **given)
    assert (answer.phase, answer.reason) == ("Refused", reason)
    assert gate_of(memory).given == ()


def test_nothing_to_approve_is_no_approval():
    world, revision = waiting()
    candidate = replace(world.memory.candidate, gates=())
    plain = replace(
        world, memory=replace(world.memory, candidate=candidate), stored={revision: parsed(a_spec("2.0.0"))}
    )
    assert (
        approvals.given(plain, an_order(Action.APPROVE, revision, attempt=1, issued_by="bob"), NOW)[1]
        == "NothingToApprove"
    )


def test_one_person_counts_once():
    world, revision = waiting(required=2)
    memory, _ = approve(world, revision)
    world = replace(world, memory=replace(memory, answers=()))
    again, answer = approve(world, revision)
    assert answer.reason == "AlreadyCounted"
    assert len(gate_of(again).given) == 1
    assert gate_of(again).phase is Consent.WAITING
    done, _ = approve(world, revision, "carol")
    assert gate_of(done).phase is Consent.APPROVED


@pytest.mark.parametrize(
    ("author", "issuer", "behalf", "reason"),
    [
        (Author("anna"), "bob", "", "Approved"),
        (Author("anna"), "bob", "anna", "Approved"),  # bob is trusted by nobody: for whom he speaks is only words
        (Author("ci", "anna"), "bob", "", "Approved"),
        (Author("ci", "anna"), "anna", "", "ByAuthor"),
        (Author("ci", "anna"), "ci", "anna", "ByAuthor"),
        (Author("ci", "anna"), "ci", "bob", "ByAuthor"),  # the same pipeline on both sides
        (Author("anna"), "ci", "bob", "Approved"),
        (Author("anna"), "ci", "anna", "ByAuthor"),
        (Author("anna"), "ci", "", "IssuerUnknown"),
        (Author("ci", ""), "bob", "", "AuthorUnknown"),
        (Author("", ""), "bob", "", "AuthorUnknown"),
        (Author("", "anna"), "bob", "", "AuthorUnknown"),
    ],
    ids=str,
)
def test_both_names_of_both_sides_are_compared(author, issuer, behalf, reason):
    world, revision = waiting(author=author, trusted=("ci",))
    assert approve(world, revision, issuer, on_behalf_of=behalf)[1].reason == reason


def test_the_author_counts_where_the_spec_says_so():
    world, revision = waiting(notByAuthor=False, author=Author())
    assert approve(world, revision, "anna")[1].reason == "Approved"


def test_who_scales_a_release_does_not_become_its_author():
    world, revision = waiting()
    scaled = replace(world, author=Author("zoe"))
    assert approve(scaled, revision, "anna")[1].reason == "ByAuthor"
    assert approve(scaled, revision, "zoe")[1].reason == "Approved"


@pytest.mark.parametrize("what", ["Abort", "Continue"])
def test_nobody_in_time(what):
    world, _ = waiting(timeout="5m", onTimeout=what)
    assert decide(world, NOW - timedelta(seconds=1)).memory is None
    memory = decide(world, NOW).memory
    if what == "Abort":
        assert (memory.candidate, memory.latched[0].reason) == (None, "ApprovalTimeout")
    else:
        assert gate_of(memory).phase is Consent.TIMED_OUT
        assert isinstance(decide(replace(world, memory=memory), NOW).step, Switch)


def test_no_deadline_runs_while_a_verified_candidate_waits_for_people():
    world, revision = waiting(since=timedelta(hours=5))
    late = replace(world.memory.candidate, started_at=NOW - timedelta(hours=6))
    drained = replace(
        world, pods=tuple(replace(p, ready=False) for p in world.pods), memory=replace(world.memory, candidate=late)
    )
    decision = decide(drained, NOW)
    assert (decision.memory, decision.reason) == (None, "Progressing")
    memory, _ = approve(drained, revision)
    assert memory.candidate.counted_from == NOW, "it begins anew"


def test_history_says_who_approved():
    world, revision = waiting()
    memory, _ = approve(world, revision, reason="I looked")
    ended = replace(world, memory=replace(memory, answers=()), spec=parsed(a_spec("1.0.0")))
    entry = decide(ended, NOW).memory.history[0]
    assert (entry.outcome, [a.by for a in entry.approvals]) == (Outcome.SUPERSEDED, ["bob"])


def test_a_new_attempt_asks_again():
    world, revision = waiting()
    memory, _ = approve(world, revision)
    from tradingrelease.policy.absorb import _again

    again = _again(memory.candidate, NOW)
    assert (again.attempt, again.gates, again.author) == (2, (), Author("anna"))
    after = replace(world, memory=replace(memory, candidate=again, answers=()))
    assert all(g.given == () for g in decide(after, NOW).memory.candidate.gates)
