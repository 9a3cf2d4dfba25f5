"""Asks pods for their health: a new connection each time, to the pod's own address, and nothing else.

Whoever writes a TradingRelease chooses path and port, so a probe must not become a way into the network: only
addresses of pods that our own Deployments own, no redirects, no proxies, no credentials, bounded time and size, and
the body goes nowhere but into the expression.
"""

import asyncio
import ipaddress
import json
import ssl
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import aiohttp
import cel
from cel import Context

from tradingrelease import telemetry
from tradingrelease.cluster import outward
from tradingrelease.cluster.tasks import end
from tradingrelease.policy.expression import LARGEST
from tradingrelease.policy.model import Key, Streak, Target
from tradingrelease.policy.spec import Health

BODY_LIMIT: Final = 64 * 1024
CONCURRENT: Final = 64
_METADATA: Final = ipaddress.ip_address("fd00:ec2::254")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer. `reached` is False where not even a connection came about."""

    passed: bool
    said: str
    reached: bool = True


def forbidden(ip: str, host_ip: str) -> str:
    """Say why an address must not be probed; "" if it may be."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return f"{ip!r} is no address"
    # Python before 3.13 does not see that ::ffff:127.0.0.1 is loopback.
    address = getattr(address, "ipv4_mapped", None) or address
    if ip == host_ip:
        return "it is the node's own address"
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return "it is a loopback, link-local, multicast or unspecified address"
    return "it is a metadata service" if address == _METADATA else ""


class Prober:
    """Keeps one task a target, and the streak of what each said. `wake` is called when a verdict may have changed."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        self._wake = wake
        self._tasks: dict[Key, dict[Target, asyncio.Task[None]]] = defaultdict(dict)
        self._streaks: dict[Key, dict[tuple[str, str], Streak]] = defaultdict(dict)
        self._limit = asyncio.Semaphore(CONCURRENT)
        self._insecure = without_verification()

    def streaks(self, key: Key) -> dict[tuple[str, str], Streak]:
        """Return what the pods of a release said lately."""
        return dict(self._streaks.get(key, ()))

    def aim(self, key: Key, targets: frozenset[Target]) -> None:
        """Probe exactly these targets from now on. What others said is forgotten."""
        tasks = self._tasks[key]
        for target in [t for t in tasks if t not in targets]:
            tasks.pop(target).cancel()
        for target in targets:
            if target not in tasks:
                tasks[target] = asyncio.create_task(self._keep_asking(key, target))
        places = {(t.scope, t.pod_uid) for t in targets}
        self._streaks[key] = {place: s for place, s in self._streaks[key].items() if place in places}
        if not targets:
            self._tasks.pop(key, None)
            self._streaks.pop(key, None)

    async def ask(self, targets: tuple[Target, ...]) -> list[Verdict]:
        """Ask each target once, in parallel, for one timeout."""
        return list(await asyncio.gather(*(self._ask(t) for t in targets)))

    async def close(self) -> None:
        """Stop asking, and forget what was said."""
        await end(task for held in self._tasks.values() for task in held.values())
        self._tasks.clear()
        self._streaks.clear()

    async def _keep_asking(self, key: Key, target: Target) -> None:
        place = (target.scope, target.pod_uid)
        while True:
            verdict = await self._ask(target)
            before = self._streaks[key].get(place, Streak())
            after = counted(before, verdict)
            self._streaks[key][place] = after
            if _changed(before, after, target.health):
                self._wake(key)
            await asyncio.sleep(target.health.interval.total_seconds())

    async def _ask(self, target: Target) -> Verdict:
        async with self._limit:
            verdict = await probe(target, self._insecure)
        label = "passed" if verdict.passed else "failed" if verdict.reached else "unreachable"
        telemetry.PROBES.labels(label).inc()
        return verdict


def counted(streak: Streak, verdict: Verdict) -> Streak:
    """Return a streak with one more verdict. Silence of a whole node says nothing about the code, but ends a pass."""
    if verdict.passed:
        return Streak(passed=streak.passed + 1, last=verdict.said)
    if verdict.reached:
        return Streak(failed=streak.failed + 1, last=verdict.said)
    return replace(streak, passed=0, unreachable=streak.unreachable + 1, last=verdict.said)


def _changed(before: Streak, after: Streak, health: Health) -> bool:
    now_passes = after.passed == health.success_threshold
    now_fails = after.failed == health.failure_threshold
    lost = before.passed >= health.success_threshold > after.passed
    first_word = not after.passed and after.last != before.last
    return now_passes or now_fails or lost or first_word


class _Reached:
    """Learns whether a connection came about: a timeout does not tell by itself."""

    def __init__(self) -> None:
        self.yes = False

    def trace(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()
        config.on_connection_create_end.append(self._connected)
        return config

    async def _connected(self, *_: Any) -> None:  # noqa: ANN401 - aiohttp's signature
        self.yes = True


def without_verification() -> ssl.SSLContext:
    """Return TLS without names: pods serve self-signed certificates, and what is judged is who is at this address."""
    insecure = ssl.create_default_context()
    insecure.check_hostname = False
    insecure.verify_mode = ssl.CERT_NONE
    return insecure


@dataclass(frozen=True, slots=True)
class Request:
    """One request to an address that may be asked."""

    method: str
    scheme: str
    address: str
    port: int
    path: str
    seconds: float
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; of a body that is too long, the beginning."""

    status: int
    body: bytes


