"""`tradingrelease wait` with the real operator: each exit code as a pipeline meets it."""

import json
import os
import subprocess
import sys

import pytest

from devcluster.places import ROOT
from tests.e2e import builders
from tests.inputs.place import release, template

RESULTS = ("ready", "failed", "refused", "timeout")
PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))


@pytest.fixture
def deploy(place, tmp_path):
    """Run what action.yml runs; return the exit code of `wait`, its lines and its last word. A job is told the same."""
    place.apply(builders.service())

    def run(body, seconds=60):
        file, output, summary = (tmp_path / name for name in ("release.json", "output", "summary"))
        file.write_text(json.dumps(body))
        job = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary), "RUNNER_TEMP": str(tmp_path)}
        inputs = {"FILE": str(file), "NAME": "", "NAMESPACE": place.namespace, "SPAN": f"{seconds}s"}
        env = os.environ | job | inputs | {"DEPENDENCIES": PACKAGES, "PYTHON": sys.executable}
        summary.write_text("")
        answer = subprocess.run(
            [ROOT / "tools" / "deploy"], env=env, capture_output=True, text=True, check=False, timeout=90
        )
        assert output.read_text().splitlines()[-1] == f"result={RESULTS[answer.returncode]}"
        assert summary.read_text().startswith(f"### {place.namespace}/shop")
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
