"""From what the API server sends to the small values that policy works on."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tradingrelease.cluster import project
from tradingrelease.policy import manifests, names
from tradingrelease.policy.model import Author
from tradingrelease.policy.reasons import Action, Cause
from tradingrelease.policy.spec import Rejected, Spec

from tests.unit.cluster import raw


def test_a_service_is_read_with_the_record_of_its_last_switch():
    read = project.service(raw.service(version=41, annotations=raw.switch() | {"other.example.com/x": "y"}))
    assert (read.version, read.headless, read.record.act, read.record.cause) == (41, False, 3, Cause.PROMOTE)
    assert set(read.annotations) == {names.SWITCH}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"act": "x"}', '{"act": 1}'])
def test_a_record_that_we_did_not_write_is_none(text):
    assert project.service(raw.service(annotations={names.SWITCH: text})).record is None


def test_a_record_reads_back_as_it_was_written():
    record = project.service(raw.service(annotations=raw.switch(latches=True, order="o", reason="r"))).record
    for told in (record, replace(record, forced_at=record.at)):
        assert manifests.record_in(manifests.record_out(told)) == told


def test_a_headless_service_and_one_without_selector_are_known():
    read = project.service(raw.service(clusterIP="None", selector=None))
    assert (read.headless, read.selector, read.selected) == (True, {}, None)


def test_a_deployment_is_read_with_its_claims_and_its_proof():
    given = raw.deployment(version=7)
    given["metadata"]["annotations"] |= {
        names.claim_key("backend"): "41",
        names.claim_key("public"): "not a number",
        names.PROVEN: "one,two",
        names.SERVED: "true",
    }
    read = project.deployment(given)
    assert (read.component, read.revision, read.version, read.claims) == ("backend", "abc", 7, {"backend": 41})
    assert (read.proven, read.served, read.settled, read.available) == (("one", "two"), True, True, 2)


def test_a_deployment_whose_controller_has_not_seen_it_is_not_settled():
    given = raw.deployment()
    given["metadata"]["generation"] = 2
    assert not project.deployment(given).settled
    given["status"] = {}
    read = project.deployment(given)
    assert (read.settled, read.available, read.updated) == (False, 0, 0)


def test_a_quota_that_stops_pods_is_read_in_the_api_servers_words():
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": "exceeded quota",
        "lastTransitionTime": "2026-03-02T12:00:01Z",
    }
    read = project.deployment(raw.deployment(conditions=[failure]))
    assert (read.replica_failure, read.replica_failure_since) == (
        "exceeded quota",
        datetime(2026, 3, 2, 12, 0, 1, tzinfo=UTC),
    )
    over = project.deployment(raw.deployment(conditions=[failure | {"status": "False"}]))
    assert (over.replica_failure, over.replica_failure_since) == ("", None)


def test_a_pod_is_read_with_its_owner_and_the_ports_of_its_sidecars():
    read = project.pod(raw.pod())
    assert (read.replicaset_uid, read.pod.ready, read.pod.ports) == (
        "uid-backend-rs",
        True,
        {"admin": 9000, "http": 8080},
    )


def test_a_pod_without_an_owner_belongs_to_nobody():
    given = raw.pod()
    given["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "uid": "u", "controller": False}]
    assert project.pod(given).replicaset_uid == ""


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_was_evicted_counts_as_on_its_way_out(phase):
    assert project.pod(raw.pod(phase=phase)).pod.terminating


def test_a_pod_that_no_node_takes_says_why():
    refused = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes",
        "lastTransitionTime": "2026-03-02T12:00:01Z",
    }  # fmt: skip
    read = project.pod(raw.pod(conditions=[refused], podIP="")).pod
    assert (read.ready, read.unschedulable) == (False, "0/3 nodes")


def test_a_container_that_died_says_how():
    died = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-03-02T12:01:00Z"}}
    waits = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    status = {"name": "backend", "restartCount": 4, "state": waits, "lastState": died}
    container = project.pod(raw.pod(containerStatuses=[status])).pod.containers[0]
    assert (container.restarts, container.waiting, container.died, container.exit_code) == (
        4,
        "CrashLoopBackOff",
        "OOMKilled",
        137,
    )
    assert container.died_at == datetime(2026, 3, 2, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "down"),
    [
        ({"running": {"startedAt": "2026-03-02T12:00:00Z"}}, False),
        ({"terminated": {"reason": "Error", "exitCode": 1}}, True),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, True),
        ({"terminated": {"reason": "Completed", "exitCode": 0}}, False),  # an init container that is through
        ({"terminated": {"reason": "ContainerStatusUnknown", "exitCode": 137}}, False),  # nobody saw it fail
        ({"waiting": {"reason": "PodInitializing"}}, False),
    ],
    ids=str,
)
def test_a_crash_counts_when_it_happens_and_not_only_when_the_container_is_started_again(state, down):
    status = {"name": "backend", "restartCount": 1, "state": state}
    container = project.pod(raw.pod(containerStatuses=[status])).pod.containers[0]
    assert (container.down, container.crashes) == (down, 1 + down)


def test_last_words_are_told_without_what_looks_like_a_secret():
    """They may be the end of its log (FallbackToLogsOnError), and reach status, Events and chat rooms."""
    words = "cannot reach postgres://trader:hunter2@db:5432/x\nwith token=canary-7f3a91 of today"
    died = {"terminated": {"reason": "Error", "exitCode": 1, "message": words}}
    status = {"name": "backend", "restartCount": 1, "state": {}, "lastState": died}
    (container,) = project.pod(raw.pod(containerStatuses=[status])).pod.containers
    assert container.last_words == "cannot reach postgres://***@db:5432/x with token=*** of today"


def test_how_a_container_died_now_goes_before_how_it_died_last_time():
    last, now = ({"terminated": {"reason": r, "exitCode": c}} for r, c in (("Error", 1), ("OOMKilled", 137)))
    status = {"name": "backend", "restartCount": 1, "state": now, "lastState": last}
    assert project.pod(raw.pod(containerStatuses=[status])).pod.containers[0].died == "OOMKilled"


def test_an_endpoint_of_unknown_readiness_counts_as_ready():
    read = project.endpoint_slice(
        raw.endpoint_slice(raw.endpoint("a"), raw.endpoint("b", None), raw.endpoint("c", ready=False))
    )
    assert (read.service, read.ready, read.every) == (
        "backend",
        {"http": frozenset({"uid-a", "uid-b"})},
        frozenset({"uid-a", "uid-b"}),
    )


def test_a_port_that_does_not_resolve_is_not_listed():
    assert project.endpoint_slice(raw.endpoint_slice(raw.endpoint("a"), ports=[])).ready == {}
    assert (
        project.endpoint_slice(raw.endpoint_slice(raw.endpoint("a"), ports=[{"name": "http", "port": None}])).ready
        == {}
    )


def test_an_endpoint_that_is_no_pod_is_a_stranger():
    manual = {"addresses": ["172.16.0.9"], "conditions": {}}
    assert project.endpoint_slice(raw.endpoint_slice(manual)).every == frozenset({"foreign:172.16.0.9"})


def test_an_order_is_read_with_its_answer():
    given = {
        "metadata": raw.metadata("back"),
        "spec": {"release": "shop", "action": "Rollback", "revision": "abc", "reason": "red"},
        "status": {"phase": "Done", "at": "2026-03-02T12:00:01Z"},
    }
    read = project.order(given)
    assert (read.action, read.revision, read.phase, read.answered_at) == (
        Action.ROLLBACK, "abc", "Done", datetime(2026, 3, 2, 12, 0, 1, tzinfo=UTC),
    )  # fmt: skip
    assert project.order(given | {"status": {"phase": "Pending", "at": "2026-03-02T12:00:01Z"}}).answered_at is None


@pytest.mark.parametrize(
    ("stored", "author"),
    [
        ({}, Author()),
        ({names.APPLIED_BY: "ci", names.APPLIED_FOR: "anna"}, Author("ci", "anna")),
        ({names.APPLIED_BY: "ci", names.ON_BEHALF_OF: "anna"}, Author("ci", "anna")),
        ({names.APPLIED_BY: "ci", names.ON_BEHALF_OF: "bob", names.APPLIED_FOR: "anna"}, Author("ci", "bob")),
    ],
    ids=["nobody knows", "stamped", "of an older server", "of one that does not stamp any more"],
)
def test_the_author_of_a_release_is_read_as_it_is_stamped_or_else_as_it_is_written(stored, author):
    metadata = raw.metadata("shop", 3) | {"annotations": stored}
    assert project.release({"metadata": metadata, "spec": {"version": 7}}).author == author


def test_a_release_with_an_unreadable_spec_is_a_release_all_the_same():
    read = project.release({"metadata": raw.metadata("shop", 3), "spec": {"version": 7}})
    assert (read.version, isinstance(read.spec, Rejected)) == (3, True)


def test_an_unchanged_spec_is_not_parsed_again():
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a"}]}}
    spec = {"version": "1", "components": [{"name": "a", "services": ["a"], "template": template}]}
    first = project.release({"metadata": raw.metadata("shop", 3), "spec": spec})
    again = project.release({"metadata": raw.metadata("shop", 4), "spec": spec}, first)
    assert isinstance(first.spec, Spec)
    assert again.spec is first.spec


def test_a_stored_spec_that_cannot_be_read_is_none():
    kept = {"metadata": raw.metadata("shop-abc", labels={names.REVISION: "abc"})}
    assert project.stored_spec(kept | {"data": {"spec": {"version": "1"}}}) is None
    assert project.stored_spec(kept) is None


@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_job_says_when_it_ended_and_what_its_success_means(condition):
    at = "2026-03-02T12:00:09Z"
    given = {
        "metadata": raw.metadata("shop-migrate-x-1", annotations={names.IRREVERSIBLE: "it cannot be undone"}),
        "spec": {"suspend": False},
        "status": {"conditions": [{"type": condition, "status": "True", "lastTransitionTime": at}]},
    }
    read = project.job(given)
    assert (read.ended, read.failed, read.irreversible) == (True, condition == "Failed", "it cannot be undone")
    assert read.ended_at == datetime.fromisoformat(at)
    assert project.job({**given, "status": {}}).ended_at is None


@pytest.mark.parametrize(
    ("written", "read"),
    [('{"r1":"why","r2":3}', {"r1": "why"}), ("", {}), ("{", {}), ("[1]", {}), ("null", {})],
)
def test_marks_on_a_deployment_that_somebody_made_unreadable_say_nothing(written, read):
    given = raw.deployment()
    given["metadata"]["annotations"] |= {names.UNSAFE: written}
    assert project.deployment(given).unsafe == read


def test_a_job_whose_pods_are_being_ended_says_why_before_it_has_failed():
    target = {
        "type": "FailureTarget",
        "status": "True",
        "reason": "DeadlineExceeded",
        "message": "it was active longer",
    }
    given = raw.job(grace=45, conditions=[target])
    read = project.job(given)
    assert (read.ended, read.ending, read.grace.total_seconds()) == (
        False,
        "DeadlineExceeded: it was active longer",
        45,
    )
    assert project.job(raw.job()).grace.total_seconds() == 30


@pytest.mark.parametrize(
    ("phase", "over"), [("Running", False), ("Pending", False), ("Failed", True), ("Succeeded", True)]
)
def test_a_pod_that_is_being_deleted_is_over_only_when_it_has_ended(phase, over):
    given = raw.pod(phase=phase)
    given["metadata"]["deletionTimestamp"] = "2026-03-02T12:00:00Z"
    read = project.pod(given).pod
    assert (read.terminating, read.over) == (True, over)
