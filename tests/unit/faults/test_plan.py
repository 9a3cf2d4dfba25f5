"""Writes are named by what they do, so that a plan means the same in every run."""

from collections import Counter

import pytest

from tests.faults.catalogue import FAULTS, MAIN, plans
from tests.faults.plan import Counting, Learned, Names, Place, Plan, Write, write_of
from tests.oracle import RELEASE, REVISION, SWITCH

SERVICE = "/api/v1/namespaces/flt-1/services/backend"


def named(verb, path, body, names=None):
    return str(write_of(verb, Place.of(path), body, names or Names()))


@pytest.mark.parametrize(
    ("metadata", "spec", "what"),
    [
        ({"annotations": {SWITCH: "{}"}}, {"selector": {REVISION: "x"}}, "switch"),
        ({"annotations": {"tradingplatform.io/fence": "x"}}, {}, "fence"),
        ({"labels": {RELEASE: "shop"}}, {}, "mark"),
        ({"labels": {RELEASE: None}}, {}, "unmark"),
        ({}, {"ports": []}, "spec"),
    ],
)
def test_a_patch_of_a_service_is_named_by_what_it_is_for(metadata, spec, what):
    assert named("PATCH", SERVICE, {"metadata": metadata, "spec": spec}) == f"PATCH services/backend {what} #1"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"metadata": {"annotations": {"claim.tradingplatform.io/backend": "7"}}}, "claim"),
        ({"metadata": {"annotations": {"a/served": "true", "a/proven": "x"}}}, "proven+served"),
        ({"metadata": {"annotations": {"a/served": "true"}}, "spec": {"replicas": 0}}, "scale"),
        ({"metadata": {"ownerReferences": None}}, "own"),
        ([{"op": "replace", "path": "/spec/template", "value": {}}], "restore"),
    ],
)
def test_a_patch_of_a_deployment_is_named_by_what_it_is_for(body, what):
    path = "/apis/apps/v1/namespaces/flt-1/deployments/shop-backend-x"
    assert named("PATCH", path, body) == f"PATCH deployments/shop-backend-x {what} #1"


def test_a_status_is_named_by_its_phase():
    path = "/apis/tradingplatform.io/v1alpha1/namespaces/flt-1/tradingreleases/shop/status"
    body = [{"op": "add", "path": "/status", "value": {"phase": "Watching"}}]
    assert named("PATCH", path, body) == "PATCH tradingreleases/shop/status Watching #1"


def test_hashes_become_versions_once_a_deployment_told_them():
    names = Names()
    labels = {REVISION: "kx7"}
    names.learn("deployments", {"metadata": {"labels": labels, "annotations": {"tradingplatform.io/version": "2"}}})
    path = "/apis/apps/v1/namespaces/flt-1/deployments"
    assert (
        named("POST", path, {"metadata": {"name": "shop-backend-kx7"}}, names) == "POST deployments/shop-backend-2 #1"
    )


def test_writes_of_one_name_are_numbered():
    counting = Counting()
    assert [str(counting.numbered(Write("POST", "a"))) for _ in range(2)] == ["POST a #1", "POST a #2"]


def test_a_write_is_read_back_from_its_text():
    write = Write("PATCH", "tradingreleases/shop/status Watching", 2)
    assert Write.parse(str(write)) == write


def test_a_plan_is_read_back_from_its_file(tmp_path):
    plan = Plan("three", "held", "PATCH services/backend switch #1", 7)
    file = plan.save(tmp_path)
    assert Plan.load(file) == plan
    assert file.name == "three-held-patch-services-backend-switch-1-7.json"


def test_every_write_and_every_event_has_its_plan():
    learned = Learned({}, {}, {}, {}, (Write("POST", "a"), Write("POST", "b")), ("pods ADDED a #1",), 1, 1.0)
    made = Counter(fault for fault in FAULTS for _ in plans("three", fault, learned, 0))
    assert {fault: made[fault] for fault in MAIN} == dict.fromkeys(MAIN, 2)
    assert {made[fault] for fault, kind in FAULTS.items() if kind.needs == "event"} == {1}
    assert made["clean"] == 1
