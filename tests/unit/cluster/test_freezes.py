"""Freezes in the cache: whom they concern, and what holds where nobody may see them."""

from datetime import UTC, datetime, timedelta

from tradingrelease.cluster.api import FREEZES, RELEASES
from tradingrelease.cluster.cache import Cache
from tradingrelease.cluster.freezes import Calendars, next_change
from tradingrelease.policy.freezes import parse
from tradingrelease.policy.model import Key

from tests.unit.cluster import raw

SHOP = Key("production", "shop")
SPEC = {"reason": "close", "author": "risk", "between": {"from": "2026-03-02T12:00:00Z", "to": "2026-03-02T14:00:00Z"}}


def a_freeze(version=1, status=None, **spec):
    return {"metadata": raw.metadata("close", version), "spec": SPEC | spec, "status": status or {}}


def a_cache(labels=None):
    cache = Cache()
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a"}]}}
    spec = {"version": "1", "components": [{"name": "a", "services": ["a"], "template": template}]}
    cache.store(RELEASES, {"metadata": raw.metadata("shop", labels=labels or {}), "spec": spec})
    return cache


def test_a_freeze_concerns_the_releases_of_its_namespace():
    cache = a_cache()
    assert cache.store(FREEZES, a_freeze(2)) == {SHOP}
    assert [f.name for f in cache.freezes(SHOP)] == ["close"]
    assert cache.drop(FREEZES, a_freeze(3)) == {SHOP}
    assert cache.freezes(SHOP) == ()


def test_a_freeze_whose_status_was_written_wakes_nobody():
    cache = a_cache()
    cache.store(FREEZES, a_freeze(2))
    assert cache.store(FREEZES, a_freeze(3, {"active": True})) == set()
    assert cache.all_freezes()[0].status == {"active": True}
    assert cache.store(FREEZES, a_freeze(4, {"active": True}, reason="another")) == {SHOP}


def test_a_freeze_is_about_the_releases_that_it_selects():
    cache = a_cache({"tier": "trading"})
    cache.store(FREEZES, a_freeze(2, selector={"matchLabels": {"tier": "lab"}}))
    assert cache.freezes(SHOP) == ()
    cache.store(FREEZES, a_freeze(3, selector={"matchLabels": {"tier": "trading"}}))
    assert [f.name for f in cache.freezes(SHOP)] == ["close"]


def test_where_nobody_may_see_freezes_everything_is_frozen():
    cache = a_cache()
    cache.freezes_denied = True
    (held,) = cache.freezes(SHOP)
    assert held.look(datetime(2030, 1, 1, tzinfo=UTC)).active
    assert "apply manifests/rbac.yaml" in held.reason


def test_a_calendar_that_is_not_read_yet_holds():
    freeze = parse("nyse", "uid", {"calendar": {"name": "xnys"}})
    known = Calendars().known(freeze, "production")
    assert known.look(datetime(2026, 3, 2, tzinfo=UTC)).why == "its calendar is not read yet"


def test_a_freeze_is_looked_at_again_when_it_begins_and_when_it_ends():
    freeze, noon = parse("close", "uid", SPEC), datetime(2026, 3, 2, 12, tzinfo=UTC)
    hour = timedelta(hours=1)
    assert [next_change(freeze, noon + hour * n) for n in (-1, 1, 2)] == [noon, noon + hour * 2, None]
