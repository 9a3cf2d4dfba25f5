"""A candidate gets traffic only when every pod of it is verified; what cannot become well is given up in its words."""

import json

import pytest

from tests.e2e.builders import HEALTH, component, release, service, template
from tests.e2e.faults import breakable, full, spoil
from tests.oracle import REVISION, label, writer

SLOW = HEALTH | {"successThreshold": 30}
"""Verifies for half a minute: time to do something in."""


def verifying(version):
    return lambda s: s.candidate() == version and s.is_true("CandidateAvailable")


def failed(version):
    return lambda s: version in s.latched() and s.seen_generation()


def outcomes(state, version):
    return [entry["outcome"] for entry in state.status()["history"] if entry["version"] == version]


# --- never switched ---------------------------------------------------------------------------------------------------


def test_ready_pods_behind_a_port_name_that_does_not_match_never_get_traffic(arena):
    first = arena.go_live("1").selected("backend")
    pods = template(
        version="2",
        ports=[{"name": "web", "containerPort": 8080}],
        readinessProbe={"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    )
    arena.apply(release("2", component(pods=pods, health=None, progressDeadline="20s")))
    state = arena.until(verifying("2"), "every pod is Ready")
    assert state.condition("CandidateVerified")["reason"] == "NoEndpoints"
    assert "http" in state.condition("CandidateVerified")["message"]
    state = arena.until(failed("2"), "it is given up")
    assert "no endpoint of backend-preview" in state.condition("Stalled")["message"]
    assert state.selected("backend") == first
    assert not arena.ever(lambda s: s.selected("backend") not in {None, "none", first})
    assert state.live() == "1"


def test_one_bad_pod_of_three_never_gets_traffic(arena):
    first = arena.go_live("1").selected("backend")
    pods = breakable(version="2")
    slow = HEALTH | {"successThreshold": 15, "failureThreshold": 100}
    arena.apply(release("2", component(pods=pods, health=slow, replicas=3, progressDeadline="60s")))
    state = arena.until(verifying("2"), "all three pods are Ready")
    bad = state.pods(state.status()["candidate"]["components"][0]["revision"])[0]
    spoil([bad])
    arena.until(lambda s: "2 of 3 pods" in s.condition("CandidateVerified")["message"], "two of three pass", 60)
    state = arena.until(failed("2"), "it is given up", 90)
    assert "2 of 3 pods" in state.condition("Stalled")["message"]
    assert bad["metadata"]["name"] in state.condition("Stalled")["message"]
    assert "HTTP 500" in state.condition("Stalled")["message"]
    assert len(state.pods(label(bad, REVISION))) == 3, "kept for a look"
    assert not arena.ever(lambda s: s.selected("backend") not in {None, "none", first})


# --- given up ---------------------------------------------------------------------------------------------------------


def test_a_crash_loop_is_given_up_fast_with_the_containers_words(arena):
    first = arena.go_live("1").selected("backend")
    pods = template(version="2", env={"STARTUP_DELAY": "60", "CRASH_AFTER": "0.5"})
    arena.apply(release("2", component(pods=pods), failFast={"restartLimit": 0}))
    state = arena.until(failed("2"), "it is given up", 30)
    assert state.condition("Stalled")["reason"] == "CrashLoop"
    assert "order book schema 7 is newer than this build understands" in state.condition("Stalled")["message"]
    assert state.selected("backend") == first
    assert state.status()["phase"] == "Failed"
    assert any(
        "order book schema 7" in text for text in arena.until(lambda s: s.said("CrashLoop"), "told").said("CrashLoop")
    )
    arena.settled(5)


def test_a_secret_in_the_last_words_of_a_container_is_told_to_nobody(arena):
    """The kubelet takes the end of its log for them; what is in status goes to chat rooms as well."""
    canary = "canary-7f3a91"
    arena.go_live("1")
    cries = f"echo fatal: cannot reach postgres://trader:{canary}@db/x with token={canary} >&2; exit 1"
    pods = template(version="2", command=["sh", "-c", cries], terminationMessagePolicy="FallbackToLogsOnError")
    arena.apply(release("2", component(pods=pods), failFast={"restartLimit": 0}))
    state = arena.until(failed("2"), "it is given up", 30)
    assert "cannot reach postgres://***@db/x with token=***" in state.condition("Stalled")["message"]
    arena.said("CrashLoop")
    told = [arena.now.status(), arena.now.all("Event"), arena.operator.metrics(), arena.operator.log.read_text()]
    assert canary not in json.dumps(told)


@pytest.mark.parametrize(
    ("trouble", "reason", "words"),
    [
        pytest.param({"image": "localhost/no/such:image"}, "ImagePull", "localhost/no/such:image", id="image"),
        pytest.param(
            {"envFrom": [{"configMapRef": {"name": "not-there"}}]}, "CreateContainerConfigError",
            'configmap "not-there" not found', id="config map",
        ),
        pytest.param({"spec": {"nodeSelector": {"no": "such-node"}}}, "Unschedulable", "nodes are available", id="node"),
        pytest.param({"resources": {"requests": {"cpu": "999"}}}, "Unschedulable", "Insufficient cpu", id="cpu"),
    ],
)  # fmt: skip
def test_what_may_cure_itself_is_shown_within_seconds_and_given_up_when_it_stays(arena, trouble, reason, words):
    first = arena.go_live("1").selected("backend")
    # Longer than it takes to tell of it, also on a busy machine.
    arena.apply(release("2", component(pods=template(version="2", **trouble)), failFast={"stuckFor": "20s"}))

    def shown(state):
        condition = state.condition("CandidateAvailable")
        return state.candidate() == "2" and words in condition["message"]

    state = arena.until(shown, "it is shown what keeps it", 30)
    assert reason in state.condition("CandidateAvailable")["reason"]
    assert not state.latched()
    state = arena.until(failed("2"), "it is given up", 80)
    assert words in state.condition("Stalled")["message"]
    assert state.selected("backend") == first


def test_an_image_name_that_cannot_be_is_given_up_at_once(arena):
    arena.go_live("1")
    arena.apply(release("2", component(pods=template(version="2", image="Not A Name")), failFast={"stuckFor": "1h"}))
    state = arena.until(failed("2"), "it is given up", 20)
    assert state.condition("Stalled")["reason"] == "InvalidImageName"
    assert "Not A Name" in state.condition("Stalled")["message"]


def test_a_quota_that_is_raised_in_time_is_no_failure(arena):
    arena.go_live("1")
    full(arena)
    arena.apply(release("2", failFast={"stuckFor": "10m"}))
    arena.until(lambda s: "exceeded quota" in s.condition("CandidateAvailable")["message"], "it is shown", 20)
    arena.api.delete("ResourceQuota", "full")
    arena.until(lambda s: s.ready("2"), "version 2 is live", 90)


def test_a_quota_that_stays_is_given_up_in_the_api_servers_words(arena):
    first = arena.go_live("1").selected("backend")
    full(arena)
    arena.apply(release("2"))
    state = arena.until(failed("2"), "it is given up", 40)
    assert "exceeded quota" in state.condition("Stalled")["message"]
    assert state.selected("backend") == first


def test_a_candidate_that_is_never_ready_is_given_up_at_its_deadline(arena):
    first = arena.go_live("1").selected("backend")
    pods = template(version="2", readinessProbe={"httpGet": {"path": "/nowhere", "port": "http"}, "periodSeconds": 1})
    arena.apply(release("2", component(pods=pods, progressDeadline="12s")))
    state = arena.until(failed("2"), "it is given up", 30)
    assert state.condition("Stalled")["reason"] == "DeadlineExceeded"
    assert "0 of 1 replicas" in state.condition("Stalled")["message"]
    assert state.selected("backend") == first
    assert outcomes(state, "2") == ["Failed"]


def test_a_failed_spec_that_is_applied_again_does_nothing_and_a_corrected_health_path_goes_live(arena):
    arena.go_live("1")
    bad = component(progressDeadline="12s")
    bad["health"]["httpGet"]["path"] = "/nowhere"
    arena.apply(release("2", bad))
    state = arena.until(failed("2"), "it is given up", 30)
    standing = state.deployments()
    arena.apply(release("2", bad, keepFailedFor="2h"))  # the revision is the same
    arena.until(lambda s: s.seen_generation(), "it is seen")
    arena.never(lambda s: s.candidate(), "it is tried again", 3)
    arena.apply(release("2", component(progressDeadline="60s")))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live")
    uids = {d["metadata"]["uid"] for d in state.deployments()}
    assert uids == {d["metadata"]["uid"] for d in standing}, "on the same Deployment: only how it is judged changed"


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_candidate_with_no_replicas_waits_and_fails_never(arena):
    names = ("backend", "frontend")
    parts = {n: component(n, "1") for n in names}
    first = arena.go_live("1", *parts.values())
    new = [component(n, "2", replicas=r, progressDeadline="12s") for n, r in (("backend", 1), ("frontend", 0))]
    arena.apply(release("2", *new))
    arena.until(lambda s: s.condition("CandidateAvailable")["reason"] == "ZeroReplicas", "it waits")
    arena.never(lambda s: s.latched(), "it is given up", 15)
    state = arena.now
    assert all(state.selected(n) == first.selected(n) for n in names)
    assert "frontend" in state.condition("CandidateAvailable")["message"]
    new[1]["replicas"] = 1
    arena.apply(release("2", *new))
    arena.until(lambda s: s.ready("2"), "version 2 is live")


# --- other specs in between -------------------------------------------------------------------------------------------


def test_checks_that_change_while_a_candidate_verifies_are_a_new_candidate_on_the_same_pods(arena):
    arena.go_live("1")
    stuck = component(health=HEALTH | {"httpGet": {"path": "/nowhere", "port": "http"}})
    arena.apply(release("2", stuck))
    state = arena.until(verifying("2"), "version 2 verifies")
    before, attempt = state.status()["candidate"], state.deployment("backend", revision_of(state, "backend"))
    pods = {p["metadata"]["uid"] for p in state.pods(revision_of(state, "backend"))}
    arena.apply(release("2"))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live")
    assert state.status()["live"]["revision"] != before["revision"]
    assert {p["metadata"]["uid"] for p in state.pods(state.selected("backend"))} == pods
    assert state.deployment("backend", state.selected("backend"))["metadata"]["uid"] == attempt["metadata"]["uid"]
    assert len(state.deployments()) == 2


def revision_of(state, name):
    return next(c["revision"] for c in state.status()["candidate"]["components"] if c["name"] == name)


def test_a_new_spec_supersedes_the_candidate_at_once(arena):
    first = arena.go_live("1").selected("backend")
    arena.apply(release("2", component(version="2", health=SLOW)))
    second = revision_of(arena.until(verifying("2"), "version 2 verifies"), "backend")
    arena.apply(release("3"))
    arena.until(lambda s: s.candidate() == "3", "version 3 took its place", 10)
    state = arena.until(lambda s: s.ready("3") and not s.deployment("backend", second), "3 is live, 2 is gone")
    assert outcomes(state, "2") == ["Superseded"]
    assert state.latched() == []
    third = state.selected("backend")
    assert not arena.ever(lambda s: s.selected("backend") not in {None, "none", first, third})
    assert state.retained() == ["1"]


@pytest.mark.parametrize("phase", ["begun", "verifying", "ready"])
def test_there_and_back_within_a_second_leaves_the_live_version_as_it_was(arena, phase):
    one = arena.go_live("1")
    other = release("2", component(version="2", health=SLOW))
    if phase == "verifying":
        arena.apply(other)
        arena.until(verifying("2"), "version 2 verifies")
        other = release("3", component(version="3", health=SLOW))
    if phase == "begun":
        with arena.operator.frozen():  # it sees only the end of it
            arena.apply(other, release("1"))
    else:
        arena.apply(other, release("1"))
    state = arena.until(
        lambda s: s.ready("1") and not s.candidate() and len(s.deployments()) == 1, "version 1 alone is there"
    )
    assert state.selected("backend") == one.selected("backend")
    assert state.status()["live"]["provenAt"] == one.status()["live"]["provenAt"]
    assert state.latched() == []
    assert [move["cause"] for move in arena.switches()] == ["Promote"]
    assert not state.get("Service", "backend-preview")
    arena.settled(8)


def test_there_and_back_while_a_candidate_verifies_begins_it_anew_and_it_goes_live(arena):
    arena.go_live("1")
    quick = component(version="2", health=HEALTH | {"successThreshold": 4})
    arena.apply(release("2", quick))
    arena.until(verifying("2"), "version 2 verifies")
    arena.apply(release("3"), release("2", quick))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live")
    assert state.latched() == []
    assert [move["cause"] for move in arena.switches()] == ["Promote", "Promote"]


def test_there_and_back_in_the_watch_lets_the_watch_go_on(arena):
    arena.go_live("1")
    two = release("2", watch={"for": "12s", "deadAfter": "3s"})
    arena.apply(two)
    began = arena.until(lambda s: s.live() == "2", "version 2 is in its watch").status()["live"]
    arena.apply(release("3"), two)
    state = arena.until(lambda s: s.ready("2") and not s.candidate(), "version 2 is proven")
    assert state.status()["live"]["watchSince"] == began["watchSince"]
    assert state.status()["live"]["act"] == began["act"]
    assert state.retained() == ["1"]


def test_there_and_back_between_proven_versions_is_two_rollbacks_that_latch_nothing(arena):
    arena.go_live("1")
    arena.apply(release("2"))
    two = arena.until(lambda s: s.ready("2"), "version 2 is live")
    arena.apply(release("1"), release("2"))
    state = arena.until(lambda s: s.ready("2") and s.seen_generation() and not s.candidate(), "version 2 is live")
    assert state.selected("backend") == two.selected("backend")
    assert (state.latched(), state.retained()) == ([], ["1"])
    assert len(state.deployments()) == 2


def test_a_typo_while_a_candidate_verifies_stops_nothing(arena):
    arena.go_live("1")
    arena.apply(release("2", component(version="2", health=HEALTH | {"successThreshold": 5})))
    arena.until(verifying("2"), "version 2 verifies")
    arena.apply(release("3", component(pods=template(version="3", imagePullPolicy="Often"))))
    arena.until(lambda s: s.condition("Accepted")["reason"] == "InvalidTemplate", "the typo is refused")
    state = arena.until(lambda s: s.live() == "2", "version 2 is live all the same")
    assert state.condition("Accepted")["status"] == "False"
    state = arena.until(lambda s: s.status()["live"].get("provenAt"), "and proven")
    assert not state.is_true("Ready"), "the spec of now is not live"


def test_a_typo_in_the_watch_does_not_disarm_it(arena):
    one = arena.go_live("1")
    pods = breakable(version="2")
    arena.apply(release("2", component(pods=pods), watch={"for": "60s", "deadAfter": "3s"}))
    state = arena.until(lambda s: s.live() == "2" and s.is_true("Promoted"), "version 2 is in its watch")
    arena.apply(release("3", component(pods=template(version="3", imagePullPolicy="Often"))))
    arena.until(lambda s: s.condition("Accepted")["reason"] == "InvalidTemplate", "the typo is refused")
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: s.live() == "1", "back on version 1", 30)
    assert state.selected("backend") == one.selected("backend")
    assert state.latched() == ["2"]
    assert writer(state.get("Service", "backend"), "spec", "selector") == "tradingrelease-operator"


def test_a_candidate_that_somebody_deletes_is_restored_and_verified_again(arena):
    arena.go_live("1")
    arena.apply(release("2", component(version="2", health=HEALTH | {"successThreshold": 6})))
    state = arena.until(verifying("2"), "version 2 verifies")
    first = state.deployment("backend", revision_of(state, "backend"))
    arena.api.delete("Deployment", first["metadata"]["name"])
    state = arena.until(lambda s: s.ready("2"), "version 2 is live")
    assert state.deployment("backend", state.selected("backend"))["metadata"]["uid"] != first["metadata"]["uid"]


def test_services_without_a_listed_health_are_judged_by_readiness_alone(arena):
    arena.apply(service())
    arena.apply(release("1", component(version="1", health=None)))
    arena.until(lambda s: s.ready("1"), "version 1 is live")
