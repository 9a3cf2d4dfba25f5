"""From the API server's JSON to the small values that policy works on. Nothing else reads raw objects."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tradingrelease.policy import names
from tradingrelease.policy.freezes import Freeze
from tradingrelease.policy.freezes import parse as parse_freeze
from tradingrelease.policy.manifests import record_in
from tradingrelease.policy.memory import moment
from tradingrelease.policy.model import Author, Container, Deployment, Job, Order, Pod, Record, Service
from tradingrelease.policy.pods import LOST_WITH_THEIR_NODE
from tradingrelease.policy.reasons import Action
from tradingrelease.policy.redaction import redacted
from tradingrelease.policy.spec import Rejected, Spec, parse

Json = Mapping[str, Any]
_NUMBER = re.compile("[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Release:
    """A TradingRelease as read."""

    namespace: str
    name: str
    uid: str
    version: int
    generation: int
    deleting: bool
    spec: Spec | Rejected
    status: Json
    labels: Mapping[str, str]
    author: Author


@dataclass(frozen=True, slots=True)
class FreezeRead:
    """A ReleaseFreeze as read; its calendar is read apart."""

    namespace: str
    version: int
    generation: int
    freeze: Freeze
    status: Json


@dataclass(frozen=True, slots=True)
class PodRead:
    """A pod, and the ReplicaSet that owns it."""

    pod: Pod
    replicaset_uid: str


@dataclass(frozen=True, slots=True)
class Slice:
    """One EndpointSlice of a Service."""

    service: str
    ready: Mapping[str, frozenset[str]]
    every: frozenset[str]


def version_of(raw: Json) -> int:
    """Return an object's resourceVersion as the integer that it is."""
    return int(raw["metadata"].get("resourceVersion") or 0)


def release(raw: Json, before: Release | None = None) -> Release:
    """Read a TradingRelease. An unchanged spec is not parsed again."""
    metadata = raw["metadata"]
    annotations = metadata.get("annotations") or {}
    same = before is not None and (before.uid, before.generation) == (metadata["uid"], metadata.get("generation", 0))
    spec = before.spec if before is not None and same else parse(dict(raw.get("spec") or {}), metadata["name"])
    return Release(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        version_of(raw),
        int(metadata.get("generation", 0)),
        "deletionTimestamp" in metadata,
        spec,
        raw.get("status") or {},
        metadata.get("labels") or {},
        _author(annotations),
    )


def _author(annotations: Mapping[str, str]) -> Author:
    """Return who applied a spec, and for whom: a server too old to stamp that has what its author wrote."""
    said = annotations.get(names.ON_BEHALF_OF) or annotations.get(names.APPLIED_FOR, "")
    return Author(annotations.get(names.APPLIED_BY, ""), said)


def freeze(raw: Json) -> FreezeRead:
    """Read a ReleaseFreeze."""
    metadata = raw["metadata"]
    return FreezeRead(
        metadata["namespace"],
        version_of(raw),
        int(metadata.get("generation", 0)),
        parse_freeze(metadata["name"], metadata["uid"], raw.get("spec") or {}),
        raw.get("status") or {},
    )


