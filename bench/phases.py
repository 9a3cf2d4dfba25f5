"""What is measured, and exactly how.

All times are of one clock, the benchmark's monotonic clock, and end at the same thing: the arrival of the Service's
event on a watch that the benchmark has on a connection of its own. So every figure contains one watch hop.

- floor: from the sending of one bare PATCH of that Service, guarded by its resourceVersion, until its event arrives.
  Taken before each sample, in the same run, while nothing else happens in the namespace.
- ready_to_switch: from the arrival of the answer to the last write that makes the candidate ready until the event of
  the selector patch arrives. The writes before it (pods Ready, and the other of Deployment status and preview
  EndpointSlice) come right before it, as controllers write them. In even samples the Deployment's status is the last
  write, in odd ones the preview's EndpointSlice.
- command_to_rollback: from the arrival of the answer to the creation of the ReleaseCommand until the event of the
  selector patch arrives.

Several releases take turns, so that what retires in one does not run into the sample of the next.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.audit import AuditLog, Request, tally
from bench.figures import Pair
from bench.process import Operator
from bench.server import Server
from bench.stage import Size, Stage

Say = Callable[[str], None]


async def bring_up(stage: Stage, deployment: str, *, slice_last: bool) -> float:
    """Let a candidate become ready. Returns when the answer to the last write came."""
    await stage.start_pods(deployment)
    await stage.quiet()
    await stage.pods_ready(deployment)
    preview = f"{stage.service}-preview"
    if slice_last:
        await stage.deployment_available(deployment)
        await stage.list_endpoints(preview, deployment)
    else:
        await stage.list_endpoints(preview, deployment)
        await stage.deployment_available(deployment)
    return time.monotonic()


async def forward(stage: Stage, keep: int) -> float:
    """Release the next version. Returns the time from ready to switch. `keep`: Deployments that are to be left."""
    deployment = await stage.apply()
    began = await bring_up(stage, deployment, slice_last=bool(stage.number % 2))
    switched = await stage.seen(revision=stage.revision(deployment))
    await stage.list_endpoints(stage.service, deployment)
    await stage.ready()
    await stage.quiet()
    return switched - began


async def back(stage: Stage, former: str) -> float:
    """Order a rollback. Returns the time from the order to the switch."""
    began, order = await stage.roll_back()
    switched = await stage.seen(revision=stage.revision(former))
    await stage.list_endpoints(stage.service, former)
    await stage.answered(order)
    await stage.quiet()
    return switched - began


async def rested(stage: Stage, most: int) -> None:
    """Wait until what was to go from a stage is gone."""

    def few(objects: dict[str, Any]) -> bool:
        up = [n for n in stage.standing() if objects[n]["spec"]["replicas"] > 0]
        return len(up) <= most

    await stage.deployments.until(few, f"{stage.namespace}: at most {most} Deployments are left")
    await stage.sweep()
    await stage.quiet()


async def live_of(stage: Stage) -> str:
    """Return the name of the live Deployment."""
    found = stage.releases.objects[stage.name]["status"]["live"]["components"][0]
    return f"{stage.name}-{found['name']}-{found['revision']}"


# --- phases -----------------------------------------------------------------------------------------------------------


async def idle(server: Server, rounds: int, say: Say) -> tuple[Pair, Pair]:
    """Measure ready_to_switch with nothing else going on, and command_to_rollback right after it."""
    switch, rollback = Pair("ready_to_switch"), Pair("command_to_rollback")
    stages = [Stage(server, f"idle-{i}", Size()) for i in range(8)]
    await asyncio.gather(*(first(stage) for stage in stages))
    for _ in range(rounds):
        for stage in stages:
            await rested(stage, 1)
            blue = await live_of(stage)
            floor = await stage.floor()
            await stage.quiet()
            switch.times.append(await forward(stage, 2))
            rollback.times.append(await back(stage, blue))
            switch.floor.append(floor)
            rollback.floor.append(floor)
        say(f"  idle: {len(switch.times)} samples, {_last(switch, len(stages))}; {_last(rollback, len(stages))}")
    await close(stages)
    return switch, rollback


async def first(stage: Stage) -> None:
    """Build a stage and release the first version on it."""
    await stage.build()
    await forward(stage, 1)


async def retained(server: Server, rounds: int, say: Say) -> Pair:
    """Measure ready_to_switch with 12 retained stacks in the namespace: 10 (the most) of the release, 2 of another."""
    pair = Pair("ready_to_switch_retained")
    stages = [Stage(server, f"kept-{i}", Size(retained=10)) for i in range(5)]
    await asyncio.gather(*(_fill(server, stage) for stage in stages))
    say("  retained: 12 stacks stand in each namespace")
    for _ in range(rounds):
        for stage in stages:
            await rested(stage, 11)
            pair.floor.append(await stage.floor())
            await stage.quiet()
            pair.times.append(await forward(stage, 12))
        say(f"  retained: {len(pair.times)} samples, {_last(pair, len(stages))}")
    await close(stages)
    return pair


async def _fill(server: Server, stage: Stage) -> None:
    await first(stage)
    other = Stage(server, stage.namespace, Size(retained=2), release="other", service="other")
    await other.build()
    for _ in range(3):
        await forward(other, 3)
    await other.close()
    for _ in range(10):
        await forward(stage, 12)


async def load(server: Server, rounds: int, say: Say, writers: Callable[[list[str]], Awaitable[Any]]) -> Pair:
    """Measure ready_to_switch of three replicas while others write: see load.py."""
    pair = Pair("ready_to_switch_load")
    stages = [Stage(server, f"load-{i}", Size(replicas=3)) for i in range(6)]
    await asyncio.gather(*(first(stage) for stage in stages))
    stop = await writers([stage.namespace for stage in stages])
    for _ in range(rounds):
        for stage in stages:
            await rested(stage, 2)
            pair.floor.append(await stage.floor())
            await stage.quiet()
            pair.times.append(await forward(stage, 3))
        say(f"  load: {len(pair.times)} samples, {_last(pair, len(stages))}")
    await stop()
    await close(stages)
    return pair


async def close(stages: list[Stage]) -> None:
    """End the watches of stages."""
    for stage in stages:
        await stage.close()


def _last(pair: Pair, count: int) -> str:
    times = sorted(pair.times[-count:])
    floor = sorted(pair.floor[-count:])
    middle, bare = times[len(times) // 2] * 1000, floor[len(floor) // 2] * 1000
    return f"{pair.name} {middle:.1f} ms (worst {times[-1] * 1000:.1f}), floor {bare:.1f} ms"


# --- size -------------------------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """What releases cost, from the audit log."""

    plain: list[list[Request]]
    """From apply to Ready and all that follows by itself, of releases that push nothing out."""
    retiring: list[list[Request]]
    """The same of releases that push a retained stack out, until it is deleted."""


async def size(server: Server, operator: Operator, audit: AuditLog, say: Say, idle_seconds: float) -> dict[str, Any]:
    """Count requests per release, writes while idle, and memory, with one release after the other.

    writes_per_release: the most that any plain release stored (one component, one Service, two replicas that come up
    one after the other, a watch of 3 s), from the apply until nothing more follows; dry runs, adoption and retirement
    apart. A plain release retires nothing: no older stack is retained. retirement_writes: by how much a release that
    pushes an older stack out stores more. reads_per_release: GET and LIST of a plain release,
    without the LISTs of everything that come every two minutes whether there are releases or not.
    """
    counted = Counted([], [])
    shape = Size(replicas=2, watch="3s", min_ready=1)
    result: dict[str, Any] = {}
    for number in range(3):
        stage = Stage(server, f"size-{number}", shape)
        await stage.build()
        await _slowly(stage)
        counted.plain.append(await _count(stage, audit, 0))
        say(f"  size: {len(counted.plain)} releases counted")
        if not number:
            result["idle_writes_60s"], result["idle_requests_60s"] = await _idle(audit, idle_seconds)
            result["rss_mib"] = round(operator.rss_mib(), 1)
            result["idle_seconds"] = idle_seconds
        for _ in range(2):
            counted.retiring.append(await _count(stage, audit, 2))
        await stage.close()
    return result | _sizes(counted)


async def _slowly(stage: Stage) -> None:
    deployment = await stage.apply()
    await stage.slow_rollout(deployment)
    await stage.seen(revision=stage.revision(deployment))
    await stage.list_endpoints(stage.service, deployment)
    await stage.ready()
    await stage.quiet(3)


async def _count(stage: Stage, audit: AuditLog, keep: int) -> list[Request]:
    await stage.quiet(3)
    audit.mark()
    await _slowly(stage)
    if keep:
        await rested(stage, keep)
        await stage.quiet(3)
    return audit.since_mark()


async def _idle(audit: AuditLog, seconds: float) -> tuple[int, dict[str, int]]:
    audit.mark()
    await asyncio.sleep(seconds)
    found = audit.since_mark()
    return sum(r.writes for r in found), tally(found)


def _sizes(counted: Counted) -> dict[str, Any]:
    plain = [sum(r.writes for r in requests) for requests in counted.plain]
    retiring = [sum(r.writes for r in requests) for requests in counted.retiring]
    worst = counted.plain[plain.index(max(plain))]
    return {
        "writes_per_release": max(plain),
        "retirement_writes": max(retiring) - max(plain),
        "reads_per_release": max(sum(r.reads for r in requests) for requests in counted.plain),
        "writes": tally([r for r in worst if r.writes]),
        "writes_with_retirement": tally([r for r in counted.retiring[retiring.index(max(retiring))] if r.writes]),
        "reads": tally([r for r in worst if r.reads]),
        "dry_runs_per_release": sum(r.dry_run for r in worst),
        "releases_counted": len(plain) + len(retiring),
    }
