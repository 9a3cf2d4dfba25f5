"""What others delete or edit is put back, and traffic stays where it was sent; a person who means it is left alone."""

import contextlib

import pytest
import yaml

from devcluster.places import ROOT
from tests.e2e.builders import component, release, service
from tests.e2e.faults import breakable, kubectl, ready
from tests.e2e.installed import names_people
from tests.e2e.scenes import (
    SHORT,
    WATCH,
    component_revision,
    first,
    go_live,
    names,
    of_version,
    part,
    switch_to,
)
from tests.oracle import NOTHING, REVISION, switch_record

BREAK_GLASS = "tradingplatform.io/break-glass"
PROMPTLY = 20.0
"""Seconds: a watch hop and a write, on a machine that is busy with other tests."""
SLOW = {"env": {"STARTUP_DELAY": "15"}}


def point(arena, revision, name="backend"):
    """Edit a selector by hand; the version of the Service that this made."""
    edited = arena.api.patch("Service", name, {"spec": {"selector": {REVISION: revision}}})
    return int(edited["metadata"]["resourceVersion"])


def is_newer(state, version, name="backend"):
    found = state.get("Service", name)
    return found is not None and int(found["metadata"]["resourceVersion"]) > version


def seconds_until_repaired(arena, version, name="backend"):
    """Return how long a selector stayed as somebody else wrote it, as the watches told."""
    states = [e for e in arena.recorder.history() if e.kind == "Service" and e.name == name]
    wrong = next(e for e in states if e.version == version)
    return (
        next(e.seen for e in states if e.version > version and switch_record(e.body)["cause"] == "Repair") - wrong.seen
    )


# --- selectors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["none", "retained", "key removed"])
def test_a_selector_edited_by_hand_is_put_back(arena, wrong):
    first(arena, "1")
    state = go_live(arena, "2")
    green, blue = state.selected("backend"), component_revision(of_version(state, "1"))
    if wrong == "key removed":
        arena.expect_violation("S1", "lost its revision key")
    if wrong == "none":
        arena.expect_violation("S1", f"selects {NOTHING}")
    edit = point(arena, {"none": NOTHING, "retained": blue, "key removed": None}[wrong])
    arena.until(lambda s: is_newer(s, edit) and s.selected("backend") == green, "live is selected again", 60)
    assert seconds_until_repaired(arena, edit) < PROMPTLY
    arena.until(lambda s: s.said("SelectorRepaired") and s.ready("2"), "it says so, and is Ready")
    assert arena.now.live() == "2"
    assert arena.now.retained() == ["1"]


