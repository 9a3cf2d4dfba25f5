"""Each invariant of the oracle can fail, and does not where it holds."""

import json

import pytest

from tests.oracle import OPERATOR, RULES, Recorded, check, our_writes, writer

G = "tradingplatform.io"
LABELS = {f"{G}/release": "shop", f"{G}/component": "backend"}


class Story:
    """Builds a history: what was stored, one version after the other."""

    def __init__(self):
        self.events = []
        self.version = 100
        self.seconds = 0.0
        self.note("STARTED")

    def put(self, kind, name, body, *, change="MODIFIED", by=None, owns=None, wait=0.1):
        self.version += 1
        self.seconds += wait
        entries = [{"manager": by, "time": f"2026-01-01T00:{self.version % 60:02}:00Z", "fieldsV1": owns or {}}]
        metadata = body.get("metadata", {}) | {"name": name, "managedFields": entries if by else []}
        metadata["resourceVersion"] = str(self.version)
        self.events.append(Recorded(self.version, change, kind, name, body | {"metadata": metadata}, self.seconds))
        return self

    def note(self, change):
        body = {"metadata": {"name": "operator"}}
        self.events.append(Recorded(self.version, change, "Operator", "operator", body, self.seconds))
        return self

    def service(self, revision, *, by=OPERATOR, **record):
        selector = {"app": "backend"} | ({f"{G}/revision": revision} if revision else {})
        said = {"act": 1, "cause": "Promote", "to": "spec-b", "selected": revision, "order": ""} | record
        metadata = {"labels": LABELS, "annotations": {f"{G}/switch": json.dumps(said)}, "uid": "s"}
        owns = {"f:spec": {"f:selector": {}}}
        return self.put("Service", "backend", {"metadata": metadata, "spec": {"selector": selector}}, by=by, owns=owns)

    def switched(self, name, revision, *, by=OPERATOR, **record):
        said = {"act": 1, "cause": "Promote", "to": "spec-b", "selected": revision, "order": ""} | record
        metadata = {"labels": LABELS, "annotations": {f"{G}/switch": json.dumps(said)}, "uid": name}
        body = {"metadata": metadata, "spec": {"selector": {"app": name, f"{G}/revision": revision}}}
        return self.put("Service", name, body, by=by, owns={"f:spec": {"f:selector": {}}})

    def deployment(self, revision, *, replicas=1, available=1, by=OPERATOR, change="MODIFIED", **annotations):
        metadata = {"labels": LABELS | {f"{G}/revision": revision}, "annotations": annotations}
        body = {"metadata": metadata, "spec": {"replicas": replicas}, "status": {"availableReplicas": available}}
        owns = {"f:spec": {"f:replicas": {}}}
        return self.put("Deployment", f"shop-backend-{revision}", body, by=by, owns=owns, change=change)

    def release(self, **status):
        spec = {"components": [{"name": "backend"}]}
        body = {"metadata": {"uid": "r", "generation": 1}, "spec": spec, "status": {"observedGeneration": 1} | status}
        return self.put("TradingRelease", "shop", body, by=OPERATOR)

    def order(self, *, wait=0.1, **status):
        spec = {"release": "shop", "action": "Rollback", "revision": "spec-b"}
        return self.put("ReleaseCommand", "back", {"metadata": {"uid": "o"}, "spec": spec, "status": status}, wait=wait)


def stack(name, revision, **more):
    return {"revision": name, "version": name, "components": [{"name": "backend", "revision": revision}]} | more


def retained(until="2099-01-01T00:00:00Z"):
    return [stack("spec-a", "aaa", until=until)]


def story():
    """Begin where every test begins: a is live, b is the candidate, both stand."""
    return (
        Story()
        .release(candidate=stack("spec-b", "bbb"), live=stack("spec-a", "aaa"))
        .deployment("aaa")
        .deployment("bbb")
        .service("aaa", cause="Adopt")
    )


def broken(history):
    return {violation.rule for violation in check(history.events)}


def test_a_good_release_breaks_nothing():
    history = story().service("bbb").release(live=stack("spec-b", "bbb"), retained=retained())
    assert broken(history) == set()


def test_every_invariant_has_a_test_that_breaks_it():
    assert {rule.name for rule in RULES} == {
        "S1", "S2", "S3", "S4", "S5", "S6", "S9", "S10", "Fence", "Once", "Agreed",
    }  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda s: s.service(None), id="the key is gone"),
        pytest.param(lambda s: s.service("none", cause="Repair"), id="it selects nothing"),
        pytest.param(lambda s: s.service("zzz", by="somebody"), id="no such Deployment"),
        pytest.param(lambda s: s.deployment("aaa", change="DELETED"), id="its Deployment goes"),
        pytest.param(lambda s: s.deployment("aaa", replicas=0), id="its Deployment is emptied by us"),
    ],
)
def test_s1_notices(bad):
    assert "S1" in broken(bad(story()))


