"""An HTTP/1.1 client that loses no request that a correct one would not lose.

The one subtle rule (RFC 9112, 9.3.1): a server may close an idle connection at any time, also in the moment
in which the client sends. If a *reused* connection ends before the first byte of an answer, an idempotent
request is sent once more on a new connection. A new connection that ends so is an error: nobody was just
closing it.
"""

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


class NoAnswerError(Exception):
    """No answer. `kind` is what happened, `closed_idle` whether a reused connection ended before any byte."""

    def __init__(self, kind: str, words: str, *, closed_idle: bool = False) -> None:
        super().__init__(f"{kind}: {words}")
        self.closed_idle = closed_idle


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def said(self, name: str) -> str:
        """Return a field of its JSON, or nothing: who answered is good to know but not what is measured."""
        try:
            return str(json.loads(self.body)[name])
        except (ValueError, KeyError, TypeError):
            return ""


@dataclass(frozen=True)
class Site:
    """Where requests go: an address that is looked up once, since a ClusterIP never changes."""

    host: str
    port: int
    address: str
    path: str

    @classmethod
    async def find(cls, url: str) -> "Site":
        """Parse a URL and look its host up."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not a target: {url!r}; write http://HOST:PORT/PATH")
        port = parts.port or 80
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port)
        return cls(parts.hostname, port, str(found[0][4][0]), parts.path or "/")

    def request(self, *, close: bool) -> bytes:
        """Write the request. `x-load` tells the example application that a user is asking, not a probe."""
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nx-load: 1\r\n"
            f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
        ).encode()


@dataclass
class Connection:
    """One TCP connection, and who was last seen at its other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    served: int = 0
    version: str = ""
    pod: str = ""

    @classmethod
    async def open(cls, site: Site) -> "Connection":
        """Connect; kube-proxy chooses the pod now."""
        try:
            return cls(*await asyncio.open_connection(site.address, site.port))
        except OSError as error:
            raise NoAnswerError("connect", _words(error)) from error

    @property
    def alive(self) -> bool:
        """Whether the server has left it open, as far as can be known before sending."""
        return not self.reader.at_eof() and not self.writer.is_closing() and not self.reader.exception()

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its whole answer."""
        started = False
        try:
            self.writer.write(request)
            await self.writer.drain()
            first = await self.reader.readexactly(1)
            started = True
            answer = await _read_answer(first, self.reader)
        except asyncio.IncompleteReadError as error:
            words = "in the middle of an answer" if started else "before an answer"
            raise NoAnswerError("closed", words, closed_idle=self.served > 0 and not started) from error
        except OSError as error:
            raise NoAnswerError("reset", _words(error), closed_idle=self.served > 0 and not started) from error
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise NoAnswerError("garbled", str(error)) from error
        self.served += 1
        self.version, self.pod = answer.said("version"), answer.said("pod")
        return answer

    def close(self) -> None:
        """Close it, without waiting for the other side."""
        self.writer.close()


@dataclass
class Exchange:
    """One request on its way: filled in as it goes, so that a timeout still knows who was being asked."""

    sent: float = 0.0
    connection: Connection | None = None
    reused: bool = False
    retried: str = ""


@dataclass
class Client:
    """Sends requests to one site, on new connections or on a few kept ones.

    Kept connections are used in turn, longest idle first, and while there are too few of them every other request
    opens one more: each is used often, none is forgotten, also while a server hangs up on all others. When all are
    busy another is opened, since an open loop does not wait.
    """

    site: Site
    keep: int = 0  # how many connections to keep; 0: a new one for each request
    lifetime: int = 0  # after so many requests a kept connection is replaced, as many clients do; 0: never
    idle: deque[Connection] = field(default_factory=deque)
    busy: int = 0
    last_reused: bool = False

    async def get(self, exchange: Exchange) -> Answer:
        """Send one request, and once more if a kept connection was just being closed."""
        try:
            return await self._try(exchange, self._reusable())
        except NoAnswerError as failure:
            if not failure.closed_idle:
                raise
            exchange.retried = str(failure)
            return await self._try(exchange, None)

    def close(self) -> None:
        """Close what is kept."""
        while self.idle:
            self.idle.popleft().close()

    async def _try(self, exchange: Exchange, connection: Connection | None) -> Answer:
        self.busy += 1
        try:
            exchange.reused = connection is not None
            exchange.sent = exchange.sent or time.monotonic()
            exchange.connection = connection  # on a second try the first connection is no longer to blame
            exchange.connection = connection or await Connection.open(self.site)
            answer = await exchange.connection.ask(self.site.request(close=not self.keep))
        except BaseException:
            if exchange.connection:
                exchange.connection.close()
            raise
        finally:
            self.busy -= 1
        self._give_back(exchange.connection, answer)
        return answer

    def _reusable(self) -> Connection | None:
        while self.idle and not self.idle[0].alive:
            self.idle.popleft().close()
        too_few = len(self.idle) + self.busy < self.keep
        if not self.idle or (too_few and self.last_reused):
            self.last_reused = False
            return None
        self.last_reused = True
        return self.idle.popleft()

    def _give_back(self, connection: Connection, answer: Answer) -> None:
        stays = answer.headers.get("connection", "").lower() != "close"
        old = 0 < self.lifetime <= connection.served
        if stays and not old and len(self.idle) < self.keep:
            self.idle.append(connection)
        else:
            connection.close()


async def _read_answer(first: bytes, reader: asyncio.StreamReader) -> Answer:
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    protocol, status = line.split(" ", 2)[:2]
    if not protocol.startswith("HTTP/1."):
        raise ValueError(f"not HTTP: {line[:80]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("connection", "").lower() == "close":
        body = await reader.read()
    else:
        raise ValueError("an answer without Content-Length on a connection that stays open")
    return Answer(int(status), headers, body)


def _words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
