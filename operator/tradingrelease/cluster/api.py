"""A thin client for the API server: paths, patches, errors of our own. Every answer also tells the server's time.

The `kubernetes` client is not used on the hot path: a PATCH through it costs four times the CPU of this one.
"""

import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, cast
from urllib.parse import quote

import aiohttp

from tradingrelease import telemetry
from tradingrelease.clock import ServerClock, monotonic
from tradingrelease.cluster.credentials import Credentials
from tradingrelease.errors import (
    AdmissionFails,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotLeading,
    Unreachable,
    seconds_of,
)
from tradingrelease.policy import names

Json = dict[str, Any]

MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
TIMEOUT: Final = 10.0
"""Seconds for one request. A write that is later than this is decided anew; its precondition makes it harmless."""
LIST_TIMEOUT: Final = 60.0
_CALLING: Final = "failed calling webhook"
_DENIED: Final = re.compile(r'admission webhook ".*" denied the request')
"""How an API server tells of a webhook that it could not ask, and of one that says no."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource that the operator reads."""

    group: str
    version: str
    plural: str
    selector: str = ""
    """Label selector: the server sends nothing else."""
    optional: bool = False
    """Its CRD may be younger than this installation: then there are none of it."""

    @property
    def prefix(self) -> str:
        """The path before the namespace."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return the path of a collection or an object; an empty namespace means all of them."""
        parts = [self.prefix]
        if namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts += [part for part in (self.plural, quote(name, safe=""), subresource) if part]
        return "/".join(parts)


RELEASES: Final = Kind(names.GROUP, names.VERSION, "tradingreleases")
COMMANDS: Final = Kind(names.GROUP, names.VERSION, "releasecommands")
FREEZES: Final = Kind(names.GROUP, names.VERSION, "releasefreezes", optional=True)
SERVICES: Final = Kind("", "v1", "services")
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments", names.RELEASE)
REPLICASETS: Final = Kind("apps", "v1", "replicasets", names.RELEASE)
PODS: Final = Kind("", "v1", "pods", names.RELEASE)
SLICES: Final = Kind("discovery.k8s.io", "v1", "endpointslices", names.RELEASE)
STORED: Final = Kind("apps", "v1", "controllerrevisions", names.RELEASE)
JOBS: Final = Kind("batch", "v1", "jobs", names.RELEASE)
CALENDARS: Final = Kind("", "v1", "configmaps")
"""Read one by one, by the names that freezes give: never listed, never watched."""
EVENTS: Final = Kind("", "v1", "events")
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases")
WATCHED: Final = (RELEASES, COMMANDS, FREEZES, SERVICES, DEPLOYMENTS, REPLICASETS, PODS, SLICES, STORED, JOBS)


def _keepalive_socket(address: Any) -> socket.socket:  # noqa: ANN401 - aiohttp's AddrInfo
    family, kind, proto, _, _ = address
    sock = socket.socket(family, kind, proto)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5)
        # A connection whose peer vanished fails in 20 s instead of 15 minutes.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
    return sock


