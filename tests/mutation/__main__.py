"""`make mutation`: puts small faults into what decides, writes and judges, and sees whether a test notices each.

What was found is kept in `.mutation/`, so a run that was broken off goes on where it was, and modules may be tried side
by side (`python -m tests.mutation hooks.py` beside others); a last run of all sums them up. Ends with the survivors and
a table; exit code 1 where the score is below 95 %, or where `survivors.toml` names what does not survive any more.
"""

import argparse
import gc
import hashlib
import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.mutation.mutants import MODULE, Mutant, mutants
from tests.mutation.trial import ROOT, Reach, attempt, learn

POLICY = "operator/tradingrelease/policy"
MODULES = (
    *(f"{POLICY}/{name}.py" for name in ("writes", "decide", "acts")),
    *(f"{POLICY}/rules/{name}.py" for name in ("live", "switching", "orders", "candidate", "chores", "adoption")),
    *(f"{POLICY}/{name}.py" for name in ("approvals", "freezes", "irreversible", "hooks", "blue", "checks", "records")),
    *(f"{POLICY}/rules/{name}.py" for name in ("approvals", "freezes", "overrides", "gates", "hooks", "checks")),
    f"{POLICY}/rules/attempts.py",
    *(f"{POLICY}/{name}.py" for name in ("absorb", "pods", "sizes", "signals", "conditions", "probes")),
    "operator/tradingrelease/cluster/probe.py",
)
"""The most dangerous first."""
ONLY = {"operator/tradingrelease/cluster/probe.py": {"forbidden", "counted", "_changed", "judge"}}
"""Of these modules only what is pure."""
TESTS = ("tests/unit/policy", "tests/unit/cluster/test_probe.py", "tests/golden")
WANTED = 95.0
KEPT = ROOT / ".mutation"
LISTED = Path(__file__).with_name("survivors.toml")
SLOW = (
    *(f"tests/unit/policy/test_{name}.py" for name in ("properties", "memory", "convergence")),
    "tests/golden/test_verdicts.py",
)
"""Tests of thousands of examples, or that tell every story. What survives would take minutes in them, and a score
without them is a lower bound: they could only notice more."""
EVERY = 5.0
"""Seconds between two lines of progress."""


@dataclass(slots=True)
class Found:
    """What became of the faults of one module."""

    path: str
    fates: dict[str, str] = field(default_factory=dict)
    """killed, endless or survived, by the name of the fault."""
    seconds: float = 0.0

    def of(self, fate: str) -> list[str]:
        """Return the names of faults with a fate."""
        return [name for name, found in self.fates.items() if found == fate]

    @property
    def score(self) -> float:
        """Percentage that was noticed."""
        return 100 * (1 - len(self.of("survived")) / len(self.fates)) if self.fates else 100.0


