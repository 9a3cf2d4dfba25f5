"""What the watches said last, as values. Events are hints: a regular LIST finds out what a watch lost.

An object enters only if its resourceVersion is newer than what is known of it, so that the answer to our own write
is not undone by an older event, and a deletion is not undone by a late one.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tradingrelease.cluster import project
from tradingrelease.cluster.api import (
    COMMANDS,
    DEPLOYMENTS,
    FREEZES,
    JOBS,
    PODS,
    RELEASES,
    REPLICASETS,
    SERVICES,
    SLICES,
    STORED,
    Kind,
)
from tradingrelease.policy import names
from tradingrelease.policy.fields import UNREADABLE
from tradingrelease.policy.freezes import Freeze, unreadable_all
from tradingrelease.policy.memory import from_status
from tradingrelease.policy.model import Deployment, Endpoints, Job, Key, Order, Override, Pod, Service
from tradingrelease.policy.spec import Spec

Json = Mapping[str, Any]

_READ: Final[dict[Kind, Callable[[Json], Any]]] = {
    COMMANDS: project.order,
    FREEZES: project.freeze,
    SERVICES: project.service,
    DEPLOYMENTS: project.deployment,
    REPLICASETS: project.replicaset,
    PODS: project.pod,
    SLICES: project.endpoint_slice,
    STORED: project.stored_spec,
    JOBS: project.job,
}
_GRAVES: Final = 5000

log: Final = logging.getLogger("tradingrelease")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: its version, the release that it belongs to, and its value."""

    version: int
    uid: str
    release: str
    value: Any


