"""What serves a Service before the release does: nothing, one settled Deployment, or what must not be guessed about."""

import pytest
from tradingrelease.cluster.observe import backing
from tradingrelease.cluster.project import deployment as read

from tests.builders import a_deployment, a_release, a_service
from tests.unit.cluster import raw

PLAIN = "today"


def said(*pods, owners=None, deployments=(), ours=()):
    """Say what serves Service backend."""
    world = a_release().having(deployments={d.name: d for d in ours}).world()
    return backing(world, a_service(), list(pods), owners or {}, list(deployments))


def plain(name=PLAIN, **fields):
    return raw.deployment(name, ours=False, **fields)


OWNERS = {"uid-backend-rs": f"uid-{PLAIN}"}


def test_a_service_without_pods_serves_nothing():
    assert said().kind == "Nothing"


def test_a_settled_deployment_is_what_serves():
    found = said(raw.pod(), owners=OWNERS, deployments=[plain(replicas=3)])
    assert (found.kind, found.name, found.replicas) == ("Deployment", PLAIN, 3)


def test_its_template_is_taken_as_its_author_wrote_it():
    found = said(raw.pod(), owners=OWNERS, deployments=[plain()])
    assert found.template == {
        "metadata": {"labels": {"app": "backend"}},
        "spec": {"containers": [{"name": "backend", "image": "backend:1.0.0"}]},
    }


def test_a_deployment_whose_pods_are_yet_to_come_serves_too():
    assert said(deployments=[plain(replicas=2)]).kind == "Deployment"


def test_a_deployment_of_zero_serves_nothing():
    assert said(deployments=[plain(replicas=0)]).kind == "Nothing"


@pytest.mark.parametrize(
    "lacking", [{"updatedReplicas": 1}, {"availableReplicas": 1}, {"observedGeneration": 0}], ids=str
)
def test_a_rollout_that_is_not_over_is_waited_for(lacking):
    found = said(raw.pod(), owners=OWNERS, deployments=[plain(**lacking)])
    assert (found.kind, "is adopted once settled" in found.message) == ("Ambiguous", True)


def test_two_deployments_are_one_too_many():
    found = said(raw.pod(), owners=OWNERS, deployments=[plain(), plain("other")])
    assert found.message == "it serves pods of several Deployments (other and today): leave one of them"


@pytest.mark.parametrize("owner", [("StatefulSet", "db"), ("ReplicaSet", "bare-rs")], ids=str)
def test_pods_of_anything_else_cannot_be_adopted(owner):
    found = said(raw.pod(owner=owner), owners=OWNERS, deployments=[plain()])
    assert (
        found.message
        == f"it serves pod backend-1, owned by {owner[0]} {owner[1]}: only a plain Deployment can be adopted"
    )


def test_a_pod_on_its_way_out_does_not_count():
    leaving = raw.pod(owner=("StatefulSet", "db"))
    leaving["metadata"]["deletionTimestamp"] = "2026-03-02T12:00:00Z"
    assert said(leaving).kind == "Nothing"


def test_what_is_ours_is_known_as_ours():
    mine = a_deployment()
    given = raw.deployment(mine.name)
    given["metadata"]["uid"] = mine.uid
    found = said(raw.pod(), owners={"uid-backend-rs": mine.uid}, deployments=[given], ours=[mine])
    assert (found.kind, found.name) == ("Ours", mine.revision)


def test_a_clone_beside_its_original_is_still_the_original():
    mine = a_deployment()
    clone = raw.deployment(mine.name)
    clone["metadata"]["uid"] = mine.uid
    pods = [raw.pod(), raw.pod("clone-1", owner=("ReplicaSet", "clone-rs"))]
    found = said(*pods, owners=OWNERS | {"uid-clone-rs": mine.uid}, deployments=[plain(), clone], ours=[mine])
    assert (found.kind, found.name) == ("Deployment", PLAIN)


def test_two_of_ours_must_not_be_guessed_between():
    one, other = a_deployment(), a_deployment(version="2.0.0")
    given = [raw.deployment(d.name) | {} for d in (one, other)]
    for body, d in zip(given, (one, other), strict=True):
        body["metadata"]["uid"] = d.uid
    pods = [raw.pod(), raw.pod("b", owner=("ReplicaSet", "other-rs"))]
    owners = {"uid-backend-rs": one.uid, "uid-other-rs": other.uid}
    found = said(*pods, owners=owners, deployments=given, ours=[one, other])
    assert (found.kind, "put the key back by hand" in found.message) == ("Ambiguous", True)
    assert read(given[0]).uid == one.uid
