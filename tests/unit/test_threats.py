"""SECURITY.md promises nothing that no test shows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THREATS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in (ROOT / "SECURITY.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| threat")
]


def test_there_is_a_threat_model():
    assert len(THREATS) > 20


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat[0][:60])
def test_every_threat_names_a_test_that_exists(threat):
    shown = re.findall(r"`([^`]+)::([^`]+)`", threat[2])
    assert shown, "no test is named"
    for file, name in shown:
        tree = ast.parse((ROOT / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: lock.stem)
def test_every_dependency_is_pinned_by_its_hash(lock):
    entries = re.findall(r"^(\S+==\S+)((?:[^\n]*\\\n)*[^\n]*)", lock.read_text(), re.MULTILINE)
    assert len(entries) > 10
    assert not [name for name, rest in entries if "--hash=sha256:" not in rest]