def test_a_selector_edited_by_hand_stays_while_the_release_is_paused(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    green, blue = state.selected("backend"), component_revision(of_version(state, "1"))
    arena.order("Pause")
    arena.until(lambda s: s.status().get("paused"), "the release is paused")
    point(arena, blue)
    arena.until(lambda s: s.selected("backend") == blue, "the edit is seen")
    arena.never(lambda s: s.selected("backend") == green, "it is put back", 8)
    arena.order("Resume")
    arena.until(lambda s: s.selected("backend") == green, "it is put back once resumed", 60)


def test_a_selector_edited_by_hand_stays_while_its_service_carries_the_break_glass_annotation(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    green, blue = state.selected("backend"), component_revision(of_version(state, "1"))
    arena.api.patch("Service", "backend", {"metadata": {"annotations": {BREAK_GLASS: "incident 17"}}})
    point(arena, blue)
    arena.until(lambda s: s.selected("backend") == blue, "the edit is seen")
    arena.never(lambda s: s.selected("backend") == green, "it is put back", 8)
    arena.api.patch("Service", "backend", {"metadata": {"annotations": {BREAK_GLASS: None}}})
    arena.until(lambda s: s.selected("backend") == green, "it is put back once the glass is whole", 60)


def test_a_forced_apply_that_drops_our_key_is_put_back(arena):
    state = first(arena, "1")
    live = state.selected("backend")
    arena.expect_violation("S1", "lost its revision key")
    version = int(arena.api.apply(service("backend"))["metadata"]["resourceVersion"])
    arena.until(
        lambda s: is_newer(s, version) and s.selected("backend") == live and s.ready("1"), "live is selected again", 60
    )
    assert [s["cause"] for s in arena.switches()][-1] == "Repair"


KEEPER = ROOT / "manifests" / "selector-keeper.yaml"
FORCED = 20


@contextlib.contextmanager
def kept(arena):
    """Install the selector keeper for this namespace alone."""
    policy, binding = yaml.safe_load_all(KEEPER.read_text())
    name = f"{arena.namespace}-keeper"
    policy["metadata"] = binding["metadata"] = {"name": name}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": arena.namespace}}}
    binding["spec"] = {"policyName": name, "matchResources": here}

    def remove():
        for body in (binding, policy):
            arena.api.delete(body["kind"], name)

    arena.finally_(remove)
    for body in (policy, binding):
        arena.api.create(body)
    selector = arena.now.get("Service", "backend")["spec"]["selector"]
    forced = service("backend")
    arena.poll(lambda: arena.api.apply(forced, dryRun="All")["spec"]["selector"] == selector, "it is in force", 30)
    yield


def test_forced_applies_of_another_manager_cost_no_request_and_no_loop(arena):
    """As Flux does it every minute, faster. From Kubernetes 1.36 the keeper lets nothing change; before, each is put back."""
    live = first(arena, "1").selected("backend")
    keeper = kept(arena) if names_people() else contextlib.nullcontext()
    if not names_people():
        arena.expect_violation("S1", "lost its revision key")
    with keeper, arena.load("backend", rate=60) as load:
        arena.settled(1)
        before = arena.operator.writes()
        for number in range(FORCED):
            forced = service("backend")
            forced["metadata"]["annotations"] = {"example.com/revision": str(number)}
            version = int(arena.api.apply(forced)["metadata"]["resourceVersion"])
            arena.until(lambda s, v=version: is_newer(s, v - 1) and s.selected("backend") == live, "live serves", 20)
        arena.settled(3)
        writes = arena.operator.writes() - before
    assert not load.records().failed(), load.records().by_outcome()
    if names_people():
        assert (writes, arena.ever(lambda s: s.selected("backend") not in {live, None, NOTHING})) == (0, False)
    else:
        assert writes <= 4 * FORCED, "a repair, its Event and at most two of status for each"


def test_a_deleted_service_stalls_and_points_at_live_soon_after_it_returns(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    green = state.selected("backend")
    arena.api.delete("Service", "backend")
    state = arena.until(
        lambda s: s.condition("Stalled")["status"] == "True" and s.condition("Stalled")["reason"] == "ServiceMissing",
        "it says which Service is missing",
    )
    assert "backend" in state.condition("Stalled")["message"]
    assert not state.is_true("Ready")
    assert not state.is_true("Serving")
    arena.apply(service("backend"))
    made = arena.until(lambda s: s.get("Service", "backend"), "it is there again")
    state = arena.until(lambda s: s.selected("backend") == green, "it points at live", 60)
    assert state.seen - made.seen < PROMPTLY
    state = arena.until(lambda s: s.ready("2") and s.endpoints("backend"), "version 2 serves on")
    assert state.retained() == ["1"]
    assert state.condition("Stalled")["status"] == "False"


def test_a_candidate_whose_service_is_deleted_waits_for_it(arena):
    first(arena, "1")
    arena.apply(release("2", part("2", breakable(version="2", **SLOW)), watch=SHORT))
    arena.until(lambda s: of_version(s, "2"), "version 2 is deployed")
    arena.api.delete("Service", "backend")
    arena.until(lambda s: s.condition("Stalled")["reason"] == "ServiceMissing", "it says so")
    arena.apply(service("backend"))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 120)
    assert state.retained() == ["1"]


# --- Deployments ------------------------------------------------------------------------------------------------------


def test_a_deleted_live_deployment_is_recreated_where_there_is_no_blue(arena):
    state = first(arena, "1")
    live = of_version(state, "1")
    arena.expect_violation("S1", "which no Deployment")
    arena.api.delete("Deployment", live["metadata"]["name"])
    arena.until(
        lambda s: (d := of_version(s, "1")) and d["metadata"]["uid"] != live["metadata"]["uid"], "it is made anew", 60
    )
    state = arena.until(lambda s: s.ready("1") and s.endpoints("backend"), "version 1 serves again", 90)
    assert arena.said("LiveRecreated")


def test_a_deleted_live_deployment_goes_back_to_blue_where_blue_serves_before_it_does(arena):
    first(arena, "1")
    pods = breakable(version="2", env={"STARTUP_DELAY": "30"})
    state = go_live(arena, "2", part("2", pods), seconds=180)
    live = of_version(state, "2")
    arena.expect_violation("S1", "which no Deployment")
    arena.api.delete("Deployment", live["metadata"]["name"])
    arena.until(lambda s: not s.endpoints("backend"), "live has no endpoint", 60)
    state = arena.until(lambda s: s.live() == "1" and s.endpoints("backend"), "blue serves", 60)
    assert state.latched() == ["2"]


def test_a_deleted_live_deployment_that_is_back_at_once_stays_live(arena):
    first(arena, "1")
    state = go_live(arena, "2", watch={"for": "1s", "deadAfter": "45s"}, seconds=120)
    live = of_version(state, "2")
    arena.expect_violation("S1", "which no Deployment")
    arena.api.delete("Deployment", live["metadata"]["name"])
    arena.until(
        lambda s: (d := of_version(s, "2")) and d["metadata"]["uid"] != live["metadata"]["uid"], "it is made anew", 60
    )
    state = arena.until(lambda s: s.ready("2") and s.endpoints("backend"), "version 2 serves again", 90)
    assert state.latched() == []
    assert state.retained() == ["1"]


def test_a_deleted_retained_deployment_is_recreated_and_is_a_target_again(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    blue = of_version(state, "1")
    arena.expect_violation("S3", "was deleted")
    arena.api.delete("Deployment", blue["metadata"]["name"])
    arena.until(
        lambda s: (d := of_version(s, "1")) and d["metadata"]["uid"] != blue["metadata"]["uid"], "it is made anew", 60
    )
    state = arena.until(lambda s: s.is_true("RollbackReady"), "it stands", 60)
    assert state.ready("2")
    name = arena.order("Rollback", state.status()["live"]["revision"])
    arena.until(lambda s: s.order(name).get("phase") == "Done" and s.live() == "1", "a rollback to it works", 60)


def test_a_deleted_candidate_is_restored_and_verified_anew(arena):
    first(arena, "1")
    arena.apply(release("2", part("2", breakable(version="2", **SLOW)), watch=SHORT))
    state = arena.until(lambda s: (d := of_version(s, "2")) and s.pods(component_revision(d)), "it is deployed", 60)
    old = of_version(state, "2")
    arena.api.delete("Deployment", old["metadata"]["name"])
    arena.until(
        lambda s: (d := of_version(s, "2")) and d["metadata"]["uid"] != old["metadata"]["uid"], "it is made anew", 60
    )
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 120)
    assert state.latched() == []


@pytest.mark.parametrize("which", ["candidate", "live", "retained"])
def test_a_template_edited_by_hand_is_restored(arena, which):
    first(arena, "1")
    if which == "candidate":
        arena.apply(release("2", part("2", breakable(version="2", **SLOW)), watch=SHORT))
        state = arena.until(lambda s: of_version(s, "2"), "it is deployed")
    else:
        state = go_live(arena, "2")
    found = of_version(state, "1" if which == "retained" else "2")
    name, env = found["metadata"]["name"], found["spec"]["template"]["spec"]["containers"][0]["env"]
    kubectl(arena, "set", "env", f"deployment/{name}", "VERSION=9")
    arena.until(lambda s: s.said("EditRestored") and env_of(s, name) == env, "what was written is restored", 60)
    arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 120)
    state = arena.until(lambda s: s.is_true("RollbackReady"), "blue stands at full size", 60)
    assert state.get("Deployment", name)["metadata"]["uid"] == found["metadata"]["uid"]


def env_of(state, name):
    return state.get("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["env"]


def test_a_rollout_restart_of_live_is_left_alone(arena):
    state = first(arena, "1")
    name = of_version(state, "1")["metadata"]["name"]
    before = {p["metadata"]["uid"] for p in state.pods()}
    kubectl(arena, "rollout", "restart", f"deployment/{name}")
    state = arena.until(
        lambda s: not before & {p["metadata"]["uid"] for p in s.pods()} and ready(s, s.selected("backend")),
        "its pods are new", 60,
    )  # fmt: skip
    assert (
        "kubectl.kubernetes.io/restartedAt"
        in state.get("Deployment", name)["spec"]["template"]["metadata"]["annotations"]
    )
    arena.until(lambda s: s.ready("1") and s.endpoints("backend"), "it serves on")
    assert not arena.now.said("EditRestored")
    assert len(arena.switches()) == 1


# --- previews ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "edited"])
def test_a_preview_that_somebody_deletes_or_edits_is_put_back(arena, how):
    first(arena, "1")
    arena.apply(release("2", part("2", breakable(version="2", **SLOW)), watch=SHORT))
    state = arena.until(lambda s: s.get("Service", "backend-preview") and of_version(s, "2"), "the preview is there")
    green, old = state.selected("backend-preview"), state.get("Service", "backend-preview")["metadata"]["uid"]
    if how == "deleted":
        arena.api.delete("Service", "backend-preview")
        arena.until(
            lambda s: (p := s.get("Service", "backend-preview")) and p["metadata"]["uid"] != old, "it is made anew"
        )
    else:
        edit = point(arena, "1111111111", "backend-preview")
        arena.until(
            lambda s: is_newer(s, edit, "backend-preview") and s.selected("backend-preview") == green, "it is put back"
        )
    arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 120)
    arena.until(lambda s: s.get("Service", "backend-preview") is None, "the preview goes with its candidate")


# --- sizes ------------------------------------------------------------------------------------------------------------


def size(state, version):
    found = of_version(state, version)
    return found["spec"]["replicas"] if found else None


def test_candidate_and_retained_follow_live_upwards_and_never_down(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    live = of_version(state, "2")["metadata"]["name"]
    kubectl(arena, "scale", f"deployment/{live}", "--replicas=2")
    arena.until(lambda s: size(s, "1") == 2, "retained follows live upwards")
    arena.apply(release("3", part("3", breakable(version="3", **SLOW)), watch=SHORT))
    arena.until(lambda s: size(s, "3") == 2, "the candidate begins as large as live")
    kubectl(arena, "scale", f"deployment/{live}", "--replicas=3")
    arena.until(lambda s: size(s, "3") == 3 and size(s, "1") == 3, "candidate and retained follow")
    kubectl(arena, "scale", f"deployment/{live}", "--replicas=1")
    state = arena.until(lambda s: s.ready("3"), "version 3 is live and proven", 120)
    assert len(state.endpoints("backend")) == 3, "not fewer than it was verified with"
    assert size(state, "3") == 3


def test_replicas_in_the_spec_scale_live_without_a_release(arena):
    state = first(arena, "1", part("1", replicas=1))
    revision = state.status()["live"]["revision"]
    arena.apply(release("1", part("1", replicas=2), watch=SHORT))
    state = arena.until(lambda s: len(s.endpoints("backend")) == 2, "live is scaled up", 60)
    arena.apply(release("1", part("1", replicas=1), watch=SHORT))
    state = arena.until(lambda s: len(s.endpoints("backend")) == 1 and s.ready("1"), "live is scaled down", 60)
    assert state.status()["live"]["revision"] == revision
    assert len(state.status()["history"]) == 1, "scaling is not a release"
    assert len(names(state)) == 1


def test_live_that_is_scaled_to_zero_by_hand_is_no_failure(arena):
    first(arena, "1")
    state = switch_to(arena, "2", part("2"), watch=WATCH)
    live = of_version(state, "2")["metadata"]["name"]
    kubectl(arena, "scale", f"deployment/{live}", "--replicas=0")
    arena.until(lambda s: not s.endpoints("backend"), "nothing serves, as somebody wishes")
    arena.never(lambda s: s.live() != "2" or s.latched() or size(s, "2"), "it is rolled back or scaled up", 10)


def test_a_pod_that_somebody_deletes_in_the_watch_is_no_failure(arena):
    first(arena, "1")
    state = switch_to(arena, "2", component(version="2", replicas=2), watch={"for": "15s", "deadAfter": "10s"})
    arena.api.delete("Pod", state.pods(state.selected("backend"))[0]["metadata"]["name"], grace=0)
    state = arena.until(lambda s: s.ready("2"), "version 2 is proven", 60)
