"""What each step sends carries its precondition, and a Deployment goes by the delete rule only."""

from typing import get_args

import pytest
from tradingrelease.policy import model, names, writes
from tradingrelease.policy.writes import Create, Delete, Merge, Patch, Read, Resource

from tests.builders import KEY, NOW, UID, a_deployment, a_service

BODY = {
    "metadata": {"name": "x", "labels": {}, "annotations": {}, "ownerReferences": []},
    "spec": {"selector": {}, "ports": []},
}
RECORD = model.Record(1, model.Cause.PROMOTE, "b", "a", "x", "y", NOW, "because")
STEPS = (
    model.Switch("backend", 7, "x", RECORD),
    model.Claim("d", "u", 7, {"backend": 6}),
    model.Mark("backend", 7),
    model.Unmark("backend", 7),
    model.Annotate("d", "u", 7, {names.SERVED: "true"}),
    model.Scale("d", "u", 7, 2),
    model.Own("d", "u", 7, owned=True),
    model.Restore("d", "u", 7, {"spec": {}}),
    model.StartJob("job", "u", 7),
    model.PatchPreview("backend-preview", 7, BODY),
)
CREATIONS = (
    model.CreateDeployment("d", BODY),
    model.CreatePreview("backend-preview", BODY),
    model.StoreSpec("x", BODY),
    model.CreateJob("x", BODY),
)
DELETIONS = (
    model.DeletePreview("backend-preview", "u"),
    model.ForgetSpec("shop-x", "u"),
    model.ForgetOrder("order", "u"),
    model.DeleteJob("job", "u", 3),
)
READS = (model.Rest, model.DryRun, model.Ask, model.ConfirmDead, model.ConfirmGone)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_change_is_bound_to_the_version_that_was_looked_at(step):
    match writes.write(step, KEY, UID):
        case Merge(resource, _, body):
            guard = {k: body["metadata"].get(k) for k in ("resourceVersion", "uid")}
            assert guard == {
                "resourceVersion": "7",
                "uid": "u" if resource in {Resource.DEPLOYMENTS, Resource.JOBS} else None,
            }
        case Patch(_, _, operations):
            tests = {o["path"]: o["value"] for o in operations if o["op"] == "test"}
            assert tests == {"/metadata/uid": "u", "/metadata/resourceVersion": "7"}
        case other:
            pytest.fail(f"not a change: {other}")


def test_every_step_is_known():
    known = {type(step) for step in (*STEPS, *CREATIONS, *DELETIONS)} | {model.Retire, *READS}
    assert set(get_args(model.Step)) == known
    assert {type(writes.write(step, KEY, UID)) for step in CREATIONS} == {Create}
    assert {writes.write(step, KEY, UID).uid for step in DELETIONS} == {"u"}


def sent(step, *answers):
    """Return what a retirement sends, answered so, and how it ends."""
    asked, found = writes.retire(step, "never-before"), []
    try:
        request = next(asked)
        for answer in answers:
            found.append(request)
            request = asked.send(answer)
        found.append(request)
    except StopIteration as end:
        return found, end.value
    return found, "goes on"


GREEN = a_deployment(claims={"backend": 10, "public": 12})
GONE = model.Retire(GREEN.name, GREEN.uid, {}, delete=True)


def test_a_claim_that_a_switch_could_still_use_is_fenced_before_the_deletion():
    backend, public = a_service("backend", "other", version=10), a_service("public", "other", version=13)
    found, _ = sent(GONE, GREEN, backend, None, public)
    assert found == [
        Read(Resource.DEPLOYMENTS, GREEN.name),
        Read(Resource.SERVICES, "backend"),
        writes.fence(backend, "never-before"),
        Read(Resource.SERVICES, "public"),
        Delete(Resource.DEPLOYMENTS, GREEN.name, GREEN.uid, GREEN.version),
    ]
    assert found[2].body["metadata"] == {"resourceVersion": "10", "annotations": {names.FENCE: "never-before"}}


def test_a_service_that_is_gone_needs_no_fence():
    found, _ = sent(GONE, GREEN, None, None)
    assert [type(r) for r in found] == [Read, Read, Read, Delete]


def test_what_a_service_selects_stays():
    _, end = sent(GONE, GREEN, a_service("backend", GREEN.revision, version=99))
    assert (end.wait, "selects it" in end.said) == (1.0, True)


@pytest.mark.parametrize("found", [None, a_deployment(uid="another")])
def test_another_deployment_of_that_name_is_left_alone(found):
    asked, end = sent(GONE, found)
    assert (len(asked), type(end)) == (1, writes.Stopped)


def test_scaling_to_zero_is_bound_to_the_same_deployment():
    found, _ = sent(model.Retire(GREEN.name, GREEN.uid, {}, delete=False, served=True), GREEN, None, None)
    assert found[-1].body == {
        "metadata": {"uid": GREEN.uid, "resourceVersion": "20", "annotations": {names.SERVED: "true"}},
        "spec": {"replicas": 0},
    }
