"""A release over its life: settings, components that come and go, retention, deletion, return, restarts."""

import pytest

from tests.e2e.builders import component, deployment, order, release, service, template
from tests.e2e.faults import breakable, spoil
from tests.e2e.scenes import (
    SHORT,
    WATCH,
    component_revision,
    first,
    go_live,
    is_reached,
    names,
    of_version,
    outcome,
    part,
    revision_of,
    switch_to,
)
from tests.oracle import FENCE, RELEASE, annotation, label, not_void

SLOW = {"env": {"STARTUP_DELAY": "12"}}
NEVER_READY = {"readinessProbe": {"httpGet": {"path": "/no-such-page", "port": "http"}}}


# --- settings only ----------------------------------------------------------------------------------------------------


def test_a_spec_that_changes_settings_only_moves_nothing_and_keeps_its_proof(arena):
    state = first(arena, "1")
    pods, switches = {p["metadata"]["uid"] for p in state.pods()}, arena.switches()
    proven = state.status()["live"]["provenAt"]
    arena.apply(release("1.1", part("1"), watch={"for": "10m", "deadAfter": "3s"}))
    state = arena.until(lambda s: s.ready("1.1"), "the new version is live and proven at once")
    assert outcome(state, "1.1") == "SettingsOnly"
    assert state.status()["live"]["provenAt"] == proven
    assert {p["metadata"]["uid"] for p in state.pods()} == pods
    assert arena.switches() == switches
    assert len(names(state)) == 1


def test_settings_changed_in_the_watch_start_its_clock_anew(arena):
    first(arena, "1")
    state = switch_to(arena, "2")
    before, switches = state.status()["live"]["watchSince"], arena.switches()
    arena.apply(release("2.1", part("2"), watch={"for": "6s", "deadAfter": "3s"}))
    state = arena.until(lambda s: s.live() == "2.1", "the settings are live's own")
    began = state.seen
    assert state.status()["live"]["watchSince"] > before
    assert "provenAt" not in state.status()["live"]
    state = arena.until(lambda s: s.ready("2.1"), "it is proven", 60)
    assert state.seen - began > 5, "after a watch of its own"
    assert arena.switches() == switches
    assert state.retained() == ["1"]


def test_settings_changed_while_a_candidate_of_these_templates_verifies_begin_a_new_candidate_on_the_same_pods(arena):
    first(arena, "1")
    arena.apply(release("2", part("2", breakable(version="2", **SLOW)), watch=SHORT))
    state = arena.until(lambda s: (d := of_version(s, "2")) and s.pods(component_revision(d)), "it is deployed", 60)
    found = of_version(state, "2")
    arena.apply(release("2.1", part("2", breakable(version="2", **SLOW)), watch=SHORT))
    state = arena.until(lambda s: s.ready("2.1"), "version 2.1 is live and proven", 120)
    assert of_version(state, "2")["metadata"]["uid"] == found["metadata"]["uid"]
    assert outcome(state, "2") == "Superseded"
    assert len(names(state)) == 2


# --- components and Services come and go ------------------------------------------------------------------------------


def test_a_component_that_is_added_is_adopted_first_and_one_that_leaves_stays_as_it_is(arena):
    first(arena, "1")
    arena.apply(service("frontend"), deployment("frontend", template("frontend", "1")))
    arena.until(lambda s: s.endpoints("frontend"), "the frontend serves, outside the release")
    both = component("backend", "2"), component("frontend", "2")
    state = go_live(arena, "2", *both)
    front = [s for s in arena.switches() if s["service"] == "frontend"]
    assert [s["cause"] for s in front] == ["Adopt", "Promote"]
    green = state.selected("frontend")
    state = go_live(arena, "3", component("backend", "3"))
    state = arena.until(lambda s: not label(s.get("Service", "frontend"), RELEASE), "its Service is unmarked", 30)
    assert state.selected("frontend") == green, "traffic stays"
    assert state.endpoints("frontend")
    assert state.deployment("frontend", green)["spec"]["replicas"] == 1
    name = arena.order("Rollback", revision_of(state, "3"))
    state = arena.until(lambda s: s.order(name).get("phase") == "Done" and s.live() == "2", "back on 2", 60)
    assert state.selected("frontend") == green, "it returned with the rollback"
    assert {c["name"] for c in state.status()["live"]["components"]} == {"backend", "frontend"}


