"""Runs tests against one fault at a time, in a fork of this process: the tests are collected and imported only once.

A fork plants the fault into the module that everybody has imported already: the code of the function that it is in is
exchanged, or a value of the module in every module that holds it.
"""

import functools
import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from types import FunctionType, ModuleType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.infection import Watch, watched
from tests.mutation.mutants import MODULE, Mutant, mutants

ROOT = Path(__file__).parents[2]
ENDLESS = 10
"""CPU seconds that the tests of a mutant may take beyond ten times their usual time: then it turns for ever."""
MEMORY = 2 << 30
"""Bytes: a fault may also grow for ever."""
SURVIVED, KILLED, BROKEN = 0, 1, 3


@dataclass(slots=True)
class Reach:
    """Which tests could notice which fault, and how long each takes."""

    by: dict[tuple[str, int], set[int]]
    """Numbers of tests by path and number of the fault."""
    seconds: list[float]

    def of(self, mutant: Mutant, number: int) -> list[int]:
        """Return the tests that could notice a fault, the quickest first."""
        every = range(len(self.seconds))
        found = every if mutant.place == MODULE else self.by.get((mutant.path, number), ())
        return sorted(found, key=self.seconds.__getitem__)


def learn(items: Sequence[pytest.Item], paths: Sequence[str], report: Callable[[int], None]) -> Reach:
    """Run every test once without a fault, in a fork, and see which faults it could notice."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        code = BROKEN
        try:
            os.close(inlet)
            reach = _learn(items, paths, report)
            with os.fdopen(outlet, "wb") as told:
                pickle.dump(reach, told)
            code = 0
        except BaseException:  # noqa: BLE001 - the fork must not go on as if it were the parent
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(outlet)
    with os.fdopen(inlet, "rb") as told:
        held = told.read()
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit("the tests do not pass without a fault")
    reach: Reach = pickle.loads(held)  # noqa: S301 - written by our own fork
    return reach


def _learn(items: Sequence[pytest.Item], paths: Sequence[str], report: Callable[[int], None]) -> Reach:
    watch = Watch()
    for path in paths:
        module = module_of(path)
        vars(module).update(watch.names(path))
        fresh = {**vars(module)}
        made = mutants(path, (ROOT / path).read_text())
        exec(compile(watched(made), path, "exec"), fresh)  # noqa: S102 - what this is for
        for place in {m.place for m in made} - {MODULE}:
            _exchange(_function(vars(module), place), _function(fresh, place))
    forget()
    seconds = []
    for number, item in enumerate(items):
        watch.test, began = number, process_time()
        if failed := _failure(item):
            raise RuntimeError(f"{item.nodeid} fails without any fault: {failed}")
        seconds.append(process_time() - began)
        report(number + 1)
    return Reach(dict(watch.by), seconds)


def forget() -> None:
    """Empty every `lru_cache` of policy: what was remembered without the fault would hide it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tradingrelease"):
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def attempt(mutant: Mutant, items: Sequence[pytest.Item], chosen: Sequence[int], seconds: float) -> tuple[str, int]:
    """Return how a mutant fares: `killed`, `endless` or `survived`, and the number of the test that noticed."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        os.close(inlet)
        _in_the_fork(mutant, items, chosen, seconds, outlet)
    os.close(outlet)
    with os.fdopen(inlet) as said:
        last = said.read().split()
    _, status = os.waitpid(child, 0)
    tried = int(last[-1]) if last else -1
    if os.WIFSIGNALED(status):
        return "endless", tried
    code = os.WEXITSTATUS(status)
    if code not in {SURVIVED, KILLED}:
        raise RuntimeError(f"cannot be planted: {mutant.path} {mutant.name}")
    return ("killed", tried) if code == KILLED else ("survived", -1)


def _in_the_fork(
    mutant: Mutant, items: Sequence[pytest.Item], chosen: Sequence[int], seconds: float, outlet: int
) -> None:
    code = BROKEN
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        limit = int(process_time() + 10 * seconds + ENDLESS)
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        plant(mutant)
        forget()
        code = SURVIVED
        for number in chosen:
            os.write(outlet, f"{number} ".encode())
            if _failure(items[number]):
                code = KILLED
                break
    finally:
        os._exit(code)


def _failure(item: pytest.Item) -> str:
    """Run a test; return how it fails, or nothing."""
    reports = runtestprotocol(item, log=False, nextitem=None)
    return next((report.longreprtext or "it fails" for report in reports if report.failed), "")


# --- planting ---------------------------------------------------------------------------------------------------------


def module_of(path: str) -> ModuleType:
    """Return the module of a path, as everybody has imported it."""
    return sys.modules[path.removeprefix("operator/").removesuffix(".py").replace("/", ".")]


def plant(mutant: Mutant) -> None:
    """Let everybody meet the fault."""
    module = module_of(mutant.path)
    fresh: dict[str, Any] = {**vars(module)}
    code = compile(mutant.planted(), str(ROOT / mutant.path), "exec")
    try:
        exec(code, fresh)  # noqa: S102 - what this is for
    except Exception:  # noqa: BLE001 - a module that cannot be imported is noticed by everybody
        os._exit(KILLED)
    if mutant.place != MODULE:
        _exchange(_function(vars(module), mutant.place), _function(fresh, mutant.place))
        return
    for name, value in _values(fresh):
        old_value = vars(module).get(name)
        for holder in _holders(name, old_value):
            setattr(holder, name, value)


def _exchange(old: FunctionType, new: FunctionType) -> None:
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _function(names: dict[str, Any], place: str) -> FunctionType:
    first, *rest = place.split(".")
    found = names[first]
    for part in rest:
        found = vars(found)[part]
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    return getattr(found, "__wrapped__", found)


def _values(names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a module computes itself, apart from functions and classes."""
    yield from ((n, v) for n, v in names.items() if not n.startswith("__") and not isinstance(v, type | FunctionType))


def _holders(name: str, value: object) -> list[ModuleType]:
    """Return the modules that have taken up a value under its name."""
    ours = [m for n, m in list(sys.modules.items()) if n.startswith(("tradingrelease", "tests"))]
    return [m for m in ours if getattr(m, name, _holders) is value]
