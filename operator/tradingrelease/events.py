"""kopf as a source of events, and nothing else: it calls us, and writes nothing.

Only `on.event` handlers, so no finalizers, annotations or progress of kopf's. A handler takes the object into the cache
and asks for a look; it cannot fail, since kopf never repeats it.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import kopf

from tradingrelease.cluster.api import WATCHED, Kind

INACTIVE: Final = 75.0
"""Seconds of silence after which a watch reconnects; bookmarks come every minute."""


class _NoDiffs(kopf.DiffBaseStorage):
    """No copy of the last-handled configuration: nobody here asks for differences."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


class _NoProgress(kopf.AnnotationsProgressStorage):
    """No progress of handlers: they are done when they return."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class _Backoffs:
    """For ever, capped at 10 s, spread."""

    def __iter__(self) -> Iterator[float]:
        for step in itertools.count():
            yield min(0.2 * 2**step, 10.0) * random.uniform(0.8, 1.2) if step < 10 else 10.0  # noqa: S311


@dataclass(slots=True)
class Source:
    """What kopf is to watch, by which sessions, and who is told."""

    server: str
    open_session: Callable[[], aiohttp.ClientSession]
    namespaces: tuple[str, ...]
    tell: Callable[[Kind, str, Any], None]
    """Gets the kind, the event's type (ADDED, MODIFIED, DELETED or "") and the raw object. Must not raise."""
    kinds: tuple[Kind, ...] = WATCHED
    """What there is to watch: a kind whose CRD is not installed, or that RBAC denies, would end kopf."""
    session: aiohttp.ClientSession | None = None
    """The one that kopf uses now."""

    @property
    def closed(self) -> bool:
        """Whether kopf closed its session and has not logged in anew."""
        return self.session is not None and self.session.closed


async def run(source: Source, stop: asyncio.Event, begun: Callable[[], None]) -> None:
    """Run kopf until told to stop, or until it gives up. `begun` is called once it watches."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:  # noqa: ANN401 - kopf's signature
        # kopf closes this session when it stops, so it has one of its own.
        source.session = source.open_session()
        return kopf.AiohttpSession(server=source.server, aiohttp_session=source.session)

    for kind in source.kinds:
        _register(source, kind, registry)
    settings = _settings()
    ours = asyncio.Event()
    ready = asyncio.Event()
    helpers = [asyncio.create_task(_relay(stop, ours.set)), asyncio.create_task(_relay(ready, begun))]
    try:
        await kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=not source.namespaces,
            namespaces=source.namespaces,
            stop_flag=ours,
            ready_flag=ready,
        )
    finally:
        for helper in helpers:
            helper.cancel()


async def _relay(happened: asyncio.Event, then: Callable[[], None]) -> None:
    await happened.wait()
    then()


def _register(source: Source, kind: Kind, registry: kopf.OperatorRegistry) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"watch-{kind.plural}")
    async def seen(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401 - kopf's signature
        source.tell(kind, event["type"] or "", event["object"])


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 1.0
    settings.queueing.error_delays = (0.2, 1, 5, 15)
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = INACTIVE
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.enforce_retry_after = True
    # We end by ourselves (ADR 1), after the lease is given back: kopf's last resort, a SIGKILL, would be too early.
    settings.process.ultimate_exiting_timeout = None
    for kind in WATCHED:
        if kind.selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
    return settings
