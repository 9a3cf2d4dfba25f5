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

from tradingrelease.cluster import outward
from tradingrelease.cluster.probe import forbidden
from tradingrelease.cluster.tasks import end
from tradingrelease.errors import seconds_of
from tradingrelease.policy.cloudevent import STRUCTURED
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
        self._tasks: dict[Key, dict[str, asyncio.Task[None]]] = defaultdict(dict)
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
        """Call exactly these from now on. What others answered is forgotten.

        One that is being called goes on with the words that it began with, whatever has changed in the cluster since: a
        receiver that sees an id again may rely on the body being the same.
        """
        if not calls and key not in self._tasks:
            return
        tasks, wanted = self._tasks[key], {call.id for call in calls}
        for identity in [found for found in tasks if found not in wanted]:
            tasks.pop(identity).cancel()
            self._called[key].pop(identity, None)
        for call in calls:
            if call.id not in tasks:
                tasks[call.id] = asyncio.create_task(self._keep_calling(key, call))
        if not calls:
            self._tasks.pop(key, None)
            self._called.pop(key, None)

    async def close(self) -> None:
        """Call nobody any more, and forget what was answered."""
        await end(task for held in self._tasks.values() for task in held.values())
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
        except EmptyKeyError:
            return Called(passed=False, said="the signing key is empty: nothing is sent unsigned"), 0.0
        try:
            return judge(*await post(call.url, call.body, headers, seconds))
        except NoAnswer as error:
            return Called(passed=False, said=f"NoAnswer: {error}"), 0.0

    def _headers(self, call: Call) -> Mapping[str, str]:
        key = key_in(Path(self._allowed.key_file)) if self._allowed.key_file else b""
        return {"Content-Type": STRUCTURED} | signed(key, call.id, call.body, self._clock())


class EmptyKeyError(Exception):
    """A key is configured, and its file holds nothing."""


def key_in(file: Path) -> bytes:
    """Read a signing key; anew for each request, since a mounted Secret is rotated under us.

    Raises OSError where it cannot be read, EmptyKeyError where nothing is in it: receivers rely on signatures.
    """
    key = file.read_bytes().strip()
    if not key:
        raise EmptyKeyError
    return key


class NoAnswer(Exception):  # noqa: N818 - it is a state, not a mistake
    """There is no HTTP answer; says why, and never where."""


async def post(url: str, body: str, headers: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """Post a body over a connection of its own. Returns the status and Retry-After of the answer, and no more of it.

    Raises NoAnswer.
    """
    try:
        async with (
            outward.session(seconds, forbidden=lambda address: forbidden(address, "")) as session,
            session.post(url, data=body.encode(), headers=headers, allow_redirects=False) as response,
        ):
            with suppress(aiohttp.ClientPayloadError):
                await response.content.read(BODY_LIMIT)  # whatever it says, its status has been told
            return response.status, response.headers.get("Retry-After", "")
    except aiohttp.ClientConnectorError as error:
        refused = isinstance(error.os_error, outward.ForbiddenAddress)
        raise NoAnswer(str(error.os_error) if refused else "no connection") from None
    except TimeoutError:
        raise NoAnswer(f"no answer within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoAnswer(f"no HTTP answer ({type(error).__name__})") from None


def signed(key: bytes, identity: str, body: str, now: datetime) -> dict[str, str]:
    """Return the headers that every request of ours carries; without a key it is not signed."""
    headers = {
        "User-Agent": "tradingrelease-webhook",
        "Accept-Encoding": "identity",
        "Webhook-Id": identity,
        "Webhook-Timestamp": str(int(now.timestamp())),
    }
    if key:
        headers["Webhook-Signature"] = signature(key, identity, headers["Webhook-Timestamp"], body)
    return headers


def signature(key: bytes, identity: str, timestamp: str, body: str) -> str:
    """Return the signature of a request as standardwebhooks.com defines it."""
    signed = f"{identity}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def judge(status: int, retry_after: str) -> tuple[Called, float]:
    """Judge an answer: 202 with Retry-After is in progress, any other 2xx passes, everything else fails."""
    if status == 202 and retry_after:
        wait = seconds_of(retry_after, USUALLY)
        return Called(passed=None, said="HTTP 202: in progress"), min(max(wait, SOONEST), LATEST)
    return Called(passed=200 <= status < 300, said=f"HTTP {status}"), 0.0
