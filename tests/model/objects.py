"""The model's API server: stored objects as JSON, and what the operator's own requests (policy/writes.py) do to them.

It knows what the protocol leans on: resourceVersions that grow by every change and by nothing else, preconditions by
version and uid, merge and JSON patches, names that can be taken again. Nothing here knows what a request is for.
"""

import json
from collections.abc import Mapping
from typing import Any

from tradingrelease.cluster import project
from tradingrelease.policy import names
from tradingrelease.policy.writes import Create, Delete, Merge, Patch, Resource

Json = dict[str, Any]

UNIQUE = "unique-"
"""Begins every value that was never written before; which one it is means nothing."""
CLAIM = names.CLAIM_DOMAIN + "/"


class Refused(Exception):  # noqa: N818 - named by what the API server does
    """The precondition of a request does not hold."""


class Stored:
    """One object as stored: its JSON, its value as the operator projects it, and what makes it equal to another.

    `shape` stands for everything but the version and the claims, which only compare with other versions.
    """

    __slots__ = ("claims", "counted", "name", "raw", "resource", "shape", "uid", "value", "version")

    def __init__(self, resource: Resource, raw: Json, before: "Stored | None" = None) -> None:
        self.resource, self.raw = resource, raw
        metadata = raw["metadata"]
        self.name, self.uid, self.version = metadata["name"], metadata["uid"], int(metadata["resourceVersion"])
        self.value = _projected(resource, raw, before)
        self.claims: tuple[tuple[str, int], ...] = ()
        if resource is Resource.DEPLOYMENTS:
            self.claims = tuple(sorted(self.value.claims.items()))
        self.counted: dict[tuple[int, int], Any] = {}
        """Its value with the pods that it has, by their numbers (see world.py)."""
        self.shape = interned(_without_numbers(raw))


def _projected(resource: Resource, raw: Json, before: Stored | None) -> Any:
    match resource:
        case Resource.SERVICES:
            return project.service(raw)
        case Resource.DEPLOYMENTS:
            return project.deployment(raw)
        case Resource.STORED:
            return project.stored_spec(raw)
        case Resource.JOBS:
            return project.job(raw)
        case Resource.RELEASES:
            return project.release(raw, before.value if before else None)
        case _:
            raise AssertionError(resource)


def _without_numbers(raw: Json) -> Json:
    metadata = {k: v for k, v in raw["metadata"].items() if k != "resourceVersion"}
    notes = metadata.get("annotations") or {}
    metadata["annotations"] = {
        k: v for k, v in notes.items() if not (k.startswith(CLAIM) or (k == names.FENCE and v.startswith(UNIQUE)))
    }
    return {**raw, "metadata": metadata}


_SHAPES: dict[str, int] = {}


def interned(value: Any) -> int:
    """Return a small number that stands for a JSON value."""
    return _SHAPES.setdefault(json.dumps(value, sort_keys=True, default=str), len(_SHAPES))


# --- requests ---------------------------------------------------------------------------------------------------------


def changed(stored: Stored | None, request: Merge | Patch, version: int) -> Stored:
    """Return an object after a patch; the same object where the patch changes nothing. Raises Refused."""
    if stored is None:
        raise Refused(f"{request.resource} {request.name} does not exist")
    if isinstance(request, Merge):
        body = dict(request.body)
        metadata = dict(body.get("metadata") or {})
        held = {"resourceVersion": str(stored.version), "uid": stored.uid}
        for field in ("resourceVersion", "uid"):
            if metadata.pop(field, held[field]) != held[field]:
                raise Refused(f"{request.name} is at {stored.version} ({stored.uid}), not at what was read")
        raw = _merged(stored.raw, {**body, "metadata": metadata})
    else:
        raw = _patched(stored, request)
    if raw == stored.raw:
        return stored
    raw["metadata"] = {**raw["metadata"], "resourceVersion": str(version)}
    return Stored(stored.resource, raw, stored)


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _patched(stored: Stored, request: Patch) -> Json:
    raw = stored.raw
    for operation in request.operations:
        path = operation["path"].strip("/").split("/")
        if operation["op"] == "test":
            found: Any = raw
            for step in path:
                found = found[step]
            if found != operation["value"]:
                raise Refused(f"{request.name}: {operation['path']} is {found}, not {operation['value']}")
        else:
            raw = _set(raw, path, operation["value"])
    return dict(raw)


def _set(raw: Json, path: list[str], value: Any) -> Json:
    head, *rest = (step.replace("~1", "/") for step in path)
    return {**raw, head: _set(raw.get(head) or {}, rest, value) if rest else value}


def created(request: Create, uid: str, version: int, at: str) -> Stored:
    """Return a new object."""
    metadata = {**request.body["metadata"], "uid": uid, "resourceVersion": str(version), "creationTimestamp": at}
    metadata.setdefault("namespace", "production")
    return Stored(request.resource, {**request.body, "metadata": metadata})


def may_delete(stored: Stored, request: Delete) -> None:
    """Raise Refused where the object is not the one that was looked at."""
    if request.uid and request.uid != stored.uid:
        raise Refused(f"{request.name} is another one ({stored.uid})")
    if request.version is not None and request.version != stored.version:
        raise Refused(f"{request.name} is at {stored.version}, not at {request.version}")


# --- numbers: versions mean nothing but their order -------------------------------------------------------------------

Number = tuple[tuple[Resource, str], int]


def numbers_of(request: Create | Merge | Patch | Delete) -> tuple[int, list[Number]]:
    """Return what a request is apart from the versions in it, and those versions by the object that they are of."""
    place = (request.resource, request.body["metadata"]["name"] if isinstance(request, Create) else request.name)
    found: list[Number] = []
    match request:
        case Create() | Merge():
            metadata = dict(request.body.get("metadata") or {})
            if version := metadata.pop("resourceVersion", ""):
                found.append((place, int(version)))
            notes = dict(metadata.get("annotations") or {})
            claimed = [key for key in notes if key.startswith(CLAIM)]
            found += [((Resource.SERVICES, key.removeprefix(CLAIM)), int(notes.pop(key))) for key in claimed]
            if str(notes.get(names.FENCE, "")).startswith(UNIQUE):
                notes[names.FENCE] = UNIQUE
            shape: Any = {**request.body, "metadata": {**metadata, "annotations": notes}}
        case Patch():
            shape = [o for o in request.operations if o["path"] != "/metadata/resourceVersion"]
            tests = [o["value"] for o in request.operations if o["path"] == "/metadata/resourceVersion"]
            found += [(place, int(v)) for v in tests]
        case Delete():
            shape = request.uid
            found += [(place, request.version)] if request.version is not None else []
    return interned([type(request).__name__, *map(str, place), shape]), found
