"""The load as a child process, against the example application."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from loadgen import IncompleteError, Load, Records, Target


def a_load(pod, tmp_path, **options):
    return Load([Target("backend", pod.url)], tmp_path / "load.jsonl", **({"rate": 100.0} | options))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_request_is_there_at_the_end_in_memory_and_in_the_file(start, tmp_path):
    with a_load(start(), tmp_path) as load:
        load.wait_for(lambda records: len(records) >= 50, 10)
    assert load.records() == Records.parse((tmp_path / "load.jsonl").read_text().splitlines())
    assert len(load.records()) >= 50
    assert load.count() == {("1", False): len(load.records())}
    assert not load.records().failed().all


def test_questions_are_answered_while_it_runs(start, tmp_path):
    with a_load(start(VERSION="7"), tmp_path) as load:
        assert load.wait_for(lambda records: records.first_answer("7"), 10).version == "7"


def test_a_question_about_now_does_not_see_what_was(start, tmp_path):
    with a_load(start(), tmp_path) as load:
        long_ago = load.wait_for(lambda records: len(records) >= 30 and records.last_answer(), 10)
        recent = load.wait_for(lambda records: len(records) >= 5 and records, 10, since=long_ago.done)
        assert all(record.done >= long_ago.done for record in recent)


def test_a_question_that_stays_open_ends_at_its_deadline(start, tmp_path):
    with (
        a_load(start(), tmp_path) as load,
        pytest.raises(TimeoutError, match=r"still not so after 0\.3 s"),
    ):
        load.wait_for(lambda records: records.first_answer("never"), 0.3)


def test_it_runs_behind_any_prefix(start, tmp_path):
    with a_load(start(), tmp_path, prefix=["env", "PYTHONDONTWRITEBYTECODE=1"]) as load:
        assert load.command[:2] == ["env", "PYTHONDONTWRITEBYTECODE=1"]


def test_a_generator_that_dies_is_never_taken_for_a_quiet_one(start, tmp_path):
    load = a_load(start(), tmp_path)
    with pytest.raises(IncompleteError, match="records of None arrived"), load:
        load._process.kill()
    with pytest.raises(IncompleteError, match="has ended"):
        load.wait_for(lambda records: records.first_answer("never"), 10)


def test_a_generator_that_cannot_start_says_why(tmp_path):
    with (
        pytest.raises(IncompleteError, match=r"write http://HOST:PORT/PATH"),
        Load([Target("backend", "nonsense")], tmp_path / "load.jsonl"),
    ):
        pass


def test_it_ends_when_whoever_started_it_is_killed(start, tmp_path):
    """Its standard input closes then, and nothing is left behind."""
    pod = start()
    script = f"""
import sys
from pathlib import Path
from loadgen import Load, Target
with Load([Target("backend", {pod.url!r})], Path({str(tmp_path / "load.jsonl")!r})) as load:
    print(load._process.pid, flush=True)
    sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with parent:
        generator = int(parent.stdout.readline())
        pidfd = os.pidfd_open(generator)
        parent.kill()
        assert select.select([pidfd], [], [], 10)[0]
        os.close(pidfd)
    assert not is_running(generator) or Path(f"/proc/{generator}/stat").read_text().split()[2] == "Z"