def test_s1_lets_an_undo_of_the_very_first_switch_return_to_nothing():
    history = Story().release(candidate=stack("spec-b", "bbb")).deployment("bbb").service("bbb")
    assert broken(history.service("none", cause="Undo", act=2)) == set()


def test_s1_lets_an_author_have_no_replicas():
    history = story()
    body = dict(history.events[1].body, spec={"components": [{"name": "backend", "replicas": 0}]})
    assert broken(history.put("TradingRelease", "shop", body).deployment("aaa", replicas=0)) == set()


def test_s1_lets_an_author_ask_for_replicas_again():
    history = story()
    none = dict(history.events[1].body, spec={"components": [{"name": "backend", "replicas": 0}]})
    some = dict(history.events[1].body, spec={"components": [{"name": "backend", "replicas": 1}]})
    history = history.put("TradingRelease", "shop", none).deployment("aaa", replicas=0)
    assert broken(history.put("TradingRelease", "shop", some).deployment("bbb")) == set()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda s: s.deployment("bbb", available=0).put("Pod", "p", {}, wait=9).service("bbb"), id="away"),
        pytest.param(lambda s: s.deployment("ccc").service("ccc", to="spec-c"), id="it is no candidate"),
        pytest.param(lambda s: s.service("bbb", cause="Rollback"), id="it is not retained"),
        pytest.param(lambda s: s.service("bbb", cause="Repair"), id="it is not live"),
        pytest.param(lambda s: s.deployment("ccc", available=0).service("ccc", cause="Adopt"), id="a clone not ready"),
        pytest.param(lambda s: s.service("bbb", selected="other"), id="its record says something else"),
        pytest.param(lambda s: s.service("none", cause="Promote"), id="nothing, without an undo"),
    ],
)
def test_s2_notices(bad):
    assert "S2" in broken(bad(story()))


def test_s2_allows_what_was_available_a_moment_ago():
    assert "S2" not in broken(story().deployment("bbb", available=0).service("bbb"))


def test_s2_is_about_our_writes_only():
    assert "S2" not in broken(story().deployment("ccc").service("ccc", by="somebody"))


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda s: s.deployment("aaa", change="DELETED"), id="deleted"),
        pytest.param(lambda s: s.deployment("aaa", replicas=0), id="scaled down"),
        pytest.param(lambda s: s.release(live=stack("spec-b", "bbb"), retained=[]), id="forgotten early"),
    ],
)
def test_s3_notices(bad):
    history = story().service("bbb").release(live=stack("spec-b", "bbb"), retained=retained())
    assert "S3" in broken(bad(history))


def test_s3_lets_a_retained_revision_that_is_asked_for_again_with_no_replicas_have_none():
    history = story().service("bbb").release(live=stack("spec-b", "bbb"), retained=retained())
    body = dict(history.events[-1].body, spec={"components": [{"name": "backend", "replicas": 0}]})
    history = history.put("TradingRelease", "shop", body).service("aaa", act=3)
    assert "S3" not in broken(history.deployment("aaa", replicas=0))


def test_s3_lets_go_when_the_time_is_over():
    history = story().service("bbb").release(live=stack("spec-b", "bbb"), retained=retained("2020-01-01T00:00:00Z"))
    assert broken(history.release(live=stack("spec-b", "bbb"), retained=[])) == set()


def test_s4_notices_an_order_that_waits():
    history = story().service("bbb").release(live=stack("spec-b", "bbb"), retained=retained()).order()
    assert "S4" in broken(history.order(wait=11, phase="Pending"))


def test_s4_does_not_count_while_the_operator_is_down_or_blue_is():
    history = story().service("bbb").release(live=stack("spec-b", "bbb"), retained=retained())
    assert broken(history.note("STOPPED").order().order(wait=11, phase="")) == set()
    history = story().service("bbb").release(live=stack("spec-b", "bbb"), retained=retained())
    assert broken(history.deployment("aaa", available=0).order().order(wait=11, phase="Pending")) == set()


def test_s5_notices_too_many_for_too_long():
    history = story()
    for name in ("ccc", "ddd", "eee", "fff"):
        history.deployment(name)
    assert broken(history) == set()
    assert "S5" in broken(history.put("Pod", "p", {}, wait=11))


