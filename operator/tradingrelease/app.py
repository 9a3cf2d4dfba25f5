"""The process: one task each for the event source, the workers, the audit, and the health server."""

import asyncio
import contextlib
import gc
import logging
import random
import signal
import sys
from typing import Any, Final
from uuid import uuid4

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tradingrelease import events, telemetry
from tradingrelease.clock import ServerClock, monotonic
from tradingrelease.cluster.act import Actor
from tradingrelease.cluster.api import COMMANDS, FREEZES, RELEASES, WATCHED, Api, Kind, WatchAges, session
from tradingrelease.cluster.cache import Cache
from tradingrelease.cluster.credentials import Credentials, load
from tradingrelease.cluster.freezes import Calendars, Statuses, measure
from tradingrelease.cluster.lease import Elector, Pace
from tradingrelease.cluster.ledger import Ledger
from tradingrelease.cluster.measure.measurer import Measurer
from tradingrelease.cluster.notebook import Notebook
from tradingrelease.cluster.notifier import Notifier
from tradingrelease.cluster.observe import Observer
from tradingrelease.cluster.probe import Prober
from tradingrelease.cluster.report import Reporter
from tradingrelease.cluster.tasks import end
from tradingrelease.cluster.webhook import Allowed, Caller
from tradingrelease.config import Config
from tradingrelease.errors import ClusterError, Forbidden, NotFound, wait_after
from tradingrelease.policy.fields import UNREADABLE
from tradingrelease.policy.measurements import Offers
from tradingrelease.policy.model import Key
from tradingrelease.policy.reasons import Phase
from tradingrelease.reconcile import Reconciler
from tradingrelease.workqueue import WorkQueue

log: Final = logging.getLogger("tradingrelease")

GIVEN_UP: Final = 5
"""Seconds after which a closed session of the event source means that it gave up; it logs in anew at once on a 401."""
_BACKOFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_MOVE_AGAIN: Final = 4.0
"""The longest wait, in seconds, before a Service is moved again: S10 gives half a switch 10 s once writes are taken."""
_LIST_WITHIN: Final = 2.0
"""Seconds that a leader waits for its first lists: no rollback waits longer for an API server that is busy."""
_LISTS_AT_ONCE: Final = 10
"""Lists under way at a time: all kinds of one namespace, or of the cluster."""


class SourceLost(Exception):  # noqa: N818 - it is a state, not a mistake
    """kopf gave up: the process ends and is started anew. A restart converges; a restart inside does not end well."""


