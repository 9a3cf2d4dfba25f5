"""The wire between one operator and the API server. What goes over it is named, counted, recorded; a fault bends it.

The operator speaks plain HTTP to it with its own token, the API server TLS: rights are those of the ServiceAccount.
A fault decides about every write, every read and every line of a watch. Everything here runs in one event loop.
"""

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.faults.plan import Counting, Names, Place, Write, write_of

Json = dict[str, Any]

WRITES = {"POST", "PATCH", "PUT", "DELETE"}
_PASSED_ON = ("Authorization", "Content-Type", "Accept", "User-Agent")
_PASSED_BACK = ("Content-Type", "Date", "Retry-After")


@dataclass(frozen=True)
class Answer:
    """What the operator is told."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def refusal(cls, status: int, reason: str, message: str, **headers: str) -> "Answer":
        """Return an error as the API server words it."""
        body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": status,
        }  # fmt: skip
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return cls(status, json.dumps(body).encode(), {"Content-Type": "application/json"} | named)

    @property
    def succeeded(self) -> bool:
        """Whether the API server did it."""
        return self.status < 300


class NoAnswer(Exception):  # noqa: N818 - it is what the operator gets
    """The connection ends without a word."""


Send = Callable[[], Awaitable[Answer]]
"""Delivers the request at hand to the API server."""


class Upstream:
    """The API server behind all proxies, and the way to it as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        found = yaml.safe_load(kubeconfig.read_text())
        cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
        self.url: str = cluster["server"]
        self.authority: str = cluster["certificate-authority"]
        self._certificate = (user["client-certificate"], user["client-key"])
        self._operators = self._session(None)
        self._admin = self._session(self._certificate)

    def _session(self, certificate: tuple[str, str] | None) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=self.authority)
        if certificate:
            context.load_cert_chain(*certificate)
        connector = aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=60)
        return aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=60), auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
        )  # fmt: skip

    async def close(self) -> None:
        """Close all connections."""
        await self._operators.close()
        await self._admin.close()

    async def pass_on(self, request: web.BaseRequest, body: bytes, query: str | None = None) -> Answer:
        """Deliver an operator's request, as the operator."""
        asked = request.query_string if query is None else query
        url = self.url + request.raw_path.partition("?")[0] + (f"?{asked}" if asked else "")
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        async with self._operators.request(request.method, url, data=body or None, headers=headers) as got:
            return Answer(got.status, await got.read(), _passed_back(got))

    def follow(self, request: web.BaseRequest) -> Any:
        """Open an operator's watch."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        return self._operators.get(self.url + request.raw_path, headers=headers, timeout=timeout)

    async def ask(self, verb: str, path: str, body: Json | None = None, kind: str = "application/json") -> Answer:
        """Ask as the administrator: what somebody else does."""
        data = None if body is None else json.dumps(body).encode()
        async with self._admin.request(verb, self.url + path, data=data, headers={"Content-Type": kind}) as got:
            return Answer(got.status, await got.read())

    async def events(self, path: str, version: str) -> AsyncIterator[tuple[str, Json]]:
        """Yield (type, object) of a watch of the administrator's."""
        query = f"{'&' if '?' in path else '?'}watch=1&resourceVersion={version}&timeoutSeconds=3600"
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with self._admin.get(self.url + path + query, timeout=timeout) as response:
            async for line in lines(response):
                event = json.loads(line)
                yield event["type"], event["object"]


