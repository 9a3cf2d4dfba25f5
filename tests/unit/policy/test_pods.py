"""What pods say of themselves, and which of them stand (product.md 4.5, 4.7 and 4.9)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import pod_book, pods

from tests.builders import NOW, a_container, a_deployment, a_pod, a_release, a_service, a_stack

BLUE = a_deployment()
BEFORE = NOW - timedelta(hours=3)


def troubles(*found, deployment=BLUE, since=BEFORE):
    world = a_release().live().having(pods=found).world()
    return pods.troubles(world, deployment, 2, since)


# --- troubles ---------------------------------------------------------------------------------------------------------


def test_the_fatal_comes_first_then_the_oldest():
    old = a_pod(BLUE, 0, created_at=NOW - timedelta(hours=2), containers=(a_container(waiting="ImagePullBackOff"),))
    fatal = a_pod(BLUE, 1, created_at=NOW, containers=(a_container(waiting="InvalidImageName"),))
    young = a_pod(BLUE, 2, created_at=NOW, containers=(a_container(waiting="ErrImagePull"),))
    found = [(t.reason, t.since) for t in troubles(young, old, fatal)]
    assert found == [("InvalidImageName", NOW), ("ImagePullBackOff", old.created_at), ("ErrImagePull", NOW)]


@pytest.mark.parametrize("waiting", ["ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable",
                                     "CreateContainerConfigError", "CreateContainerError", "RunContainerError"])  # fmt: skip
def test_what_an_outside_change_can_cure_is_not_fatal(waiting):
    pod = a_pod(BLUE, containers=(a_container(waiting=waiting, waiting_message="the kubelet's words"),))
    (found,) = troubles(pod)
    assert (found.fatal, found.message) == (
        False, f"pod {pod.name}, container backend: {waiting}: the kubelet's words",
    )  # fmt: skip


@pytest.mark.parametrize("waiting", ["InvalidImageName", "ErrImageNeverPull"])
def test_what_nothing_can_cure_is_fatal(waiting):
    (found,) = troubles(a_pod(BLUE, containers=(a_container(waiting=waiting),)))
    assert found.fatal
    assert found.message.endswith(f"container backend: {waiting}")


def test_a_crash_loop_counts_from_the_pod_and_says_how_it_ended():
    container = a_container(
        restarts=3, died="Error", exit_code=7, last_words="cannot  open\nfile", waiting="CrashLoopBackOff"
    )
    (found,) = troubles(a_pod(BLUE, containers=(container,)))
    assert (found.reason, found.fatal, found.since) == ("CrashLoop", True, BLUE.created_at)
    assert found.message.endswith("crashed 3 times, last: Error, exit code 7: cannot open file")


def test_of_long_last_words_the_end_is_told():
    assert pods.crash(a_container(restarts=1, died="Error", last_words="x" * 400 + "y" * 300)).endswith(
        ": " + "y" * 300
    )
    assert pods.crash(a_container(restarts=1)) == "crashed 1 times, last: died, exit code 0"


def test_pods_that_the_api_server_refuses_are_trouble_in_its_own_words():
    since = NOW - timedelta(minutes=1)
    refused = replace(BLUE, replica_failure="exceeded quota", replica_failure_since=since)
    (found,) = troubles(deployment=refused)
    assert (found.reason, found.message, found.fatal, found.since) == ("PodsForbidden", "exceeded quota", False, since)
    (unknown,) = troubles(deployment=replace(refused, replica_failure_since=None))
    assert unknown.since == BLUE.created_at


def test_a_pod_without_a_node_is_trouble_until_it_has_an_address():
    waiting = a_pod(BLUE, ip="", unschedulable="0/3 nodes are available")
    (found,) = troubles(waiting)
    assert (found.reason, found.fatal, found.since) == ("Unschedulable", False, waiting.created_at)
    assert troubles(replace(waiting, ip="10.0.0.9")) == []


# --- crashes in the watch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "counts"),
    [
        ({"died": "Error", "exit_code": 1, "died_at": NOW + timedelta(seconds=1)}, True),
        ({"died": "OOMKilled", "exit_code": 137, "died_at": NOW + timedelta(seconds=1)}, True),
        ({"died": "Error", "exit_code": 1, "died_at": NOW - timedelta(seconds=1)}, False),
        ({"died": "Completed", "exit_code": 0, "died_at": NOW + timedelta(seconds=1)}, False),
        ({"died": "Unknown", "exit_code": 255, "died_at": NOW + timedelta(seconds=1)}, False),
        ({"died": "ContainerStatusUnknown", "exit_code": 137, "died_at": NOW + timedelta(seconds=1)}, False),
        ({"died": "Error", "exit_code": 1}, False),
    ],
    ids=["crash", "out of memory", "before", "well ended", "lost with its node", "unknown", "no time"],
)
def test_a_container_that_dies_by_itself_is_a_crash(container, counts):
    pod = a_pod(BLUE, containers=(a_container(restarts=1, **container),))
    assert bool(pod_book.since(pod_book.noted({}, [pod]), [pod], NOW)) is counts


def test_a_container_lost_with_its_node_hides_no_crash_of_another():
    lost = a_container("lost", died="Unknown", exit_code=255, died_at=NOW)
    crashed = a_container("crashed", died="Error", exit_code=1, died_at=NOW, restarts=1)
    pod = a_pod(BLUE, containers=(lost, crashed))
    found = pod_book.since(pod_book.noted({}, [pod]), [pod], BEFORE)
    assert ["container crashed: crashed 1 times" in incident.text for incident in found] == [True]


# --- standing ---------------------------------------------------------------------------------------------------------


def promoted(**changes):
    return replace(a_release().promoted("2.0.0").world(), **changes)


def blue_with(*found, **changes):
    return replace(promoted(), pods=found, **changes)


@pytest.mark.parametrize(("pod", "stands"), [({}, True), ({"ready": False}, False), ({"terminating": True}, False)])
def test_blue_stands_with_one_ready_pod_that_is_not_on_its_way_out(pod, stands):
    assert (pods.not_standing(blue_with(a_pod(BLUE, **pod)), a_stack("1.0.0")) == "") is stands


def test_a_stack_whose_deployment_is_gone_or_at_zero_does_not_stand():
    assert "is gone" in pods.not_standing(promoted(deployments={}), a_stack("1.0.0"))
    zero = {BLUE.name: replace(BLUE, replicas=0)}
    assert "has 0 replicas" in pods.not_standing(promoted(deployments=zero), a_stack("1.0.0"))


def test_a_ready_pod_must_match_each_services_own_selector():
    other = a_service("backend", "x", selector={"app": "backend", "tier": "internal"})
    assert "no ready pod for Service backend" in pods.not_standing(
        promoted(services={"backend": other}), a_stack("1.0.0")
    )
    assert pods.not_standing(promoted(services={}), a_stack("1.0.0")) == "", "a missing Service is another rule's"


def test_a_component_that_is_the_same_in_what_serves_needs_no_second_look():
    nothing = promoted(pods=())
    assert pods.not_standing(nothing, a_stack("1.0.0"), skip=a_stack("1.0.0")) == ""
    assert pods.not_standing(nothing, a_stack("1.0.0"), skip=a_stack("2.0.0")) != ""
    assert pods.not_standing(nothing, a_stack("1.0.0"), skip=a_stack("1.0.0", ("frontend",))) != ""


def test_every_component_must_stand():
    pair = ("backend", "frontend")
    world = a_release(*pair).promoted("2.0.0").world()
    left = tuple(p for p in world.pods if p.deployment_uid != "uid-frontend-1.0.0")
    assert "frontend" in pods.not_standing(replace(world, pods=left), a_stack("1.0.0", pair), skip=a_stack("1.0.0"))


def test_the_size_counts_ready_pods_and_no_more_than_are_wanted():
    ready, unready = a_pod(BLUE, 0), a_pod(BLUE, 1, ready=False)
    assert pods.size(blue_with(ready, unready), a_stack("1.0.0")) == (1, 2)
    assert pods.size(blue_with(*(a_pod(BLUE, n) for n in range(4))), a_stack("1.0.0")) == (2, 2)
    assert pods.size(promoted(deployments={}), a_stack("1.0.0")) == (0, 0)
    pair = ("backend", "frontend")
    assert pods.size(a_release(*pair).live("1.0.0").world(), a_stack("1.0.0", pair)) == (4, 4)
