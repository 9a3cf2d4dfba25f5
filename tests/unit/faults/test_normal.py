"""What is compared with a clean run, and what is left out of it."""

import copy

import pytest

from tests.faults.normal import created_and_deleted, differences, end_state, learn
from tests.faults.plan import Names
from tests.oracle import Recorded, State

G = "tradingplatform.io"


def bodies(uid="a", version=10, revision="kx7"):
    """One namespace of one run; what is given differs from run to run."""
    labels = {f"{G}/release": "shop", f"{G}/component": "backend", f"{G}/revision": revision}
    service = {
        "metadata": {
            "name": "backend",
            "uid": f"s{uid}",
            "resourceVersion": str(version),
            "labels": {f"{G}/release": "shop"},
        },
        "spec": {"selector": {"app": "backend", f"{G}/revision": revision}, "ports": []},
    }
    annotations = {f"{G}/version": "2", f"{G}/served": "true", "claim.tradingplatform.io/backend": str(version)}
    deployment = {
        "metadata": {"name": f"shop-backend-{revision}", "uid": f"d{uid}", "resourceVersion": str(version + 1),
                     "labels": labels, "annotations": annotations},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": labels}}},
        "status": {"availableReplicas": 1},
    }  # fmt: skip
    return {"Service": service, "Deployment": deployment}


def normal(found):
    history = [Recorded(1, "ADDED", kind, body["metadata"]["name"], body) for kind, body in found.items()]
    names, state = Names(), State()
    learn(history, names)
    for event in history:
        state.take(event)
    return end_state(state, names)


def test_two_runs_that_differ_in_uids_versions_and_hashes_are_equal():
    assert normal(bodies()) == normal(bodies("b", 77, "qq4"))


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("Service", ("spec", "selector"), {"app": "backend"}),
        ("Service", ("metadata", "labels"), {}),
        ("Deployment", ("spec", "replicas"), 2),
        ("Deployment", ("status", "availableReplicas"), 0),
        ("Deployment", ("metadata", "annotations", f"{G}/served"), None),
        ("Deployment", ("metadata", "annotations", "claim.tradingplatform.io/backend"), "9"),
        ("Deployment", ("metadata", "annotations", "claim.tradingplatform.io/backend"), "99"),
    ],
)
def test_what_matters_is_a_difference(kind, place, value):
    other = copy.deepcopy(bodies())
    at = other[kind]
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    found = differences(normal(bodies()), normal(other))
    assert len(found) == 1
    assert found[0].startswith(f"{kind} ")


def test_an_object_that_is_missing_is_a_difference():
    less = {"Service": bodies()["Service"]}
    assert any("Deployment shop-backend-2" in line for line in differences(normal(bodies()), normal(less)))


def test_objects_are_counted_by_uid_and_name():
    names = Names()
    first, again = bodies("a")["Service"], bodies("b")["Service"]
    history = [
        Recorded(1, "ADDED", "Service", "backend", first),
        Recorded(2, "MODIFIED", "Service", "backend", first),
        Recorded(3, "DELETED", "Service", "backend", first),
        Recorded(4, "ADDED", "Service", "backend", again),
    ]
    assert created_and_deleted(history, names) == {"Service backend": (2, 1)}
