"""Requests to what is not the API server: over a connection of its own, without proxies or cookies, in bounded size."""

import socket
import ssl
from collections.abc import Callable, Iterable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class ForbiddenAddress(OSError):  # noqa: N818 - it is where a name leads
    """A name leads to an address that is not to be asked."""


class Guard(AbstractResolver):
    """Resolves a name for a connection that is made to this very address: it cannot lead elsewhere in between."""

    def __init__(self, forbidden: Callable[[str], str]) -> None:
        self._forbidden = forbidden
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return where a name leads. Raises ForbiddenAddress, also where only one of several addresses is forbidden."""
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            if why := self._forbidden(result["host"]):
                raise ForbiddenAddress(f"the host leads to {result['host']}: {why}")
        return found

    async def close(self) -> None:
        """End it."""
        await self._resolver.close()


def session(
    seconds: float,
    *,
    tls: ssl.SSLContext | bool = True,
    decompress: bool = False,
    traces: Iterable[aiohttp.TraceConfig] = (),
    forbidden: Callable[[str], str] | None = None,
) -> aiohttp.ClientSession:
    """Return a session for one request, which ends after so many seconds. What is packed stays so, by default.

    `forbidden` says why a name must not lead to an address; "" if it may.
    """
    resolver = Guard(forbidden) if forbidden else None
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, ssl=tls, resolver=resolver),
        timeout=aiohttp.ClientTimeout(total=seconds),
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=decompress,
        max_line_size=8190,
        max_field_size=8190,
        trace_configs=list(traces),
    )


async def read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body of an answer; of one that is longer than the limit, one byte more than it."""
    body = await response.content.read(limit + 1)
    while len(body) <= limit and not response.content.at_eof():
        body += await response.content.read(limit + 1 - len(body))
    return body
