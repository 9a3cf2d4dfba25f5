"""The example trading platform: one small HTTP server that plays backend, frontend or ml-engine.

It behaves as a production service should, so that whatever the demo loses is the operator's fault: it keeps
connections alive, goes on serving while it drains, and says `Connection: close` when a client should move on.
And it can misbehave as production services do. All of it by environment:

    COMPONENT          what it plays; in every answer
    VERSION            what it claims to be; in every answer
    REVISION           the operator's label on its pod, if any; in every answer
    CRASH_AFTER        ends with an error so many seconds after it started: a crash loop
    FAIL_AFTER_SWITCH  answers 500 on / and /healthz from so many seconds after its first user's request
                       (one with the header `x-load`; probes have none): fine in every test, bad in production
    STARTUP_DELAY      listens only after so many seconds
    DRAIN              goes on serving so many seconds after SIGTERM (default 2)
    PORT               default 8080; 0 takes a free one and says which
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

LARGEST_BODY = 1 << 20
LAST_ANSWERS = 2.0  # seconds: whoever connected at the last moment still gets an answer
NAMED_PATHS = frozenset({"/", "/healthz", "/readyz", "/metrics"})


@dataclass(frozen=True)
class Settings:
    """What the environment asks for."""

    component: str
    version: str
    revision: str
    pod: str
    crash_after: float | None
    fail_after_switch: float | None
    startup_delay: float
    drain: float
    port: int

    @classmethod
    def read(cls, env: Mapping[str, str]) -> "Settings":
        """Read the environment; what is not set is healthy."""

        def seconds(name: str) -> float | None:
            return float(env[name]) if env.get(name) else None

        return cls(
            component=env.get("COMPONENT", "backend"),
            version=env.get("VERSION", "0"),
            revision=env.get("REVISION", ""),
            pod=env.get("HOSTNAME") or socket.gethostname(),
            crash_after=seconds("CRASH_AFTER"),
            fail_after_switch=seconds("FAIL_AFTER_SWITCH"),
            startup_delay=seconds("STARTUP_DELAY") or 0.0,
            drain=2.0 if (drain := seconds("DRAIN")) is None else drain,
            port=int(env.get("PORT", "8080")),
        )


@dataclass(frozen=True)
class Request:
    """The head of one request; its body has been read and thrown away."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def keep_alive(self) -> bool:
        """HTTP/1.1 keeps a connection unless the client says otherwise."""
        return self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True)
