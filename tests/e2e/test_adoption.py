"""What serves today is brought under a release without a moment in which an unverified pod serves."""

from tests.e2e.builders import component, deployment, release, service, template
from tests.e2e.faults import full
from tests.oracle import label


def test_plain_deployments_are_adopted_and_version_2_goes_live_without_a_failed_request(arena):
    names = ("backend", "frontend")
    arena.apply(*(service(n) for n in names))
    arena.apply(*(deployment(n, template(n, "1", drain=True), replicas=2) for n in names))
    arena.until(lambda s: all(len(s.endpoints(n)) == 2 for n in names), "version 1 serves on both Services")
    parts = [component(n, pods=template(n, "2", drain=True)) for n in names]
    with arena.load(*names) as load:
        arena.apply(release("2", *parts))
        state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 120)
        load.wait_for(lambda r: r.versions() == ["1", "2"] and len(r.of(version="2")) > 40, 20)
    records = load.records()
    assert not records.failed(), records.by_outcome()
    assert state.retained() == ["adopted"]
    for name in names:
        mine = state.get("Deployment", name)
        assert mine["spec"]["replicas"] == 2, "the user's own Deployment is left alone"
        assert len(state.pods(state.selected(name))) == 2, "as many as were live"
        assert not any(label(state.get("Pod", p), "tradingplatform.io/release") == "" for p in state.endpoints(name))


def test_a_rollout_that_is_not_settled_is_not_adopted_until_it_is(arena):
    arena.apply(service(), deployment(replicas=2))
    arena.until(lambda s: len(s.endpoints("backend")) == 2, "version 1 serves")
    arena.apply(deployment(pods=template(image="localhost/no/such:image"), replicas=2))
    arena.apply(release("2"))
    arena.until(lambda s: s.condition("Accepted")["reason"] == "AdoptionAmbiguous", "it is refused")
    state = arena.now
    assert "Deployment backend" in state.condition("Accepted")["message"]
    assert "rollout" in state.condition("Accepted")["message"]
    assert not state.deployments()
    assert state.selected("backend") is None
    arena.apply(deployment(replicas=2))
    arena.until(lambda s: s.ready("2"), "it settled, was adopted, and version 2 is live", 90)


def test_a_service_with_two_owners_is_not_adopted_until_one_is_left(arena):
    second = deployment("second", template(labels={"track": "second"}))
    arena.apply(service(), deployment(pods=template(labels={"track": "first"})), second)
    arena.until(lambda s: len(s.endpoints("backend")) == 2, "both serve")
    arena.apply(release("2"))
    state = arena.until(lambda s: s.condition("Accepted")["reason"] == "AdoptionAmbiguous", "it is refused")
    assert "backend" in state.condition("Accepted")["message"]
    assert "second" in state.condition("Accepted")["message"]
    assert not state.deployments()
    assert state.is_true("Stalled")
    arena.never(lambda s: s.selected("backend"), "traffic was touched", 3)
    arena.api.delete("Deployment", "second")
    arena.until(lambda s: s.ready("2"), "the one that is left was adopted, and version 2 is live", 90)


def test_pods_of_a_statefulset_are_not_adopted(arena):
    pods = template()
    stateful = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "backend"},
        "spec": {
            "serviceName": "backend",
            "selector": {"matchLabels": pods["metadata"]["labels"]},
            "template": pods,
        },
    }
    arena.apply(service(), stateful)
    arena.until(lambda s: s.endpoints("backend") == {"backend-0"}, "it serves")
    arena.apply(release("2"))
    state = arena.until(lambda s: s.condition("Accepted")["reason"] == "AdoptionAmbiguous", "it is refused")
    assert "StatefulSet backend" in state.condition("Accepted")["message"]
    arena.never(lambda s: s.deployments() or s.selected("backend"), "anything was made or moved", 3)
    assert arena.now.endpoints("backend") == {"backend-0"}


def test_the_clone_follows_the_old_deployments_size_both_ways_until_the_selector_moves(arena):
    # The clone is Available only after minReadySeconds: time to change the size in.
    arena.apply(service(), deployment(replicas=2, minReadySeconds=6))
    arena.until(lambda s: (s.get("Deployment", "backend") or {}).get("status", {}).get("availableReplicas") == 2, "up")
    arena.apply(release("2"))
    arena.until(lambda s: s.deployments(), "the clone stands")
    arena.api.patch("Deployment", "backend", {"spec": {"replicas": 3}})
    arena.until(lambda s: s.deployments()[0]["spec"]["replicas"] == 3, "the clone follows up")
    assert arena.now.selected("backend") is None
    arena.api.patch("Deployment", "backend", {"spec": {"replicas": 1}})
    arena.until(lambda s: s.deployments()[0]["spec"]["replicas"] == 1, "the clone follows down")
    state = arena.until(lambda s: s.selected("backend"), "the selector moves")
    assert state.deployment("backend", state.selected("backend"))["spec"]["replicas"] == 1
    arena.until(lambda s: s.ready("2"), "version 2 is live", 90)


def test_a_clone_that_does_not_come_up_is_fenced_away_and_a_spec_change_or_retry_tries_again(arena):
    arena.apply(service(), deployment())
    arena.until(lambda s: s.endpoints("backend"), "version 1 serves")
    full(arena)
    for version in ("2", "3"):  # 3: a spec change tries again
        arena.apply(release(version, component(version=version, progressDeadline="8s")))
        state = arena.until(
            lambda s: s.condition("Accepted")["reason"] == "AdoptionFailed" and s.seen_generation(), "it is given up"
        )
        assert "exceeded quota" in state.condition("Accepted")["message"], "in the cluster's own words"
        arena.until(lambda s: not s.deployments(), "the clone is gone")
    assert arena.now.selected("backend") is None
    assert not arena.switches()
    arena.api.delete("ResourceQuota", "full")
    failed = next(entry for entry in arena.now.status()["latched"] if entry["version"] == "3")
    order = arena.order("Retry", failed["revision"])
    arena.until(lambda s: s.ready("3"), "version 3 is live", 90)
    assert arena.now.order(order)["phase"] == "Done"


def test_adoption_never_lets_an_unverified_pod_serve(arena):
    arena.apply(service(), deployment(pods=template(version="1", drain=True), replicas=2))
    arena.until(lambda s: len(s.endpoints("backend")) == 2, "version 1 serves")
    # Version 2 starts and is Ready, but never healthy.
    bad = component(version="2", progressDeadline="25s")
    bad["health"]["httpGet"]["path"] = "/nowhere"
    with arena.load("backend") as load:
        arena.apply(release("2", bad))
        arena.until(lambda s: "2" in s.latched(), "version 2 is given up", 90)
    assert load.records().versions() == ["1"]
    assert not load.records().failed(), load.records().by_outcome()
    assert not arena.ever(lambda s: any(version_of(s, pod) == "2" for pod in s.endpoints("backend")))
    assert arena.now.live() == "adopted"


def version_of(state, pod):
    found = state.get("Pod", pod)
    env = found["spec"]["containers"][0]["env"] if found else []
    return next((e["value"] for e in env if e["name"] == "VERSION"), "")
