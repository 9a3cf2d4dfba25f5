"""What a step asks of the API server: requests as values, each with its precondition.

`cluster/act.py` sends them; the model check (tests/model) applies the very same values to a model of the API server.
A write without a precondition says here why it is safe twice.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tradingrelease.policy import model, names
from tradingrelease.policy.manifests import owner, record_out
from tradingrelease.policy.model import Deployment, Key, Service

Json = dict[str, Any]


class Resource(StrEnum):
    """What a request is about, by the plural that the API server knows."""

    SERVICES = "services"
    DEPLOYMENTS = "deployments"
    STORED = "controllerrevisions"
    COMMANDS = "releasecommands"
    JOBS = "jobs"
    RELEASES = "tradingreleases"


@dataclass(frozen=True, slots=True)
class Read:
    """GET an object, not from a cache. Answered with its value; with None where it is gone, or is not ours."""

    resource: Resource
    name: str


@dataclass(frozen=True, slots=True)
class Create:
    """POST an object. Safe twice: its name says what it is, a second creation is refused."""

    resource: Resource
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Merge:
    """PATCH an object by a JSON merge patch; the precondition is in its metadata."""

    resource: Resource
    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Patch:
    """PATCH an object by JSON patch operations; the precondition is a `test`."""

    resource: Resource
    name: str
    operations: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """DELETE exactly the object that was looked at. What is gone already is as wanted."""

    resource: Resource
    name: str
    uid: str
    version: int | None = None
    with_pods: bool = False
    """It stays, marked as going, until its pods are gone."""


Write = Create | Merge | Patch | Delete
Request = Read | Write
Answer = Service | Deployment | None


@dataclass(frozen=True, slots=True)
class Stopped:
    """A step that ended before its last write, and in how many seconds to look again."""

    wait: float
    said: str


Requests = Generator[Request, Answer, Stopped | None]
"""The requests of one step, one after the other; a Read is sent its answer."""

SOON: Final = 0.1
"""Seconds until the watch should have told of what a request found out."""


def requests(step: model.Step, key: Key, uid: str, unique: str) -> Requests:
    """Yield what a step asks of the API server. `unique` is a value that nobody ever wrote before."""
    if isinstance(step, model.Retire):
        return (yield from retire(step, unique))
    yield write(step, key, uid)
    return None


def write(step: model.Step, key: Key, uid: str) -> Write:  # noqa: C901, PLR0911, PLR0912 - one line a step
    """Return the one write of a step."""
    match step:
        case model.Switch():
            return Merge(Resource.SERVICES, step.service, _switch(step))
        case model.Claim():
            return Merge(Resource.DEPLOYMENTS, step.deployment, claim(step))
        case model.Mark():
            return Merge(Resource.SERVICES, step.service, _mark(step, key, uid))
        case model.Unmark():
            return Merge(Resource.SERVICES, step.service, _unmark(step))
        case model.Annotate():
            body = guarded(step.uid, step.version, annotations=dict(step.annotations))
            return Merge(Resource.DEPLOYMENTS, step.deployment, body)
        case model.Scale():
            body = {**guarded(step.uid, step.version), "spec": {"replicas": step.replicas}}
            return Merge(Resource.DEPLOYMENTS, step.deployment, body)
        case model.Own():
            body = guarded(step.uid, step.version, ownerReferences=[owner(key, uid)] if step.owned else None)
            return Merge(Resource.DEPLOYMENTS, step.deployment, body)
        case model.Restore():
            return Patch(Resource.DEPLOYMENTS, step.deployment, restore(step))
        case model.CreateDeployment():
            return Create(Resource.DEPLOYMENTS, step.body)
        case model.CreatePreview():
            return Create(Resource.SERVICES, step.body)
        case model.StoreSpec():
            return Create(Resource.STORED, step.body)
        case model.PatchPreview():
            return Merge(Resource.SERVICES, step.name, _preview(step))
        case model.DeletePreview():
            return Delete(Resource.SERVICES, step.name, step.uid)
        case model.ForgetSpec():
            return Delete(Resource.STORED, step.name, step.uid)
        case model.ForgetOrder():
            return Delete(Resource.COMMANDS, step.name, step.uid)
        case model.CreateJob():
            return Create(Resource.JOBS, step.body)
        case model.StartJob():
            body = {**guarded(step.uid, step.version), "spec": {"suspend": False}}
            return Merge(Resource.JOBS, step.name, body)
        case model.DeleteJob():
            return Delete(Resource.JOBS, step.name, step.uid, step.version, with_pods=True)
        case _:
            raise AssertionError(f"{type(step).__name__} is not one write")


# --- the delete rule (product.md 5) -----------------------------------------------------------------------------------


def retire(step: model.Retire, unique: str) -> Requests:
    """Delete a Deployment, or scale it to zero, once no switch that was decided on its claims can land any more.

    The Deployment is read first and its Services after it: the last write carries the Deployment's version, so its
    claims are those that were compared with versions read later.
    """
    target = yield Read(Resource.DEPLOYMENTS, step.deployment)
    if not isinstance(target, Deployment) or target.uid != step.uid:
        return Stopped(SOON, f"Deployment {step.deployment} is gone, or another one stands there now")
    for name, claimed in claimed_services(target).items():
        service = yield Read(Resource.SERVICES, name)
        if not isinstance(service, Service):
            continue  # a Service that is gone counts as higher
        if service.selected == target.revision:
            return Stopped(1.0, f"Service {name} selects it")
        if needs_fence(claimed, service):
            yield fence(service, unique)
    yield _last(step, target)
    return None


def claimed_services(target: Deployment) -> Mapping[str, int]:
    """Return the claims that must be outdated before a Deployment goes: all that it carries, whoever lists them."""
    return target.claims


def outdated(claimed: int, version: int) -> bool:
    """Tell whether no switch decided on a claim can land on a Service of this version."""
    return claimed < version


def needs_fence(claimed: int, service: Service) -> bool:
    """Tell whether a switch decided on a claim could still land on the Service as it was read."""
    return not outdated(claimed, service.version)


def fence(service: Service, unique: str) -> Merge:
    """Return the write that outdates every claim on a Service.

    The value must be unique: a repeated one would be no change and raise no version.
    """
    return Merge(Resource.SERVICES, service.name, guarded("", service.version, annotations={names.FENCE: unique}))


def _last(step: model.Retire, target: Deployment) -> Write:
    if step.delete:
        return remove(target)
    served = {names.SERVED: "true"} if step.served else {}
    body = {**guarded(target.uid, target.version, annotations=served), "spec": {"replicas": 0}}
    return Merge(Resource.DEPLOYMENTS, target.name, body)


def remove(target: Deployment) -> Delete:
    """Return the deletion of exactly the Deployment that was read."""
    return Delete(Resource.DEPLOYMENTS, target.name, target.uid, target.version)


# --- bodies -----------------------------------------------------------------------------------------------------------


def guarded(uid: str, version: int, **metadata: Any) -> Json:  # noqa: ANN401 - JSON
    """Return a merge patch of metadata with its precondition: the object that was looked at, as it was."""
    return {"metadata": {**({"uid": uid} if uid else {}), "resourceVersion": str(version), **metadata}}


def unchanged(uid: str, version: int) -> tuple[Json, ...]:
    """Return the same precondition as JSON patch operations."""
    tests: list[Json] = [{"op": "test", "path": "/metadata/uid", "value": uid}] if uid else []
    return (*tests, {"op": "test", "path": "/metadata/resourceVersion", "value": str(version)})


def _switch(step: model.Switch) -> Json:
    record = json.dumps(record_out(step.record), separators=(",", ":"))
    body = guarded("", step.version, annotations={names.SWITCH: record})
    return {**body, "spec": {"selector": {names.REVISION: step.component_revision}}}


def claim(step: model.Claim) -> Json:
    """Return the patch that raises claims; it binds them to the Deployment as it was when they were compared."""
    claims = {names.claim_key(service): str(version) for service, version in step.claims.items()}
    return guarded(step.uid, step.version, annotations=claims)


def _mark(step: model.Mark, key: Key, uid: str) -> Json:
    body = guarded("", step.version, labels={names.RELEASE: key.name}, annotations={names.RELEASE_UID: uid})
    return {**body, "spec": {"selector": {names.REVISION: names.NOTHING}}} if step.gate else body


def _unmark(step: model.Unmark) -> Json:
    return guarded("", step.version, labels={names.RELEASE: None}, annotations={names.RELEASE_UID: None})


def restore(step: model.Restore) -> tuple[Json, ...]:
    """Return the operations that put back what somebody edited. Annotations, and so claims, are not touched."""
    operations = list(unchanged(step.uid, step.version))
    if step.template is not None:
        operations.append({"op": "replace", "path": "/spec/template", "value": step.template})
    if step.min_ready_seconds is not None:
        operations.append({"op": "add", "path": "/spec/minReadySeconds", "value": step.min_ready_seconds})
    return tuple(operations)


def _preview(step: model.PatchPreview) -> Json:
    metadata = step.body["metadata"]
    kept = {field: metadata[field] for field in ("labels", "annotations", "ownerReferences")}
    return {**guarded("", step.version, **kept), "spec": step.body["spec"]}


def status(version: int, new: Mapping[str, Any]) -> tuple[Json, ...]:
    """Return the operations that replace a status, guarded by the version that was looked at.

    One writer, never an older word; it is the whole status, so nothing of an older one is left.
    """
    return (*unchanged("", version), {"op": "add", "path": "/status", "value": new})