def order(raw: Json) -> Order:
    """Read a ReleaseCommand."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    return Order(
        name=metadata["name"],
        uid=metadata["uid"],
        action=Action(spec.get("action", "Pause")),
        revision=spec.get("revision", ""),
        force=bool(spec.get("force")),
        reason=spec.get("reason", ""),
        created_at=moment(metadata["creationTimestamp"]),
        attempt=spec.get("attempt"),
        issued_by=spec.get("issuedBy", ""),
        on_behalf_of=spec.get("onBehalfOf", ""),
        phase=status.get("phase", ""),
        freeze=spec.get("freeze", ""),
        answered_at=moment(status["at"]) if status.get("at") and status.get("phase") in {"Done", "Refused"} else None,
    )


def _record(annotations: Mapping[str, str]) -> Record | None:
    try:
        raw = json.loads(annotations.get(names.SWITCH, ""))
    except ValueError:
        return None
    return record_in(raw) if isinstance(raw, dict) else None


def service(raw: Json) -> Service:
    """Read a Service."""
    metadata, spec = raw["metadata"], raw.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    return Service(
        name=metadata["name"],
        uid=metadata["uid"],
        version=version_of(raw),
        selector=spec.get("selector") or {},
        labels=metadata.get("labels") or {},
        annotations={k: v for k, v in annotations.items() if k.startswith(names.GROUP)},
        type=spec.get("type", "ClusterIP"),
        ports=tuple(spec.get("ports") or ()),
        headless=spec.get("clusterIP") == "None",
        publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
        record=_record(annotations),
        deleting="deletionTimestamp" in metadata,
        cluster_ip=spec.get("clusterIP", ""),
    )


def deployment(raw: Json) -> Deployment:
    """Read a Deployment of ours."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    failure = next((c for c in status.get("conditions") or () if c["type"] == "ReplicaFailure"), None)
    failing = failure is not None and failure["status"] == "True"
    prefix = names.CLAIM_DOMAIN + "/"
    return Deployment(
        name=metadata["name"],
        uid=metadata["uid"],
        version=version_of(raw),
        component=labels.get(names.COMPONENT, ""),
        revision=labels.get(names.REVISION, ""),
        created_for=annotations.get(names.CREATED_FOR, ""),
        created_version=annotations.get(names.VERSION_LABEL, ""),
        created_at=moment(metadata["creationTimestamp"]),
        release_uid=annotations.get(names.RELEASE_UID, ""),
        owner_uids=frozenset(o["uid"] for o in metadata.get("ownerReferences") or ()),
        adopted_from=annotations.get(names.ADOPTED_FROM, ""),
        served=annotations.get(names.SERVED) == "true",
        proven=tuple(r for r in annotations.get(names.PROVEN, "").split(",") if r),
        claims={
            k.removeprefix(prefix): int(v)
            for k, v in annotations.items()
            if k.startswith(prefix) and _NUMBER.fullmatch(v)
        },
        replicas=int(spec.get("replicas", 1)),
        min_ready_seconds=int(spec.get("minReadySeconds", 0)),
        template=spec.get("template") or {},
        settled=int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0)),
        available=int(status.get("availableReplicas", 0)),
        updated=int(status.get("updatedReplicas", 0)),
        deleting="deletionTimestamp" in metadata,
        replica_failure=failure.get("message", "") if failing and failure else "",
        replica_failure_since=moment(failure["lastTransitionTime"]) if failing and failure else None,
        unsafe=_words(annotations.get(names.UNSAFE, "")),
    )


def _words(written: str) -> dict[str, str]:
    """Read a JSON object of strings; what somebody made unreadable says nothing."""
    try:
        raw = json.loads(written)
    except ValueError:
        return {}
    return {k: v for k, v in raw.items() if isinstance(v, str)} if isinstance(raw, dict) else {}


def _controller(raw: Json, kind: str) -> str:
    owners = raw["metadata"].get("ownerReferences") or ()
    return next((str(o["uid"]) for o in owners if o.get("controller") and o.get("kind") == kind), "")


def replicaset(raw: Json) -> tuple[str, str]:
    """Read a ReplicaSet: its uid and the uid of the Deployment that owns it."""
    return raw["metadata"]["uid"], _controller(raw, "Deployment")


