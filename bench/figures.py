"""From samples to figures, bounds, a table and bench.json."""

import statistics
from dataclasses import dataclass, field
from typing import Any

P50_BOUND = 3.0
P99_BOUND = 10.0
WRITES_BOUND = 15
RETIREMENT_BOUND = 4
RSS_BOUND_MIB = 120.0


def percentile(samples: list[float], share: float) -> float:
    """Return the sample below which a share of the samples lie (nearest rank, so a real sample)."""
    ranked = sorted(samples)
    return ranked[min(int(len(ranked) * share), len(ranked) - 1)]


@dataclass
class Pair:
    """Times of the operator and of the floor, in seconds, taken in turns in one run."""

    name: str
    times: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return what issue 3 asks for: milliseconds, and ratios of like to like (p50 to p50, p99 to p99)."""
        p50, p99 = statistics.median(self.times), percentile(self.times, 0.99)
        floor50, floor99 = statistics.median(self.floor), percentile(self.floor, 0.99)
        return {
            "p50_ms": round(p50 * 1000, 2),
            "p99_ms": round(p99 * 1000, 2),
            "floor_p50_ms": round(floor50 * 1000, 2),
            "floor_p99_ms": round(floor99 * 1000, 2),
            "p50_ratio": round(p50 / floor50, 2),
            "p99_ratio": round(p99 / floor99, 2),
            "n": len(self.times),
        }

    def missed(self) -> list[str]:
        """Say which bounds are missed."""
        found = self.figures()
        said = []
        if found["p50_ratio"] > P50_BOUND:
            said.append(f"{self.name}: p50 is {found['p50_ratio']} times the floor, the bound is {P50_BOUND:g}")
        if found["p99_ratio"] > P99_BOUND:
            said.append(f"{self.name}: p99 is {found['p99_ratio']} times the floor, the bound is {P99_BOUND:g}")
        if found["n"] < 100:
            said.append(f"{self.name}: {found['n']} samples, the bound is 100")
        return said


def table(pairs: list[Pair]) -> str:
    """Return the times as a table."""
    columns = ("p50_ms", "floor_p50_ms", "p50_ratio", "p99_ms", "floor_p99_ms", "p99_ratio", "n")
    lines = [f"{'':26}" + "".join(f"{column:>14}" for column in columns)]
    for pair in pairs:
        found = pair.figures()
        lines.append(f"{pair.name:26}" + "".join(f"{found[column]:>14}" for column in columns))
    return "\n".join(lines)


def size_missed(size: dict[str, Any]) -> list[str]:
    """Say which bounds of size are missed."""
    said = []
    if size["writes_per_release"] > WRITES_BOUND:
        said.append(f"writes_per_release: {size['writes_per_release']}, the bound is {WRITES_BOUND}")
    if size["retirement_writes"] > RETIREMENT_BOUND:
        said.append(f"retirement_writes: {size['retirement_writes']}, the bound is {RETIREMENT_BOUND}")
    if size["idle_writes_60s"]:
        said.append(f"idle_writes_60s: {size['idle_writes_60s']}, the bound is 0")
    if size["rss_mib"] > RSS_BOUND_MIB:
        said.append(f"rss_mib: {size['rss_mib']}, above {RSS_BOUND_MIB:g} needs a reason")
    return said
