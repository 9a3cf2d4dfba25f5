"""Reading one object directly, where the word of a watch is not enough: it may lag, or be dead."""

from tradingrelease.cluster.api import RELEASES, Api, Json, Kind
from tradingrelease.cluster.cache import Cache
from tradingrelease.errors import NotFound
from tradingrelease.policy.model import World


async def read_anew(api: Api, cache: Cache, kind: Kind, namespace: str, name: str) -> Json | None:
    """Read an object, and let the cache know what was found. Returns None where it is gone."""
    try:
        raw = await api.get(kind, namespace, name)
    except NotFound:
        cache.forget(kind, namespace, name)
        return None
    cache.store(kind, raw)
    return raw


async def is_as_looked_at(api: Api, cache: Cache, world: World) -> bool:
    """Read a release anew, and tell whether it is still the one, and as it was, when it was looked at."""
    await read_anew(api, cache, RELEASES, world.key.namespace, world.key.name)
    found = cache.release(world.key)
    return found is not None and (found.uid, found.version) == (world.uid, world.version)
