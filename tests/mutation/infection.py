"""Sees in one run of a test which faults it could notice at all, without trying them.

A test can notice a fault only if it reaches the statement, and if what is written there gives another value than what
was to be written. So next to every expression each of its faults is computed as well, which is harmless where code is
pure; only where the values differ is it worth a run of the test with that fault.
"""

import ast
import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.mutation.mutants import MODULE, Mutant, put

AT, BESIDE = "_mutation_at", "_mutation_beside"
CHANGING = {"append", "extend", "pop", "remove", "add", "sort", "update", "setdefault", "insert"}
"""Calls that must not be made twice."""


class Watch:
    """Notes which faults the test of now could notice."""

    def __init__(self) -> None:
        self.test = -1
        self.by: dict[tuple[str, int], set[int]] = defaultdict(set)
        """Numbers of tests by path and number of the fault."""

    def names(self, path: str) -> dict[str, Any]:
        """Return what the watched code of a module calls."""

        def at(*numbers: int) -> None:
            for number in numbers:
                self.by[path, number].add(self.test)

        def beside(written: Callable[[], Any], alike: Callable[[Any, Any], bool], *faults: Any) -> Any:
            value = written()
            for number, fault in zip(faults[::2], faults[1::2], strict=True):
                if self.test not in self.by[path, number] and not _same(value, fault, alike):
                    self.by[path, number].add(self.test)
            return value

        return {AT: at, BESIDE: beside, "_mutation_alike": _alike, "_mutation_alike_as_condition": _alike_as_condition}


def _same(value: Any, fault: Callable[[], Any], alike: Callable[[Any, Any], bool]) -> bool:
    try:
        return alike(value, fault())
    except Exception:  # noqa: BLE001 - a fault may raise anything, and would be noticed
        return False


def _alike(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))


def _alike_as_condition(one: Any, other: Any) -> bool:
    return bool(one) is bool(other)


def watched(made: Sequence[Mutant]) -> ast.Module:
    """Return the module of faults with all of them beside what is written; their tree is used up by it."""
    beside: dict[ast.AST, list[tuple[int, ast.expr]]] = defaultdict(list)
    at: dict[ast.AST, list[int]] = defaultdict(list)
    conditions = set()
    for number, mutant in enumerate(made):
        if mutant.place == MODULE:
            continue
        if found := _expressions(mutant):
            written, fault = found
            beside[written].append((number, fault))
            if mutant.field == "test":
                conditions.add(written)
        else:
            at[mutant.statement].append(number)
    tree = made[0].tree
    return ast.fix_missing_locations(_Beside(beside, at, conditions).visit(tree))


def _expressions(mutant: Mutant) -> tuple[ast.expr, ast.expr] | None:
    """Return what is written and what a fault makes of it, where both can be computed side by side."""
    written: Any = mutant.parent
    fault: Any
    if mutant.instead is None:
        if not isinstance(written, ast.expr):
            return None
        fault = copy.deepcopy(written)
        put(mutant, fault)
    else:
        held = getattr(written, mutant.field)
        written = held if mutant.index is None else held[mutant.index]
        fault = copy.deepcopy(mutant.instead)
        if isinstance(written, ast.Return) and isinstance(fault, ast.Return):
            written, fault = written.value, fault.value
    if not isinstance(written, ast.expr) or isinstance(mutant.parent, ast.arguments) or not _twice(written):
        return None
    return written, fault


def _twice(node: ast.AST) -> bool:
    """Tell whether an expression may be computed twice."""
    for inner in ast.walk(node):
        match inner:
            case ast.NamedExpr() | ast.Yield() | ast.YieldFrom() | ast.Await() | ast.Starred():
                return False
            case ast.Call(ast.Attribute(attr=name)) if name in CHANGING:
                return False
    return True


class _Beside(ast.NodeTransformer):
    def __init__(
        self,
        beside: dict[ast.AST, list[tuple[int, ast.expr]]],
        at: dict[ast.AST, list[int]],
        conditions: set[ast.AST],
    ) -> None:
        self.beside, self.at, self.conditions = beside, at, conditions

    def visit(self, node: ast.AST) -> Any:
        faults, numbers = self.beside.get(node), self.at.get(node)
        seen = self.generic_visit(node)
        if numbers and isinstance(node, ast.FunctionDef):
            node.body.insert(0, _call(AT, [ast.Constant(n) for n in numbers]))
        elif numbers:
            return [_call(AT, [ast.Constant(n) for n in numbers]), seen]
        if faults:
            alike = "_mutation_alike_as_condition" if node in self.conditions else "_mutation_alike"
            return ast.Call(_name(BESIDE), [_later(seen), _name(alike), *_arguments(faults)], [])
        return seen


def _arguments(faults: Sequence[tuple[int, ast.expr]]) -> Iterator[ast.expr]:
    for number, fault in faults:
        yield ast.Constant(number)
        yield _later(fault)


def _later(body: ast.expr) -> ast.Lambda:
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), body)


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call(name: str, arguments: list[ast.expr]) -> ast.Expr:
    return ast.Expr(ast.Call(_name(name), arguments, []))
