"""One namespace with a Service and a release on it. The benchmark itself plays the controllers and the kubelet.

There are no nodes and no controller manager, so that the moment of "ready" is exactly known: ReplicaSets, pods, the
status of Deployments and EndpointSlices are real objects written through the real API server, each when the real
controller would write it. Nothing else stores anything, so what the operator does is all that is seen.
"""

import asyncio
import copy
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bench.server import Json, Mirror, RefusedError, Server, path

GROUP = "tradingplatform.io"
SERVICE = "web"
RELEASE = "shop"
_KEY = f"{GROUP}/revision"
_RELEASE_LABEL = f"{GROUP}/release"
_QUIET = 0.25
"""Seconds without any change in the namespace after which everybody is done."""


@dataclass(frozen=True)
class Size:
    """What a release on a stage looks like."""

    replicas: int = 1
    retained: int = 1
    watch: str = "0s"
    min_ready: int = 0


class Stage:
    """One namespace: `release` brings a version up to the last write but one, and so on."""

    def __init__(self, server: Server, namespace: str, size: Size, release: str = RELEASE, service: str = SERVICE):
        self.server, self.namespace, self.size = server, namespace, size
        self.name, self.service = release, service
        self.services = Mirror(server, "services", namespace)
        self.deployments = Mirror(server, "deployments", namespace)
        self.releases = Mirror(server, "tradingreleases", namespace)
        self.commands = Mirror(server, "releasecommands", namespace)
        self.selected = asyncio.Event()
        self.number = 0
        self._seen: list[tuple[float, Json]] = []
        self._watch: asyncio.Task[None] | None = None
        self._pods: dict[str, list[Json]] = {}
        self._ports: list[Json] = []

    # --- the stage -----------------------------------------------------------------------------------------------

    async def build(self) -> None:
        """Create the namespace, what pods need in it, and the Service; begin to watch."""
        with suppress(RefusedError):  # a second release in one namespace
            await self.server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
            await self.server.create("serviceaccounts", self.namespace, {"metadata": {"name": "default"}})
        spec = {"selector": {"app": self.service}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        made = await self.server.create("services", self.namespace, {"metadata": {"name": self.service}, "spec": spec})
        self._ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
        for mirror in self._mirrors():
            await mirror.start()
        self._watch = asyncio.create_task(self._follow(made["metadata"]["resourceVersion"]))

    async def close(self) -> None:
        """End the watches."""
        for mirror in self._mirrors():
            await mirror.stop()
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def _mirrors(self) -> tuple[Mirror, ...]:
        return self.services, self.deployments, self.releases, self.commands

    async def _follow(self, version: str) -> None:
        """Watch the one Service on a connection of its own: its events are what is timed."""
        where = path("services", self.namespace) + f"?fieldSelector=metadata.name={self.service}"
        async for arrived, _, raw in self.server.events(where, version):
            self._seen.append((arrived, raw))
            self.selected.set()

    async def seen(self, revision: str | None = None, version: str | None = None, seconds: float = 60) -> float:
        """Return when the watch told that the Service selects a revision, or has a version."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    while self._seen:
                        arrived, raw = self._seen.pop(0)
                        if revision and raw["spec"]["selector"].get(_KEY) == revision:
                            return arrived
                        if version and raw["metadata"]["resourceVersion"] == version:
                            return arrived
                    self.selected.clear()
                    await self.selected.wait()
        except TimeoutError:
            state = self.releases.objects.get(self.name, {}).get("status")
            raise RefusedError(f"the Service does not select {revision or version}; the release says {state}") from None

    async def quiet(self, seconds: float = _QUIET) -> None:
        """Wait until nothing in the namespace has changed for a while."""
        age = time.monotonic() - max(m.moved for m in self._mirrors())
        if age < seconds:
            await asyncio.sleep(seconds - age + 0.005)
            await self.quiet(seconds)

    # --- what the author does ------------------------------------------------------------------------------------

    def _spec(self, number: int) -> Json:
        container = {
            "name": "web", "image": "registry.example.com/web:1", "env": [{"name": "VERSION", "value": str(number)}],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }  # fmt: skip
        template = {"metadata": {"labels": {"app": self.service}}, "spec": {"containers": [container]}}
        component = {
            "name": "web", "services": [self.service], "replicas": self.size.replicas,
            "minReadySeconds": self.size.min_ready, "template": template,
        }  # fmt: skip
        retain = {"for": "24h", "revisions": self.size.retained}
        spec = {"version": f"1.{number}.0", "components": [component], "watch": {"for": self.size.watch}}
        return {**spec, "retain": retain, "keepFailedFor": "0s"}

    async def apply(self) -> str:
        """Ask for the next version. Returns once its Deployment and its preview stand, with the Deployment's name."""
        self.number += 1
        spec, known = self._spec(self.number), set(self.deployments.objects)
        if self.number == 1:
            body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "TradingRelease", "metadata": {"name": self.name}}
            await self.server.create("tradingreleases", self.namespace, {**body, "spec": spec})
        else:
            await self.server.merge("tradingreleases", self.namespace, self.name, {"spec": spec})
        name: str = await self.deployments.until(
            lambda all_: next((n for n in set(all_) - known if n.startswith(f"{self.name}-")), None),
            f"{self.namespace}: version 1.{self.number}.0 has a Deployment",
        )
        await self.services.until(
            lambda all_: (
                f"{self.service}-preview" in all_
                and all_[f"{self.service}-preview"]["spec"]["selector"][_KEY] == self.revision(name)
            ),
            f"{self.namespace}: the candidate has a preview",
        )
        return name

    async def roll_back(self) -> tuple[float, str]:
        """Order a rollback. Returns when the answer to the order's creation came, and the order's name."""
        live = self.releases.objects[self.name]["status"]["live"]["revision"]
        spec = {"release": self.name, "action": "Rollback", "revision": live, "reason": "benchmark"}
        kind = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ReleaseCommand"}
        name = f"{self.name}-back-{self.number}"
        await self.server.create("releasecommands", self.namespace, {**kind, "metadata": {"name": name}, "spec": spec})
        return time.monotonic(), name

    async def answered(self, order: str) -> None:
        """Wait until an order is answered, and take it away."""
        await self.commands.until(
            lambda all_: all_.get(order, {}).get("status", {}).get("phase") == "Done", f"{order} is done"
        )
        await self.server.delete("releasecommands", self.namespace, order)

    async def ready(self) -> None:
        """Wait until the release is Ready at its newest generation."""
        await self.releases.until(lambda all_: _is_ready(all_[self.name]), f"{self.namespace}: the release is Ready")

    # --- what controllers and kubelets do ------------------------------------------------------------------------

    def revision(self, deployment: str) -> str:
        """Return the component revision of a Deployment."""
        return str(self.deployments.objects[deployment]["metadata"]["labels"][_KEY])

    def standing(self) -> set[str]:
        """Return the names of the release's Deployments."""
        return {n for n in self.deployments.objects if n.startswith(f"{self.name}-")}

    async def start_pods(self, deployment: str) -> None:
        """Be the Deployment and ReplicaSet controllers and the kubelet: pods that run and are not Ready yet."""
        raw = self.deployments.objects[deployment]
        template = copy.deepcopy(raw["spec"]["template"])
        template["metadata"]["labels"]["pod-template-hash"] = self.revision(deployment)
        labels, name = template["metadata"]["labels"], f"{deployment}-rs"
        spec = {"replicas": self.size.replicas, "selector": {"matchLabels": labels}, "template": template}
        metadata = {"name": name, "labels": labels, "ownerReferences": [_owner("Deployment", raw)]}
        owner = await self.server.create("replicasets", self.namespace, {"metadata": metadata, "spec": spec})
        pods = await asyncio.gather(*(self._pod(owner, template, i) for i in range(self.size.replicas)))
        self._pods[deployment] = list(pods)
        await self._deployment_status(deployment, ready=0)

    async def _pod(self, owner: Json, template: Json, index: int) -> Json:
        name = f"{owner['metadata']['name']}-{index}"
        metadata = {
            "name": name, "labels": template["metadata"]["labels"], "ownerReferences": [_owner("ReplicaSet", owner)],
        }  # fmt: skip
        spec = {**template["spec"], "nodeName": "node-1"}
        await self.server.create("pods", self.namespace, {"metadata": metadata, "spec": spec})
        address = f"10.244.{self.number % 250}.{index + 2}"
        return await self.server.status("pods", self.namespace, name, pod_status(address, ready=False))

    async def pods_ready(self, deployment: str, count: int | None = None) -> None:
        """Be the kubelet: the pods' probes pass."""
        wanted = self._pods[deployment][:count]
        for raw in wanted:
            status = pod_status(raw["status"]["podIP"], ready=True)
            await self.server.status("pods", self.namespace, raw["metadata"]["name"], status)

    async def deployment_available(self, deployment: str) -> None:
        """Be the Deployment controller: all replicas are available."""
        await self._deployment_status(deployment, ready=self.size.replicas)

    async def _deployment_status(self, deployment: str, ready: int, available: int | None = None) -> None:
        raw = await self.server.ask("GET", path("deployments", self.namespace, deployment))
        there = ready if available is None else available
        full = {
            "observedGeneration": raw["metadata"]["generation"], "replicas": self.size.replicas,
            "updatedReplicas": self.size.replicas, "readyReplicas": ready, "availableReplicas": there,
            "unavailableReplicas": self.size.replicas - there,
        }  # fmt: skip
        await self.server.status("deployments", self.namespace, deployment, full)

    async def list_endpoints(self, service: str, deployment: str, count: int | None = None) -> None:
        """Be the EndpointSlice controller: a Service's slice shows the ready pods of a Deployment, and no other."""
        endpoints = [_endpoint(raw) for raw in self._pods[deployment][:count]]
        name, labels = f"{service}-slice", {"kubernetes.io/service-name": service, _RELEASE_LABEL: self.name}
        body = {
            "metadata": {"name": name, "labels": labels},
            "addressType": "IPv4", "endpoints": endpoints, "ports": self._ports,
        }  # fmt: skip
        try:
            await self.server.merge("endpointslices", self.namespace, name, body)
        except RefusedError:
            await self.server.create("endpointslices", self.namespace, body)

    async def slow_rollout(self, deployment: str) -> None:
        """Come up as on a cluster: one pod after the other, every controller writing at every step."""
        preview = f"{self.service}-preview"
        await self.start_pods(deployment)
        for count in range(1, self.size.replicas + 1):
            await asyncio.sleep(1)
            await self.pods_ready(deployment, count)
            await self.list_endpoints(preview, deployment, count)
            await self._deployment_status(deployment, ready=count, available=0)
        await asyncio.sleep(self.size.min_ready)
        await self.deployment_available(deployment)

    async def sweep(self) -> None:
        """Be the garbage collector and the ReplicaSet controller: what the operator took away loses its pods."""
        for name in [n for n in self._pods if self._is_gone(n)]:
            for raw in self._pods.pop(name):
                await self.server.delete("pods", self.namespace, raw["metadata"]["name"])
            await self.server.delete("replicasets", self.namespace, f"{name}-rs")
            if name in self.deployments.objects:
                generation = self.deployments.objects[name]["metadata"]["generation"]
                status = {"observedGeneration": generation, "replicas": None, "updatedReplicas": None}
                more = {"readyReplicas": None, "availableReplicas": None, "unavailableReplicas": None}
                await self.server.status("deployments", self.namespace, name, {**status, **more})

    def _is_gone(self, deployment: str) -> bool:
        raw = self.deployments.objects.get(deployment)
        return raw is None or raw["spec"]["replicas"] == 0

    async def floor(self) -> float:
        """Time one bare guarded PATCH of the Service: from its sending to its event on the watch."""
        version = self.services.objects[self.service]["metadata"]["resourceVersion"]
        note = {f"{GROUP}/benchmark": f"{time.monotonic_ns()}{'.' * 300}"}  # as long as the record of a switch
        body = {"metadata": {"resourceVersion": version, "annotations": note}}
        sent = time.monotonic()
        raw = await self.server.merge("services", self.namespace, self.service, body)
        return await self.seen(version=raw["metadata"]["resourceVersion"]) - sent


