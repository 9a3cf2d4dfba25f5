"""A fault of every kind is made, reads as what it is, and is noticed or not as it should be."""

import ast
from textwrap import dedent

import pytest

from tests.mutation.mutants import mutants


def made(source):
    """Return the names of the faults of a module."""
    return [m.name for m in mutants("m.py", dedent(source))]


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ("return a < b", ["return a < b => return None", "a < b => a <= b", "a < b => a >= b"]),
        ("return a is b", ["return a is b => return None", "a is b => a is not b"]),
        ("if a: pass", ["a => a or True", "a => a and False"]),
        ("x = not a", ["not a => a"]),
        ("x = a and b", ["a and b => a or b", "a and b => b", "a and b => a"]),
        ("x = [y for y in z if y]", ["y => y or True", "y => y and False"]),
        ("x = 5", ["5 => 6"]),
        ("x = True", ["True => False"]),
        ("x = 'Done'", ["'Done' => 'Done!'"]),
        ("x = max(a, b) - c", ["max(a, b) - c => max(a, b) + c", "max(a, b) => min(a, b)"]),
        ("x = a[::-1]", ["a[::-1] => a", "1 => 2"]),
        ("f(a, b=c)", ["f(a, b=c) => pass", "f(a, b=c) => without b=c"]),
        ("x = x + y", ["x = x + y => pass", "x + y => x - y"]),
        ("x = {a: b, **c}", ["{a: b, **c} => without a", "{a: b, **c} => without c"]),
        ("x = {a, b}", ["{a, b} => without a", "{a, b} => without b"]),
        ("for a in b: continue", ["continue => pass"]),
    ],
)
def test_a_fault_of_every_kind(line, faults):
    assert made(f"def f():\n    {line}") == [f"f: {fault}" for fault in faults]


@pytest.mark.parametrize(
    "line",
    ['"""Say something."""', "x = 'two words'", "x = f'{a + 1}'", "x = f'{a}' if a else ''", "x: int = a", "import a"],
)
def test_no_fault_is_made_in_what_no_program_reads(line):
    assert made(f"def f():\n    {line}") == []


@pytest.mark.parametrize("line", ["Rule = Callable[[World], Decision]", "Write = Create | Merge"])
def test_no_fault_is_made_in_the_name_of_a_type(line):
    assert made(line) == []


def test_each_case_of_a_match_may_be_missing():
    source = """
        def f(a):
            match a:
                case 1: g()
                case _: h()
    """
    assert made(source) == ["f: 1 => nothing", "f: g() => pass", "f: _ => nothing", "f: h() => pass"]


def test_faults_that_read_the_same_are_told_apart():
    assert made("def f():\n    x = 1\n    y = 1") == ["f: 1 => 2", "f: 1 => 2 #2"]


def test_a_planted_fault_is_the_only_change():
    source = "def f(a, b):\n    return {'x': a, **b}"
    wanted = [
        "def f(a, b):\n    return None",
        "def f(a, b):\n    return {**b}",
        "def f(a, b):\n    return {'x': a}",
        "def f(a, b):\n    return {'x!': a, **b}",
    ]
    planted = [ast.unparse(mutants("m.py", source)[i].planted()) for i in range(len(wanted))]
    assert planted == wanted
