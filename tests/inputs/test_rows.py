"""The list of bad input is complete: each of the 76 rows has a test that exists, or a reason why it needs none."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.catalogue import MAIN
from tests.faults.plan import Plan
from tests.inputs.rows import BY_FAULTS, ELSEWHERE, NOT_APPLICABLE, ROWS

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"row[_-](\d\d)(?!\d)")


@pytest.fixture(scope="module")
def collected():
    """Ask pytest which tests there are, here and in the files that the list names."""
    files = sorted({node.partition("::")[0] for nodes in ELSEWHERE.values() for node in nodes})
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/inputs", *files]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 0, answer.stdout[-2000:]
    return [line for line in answer.stdout.splitlines() if "::" in line]


def test_every_row_is_tested_or_says_why_not(collected):
    here = {int(number) for line in collected if line.startswith("tests/inputs") for number in NUMBER.findall(line)}
    tested = here | set(ELSEWHERE) | set(BY_FAULTS)

    assert sorted(ROWS) == list(range(1, 77))
    assert sorted(tested | set(NOT_APPLICABLE)) == list(range(1, 77))
    assert tested & set(NOT_APPLICABLE) == set()


def test_every_test_that_the_list_names_exists(collected):
    known = {line.partition("[")[0] for line in collected}

    assert [node for nodes in ELSEWHERE.values() for node in nodes if node not in known] == []


def test_every_fault_that_the_list_names_is_among_the_default_plans():
    tried = {*MAIN, *(Plan.load(file).fault for file in (ROOT / "tests" / "faults" / "plans").glob("*.json"))}

    assert [fault for faults in BY_FAULTS.values() for fault in faults if fault not in tried] == []
