"""Requests to what is not the API server: over a connection of its own, without proxies or cookies, in bounded size."""

import ssl
from collections.abc import Iterable

import aiohttp


def session(
    seconds: float,
    *,
    tls: ssl.SSLContext | bool = True,
    decompress: bool = False,
    traces: Iterable[aiohttp.TraceConfig] = (),
) -> aiohttp.ClientSession:
    """Return a session for one request, which ends after so many seconds. What is packed stays so, by default."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, ssl=tls),
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
