"""What runs at GitHub runs here too: every command is a make target, every action is pinned by its commit."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = {
    target
    for file in (ROOT / "Makefile", ROOT / "devcluster" / "targets.mk")
    for target in re.findall(r"^([a-z0-9-]+):(?!=)", file.read_text(), re.MULTILINE)
}


def steps(file):
    """Yield each step of a workflow, or of the action."""
    raw = yaml.safe_load(file.read_text())
    for job in raw.get("jobs", {"": raw.get("runs")}).values():
        yield from job["steps"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_every_command_of_a_workflow_is_one_make_target(file):
    for step in steps(file):
        if command := step.get("run"):
            assert command.split()[0] == "make", command
            assert len(command.split()) == 2, command
            assert command.split()[1] in TARGETS, command


@pytest.mark.parametrize("file", [*WORKFLOWS, ROOT / "action.yml"], ids=lambda file: file.stem)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(file):
    used = re.findall(r"uses: (.*)", file.read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_no_workflow_has_rights_that_it_does_not_name(file):
    raw = yaml.safe_load(file.read_text())
    assert raw["permissions"] in ({}, {"contents": "read"})
    assert "pull_request_target" not in raw[True], "yaml reads `on` as True"


def test_every_stage_of_the_tests_runs_in_ci():
    stages = re.split(r"[ +]", re.search(r"\((check .*?)\)", (ROOT / "tools" / "test").read_text())[1])
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert {*jobs["test"]["strategy"]["matrix"]["stage"], "e2e"} == set(stages)
    pins = (ROOT / "devcluster" / "pins.toml").read_text()
    assert set(jobs["e2e"]["strategy"]["matrix"]["kubernetes"]) == set(re.findall(r'kubernetes\."(.*)"', pins))


def test_no_input_of_the_action_reaches_a_script_as_text():
    """`${{ inputs.x }}` inside a script is a command of whoever sets x."""
    for step in steps(ROOT / "action.yml"):
        assert "${{" not in step.get("run", "")
