"""Approvals by real users, whom the API server itself names: kubectl can claim what it likes."""

from tests.e2e import builders
from tests.e2e.scenes import first, part, reason, revision_of

BY = "tradingplatform.io/applied-by"
BEHALF = "tradingplatform.io/on-behalf-of"
ASKED = [{"at": "BeforeSwitch"}]
WATCH = {"for": "5m", "deadAfter": "3s"}


def waits(state):
    return state.condition("Ready")["reason"] == "ApprovalPending"


def asked_by(arena, who, version, **spec):
    """Let somebody apply a version that wants approval; it is verified and waits."""
    body = builders.release(version, part(version), approvals=ASKED, watch=WATCH, **spec)
    (stored,) = arena.apply_as(who, body)
    assert stored["metadata"]["annotations"][BY] == who
    return arena.until(lambda s: waits(s) and s.candidate() == version, f"version {version} waits for approval", 90)


def approval(arena, who, revision, attempt=1, **spec):
    """Let somebody approve; the name of the order."""
    return arena.order_as(who, "Approve", revision, attempt=attempt, **spec)


def answered(arena, name):
    return arena.until(lambda s: s.order(name).get("phase") in {"Done", "Refused"}, f"{name} is answered").order(name)


def test_a_second_person_approves_and_traffic_moves(arena):
    first(arena, "1")
    state = asked_by(arena, "anna", "2")
    revision = revision_of(state, "2")
    own = answered(arena, approval(arena, "anna", revision, issuedBy="bob"))
    assert (own["phase"], own["reason"]) == ("Refused", "ByAuthor"), "she cannot sign as bob"
    assert arena.now.live() == "1"
    yes = answered(arena, approval(arena, "bob", revision, reason="the smoke tests are green"))
    assert (yes["phase"], yes["reason"]) == ("Done", "Approved")
    state = arena.until(lambda s: s.live() == "2", "version 2 is live")
    (given,) = state.status()["history"][0]["approvals"]
    assert (given["by"], given["reason"], given["at"]) == ("bob", "the smoke tests are green", "BeforeSwitch")
    assert any("by bob: the smoke tests are green" in text for text in arena.said("Approved"))


def test_an_approval_never_counts_for_another_revision_or_a_later_attempt(arena):
    first(arena, "1")
    older = revision_of(asked_by(arena, "anna", "2"), "2")
    state = asked_by(arena, "anna", "3")
    revision = revision_of(state, "3")
    assert answered(arena, approval(arena, "bob", older))["reason"] == "WrongRevision"
    assert answered(arena, approval(arena, "bob", revision, attempt=2))["reason"] == "WrongAttempt"
    arena.order("Abort", revision)
    arena.until(lambda s: reason(s, "3") == "Aborted", "the attempt has ended")
    arena.order("Retry", revision)
    arena.until(lambda s: waits(s) and s.status()["candidate"]["attempt"] == 2, "attempt 2 waits")
    assert answered(arena, approval(arena, "bob", revision, attempt=1))["reason"] == "WrongAttempt"
    assert answered(arena, approval(arena, "anna", revision, attempt=2))["reason"] == "ByAuthor", (
        "a Retry keeps the author"
    )
    assert answered(arena, approval(arena, "bob", revision, attempt=2))["reason"] == "Approved"
    arena.until(lambda s: s.live() == "3", "version 3 is live")


def test_an_approval_is_waited_for_across_a_restart_and_given_up_in_time(arena):
    first(arena, "1")
    arena.apply_as("anna", builders.release("2", part("2"), approvals=[ASKED[0] | {"timeout": "8s"}]))
    arena.until(waits, "version 2 waits for approval", 90)
    arena.operator.kill()
    arena.operator.start()
    state = arena.until(lambda s: "2" in s.latched(), "version 2 is given up", 60)
    assert (reason(state, "2"), state.live()) == ("ApprovalTimeout", "1")


def test_two_people_approve_before_anything_is_deployed(arena):
    first(arena, "1")
    before = {d["metadata"]["name"] for d in arena.now.deployments()}
    gates = [{"at": "BeforeGreen", "required": 2}]
    arena.apply_as("anna", builders.release("2", part("2"), approvals=gates))
    state = arena.until(lambda s: waits(s) and s.candidate() == "2", "version 2 waits for approval", 60)
    revision = revision_of(state, "2")
    assert answered(arena, approval(arena, "bob", revision))["reason"] == "Approved"
    assert answered(arena, approval(arena, "bob", revision))["reason"] == "AlreadyCounted"
    arena.never(lambda s: {d["metadata"]["name"] for d in s.deployments()} != before, "anything is deployed", 4)
    assert answered(arena, approval(arena, "cleo", revision))["reason"] == "Approved"
    state = arena.until(lambda s: s.ready("2"), "version 2 is live", 90)
    entry = next(h for h in state.status()["history"] if h["version"] == "2" and h.get("approvals"))
    assert [(yes["by"], yes["at"]) for yes in entry["approvals"]] == [("bob", "BeforeGreen"), ("cleo", "BeforeGreen")]


def test_an_approval_that_nobody_gives_may_let_it_go_on_and_history_says_so(arena):
    first(arena, "1")
    gates = [{"at": "BeforeSwitch", "timeout": "6s", "onTimeout": "Continue"}]
    arena.apply_as("anna", builders.release("2", part("2"), approvals=gates))
    arena.until(waits, "version 2 waits for approval", 60)
    arena.until(lambda s: s.ready("2"), "it goes on without them", 60)
    assert any("2" in text for text in arena.said("ApprovalTimeout"))


def test_who_a_pipeline_applies_for_cannot_approve_it_nor_can_the_pipeline(arena):
    """The pipeline's account is trusted to say for whom it acts, and has to."""
    first(arena, "1")
    arena.operator.stop()
    arena.operator.start(TRADINGRELEASE_TRUSTED_ACCOUNTS="pipeline")

    def applied(version, *, behalf=""):
        body = builders.release(version, part(version), approvals=ASKED, watch=WATCH)
        body["metadata"]["annotations"] = {BEHALF: behalf} if behalf else {}
        arena.apply_as("pipeline", body)
        return arena.until(
            lambda s: s.candidate() == version and s.status()["candidate"]["approvals"], "it is known", 60
        )

    applied("2")
    state = arena.until(lambda s: waits(s) and s.candidate() == "2", "version 2 waits for approval", 90)
    assert answered(arena, approval(arena, "bob", revision_of(state, "2")))["reason"] == "AuthorUnknown"
    applied("3", behalf="anna")
    state = arena.until(lambda s: waits(s) and s.candidate() == "3", "version 3 waits for approval", 90)
    revision = revision_of(state, "3")
    assert answered(arena, approval(arena, "anna", revision))["reason"] == "ByAuthor"
    assert answered(arena, approval(arena, "pipeline", revision, onBehalfOf="bob"))["reason"] == "ByAuthor"
    assert answered(arena, approval(arena, "pipeline", revision))["reason"] == "IssuerUnknown"
    assert answered(arena, approval(arena, "bob", revision))["reason"] == "Approved"
    arena.until(lambda s: s.live() == "3", "version 3 is live")
