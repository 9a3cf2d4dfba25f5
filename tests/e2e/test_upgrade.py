"""An earlier version of the operator is exchanged for this one and back, under way, and no user of a Service notices.

Alone: the CRDs are the cluster's. Three releases stand for the moments: one is idle, one is on its way to its next
version, one is in the watch of it.
"""

import pytest
import yaml

from tests import earlier
from tests.chart.helm import CHART
from tests.e2e.builders import component, release, service, template
from tests.e2e.faults import feel, kubectl, moody, ready
from tests.e2e.scenes import SHORT, WATCH, component_revision
from tests.oracle import REVISION, annotation, label

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

IDLE, GOING, WATCHED = "idle", "going", "watched"
APPS = {IDLE: "frontend", GOING: "backend", WATCHED: "engine"}
ASKS_ORDERS = {
    "httpGet": {"path": "/orders", "port": "http"}, "interval": "1s", "timeout": "1s",
    "successThreshold": 1, "failureThreshold": 2,
}  # fmt: skip


def body(name, version, *, mood=None, watch=SHORT):
    """Return a release of one component; `mood`: how its pods answer its health check, until the test says otherwise."""
    app = APPS[name]
    pods = template(app, version, drain=True) if mood is None else moody(app, version, mood, drain=True)
    asked = {} if mood is None else {"health": ASKS_ORDERS}
    return release(version, component(app, pods=pods, progressDeadline="10m", **asked), name=name, watch=watch)


def standing(state):
    """Return what no exchange of the operator may change: what runs, what is selected, what is remembered."""
    return {name: _standing(state, name, app) for name, app in APPS.items()}


def _standing(state, name, app):
    status = state.status(name)
    live, candidate = status.get("live") or {}, status.get("candidate") or {}
    stored = [r["metadata"]["name"] for r in state.all("ControllerRevision") if owner(r) == name]
    return {
        "deployments": {d["metadata"]["uid"]: (label(d, REVISION), d["spec"]["replicas"]) for d in state.deployments(name)},
        "pods": {p["metadata"]["uid"] for p in state.pods(app=app)},
        "selector": state.get("Service", app)["spec"]["selector"],
        "stored specs": stored,
        "live": {key: live.get(key) for key in ("revision", "since", "watchSince", "provenAt", "act", "components")},
        "candidate": {key: candidate.get(key) for key in ("revision", "attempt", "startedAt", "components")},
        "retained": [(r["revision"], r["until"]) for r in status.get("retained") or ()],
        "latched": [(r["revision"], r["reason"]) for r in status.get("latched") or ()],
        "history": [(h["revision"], h["outcome"], h.get("started"), h.get("switched")) for h in status.get("history") or ()],
    }  # fmt: skip


def owner(body):
    """Return the name of who controls an object."""
    return next((o["name"] for o in body["metadata"].get("ownerReferences") or () if o.get("controller")), "")


def exchanged(arena, installation, exchange):
    """Exchange the operator: one of the new version leads in the end, and nothing of what stands has changed."""
    before, old = standing(arena.now), {pod["metadata"]["uid"] for pod in installation.pods()}
    exchange()
    arena.poll(lambda: (pod := installation.leader()) and pod["metadata"]["uid"] not in old, "a new one leads", 30)
    changed = arena.recorder.until(lambda s: standing(s) != before, 4)
    assert standing(changed or arena.now) == before


def under_way(arena, version):
    """Bring two of three releases on their way: one waits for its health check, one is in a watch without an end."""
    arena.apply(body(GOING, version, mood="broken"), body(WATCHED, version, watch=WATCH))
    state = arena.until(
        lambda s: (
            s.live(WATCHED) == version and s.is_true("Promoted", WATCHED)
            and s.candidate(GOING) == version and s.is_true("CandidateAvailable", GOING)
        ), f"version {version} is under way", 90,
    )  # fmt: skip
    assert not state.is_true("CandidateVerified", GOING)
    return state


def candidates(state, version):
    """Return the pods of the release on its way that answer its health check badly."""
    made = next(d for d in state.deployments(GOING) if annotation(d, "tradingplatform.io/version") == version)
    return ready(state, component_revision(made))


def assert_crds_of(arena, chart):
    """Check that the API server's schemas are those of a chart."""
    for file in sorted((chart / "files" / "crds").glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        told = yaml.safe_load(kubectl(arena, "get", "crd", crd["metadata"]["name"], "-o", "json"))
        assert [v["schema"] for v in told["spec"]["versions"]] == [v["schema"] for v in crd["spec"]["versions"]]


def test_exchanged_idle_under_way_and_in_a_watch_it_redeploys_nothing_and_fails_no_request(arena, installation):
    arena.recorder.allow_gaps()
    installation.install(earlier.chart(), tag=earlier.TAG)
    assert_crds_of(arena, earlier.chart())
    arena.apply(*(service(app) for app in APPS.values()), *(body(name, "1") for name in APPS))
    arena.until(lambda s: all(s.ready("1", name) for name in APPS), "version 1 is live and proven everywhere", 90)

    with arena.load(*APPS.values(), rate=60) as load:
        state = under_way(arena, "2")
        exchanged(arena, installation, installation.upgrade)
        assert_crds_of(arena, CHART)
        feel(arena, candidates(state, "2"), "well")
        arena.apply(body(WATCHED, "2"))  # its settings only: a watch that ends
        arena.until(lambda s: s.ready("2", GOING) and s.ready("2", WATCHED), "both are proven by the new version", 90)

        state = under_way(arena, "3")
        exchanged(arena, installation, installation.rollback)
        assert_crds_of(arena, earlier.chart())
        feel(arena, candidates(state, "3"), "well")
        arena.until(lambda s: s.ready("3", GOING), "it is proven by the version before", 90)
        back = arena.order("Rollback", state.status(WATCHED)["live"]["revision"], release_name=WATCHED)
        arena.until(lambda s: s.order(back).get("phase") == "Done" and s.live(WATCHED) == "2", "it is rolled back", 60)
    records = load.records()
    assert not records.failed(), records.by_outcome()
    assert arena.now.live(IDLE) == "1"
    moves = {app: [m["cause"] for m in arena.switches() if m["service"] == app] for app in APPS.values()}
    assert moves == {
        "frontend": ["Promote"],
        "backend": ["Promote"] * 3,
        "engine": ["Promote", "Promote", "Promote", "Rollback"],
    }
