"""An older word never undoes a newer one."""

from tradingrelease.cluster.api import COMMANDS, DEPLOYMENTS, JOBS, PODS, RELEASES, REPLICASETS, SERVICES, SLICES
from tradingrelease.cluster.cache import Cache
from tradingrelease.policy import names
from tradingrelease.policy.model import Key

from tests.unit.cluster import raw

SHOP = Key("production", "shop")


def a_release(version=1, services=("backend",)):
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a"}]}}
    spec = {"version": "1", "components": [{"name": "a", "services": list(services), "template": template}]}
    return {"metadata": raw.metadata("shop", version), "spec": spec}


def held(cache):
    """Return the versions of the Services that are known."""
    return {name: service.version for name, service in cache.services("production").items()}


def test_a_newer_object_replaces_an_older_one():
    cache = Cache()
    cache.store(SERVICES, raw.service(version=9))
    cache.store(SERVICES, raw.service(version=10))
    assert held(cache) == {"backend": 10}


def test_an_older_event_does_not_undo_the_answer_to_a_write():
    cache = Cache()
    cache.store(SERVICES, raw.service(version=10))
    assert cache.store(SERVICES, raw.service(version=9)) == set()
    assert held(cache) == {"backend": 10}


def test_a_late_event_does_not_undo_a_deletion():
    cache = Cache()
    cache.store(SERVICES, raw.service(version=9))
    cache.drop(SERVICES, raw.service(version=12))
    cache.store(SERVICES, raw.service(version=11))
    assert held(cache) == {}
    cache.store(SERVICES, raw.service(version=13))
    assert held(cache) == {"backend": 13}


def test_a_deletion_that_is_older_than_what_is_known_is_of_a_predecessor():
    cache = Cache()
    cache.store(SERVICES, raw.service(version=12))
    cache.drop(SERVICES, raw.service(version=11))
    assert held(cache) == {"backend": 12}


def test_a_deletion_is_remembered_by_name():
    """What went may have gone with its release: whoever makes it anew asks for the release first."""
    cache = Cache()
    cache.store(SERVICES, raw.service(version=9))
    assert not cache.was_deleted(SERVICES, "production", "backend")
    cache.drop(SERVICES, raw.service(version=12))
    assert cache.was_deleted(SERVICES, "production", "backend")
    assert not cache.was_deleted(SERVICES, "production", "frontend")


def test_a_list_takes_away_what_it_lacks_and_nothing_newer_than_itself():
    cache = Cache()
    cache.store(SERVICES, raw.service("gone", version=5))
    cache.store(SERVICES, raw.service("fresh", version=21))
    cache.replace(SERVICES, [raw.service("backend", version=7)], version=20)
    assert held(cache) == {"backend": 7, "fresh": 21}


def test_a_list_of_one_namespace_takes_nothing_from_another():
    cache = Cache()
    cache.store(SERVICES, raw.service("backend", version=5))
    cache.replace(SERVICES, [], version=20, namespace="staging")
    assert held(cache) == {"backend": 5}


def test_an_object_concerns_the_release_on_its_label():
    assert Cache().store(DEPLOYMENTS, raw.deployment()) == {SHOP}


def test_an_object_that_changes_hands_concerns_both():
    cache = Cache()
    cache.store(DEPLOYMENTS, raw.deployment(version=1))
    other = raw.deployment(version=2)
    other["metadata"]["labels"][names.RELEASE] = "desk"
    assert cache.store(DEPLOYMENTS, other) == {SHOP, Key("production", "desk")}


def test_a_service_that_appears_concerns_a_release_that_waits_for_it():
    cache = Cache()
    cache.store(RELEASES, a_release())
    unmarked = raw.service()
    unmarked["metadata"]["labels"] = {}
    assert cache.store(SERVICES, unmarked) == {SHOP}


def test_pods_find_the_deployment_that_owns_them():
    cache = Cache()
    pod, rs = raw.pod(), raw.replicaset("backend-rs", "shop-backend-abc")
    for body in (pod, rs):
        body["metadata"]["labels"] = {names.RELEASE: "shop"}
    cache.store(PODS, pod)
    assert [p.deployment_uid for p in cache.pods(SHOP)] == [""]
    cache.store(REPLICASETS, rs)
    assert [p.deployment_uid for p in cache.pods(SHOP)] == ["uid-shop-backend-abc"]


def test_several_slices_of_a_service_are_one():
    cache = Cache()
    cache.store(SLICES, raw.endpoint_slice(raw.endpoint("a")))
    cache.store(SLICES, raw.endpoint_slice(raw.endpoint("b"), name="backend-x2"))
    assert cache.endpoints(SHOP)["backend"].ready == {"http": frozenset({"uid-a", "uid-b"})}


def test_what_a_release_left_behind_is_an_orphan_until_it_is_gone():
    cache = Cache()
    cache.store(RELEASES, a_release())
    cache.store(DEPLOYMENTS, raw.deployment())
    assert cache.orphans() == set()
    cache.drop(RELEASES, a_release(2))
    assert cache.orphans() == {SHOP}
    cache.forget(DEPLOYMENTS, "production", "shop-backend-abc")
    assert cache.orphans() == set()


def test_an_object_of_a_list_that_cannot_be_read_keeps_no_other_from_being_known():
    cache = Cache()
    bad = raw.service("bad", 5)
    del bad["metadata"]["uid"]
    cache.replace(SERVICES, [bad, raw.service("good", 5)], 6)
    assert list(held(cache)) == ["good"]


def test_a_job_is_a_hooks_only_if_a_release_made_it():
    """A foreign one with our label would be waited for by every hook, or deleted as a leftover."""
    cache, foreign = Cache(), raw.job()
    foreign["metadata"] |= {"name": "backup", "labels": {names.RELEASE: "shop"}}
    ours = raw.job()
    ours["metadata"]["annotations"] = {names.RELEASE_UID: "uid-shop"}
    cache.store(JOBS, foreign)
    cache.store(JOBS, ours)
    assert list(cache.jobs(SHOP)) == [ours["metadata"]["name"]]


def an_order(name):
    spec = {"release": "shop", "action": "Pause"}
    return {"metadata": raw.metadata(name), "spec": spec}


def test_an_order_is_gone_when_a_list_that_was_asked_for_after_status_named_it_lacks_it():
    cache, release = Cache(), a_release()
    names_of = ("told", "listed", "drained", "deleted")
    kept = [{"uid": f"uid-{name}", "phase": "Done", "reason": "Paused", "message": "m"} for name in names_of]
    cache.store(RELEASES, release | {"status": {"orders": kept}})
    cache.store(COMMANDS, an_order("told"))
    named = cache.orders_named("production")
    assert named == {f"uid-{name}": SHOP for name in names_of}
    assert cache.orders_named("staging") == {}
    assert cache.orders_gone() == set()
    unreadable = an_order("drained")
    unreadable["spec"]["action"] = "Drain"  # of a version to come
    listed = [an_order("listed"), unreadable]
    cache.replace(COMMANDS, listed, 0)
    assert cache.miss_orders(named, listed, "") == {SHOP}
    assert cache.orders_gone() == {"uid-deleted"}
    assert cache.miss_orders({}, listed, "") == set()
    assert cache.orders_gone() == set()