async def probe(target: Target, insecure: ssl.SSLContext) -> Verdict:
    """Ask one pod once."""
    if why := forbidden(target.ip, target.host_ip):
        return Verdict(passed=False, said=f"address {target.ip} is not probed: {why}")
    get, seconds = target.health.http_get, target.health.timeout.total_seconds()
    named = {"User-Agent": "tradingrelease-probe"}
    answer = await send(Request("GET", get.scheme, target.ip, target.port, get.path, seconds, named), insecure)
    return judge(target, answer.status, answer.body) if isinstance(answer, Answer) else answer


async def send(request: Request, insecure: ssl.SSLContext) -> Answer | Verdict:
    """Send a request over a new connection. Returns the answer, or why there is none."""
    seconds = request.seconds
    host = f"[{request.address}]" if ":" in request.address else request.address
    url = f"{request.scheme.lower()}://{host}:{request.port}{request.path}"
    reached = _Reached()
    try:
        async with (
            outward.session(seconds, tls=insecure, traces=[reached.trace()]) as session,
            session.request(
                request.method, url, allow_redirects=False,
                headers={**request.headers, "Accept-Encoding": "identity", "Connection": "close"},
            ) as response,
        ):  # fmt: skip
            return Answer(response.status, await outward.read(response, BODY_LIMIT))
    except aiohttp.ClientConnectorError as error:
        refused = isinstance(error.os_error, ConnectionRefusedError)
        return Verdict(passed=False, said="connection refused" if refused else "no connection", reached=refused)
    except TimeoutError:
        what = "no answer" if reached.yes else "no connection"
        return Verdict(passed=False, said=f"{what} within {seconds:g} s", reached=reached.yes)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Verdict(passed=False, said=f"no HTTP answer ({type(error).__name__})")


def judge(target: Target, status: int, body: bytes) -> Verdict:
    """Judge an answer. What the body says stays here: only the status reaches the verdict's text."""
    if len(body) > BODY_LIMIT:
        return Verdict(passed=False, said=f"HTTP {status}, body longer than {BODY_LIMIT} bytes")
    program = target.health.program
    if program is None:
        return Verdict(passed=200 <= status < 400, said=f"HTTP {status}")
    text = body.decode(errors="replace")
    passed, said = meets(program, status, text, as_json(text), target.version)
    return Verdict(passed, said)


def meets(program: cel.Program, status: int, text: str, content: Any, version: str) -> tuple[bool, str]:  # noqa: ANN401 - any JSON
    """Tell whether an answer is as it is expected, and say so. `content`: what its text says as JSON."""
    if holds_more(content, LARGEST):
        return False, f"HTTP {status}, JSON of more than {LARGEST} values is not given to expect"
    names: dict[str, Any] = {
        "response": {"status": status, "body": text, "json": content},
        "release": {"version": version},
    }
    holds, said = evaluated(program, names)
    return holds is True, f"HTTP {status}, {said}"


def evaluated(program: cel.Program, names: dict[str, Any]) -> tuple[bool | None, str]:
    """Tell whether an expression holds, and say so; None where it gives no truth."""
    try:
        result: Any = program.execute(Context(variables=names))
    except Exception as error:  # noqa: BLE001 - CEL raises what the expression meets: KeyError, TypeError, RuntimeError
        return None, f"expect cannot be evaluated ({type(error).__name__})"
    if not isinstance(result, bool):
        return None, f"expect gives {type(result).__name__}, not true or false"
    return result, f"expect is {str(result).lower()}"


def as_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Return what a text says as JSON; None where it says nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # brackets without an end
        return None


def holds_more(content: Any, values: int) -> bool:  # noqa: ANN401 - any JSON
    """Tell whether JSON holds more than so many values, counted without recursion."""
    waiting = [content]
    for _ in range(values):
        if not waiting:
            return False
        below = waiting.pop()
        waiting += below.values() if isinstance(below, dict) else below if isinstance(below, list) else ()
    return bool(waiting)