class Run:
    """A pytest plugin that takes the place of the loop over the tests."""

    def __init__(self, paths: Sequence[str], again: bool, slow: bool) -> None:
        self.paths, self.again, self.slow = paths, again, slow
        self.found: list[Found] = []
        self.digest = f"{digest()}{' slow' if slow else ''}"

    def pytest_configure(self) -> None:
        """Let hypothesis always try the same examples, and make none smaller: that one fails is enough."""
        from hypothesis import Phase, settings  # only now: pytest rewrites its assertions first

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutation", derandomize=True, database=None, phases=phases, deadline=None)
        settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every fault of every module."""
        print(f"=== {len(session.items)} tests without a fault", flush=True)
        progress = Progress(len(session.items))
        reach = learn(session.items, self.paths, lambda n: progress(n, ""))
        print(f"    {sum(reach.seconds):.0f} CPU s", flush=True)
        gc.freeze()
        for path in self.paths:
            self.found.append(self._module(path, session.items, reach))
        return True

    def _module(self, path: str, items: Sequence[pytest.Item], reach: Reach) -> Found:
        # Numbered before some are left out: `learn` gave them the same numbers.
        made = [(n, m) for n, m in enumerate(mutants(path, (ROOT / path).read_text())) if within(m)]
        kept = self._kept(path)
        found = Found(path, {m.name: kept.fates[m.name] for _, m in made if m.name in kept.fates}, kept.seconds)
        print(f"=== {path}: {len(made)} mutants, {len(found.fates)} known", flush=True)
        progress, began, lucky = Progress(len(made)), monotonic(), dict[int, int]()
        for tried, (number, mutant) in enumerate(made):
            if mutant.name in found.fates:
                continue
            chosen = self._own(mutant, reach.of(mutant, number), items)
            usual = sum(reach.seconds[n] for n in chosen)
            # Who noticed the last ones will often notice the next one.
            chosen.sort(key=lambda n: reach.seconds[n] / (1 + lucky.get(n, 0)))
            fate, by = attempt(mutant, items, chosen, usual) if chosen else ("survived", -1)
            lucky = {n: count * 0.9 for n, count in lucky.items()}
            lucky[by] = lucky.get(by, 0) + 1
            found.fates[mutant.name] = fate
            progress(tried + 1, f"{len(found.of('survived'))} survived")
            if tried % 20 == 0:
                self._keep(found)
        found.seconds += monotonic() - began
        self._keep(found)
        return found

    def _own(self, mutant: Mutant, chosen: list[int], items: Sequence[pytest.Item]) -> list[int]:
        """Leave a constant, which any test might notice, to the tests of its own module."""
        if self.slow or mutant.place != MODULE:
            return chosen
        own = f"test_{Path(mutant.path).stem.removesuffix('s')}"
        return [n for n in chosen if items[n].path.name.startswith(own)] or chosen

    def _kept(self, path: str) -> Found:
        file = KEPT / f"{path.replace('/', '.')}.json"
        if not file.exists():
            return Found(path)
        held = json.loads(file.read_text())
        if held["digest"] == self.digest:
            return Found(path, held["fates"], held["seconds"])
        if self.again:
            return Found(path, {n: f for n, f in held["fates"].items() if f != "survived"}, held["seconds"])
        return Found(path)

    def _keep(self, found: Found) -> None:
        KEPT.mkdir(exist_ok=True)
        held = {"digest": self.digest, "seconds": found.seconds, "fates": found.fates}
        (KEPT / f"{found.path.replace('/', '.')}.json").write_text(json.dumps(held, indent=1))


class Progress:
    """A line now and then."""

    def __init__(self, total: int) -> None:
        self.total, self.began, self.last = total, monotonic(), monotonic()

    def __call__(self, done: int, said: str) -> None:
        """Say how far it is."""
        if monotonic() - self.last < EVERY:
            return
        self.last = monotonic()
        print(f"    {self.last - self.began:5.0f} s  {done:4} of {self.total}  {said}", flush=True)


def within(mutant: Mutant) -> bool:
    """Tell whether a fault is in what is judged here."""
    return mutant.path not in ONLY or mutant.place in ONLY[mutant.path]


def digest() -> str:
    """Return what every answer depends on: the code, the tests that may notice, and what those are built from."""
    wholes = (ROOT / folder for folder in ("operator", "tests/unit", "tests/golden", "tests/mutation"))
    found = [*(ROOT / "tests").glob("*"), *(f for folder in wholes for f in folder.rglob("*"))]
    files = sorted(f for f in found if f.suffix in {".py", ".txt"})
    return hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()


def reasons() -> dict[str, dict[str, str]]:
    """Return why a fault may survive, by its name, by module."""
    told: dict[str, dict[str, str]] = {}
    held: dict[str, Any] = tomllib.loads(LISTED.read_text())
    for entry in held.get("survivor", []):
        for name in entry["mutants"]:
            told.setdefault(entry["module"], {})[name] = entry["reason"]
    return told


def table(found: Sequence[Found]) -> int:
    """Print survivors and figures; return the exit code."""
    told, stale = reasons(), 0
    for module in found:
        listed = told.get(module.path, {})
        survived = module.of("survived")
        if survived:
            print(f"=== survivors of {module.path}")
        for name in survived:
            print(f"    {name}\n        {listed.get(name, 'NO REASON LISTED')}")
        for name in set(listed) - set(survived):
            stale += 1
            print(f"    {name}\n        does not survive any more: take it out of survivors.toml")
    print(
        f"=== {'module':48} {'mutants':>7} {'killed':>7} {'endless':>7} {'survived':>8} {'listed':>6} {'score':>6} {'s':>5}"
    )
    every = Found(
        "all", {f"{m.path} {n}": fate for m in found for n, fate in m.fates.items()}, sum(m.seconds for m in found)
    )
    for module in (*found, every):
        listed = len(set(told.get(module.path, {})) & set(module.of("survived")))
        if module is every:
            listed = sum(len(set(told.get(m.path, {})) & set(m.of("survived"))) for m in found)
        print(
            f"    {module.path.removeprefix('operator/tradingrelease/'):48} {len(module.fates):7} {len(module.of('killed')):7} "
            f"{len(module.of('endless')):7} {len(module.of('survived')):8} {listed:6} {module.score:5.1f}% {module.seconds:5.0f}"
        )
    return 1 if every.score < WANTED or stale else 0


def main() -> int:
    """Try the faults of the modules asked for, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="ends of paths, as policy/writes.py; all by default")
    parser.add_argument("--again", action="store_true", help="trust what was killed before the last change")
    parser.add_argument("--slow", action="store_true", help="let tests try as well that take long; hours")
    asked = parser.parse_args()
    paths = [p for p in MODULES if not asked.modules or any(p.endswith(m) for m in asked.modules)]
    if not paths:
        sys.exit(f"no such module; there are: {', '.join(MODULES)}")
    run = Run(paths, asked.again, asked.slow)
    ignored = [f"--ignore={path}" for path in SLOW] if not asked.slow else []
    # How a test failed is never shown: to compare and print whole worlds would take longer than the test.
    code = pytest.main(
        ["-q", "-s", "-p", "no:cacheprovider", "--assert=plain", "--tb=native", *ignored, *TESTS], plugins=[run]
    )
    return table(run.found) if code == pytest.ExitCode.OK or run.found else int(code)


if __name__ == "__main__":
    sys.exit(main())
