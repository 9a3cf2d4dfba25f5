"""The one reader: from the cache to the World of one release. Direct reads only where no watch can know."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from tradingrelease.cluster.api import DEPLOYMENTS, PODS, RELEASES, REPLICASETS, Api
from tradingrelease.cluster.cache import Cache
from tradingrelease.cluster.freezes import Calendars
from tradingrelease.cluster.measure.measurer import Measurer
from tradingrelease.cluster.notebook import Notebook
from tradingrelease.cluster.probe import Prober
from tradingrelease.cluster.project import Release, pod, replicaset
from tradingrelease.cluster.webhook import Caller
from tradingrelease.errors import NotFound
from tradingrelease.policy import manifests, names
from tradingrelease.policy.measurements import Offers
from tradingrelease.policy.memory import from_status
from tradingrelease.policy.model import Author, Backing, Key, Memory, Service, World
from tradingrelease.policy.pod_book import noted
from tradingrelease.policy.signals import signals
from tradingrelease.policy.spec import Rejected, Spec

Json = Mapping[str, Any]

_NO_SPEC: Final = Rejected("Deleted", "the release is deleted")


class Observer:
    """Reads the world of a release."""

    def __init__(  # noqa: PLR0913, PLR0917 - it reads from all of them
        self,
        api: Api,
        cache: Cache,
        prober: Prober,
        caller: Caller,
        measurer: Measurer,
        notebooks: dict[Key, Notebook],
        calendars: Calendars,
        offers: Offers,
        trusted_accounts: frozenset[str] = frozenset(),
    ) -> None:
        self._api = api
        self._calendars = calendars
        self._cache = cache
        self._prober = prober
        self._caller = caller
        self._measurer = measurer
        self._notebooks = notebooks
        self._offers = offers
        self._trusted = trusted_accounts

    async def observe(self, key: Key, now: datetime) -> World:
        """Return a release's world; one without uid where the release is gone."""
        release = self._cache.release(key)
        if release is None:
            release = await self._confirm_gone(key)
        notebook = self._notebooks.setdefault(key, Notebook())
        world = self._assemble(key, release, notebook, now)
        if release and (backings := await self._backings(world)):
            world = replace(world, backings=backings)
        notebook.note(signals(world), now)
        standing = {d.uid for d in world.deployments.values()}
        notebook.admitted = {uid: found for uid, found in notebook.admitted.items() if uid in standing}
        notebook.pod_book = noted(notebook.pod_book, world.pods)
        return replace(
            world, since=dict(notebook.since), confirmed_dead=dict(notebook.confirmed_dead), pod_book=notebook.pod_book
        )

    async def _confirm_gone(self, key: Key) -> Release | None:
        # Nothing is swept on the word of a cache: a release that a watch has not told of yet is no orphan.
        try:
            raw = await self._api.get(RELEASES, key.namespace, key.name)
        except NotFound:
            return None
        self._cache.store(RELEASES, raw)
        return self._cache.release(key)

    def _assemble(self, key: Key, release: Release | None, notebook: Notebook, now: datetime) -> World:
        status = release.status if release else {}
        others = self._cache.releases_in(key.namespace)
        others.pop(key.name, None)
        return World(
            key=key,
            uid=release.uid if release else "",
            generation=release.generation if release else 0,
            version=release.version if release else 0,
            deleting=release.deleting if release else True,
            spec=release.spec if release else _NO_SPEC,
            memory=_memory(status, notebook),
            conditions={c["type"]: c for c in status.get("conditions") or ()},
            observed_generation=int(status.get("observedGeneration", 0)),
            services=self._cache.services(key.namespace),
            other_releases=others,
            deployments=self._cache.deployments(key),
            pods=self._cache.pods(key),
            endpoints=self._cache.endpoints(key),
            stored=self._cache.stored(key),
            orders=self._cache.orders(key),
            streaks=self._prober.streaks(key),
            asked=dict(notebook.asked),
            dry_runs=dict(notebook.dry_runs),
            backings={},
            since={},
            confirmed_dead={},
            freezes=tuple(self._calendars.known(f, key.namespace) for f in self._cache.freezes(key)),
            admitted=dict(notebook.admitted),
            jobs=notebook.jobs(self._cache.jobs(key), now),
            job_gone=notebook.job_gone,
            job_read=notebook.job_read and (notebook.job_read[0].uid, notebook.job_read[1]),
            refused=notebook.refused,
            jobs_refused=notebook.jobs_refused,
            called=self._caller.called(key),
            webhook_hosts=self._caller.hosts,
            author=release.author if release else Author(),
            trusted_accounts=self._trusted,
            tallies=self._measurer.tallies(key),
            offers=self._offers,
            orders_gone=self._cache.orders_gone(),
        )

    # --- adoption: what is not ours is not watched, so it is read ----------------------------------------------

    async def _backings(self, world: World) -> dict[str, Backing]:
        if not isinstance(world.spec, Spec) or world.deleting:
            return {}
        listed = [n for c in world.spec.components for n in c.services]
        found = {}
        for name in listed:
            service = world.services.get(name)
            if service and service.selected is None and service.selector:
                found[name] = await self._backing(world, service)
        return found

    async def _backing(self, world: World, service: Service) -> Backing:
        namespace = world.key.namespace
        selector = ",".join(f"{k}={v}" for k, v in sorted(service.selector.items()))
        pods, _ = await self._api.find(PODS, namespace, selector)
        sets, _ = await self._api.find(REPLICASETS, namespace, selector)
        deployments, _ = await self._api.find(DEPLOYMENTS, namespace, "")
        owner_of = dict(replicaset(raw) for raw in sets)
        return backing(world, service, pods, owner_of, deployments)