class App:
    """Everything that one process holds."""

    def __init__(self, config: Config, credentials: Credentials) -> None:
        self.config = config
        self.credentials = credentials
        self.clock = ServerClock()
        self.ages = WatchAges()
        self.cache = Cache()
        self.calendars = Calendars()
        self.statuses: Statuses | None = None
        self.absent: set[Kind] = set()
        """Optional kinds that the API server does not serve, or that RBAC denies."""
        self.queue = WorkQueue()
        self.notebooks: dict[Key, Notebook] = {}
        self.prober = Prober(self.queue.add)
        self.caller = Caller(self.queue.add, self.clock.now, Allowed(config.webhook_hosts, config.webhook_key_file))
        self.measurer = Measurer(self.queue.add, config.prometheus_url)
        self.offers = Offers(bool(config.prometheus_url), config.prometheus_templates)
        self.ledger = Ledger(config.notifications, self.cache)
        self.notifier: Notifier | None = None
        self.synced = asyncio.Event()
        self.list_soon = asyncio.Event()
        """The audit is not to wait for its time."""
        self.working: dict[Key, float] = {}
        self.turned = monotonic()
        self.failures: dict[Key, int] = {}
        self.leading = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop. Raises SourceLost, or what a task of ours failed with."""
        async with self.open_session() as http:
            elector = self._elector(Api(self.credentials, http))

            def leads() -> bool:
                return elector is None or elector.leads

            api = Api(self.credentials, http, leads)
            observer = Observer(
                api,
                self.cache,
                self.prober,
                self.caller,
                self.measurer,
                self.notebooks,
                self.calendars,
                self.offers,
                self.config.trusted_accounts,
            )
            actor = Actor(api, self.cache, self.prober)
            self.measurer.read_logs(api, self.clock.now)
            reporter = Reporter(api, self.cache, self.ledger)
            reconciler = Reconciler(
                observer, actor, reporter, self.prober, self.caller, self.measurer, self.clock, self.notebooks
            )
            self.statuses = Statuses(api, self.cache, self.calendars, self.clock, self.queue.add)
            self.notifier = Notifier(
                self.ledger,
                self.cache,
                self.config.notifications,
                self.config.notification_secrets,
                self.clock.now,
                self.queue.add_after,
                leads,
            )
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(self._serve())
                lead = asyncio.create_task(self._lead(api, reconciler, elector))
                tasks = [lead, asyncio.create_task(self._turn()), asyncio.create_task(self._audit(api))]
                tasks += [asyncio.create_task(self._watch(stop))]
                stopping = asyncio.create_task(stop.wait())
                done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
                stop.set()
                lead.cancel()
                await asyncio.wait([lead], timeout=1)
                if elector:
                    await elector.release()  # a warm peer goes on while the rest of us ends
                for task in [*tasks, stopping]:
                    task.cancel()
                # kopf takes seconds to end and has nothing to end: it writes nothing.
                await asyncio.wait([*tasks, stopping], timeout=1)
                await self._ask_nobody()
                for task in done - {stopping}:
                    if task.cancelled():
                        # A kopf that gives up cancels whatever began after it did: workers of a leader, too.
                        raise SourceLost("the event source gave up, and ended what was under way")
                    if error := task.exception():
                        raise error

    def open_session(self) -> aiohttp.ClientSession:
        """Return a new session for the API server."""
        return session(self.credentials, self.clock, self.ages)

    # --- the event source --------------------------------------------------------------------------------------

    async def _watch(self, stop: asyncio.Event) -> None:
        """Run kopf until told to stop. Raises SourceLost when it gives up: a silent stop is never legal."""
        await self.synced.wait()  # kopf never finds a CRD that is installed after it began
        kinds = tuple(kind for kind in WATCHED if kind not in self.absent)
        for kind in kinds:
            self.ages.spoke(kind.plural)  # a watch that never comes about is as silent as one that ends
        source = events.Source(self.credentials.server, self.open_session, self.config.namespaces, self._told, kinds)
        running = asyncio.create_task(events.run(source, stop, lambda: end_on_signals(stop)))
        closed = 0
        while not running.done():
            await asyncio.wait([running], timeout=1.0)
            # A kopf that gave up closes its session, then may wait for itself for ever.
            closed = closed + 1 if source.closed and not stop.is_set() else 0
            if closed > GIVEN_UP:
                raise SourceLost("the event source closed its session and does not end")
        if running.cancelled():  # by kopf itself, of which one task failed
            raise SourceLost("the event source gave up")
        if error := running.exception():
            raise SourceLost(f"the event source gave up: {error}") from error
        if not stop.is_set():
            raise SourceLost("the event source ended")

    def _told(self, kind: Kind, event: str, raw: Any) -> None:  # noqa: ANN401 - JSON
        """Take an event as a hint: what it says goes into the cache, whom it concerns is looked at."""
        try:
            concerned = self.cache.drop(kind, raw) if event == "DELETED" else self.cache.store(kind, raw)
        except UNREADABLE:
            # One object that cannot be read must not stop the watch of all others.
            name = (raw.get("metadata") or {}).get("name")
            log.exception("%s %s cannot be read", kind.plural, name)
            return
        if self.statuses and (kind is FREEZES or (kind is RELEASES and (raw.get("status") or {}).get("overrides"))):
            self.statuses.changed.set()
        if kind is RELEASES:
            for key in concerned:
                self.ledger.stored(key)
        for key in concerned if self.leading else ():
            self.notebooks.setdefault(key, Notebook()).woken_at = monotonic()
            self.queue.add(key)

    # --- leading -----------------------------------------------------------------------------------------------

    def _elector(self, api: Api) -> Elector | None:
        if not self.config.lease:
            return None
        namespace, name = self.config.lease.split("/")
        identity = f"{self.config.identity}_{uuid4().hex[:8]}"  # a name alone may come back
        pace = Pace.of(self.config.lease_seconds)
        return Elector(api, self.clock, namespace=namespace, name=name, identity=identity, pace=pace, sick=self.sick)

    async def _lead(self, api: Api, reconciler: Reconciler, elector: Elector | None) -> None:
        """Work while we lead. Who does not keeps its caches warm: a takeover lists once, and looks at each key."""
        await self.synced.wait()
        while True:
            lost = None
            if elector:
                await elector.acquired()
                lost = asyncio.create_task(elector.lost())  # it renews, also while we list
            try:
                await self._catch_up(api)
                await self._work_until_lost(reconciler, lost)
            finally:
                await end([lost] if lost else [])
                await self._rest()
            if elector:
                await elector.release()

    async def _catch_up(self, api: Api) -> None:
        """List everything once more before the first look: watches run apart, and each may be behind (ADR 21).

        Nothing that is listed now is older than the last write of whoever led before. Where it fails, or takes too
        long, the watches are believed, and the audit lists soon.
        """
        try:
            async with asyncio.timeout(_LIST_WITHIN):
                await self._list_all(api)
        except (ClusterError, TimeoutError) as error:
            wait = max(wait_after(error), 1.0)
            said = str(error) or f"no answer in {_LIST_WITHIN:g} s"
            log.warning("a leader begins without having listed: %s; listed in %.1f s", said, wait)
            asyncio.get_running_loop().call_later(wait, self.list_soon.set)

    async def _work_until_lost(self, reconciler: Reconciler, lost: asyncio.Task[None] | None) -> None:
        self.leading = True
        telemetry.LEADING.set(1)
        for key in set(self.cache.releases()) | self.cache.orphans():
            self.queue.add(key)
        tasks = [asyncio.create_task(self._work(reconciler)) for _ in range(self.config.workers)]
        tasks += [lost] if lost else []
        tasks += [asyncio.create_task(self.statuses.run())] if self.statuses else []
        tasks += [asyncio.create_task(self.notifier.run())] if self.notifier else []
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(tasks)
        for task in done:
            task.result()  # a worker never ends by itself

    async def _rest(self) -> None:
        """Forget what only a leader may know: evidence of a former term proves nothing."""
        self.leading = False
        telemetry.LEADING.set(0)
        for notebook in self.notebooks.values():
            if notebook.writing:
                notebook.writing.cancel()
        self.notebooks.clear()
        self.failures.clear()
        await self._ask_nobody()

    async def _ask_nobody(self) -> None:
        for asks in (self.prober, self.caller, self.measurer):
            await asks.close()

    # --- the workers -------------------------------------------------------------------------------------------

    async def _work(self, reconciler: Reconciler) -> None:
        while True:
            key = await self.queue.take()
            self.working[key] = began = monotonic()
            try:
                wait = await reconciler.reconcile(key)
                notebook = self.notebooks.get(key)
                if notebook is None or notebook.writing is None:  # else it is not known yet whether it succeeds
                    self.failures.pop(key, None)
                resync = self.config.resync * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, guards nothing
                if self.cache.release(key) is not None:
                    self.queue.add_after(key, resync if wait is None else min(wait, resync))
                elif wait is not None:
                    self.queue.add_after(key, wait)
            except ClusterError as error:
                self._failed(key, error)
            except Exception as error:
                log.exception("a look ended in an error", extra={"release": str(key)})
                self._failed(key, error)
            finally:
                self.working.pop(key, None)
                self.queue.done(key)
                telemetry.RECONCILES.observe(monotonic() - began)

    def _failed(self, key: Key, error: Exception) -> None:
        count = self.failures[key] = self.failures.get(key, 0) + 1
        wait = _BACKOFF[min(count - 1, len(_BACKOFF) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        page = self.notebooks.get(key)
        if page and page.moves_traffic:
            wait = min(wait, _MOVE_AGAIN)
        wait = max(wait, wait_after(error))
        telemetry.ERRORS.labels(type(error).__name__).inc()
        log.warning("%s: looked at again in %.1f s", error, wait, extra={"release": str(key), "failures": count})
        self.queue.add_after(key, wait)

    # --- the audit ---------------------------------------------------------------------------------------------

    async def _audit(self, api: Api) -> None:
        """List everything at the start and then again and again: what a watch lost is found out."""
        attempt = 0
        while True:
            try:
                await self._list_all(api)
                attempt = 0
                wait = self.config.audit
            except ClusterError as error:
                wait = _BACKOFF[min(attempt, len(_BACKOFF) - 1)]
                attempt += 1
                if not self.synced.is_set():
                    wait = min(wait, _MOVE_AGAIN)  # a Service may wait to be moved, and nobody knows yet
                log.warning("listing: %s; again in %.1f s", error, wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.9, 1.1)):  # noqa: S311 - spreads load
                    await self.list_soon.wait()
            self.list_soon.clear()

    async def _list_all(self, api: Api) -> None:
        """List every kind in every namespace. What can be listed is taken in, also where something else cannot."""
        at_once = asyncio.Semaphore(_LISTS_AT_ONCE)

        async def listed(kind: Kind, namespace: str) -> set[Key]:
            async with at_once:
                return await self._list(api, kind, namespace)

        lists = [listed(kind, namespace) for namespace in self.config.namespaces or ("",) for kind in WATCHED]
        found = await asyncio.gather(*lists, return_exceptions=True)
        self._look_at(set().union(*(keys for keys in found if isinstance(keys, set))))
        for failed in found:
            if isinstance(failed, BaseException):
                raise failed
        self._look_at(await self.calendars.refresh(api, self.cache))
        if self.statuses:
            self.statuses.changed.set()
        if not self.synced.is_set():
            self.synced.set()
            gc.collect()
            gc.freeze()
            log.info("caches are in: %d releases", len(self.cache.releases()))
        self._look_at(self.cache.orphans())

    def _look_at(self, keys: set[Key]) -> None:
        for key in keys if self.leading else ():
            self.ledger.stored(key)
            self.queue.add(key)

    async def _list(self, api: Api, kind: Kind, namespace: str) -> set[Key]:
        named = self.cache.orders_named(namespace) if kind is COMMANDS else {}
        try:
            listed, version = await api.find(kind, namespace)
        except (NotFound, Forbidden) as error:
            if not kind.optional:
                raise
            return await self._lacking(api, kind, error)
        if kind in self.absent and self.synced.is_set():
            raise SourceLost(f"{kind.plural} can be watched from now on")  # kopf takes up no kind later
        self.absent.discard(kind)
        found = self.cache.replace(kind, listed, version, namespace)
        if kind is COMMANDS:
            found |= self.cache.miss_orders(named, listed, namespace)
        return found

    async def _lacking(self, api: Api, kind: Kind, error: ClusterError) -> set[Key]:
        """Go on without a kind that an upgrade has not installed yet; one that is there and denied holds everything."""
        denied = await api.serves(kind)
        if kind not in self.absent:
            what = (
                "RBAC denies them: nothing starts or switches"
                if denied
                else "their CRD is not installed: there are none"
            )
            log.warning("%s: %s (%s)", kind.plural, what, error)
        self.absent.add(kind)
        self.cache.replace(kind, [], sys.maxsize)
        changed, self.cache.freezes_denied = self.cache.freezes_denied is not denied, denied
        return set(self.cache.releases()) if changed else set()

    # --- health ------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        while True:
            before = monotonic()
            await asyncio.sleep(0.5)
            self.turned = monotonic()
            telemetry.LOOP_LAG.set(max(self.turned - before - 0.5, 0.0))
            for resource, age in self.ages.ages().items():
                telemetry.WATCH_AGE.labels(resource).set(age)

    def sick(self) -> str:
        """Say why this process should be restarted; "" if it should not."""
        now = monotonic()
        if now - self.turned > self.config.stuck:
            return "the event loop does not turn"
        if stuck := next((key for key, began in self.working.items() if now - began > self.config.stuck), None):
            return f"the look at {stuck} does not end"
        silent = [resource for resource, age in self.ages.ages().items() if age > self.config.silent]
        return f"the watch of {silent[0]} is silent" if silent and self.synced.is_set() else ""

    @contextlib.asynccontextmanager
    async def _serve(self):  # type: ignore[no-untyped-def] # noqa: ANN202 - an async context manager without value
        server = web.Application()
        server.router.add_get("/livez", self._livez)
        server.router.add_get("/readyz", self._readyz)
        server.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(server, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self.config.http_host, self.config.http_port)
        await site.start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        sick = self.sick()
        return web.Response(status=500 if sick else 200, text=sick or "ok")

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = self.synced.is_set()
        return web.Response(status=200 if ready else 503, text="ok" if ready else "caches are not in yet")

    async def _metrics(self, _: web.Request) -> web.Response:
        counts = dict.fromkeys(Phase, 0)
        for key in self.cache.releases():
            release = self.cache.release(key)
            stored = release.status.get("phase", "") if release else ""
            counts[Phase(stored) if stored in set(Phase) else Phase.PENDING] += 1
        for phase, count in counts.items():
            telemetry.RELEASES.labels(str(phase)).set(count)
        if self.clock.known:
            measure(self.cache, self.calendars, self.clock.now())
            if self.notifier:
                self.notifier.measure()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def end_on_signals(stop: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT end us. Called again when kopf has begun, since it takes the handlers for itself."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def main(config: Config) -> int:
    """Run the operator until SIGTERM or SIGINT. Returns the exit code: 1 where it must be started anew."""
    gc.set_threshold(50_000, 50, 100)  # a collection pause on the default thresholds is longer than a switch
    stop = asyncio.Event()
    end_on_signals(stop)
    try:
        await App(config, load()).run(stop)
    except SourceLost as error:
        log.error("%s: exiting, to be started anew", error)  # noqa: TRY400 - kopf has logged its own trace
        return 1
    return 0