def test_a_service_that_is_added_to_a_component_points_at_live_before_anything_else(arena):
    state = first(arena, "1")
    live = state.selected("backend")
    arena.apply(service("backend-internal", {"app": "backend", "tier": "internal"}))
    listed = {"services": ["backend", "backend-internal"]}
    pods = template(version="2", labels={"tier": "internal"})
    arena.apply(release("2", component(version="2", pods=pods, **listed), watch=SHORT))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live on both", 120)
    assert state.selected("backend") == state.selected("backend-internal") != live
    assert state.endpoints("backend") == state.endpoints("backend-internal") != set()


def test_a_service_that_leaves_a_component_keeps_its_selector_and_is_free(arena):
    listed = {"services": ["backend", "backend-internal"]}
    arena.apply(service("backend-internal", {"app": "backend"}))
    state = first(arena, "1", component(version="1", **listed))
    live = state.selected("backend")
    assert state.selected("backend-internal") == live
    arena.apply(release("1", component(version="1"), watch=SHORT))
    state = arena.until(
        lambda s: s.seen_generation() and not label(s.get("Service", "backend-internal"), RELEASE), "it is unmarked"
    )
    assert state.selected("backend-internal") == live
    arena.until(lambda s: s.ready("1") and s.selected("backend") == live, "the rest is as it was")


# --- retention --------------------------------------------------------------------------------------------------------


def test_what_is_retained_goes_after_its_time_with_a_fence_first(arena):
    first(arena, "1", retain={"for": "15s", "revisions": 1})
    state = go_live(arena, "2", retain={"for": "15s", "revisions": 1})
    assert state.retained() == ["1"]
    state = arena.until(lambda s: of_version(s, "1") is None, "version 1 is retired", 60)
    assert state.retained() == []
    arena.catch_up()
    gone = next(e for e in arena.recorder.history() if e.kind == "Deployment" and e.change == "DELETED")
    last = arena.recorder.state_at(gone.version - 1)
    assert list(not_void(last, last.get("Deployment", gone.name))) == [], "the fence came before"
    assert annotation(last.get("Service", "backend"), FENCE), "it was claimed for a rollback, so it needed a fence"
    arena.until(lambda s: s.condition("RollbackReady")["reason"] == "NoTarget" and s.said("Retired"), "it says so")
    arena.until(lambda s: s.ready("2") and len(s.pods()) == 1, "only version 2 is left")


def test_retention_that_ends_while_the_operator_is_down_is_kept_up_with_at_its_start(arena):
    first(arena, "1", retain={"for": "10s", "revisions": 1})
    state = go_live(arena, "2", retain={"for": "20s", "revisions": 1}, watch={"for": "1s", "deadAfter": "3s"})
    assert state.retained() == ["1"]
    arena.operator.stop()
    arena.never(lambda s: of_version(s, "1") is None, "anybody retires it", 22)
    arena.operator.start()
    state = arena.until(lambda s: of_version(s, "1") is None and s.retained() == [], "it is retired", 60)
    arena.until(lambda s: s.ready("2") and s.endpoints("backend"), "version 2 serves on")


def test_the_oldest_goes_first_once_the_newest_is_proven(arena):
    keep = {"retain": {"for": "1h", "revisions": 2}}
    first(arena, "1", **keep)
    go_live(arena, "2", **keep)
    state = go_live(arena, "3", **keep)
    assert state.retained() == ["2", "1"]
    state = go_live(arena, "4", **keep)
    arena.until(lambda s: s.retained() == ["3", "2"] and of_version(s, "1") is None, "version 1 is retired", 60)
    assert len(arena.now.deployments()) == 3


def test_20_releases_in_a_row_leave_nothing_behind(arena):
    """As quickly as they go, so at most the 20 in ten minutes of the contract; S5 is checked on every state."""
    first(arena, "1", part("1", health=None))
    for number in range(2, 21):
        go_live(arena, str(number), part(str(number), health=None))
    state = arena.until(
        lambda s: s.retained() == ["19"] and len(s.deployments()) == 2 and len(s.pods()) == 2, "only two stand", 60
    )
    assert len(arena.switches()) == 20
    assert [e["outcome"] for e in state.status()["history"]] == ["Proven"] * 10
    assert len(state.all("ControllerRevision")) <= 11
    assert not [s for s in state.all("Service") if s["metadata"]["name"] != "backend"]
    arena.settled(30)


# --- side by side -----------------------------------------------------------------------------------------------------


