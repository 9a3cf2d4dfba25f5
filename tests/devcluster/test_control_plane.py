"""A bare control plane: up in seconds, several side by side, and nothing left however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.cluster import ControlPlane, ControlPlaneNotRunning, StepFailedError

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="namespaces need root on Linux"),
]


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane.start("test-one") as started:
        yield started


def kubectl(plane: ControlPlane, *arguments: str) -> str:
    done = subprocess.run(plane.command(["kubectl", *arguments]), capture_output=True, text=True, check=True)
    return done.stdout


def until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_a_started_control_plane_answers_readyz(plane):
    assert kubectl(plane, "get", "--raw=/readyz") == "ok"


def test_the_controller_manager_works(plane):
    assert until(lambda: "default" in kubectl(plane, "get", "serviceaccounts", "-o", "name"))


def test_the_audit_log_tells_who_asked_what(plane):
    kubectl(plane, "create", "configmap", "seen-in-the-audit-log")
    told = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    made = [event for event in told if event.get("objectRef", {}).get("name") == "seen-in-the-audit-log"]
    assert [(event["user"]["username"], event["level"]) for event in made] == [("admin", "Metadata")]


@pytest.mark.parametrize("part", ["etcd", "apiserver", "controller-manager"])
def test_a_killed_part_is_gone_and_comes_back(plane, part):
    before = plane.pid(part)
    plane.kill(part)
    assert plane.pid(part) is None
    plane.restart(part)
    assert plane.pid(part) not in {None, before}
    assert plane.ready()


def test_a_signal_reaches_the_wrapped_command_itself(plane):
    sleeping = subprocess.Popen(plane.command(["sleep", "60"]))
    sleeping.terminate()
    assert sleeping.wait(timeout=5) == -signal.SIGTERM


def test_a_thread_can_enter_the_network(plane):
    with plane.entered():
        asked = subprocess.run(
            ["kubectl", "get", "--raw=/readyz"],
            env=os.environ | plane.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    assert asked.stdout == "ok"


def test_two_run_side_by_side_and_know_nothing_of_each_other(plane, nothing_left):
    with ControlPlane.start("test-two", controller_manager=False, fsync=True, extra_apiserver_flags=["--v=1"]) as other:
        kubectl(other, "create", "namespace", "only-in-the-second")
        assert "only-in-the-second" in kubectl(other, "get", "namespaces")
        assert "only-in-the-second" not in kubectl(plane, "get", "namespaces")
        assert other.pid("controller-manager") is None
    nothing_left(other.sandbox.net)
    assert not other.folder.exists()


def test_the_same_name_is_not_started_twice(plane):
    with pytest.raises(StepFailedError, match="runs already"):
        ControlPlane.start(plane.name)


def test_a_kept_one_outlives_its_launcher_until_down(nothing_left):
    command = [str(ROOT / "devcluster" / "control-plane")]
    begun = time.monotonic()
    subprocess.run([*command, "up", "--name=test-kept"], check=True)
    assert time.monotonic() - begun < 30, "it takes 3 s on two idle cores"
    kept = ControlPlane.open("test-kept")
    assert kept.ready()
    subprocess.run([*command, "down", "--name=test-kept"], check=True)
    nothing_left(kept.sandbox.net)
    with pytest.raises(ControlPlaneNotRunning, match="control-plane up --name=test-kept"):
        ControlPlane.open("test-kept")


def test_killing_the_launcher_leaves_nothing_and_the_next_start_recovers(nothing_left, processes_in):
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from devcluster.cluster import ControlPlane\n"
        "print(ControlPlane.start('test-killed').sandbox.net, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(ROOT)], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout
        namespace = launcher.stdout.readline().strip()
        assert namespace.startswith("net:")
        launcher.kill()
    assert until(lambda: not processes_in(namespace))
    nothing_left(namespace)
    with ControlPlane.start("test-killed") as again:
        assert again.ready()