def pod(raw: Json) -> PodRead:
    """Read a pod of ours."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    over = status.get("phase") in {"Failed", "Succeeded"}  # evicted pods stay behind as Failed
    read = Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        deployment_uid="",
        labels=metadata.get("labels") or {},
        ip=status.get("podIP", ""),
        host_ip=status.get("hostIP", ""),
        host_network=bool(spec.get("hostNetwork")),
        node=spec.get("nodeName", ""),
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        terminating="deletionTimestamp" in metadata or over,
        created_at=moment(metadata["creationTimestamp"]),
        ports=_ports(spec),
        containers=tuple(
            _container(c)
            for c in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        ),
        unschedulable=scheduled.get("message", "unschedulable") if unschedulable else "",
        unschedulable_since=moment(scheduled["lastTransitionTime"]) if unschedulable else None,
        ready_since=_changed(conditions.get("Ready") or {}),
        over=over,
    )
    return PodRead(read, _controller(raw, "ReplicaSet"))


def _changed(condition: Json) -> datetime | None:
    at = condition.get("lastTransitionTime")
    return moment(at) if at else None


def _ports(spec: Json) -> dict[str, int]:
    # Sidecars are init containers that keep running; their ports count.
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    ports = (port for c in containers for port in c.get("ports") or ())
    return {p["name"]: int(p["containerPort"]) for p in ports if p.get("name")}


def _container(raw: Json) -> Container:
    state, last = raw.get("state") or {}, raw.get("lastState") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or {}
    failed = ended.get("exitCode", 0) != 0  # else it ran to its end, as init containers do
    died = ended if failed else last.get("terminated") or ended
    finished = died.get("finishedAt")
    return Container(
        name=raw["name"],
        restarts=int(raw.get("restartCount", 0)),
        waiting=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        died=died.get("reason", ""),
        exit_code=int(died.get("exitCode", 0)),
        died_at=moment(finished) if finished else None,
        last_words=redacted(died.get("message", "")),  # a kubelet may give the end of its log
        down=waiting.get("reason") == "CrashLoopBackOff" or (failed and died.get("reason") not in LOST_WITH_THEIR_NODE),
    )


def endpoint_slice(raw: Json) -> Slice:
    """Read an EndpointSlice. Unknown readiness counts as ready (API conventions of the kind)."""
    ready, every = set(), set()
    for endpoint in raw.get("endpoints") or ():
        target, conditions = endpoint.get("targetRef") or {}, endpoint.get("conditions") or {}
        if conditions.get("ready") is not False:
            uid = str(target.get("uid") or f"foreign:{(endpoint.get('addresses') or ['?'])[0]}")
            every.add(uid)
            if endpoint.get("addresses"):
                ready.add(uid)
    ports = raw.get("ports")
    listed = [str(p.get("name") or "") for p in ports if p.get("port") is not None] if ports else []
    service = (raw["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
    return Slice(service, {name: frozenset(ready) for name in listed}, frozenset(every))


def job(raw: Json) -> Job:
    """Read the Job of a hook."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    true = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
    failure, target = true.get("Failed") or {}, true.get("FailureTarget") or {}
    ended = failure or true.get("Complete") or {}
    begun, seconds = status.get("startTime"), spec.get("activeDeadlineSeconds")
    pods = (spec.get("template") or {}).get("spec") or {}
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        version=version_of(raw),
        hook=labels.get(names.HOOK, ""),
        revision=labels.get(names.REVISION, ""),
        attempt=annotations.get(names.ATTEMPT, ""),
        release_uid=annotations.get(names.RELEASE_UID, ""),
        suspended=bool(spec.get("suspend")),
        ends_at=moment(begun) + timedelta(seconds=int(seconds)) if begun and seconds is not None else None,
        ended=bool(ended),
        failed=bool(failure),
        reason=failure.get("reason", ""),
        message=failure.get("message", ""),
        deleting="deletionTimestamp" in metadata,
        ended_at=_changed(ended),
        irreversible=annotations.get(names.IRREVERSIBLE, ""),
        labelled=names.RELEASE in labels,
        grace=timedelta(seconds=int(pods.get("terminationGracePeriodSeconds", 30))),
        ending=": ".join(word for word in (target.get("reason"), target.get("message")) if word),
    )


def stored_spec(raw: Json) -> tuple[str, Spec] | None:
    """Read a stored spec: its revision and the spec; None where it cannot be read."""
    revision = (raw["metadata"].get("labels") or {}).get(names.REVISION, "")
    try:
        return revision, Spec.model_validate((raw.get("data") or {}).get("spec"))
    except (AttributeError, ValueError):
        return None
