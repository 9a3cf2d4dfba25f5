"""python -m bench: measure the operator on a bare control plane, print a table, write .devcluster/bench.json.

Exit code 1 when a bound is missed. The control plane is etcd with fsync and kube-apiserver, without the controller
manager: see stage.py for why.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from typing import Any

import uvloop

from bench import phases, takeover
from bench.audit import AuditLog
from bench.figures import Pair, size_missed, table
from bench.process import ROOT, Operator
from bench.server import Server
from devcluster.cluster import ControlPlane
from devcluster.places import STATE

_LOAD_RATE = 60.0
"""Writes a second of the others, in the phase under load."""
_PHASES = ("size", "idle", "retained", "load", "takeover")


def main() -> int:
    """Run the benchmark."""
    wanted = _arguments()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    say("starting etcd (with fsync) and kube-apiserver")
    with ControlPlane.start("bench", controller_manager=False, fsync=True) as plane, plane.entered():
        gc.set_threshold(100_000, 50, 100)
        found, pairs = uvloop.run(_measure(plane, wanted, say))
    return _report(found, pairs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the operator: speed, requests, size.")
    parser.add_argument("--samples", type=int, default=100, help="samples of each time (at least)")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds in which nothing must be written")
    parser.add_argument("--takeovers", type=int, default=20, help="leaders to kill, and as many to end in good order")
    parser.add_argument("--only", nargs="*", choices=_PHASES, default=list(_PHASES), help="measure only these")
    return parser.parse_args()


async def _measure(
    plane: ControlPlane, wanted: argparse.Namespace, say: phases.Say
) -> tuple[dict[str, Any], list[Pair]]:
    server = Server(plane.kubeconfig)
    operator = await Operator.start(plane, server)
    say(f"the operator runs; its log: {operator.log.relative_to(ROOT)}")
    found: dict[str, Any] = {}
    pairs: list[Pair] = []
    try:
        if "size" in wanted.only:
            found = await phases.size(server, operator, AuditLog(plane.audit_log), say, wanted.idle)
        if "idle" in wanted.only:
            pairs += await phases.idle(server, _rounds(wanted.samples, 8), say)
        if "retained" in wanted.only:
            pairs.insert(1, await phases.retained(server, _rounds(wanted.samples, 5), say))
        if "load" in wanted.only:
            pairs.append(await phases.load(server, _rounds(wanted.samples, 6), say, _writers(plane)))
        found["rss_mib_at_the_end"] = round(operator.rss_mib(), 1)
        operator.stop()
        if "takeover" in wanted.only:
            found["takeover"] = await takeover.measure(plane, server, wanted.takeovers, say)
    finally:
        operator.stop()
        await server.close()
    return found, pairs


def _rounds(samples: int, stages: int) -> int:
    return -(-samples // stages)


def _writers(plane: ControlPlane) -> Any:
    async def start(namespaces: list[str]) -> Any:
        argv = [sys.executable, "-m", "bench.load", str(plane.kubeconfig), str(_LOAD_RATE), *namespaces]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=ROOT)  # noqa: ASYNC220
        await asyncio.sleep(3)
        if process.poll() is not None:
            raise RuntimeError("the writers of the phase under load ended")

        async def stop() -> None:
            await asyncio.to_thread(process.communicate)

        return stop

    return start


def _report(size: dict[str, Any], pairs: list[Pair]) -> int:
    result = {pair.name: pair.figures() for pair in pairs} | size
    missed = [line for pair in pairs for line in pair.missed()]
    if pairs:
        print("\n" + table(pairs))
    if "writes_per_release" in size:
        missed += size_missed(size)
        _print_size(size)
    for how, figures in size.get("takeover", {}).items():
        print(f"takeover after {how:<12} p50 {figures['p50_s']} s, p99 {figures['p99_s']} s   (n={figures['n']})")
        bound = takeover.BOUNDS[how]
        missed += [f"takeover after {how}: p99 {figures['p99_s']} s > {bound} s"] if figures["p99_s"] > bound else []
    result["missed"] = missed
    file = STATE / "bench.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    for line in missed:
        print(f"MISSED  {line}")
    print(f"\n{'some bounds are missed' if missed else 'all bounds are met'}; written to {file.relative_to(ROOT)}")
    return 1 if missed else 0


def _print_size(size: dict[str, Any]) -> None:
    print(f"\nwrites per release         {size['writes_per_release']:>6}   (the most of several; bound 15)")
    for what, count in size["writes"].items():
        print(f"    {count:>3}  {what}")
    print(f"  more when a stack retires{size['retirement_writes']:>6}   (bound 4)")
    print(f"reads per release          {size['reads_per_release']:>6}   {size['reads'] or ''}")
    print(f"writes in {size['idle_seconds']:g} s idle        {size['idle_writes_60s']:>6}   (bound 0)")
    print(f"memory with one release    {size['rss_mib']:>6} MiB (bound 120)")


if __name__ == "__main__":
    sys.exit(main())
