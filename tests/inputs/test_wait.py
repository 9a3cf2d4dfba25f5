"""`tradingrelease wait` with the real operator: each exit code as a pipeline meets it."""

import json
import os
import subprocess
import sys

import pytest

from tests.e2e import builders
from tests.inputs.place import release, template


@pytest.fixture
def deploy(place, tmp_path):
    """Run a pipeline's one command; return its exit code, its lines and its last word."""
    place.apply(builders.service())

    def run(body, seconds=60):
        file = tmp_path / "release.json"
        file.write_text(json.dumps(body))
        argv = [
            sys.executable,
            "-m",
            "tradingrelease",
            "wait",
            "--file",
            file,
            "-n",
            place.namespace,
            f"--timeout={seconds}s",
        ]
        answer = subprocess.run(argv, env=os.environ, capture_output=True, text=True, check=False, timeout=90)
        return answer.returncode, answer.stdout.splitlines(), answer.stderr

    return run


def test_exit_0_is_live_and_proven_and_the_same_manifest_again_is_0_at_once(place, deploy):
    code, lines, errors = deploy(release("1"))
    assert (code, errors) == (0, "")
    assert place.now.ready("1")
    assert lines[-1] == "tradingrelease: live and proven: Proven: version 1 is live and proven"
    again, lines, _ = deploy(release("1"))
    assert (again, len(lines)) == (0, 3), "what it is, where it stands, and the end"
    assert deploy(release("2"))[0] == 0
    assert place.now.ready("2")


def test_exit_1_is_a_version_that_fails_and_again_with_the_same_manifest(place, deploy):
    assert deploy(release("1"))[0] == 0
    bad = release("2", pods=template("2", image="x:unready"), progressDeadline="4s")
    code, _, errors = deploy(bad)
    assert code == 1
    assert errors.startswith("tradingrelease: failed: DeadlineExceeded: version 2 ")
    assert place.now.live() == "1"
    code, _, errors = deploy(bad)
    assert (code, "is not tried again until its spec changes" in errors) == (1, True)


def test_exit_2_is_a_spec_that_the_operator_refuses(place, deploy):
    code, _, errors = deploy(release("1", health=builders.HEALTH | {"expect": "respnse.status == 200"}))
    assert code == 2
    assert "refused: InvalidExpression: component 'backend', health.expect: unknown name 'respnse'" in errors


def test_exit_3_says_what_it_waited_for_and_the_release_goes_on(place, deploy):
    code, _, errors = deploy(release("1", pods=template("1", image="x:unready")), seconds=6)
    assert code == 3
    assert "last: Progressing: component backend: 0 of 1 replicas available" in errors
    assert place.now.status()["candidate"]["version"] == "1"
