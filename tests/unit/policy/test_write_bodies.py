"""What each step changes in an object, and that it changes nothing else there (product.md 4 and 5)."""

import json

import pytest
from tradingrelease.policy import model, names, writes
from tradingrelease.policy.manifests import record_in
from tradingrelease.policy.writes import Create, Merge, Patch, Resource

from tests.builders import KEY, NOW, UID, a_deployment

RECORD = model.Record(1, model.Cause.PROMOTE, "b", "a", "x", "y", NOW, "because")


def sent(step):
    """Return the one request of a step."""
    requests = writes.requests(step, KEY, UID, "never-before")
    request = next(requests)
    with pytest.raises(StopIteration):
        requests.send(None)
    return request


def merged(step, resource, name):
    """Return the merge patch of a step without its precondition."""
    request = sent(step)
    assert (type(request), request.resource, request.name) == (Merge, resource, name)
    kept = {k: v for k, v in request.body["metadata"].items() if k not in {"uid", "resourceVersion"}}
    return {**request.body, "metadata": kept}


def test_a_switch_moves_the_selector_and_records_the_act_in_one_patch():
    """Nothing is left to a second write: a crash after the patch loses nothing."""
    body = merged(model.Switch("backend", 7, "x", RECORD), Resource.SERVICES, "backend")
    record = body["metadata"]["annotations"].pop(names.SWITCH)
    assert body == {"metadata": {"annotations": {}}, "spec": {"selector": {names.REVISION: "x"}}}
    assert record_in(json.loads(record)) == RECORD
    assert json.dumps(json.loads(record), separators=(",", ":")) == record


def test_a_claim_names_each_service_and_the_version_at_which_it_may_be_switched():
    body = merged(model.Claim("d", "u", 7, {"backend": 6, "public": 12}), Resource.DEPLOYMENTS, "d")
    assert body == {"metadata": {"annotations": {names.claim_key("backend"): "6", names.claim_key("public"): "12"}}}


def test_a_mark_says_whose_the_service_is_and_leaves_its_selector_alone():
    body = merged(model.Mark("backend", 7), Resource.SERVICES, "backend")
    assert body == {"metadata": {"labels": {names.RELEASE: "shop"}, "annotations": {names.RELEASE_UID: UID}}}


def test_a_gate_marks_the_service_and_lets_it_select_no_pod():
    """So the first release is gated too (product.md 4.2)."""
    body = merged(model.Mark("backend", 7, gate=True), Resource.SERVICES, "backend")
    assert body == {
        "metadata": {"labels": {names.RELEASE: "shop"}, "annotations": {names.RELEASE_UID: UID}},
        "spec": {"selector": {names.REVISION: names.NOTHING}},
    }


def test_a_job_is_started_by_taking_its_suspension_off():
    assert merged(model.StartJob("job", "u", 7), Resource.JOBS, "job") == {"metadata": {}, "spec": {"suspend": False}}


def test_taking_the_mark_off_leaves_traffic_as_it_is():
    body = merged(model.Unmark("backend", 7), Resource.SERVICES, "backend")
    assert body == {"metadata": {"labels": {names.RELEASE: None}, "annotations": {names.RELEASE_UID: None}}}


def test_what_served_is_said_on_the_deployment():
    body = merged(model.Annotate("d", "u", 7, {names.SERVED: "true"}), Resource.DEPLOYMENTS, "d")
    assert body == {"metadata": {"annotations": {names.SERVED: "true"}}}


def test_scaling_changes_the_replicas_only():
    body = merged(model.Scale("d", "u", 7, 3), Resource.DEPLOYMENTS, "d")
    assert body == {"metadata": {}, "spec": {"replicas": 3}}


@pytest.mark.parametrize("owned", [True, False])
def test_with_remove_deployments_are_owned_and_with_keep_by_nobody(owned):
    body = merged(model.Own("d", "u", 7, owned), Resource.DEPLOYMENTS, "d")
    owners = body["metadata"].pop("ownerReferences")
    assert body == {"metadata": {}}
    assert [o["uid"] for o in owners] == [UID] if owned else owners is None


@pytest.mark.parametrize(
    ("template", "seconds", "paths"),
    [
        ({"spec": {"x": 1}}, None, {"/spec/template": ("replace", {"spec": {"x": 1}})}),
        (None, 9, {"/spec/minReadySeconds": ("add", 9)}),
        (None, 0, {"/spec/minReadySeconds": ("add", 0)}),
        ({}, 9, {"/spec/template": ("replace", {}), "/spec/minReadySeconds": ("add", 9)}),
    ],
)
def test_restoring_replaces_what_was_edited_and_keeps_claims(template, seconds, paths):
    """JSON patch operations by RFC 6902: no annotation is touched, so no claim is."""
    request = sent(model.Restore("d", "u", 7, template, seconds))
    assert (type(request), request.name) == (Patch, "d")
    changes = [o for o in request.operations if o["op"] != "test"]
    assert changes == [{"op": op, "path": path, "value": value} for path, (op, value) in paths.items()]


def test_a_preview_that_is_there_already_is_pointed_at_the_candidate_of_now():
    metadata = {"name": "x", "labels": {"a": "b"}, "annotations": {"c": "d"}, "ownerReferences": [{"uid": UID}]}
    spec = {"selector": {names.REVISION: "x"}, "ports": [{"port": 80}]}
    step = model.PatchPreview("backend-preview", 7, {"metadata": metadata, "spec": spec})
    del metadata["name"]
    assert merged(step, Resource.SERVICES, "backend-preview") == {"metadata": metadata, "spec": spec}


def test_the_whole_status_is_replaced_where_nobody_wrote_it_since():
    assert writes.status(7, {"phase": "Live"}) == (
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/status", "value": {"phase": "Live"}},
    )


def test_what_never_had_traffic_is_not_said_to_have_served_when_it_is_scaled_to_zero():
    """`served` keeps a Deployment when its release is deleted (product.md 4, Deletion)."""
    green = a_deployment()
    asked = writes.requests(model.Retire(green.name, green.uid, {}, delete=False), KEY, UID, "never-before")
    next(asked)
    assert not asked.send(green).body["metadata"]["annotations"]


def test_a_deployment_that_is_gone_already_is_looked_at_again_within_a_moment():
    asked = writes.requests(model.Retire("d", "u", {}, delete=True), KEY, UID, "never-before")
    next(asked)
    with pytest.raises(StopIteration) as end:
        asked.send(None)
    assert end.value.value.wait < 1


def test_a_step_that_asks_the_cluster_sends_no_write():
    with pytest.raises(AssertionError, match="ConfirmDead is not one write"):
        next(writes.requests(model.ConfirmDead("backend"), KEY, UID, "never-before"))


def test_a_creation_sends_the_body_that_policy_made():
    assert sent(model.CreateDeployment("d", {"a": 1})) == Create(Resource.DEPLOYMENTS, {"a": 1})
