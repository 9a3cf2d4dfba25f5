"""Reading one object directly, where the word of a watch is not enough: it may lag, or be dead."""

from tradingrelease.cluster.api import Api, Json, Kind
from tradingrelease.cluster.cache import Cache
from tradingrelease.errors import NotFound


async def read_anew(api: Api, cache: Cache, kind: Kind, namespace: str, name: str) -> Json | None:
    """Read an object, and let the cache know what was found. Returns None where it is gone."""
    try:
        raw = await api.get(kind, namespace, name)
    except NotFound:
        cache.forget(kind, namespace, name)
        return None
    cache.store(kind, raw)
    return raw