def session(credentials: Credentials, clock: ServerClock, heard: "WatchAges") -> aiohttp.ClientSession:
    """Return a session that names us, learns the server's time, and notes when watches speak."""
    trace = aiohttp.TraceConfig()

    async def started(
        _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        context.sent = monotonic()
        query = params.url.query
        context.watch = params.url.path.rsplit("/", 1)[-1] if query.get("watch") else ""

    async def ended(_: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams) -> None:
        if date := params.response.headers.get("Date"):
            clock.heard(date, context.sent, monotonic())
        if context.watch:
            heard.spoke(context.watch)
            listened = _Listened(params.response.content, partial(heard.spoke, context.watch))
            params.response.content = cast("aiohttp.StreamReader", listened)

    trace.on_request_start.append(started)
    trace.on_request_end.append(ended)

    async def named(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers.update(credentials.headers())
        return await handler(request)

    connector = aiohttp.TCPConnector(
        limit=0,
        ssl=credentials.ssl_context if credentials.ssl_context is not None else True,
        keepalive_timeout=90,
        socket_factory=_keepalive_socket,
    )
    return aiohttp.ClientSession(
        connector=connector, trace_configs=[trace], middlewares=(named,), headers={"User-Agent": names.FIELD_MANAGER}
    )


class _Listened:
    """The stream of a watch, which tells whenever something of it is read.

    aiohttp's own trace of chunks will not do: it speaks once a body was read to its end, which a watch has none of.
    """

    def __init__(self, stream: aiohttp.StreamReader, told: Callable[[], None]) -> None:
        self._stream, self._told = stream, told

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the stream's own
        return getattr(self._stream, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield what there is, as kopf reads it."""
        async for chunk in self._stream.iter_chunked(size):
            self._told()
            yield chunk


class WatchAges:
    """When each watch last said anything, bookmarks included."""

    def __init__(self) -> None:
        self._spoke: dict[str, float] = {}

    def spoke(self, resource: str) -> None:
        """Note that a watch said something."""
        self._spoke[resource] = monotonic()

    def ages(self) -> dict[str, float]:
        """Return seconds of silence by resource."""
        now = monotonic()
        return {resource: now - at for resource, at in self._spoke.items()}


class Api:
    """Requests to the API server. Raises the errors of errors.py; repeats nothing by itself.

    `leads` is asked right before each write: who lost the lease sends nothing more, whatever was decided before.
    """

    def __init__(
        self, credentials: Credentials, http: aiohttp.ClientSession, leads: Callable[[], bool] = lambda: True
    ) -> None:
        self._server = credentials.server
        self._http = http
        self._leads = leads

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Return one object."""
        return await self._call("GET", kind.path(namespace, name))

    async def find(self, kind: Kind, namespace: str = "", selector: str | None = None) -> tuple[list[Json], int]:
        """Return all objects of a kind, and the version of the collection."""
        items: list[Json] = []
        query = {"limit": "500"}
        if wanted := kind.selector if selector is None else selector:
            query["labelSelector"] = wanted
        while True:
            page = await self._call("GET", kind.path(namespace), query=query, seconds=LIST_TIMEOUT)
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not (token := metadata.get("continue")):
                return items, int(metadata.get("resourceVersion") or 0)
            query["continue"] = token

    async def serves(self, kind: Kind) -> bool:
        """Tell whether the API server knows a kind at all: discovery tells everybody, whatever RBAC says."""
        try:
            found = await self._call("GET", kind.prefix)
        except NotFound:
            return False
        return any(resource["name"] == kind.plural for resource in found.get("resources") or ())

    async def log(self, namespace: str, pod: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Yield a container's log as it comes; ends with the log."""
        path = PODS.path(namespace, pod, "log")
        # A log that is followed says nothing for as long as nothing is written, not even its headers.
        patience = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT)
        try:
            async with self._http.get(
                self._server + path, params=query, timeout=patience, allow_redirects=False
            ) as response:
                telemetry.API_CALLS.labels("GET", str(response.status)).inc()
                if response.status >= 300:
                    raise error_of(response.status, await response.read(), None, f"GET {path}")
                async for chunk in response.content.iter_any():
                    yield chunk
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"GET {path}: {type(error).__name__}") from error

    async def create(self, kind: Kind, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """Create an object; a dry run asks with strict field validation and stores nothing."""
        query = {"fieldManager": names.FIELD_MANAGER}
        if dry_run:
            query |= {"dryRun": "All", "fieldValidation": "Strict"}
        return await self._call("POST", kind.path(namespace), body=body, query=query)

    async def merge(
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], subresource: str = ""
    ) -> Json:
        """Merge into an object. A resourceVersion in the body is the precondition."""
        return await self._patch(kind.path(namespace, name, subresource), body, MERGE)

    async def patch(self, kind: Kind, namespace: str, name: str, ops: list[Json], subresource: str = "") -> Json:
        """Apply a JSON patch. A failed `test` is a Conflict."""
        try:
            return await self._patch(kind.path(namespace, name, subresource), ops, JSON_PATCH)
        except Invalid as error:
            # A kube-apiserver says no more of a failed test than this; an invalid object is said to be invalid.
            if "error in our request" in str(error) and any(op["op"] == "test" for op in ops):
                raise Conflict(str(error), 409) from error
            raise

    async def _patch(self, path: str, body: Any, content_type: str) -> Json:  # noqa: ANN401 - JSON
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("PATCH", path, body=body, query=query, content_type=content_type)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, version: int | None = None, with_pods: bool = False
    ) -> None:
        """Delete exactly the object that was looked at; `with_pods`: it stays, marked as going, until they are gone."""
        preconditions = {"uid": uid} if uid else {}
        if version is not None:
            preconditions["resourceVersion"] = str(version)
        body = {"preconditions": preconditions, "propagationPolicy": "Foreground" if with_pods else "Background"}
        await self._call("DELETE", kind.path(namespace, name), body=body)

    async def _call(
        self,
        verb: str,
        path: str,
        *,
        body: Any = None,  # noqa: ANN401 - JSON
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        seconds: float = TIMEOUT,
    ) -> Json:
        if verb != "GET" and not self._leads():
            raise NotLeading(f"{verb} {path}: not sent, since the lease is lost")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if data is not None else {}
        try:
            async with self._http.request(
                verb,
                self._server + path,
                data=data,
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                text = await response.read()
                telemetry.API_CALLS.labels(verb, str(response.status)).inc()
                if response.status < 300:
                    answer: Json = json.loads(text)
                    return answer
                raise error_of(response.status, text, response.headers.get("Retry-After"), f"{verb} {path}")
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            telemetry.API_CALLS.labels(verb, "none").inc()
            raise Unreachable(f"{verb} {path}: {type(error).__name__}") from error


def error_of(status: int, body: bytes, retry_after: str | None, what: str) -> ClusterError:
    """Return what an answer means. Of a webhook its words tell: one may deny with any status, as 409 or 503."""
    try:
        message = str(json.loads(body).get("message") or what)
    except (ValueError, AttributeError):
        message = f"{what}: HTTP {status}"
    kinds: dict[int, type[ClusterError]] = {
        400: Invalid, 422: Invalid, 403: Forbidden, 404: NotFound, 410: NotFound, 409: Conflict,
    }  # fmt: skip
    if _CALLING in message and status >= 500:
        return AdmissionFails(message, status)
    if _DENIED.match(message) and kinds.get(status) is not Invalid:
        return Forbidden(message, status)
    if kind := kinds.get(status):
        return kind(message, status)
    return Unreachable(message, status, retry_after=seconds_of(retry_after))