@pytest.mark.parametrize("kind", ["Deployment", "Service", "Pod", "ConfigMap"])
def test_s6_notices_a_write_to_what_is_not_ours(kind):
    body = {"spec": {"template": {}}}
    assert "S6" in broken(story().put(kind, "theirs", body).put(kind, "theirs", body, by=OPERATOR))
    assert broken(story().put(kind, "theirs", body, by="somebody")) == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"observedGeneration": 5}, {"observedGeneration": 4}, id="generation"),
        pytest.param(
            {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}]},
            id="time without status",
        ),
        pytest.param(
            {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}]},
            {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
            id="time goes back",
        ),
    ],
)
def test_s9_notices(before, after):
    assert "S9" in broken(Story().release(**before).release(**after))
    assert broken(Story().release(**before).release(**before)) == set()


def pair(name, backend, frontend):
    parts = [{"name": "backend", "revision": backend}, {"name": "frontend", "revision": frontend}]
    return {"revision": name, "version": name, "components": parts}


A, B, C = pair("spec-a", "aaa", "fff"), pair("spec-b", "bbb", "ggg"), pair("spec-c", "ccc", "fff")


def two(history, **status):
    spec = {"components": [{"name": name, "services": [name]} for name in ("backend", "frontend")]}
    body = {"metadata": {"uid": "r", "generation": 1}, "spec": spec, "status": {"observedGeneration": 1} | status}
    return history.put("TradingRelease", "shop", body, by=OPERATOR)


def half(first="bbb", to="spec-b", candidate=B, live=A, **status):
    """Begin where the first of two Services has been switched, and the second has not."""
    status |= {"candidate": candidate} | ({"live": live} if live else {})
    history = two(Story(), **status)
    for revision in ("aaa", "bbb", "ccc", "fff", "ggg"):
        history.deployment(revision)
    history.switched("backend", first, to=to)
    return history.switched("frontend", "none" if live is None else "fff", to="spec-a", cause="Adopt")


def s10(history):
    return [str(v) for v in check(history.events) if v.rule == "S10"]


def later(history, seconds=11.0):
    return history.put("Pod", "p", {}, wait=seconds)


def test_s10_notices_half_a_switch():
    assert s10(later(half(), 9)) == []
    assert "half switched" in s10(later(half()))[0]
    assert s10(later(half(live=None)))  # the very first


@pytest.mark.parametrize(("reason", "lets"), [("RollbackUnsafe", True), ("TargetMissing", False)])
def test_s10_lets_half_a_switch_wait_for_a_person_where_there_is_no_way_back(reason, lets):
    stalled = [{"type": "Stalled", "status": "True", "reason": reason}]
    held = half(conditions=stalled)
    assert (s10(later(held)) == []) is lets


def test_s10_notices_half_a_switch_whose_candidate_was_superseded():
    assert s10(later(two(half(), candidate=C, live=A)))


def test_s10_adds_up_the_time_of_one_half_switch_and_of_no_two():
    assert s10(later(later(half(), 6), 6))
    mended = later(half(), 6).switched("frontend", "ggg").switched("frontend", "fff", cause="Undo", to="spec-a")
    assert s10(later(mended, 6)) == []


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(lambda s: s.switched("frontend", "ggg"), id="it is completed"),
        pytest.param(lambda s: s.switched("backend", "aaa", cause="Undo", to="spec-a"), id="it is undone"),
        pytest.param(lambda s: s.switched("backend", "ccc", by="somebody"), id="it was somebody else"),
        pytest.param(lambda s: two(s.switched("backend", "ccc", to="spec-c"), candidate=C, live=A), id="one is all"),
    ],
)
def test_s10_is_about_what_a_switch_moves_and_we_moved(good):
    assert s10(later(good(half()))) == []


@pytest.mark.parametrize(("ends", "begins"), [("STOPPED", "STARTED"), ("BLOCKED", "OPEN")])
def test_s10_counts_no_time_without_an_operator_or_an_api_that_accepts_writes(ends, begins):
    assert s10(later(later(half(), 6).note(ends)).note(begins)) == []
    assert s10(later(later(later(half(), 6).note(ends)).note(begins), 6))


CLAIMED = f"claim.{G}/backend"


@pytest.mark.parametrize("short", [0, 1, 50])
def test_the_fence_is_missed_where_a_switch_could_still_land(short):
    """Story: bbb serves at version 103; ccc, which never served, goes to zero with a claim on the Service."""
    history = story().service("bbb")
    claims = {CLAIMED: str(history.version - short)}
    history.deployment("ccc", **claims)
    assert broken(history.deployment("ccc", replicas=0, **claims)) == ({"Fence"} if short == 0 else set())