def test_two_releases_in_one_namespace_do_not_touch_each_other(arena):
    arena.apply(service("backend"), service("frontend"))
    for name, app in (("shop", "backend"), ("desk", "frontend")):
        arena.apply(release("1", component(app, "1"), name=name, watch=SHORT))
    arena.until(lambda s: s.ready("1", "shop") and s.ready("1", "desk"), "both are live and proven", 120)
    desk = arena.now.selected("frontend")
    arena.apply(release("2", component("backend", "2"), watch=SHORT))
    state = arena.until(lambda s: s.ready("2", "shop"), "shop is released", 120)
    assert state.selected("frontend") == desk
    assert state.live("desk") == "1"
    arena.api.create(
        order("Rollback", "desk-back", release_name="desk", revision=state.status("desk")["live"]["revision"])
    )
    state = arena.until(lambda s: s.order("desk-back").get("phase") == "Refused", "desk has no target")
    assert state.live("shop") == "2"
    arena.api.delete("TradingRelease", "desk")
    state = arena.until(lambda s: not label(s.get("Service", "frontend"), RELEASE), "desk's Service is free", 30)
    assert state.selected("frontend") == desk
    assert state.endpoints("frontend")
    assert state.ready("2", "shop")


# --- deletion ---------------------------------------------------------------------------------------------------------


def adopting(arena, **spec):
    arena.apply(service(), deployment("backend", template(version="0", **SLOW)))
    arena.until(lambda s: s.endpoints("backend"), "a plain Deployment serves")
    arena.apply(release("1", watch=SHORT, **spec))
    arena.until(lambda s: [d for d in s.deployments() if annotation(d, "tradingplatform.io/adopted-from")], "a clone")


def deploying(arena, **spec):
    first(arena, "1", **spec)
    arena.apply(release("2", part("2", breakable(version="2", **NEVER_READY)), **spec))
    arena.until(lambda s: of_version(s, "2") and s.get("Service", "backend-preview"), "version 2 is deployed")


def verifying(arena, **spec):
    first(arena, "1", **spec)
    never_well = {"httpGet": {"path": "/no-such-page", "port": "http"}, "interval": "1s", "timeout": "1s"}
    arena.apply(release("2", part("2", health=never_well), **spec))
    arena.until(lambda s: s.status().get("phase") == "Verifying", "version 2 is verified", 60)


def watching(arena, **spec):
    first(arena, "1", **spec)
    switch_to(arena, "2", **spec)


def proven(arena, **spec):
    first(arena, "1", **spec)
    go_live(arena, "2", **spec)


def after_a_rollback(arena, **spec):
    first(arena, "1", **spec)
    state = switch_to(arena, "2", part("2", breakable(version="2")), **spec)
    spoil(state.pods(state.selected("backend")))
    arena.until(lambda s: s.live() == "1" and s.latched() == ["2"] and is_reached(s), "version 1 serves again", 60)


PHASES = [adopting, deploying, verifying, watching, proven, after_a_rollback]


def ours(state):
    """Return the release's own things that are there beside its Services."""
    previews = {s["metadata"]["name"] for s in state.all("Service") if s["metadata"]["name"].endswith("-preview")}
    return previews | {r["metadata"]["name"] for r in state.all("ControllerRevision") if label(r, RELEASE)}


def kept(state):
    """Return what Keep promises to keep: every Deployment that served, and what Services select."""
    return {
        d["metadata"]["name"]: d["spec"]["replicas"]
        for d in state.deployments()
        if annotation(d, "tradingplatform.io/served")
        or state.selected("backend") == component_revision(d)
        or annotation(d, "tradingplatform.io/proven")
    }


def delete_release(arena, *, down):
    if down:
        arena.operator.stop()
    arena.api.delete("TradingRelease", "shop")
    arena.until(lambda s: s.get("TradingRelease", "shop") is None, "the release is gone at once: no finalizer")
    if down:
        arena.operator.start()


@pytest.mark.parametrize("down", [False, True], ids=["operator up", "operator down"])
@pytest.mark.parametrize("phase", PHASES, ids=lambda f: f.__name__)
def test_deletion_with_keep_leaves_traffic_and_what_served(arena, phase, down):
    phase(arena, onDelete="Keep")
    before = arena.now
    selected, keeps, served = before.selected("backend"), kept(before), before.endpoints("backend")
    delete_release(arena, down=down)
    state = arena.until(
        lambda s: not label(s.get("Service", "backend"), RELEASE) and not ours(s) and set(names(s)) == set(keeps)
        and s.endpoints("backend") == served,
        "what never served is swept, what is owned goes, the Service is free", 60,
    )  # fmt: skip
    assert state.selected("backend") == selected
    assert state.endpoints("backend") == served != set()
    assert kept_sizes(state, keeps) == keeps
    assert all(not d["metadata"].get("ownerReferences") and not d["metadata"].get("finalizers")
               for d in state.deployments())  # fmt: skip
    arena.settled(4)


