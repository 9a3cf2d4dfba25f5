"""python -m tests.faults: go through plans, with progress, and a table in the end.

    python -m tests.faults                  the plans of plans/ (once failed, or one of a kind), then every write of the
                                            default scenarios with the main faults
    python -m tests.faults --all            every scenario, every fault, every place
    python -m tests.faults PLAN.json...     these plans again

Limits, by environment: SCENARIOS=three,first FAULTS=held,errors SEED=7 JOBS=2; STRIDE=3/10 takes every tenth plan from
the third on; RESUME=1 goes on where a run ended: what was ok is not done again; VERBOSE=1 says a line for every plan;
FAULTS_PLANE=other runs beside another run.
Failing plans are written to .devcluster/faults/failed/, results to .devcluster/faults.json. Exit code 1: some failed.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from devcluster.places import STATE
from tests.faults.catalogue import FAULTS, MAIN, plans
from tests.faults.lab import opened
from tests.faults.plan import Plan
from tests.faults.scenarios import DEFAULT, SCENARIOS
from tests.faults.stage import Lab, Learned, Result, learn, run

Say = Callable[[str], None]
NAME = os.environ.get("FAULTS_PLANE", "faults")
"""The name of the control plane, and of where results go: two runs in one checkout need two."""
FOLDER = STATE / NAME
RESULTS = STATE / f"{NAME}.json"
_TRIES = 6
_AS_WRITTEN = argparse.RawDescriptionHelpFormatter
PLANS = Path(__file__).parent / "plans"


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__, formatter_class=_AS_WRITTEN)
    parser.add_argument("plans", nargs="*", type=Path, help="plans to run again")
    parser.add_argument("--all", action="store_true", help="every scenario and every fault")
    wanted = parser.parse_args()
    given = [Plan.load(file) for file in wanted.plans]
    known = _known() if os.environ.get("RESUME") else []
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    named = given or ([] if _limited() else _regressions())
    with opened(NAME, FOLDER, clocks=wanted.all or any(FAULTS[plan.fault].clocked for plan in named)) as lab:
        learned = _learn_all(lab, _scenarios(given, everything=wanted.all), say)
        wished = given or list(dict.fromkeys(_wished(learned, everything=wanted.all)))
        done = {result.plan for result in known}
        results = _run_all(lab, [plan for plan in wished if plan not in done], learned, known, say)
    return _report(results, time.monotonic() - began)


def _scenarios(given: list[Plan], *, everything: bool) -> list[str]:
    """Return which scenarios are gone through."""
    if given:
        return sorted({plan.scenario for plan in given})
    named = _listed("SCENARIOS", SCENARIOS if everything else DEFAULT)
    return named if _limited() else sorted({*named, *(plan.scenario for plan in _regressions())})


def _learn_all(lab: Lab, scenarios: list[str], say: Say) -> dict[str, Learned]:
    learned = {}
    with ThreadPoolExecutor(_jobs()) as pool:
        for name, found in zip(scenarios, pool.map(lambda n: learn(lab, n), scenarios), strict=True):
            learned[name] = found
            told = f"{len(found.writes)} writes, {len(found.events)} events of watches, {found.reconciles} reconciles"
            say(f"{name}: {told}, {found.seconds:.1f} s clean")
            (lab.folder / f"{name}.learned").write_text("\n".join([*map(str, found.writes), "", *found.events]) + "\n")
    return learned


def _wished(learned: dict[str, Learned], *, everything: bool) -> Iterator[Plan]:
    """Yield what there is to do: clean runs, the plans that are kept, then every fault at every place."""
    named = _listed("SCENARIOS", SCENARIOS if everything else DEFAULT)
    faults = _listed("FAULTS", [f for f in FAULTS if f != "clean"] if everything else MAIN)
    number, _, of = os.environ.get("STRIDE", "0/1").partition("/")
    seed = int(os.environ.get("SEED", "0"))
    yield from (Plan(scenario, "clean") for scenario in named if SCENARIOS[scenario].common)
    yield from [] if _limited() else _regressions()
    every = [plan for name in named for fault in faults for plan in plans(name, fault, learned[name], seed)]
    yield from every[int(number) :: int(of)]


def _regressions() -> list[Plan]:
    """Return the plans that once failed, and one of nearly every kind of fault."""
    return [Plan.load(file) for file in sorted(PLANS.glob("*.json"))]


def _limited() -> bool:
    return any(os.environ.get(name) for name in ("SCENARIOS", "FAULTS", "STRIDE"))


def _known() -> list[Result]:
    """Return what went well in the run before."""
    if not RESULTS.exists():
        return []
    found = [Result(Plan(**raw.pop("plan")), **raw) for raw in json.loads(RESULTS.read_text())]
    return [result for result in found if result.outcome == "ok"]


def _run_all(lab: Lab, wished: list[Plan], learned: dict[str, Learned], known: list[Result], say: Say) -> list[Result]:
    """Go through plans side by side; those that strike what all share come last, one by one."""
    results = list(known)
    wishes = len(known) + len(wished)
    together = [plan for plan in wished if not FAULTS[plan.fault].alone]
    alone = [plan for plan in wished if FAULTS[plan.fault].alone]
    for group, jobs in ((together, _jobs()), (alone, 1)):
        with ThreadPoolExecutor(jobs) as pool:
            waiting = [pool.submit(_tried, lab, plan, learned[plan.scenario]) for plan in group]
            for done in as_completed(waiting):
                results.append(done.result())
                _tell(results, wishes, lab, say)
    return results


def _tell(results: list[Result], wished: int, lab: Lab, say: Say) -> None:
    """Say what is worth a line."""
    result, number = results[-1], len(results)
    if result.outcome == "failed":
        file = result.plan.save(lab.folder / "failed")
        lines = "".join(f"\n    {line}" for line in result.said)
        say(f"FAILED {result.plan}{lines}\n    again: python -m tests.faults {file}")
    elif result.outcome == "missed" or os.environ.get("VERBOSE"):
        say(f"{result.outcome} {result.plan} ({result.seconds:.1f} s)")
    if number % 25 == 0 or number == wished:
        say(f"{number} of {wished}, {sum(r.outcome == 'failed' for r in results)} failed")
        _store(results)


def _tried(lab: Lab, plan: Plan, learned: Learned) -> Result:
    """Go through a plan; again where the write that it names was not made: words of a status come together or not."""
    for _ in range(_TRIES):
        result = run(lab, plan, learned)
        if result.outcome != "missed":
            break
    return result


def _report(results: list[Result], seconds: float) -> int:
    table: dict[tuple[str, str], Counter[str]] = {}
    for result in results:
        table.setdefault((result.plan.scenario, result.plan.fault), Counter())[result.outcome] += 1
    print(f"\n{'scenario':<12} {'fault':<14} {'run':>5} {'failed':>7} {'missed':>7}")
    for (scenario, fault), count in sorted(table.items()):
        print(f"{scenario:<12} {fault:<14} {count.total():>5} {count['failed']:>7} {count['missed']:>7}")
    total = Counter(result.outcome for result in results)
    print(f"{'all':<27} {total.total():>5} {total['failed']:>7} {total['missed']:>7}   in {seconds:.0f} s")
    _store(results)
    if total["missed"] > total.total() // 10:
        print("too many plans missed their write: the transcripts differ from run to run")
        return 1
    # What is written is the same in each run; how many lines a watch tells of it is not.
    kept = {plan for plan in _regressions() if FAULTS[plan.fault].needs == "write"}
    if gone := [str(result.plan) for result in results if result.outcome == "missed" and result.plan in kept]:
        print(f"the place of these was met in none of {_TRIES} attempts: {'; '.join(gone)}")
        return 1
    return 1 if total["failed"] else 0


def _store(results: list[Result]) -> None:
    RESULTS.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


def _jobs() -> int:
    return int(os.environ.get("JOBS", "4"))


def _listed(name: str, default: Iterable[str]) -> list[str]:
    return [part for part in os.environ.get(name, "").split(",") if part] or list(default)


if __name__ == "__main__":
    sys.exit(main())