class Cache:
    """Objects by kind, namespace and name; and by the release that they belong to."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[tuple[str, str], Entry]] = defaultdict(dict)
        self._by_release: dict[tuple[Kind, str, str], set[str]] = defaultdict(set)
        self._services: dict[str, set[str]] = defaultdict(set)
        self.freezes_denied = False
        """There may be freezes, and nobody lets us see them."""
        self._graves: dict[tuple[Kind, str, str], int] = {}
        self._orders_gone: dict[str, frozenset[str]] = {}
        """By the namespace that was listed: uids of orders that the last list should have had, and had not."""

    # --- in -----------------------------------------------------------------------------------------------------------

    def store(self, kind: Kind, raw: Json) -> set[Key]:
        """Take in an object as read or as answered to a write. Returns the releases that it concerns."""
        metadata = raw["metadata"]
        place = (metadata["namespace"], metadata["name"])
        version = project.version_of(raw)
        known = self._objects[kind].get(place)
        if (known and version <= known.version) or version <= self._graves.get((kind, *place), -1):
            return set()
        before = known.value if known and known.uid == metadata["uid"] else None
        value: Any = project.release(raw, before) if kind is RELEASES else _READ[kind](raw)
        entry = Entry(version, metadata["uid"], self._release_of(kind, raw), value)
        self._remove(kind, place)
        self._objects[kind][place] = entry
        self._by_release[kind, place[0], entry.release].add(place[1])
        if kind is SERVICES:
            self._services[place[0]].add(place[1])
        if kind is FREEZES and before is not None and before.freeze == value.freeze:
            return set()  # its status is for people: no release asks for it
        concerned = self._concerned(kind, place, entry)
        return concerned | (self._concerned(kind, place, known) if known and known.release != entry.release else set())

    def drop(self, kind: Kind, raw: Json) -> set[Key]:
        """Take in a deletion."""
        metadata = raw["metadata"]
        place = (metadata["namespace"], metadata["name"])
        version = project.version_of(raw)
        known = self._objects[kind].get(place)
        if known and known.version > version:
            return set()
        self._bury(kind, place, version)
        self._remove(kind, place)
        return self._concerned(kind, place, known) if known else set()

    def replace(self, kind: Kind, listed: Iterable[Json], version: int, namespace: str = "") -> set[Key]:
        """Take in a whole LIST: what it lacks and what is not newer than it is gone."""
        concerned: set[Key] = set()
        present = set()
        for raw in listed:
            present.add((raw["metadata"]["namespace"], raw["metadata"]["name"]))
            try:
                concerned |= self.store(kind, raw)
            except UNREADABLE:
                # One object that cannot be read must not keep all others from being known.
                log.exception("%s %s cannot be read", kind.plural, raw["metadata"]["name"])
        for place, entry in list(self._objects[kind].items()):
            if place not in present and entry.version <= version and namespace in {"", place[0]}:
                concerned |= self._concerned(kind, place, entry)
                self._bury(kind, place, version)  # a list that was asked for earlier may come in later
                self._remove(kind, place)
        return concerned

    def miss_orders(self, named: Mapping[str, Key], listed: Iterable[Json], namespace: str) -> set[Key]:
        """Note which orders, named before a LIST was asked for, it did not have. Returns the releases that name them.

        One that is listed in words that we do not understand is there all the same.
        """
        here = {entry.uid for entry in self._objects[COMMANDS].values()} | {raw["metadata"]["uid"] for raw in listed}
        self._orders_gone[namespace] = frozenset(named) - here
        return {named[uid] for uid in self._orders_gone[namespace]}

    def forget(self, kind: Kind, namespace: str, name: str) -> None:
        """Drop what a direct read found to be gone."""
        self._remove(kind, (namespace, name))

    def was_deleted(self, kind: Kind, namespace: str, name: str) -> bool:
        """Tell whether a watch or a list told lately that an object of that name is gone."""
        return (kind, namespace, name) in self._graves

    def _bury(self, kind: Kind, place: tuple[str, str], version: int) -> None:
        if len(self._graves) >= _GRAVES:
            del self._graves[next(iter(self._graves))]
        self._graves[kind, place[0], place[1]] = version

    def _remove(self, kind: Kind, place: tuple[str, str]) -> None:
        entry = self._objects[kind].pop(place, None)
        if entry:
            found = self._by_release[kind, place[0], entry.release]
            found.discard(place[1])
            if not found:
                del self._by_release[kind, place[0], entry.release]
            if kind is SERVICES:
                self._services[place[0]].discard(place[1])

    @staticmethod
    def _release_of(kind: Kind, raw: Json) -> str:
        if kind is RELEASES:
            return str(raw["metadata"]["name"])
        if kind is COMMANDS:
            return str((raw.get("spec") or {}).get("release", ""))
        return str((raw["metadata"].get("labels") or {}).get(names.RELEASE, ""))

    def _concerned(self, kind: Kind, place: tuple[str, str], entry: Entry) -> set[Key]:
        found = {Key(place[0], entry.release)} if entry.release else set()
        if kind is SERVICES:
            # Any Service of the namespace may match somebody's pods, or be one that a release waits for.
            found |= {key for key in self.releases() if key.namespace == place[0] and self._cares(key, place[1], entry)}
        if kind is FREEZES:
            found |= {key for key in self.releases() if key.namespace == place[0]}
        if kind is RELEASES:
            # A mark may have become void, or a Service free.
            found |= {key for key in self.releases() if key.namespace == place[0] and self._refused(key)}
        return found

    def _cares(self, key: Key, service: str, entry: Entry) -> bool:
        release = self.release(key)
        if release is None or not isinstance(release.spec, Spec):
            return False
        return not entry.release or any(service in c.services for c in release.spec.components)

    def _refused(self, key: Key) -> bool:
        release = self.release(key)
        conditions = (release.status.get("conditions") or ()) if release else ()
        return any(c["type"] == "Accepted" and c["status"] != "True" for c in conditions)

    # --- out ----------------------------------------------------------------------------------------------------------

    def releases(self) -> list[Key]:
        """Return the keys of all releases."""
        return [Key(*place) for place in self._objects[RELEASES]]

    def orphans(self) -> set[Key]:
        """Return keys of releases that are gone while something of theirs is not."""
        known = set(self.releases())
        marked = {Key(ns, r) for (kind, ns, r) in self._by_release if r and kind in {SERVICES, DEPLOYMENTS, COMMANDS}}
        return marked - known

    def release(self, key: Key) -> project.Release | None:
        """Return a release as last read."""
        entry = self._objects[RELEASES].get((key.namespace, key.name))
        return entry.value if entry else None

    def releases_in(self, namespace: str) -> dict[str, str]:
        """Return the uids of a namespace's releases by name."""
        return {name: e.uid for (ns, name), e in self._objects[RELEASES].items() if ns == namespace}

    def services(self, namespace: str) -> dict[str, Service]:
        """Return a namespace's Services by name."""
        held = self._objects[SERVICES]
        return {name: held[namespace, name].value for name in self._services[namespace]}

    def deployments(self, key: Key) -> dict[str, Deployment]:
        """Return a release's Deployments by name."""
        return dict(self._of(DEPLOYMENTS, key))

    def pods(self, key: Key) -> tuple[Pod, ...]:
        """Return a release's pods, each with the Deployment that owns it."""
        owners = dict(value for _, value in self._of(REPLICASETS, key))
        read = [value for _, value in self._of(PODS, key)]
        return tuple(replace(r.pod, deployment_uid=owners.get(r.replicaset_uid, "")) for r in read)

    def endpoints(self, key: Key) -> dict[str, Endpoints]:
        """Return what a release's EndpointSlices say, by Service."""
        by_service: dict[str, list[project.Slice]] = defaultdict(list)
        for _, found in self._of(SLICES, key):
            by_service[found.service].append(found)
        return {name: merged(slices) for name, slices in by_service.items()}

    def orders(self, key: Key) -> tuple[Order, ...]:
        """Return a release's orders, oldest first."""
        found = [value for _, value in self._of(COMMANDS, key)]
        return tuple(sorted(found, key=lambda order: (order.created_at, order.name)))

    def orders_named(self, namespace: str) -> dict[str, Key]:
        """Return releases by uids of the orders whose answers their statuses keep; namespace "": all of them."""
        found: dict[str, Key] = {}
        for key in self.releases():
            release = self.release(key)
            if release and release.status.get("orders") and namespace in {"", key.namespace}:
                answers = from_status({"orders": release.status["orders"]}).answers
                found |= {answer.uid: key for answer in answers}
        return found

    def orders_gone(self) -> frozenset[str]:
        """Return uids of orders that are gone, of those whose answers are in statuses."""
        return frozenset().union(*self._orders_gone.values())

    def jobs(self, key: Key) -> dict[str, Job]:
        """Return the Jobs of a release's hooks by name; our label alone makes none of a Job that somebody else runs."""
        return {name: job for name, job in self._of(JOBS, key) if job.is_ours}

    def stored(self, key: Key) -> dict[str, Spec]:
        """Return a release's stored specs by revision."""
        return dict(value for _, value in self._of(STORED, key) if value)

    def all_freezes(self) -> list[project.FreezeRead]:
        """Return every freeze, in order of namespace and name."""
        return [entry.value for _, entry in sorted(self._objects[FREEZES].items())]

    def freezes(self, key: Key) -> tuple[Freeze, ...]:
        """Return the freezes that are about a release, without their calendars."""
        release = self.release(key)
        held = self._objects[FREEZES]
        if self.freezes_denied:
            return (unreadable_all("the operator may not read releasefreezes: apply manifests/rbac.yaml"),)
        if release is None or not held:
            return ()
        inside = [held[place].value.freeze for place in sorted(held) if place[0] == key.namespace]
        return tuple(freeze for freeze in inside if freeze.holds(release.labels))

    def overrides(self, namespace: str, freeze: Freeze) -> list[tuple[str, Override]]:
        """Return what releases remember of Overrides of a freeze: the release's name, and each Override."""
        found = []
        for key in sorted(key for key in self.releases() if key.namespace == namespace):
            release = self.release(key)
            raw = release.status.get("overrides") if release else None
            remembered = from_status({"overrides": raw}).overrides if raw else ()
            found += [(key.name, o) for o in remembered if (o.freeze, o.freeze_uid) == (freeze.name, freeze.uid)]
        return found

    def uid(self, kind: Kind, namespace: str, name: str) -> str:
        """Return the uid of an object as last read; "" where it is not known."""
        entry = self._objects[kind].get((namespace, name))
        return entry.uid if entry else ""

    def _of(self, kind: Kind, key: Key) -> list[tuple[str, Any]]:
        held = self._objects[kind]
        labelled = sorted(self._by_release.get((kind, key.namespace, key.name), ()))
        return [(name, held[key.namespace, name].value) for name in labelled]


def merged(slices: list[project.Slice]) -> Endpoints:
    """Return several slices of one Service as one."""
    ready: dict[str, frozenset[str]] = {}
    for found in slices:
        for port, uids in found.ready.items():
            ready[port] = ready.get(port, frozenset()) | uids
    every = frozenset(uid for found in slices for uid in found.every)
    return Endpoints(ready, every)
