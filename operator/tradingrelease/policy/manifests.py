"""Bodies of the objects that the operator creates. Pure; two calls with equal arguments give equal bodies."""

import copy
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tradingrelease.policy import names
from tradingrelease.policy.memory import moment, stamp
from tradingrelease.policy.model import Key, Record, Service
from tradingrelease.policy.reasons import Cause
from tradingrelease.policy.spec import Spec

Json = dict[str, Any]


def owner(key: Key, uid: str) -> Json:
    """Return the ownerReference to a release."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "TradingRelease",
        "name": key.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def pod_template(key: Key, component: str, revision: str, written: Mapping[str, Any]) -> Json:
    """Return the author's template with our three labels added."""
    template: Json = copy.deepcopy(dict(written))
    metadata = template.setdefault("metadata", None) or {}
    labels = dict(metadata.get("labels") or {}) | _labels(key, component, revision)
    template["metadata"] = {**metadata, "labels": labels}
    return template


def as_written(template: Mapping[str, Any]) -> Json:
    """Return a template of ours without our labels and without what the API server put into its metadata."""
    result: Json = copy.deepcopy(dict(template))
    metadata = result.get("metadata") or {}
    ours = (names.RELEASE, names.COMPONENT, names.REVISION)
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in ours}
    kept = {k: v for k, v in metadata.items() if k in {"annotations", "labels"} and v}
    result["metadata"] = kept | ({"labels": labels} if labels else {})
    return result


def _labels(key: Key, component: str, revision: str) -> dict[str, str]:
    return {names.RELEASE: key.name, names.COMPONENT: component, names.REVISION: revision}


def deployment(  # noqa: PLR0913 - a Deployment has that many sides
    key: Key,
    uid: str,
    *,
    component: str,
    revision: str,
    template: Mapping[str, Any],
    replicas: int,
    claims: Mapping[str, int],
    created_for: str,
    version: str,
    min_ready_seconds: int,
    progress_deadline: timedelta,
    owned: bool,
    adopted_from: str = "",
) -> Json:
    """Return the Deployment of one component revision, created with its claims."""
    annotations = {
        names.RELEASE_UID: uid,
        names.CREATED_FOR: created_for,
        names.VERSION_LABEL: version,
        **{names.claim_key(service): str(number) for service, number in claims.items()},
        **({names.ADOPTED_FROM: adopted_from} if adopted_from else {}),
    }
    labels = _labels(key, component, revision)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names.deployment_name(key.name, component, revision),
            "namespace": key.namespace,
            "labels": labels,
            "annotations": annotations,
            **({"ownerReferences": [owner(key, uid)]} if owned else {}),
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": min_ready_seconds,
            # The API server asks for more than minReadySeconds; the attempt's own deadline is counted by decide.
            "progressDeadlineSeconds": max(int(progress_deadline.total_seconds()), min_ready_seconds + 1),
            "revisionHistoryLimit": 1,
            # A restart by hand of what is live must not take a pod away before its successor is there.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": pod_template(key, component, revision, template),
        },
    }


_PORT_FIELDS = ("name", "port", "protocol", "targetPort", "appProtocol")


def preview(key: Key, uid: str, service: Service, component_revision: str) -> Json:
    """Return the preview of a Service: its ports and selector, with our key set to the candidate."""
    spec: Json = {
        "type": "ClusterIP",
        "selector": {**names.own_selector(service.selector), names.REVISION: component_revision},
        "ports": [{f: port[f] for f in _PORT_FIELDS if f in port} for port in service.ports],
        "publishNotReadyAddresses": service.publish_not_ready,
    }
    if service.headless:
        spec["clusterIP"] = "None"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.preview_name(service.name),
            "namespace": key.namespace,
            "labels": {names.RELEASE: key.name, names.PREVIEW_OF: service.name},
            "annotations": {names.RELEASE_UID: uid},
            "ownerReferences": [owner(key, uid)],
        },
        "spec": spec,
    }


def preview_matches(body: Mapping[str, Any], found: Service) -> bool:
    """Tell whether a preview that stands is the one that `preview` would build now."""
    spec = body["spec"]
    ports = [{f: port[f] for f in _PORT_FIELDS if f in port} for port in found.ports]
    return bool(
        dict(found.selector) == spec["selector"]
        and ports == spec["ports"]
        and found.publish_not_ready == spec["publishNotReadyAddresses"]
        and found.headless == (spec.get("clusterIP") == "None")
        and found.annotations.get(names.RELEASE_UID) == body["metadata"]["annotations"][names.RELEASE_UID]
    )


def stored_spec(key: Key, uid: str, spec: Spec) -> Json:
    """Return the immutable ControllerRevision that keeps an accepted spec, defaults and all."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": names.stored_spec_name(key.name, spec.revision),
            "namespace": key.namespace,
            "labels": {names.RELEASE: key.name, names.REVISION: spec.revision},
            "ownerReferences": [owner(key, uid)],
        },
        "data": {"spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True)},
        "revision": 1,
    }


def record_out(record: Record) -> Json:
    """Return a switch record as JSON for the Service's annotation."""
    return {
        "act": record.act,
        "cause": str(record.cause),
        "to": record.to,
        "from": record.origin,
        "selected": record.selected,
        "before": record.before,
        "at": stamp(record.at),
        "because": record.because,
        "reason": record.reason,
        "order": record.order,
        "latches": record.latches,
        "release": record.release,
    } | ({"forcedAt": stamp(record.forced_at)} if record.forced_at else {})


def record_in(raw: Mapping[str, Any]) -> Record | None:
    """Read a switch record back; None for anything that we did not write."""
    try:
        return Record(
            act=int(raw["act"]),
            cause=Cause(raw["cause"]),
            to=raw["to"],
            origin=raw["from"],
            selected=raw["selected"],
            before=raw["before"],
            at=moment(raw["at"]),
            because=raw.get("because", ""),
            reason=raw.get("reason", ""),
            order=raw.get("order", ""),
            forced_at=moment(raw["forcedAt"]) if raw.get("forcedAt") else None,
            latches=bool(raw.get("latches")),
            release=raw.get("release", ""),
        )
    except (KeyError, TypeError, ValueError):
        return None
