"""One node for all plans: gives pods addresses, answers for them, and writes their status as a kubelet would.

The route `local 10.244.0.0/16 dev lo` makes every pod address one of the sandbox's own, so one server answers for all
pods, and a probe is a real connection. How a pod behaves is written in its template:

    BEHAVIOUR=ok            ready at once, healthy
    BEHAVIOUR=fails         ready at once, and answers 500
    BEHAVIOUR=fails-live    healthy until a Service other than a preview selects it; from then on it answers 500

The pods of Jobs are made by the real Job controller; here they run for a moment, and end well or (fails) with exit code 1.
"""

import asyncio
import contextlib
import json
import subprocess
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from devcluster.cluster import ControlPlane
from tests.faults.proxy import Upstream
from tests.oracle import PREVIEW_OF, REVISION, label

Json = dict[str, Any]

NAME: Final = "node-1"
PORT: Final = 8080
_PODS: Final = "10.244.0.0/16"
_HOST: Final = "10.200.0.1"
_BEAT: Final = 10.0
_WORKS: Final = 0.3
"""Seconds for which the pod of a Job runs."""
JOB_NAME: Final = "batch.kubernetes.io/job-name"
_MERGE: Final = "application/merge-patch+json"


class Node:
    """The kubelet and the pods."""

    def __init__(self, plane: ControlPlane, upstream: Upstream) -> None:
        self._plane, self._upstream = plane, upstream
        self._count = 0
        self._pods: dict[str, Json] = {}
        """Pods by uid, as last told."""
        self._addresses: dict[str, str] = {}
        """uid by address."""
        self._sick: set[str] = set()
        self._unready: set[str] = set()
        self._selected: set[tuple[str, str]] = set()
        """(namespace, component revision) that a Service ever selected."""
        self._tasks: list[asyncio.Task[None]] = []
        self._writes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Join the cluster."""
        route = ["ip", "route", "replace", "local", _PODS, "dev", "lo"]
        subprocess.run(self._plane.sandbox.in_network(route, {}), check=True)  # noqa: ASYNC221 - milliseconds, once
        await self._upstream.ask("POST", "/api/v1/nodes", {"kind": "Node", "metadata": {"name": NAME}})
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it is a test"}
        status = {"conditions": [ready], "addresses": [{"type": "InternalIP", "address": _HOST}]}
        await self._upstream.ask("PATCH", f"/api/v1/nodes/{NAME}/status", {"status": status}, _MERGE)
        server = await asyncio.start_server(self._serve, "0.0.0.0", PORT)  # noqa: S104 - inside a sandbox
        self._tasks = [
            asyncio.create_task(self._beat()),
            asyncio.create_task(self._follow("/api/v1/pods", self._pod)),
            asyncio.create_task(self._follow("/api/v1/services", self._service)),
            asyncio.create_task(server.serve_forever()),
        ]

    async def stop(self) -> None:
        """Leave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def flap(self, namespace: str, *, ready: bool) -> None:
        """Let all pods of a namespace be ready, or not."""
        for uid, raw in list(self._pods.items()):
            if raw["metadata"]["namespace"] == namespace and raw["status"].get("podIP") and not label(raw, JOB_NAME):
                (self._unready.discard if ready else self._unready.add)(uid)
                await self._write_status(raw, raw["status"]["podIP"])

    # --- kubelet --------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renew the lease, so that nobody takes the node for lost."""
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": NAME}}
        await self._upstream.ask("POST", path, lease | {"spec": {"holderIdentity": NAME}})
        while True:
            spec = {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "leaseDurationSeconds": 40}
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                await self._upstream.ask("PATCH", f"{path}/{NAME}", {"spec": spec}, _MERGE)
            await asyncio.sleep(_BEAT)

    async def _follow(self, path: str, take: Any) -> None:
        while True:
            try:
                listed = json.loads((await self._upstream.ask("GET", path)).body)
                for raw in listed["items"]:
                    take("ADDED", raw)
                async for change, raw in self._upstream.events(path, listed["metadata"]["resourceVersion"]):
                    if change == "ERROR":
                        break
                    take(change, raw)
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
                pass  # some plans restart the API server: it is listed anew
            await asyncio.sleep(0.2)

    def _pod(self, change: str, raw: Json) -> None:
        uid, status = raw["metadata"]["uid"], raw.get("status") or {}
        if change == "DELETED":
            self._pods.pop(uid, None)
            return
        known = uid in self._pods
        self._pods[uid] = raw
        if raw["metadata"].get("deletionTimestamp"):
            self._later(self._remove(raw))
        elif not known and not status.get("podIP") and raw["spec"].get("nodeName") == NAME:
            self._count += 1
            address = f"10.244.{self._count // 250 % 250}.{self._count % 250 + 2}"
            self._addresses[address] = uid
            self._later(self._work(raw, address) if label(raw, JOB_NAME) else self._write_status(raw, address))

    def _service(self, change: str, raw: Json) -> None:
        revision = (raw["spec"].get("selector") or {}).get(REVISION)
        if revision and not label(raw, PREVIEW_OF):
            self._selected.add((raw["metadata"]["namespace"], revision))

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write_status(self, raw: Json, address: str) -> None:
        metadata, stamp = raw["metadata"], raw["metadata"]["creationTimestamp"]
        ready = metadata["uid"] not in self._unready
        word = "True" if ready else "False"
        conditions = [
            {"type": kind, "status": word, "lastTransitionTime": stamp} for kind in ("Ready", "ContainersReady")
        ]
        conditions += [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized")]
        container = {
            "name": "app", "ready": ready, "started": True, "restartCount": 0, "image": "none", "imageID": "",
            "state": {"running": {"startedAt": stamp}},
        }  # fmt: skip
        status = {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": _HOST, "startTime": stamp,
            "conditions": conditions, "containerStatuses": [container],
        }  # fmt: skip
        await self._tell(raw, status)

    async def _tell(self, raw: Json, status: Json) -> None:
        path = f"/api/v1/namespaces/{raw['metadata']['namespace']}/pods/{raw['metadata']['name']}/status"
        await self._insist("PATCH", path, {"status": status})

    async def _work(self, raw: Json, address: str) -> None:
        """Run the one container of a Job's pod to its end; it is run once, as restartPolicy Never says."""
        await self._write_status(raw, address)
        begun = datetime.now(UTC)
        await asyncio.sleep(_WORKS)
        code = 1 if _behaviour(raw) == "fails" else 0
        ended = {
            "exitCode": code, "reason": "Error" if code else "Completed", "startedAt": _stamp(begun),
            "finishedAt": _stamp(datetime.now(UTC)),
        }  # fmt: skip
        container = {
            "name": "app", "ready": False, "started": False, "restartCount": 0, "image": "none", "imageID": "",
            "state": {"terminated": ended},
        }  # fmt: skip
        over = {"status": "False", "reason": "PodCompleted", "lastTransitionTime": ended["finishedAt"]}
        conditions = [{"type": kind} | over for kind in ("Ready", "ContainersReady")]
        phase = "Failed" if code else "Succeeded"
        # A merge patch replaces the list of conditions: those that stay are said again.
        conditions += [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized")]
        await self._tell(raw, {"phase": phase, "conditions": conditions, "containerStatuses": [container]})

    async def _remove(self, raw: Json) -> None:
        path = f"/api/v1/namespaces/{raw['metadata']['namespace']}/pods/{raw['metadata']['name']}"
        await self._insist("DELETE", path, {"gracePeriodSeconds": 0})

    async def _insist(self, verb: str, path: str, body: Json) -> None:
        """Ask until there is an answer: some plans take the API server away."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                kind = _MERGE if verb == "PATCH" else "application/json"
                if (await self._upstream.ask(verb, path, body, kind)).status < 500:
                    return
            await asyncio.sleep(0.2)

    # --- pods -----------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request for whichever pod has the address that was connected to."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pod = self._pods.get(self._addresses.get(writer.get_extra_info("sockname")[0], ""))
            if pod is None:
                writer.transport.abort()
                return
            await reader.readuntil(b"\r\n\r\n")
            status = "500 Internal Server Error" if self._is_sick(pod) else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    def _is_sick(self, pod: Json) -> bool:
        place = (pod["metadata"]["namespace"], label(pod, REVISION))
        behaviour = _behaviour(pod)
        return behaviour == "fails" or (behaviour == "fails-live" and place in self._selected)


def _behaviour(pod: Json) -> str:
    env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0].get("env") or ()}
    return str(env.get("BEHAVIOUR", ""))


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
