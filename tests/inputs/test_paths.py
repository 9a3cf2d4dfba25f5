"""The same spec, reached by another way, is the same cluster: the differential oracle, on a real API server.

`tests/unit/policy/test_convergence.py` asks the same of the simulator, many times more.
"""

import os

from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st

from tests.e2e.builders import service
from tests.inputs.mutate import put
from tests.inputs.place import release, template
from tests.oracle import CLAIM, REVISION, label

OF_THE_WAY = ("tradingplatform.io/switch", "tradingplatform.io/fence", "tradingplatform.io/proven", CLAIM)
"""Annotations that tell of versions and of what was before."""
OF_THE_CLUSTER = ("tradingplatform.io/release-uid", "deployment.kubernetes.io/revision", "kubectl.kubernetes.io/")
WANTED = put(release("9", replicas=1, minReadySeconds=0), {"spec/retain": {"for": "0s", "revisions": 1}})

SEED, EXAMPLES = os.environ.get("SEED"), int(os.environ.get("EXAMPLES", "3"))
"""The same few ways every time; with a seed others, and as many as one has time for."""

steps = st.sampled_from(
    ["version 2", "version 3", "never ready", "none", "three", "typo", "selector", "edit", "delete", "recreate"]
)
ways = st.lists(steps, min_size=2, max_size=4)


@example(["version 2", "delete", "edit"], ["version 2", "selector", "typo"])
@example(["none", "never ready"], ["never ready", "three", "edit"])
@(seed(int(SEED)) if SEED else lambda test: test)
@settings(max_examples=EXAMPLES, derandomize=not SEED, deadline=None, suppress_health_check=list(HealthCheck))
@given(ways, ways)
def test_two_ways_to_a_spec_end_where_the_straight_one_does(opened, one, other):
    with opened() as straight, opened() as first, opened() as second:
        for place, way in ((straight, []), (first, one), (second, other)):
            place.apply(service())
            for number, step in enumerate(way):
                take(place, step, number)
            place.apply(WANTED)
        expected = None
        for place, way in ((straight, []), (first, one), (second, other)):
            place.until(
                lambda s: s.ready("9") and not s.retained() and len(s.deployments()) == 1,
                f"the spec is live after {way}",
                60,
            )
            place.settled(1)
            found = outcome(place.now)
            expected = expected or found
            assert found == expected, way


def take(place, step, number):  # noqa: C901 - one line a step
    """Take a step and let the operator begin to answer it, not end."""
    if step in {"selector", "edit", "delete"} and place.now.get("TradingRelease", "shop"):
        place.recorder.until(lambda s: s.live(), 20)  # else there is nothing of ours to lay hands on
    state = place.now
    live = state.deployment("backend", state.selected("backend") or "")
    match step.split():
        case ["version", version]:
            place.apply(release(version))
        case ["never", "ready"]:
            place.apply(release(f"4-{number}", pods=template("4", image="registry.example.com/backend:unready")))
        case ["none"]:
            place.apply(release("2", replicas=0))
        case ["three"]:
            place.apply(release("3", replicas=3))
        case ["typo"]:
            place.apply(release("5", pods=template("5", hostNetwrk=True)))
        case ["selector"] if live:
            place.expect_violation("S1", "lost its revision key")
            place.api.patch("Service", "backend", {"spec": {"selector": {REVISION: None}}})
        case ["edit"] if live:
            place.api.patch("Deployment", live["metadata"]["name"], {"spec": {"minReadySeconds": 7}})
        case ["delete"] if live:
            place.api.delete("Deployment", live["metadata"]["name"])
            place.until(
                lambda s: (d := s.get("Deployment", live["metadata"]["name"])) is None or is_another(d, live),
                "it is gone",
            )
            gone = [e for e in place.recorder.history() if (e.name, e.change) == (live["metadata"]["name"], "DELETED")]
            if place.recorder.state_at(gone[-1].version).selected("backend") == label(live, REVISION):
                place.expect_violation("S1", "which no Deployment of shop has")
        case ["recreate"]:
            place.api.delete("Service", "backend")
            place.apply(service())
    if step in {"version 2", "version 3", "none", "three", "typo", "never ready"}:
        place.until(lambda s: s.seen_generation(), f"{step} is seen", 20)


def is_another(body, former):
    """Whether an object is not the one that had its name before."""
    return body["metadata"]["uid"] != former["metadata"]["uid"]


def outcome(state):
    """Return what stands and what is said of it, without names, uids, versions and times that the API server gave."""
    kinds = ("Deployment", "Service", "ControllerRevision")
    live = state.status()["live"]
    stored = f"shop-{live['revision']}"
    bodies = [
        b for kind in kinds for b in state.all(kind) if kind != "ControllerRevision" or b["metadata"]["name"] == stored
    ]
    conditions = {c["type"]: (c["status"], c["reason"]) for c in state.status()["conditions"]}
    pods = sorted(label(pod, REVISION) for pod in state.pods())
    said = {"revision": live["revision"], "components": live["components"], "phase": state.status()["phase"]}
    return {"objects": [normal(body) for body in bodies], "conditions": conditions, "pods": pods, "status": said}


def normal(body):
    meta = body["metadata"]
    notes = {k: v for k, v in (meta.get("annotations") or {}).items() if not k.startswith(OF_THE_WAY + OF_THE_CLUSTER)}
    spec = {k: v for k, v in (body.get("spec") or {}).items() if k not in {"clusterIP", "clusterIPs"}}
    return {"kind": body["kind"], "name": meta["name"], "labels": meta.get("labels"), "annotations": notes,
            "spec": spec, "data": body.get("data")}  # fmt: skip