def kept_sizes(state, keeps):
    return {d["metadata"]["name"]: d["spec"]["replicas"] for d in state.deployments() if d["metadata"]["name"] in keeps}


@pytest.mark.parametrize("down", [False, True], ids=["operator up", "operator down"])
@pytest.mark.parametrize("phase", PHASES, ids=lambda f: f.__name__)
def test_deletion_with_remove_takes_our_deployments_and_leaves_services_unmarked(arena, phase, down):
    phase(arena, onDelete="Remove")
    arena.until(lambda s: all(d["metadata"].get("ownerReferences") for d in s.deployments()), "all are owned", 30)
    selected, theirs = arena.now.selected("backend"), arena.now.get("Deployment", "backend")
    delete_release(arena, down=down)
    state = arena.until(
        lambda s: not s.deployments() and not ours(s) and not label(s.get("Service", "backend"), RELEASE),
        "all that is ours is gone, the Service is free", 60,
    )  # fmt: skip
    assert state.selected("backend") == selected, "Services stay as they are"
    left = state.get("Deployment", "backend")
    assert (left and left["metadata"]["uid"]) == (theirs and theirs["metadata"]["uid"])
    arena.settled(4)


def test_a_release_created_again_under_its_name_takes_over_what_keep_left(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    green, pods = state.selected("backend"), {p["metadata"]["uid"] for p in state.pods()}
    delete_release(arena, down=False)
    arena.until(lambda s: not label(s.get("Service", "backend"), RELEASE), "the Service is free")
    arena.apply(release("2", part("2"), watch=SHORT))
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 60)
    assert state.selected("backend") == green
    assert {p["metadata"]["uid"] for p in state.pods()} == pods, "nothing is deployed anew"
    assert state.retained() == ["1"], "what was proven is a target from now on"
    name = arena.order("Rollback", state.status()["live"]["revision"])
    arena.until(lambda s: s.order(name).get("phase") == "Done" and s.live() == "1", "and a rollback to it works", 60)


def test_a_release_created_again_with_another_version_begins_from_what_serves(arena):
    state = first(arena, "1")
    blue = state.selected("backend")
    delete_release(arena, down=True)
    arena.apply(release("3", part("3"), watch=SHORT))
    state = arena.until(lambda s: s.ready("3"), "version 3 is live and proven", 120)
    assert state.selected("backend") != blue
    assert len(state.retained()) == 1
    assert state.deployment("backend", blue)["spec"]["replicas"] == 1


# --- restarts ---------------------------------------------------------------------------------------------------------


def restart(arena, how):
    if how == "SIGTERM":
        assert arena.operator.stop() == 0, "it ends cleanly"
    else:
        arena.operator.kill()
    arena.operator.start()


@pytest.mark.parametrize("how", ["SIGTERM", "kill -9"])
def test_an_operator_restarted_at_every_phase_finishes_what_it_began(arena, how):
    old = template(version="0")
    arena.apply(service(), deployment("backend", old))
    arena.until(lambda s: s.endpoints("backend"), "a plain Deployment serves")
    arena.apply(release("1", watch={"for": "8s", "deadAfter": "3s"}))
    for reached, what in (
        (lambda s: s.deployments(), "adoption has begun"),
        (lambda s: s.candidate() == "1", "version 1 is the candidate"),
        (lambda s: of_version(s, "1"), "it is deployed"),
        (lambda s: s.live() == "1", "it is live"),
    ):
        arena.until(reached, what, 90)
        restart(arena, how)
    state = arena.until(lambda s: s.ready("1"), "version 1 is live and proven", 90)
    assert [s["cause"] for s in arena.switches()] == ["Adopt", "Promote"]
    assert len(state.retained()) == 1
    assert len(state.deployments()) == 2
    state = switch_to(arena, "2", part("2", breakable(version="2")), watch=WATCH)
    restart(arena, how)
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: s.live() == "1" and s.latched() == ["2"], "the watch goes on after a restart", 60)
    restart(arena, how)
    arena.until(lambda s: of_version(s, "2")["spec"]["replicas"] == 0, "green goes to zero after a restart", 60)


def test_converged_means_silent(arena):
    first(arena, "1")
    go_live(arena, "2")
    arena.until(lambda s: s.is_true("RollbackReady") and s.is_true("Promoted"), "blue stands")
    arena.settled(30)
    restart(arena, "kill -9")
    arena.settled(30)
