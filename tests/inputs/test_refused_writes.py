"""What the API server refuses when it is to be done, though it took the spec: said at once, tried again until it is taken."""

from tests.e2e.api import ApiError
from tests.e2e.builders import service
from tests.inputs.place import release

SERVICES = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"]}
OPERATOR = "system:serviceaccount:tradingrelease-system:tradingrelease-operator"
OTHERS_ONLY = f"request.userInfo.username != '{OPERATOR}' || object.spec.selector == oldObject.spec.selector"


def refuses(api, verb, path, body=None):
    """Tell whether the API server would refuse something that is not done."""
    try:
        api._call(verb, f"{path}?dryRun=All", body, content_type="application/merge-patch+json")
    except ApiError as error:
        return error.status in {403, 422}
    return False


def stalled(state):
    """Return reason of Stalled, "" where it is not True."""
    found = state.condition("Stalled")
    return found["reason"] if found["status"] == "True" else ""


def test_a_switch_that_is_refused_is_told_and_made_once_it_is_taken(place):
    place.go_live("1")
    with place.denied("backend"):
        place.apply(release("2"))
        state = place.until(lambda s: stalled(s) == "SwitchRefused", "it is said", 20)
        assert (state.status()["phase"], state.live(), state.candidate()) == ("Stalled", "1", "2")
        ready = state.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", "SwitchRefused")
        assert "the test says no" in ready["message"]
        assert "Service backend" in ready["message"], "people need to know what is not done"
        assert "the test says no" in place.said("SwitchRefused")[0]
        since = state.condition("Stalled")["lastTransitionTime"]
        order = place.order("Rollback", "nonsense", reason="to be refused")
        place.until(lambda s: s.order(order).get("phase") == "Refused", "orders are answered meanwhile", 40)
        place.never(lambda s: stalled(s) != "SwitchRefused", "it comes and goes with each try", 6)
    state = place.until(lambda s: s.ready("2"), "it is made once it is taken", 20)
    assert state.condition("Stalled")["lastTransitionTime"] > since
    assert len(state.said("SwitchRefused")) == 1, "said once, however often it was tried"
    told = [(t["reason"], t["severity"]) for t in state.status()["transitions"]]
    assert told.count(("SwitchRefused", "Critical")) == 1
    newest = [reason for reason, _ in told if reason in {"SwitchRefused", "Recovered"}]
    assert newest[:2] == ["Recovered", "SwitchRefused"]


def test_a_refused_switch_keeps_nobody_from_giving_up_its_candidate(place):
    own = place.go_live("1").selected("backend")
    with place.denied("backend"):
        place.apply(release("2"))
        state = place.until(lambda s: stalled(s) == "SwitchRefused", "it is said", 20)
        order = place.order("Abort", state.status()["candidate"]["revision"], reason="not today")
        place.until(lambda s: s.order(order).get("phase") == "Done", "it is aborted", 20)
        place.until(lambda s: stalled(s) == "Aborted", "the refusal is over", 40)
    place.never(lambda s: s.selected("backend") != own, "it is switched to, now that it could be", 5)


def test_a_selector_that_others_changed_and_nobody_may_put_back_is_told(place):
    """What is live and proven serves nobody then: Ready says so, as long as the API server refuses the repair."""
    place.expect_violation("S1", "Service backend selects elsewhere")
    own = place.go_live("1").selected("backend")
    path = place.api.path("Service", "backend")
    moved = {"spec": {"selector": {"tradingplatform.io/revision": "elsewhere"}}}
    operator = place.api.as_user(OPERATOR)
    rule = SERVICES | {"operations": ["UPDATE"], "resourceNames": ["backend"]}
    with place.denying(rule, OTHERS_ONLY, "no repair today", lambda: refuses(operator, "PATCH", path, moved)):
        place.api.patch("Service", "backend", moved)
        state = place.until(lambda s: stalled(s) == "SwitchRefused", "it is said", 20)
        assert state.status()["phase"] == "Stalled"
        assert "no repair today" in state.condition("Ready")["message"]
        assert not state.is_true("Ready")
    place.until(lambda s: s.selected("backend") == own and s.ready("1"), "it is put back", 40)


def test_a_chore_that_is_refused_is_told_by_an_event_and_holds_up_nothing(place):
    place.go_live("1")
    place.apply(service("probe-preview", {"app": "probe"}))
    path = place.api.path("Service", "probe-preview")
    rule, kept = SERVICES | {"operations": ["DELETE"]}, "!oldObject.metadata.name.endsWith('-preview')"
    with place.denying(rule, kept, "previews are kept", lambda: refuses(place.api, "DELETE", path)):
        place.apply(release("2"))
        place.until(lambda s: s.ready("2"), "it goes live and is proven all the same", 20)
        assert "previews are kept" in place.said("WriteRefused")[0]
        place.apply(release("3"))
        place.until(lambda s: s.ready("3"), "the next release goes live", 20)
        state = place.until(lambda s: s.retained() == ["2"], "what comes after that chore is done", 40)
        assert (stalled(state), state.get("Service", "backend-preview") is not None) == ("", True)
    place.until(lambda s: not s.get("Service", "backend-preview"), "it is done once it is taken", 40)


def test_a_policy_that_takes_no_events_hides_no_refusal(place):
    """Such a policy denies with 422, and is often written for every kind."""
    place.go_live("1")
    probe = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "probe"}, "reason": "Probe", "message": "m",
        "type": "Normal", "involvedObject": {"kind": "Pod", "name": "x", "namespace": place.namespace},
    }  # fmt: skip
    rule = {"apiGroups": ["", "events.k8s.io"], "apiVersions": ["*"], "resources": ["events"], "operations": ["CREATE"]}
    with (
        place.denying(rule, "false", "no events here", lambda: place.refuses(probe)),
        place.denied("backend"),
    ):
        place.apply(release("2"))
        place.until(lambda s: stalled(s) == "SwitchRefused", "it is said in status all the same", 20)
    place.until(lambda s: s.ready("2"), "it is made once it is taken", 20)
