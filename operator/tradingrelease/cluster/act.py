"""The one writer: performs one step. Every write carries a precondition, or says why it is safe twice."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import uuid4

from tradingrelease.cluster.api import COMMANDS, DEPLOYMENTS, SERVICES, SLICES, STORED, Api, Kind
from tradingrelease.cluster.cache import Cache, merged
from tradingrelease.cluster.notebook import Notebook
from tradingrelease.cluster.probe import Prober
from tradingrelease.cluster.project import deployment as read_deployment
from tradingrelease.cluster.project import endpoint_slice
from tradingrelease.cluster.project import service as read_service
from tradingrelease.errors import ClusterError, Conflict, Forbidden, Invalid, NotFound, Unreachable
from tradingrelease.policy import model, names
from tradingrelease.policy.manifests import owner, record_out
from tradingrelease.policy.model import Asked, Key, Refusal, World

Json = Mapping[str, Any]

SOON: Final = 0.1
"""Seconds until the watch should have told what a conflict means."""
_NONE: Final = "the write found the world changed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step. `wait` in seconds: None means go on at once."""

    wait: float | None = None
    said: str = ""


DONE: Final = Outcome()


class Actor:
    """Performs steps for releases."""

    def __init__(self, api: Api, cache: Cache, prober: Prober) -> None:
        self._api = api
        self._cache = cache
        self._prober = prober

    async def act(self, step: model.Step, world: World, notebook: Notebook, now: datetime) -> Outcome:
        """Perform a step. Raises Unreachable and Forbidden; a world that changed meanwhile is an outcome."""
        try:
            return await self._perform(step, world, notebook, now)
        except (Conflict, NotFound) as error:
            # Somebody wrote first, or it is gone: their word is newer than ours. Look again.
            return Outcome(SOON, f"{_NONE}: {error}")

    async def _perform(  # noqa: C901, PLR0911, PLR0912 - one line a step
        self, step: model.Step, world: World, notebook: Notebook, now: datetime
    ) -> Outcome:
        key = world.key
        match step:
            case model.Rest():
                return DONE
            case model.Switch():
                return await self._merge(SERVICES, key, step.service, _switch(step))
            case model.Claim():
                return await self._merge(DEPLOYMENTS, key, step.deployment, _claim(step))
            case model.Mark():
                return await self._merge(SERVICES, key, step.service, _mark(step, world))
            case model.Unmark():
                return await self._merge(SERVICES, key, step.service, _unmark(step))
            case model.Annotate():
                body = _guard(step.uid, step.version, annotations=dict(step.annotations))
                return await self._merge(DEPLOYMENTS, key, step.deployment, body)
            case model.Scale():
                body = {**_guard(step.uid, step.version), "spec": {"replicas": step.replicas}}
                return await self._merge(DEPLOYMENTS, key, step.deployment, body)
            case model.Own():
                references = [owner(key, world.uid)] if step.owned else None
                body = _guard(step.uid, step.version, ownerReferences=references)
                return await self._merge(DEPLOYMENTS, key, step.deployment, body)
            case model.Restore():
                return await self._restore(key, step)
            case model.Retire():
                return await self._retire(key, step)
            case model.CreateDeployment():
                return await self._create(DEPLOYMENTS, key, step.body)
            case model.CreatePreview():
                return await self._create(SERVICES, key, step.body)
            case model.StoreSpec():
                return await self._create(STORED, key, step.body)
            case model.PatchPreview():
                body = {**_guard("", step.version), "spec": step.body["spec"]}
                body["metadata"] |= {k: step.body["metadata"][k] for k in ("labels", "annotations", "ownerReferences")}
                return await self._merge(SERVICES, key, step.name, body)
            case model.DeletePreview():
                return await self._delete(SERVICES, key, step.name, step.uid)
            case model.ForgetSpec():
                return await self._delete(STORED, key, step.name, self._cache.uid(STORED, key.namespace, step.name))
            case model.ForgetOrder():
                return await self._delete(COMMANDS, key, step.name, step.uid)
            case model.DryRun():
                return await self._dry_run(key, step, notebook, now)
            case model.Ask():
                return await self._ask(step, notebook, now)
            case model.ConfirmDead():
                return await self._confirm_dead(world, step, notebook, now)
            case _:
                assert_never(step)

    # --- writes ------------------------------------------------------------------------------------------------

    async def _merge(self, kind: Kind, key: Key, name: str, body: Json) -> Outcome:
        self._cache.store(kind, await self._api.merge(kind, key.namespace, name, body))
        return DONE

    async def _create(self, kind: Kind, key: Key, body: Json) -> Outcome:
        """Create an object. Safe twice: its name says what it is, a second creation is refused."""
        try:
            self._cache.store(kind, await self._api.create(kind, key.namespace, body))
        except Conflict:
            # It exists: created before a crash, not yet told by the watch; or it is somebody else's.
            raw = await self._api.get(kind, key.namespace, body["metadata"]["name"])
            if (raw["metadata"].get("labels") or {}).get(names.RELEASE) != key.name:
                name = raw["metadata"]["name"]
                return Outcome(10.0, f"{kind.plural} {name} exists and is not ours: rename it, or the component")
            self._cache.store(kind, raw)
            return Outcome(SOON, "it exists already")
        return DONE

    async def _delete(self, kind: Kind, key: Key, name: str, uid: str) -> Outcome:
        with suppress(NotFound):  # what was to go is gone
            await self._api.delete(kind, key.namespace, name, uid=uid)
        self._cache.forget(kind, key.namespace, name)
        return DONE

    async def _restore(self, key: Key, step: model.Restore) -> Outcome:
        ops: list[dict[str, Any]] = [
            {"op": "test", "path": "/metadata/uid", "value": step.uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": str(step.version)},
        ]
        if step.template is not None:
            ops.append({"op": "replace", "path": "/spec/template", "value": step.template})
        if step.min_ready_seconds is not None:
            ops.append({"op": "add", "path": "/spec/minReadySeconds", "value": step.min_ready_seconds})
        self._cache.store(DEPLOYMENTS, await self._api.patch(DEPLOYMENTS, key.namespace, step.deployment, ops))
        return DONE

    async def _retire(self, key: Key, step: model.Retire) -> Outcome:
        """Delete, or scale to zero, by the delete rule (product.md 5).

        The Deployment is read first and its Services after it: the write carries the Deployment's version, so its
        claims are those that were compared with versions read later.
        """
        raw = await self._api.get(DEPLOYMENTS, key.namespace, step.deployment)
        target = read_deployment(raw)
        if target.uid != step.uid or (raw["metadata"].get("labels") or {}).get(names.RELEASE) != key.name:
            return Outcome(SOON, "another Deployment of that name stands there now")
        for name, claimed in target.claims.items():
            if said := await self._fenced(key, name, claimed, target.revision):
                return Outcome(1.0, said)
        if step.delete:
            await self._api.delete(DEPLOYMENTS, key.namespace, target.name, uid=target.uid, version=target.version)
            self._cache.forget(DEPLOYMENTS, key.namespace, target.name)
            return DONE
        served = {names.SERVED: "true"} if step.served else {}
        body = {**_guard(target.uid, target.version, annotations=served), "spec": {"replicas": 0}}
        return await self._merge(DEPLOYMENTS, key, target.name, body)

    async def _fenced(self, key: Key, name: str, claimed: int, revision: str) -> str:
        """Make sure that no switch decided on a claim can land any more. Returns why not, or ""."""
        try:
            service = read_service(await self._api.get(SERVICES, key.namespace, name))
        except NotFound:
            return ""  # a Service that is gone counts as higher
        if service.selected == revision:
            return f"Service {name} selects it"
        if claimed < service.version:
            return ""
        # The value must be unique: a repeated one would be no change and raise no version.
        body = _guard("", service.version, annotations={names.FENCE: uuid4().hex})
        await self._merge(SERVICES, key, name, body)
        return ""

    # --- reads that a rule asked for ---------------------------------------------------------------------------

    async def _dry_run(self, key: Key, step: model.DryRun, notebook: Notebook, now: datetime) -> Outcome:
        try:
            await self._api.create(DEPLOYMENTS, key.namespace, step.body, dry_run=True)
            notebook.dry_runs[step.component_revision] = None
        except Conflict:
            # A Deployment of that name exists, so its template was taken before.
            notebook.dry_runs[step.component_revision] = None
        except Invalid as error:
            notebook.dry_runs[step.component_revision] = Refusal("InvalidTemplate", str(error), terminal=True)
        except Forbidden as error:
            notebook.dry_runs[step.component_revision] = Refusal("DeploymentForbidden", str(error), terminal=False)
            notebook.dry_run_at[step.component_revision] = now
        return DONE

    async def _ask(self, step: model.Ask, notebook: Notebook, now: datetime) -> Outcome:
        verdicts = await self._prober.ask(step.targets)
        passed = {t.pod_uid for t, v in zip(step.targets, verdicts, strict=True) if v.passed}
        said = [f"pod {t.pod_name}: {v.said}" for t, v in zip(step.targets, verdicts, strict=True) if not v.passed]
        text = "; ".join(said[:3]) or "no pod to ask"
        notebook.asked[step.revision] = Asked(now, frozenset(passed) | step.ready_without_probe, text)
        return DONE

    async def _confirm_dead(self, world: World, step: model.ConfirmDead, notebook: Notebook, now: datetime) -> Outcome:
        key, service = world.key, world.services[step.service]
        listed, _ = await self._api.find(SLICES, key.namespace, f"kubernetes.io/service-name={step.service}")
        found = merged([endpoint_slice(raw) for raw in listed])
        ready = found.serving(service.ports)
        if service.publish_not_ready:
            ready &= {p.uid for p in world.pods if p.ready and not p.terminating}
        if ready:
            # The watch is behind, or the slices lost our label: count anew.
            notebook.since.pop(f"dead:{step.service}", None)
            for raw in listed:
                self._cache.store(SLICES, raw)
            return Outcome(1.0, f"a direct read shows {len(ready)} ready endpoint(s)")
        notebook.confirmed_dead[step.service] = now
        return DONE


def transient(error: ClusterError) -> float:
    """Return how many seconds to wait after an error that may pass."""
    return error.retry_after if isinstance(error, Unreachable) else 0.0


# --- bodies of patches ------------------------------------------------------------------------------------------------


def _guard(uid: str, version: int, **metadata: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a merge patch's metadata with its precondition."""
    return {"metadata": {**({"uid": uid} if uid else {}), "resourceVersion": str(version), **metadata}}


def _switch(step: model.Switch) -> dict[str, Any]:
    record = json.dumps(record_out(step.record), separators=(",", ":"))
    body = _guard("", step.version, annotations={names.SWITCH: record})
    return {**body, "spec": {"selector": {names.REVISION: step.component_revision}}}


def _claim(step: model.Claim) -> dict[str, Any]:
    claims = {names.claim_key(service): str(version) for service, version in step.claims.items()}
    return _guard(step.uid, step.version, annotations=claims)


def _mark(step: model.Mark, world: World) -> dict[str, Any]:
    labels, annotations = {names.RELEASE: world.key.name}, {names.RELEASE_UID: world.uid}
    body = _guard("", step.version, labels=labels, annotations=annotations)
    return {**body, "spec": {"selector": {names.REVISION: names.NOTHING}}} if step.gate else body


def _unmark(step: model.Unmark) -> dict[str, Any]:
    return _guard("", step.version, labels={names.RELEASE: None}, annotations={names.RELEASE_UID: None})