class Answer:
    """One response, before its bytes."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"

    def encode(self, *, close: bool, head_only: bool) -> bytes:
        """Write it as HTTP/1.1."""
        head = (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
        )
        return head.encode() + (b"" if head_only else self.body)


@dataclass
class Platform:
    """What one pod knows of itself: who it is, how much it answered, whether it still works."""

    settings: Settings
    started: float = field(default_factory=time.monotonic)
    first_user: float | None = None
    draining: bool = False
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)

    def answer(self, request: Request) -> Answer:
        """Answer one request and count it."""
        if "x-load" in request.headers and self.first_user is None:
            self.first_user = time.monotonic()
        answer = self._route(request)
        path = request.path if request.path in NAMED_PATHS else "other"
        self.answered[path, answer.status.value] += 1
        return answer

    def hangs_up_after(self, request: Request, answer: Answer) -> bool:
        """Say whether this connection should end.

        While draining, so that the client's next request finds another pod; after a 5xx too: kube-proxy never
        moves an established connection, so a client that keeps one to a broken pod would stay broken.
        """
        return self.draining or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or not request.keep_alive

    @property
    def failing(self) -> bool:
        """Whether users have been coming for long enough to break it."""
        after = self.settings.fail_after_switch
        if after is None or self.first_user is None:
            return False
        return time.monotonic() - self.first_user >= after

    def _route(self, request: Request) -> Answer:
        if request.method not in {"GET", "HEAD"}:
            return self._say(HTTPStatus.METHOD_NOT_ALLOWED, error="this example only answers GET and HEAD")
        match request.path:
            case "/" | "/healthz" if self.failing:
                return self._say(HTTPStatus.INTERNAL_SERVER_ERROR, status="failing", error="no prices")
            case "/" | "/healthz":
                return self._say(HTTPStatus.OK, status="ok")
            case "/readyz":
                return self._say(HTTPStatus.OK, status="draining" if self.draining else "ready")
            case "/metrics":
                return Answer(HTTPStatus.OK, self._metrics(), "text/plain; version=0.0.4")
            case _:
                return self._say(HTTPStatus.NOT_FOUND, error="no such page")

    def _say(self, code: HTTPStatus, **words: str) -> Answer:
        mine = self.settings
        who = {
            "component": mine.component,
            "version": mine.version,
            "revision": mine.revision,
            "pod": mine.pod,
            "uptime_seconds": round(time.monotonic() - self.started, 1),
        }
        return Answer(code, json.dumps({**who, **words}).encode() + b"\n")

    def _metrics(self) -> bytes:
        mine = self.settings
        lines = [
            "# HELP http_requests_total Requests answered, by path and code.",
            "# TYPE http_requests_total counter",
        ]
        for (path, code), count in sorted(self.answered.items()):
            labels = f'component="{mine.component}",version="{mine.version}",path="{path}",code="{code}"'
            lines.append(f"http_requests_total{{{labels}}} {count}")
        return ("\n".join(lines) + "\n").encode()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read one request; None when the client is done, or does not speak HTTP."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields if f)}
        length = int(headers.get("content-length", "0"))
        if length > LARGEST_BODY:
            return None
        await reader.readexactly(length)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
        return None
    return Request(method, path.partition("?")[0], headers)


@dataclass
class Server:
    """The listening socket and its open connections."""

    platform: Platform
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    unanswered: set[asyncio.Task[None]] = field(default_factory=set)  # new connections, before their first answer

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, drain, end."""
        settings = self.platform.settings
        await asyncio.sleep(settings.startup_delay)
        listener = listen(settings.port)
        server = await asyncio.start_server(self._converse, sock=listener, backlog=1024)
        self._log(f"listening on port {listener.getsockname()[1]}")
        await stop.wait()
        self._log(f"draining for {settings.drain:g} s")
        self.platform.draining = True
        # New connections are still accepted: somewhere a kube-proxy may not have heard of our end yet.
        await asyncio.sleep(settings.drain)
        server.close()
        if self.unanswered:
            await asyncio.wait(self.unanswered, timeout=LAST_ANSWERS)
        for writer in list(self.connections):
            writer.close()
        self._log(f"ended after {sum(self.platform.answered.values())} answers")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        if task := asyncio.current_task():
            self.unanswered.add(task)
            task.add_done_callback(self.unanswered.discard)
        with contextlib.suppress(OSError):
            while request := await read_request(reader):
                answer = self.platform.answer(request)
                close = self.platform.hangs_up_after(request, answer)
                writer.write(answer.encode(close=close, head_only=request.method == "HEAD"))
                await writer.drain()
                if task:
                    self.unanswered.discard(task)
                if close:
                    break
        self.connections.discard(writer)
        writer.close()

    def _log(self, words: str) -> None:
        print(f"{self.platform.settings.component} {self.platform.settings.version}: {words}", flush=True)


def listen(port: int) -> socket.socket:
    """Listen on every address, of IPv6 too where the machine has it."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def crash(settings: Settings) -> None:
    """End as a broken build does: at once, with its last words on stderr."""
    who = f"{settings.component} {settings.version}"
    print(f"{who}: fatal: order book schema 7 is newer than this build understands", file=sys.stderr, flush=True)
    os._exit(1)


async def main() -> None:
    """Run one pod."""
    settings = Settings.read(os.environ)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.crash_after is not None:
        loop.call_later(settings.crash_after, crash, settings)
    await Server(Platform(settings)).serve(stop)


if __name__ == "__main__":
    asyncio.run(main())
