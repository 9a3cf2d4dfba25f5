"""Taking the operator away must never touch traffic. Alone: the CRDs are the cluster's."""

import contextlib
from functools import partial
from pathlib import Path

import pytest

from devcluster.crds import wait_until_established
from tests.e2e.builders import release
from tests.e2e.faults import kubectl
from tests.e2e.installed import wait_until_served
from tests.e2e.scenes import SHORT, first, go_live, part
from tests.oracle import RELEASE, label

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

CRDS = Path(__file__).resolve().parents[2] / "crds"


def install(arena):
    kubectl(arena, "apply", "--server-side", "--force-conflicts", f"--filename={CRDS}")
    wait_until_established(partial(kubectl, arena), f"--filename={CRDS}")
    wait_until_served()


def test_deleted_crds_leave_traffic_as_it_is_and_installed_again_all_goes_on(arena):
    first(arena, "1")
    state = go_live(arena, "2")
    green, pods = state.selected("backend"), {p["metadata"]["uid"] for p in state.pods()}
    arena.finally_(lambda: install(arena))
    with arena.load("backend") as load:
        kubectl(arena, "delete", "--wait=true", "--timeout=60s", f"--filename={CRDS}")
        arena.until(lambda s: s.get("TradingRelease", "shop") is None, "the release is gone with its CRD", 60)
        arena.never(lambda s: s.selected("backend") != green or len(s.pods()) < 2, "traffic or pods change", 10)
        load.wait_for(lambda r: len(r) > 100, 30)
    assert not load.records().failed(), load.records().by_outcome()
    assert load.records().versions() == ["2"]
    install(arena)
    with contextlib.suppress(AssertionError):  # without its CRDs it may have given up: its pod is then started anew
        arena.operator.stop()
    arena.operator.start()
    arena.until(lambda s: not label(s.get("Service", "backend"), RELEASE), "its Service is free", 60)
    arena.apply(release("2", part("2"), watch=SHORT))
    state = arena.until(lambda s: s.ready("2"), "it is taken over", 60)
    assert state.selected("backend") == green
    assert {p["metadata"]["uid"] for p in state.pods()} == pods