def test_the_fence_is_missed_where_a_service_selects_what_goes_to_zero():
    claims = {CLAIMED: "1"}
    history = story().service("bbb").deployment("bbb", **claims).release()
    assert "Fence" in broken(history.deployment("bbb", replicas=0, **claims))
    history = story().service("bbb").deployment("bbb", **claims).release(settings={"replicas": {"backend": 0}})
    assert "Fence" not in broken(history.deployment("bbb", replicas=0, **claims))


def test_the_fence_is_missed_by_the_operator_only():
    history = story().service("bbb")
    claims = {CLAIMED: str(history.version)}
    assert broken(history.deployment("ccc", **claims).deployment("ccc", replicas=0, by="somebody", **claims)) == set()


# --- hooks and approvals ----------------------------------------------------------------------------------------------


def job(history, uid, *, attempt="1", release="r", suspend=False, change="MODIFIED"):
    """Tell of the Job of a hook of b."""
    labels = {f"{G}/release": "shop", f"{G}/hook": "migrate", f"{G}/revision": "spec-b"}
    notes = {f"{G}/attempt": attempt, f"{G}/release-uid": release}
    metadata = {"uid": uid, "labels": labels, "annotations": notes}
    return history.put("Job", f"migrate-{attempt}", {"metadata": metadata, "spec": {"suspend": suspend}}, change=change)


def test_a_hook_that_runs_twice_is_noticed():
    assert "Once" in broken(job(job(job(story(), "one"), "one", change="DELETED"), "two"))


@pytest.mark.parametrize(
    "more",
    [
        {"uid": "one"},
        {"uid": "two", "suspend": True},
        {"uid": "two", "attempt": "2"},
        {"uid": "two", "release": "anew"},
    ],
    ids=["told of twice", "never let run", "another attempt", "a release of that name after it"],
)
def test_a_hook_that_runs_once_is_not(more):
    assert broken(job(job(job(story(), "one"), "one", change="DELETED"), **more)) == set()


def agreed(*given, **asked):
    """Tell of a switch to attempt 2 of b, whose spec asks for approvals, after some were given."""
    spec = {"approvals": [{"at": "BeforeSwitch", **asked}]}
    history = story().put("ControllerRevision", "shop-spec-b", {"data": {"spec": spec}})
    history.release(candidate=stack("spec-b", "bbb", attempt=2), live=stack("spec-a", "aaa"))
    for number, (revision, attempt) in enumerate(given):
        order = {"release": "shop", "action": "Approve", "revision": revision, "attempt": attempt}
        history.put("ReleaseCommand", f"yes-{number}", {"metadata": {"uid": f"yes-{number}"}, "spec": order})
    return history.service("bbb")


@pytest.mark.parametrize(
    ("given", "asked"),
    [([], {}), ([("spec-b", 1)], {}), ([("spec-c", 2)], {}), ([("spec-b", 2)], {"required": 2})],
    ids=["none", "of another attempt", "of another revision", "too few"],
)
def test_a_switch_that_too_few_agreed_to_is_noticed(given, asked):
    assert broken(agreed(*given, **asked)) == {"Agreed"}


def test_a_switch_that_people_agreed_to_is_not():
    assert broken(agreed(("spec-b", 2))) == set()
    assert broken(agreed(onTimeout="Continue")) == set()


def test_s8_finds_our_writes_and_no_others():
    history = story()
    since = history.version
    history.put("Service", "theirs", {}, by="somebody")
    assert our_writes(history.events, since) == []
    history.deployment("bbb", replicas=2)
    assert len(our_writes(history.events, since)) == 1
    history.deployment("bbb", change="DELETED")
    assert len(our_writes(history.events, since)) == 2


def test_a_history_is_put_into_the_order_in_which_it_was_stored():
    history = story().service("bbb")
    assert check(reversed(history.events)) == check(history.events) == []


def test_the_writer_of_a_field_is_the_one_who_owns_it():
    entries = [
        {"manager": "kubectl", "fieldsV1": {"f:spec": {"f:ports": {}}}},
        {"manager": OPERATOR, "fieldsV1": {"f:spec": {"f:selector": {}}}},
    ]
    body = {"metadata": {"managedFields": entries}}
    assert writer(body, "spec", "selector") == OPERATOR
    assert writer(body, "spec", "ports") == "kubectl"
    assert writer(body, "spec", "type") == ""
