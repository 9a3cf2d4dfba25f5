"""How long nobody leads: from the end of the leader until the Lease names another one, as a watch of the Lease tells.

Not a ratio: what is measured after a kill -9 is the Lease's duration (6 s by default), whatever the machine.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.figures import percentile
from bench.phases import Say
from bench.process import NAMESPACE, Operator
from bench.server import Json, Mirror, Server
from devcluster.cluster import ControlPlane

_LEASE = "tradingrelease-operator"
BOUNDS = {"kill -9": 10.0, "SIGTERM": 2.0}
"""Seconds at p99: a Lease of 6 s runs out and is seen to have, or is given back."""


async def measure(plane: ControlPlane, server: Server, samples: int, say: Say) -> dict[str, Any]:
    """Return seconds without a leader, after kill -9 and after SIGTERM."""
    leases = Mirror(server, "leases", NAMESPACE)
    await leases.start()
    numbers = itertools.count(1)
    members: dict[int, Operator] = {}

    async def another() -> None:
        number = next(numbers)
        members[number] = await Operator.replica(plane, server, number, f"{NAMESPACE}/{_LEASE}")

    await asyncio.gather(another(), another())
    found: dict[str, list[float]] = {"kill -9": [], "SIGTERM": []}
    try:
        for sample in range(samples):
            for how, end in (("kill -9", Operator.kill), ("SIGTERM", Operator.terminate)):
                leader = await leases.until(_holder, "somebody leads")
                operator = members.pop(leader)
                began = time.monotonic()
                end(operator)
                await leases.until(_other_than(leader), "another one leads")
                found[how].append(leases.moved - began)
                await asyncio.to_thread(operator.stop)
                await another()
            say(f"takeovers: {sample + 1} of {samples} leaders killed, as many ended in good order")
    finally:
        for operator in members.values():
            operator.stop()
        await leases.stop()
    return {how: _figures(times) for how, times in found.items()}


def _holder(leases: dict[str, Json]) -> int:
    """Return the number of the replica that leads; 0 for none."""
    holder = (leases.get(_LEASE) or {}).get("spec", {}).get("holderIdentity") or ""
    return int(holder.split("_")[0].removeprefix("replica-")) if holder else 0


def _other_than(leader: int) -> Callable[[dict[str, Json]], bool]:
    return lambda leases: _holder(leases) not in {0, leader}


def _figures(times: list[float]) -> dict[str, float]:
    return {"p50_s": round(statistics.median(times), 2), "p99_s": round(percentile(times, 0.99), 2), "n": len(times)}
