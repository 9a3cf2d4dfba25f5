"""The one writer: performs one step. What a step sends, and with which precondition, is said in `policy/writes.py`."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from tradingrelease.cluster.anew import is_as_looked_at, read_anew
from tradingrelease.cluster.api import COMMANDS, DEPLOYMENTS, JOBS, RELEASES, SERVICES, SLICES, STORED, Api, Kind
from tradingrelease.cluster.cache import Cache, merged
from tradingrelease.cluster.notebook import Notebook
from tradingrelease.cluster.probe import Prober
from tradingrelease.cluster.project import deployment as read_deployment
from tradingrelease.cluster.project import endpoint_slice
from tradingrelease.cluster.project import job as read_job
from tradingrelease.cluster.project import service as read_service
from tradingrelease.errors import AdmissionFails, Conflict, Forbidden, Invalid, NotFound
from tradingrelease.policy import model, names
from tradingrelease.policy.hooks import refused_again
from tradingrelease.policy.model import Asked, Key, Refusal, World
from tradingrelease.policy.writes import (
    SOON,
    Answer,
    Create,
    Delete,
    Merge,
    Patch,
    Read,
    Requests,
    Resource,
    Stopped,
    requests,
)

Json = Mapping[str, Any]

_KINDS: Final[Mapping[Resource, Kind]] = {
    Resource(k.plural): k for k in (SERVICES, DEPLOYMENTS, STORED, COMMANDS, JOBS)
}
_NONE: Final = "the write found the world changed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step. `wait` in seconds: None means go on at once."""

    wait: float | None = None
    said: str = ""
    taken: bool = False
    """What was to be created has the name of somebody else's."""


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

    async def _perform(self, step: model.Step, world: World, notebook: Notebook, now: datetime) -> Outcome:
        match step:
            case model.Rest():
                return DONE
            case model.DryRun():
                return await self._dry_run(world.key, step, notebook, now)
            case model.Ask():
                return await self._ask(step, notebook, now)
            case model.ConfirmDead():
                return await self._confirm_dead(world, step, notebook, now)
            case model.ConfirmGone():
                raw = await read_anew(self._api, self._cache, JOBS, world.key.namespace, step.name)
                here = raw is not None and raw["metadata"]["uid"] == step.uid
                notebook.job_gone = "" if here else step.uid
                # Without its label no watch tells of it, and it would be looked for without end: what was read is used.
                notebook.job_read = (read_job(raw), now) if raw is not None and here else None
                return DONE
            case model.CreateJob() | model.StartJob():
                return await self._write_job(step, world, notebook, now)
            case model.StoreSpec() if gone := await self._deleted(world, step.body["metadata"]["name"]):
                return gone
            case model.Retire() | model.ForgetSpec() if changed := await self._outdated(world):
                return changed
            case _:
                asked = requests(step, world.key, world.uid, uuid4().hex)
                return await self._carry_out(world.key, asked, notebook)

    # --- requests ----------------------------------------------------------------------------------------------

    async def _carry_out(self, key: Key, asked: Requests, notebook: Notebook) -> Outcome:
        """Send the requests of a step, one after the other."""
        answer: Answer = None
        try:
            while True:
                match asked.send(answer):
                    case Create() as request:
                        return await self._create(key, request, notebook)
                    case Read() as request:
                        answer = await self._read(key, request)
                    case request:
                        await self._send(key, request, notebook)
                        answer = None
        except StopIteration as end:
            stopped: Stopped | None = end.value
            return Outcome(stopped.wait, stopped.said) if stopped else DONE

    async def _send(self, key: Key, request: Merge | Patch | Delete, notebook: Notebook) -> None:
        kind, name, namespace = _KINDS[request.resource], request.name, key.namespace
        try:
            match request:
                case Merge():
                    self._cache.store(kind, await self._api.merge(kind, namespace, name, request.body))
                case Patch():
                    raw = await self._api.patch(kind, namespace, name, list(request.operations))
                    _admit(notebook, kind, raw)
                    self._cache.store(kind, raw)
                case Delete():
                    uid = request.uid or self._cache.uid(kind, namespace, name)
                    with suppress(NotFound):  # what was to go is gone
                        await self._api.delete(
                            kind, namespace, name, uid=uid, version=request.version, with_pods=request.with_pods
                        )
                    if request.with_pods:
                        await read_anew(self._api, self._cache, kind, namespace, name)  # it stays, marked as going
                    else:
                        self._cache.forget(kind, namespace, name)
        except (Conflict, NotFound):
            # The watch that would tell what the write ran into may be dead, and the write would be tried for ever.
            await read_anew(self._api, self._cache, kind, namespace, name)
            raise

    async def _read(self, key: Key, request: Read) -> Answer:
        kind = _KINDS[request.resource]
        raw = await read_anew(self._api, self._cache, kind, key.namespace, request.name)
        if raw is None:
            return None
        if kind is SERVICES:
            return read_service(raw)
        return read_deployment(raw) if _ours(key, raw) else None

    async def _deleted(self, world: World, stored: str) -> Outcome | None:
        """Ask for the release, before a stored spec that was there and went is made anew: it may have gone with it."""
        if not self._cache.was_deleted(STORED, world.key.namespace, stored):
            return None
        await read_anew(self._api, self._cache, RELEASES, world.key.namespace, world.key.name)
        found = self._cache.release(world.key)
        return None if found and found.uid == world.uid else Outcome(SOON, "the release was deleted")

    async def _outdated(self, world: World) -> Outcome | None:
        """Ask whether a release is still as it was looked at, before what it may remember by now is taken away.

        Watches run apart: right after a start, or behind an API server that lags, the Deployment or the stored spec of
        a live revision may be known before the status that says so.
        """
        if not world.uid:
            return None  # that it is gone was read directly
        same = await is_as_looked_at(self._api, self._cache, world)
        return None if same else Outcome(SOON, "the release changed meanwhile")

    async def _create(self, key: Key, request: Create, notebook: Notebook) -> Outcome:
        kind, body = _KINDS[request.resource], request.body
        try:
            raw = await self._api.create(kind, key.namespace, body)
            _admit(notebook, kind, raw)
            self._cache.store(kind, raw)
        except Conflict:
            # It exists: created before a crash, not yet told by the watch; or it is somebody else's.
            raw = await self._api.get(kind, key.namespace, body["metadata"]["name"])
            if not _ours(key, raw) or (kind is JOBS and not read_job(raw).is_ours):
                name = raw["metadata"]["name"]
                text = f"{kind.plural} {name} exists and is not ours: rename it, or what it is made for"
                return Outcome(10.0, text, taken=True)
            self._cache.store(kind, raw)
            return Outcome(SOON, "it exists already")
        return DONE

    async def _write_job(
        self, step: model.CreateJob | model.StartJob, world: World, notebook: Notebook, now: datetime
    ) -> Outcome:
        """Create or start the Job of a hook. What keeps us from it is noted, since the release goes on beside it."""
        try:
            asked = requests(step, world.key, world.uid, uuid4().hex)
            outcome = await self._carry_out(world.key, asked, notebook)
        except (Forbidden, Invalid) as error:
            reason, said = reason_of(error, "Job"), str(error)
        else:
            if not outcome.taken:
                notebook.jobs_refused = {}
                return outcome
            reason, said = "JobNameTaken", outcome.said
        notebook.jobs_refused = refused_again(notebook.jobs_refused, step.name, reason, said, now)
        return DONE

    # --- reads that a rule asked for ---------------------------------------------------------------------------

    async def _dry_run(self, key: Key, step: model.DryRun, notebook: Notebook, now: datetime) -> Outcome:
        kind = JOBS if step.body["kind"] == "Job" else DEPLOYMENTS
        try:
            await self._api.create(kind, key.namespace, step.body, dry_run=True)
            notebook.dry_runs[step.component_revision] = None
        except Conflict:
            # One of that name exists. If it is ours, its template was taken before. A Job's is looked at later.
            refusal = None
            if kind is DEPLOYMENTS:
                refusal = taken(key, await self._api.get(kind, key.namespace, step.body["metadata"]["name"]))
            notebook.dry_runs[step.component_revision] = refusal
            if refusal:
                notebook.dry_run_at[step.component_revision] = now
        except (Forbidden, Invalid) as error:
            terminal = isinstance(error, Invalid)
            refusal = Refusal(reason_of(error, step.body["kind"]), str(error), terminal=terminal)
            notebook.dry_runs[step.component_revision] = refusal
            if not terminal:
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


def reason_of(error: Forbidden | Invalid, kind: str) -> str:
    """Return the reason that people read where the API server does not take an object."""
    match error:
        case Invalid():
            return "InvalidJob" if kind == "Job" else "InvalidTemplate"
        case AdmissionFails():
            return "AdmissionFailing"
        case _:
            return f"{kind}Forbidden"


def taken(key: Key, raw: Json) -> Refusal | None:
    """Say that a Deployment that stands has a name that we need; None if it is ours."""
    if _ours(key, raw):
        return None
    text = f"Deployment {raw['metadata']['name']} exists and is not of this release: rename it, or the component"
    return Refusal("DeploymentNameTaken", text, terminal=False)


def _ours(key: Key, raw: Json) -> bool:
    return (raw["metadata"].get("labels") or {}).get(names.RELEASE) == key.name


def _admit(notebook: Notebook, kind: Kind, raw: Json) -> None:
    """Note what the API server made of a template of ours: admission policies and webhooks may change it each time."""
    if kind is DEPLOYMENTS:
        notebook.admitted[raw["metadata"]["uid"]] = raw["spec"]["template"]
