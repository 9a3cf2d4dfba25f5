"""The model's API server does what the protocol leans on."""

import pytest
from tradingrelease.policy import names, writes
from tradingrelease.policy.writes import Create, Delete, Merge, Patch, Resource

from tests.builders import NOW
from tests.model.objects import Refused, changed, created, may_delete, numbers_of

BODY = {
    "metadata": {"name": "backend", "labels": {}, "annotations": {}},
    "spec": {"selector": {"app": "backend"}, "ports": [], "type": "ClusterIP"},
}
SERVICE = created(Create(Resource.SERVICES, BODY), "uid-1", 10, NOW.isoformat())


def patched(body, version=11):
    return changed(SERVICE, Merge(Resource.SERVICES, "backend", body), version)


def test_a_change_raises_the_version():
    after = patched({"metadata": {"annotations": {names.FENCE: "x"}}})
    assert (after.version, after.value.version, after.value.annotations) == (11, 11, {names.FENCE: "x"})


def test_a_write_that_changes_nothing_raises_no_version():
    fenced = patched({"metadata": {"annotations": {names.FENCE: "x"}}})
    again = Merge(Resource.SERVICES, "backend", {"metadata": {"annotations": {names.FENCE: "x"}}})
    assert changed(fenced, again, 12) is fenced


@pytest.mark.parametrize("guard", [("", 9), ("", 11), ("uid-2", 10)])
def test_a_precondition_that_does_not_hold_refuses_the_write(guard):
    with pytest.raises(Refused):
        patched(writes.guarded(*guard, annotations={"a": "b"}))
    with pytest.raises(Refused):
        changed(SERVICE, Patch(Resource.SERVICES, "backend", writes.unchanged(*guard)), 11)
    with pytest.raises(Refused):
        may_delete(SERVICE, Delete(Resource.SERVICES, "backend", guard[0], guard[1]))


def test_a_precondition_that_holds_lets_the_write_through():
    assert patched(writes.guarded("uid-1", 10, annotations={"a": "b"})).version == 11
    may_delete(SERVICE, Delete(Resource.SERVICES, "backend", "uid-1", 10))


def test_a_null_in_a_merge_patch_removes_a_key():
    marked = patched({"metadata": {"labels": {names.RELEASE: "shop"}}})
    freed = changed(marked, Merge(Resource.SERVICES, "backend", {"metadata": {"labels": {names.RELEASE: None}}}), 12)
    assert freed.value.labels == {}


def test_what_is_gone_cannot_be_patched():
    with pytest.raises(Refused):
        changed(None, Merge(Resource.SERVICES, "backend", {}), 11)


def test_two_states_of_an_object_that_differ_in_numbers_only_have_one_shape():
    fenced = patched({"metadata": {"annotations": {names.FENCE: "unique-7"}}})
    assert (SERVICE.shape, SERVICE.version) == (fenced.shape, fenced.version - 1)


def test_versions_in_a_request_are_told_apart_from_the_rest_of_it():
    def claim(version, claimed):
        body = writes.guarded("uid", version, annotations={names.claim_key("backend"): str(claimed)})
        return numbers_of(Merge(Resource.DEPLOYMENTS, "shop", body))

    (one, numbers), (other, _) = claim(7, 5), claim(8, 6)
    assert one == other
    assert numbers == [((Resource.DEPLOYMENTS, "shop"), 7), ((Resource.SERVICES, "backend"), 5)]