def pod_status(address: str, *, ready: bool) -> Json:
    """Return the status of a running pod."""
    started = "2026-01-01T00:00:00Z"
    word = "True" if ready else "False"
    conditions = [{"type": t, "status": word} for t in ("Ready", "ContainersReady")]
    conditions += [{"type": t, "status": "True"} for t in ("PodScheduled", "Initialized")]
    container = {
        "name": "web", "ready": ready, "started": True, "restartCount": 0, "image": "registry.example.com/web:1",
        "imageID": "", "state": {"running": {"startedAt": started}},
    }  # fmt: skip
    return {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.0.0.1",
        "conditions": conditions, "containerStatuses": [container],
    }  # fmt: skip


def _endpoint(pod: Json) -> Json:
    metadata = pod["metadata"]
    target = {"kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]}
    conditions = {"ready": True, "serving": True, "terminating": False}
    return {"addresses": [pod["status"]["podIP"]], "conditions": conditions, "targetRef": target}


def _owner(kind: str, raw: Json) -> Json:
    metadata = raw["metadata"]
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return {**reference, "controller": True, "blockOwnerDeletion": True}


def _is_ready(raw: Json) -> Any:
    conditions = {c["type"]: c for c in raw.get("status", {}).get("conditions") or ()}
    ready = conditions.get("Ready", {})
    return ready.get("status") == "True" and ready.get("observedGeneration") == raw["metadata"]["generation"]
