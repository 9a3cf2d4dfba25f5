"""Bodies of what tests apply: small, quick to start, quick to end. Everything can be overridden."""

import copy
from typing import Any

Json = dict[str, Any]

API_VERSION = "tradingplatform.io/v1alpha1"
IMAGE = "localhost/tradingrelease/trading-platform:dev"
PORTS = [{"name": "http", "port": 80, "targetPort": "http"}]
HEALTH = {
    "httpGet": {"path": "/healthz", "port": "http"}, "interval": "1s", "timeout": "1s",
    "successThreshold": 1, "failureThreshold": 3,
}  # fmt: skip
"""A busy machine may let a pod wait for two seconds: that is no failure of the pod's."""


def template(app: str = "backend", version: str = "1", *, drain: bool = False, **container: Any) -> Json:
    """Return a pod template of the example application; `drain`: ends as a production pod should."""
    env = {"COMPONENT": app, "VERSION": version, "DRAIN": "3" if drain else "0"} | container.pop("env", {})
    spec = container.pop("spec", {})
    labels = {"app": app} | container.pop("labels", {})
    box: Json = {
        "name": "app",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if drain:
        box["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}
    return {
        "metadata": {"labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 30 if drain else 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [box | container],
        } | spec,
    }  # fmt: skip


def service(name: str = "backend", selector: Json | None = None, **spec: Any) -> Json:
    """Return a Service as its owner writes it."""
    body: Json = {"selector": {"app": name} if selector is None else selector, "ports": copy.deepcopy(PORTS)} | spec
    body = {key: value for key, value in body.items() if value is not ...}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body}


def deployment(name: str = "backend", pods: Json | None = None, *, replicas: int = 1, **spec: Any) -> Json:
    """Return a plain Deployment, as the user has it before there is a release."""
    pods = template(name) if pods is None else pods
    body = {"replicas": replicas, "selector": {"matchLabels": pods["metadata"]["labels"]}, "template": pods} | spec
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


def component(name: str = "backend", version: str = "2", **fields: Any) -> Json:
    """Return a component. `pods`: its template; `health=None`: readiness alone decides."""
    pods = fields.pop("pods", None)
    health = fields.pop("health", HEALTH)
    body: Json = {
        "name": name,
        "services": [name],
        "minReadySeconds": 0,
        "progressDeadline": "2m",
        "template": template(name, version) if pods is None else pods,
    }
    if health is not None:
        body["health"] = copy.deepcopy(health)
    return body | fields


def release(version: str = "2", *components: Json, name: str = "shop", **spec: Any) -> Json:
    """Return a TradingRelease with short times."""
    body: Json = {
        "version": version,
        "components": list(components) or [component(version=version)],
        "failFast": {"restartLimit": 1, "stuckFor": "8s"},
        "watch": {"for": "3s", "deadAfter": "3s"},
        "retain": {"for": "1h", "revisions": 1},
        "keepFailedFor": "1h",
    }
    return {"apiVersion": API_VERSION, "kind": "TradingRelease", "metadata": {"name": name}, "spec": body | spec}


def order(action: str, name: str, *, release_name: str = "shop", **spec: Any) -> Json:
    """Return a ReleaseCommand."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ReleaseCommand",
        "metadata": {"name": name},
        "spec": {"release": release_name, "action": action} | spec,
    }
