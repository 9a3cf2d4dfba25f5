"""Objects as the API server sends them, with what it fills in."""

import json
from typing import Any

from tradingrelease.policy import names

Json = dict[str, Any]


def metadata(name: str, version: int = 1, **fields: Any) -> Json:
    """Return an object's metadata."""
    given = {
        "name": name,
        "namespace": "production",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-03-02T12:00:00Z",
        "managedFields": [{"manager": "kubectl", "operation": "Apply"}],
    }
    return given | fields


def service(name: str = "backend", version: int = 1, annotations: Json | None = None, **spec: Any) -> Json:
    """Return a Service."""
    filled = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.7",
        "clusterIPs": ["10.96.0.7"],
        "sessionAffinity": "None",
        "selector": {"app": name},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, version, labels={names.RELEASE: "shop"}, annotations=annotations or {}),
        "spec": filled | spec,
        "status": {"loadBalancer": {}},
    }


def deployment(
    name: str = "shop-backend-abc", *, ours: bool = True, replicas: int = 2, version: int = 1, **status: Any
) -> Json:
    """Return a Deployment whose rollout is over."""
    ownership = {names.RELEASE: "shop", names.COMPONENT: "backend", names.REVISION: "abc"} if ours else {}
    labels = {"app": "backend"} | ownership
    settled = {
        "observedGeneration": 1,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        "conditions": [{"type": "Available", "status": "True", "lastTransitionTime": "2026-03-02T12:00:09Z"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, version, labels=labels, annotations={"deployment.kubernetes.io/revision": "1"}),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"creationTimestamp": None, "labels": labels},
                "spec": {"containers": [{"name": "backend", "image": "backend:1.0.0"}]},
            },
        },
        "status": settled | status,
    }


def owned(by: str, name: str) -> list[Json]:
    """Return the reference to a controller."""
    return [{"apiVersion": "v1", "kind": by, "name": name, "uid": f"uid-{name}", "controller": True}]


def replicaset(name: str, deployment: str) -> Json:
    """Return a ReplicaSet of a Deployment."""
    return {"metadata": metadata(name, ownerReferences=owned("Deployment", deployment))}


def pod(name: str = "backend-1", owner: tuple[str, str] = ("ReplicaSet", "backend-rs"), **status: Any) -> Json:
    """Return a ready pod."""
    running = {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "hostIP": "192.168.0.3",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-02T12:00:00Z"},
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-02T12:00:04Z"},
        ],
        "containerStatuses": [{"name": "backend", "restartCount": 0, "state": {"running": {}}, "lastState": {}}],
    }
    return {
        "metadata": metadata(name, labels={"app": "backend"}, ownerReferences=owned(*owner)),
        "spec": {
            "nodeName": "node-3",
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "ports": [{"name": "admin", "containerPort": 9000}]}
            ],
            "containers": [
                {"name": "backend", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 1}]}
            ],
        },
        "status": running | status,
    }


def job(grace: int | None = None, **status: Any) -> Json:
    """Return the Job of a hook that has started."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "migrate:1"}]}
    if grace is not None:
        pod["terminationGracePeriodSeconds"] = grace
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata("shop-migrate-abc-1", labels={names.RELEASE: "shop", names.HOOK: "migrate"}),
        "spec": {"suspend": False, "activeDeadlineSeconds": 60, "template": {"spec": pod}},
        "status": {"startTime": "2026-03-02T12:00:00Z", "active": 1} | status,
    }


def endpoint_slice(*endpoints: Json, ports: list[Json] | None = None, name: str = "backend-x1") -> Json:
    """Return an EndpointSlice of Service backend."""
    return {
        "metadata": metadata(name, labels={"kubernetes.io/service-name": "backend", names.RELEASE: "shop"}),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}] if ports is None else ports,
        "endpoints": list(endpoints),
    }


def endpoint(pod: str, ready: bool | None = True) -> Json:
    """Return an endpoint of a pod."""
    conditions = {} if ready is None else {"ready": ready, "serving": ready, "terminating": False}
    return {"addresses": ["10.0.0.7"], "conditions": conditions, "targetRef": {"kind": "Pod", "uid": f"uid-{pod}"}}


def switch(**fields: Any) -> Json:
    """Return the annotation of a switch."""
    record = {
        "act": 3, "cause": "Promote", "to": "new", "from": "old", "selected": "abc", "before": "xyz",
        "at": "2026-03-02T12:00:00.000Z", "because": "verified",
    }  # fmt: skip
    return {names.SWITCH: json.dumps(record | fields)}
