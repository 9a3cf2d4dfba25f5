"""Jobs of hooks that do not go as they should: refused, slow to end, out of sight. Policy knows; this is the real API."""

import contextlib

import pytest

from tests.e2e.api import ApiError
from tests.inputs.place import release

HOOK, RELEASE = "tradingplatform.io/hook", "tradingplatform.io/release"
HOLD = "example.com/hold"


def hook(at, pods=None, **fields):
    box = {"name": "main", "image": "migrate:1"}
    written = {"metadata": pods or {}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [box]}}
    return {"name": "migrate", "at": at, "job": {"template": written}, "timeout": "2m", **fields}


def with_hooks(version, *hooks, **fields):
    body = release(version, **fields)
    body["spec"]["hooks"] = list(hooks)
    return body


def pods_of_hooks(state):
    """Return all of them, those that end too."""
    return [pod for pod in state.all("Pod") if HOOK in (pod["metadata"].get("labels") or {})]


def runs(state, role="candidate"):
    return [run["phase"] for run in (state.status().get(role) or {}).get("hooks") or ()]


def test_no_hook_begins_while_the_pod_of_an_aborted_one_still_ends(place):
    """A finalizer does what a container does that ignores SIGTERM: the pod stays, and its Job with it."""
    place.go_live("1")
    place.apply(with_hooks("2", hook("BeforeGreen", {"finalizers": [HOLD]})))
    state = place.until(lambda s: runs(s) == ["Running"] and pods_of_hooks(s), "the migration runs", 20)
    (pod,), revision = pods_of_hooks(state), state.status()["candidate"]["revision"]
    name = pod["metadata"]["name"]
    order = place.order("Abort", revision)
    place.until(lambda s: s.order(order).get("phase") == "Done", "it is aborted", 20)
    order = place.order("Retry", revision)
    state = place.until(lambda s: s.condition("Ready")["reason"] == "HookRunning", "the next attempt waits", 20)
    (job,) = state.all("Job")
    assert "deletionTimestamp" in job["metadata"], "it is gone after its pods"
    place.never(lambda s: len(pods_of_hooks(s)) > 1, "two migrations at once", 3)
    place.api.patch("Pod", name, {"metadata": {"finalizers": None}})
    state = place.until(
        lambda s: [p for p in pods_of_hooks(s) if p["metadata"]["uid"] != pod["metadata"]["uid"]], "it runs", 20
    )
    assert [p["metadata"]["name"] for p in pods_of_hooks(state)] != [name]
    for left in pods_of_hooks(place.now):
        place.api.patch("Pod", left["metadata"]["name"], {"metadata": {"finalizers": None}})


def test_a_job_that_a_quota_forbids_is_told_of_and_the_next_version_goes_on(place):
    place.go_live("1")
    place.apply(with_hooks("2", hook("AfterSwitch"), minReadySeconds=10))
    place.until(lambda s: s.candidate() == "2" and s.is_true("Accepted"), "the API server would take the Job", 20)
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    place.api.create({"apiVersion": "v1", "kind": "ResourceQuota"} | quota)
    place.poll(lambda: (place.api.get("ResourceQuota", "few").get("status") or {}).get("used"), "it counts", 20)
    state = place.until(lambda s: s.condition("Ready")["reason"] == "JobForbidden", "it is said", 30)
    assert (state.live(), runs(state, "live")) == ("2", ["Pending"])
    assert "exceeded quota: few" in state.condition("Ready")["message"]
    assert len(state.said("JobForbidden")) == 1
    place.apply(release("3"))
    place.until(lambda s: s.ready("3"), "version 3 is live, though the hook of 2 never ran", 30)


@contextlib.contextmanager
def unanswered(place, operation):
    """Let the API server ask a webhook about Jobs of this namespace that nobody serves.

    It asks about ConfigMaps as well, which neither the operator nor a test makes: so it is known when it asks.
    """
    name = f"{place.namespace}-nobody"
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": [operation], "resources": ["jobs"]}
    probe = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    asked = {
        "name": "jobs.example.com", "rules": [rule, probe], "clientConfig": {"url": "https://127.0.0.1:9/jobs"},
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
    }  # fmt: skip
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    place.api.create(kind | {"metadata": {"name": name}, "webhooks": [asked]})
    try:
        place.poll(lambda: _is_failing(place), "the webhook is asked", 20)
        yield
    finally:
        place.api.delete("ValidatingWebhookConfiguration", name)