def _passed_back(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a watch."""
    left = b""
    async for chunk in response.content.iter_any():
        *whole, left = (left + chunk).split(b"\n")
        for line in whole:
            yield line


@dataclass
class Event:
    """One line of a watch on its way to the operator."""

    kind: str
    change: str
    name: str
    line: bytes
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.change} {self.name} #{self.nth}"

    @classmethod
    def read(cls, kind: str, line: bytes, names: Names) -> "Event":
        """Read a line."""
        told = json.loads(line)
        body = told.get("object") or {}
        names.learn(kind, body)
        name = (body.get("metadata") or {}).get("name", "")
        if kind in {"pods", "replicasets", "endpointslices"}:  # their names end in what differs from run to run
            name = name.rpartition("-")[0] if kind != "pods" else name.rpartition("-")[0].rpartition("-")[0]
        return cls(kind, told["type"], names.plain(name), line)


class Stream:
    """One open watch, to write to."""

    def __init__(self, kind: str, response: web.StreamResponse) -> None:
        self.kind = kind
        self._response = response
        self.over = asyncio.Event()
        """Set by a fault that ends it."""

    async def tell(self, line: bytes, end: bytes = b"\n") -> None:
        """Send one line."""
        await self._response.write(line + end)


class Fault:
    """What may happen on the wire: here, nothing. Faults of faults.py override what they bend."""

    async def write(self, write: Write, request: "Asked", send: Send) -> Answer:
        """Treat a write; return what the operator is told, or raise NoAnswer."""
        return await send()

    async def read(self, request: "Asked", send: Send) -> Answer:
        """Treat a read."""
        return await send()

    async def tell(self, event: Event, stream: Stream) -> None:
        """Treat a line of a watch."""
        await stream.tell(event.line)

    def barred(self, request: web.BaseRequest) -> Answer | None:
        """Return what a request of any kind is refused with, watches included; None lets it pass."""
        return None

    async def opened(self, stream: Stream) -> None:
        """Treat a watch that has just been opened."""


@dataclass(frozen=True)
class Asked:
    """A request of the operator's."""

    verb: str
    place: Place
    body: Any
    query: dict[str, str]
    path: str
    again: Callable[[str], Awaitable[Answer]]
    """Delivers it with another query string."""

    @property
    def lists(self) -> bool:
        """Whether it asks for a collection; discovery does not."""
        return self.verb == "GET" and bool(self.place.plural) and not self.place.name


class Proxy:
    """One operator's wire. `arm` begins to count and to record; before it the fault is not asked."""

    def __init__(self, upstream: Upstream, names: Names, namespace: str) -> None:
        self.names = names
        self.strays: set[str] = set()
        """Requests that are none of a release of the namespace (S7)."""
        self._namespace = namespace
        self.fault: Fault | None = None
        self.writes: list[Write] = []
        self.events: list[str] = []
        self.refused: Counter[str] = Counter()
        self.port = 0
        self._upstream = upstream
        self._writes, self._told = Counting(), Counter[tuple[str, str, str]]()
        self._runner: web.ServerRunner | None = None
        self._streams: set[Stream] = set()
        self.last_write = 0.0
        """Monotonic time of the newest write."""
        self.ahead = timedelta()
        """How far the API server's clock is ahead, as its answers say: the time by which the operator goes."""

    async def start(self) -> None:
        """Listen on a free port, or again on the same one."""
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        if not self.port:
            self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Listen no more: connections are refused."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    def hang_up(self) -> None:
        """End all watches, as the API server ends those of a token that expired."""
        for stream in self._streams:
            stream.over.set()

    def arm(self, fault: Fault) -> None:
        """Record from here on, and let the fault decide."""
        self.fault = fault

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        place, query = Place.of(request.path), dict(request.query)
        elsewhere = place.namespace != self._namespace and (place.name or request.method in WRITES)
        if place.plural == "secrets" or elsewhere:
            self.strays.add(f"{request.method} {request.path}")
        if barred := self.fault.barred(request) if self.fault else None:
            return web.Response(status=barred.status, body=barred.body, headers=barred.headers)
        try:
            if query.get("watch"):
                return await self._watch(place, request)
            text = await request.read()
            # What has been sent is on its way, whatever becomes of the sender.
            answer = await asyncio.shield(self._answer(request, place, query, text))
        except (NoAnswer, aiohttp.ClientError, TimeoutError):
            if request.transport:
                request.transport.abort()
            raise asyncio.CancelledError from None
        return web.Response(status=answer.status, body=answer.body, headers=self._dated(answer.headers))

    def _dated(self, headers: dict[str, str]) -> dict[str, str]:
        if not self.ahead or "Date" not in headers:
            return headers
        return headers | {"Date": format_datetime(parsedate_to_datetime(headers["Date"]) + self.ahead, usegmt=True)}

    async def _answer(self, request: web.BaseRequest, place: Place, query: dict[str, str], text: bytes) -> Answer:
        body = json.loads(text) if text else None

        async def send() -> Answer:
            return await self._upstream.pass_on(request, text)

        async def again(query_string: str) -> Answer:
            return await self._upstream.pass_on(request, text, query_string)

        asked = Asked(request.method, place, body, query, request.raw_path, again)
        if request.method in WRITES and "dryRun" not in query:
            self.last_write = time.monotonic()
            if request.method == "POST":
                self.names.learn(place.plural, body)
            if self.fault is None:
                return await send()
            write = self._writes.numbered(write_of(request.method, place, body, self.names))
            self.writes.append(write)
            answer = await self.fault.write(write, asked, send)
            if not answer.succeeded:
                self.refused[f"{answer.status} {write}"] += 1
            return answer
        return await (self.fault.read(asked, send) if self.fault else send())

    async def _watch(self, place: Place, request: web.BaseRequest) -> web.StreamResponse:
        async with self._upstream.follow(request) as source:
            response = web.StreamResponse(status=source.status, headers=self._dated(_passed_back(source)))
            await response.prepare(request)
            if source.status != 200:
                await response.write(await source.read())
                return response
            stream = Stream(place.plural, response)
            self._streams.add(stream)
            if self.fault:
                await self.fault.opened(stream)
            telling = asyncio.ensure_future(self._tell_all(source, stream))
            over = asyncio.ensure_future(stream.over.wait())
            try:
                await asyncio.wait([telling, over], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._streams.discard(stream)
                for task in (telling, over):
                    task.cancel()
                await asyncio.gather(telling, over, return_exceptions=True)
            with suppress(ConnectionError):
                await response.write_eof()
            return response

    async def _tell_all(self, source: aiohttp.ClientResponse, stream: Stream) -> None:
        with suppress(ConnectionError, aiohttp.ClientError):
            async for line in lines(source):
                event = Event.read(stream.kind, line, self.names)
                if self.fault is None or event.change == "BOOKMARK":
                    await stream.tell(line)
                    continue
                key = (event.kind, event.change, event.name)
                self._told[key] += 1
                event.nth = self._told[key]
                self.events.append(str(event))
                await self.fault.tell(event, stream)
