"""Calls webhooks: a POST of a CloudEvent, again while it is answered 202, until its time is up.

Whoever writes a TradingRelease chooses the URL, so a webhook must not become a way into the network: only hosts that
the operator's configuration allows, no redirects, no proxies, no credentials, bounded time and size, and the body of an
answer goes nowhere. Delivery is at least once: an answer may be lost with this process, then the call is repeated, with
the same id.
"""

import asyncio
import base64
import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import aiohttp

from tradingrelease.policy.hooks import refused_url
from tradingrelease.policy.model import Call, Called, Key

TIMEOUT: Final = 10.0
"""Seconds for one request, connection and answer."""
BODY_LIMIT: Final = 64 * 1024
SOONEST, LATEST, USUALLY = 1.0, 60.0, 5.0
"""Seconds between two calls of one run: Retry-After within these bounds."""
CONCURRENT: Final = 16


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator's configuration says of webhooks."""

    hosts: frozenset[str] = frozenset()
    """host or host:port; none: no webhook at all."""
    key_file: str = ""
    """File with the key that requests are signed with; "": they are not signed."""


class Caller:
    """Keeps one task a webhook. `wake` is called when one has answered."""

    def __init__(self, wake: Callable[[Key], None], clock: Callable[[], datetime], allowed: Allowed) -> None:
        self._wake = wake
        self._clock = clock
        self._allowed = allowed
        self._tasks: dict[Key, dict[Call, asyncio.Task[None]]] = defaultdict(dict)
        self._called: dict[Key, dict[str, Called]] = defaultdict(dict)
        self._limit = asyncio.Semaphore(CONCURRENT)

    @property
    def hosts(self) -> frozenset[str]:
        """Hosts that may be called."""
        return self._allowed.hosts

    def called(self, key: Key) -> dict[str, Called]:
        """Return what came of the webhooks of a release, by id."""
        return dict(self._called.get(key, ()))

    def aim(self, key: Key, calls: frozenset[Call]) -> None:
        """Call exactly these from now on. What others answered is forgotten."""
        if not calls and key not in self._tasks:
            return
        tasks = self._tasks[key]
        for call in [c for c in tasks if c not in calls]:
            tasks.pop(call).cancel()
            self._called[key].pop(call.id, None)
        for call in calls:
            if call not in tasks:
                tasks[call] = asyncio.create_task(self._keep_calling(key, call))
        if not calls:
            self._tasks.pop(key, None)
            self._called.pop(key, None)

    async def close(self) -> None:
        """Call nobody any more, and forget what was answered."""
        tasks = [task for held in self._tasks.values() for task in held.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._called.clear()

    async def _keep_calling(self, key: Key, call: Call) -> None:
        while True:
            left = (call.until - self._clock()).total_seconds()
            if left <= 0:
                return  # its time is up: that is decided elsewhere
            async with self._limit:
                answer, wait = await self._call(call, min(TIMEOUT, left))
            self._called[key][call.id] = answer
            if answer.passed is not None:
                self._wake(key)
                return
            await asyncio.sleep(wait)

    async def _call(self, call: Call, seconds: float) -> tuple[Called, float]:
        """Call once. Returns the answer and after how many seconds to ask again, where it is not the last."""
        if why := refused_url(call.url, self._allowed.hosts):
            return Called(passed=False, said=why), 0.0
        try:
            headers = self._headers(call)
        except OSError as error:
            return Called(passed=False, said=f"the signing key cannot be read ({type(error).__name__})"), 0.0
        timeout = aiohttp.ClientTimeout(total=seconds)
        connector = aiohttp.TCPConnector(force_close=True)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False, max_line_size=8190, max_field_size=8190,
                ) as session,
                session.post(call.url, data=call.body.encode(), headers=headers, allow_redirects=False) as response,
            ):  # fmt: skip
                with suppress(aiohttp.ClientPayloadError):
                    await response.content.read(BODY_LIMIT)  # whatever it says, its status has been told
                return judge(response.status, response.headers.get("Retry-After", ""))
        except aiohttp.ClientConnectorError:
            return Called(passed=False, said="no connection"), 0.0
        except TimeoutError:
            return Called(passed=False, said=f"no answer within {seconds:g} s"), 0.0
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Called(passed=False, said=f"no HTTP answer ({type(error).__name__})"), 0.0

    def _headers(self, call: Call) -> Mapping[str, str]:
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "User-Agent": "tradingrelease-webhook",
            "Accept-Encoding": "identity",
            "Webhook-Id": call.id,
            "Webhook-Timestamp": str(int(self._clock().timestamp())),
        }
        if self._allowed.key_file:
            # Read anew each time: a mounted Secret is rotated under us.
            key = Path(self._allowed.key_file).read_bytes().strip()
            headers["Webhook-Signature"] = signature(key, call.id, headers["Webhook-Timestamp"], call.body)
        return headers


def signature(key: bytes, identity: str, timestamp: str, body: str) -> str:
    """Return the signature of a request as standardwebhooks.com defines it."""
    signed = f"{identity}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def judge(status: int, retry_after: str) -> tuple[Called, float]:
    """Judge an answer: 202 with Retry-After is in progress, any other 2xx passes, everything else fails."""
    if status == 202 and retry_after:
        wait = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else USUALLY
        return Called(passed=None, said="HTTP 202: in progress"), min(max(wait, SOONEST), LATEST)
    return Called(passed=200 <= status < 300, said=f"HTTP {status}"), 0.0