def _is_failing(place):
    try:
        place.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}, dryRun="All")
    except ApiError as error:
        return error.status == 500
    return False


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_a_webhook_that_nobody_serves_is_told_of_and_waited_for(place, operation):
    """The API server answers 500 then. Beside it the release goes on, and the Job runs once the webhook is gone."""
    place.go_live("1")
    place.apply(with_hooks("2", hook("AfterSwitch"), minReadySeconds=10))
    place.until(lambda s: s.candidate() == "2" and s.is_true("Accepted"), "the API server would take the Job", 20)
    with unanswered(place, operation):
        state = place.until(lambda s: s.condition("Ready")["reason"] == "AdmissionFailing", "it is said", 30)
        assert 'failed calling webhook "jobs.example.com"' in state.condition("Ready")["message"]
        assert len(state.said("AdmissionFailing")) == 1
        order = place.order("Pause", reason="lunch")
        place.until(lambda s: s.order(order).get("phase") == "Done", "the release goes on beside it", 20)
        place.order("Resume")
    place.until(lambda s: runs(s, "live") == ["Running"] and pods_of_hooks(s), "it runs", 30)


def test_a_spec_whose_job_a_webhook_cannot_be_asked_about_is_taken_once_it_can(place):
    place.go_live("1")
    with unanswered(place, "CREATE"):
        place.apply(with_hooks("2", hook("BeforeGreen")))
        state = place.until(lambda s: s.condition("Accepted")["reason"] == "AdmissionFailing", "it is said", 30)
        assert 'failed calling webhook "jobs.example.com"' in state.condition("Accepted")["message"]
    place.until(lambda s: s.is_true("Accepted"), "the webhook is gone", 30)


def test_a_job_whose_name_somebody_else_has_is_told_of_and_created_once_the_name_is_free(place):
    place.go_live("1")
    place.apply(with_hooks("2", hook("AfterSwitch"), minReadySeconds=10))
    state = place.until(lambda s: s.candidate() == "2", "it begins", 20)
    name = f"shop-migrate-{state.status()['candidate']['revision']}-1"
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "other:1"}]}
    taken = {
        "metadata": {"name": name, "labels": {RELEASE: "shop"}},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }
    place.api.create({"apiVersion": "batch/v1", "kind": "Job"} | taken)
    state = place.until(lambda s: s.condition("Ready")["reason"] == "JobNameTaken", "it is said", 30)
    assert name in state.condition("Ready")["message"]
    place.api.delete("Job", name)
    place.until(lambda s: runs(s, "live") == ["Running"] and pods_of_hooks(s), "it runs", 30)


def test_a_job_that_lost_its_label_is_followed_to_its_end(place):
    place.go_live("1")
    place.apply(with_hooks("2", hook("BeforeGreen")))
    state = place.until(lambda s: runs(s) == ["Running"] and pods_of_hooks(s), "the migration runs", 20)
    (pod,), (job,) = pods_of_hooks(state), state.all("Job")
    place.api.patch("Job", job["metadata"]["name"], {"metadata": {"labels": {RELEASE: None}}})
    place.until(lambda s: "lost its label" in s.condition("Ready")["message"], "it is said", 20)
    order = place.order("Pause", reason="lunch")
    place.until(lambda s: s.order(order).get("phase") == "Done", "the release goes on beside it", 20)
    ended = {"status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}}
    place.api.patch("Pod", pod["metadata"]["name"], ended, "status")
    place.until(lambda s: runs(s) == ["Succeeded"], "its end is seen", 30)


def test_a_job_that_gets_no_pod_says_so_long_before_its_timeout(place):
    place.go_live("1")
    migrate = hook("BeforeGreen")
    migrate["job"]["template"]["spec"]["serviceAccountName"] = "nobody"
    place.apply(with_hooks("2", migrate))
    state = place.until(lambda s: "it has no pod" in s.condition("Ready")["message"], "it is said", 30)
    assert "describe job shop-migrate-" in state.condition("Ready")["message"]
    assert "it has no pod" in state.status()["candidate"]["hooks"][0]["message"]
