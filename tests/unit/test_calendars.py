"""What `tradingrelease calendar export` writes is what the operator reads."""

import os
import subprocess
import sys
from pathlib import Path

import yaml
from tradingrelease.policy.calendars import Calendar, parse

ENV = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "operator")}


def run(*arguments):
    argv = [sys.executable, "-m", "tradingrelease", *arguments]
    return subprocess.run(argv, env=ENV, capture_output=True, text=True, check=False, timeout=120)


def test_a_calendar_is_written_as_a_config_map_with_the_right_to_read_it():
    answer = run("calendar", "export", "24/7", "--years", "1", "--from", "2028-02-01", "--namespace", "production")
    assert answer.returncode == 0, answer.stderr
    config_map, role, binding = yaml.safe_load_all(answer.stdout)
    assert config_map["metadata"] == {
        "name": "24-7", "namespace": "production", "labels": {"tradingplatform.io/calendar": "24-7"},
    }  # fmt: skip
    calendar = parse(config_map["data"])
    assert isinstance(calendar, Calendar)
    assert (len(calendar.sessions), str(calendar.begins.date()), str(calendar.ends.date())) == (
        366,
        "2028-02-01",
        "2029-02-01",
    )
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["24-7"], "verbs": ["get"]}
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_a_market_whose_holidays_are_not_known_so_far_says_how_far_they_are():
    answer = run("calendar", "export", "XSHG", "--from", "2025-06-01", "--years", "9")
    assert "the holidays of XSHG are known until 2027-01-01 only" in answer.stderr
    calendar = parse(next(yaml.safe_load_all(answer.stdout))["data"])
    assert str(calendar.ends.date()) == "2027-01-01"


def test_a_market_that_nobody_knows_is_an_error():
    answer = run("calendar", "export", "NOPE")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "NOPE" in answer.stderr


def test_a_command_does_not_start_what_only_the_operator_needs():
    code = "import sys, tradingrelease.__main__; print({'kopf', 'aiohttp', 'exchange_calendars'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