def _memory(status: Json, notebook: Notebook) -> Memory:
    if not status:
        return Memory()
    if notebook.read[0] is not status:
        notebook.read = (status, from_status(status))
    return notebook.read[1]


def backing(
    world: World, service: Service, pods: Sequence[Json], owner_of: Mapping[str, str], deployments: Sequence[Json]
) -> Backing:
    """Say what serves a Service today: nothing, one settled Deployment, or something that we must not guess about."""
    ours = {d.uid: d for d in world.deployments.values()}
    by_uid = {raw["metadata"]["uid"]: raw for raw in deployments}
    owners: set[str] = set()
    for raw in pods:
        read = pod(raw)
        if read.pod.terminating:
            continue
        owner = owner_of.get(read.replicaset_uid, "")
        if owner not in by_uid:
            kinds = [f"{o['kind']} {o['name']}" for o in raw["metadata"].get("ownerReferences") or ()]
            who = kinds[0] if kinds else "nobody"
            text = f"it serves pod {read.pod.name}, owned by {who}: only a plain Deployment can be adopted"
            return Backing("Ambiguous", text)
        owners.add(owner)
    # A Deployment whose pods are yet to come serves as well as one whose pods are there.
    owners |= {uid for uid, raw in by_uid.items() if _makes_pods_for(raw, service)}
    foreign = sorted(owners - set(ours), key=lambda uid: str(by_uid[uid]["metadata"]["name"]))
    if len(foreign) > 1:
        both = " and ".join(by_uid[uid]["metadata"]["name"] for uid in foreign)
        return Backing("Ambiguous", f"it serves pods of several Deployments ({both}): leave one of them")
    if foreign:
        return _settled(by_uid[foreign[0]])
    standing = [ours[uid] for uid in owners if uid in ours and not ours[uid].deleting]
    if len(standing) == 1:
        return Backing("Ours", name=standing[0].revision)
    if standing:
        both = " and ".join(sorted(d.name for d in standing))
        return Backing("Ambiguous", f"it lost its revision key and now serves {both}: put the key back by hand")
    return Backing("Nothing")


def _makes_pods_for(raw: Json, service: Service) -> bool:
    spec = raw["spec"]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    mine = (raw["metadata"].get("labels") or {}).get(names.RELEASE)
    return not mine and int(spec.get("replicas", 1)) > 0 and names.matches(service.selector, labels)


def _settled(raw: Json) -> Backing:
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    replicas = int(spec.get("replicas", 1))
    seen = int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0))
    there = all(int(status.get(f, 0)) == replicas for f in ("replicas", "updatedReplicas", "availableReplicas"))
    if not (seen and there):
        text = (
            f"Deployment {metadata['name']}, which it serves, is in the middle of a rollout: it is adopted once settled"
        )
        return Backing("Ambiguous", text)
    return Backing(
        "Deployment",
        name=metadata["name"],
        template=manifests.as_written(spec["template"]),
        replicas=replicas,
        min_ready_seconds=int(spec.get("minReadySeconds", 0)),
    )
