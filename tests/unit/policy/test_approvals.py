"""Whose approval counts, for what, and what happens where nobody gives one."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import approvals
from tradingrelease.policy.decide import decide
from tradingrelease.policy.freezes import Freeze
from tradingrelease.policy.model import (
    Approval,
    Author,
    CreateDeployment,
    Gate,
    HookRun,
    Paused,
    Rest,
    Switch,
    Waiting,
)
from tradingrelease.policy.reasons import Action, Consent, Moment, Outcome, Progress
from tradingrelease.policy.rules.approvals import waits_before_the_switch
from tradingrelease.policy.windows import Between

from tests.builders import NOW, a_release, a_spec, an_order, parsed, rejected

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
    assert decision.rule == f"approvals_come_before_{'green' if at == 'BeforeGreen' else 'the_switch'}"


@pytest.mark.parametrize("at", ["BeforeGreen", "BeforeSwitch"])
def test_nothing_goes_on_while_the_spec_that_asks_for_people_is_gone(at):
    world, revision = waiting(at)
    stored = {r: s for r, s in world.stored.items() if r != revision}
    decision = decide(replace(world, spec=rejected({"version": "oops"}), stored=stored), NOW)
    assert (type(decision.step), decision.reason, decision.memory) == (Rest, "SpecMissing", None)


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


def test_an_approval_of_nobody_says_what_the_cluster_lacks():
    world, revision = waiting()
    memory, answer = approve(world, revision, "")
    assert (answer.phase, answer.reason, gate_of(memory).given) == ("Refused", "IssuerUnknown", ())
    assert "install manifests/admission" in answer.message


def test_there_is_nothing_to_approve_without_a_candidate():
    world = a_release().live().world()
    memory, answer = approve(world, world.memory.live.stack.revision)
    assert (memory.candidate, answer.phase, answer.reason) == (None, "Refused", "WrongRevision")
    assert answer.message.endswith("the candidate is none")


@pytest.mark.parametrize("issuer", ["anna", "bob"])
def test_nobody_approves_while_the_spec_that_says_who_may_is_gone(issuer):
    """Whoever can delete it must not approve what they applied meanwhile; and it may only be its watch that is behind."""
    world, revision = waiting()
    order = an_order(Action.APPROVE, revision, attempt=1, issued_by=issuer)
    ordered = replace(world, orders=(order,))
    bare = replace(ordered, stored={r: s for r, s in world.stored.items() if r != revision})
    decision = decide(replace(bare, spec=rejected({"version": "oops"})), NOW)
    assert (type(decision.step), decision.reason, decision.memory) == (Rest, "SpecMissing", None)
    (answer,) = decide(ordered, NOW).memory.answers
    assert answer.reason == {"anna": "ByAuthor", "bob": "Approved"}[issuer], (
        "it waits, and is answered once it is known"
    )


def test_an_order_does_not_wait_for_the_stored_spec_for_ever():
    """Who said yes to what was asked for then does not say yes days later, when somebody stores the spec again."""
    world, revision = waiting()
    late = NOW + timedelta(minutes=11)
    order = an_order(Action.APPROVE, revision, attempt=1, issued_by="bob", phase="Pending")
    bare = replace(world, orders=(order,), stored={r: s for r, s in world.stored.items() if r != revision})
    (answer,) = decide(replace(bare, spec=rejected({"version": "oops"})), late).memory.answers
    assert (answer.phase, answer.reason) == ("Refused", "SpecMissing")


def test_an_order_that_waits_for_the_stored_spec_keeps_no_other_one_waiting():
    world, revision = waiting()
    orders = (an_order(Action.APPROVE, revision, attempt=1, issued_by="bob"), an_order(Action.PAUSE, "", uid="pause"))
    bare = replace(world, orders=orders, stored={r: s for r, s in world.stored.items() if r != revision})
    (answer,) = decide(bare, NOW).memory.answers
    assert (answer.uid, answer.reason) == ("pause", "Paused")


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


def two_moments():
    """Return a world whose candidate waits for approval before green, and is to wait again before the switch."""
    world, revision = waiting("BeforeGreen")
    raw = a_spec("2.0.0", approvals=[{"at": "BeforeGreen"}, {"at": "BeforeSwitch"}])
    spec = parsed(raw)
    first, second = approvals.begun(spec)
    gates = (replace(first, phase=Consent.WAITING, since=NOW - WAITS), second)
    stack = replace(world.memory.candidate.stack, revision=spec.revision)
    candidate = replace(world.memory.candidate, gates=gates, stack=stack)
    stored = {r: s for r, s in world.stored.items() if r != revision} | {spec.revision: spec}
    return replace(world, memory=replace(world.memory, candidate=candidate), stored=stored, spec=spec), spec.revision


def test_two_yeses_to_one_moment_are_none_to_the_next():
    """Two people answer the same question within a second: nobody has looked at what is yet to be verified."""
    world, revision = two_moments()
    memory, _ = approve(world, revision, "bob")
    after = replace(world, memory=replace(memory, answers=()))
    memory, answer = approve(after, revision, "carol")
    assert (answer.phase, answer.reason) == ("Refused", "NothingToApprove")
    assert "BeforeSwitch" in answer.message
    assert [g.phase for g in memory.candidate.gates] == [Consent.APPROVED, Consent.PENDING]


@pytest.mark.parametrize(
    ("seconds", "reason"), [(-2, "TooEarly"), (-1, "TooEarly"), (-0.9, "Approved"), (5, "Approved")]
)
def test_what_was_ordered_before_a_second_moment_came_is_not_for_it(seconds, reason):
    world, revision = two_moments()
    first, second = world.memory.candidate.gates
    gates = (replace(first, phase=Consent.APPROVED), replace(second, phase=Consent.WAITING, since=NOW))
    memory = replace(world.memory, candidate=replace(world.memory.candidate, gates=gates))
    order = an_order(Action.APPROVE, revision, attempt=1, issued_by="bob", created_at=NOW + timedelta(seconds=seconds))
    assert approvals.given(replace(world, memory=memory), order, NOW + timedelta(seconds=9))[1] == reason


def test_what_was_ordered_before_anybody_was_asked_counts_for_the_first_moment():
    world, revision = waiting(since=timedelta(0))
    assert approve(world, revision, created_at=NOW - timedelta(minutes=1))[1].reason == "Approved"


def test_the_first_of_two_yeses_gives_no_new_time():
    world, revision = waiting(required=2)
    memory, _ = approve(world, revision)
    assert (len(gate_of(memory).given), memory.candidate.counted_from) == (1, world.memory.candidate.counted_from)
    memory, _ = approve(replace(world, memory=replace(memory, answers=())), revision, "carol")
    assert memory.candidate.counted_from == NOW


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
    world, revision = waiting(notByAuthor=False)
    assert approve(world, revision, "anna")[1].reason == "Approved"


def test_nobody_asks_who_the_author_is_where_the_author_counts():
    world, revision = waiting(notByAuthor=False, author=Author())
    assert "to approve, order Approve" in decide(world, NOW).because
    assert approve(world, revision, "anna")[1].reason == "Approved"


def test_who_scales_a_release_does_not_become_its_author():
    world, revision = waiting()
    scaled = replace(world, author=Author("zoe"))
    assert approve(scaled, revision, "anna")[1].reason == "ByAuthor"
    assert approve(scaled, revision, "zoe")[1].reason == "Approved"


def asked_for(version):
    """Return a world whose accepted spec asks for another version than the live one."""
    world = a_release().live().asking(a_spec(version)).world()
    return replace(world, stored=world.stored | {world.wanted.revision: world.wanted})


def test_who_scales_a_release_that_waits_to_begin_does_not_become_its_author():
    """It may wait for days: for a Resume, a Service, a migration, a freeze."""
    world = asked_for("2.0.0")
    world = replace(world, author=ANNA, memory=replace(world.memory, paused=Paused(NOW, "", "order-pause")))
    waits = decide(world, NOW)
    assert (waits.reason, waits.memory.waiting) == ("Paused", Waiting(world.wanted.revision, ANNA))
    scaled = replace(world, memory=waits.memory, author=Author("bob"), generation=world.generation + 1)
    assert decide(scaled, NOW).memory is None, "it is known"
    begun = decide(replace(scaled, memory=replace(waits.memory, paused=None)), NOW).memory
    assert (begun.candidate.author, begun.waiting) == (ANNA, None)


def test_who_asks_for_another_revision_is_its_author():
    world = asked_for("2.0.0")
    paused = Paused(NOW, "", "order-pause")
    memory = replace(world.memory, paused=paused, waiting=Waiting("another", ANNA))
    waits = decide(replace(world, memory=memory, author=Author("bob")), NOW).memory
    assert waits.waiting == Waiting(world.wanted.revision, Author("bob"))
    begun = decide(replace(world, memory=replace(memory, paused=None), author=Author("bob")), NOW).memory
    assert begun.candidate.author == Author("bob")


def test_a_gate_that_nobody_can_pass_says_so_at_once():
    """It is not the first refused order that tells."""
    world, _ = waiting(author=Author())
    decision = decide(world, NOW)
    assert decision.reason == "ApprovalPending"
    assert "nobody knows who applied this version" in decision.because
    assert "change the spec" in decision.because


@pytest.mark.parametrize("what", ["Abort", "Continue"])
def test_nobody_in_time_though_it_is_well_no_more(what):
    """What waits for people has no deadline of its own: it would wait for ever."""
    world, _ = waiting(timeout="5m", onTimeout=what)
    sick = replace(world, pods=tuple(replace(p, ready=False) for p in world.pods))
    assert decide(sick, NOW - timedelta(seconds=1)).memory is None
    decision = decide(sick, NOW)
    memory = decision.memory
    assert (decision.rule, decision.reason) == ("approvals_run_out", "ApprovalTimeout")
    if what == "Abort":
        assert memory.latched[0].reason == "ApprovalTimeout"
    else:
        assert (gate_of(memory).phase, memory.candidate.counted_from) == (Consent.TIMED_OUT, NOW)


@pytest.mark.parametrize("at", ["BeforeGreen", "BeforeSwitch"])
def test_nobodys_time_runs_in_a_pause(at):
    world, _ = waiting(at, timeout="5m")
    paused = replace(world, memory=replace(world.memory, paused=Paused(NOW, "", "order-pause")))
    assert decide(paused, NOW + timedelta(hours=9)).memory is None
    order = an_order(Action.RESUME, created_at=NOW + timedelta(hours=9))
    resumed = decide(replace(paused, orders=(order,)), NOW + timedelta(hours=9)).memory
    assert (gate_of(resumed).phase, gate_of(resumed).since) == (Consent.WAITING, NOW + timedelta(hours=9))


def test_nobodys_time_runs_in_a_freeze():
    world, _ = waiting(timeout="5m")
    held = replace(world.memory, candidate=replace(world.memory.candidate, held="Switch"))
    sick = tuple(replace(p, ready=False) for p in world.pods)
    thawed = decide(replace(world, memory=held, pods=sick), NOW + timedelta(hours=60)).memory
    assert (gate_of(thawed).phase, gate_of(thawed).since) == (Consent.WAITING, NOW + timedelta(hours=60))
    well = decide(replace(world, memory=held), NOW + timedelta(hours=60)).memory
    assert (gate_of(well).phase, gate_of(well).since) == (Consent.WAITING, NOW + timedelta(hours=60))


def test_what_is_settled_or_not_asked_yet_stays_so_after_a_freeze():
    """A gate whose time ran before anybody was asked would never ask."""
    world, _ = two_moments()
    first, second = world.memory.candidate.gates
    settled = replace(first, phase=Consent.APPROVED)
    candidate = replace(world.memory.candidate, held="Switch", gates=(settled, second))
    thawed = decide(replace(world, memory=replace(world.memory, candidate=candidate)), NOW).memory
    assert thawed.candidate.held == ""
    assert thawed.candidate.gates == (settled, second)


def test_nobodys_time_is_up_while_a_freeze_holds_what_is_well_no_more():
    world, _ = waiting(timeout="5m", since=timedelta(hours=9))
    freeze = Freeze("close", "uid-close", "quarter close", "risk", Between(NOW - WAITS, NOW + WAITS))
    held = replace(world.memory, candidate=replace(world.memory.candidate, held="Switch"))
    sick = tuple(replace(p, ready=False) for p in world.pods)
    assert decide(replace(world, memory=held, pods=sick, freezes=(freeze,)), NOW).memory is None


@pytest.mark.parametrize(
    ("gate", "hook", "waits"),
    [
        ((Moment.BEFORE_SWITCH, Consent.WAITING), None, True),
        ((Moment.BEFORE_SWITCH, Consent.APPROVED), None, False),
        ((Moment.BEFORE_GREEN, Consent.WAITING), None, False),
        (None, (Moment.BEFORE_SWITCH, Progress.RUNNING), True),
        (None, (Moment.BEFORE_SWITCH, Progress.SUCCEEDED), False),
        (None, (Moment.BEFORE_GREEN, Progress.RUNNING), False),
        (None, None, False),
    ],
)
def test_no_deadline_runs_while_something_is_waited_for_before_the_switch(gate, hook, waits):
    candidate = a_release().candidate().memory.candidate
    gates = (Gate(gate[0], 1, gate[1]),) if gate else ()
    runs = (HookRun("smoke", *hook),) if hook else ()
    assert waits_before_the_switch(replace(candidate, gates=gates, hooks=runs)) is waits


@pytest.mark.parametrize("what", ["Abort", "Continue"])
def test_nobody_in_time(what):
    world, _ = waiting(timeout="5m", onTimeout=what)
    early = decide(world, NOW - timedelta(seconds=1))
    assert (early.memory, early.look_again) == (None, timedelta(seconds=1.1))
    decision = decide(world, NOW)
    memory = decision.memory
    assert (decision.reason, [(n.reason, n.warning) for n in decision.notes]) == (
        "ApprovalTimeout",
        [("ApprovalTimeout", True)],
    )
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
