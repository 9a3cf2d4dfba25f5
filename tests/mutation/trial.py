"""Runs tests against one fault at a time, in a fork of this process: the tests are collected and imported only once.

A fork plants the fault into the module that everybody has imported already: the code of the function that it is in is
exchanged, or a value of the module in every module that holds it.
"""

import functools
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from types import FunctionType, ModuleType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.mutants import MODULE, Mutant

ROOT = Path(__file__).parents[2]
ENDLESS = 10
"""CPU seconds that the tests of a mutant may take beyond ten times their usual time: then it turns for ever."""
MEMORY = 2 << 30
"""Bytes: a fault may also grow for ever."""
SURVIVED, KILLED, BROKEN = 0, 1, 3


@dataclass(slots=True)
class Reach:
    """Which tests reach which line, and how long each takes."""

    lines: dict[str, dict[int, set[int]]] = field(default_factory=dict)
    """Numbers of tests by line, by path."""
    seconds: list[float] = field(default_factory=list)

    def of(self, mutant: Mutant) -> list[int]:
        """Return the tests that may notice a fault, the quickest first."""
        if mutant.place == MODULE:
            return sorted(range(len(self.seconds)), key=self.seconds.__getitem__)
        lines = self.lines[mutant.path]
        found = set().union(*(lines.get(n, ()) for n in range(mutant.first, mutant.last + 1)))
        return sorted(found, key=self.seconds.__getitem__)


def learn(items: Sequence[pytest.Item], paths: Sequence[str], report: Callable[[int], None]) -> Reach:
    """Run every test once without a fault, and see where it comes by."""
    reach = Reach({path: {} for path in paths})
    files = {str(ROOT / path): reach.lines[path] for path in paths}
    for number, item in enumerate(items):
        forget()
        began = process_time()
        with _watching(files, number):
            failed = not _passes(item)
        if failed:
            pytest.exit(f"{item.nodeid} fails without any fault", returncode=2)
        reach.seconds.append(process_time() - began)
        report(number + 1)
    return reach


class _watching:  # noqa: N801 - a context manager reads as a word
    def __init__(self, files: dict[str, dict[int, set[int]]], number: int) -> None:
        self.files, self.number = files, number

    def __enter__(self) -> None:
        def call(frame: Any, event: str, arg: object) -> Any:
            lines = self.files.get(frame.f_code.co_filename)
            if lines is None:
                return None

            def line(frame: Any, event: str, arg: object) -> Any:
                lines.setdefault(frame.f_lineno, set()).add(self.number)
                return line

            return line(frame, event, arg)

        sys.settrace(call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)


def forget() -> None:
    """Empty every `lru_cache`: what was remembered without the fault would hide it."""
    for found in gc.get_objects():
        if isinstance(found, functools._lru_cache_wrapper) and found.__module__.startswith("tradingrelease"):
            found.cache_clear()


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
            if not _passes(items[number]):
                code = KILLED
                break
    finally:
        os._exit(code)


def _passes(item: pytest.Item) -> bool:
    reports = runtestprotocol(item, log=False, nextitem=None)
    return not any(report.failed for report in reports)


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
        old, new = _function(vars(module), mutant.place), _function(fresh, mutant.place)
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
        return
    for name, value in _values(fresh):
        old_value = vars(module).get(name)
        for holder in _holders(name, old_value):
            setattr(holder, name, value)


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
