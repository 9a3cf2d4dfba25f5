"""The benchmark's own client of the API server: bare aiohttp, nothing of the operator's code."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Json = dict[str, Any]

MERGE = "application/merge-patch+json"
_GROUPS = {
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "tradingreleases": "/apis/tradingplatform.io/v1alpha1",
    "releasecommands": "/apis/tradingplatform.io/v1alpha1",
}


class RefusedError(RuntimeError):
    """The API server did not do what the benchmark asked for."""


def path(plural: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """Return the path of a collection, an object, or one of its subresources."""
    parts = [_GROUPS.get(plural, "/api/v1"), "namespaces", namespace, plural, name, subresource]
    return "/".join(part for part in parts if part)


class Server:
    """A connection to the API server as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        found = yaml.safe_load(kubeconfig.read_text())
        cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
        self.url: str = cluster["server"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        connector = aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=300)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def ask(self, verb: str, where: str, body: Json | None = None, kind: str = "application/json") -> Json:
        """Send one request and return the answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind}
        async with self._http.request(verb, self.url + where, data=data, headers=headers) as response:
            answer = await response.read()
            if response.status >= 300:
                raise RefusedError(f"{verb} {where}: {response.status} {answer.decode()[:500]}")
            result: Json = json.loads(answer)
            return result

    async def create(self, plural: str, namespace: str, body: Json) -> Json:
        """Create an object."""
        return await self.ask("POST", path(plural, namespace), body)

    async def merge(self, plural: str, namespace: str, name: str, body: Json, subresource: str = "") -> Json:
        """Merge into an object."""
        return await self.ask("PATCH", path(plural, namespace, name, subresource), body, MERGE)

    async def status(self, plural: str, namespace: str, name: str, status: Json) -> Json:
        """Write an object's status."""
        return await self.merge(plural, namespace, name, {"status": status}, "status")

    async def delete(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object at once; one that is gone already is fine."""
        with suppress(RefusedError):
            await self.ask("DELETE", path(plural, namespace, name), {"gracePeriodSeconds": 0})

    async def events(self, where: str, version: str) -> AsyncIterator[tuple[float, str, Json]]:
        """Yield (monotonic time of arrival, type, object) of a watch, on a connection of its own."""
        query = f"{'&' if '?' in where else '?'}watch=1&resourceVersion={version}&timeoutSeconds=7200"
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with self._http.get(self.url + where + query, timeout=timeout) as response:
            left = b""
            async for chunk in response.content.iter_any():
                arrived = time.monotonic()
                *lines, left = (left + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield arrived, event["type"], event["object"]


class Mirror:
    """A collection as its watch tells it, to wait on."""

    def __init__(self, server: Server, plural: str, namespace: str) -> None:
        self.objects: dict[str, Json] = {}
        self.moved = time.monotonic()
        """When anything last changed."""
        self._server = server
        self._where = path(plural, namespace)
        self._told = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """List, then follow."""
        listed = await self._server.ask("GET", self._where)
        self.objects = {raw["metadata"]["name"]: raw for raw in listed["items"]}
        self._task = asyncio.create_task(self._follow(listed["metadata"]["resourceVersion"]))

    async def stop(self) -> None:
        """End the watch."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, holds: Callable[[dict[str, Json]], Any], what: str, seconds: float = 60) -> Any:
        """Wait until something is true of the objects, and return it."""
        try:
            async with asyncio.timeout(seconds), self._told:
                while not (found := holds(self.objects)):
                    await self._told.wait()
                return found
        except TimeoutError:
            raise RefusedError(f"after {seconds:g} s still not so: {what}") from None

    async def _follow(self, version: str) -> None:
        async for arrived, kind, raw in self._server.events(self._where, version):
            async with self._told:
                self.moved = arrived
                if kind == "DELETED":
                    self.objects.pop(raw["metadata"]["name"], None)
                else:
                    self.objects[raw["metadata"]["name"]] = raw
                self._told.notify_all()
