"""The operator as users run it: pods of its own image, installed by Helm. Alone: it takes the CRDs over."""

import pytest

from tests.e2e.chart import NAME
from tests.e2e.scenes import first, go_live

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]


def test_installed_by_helm_it_releases_and_uninstalled_it_leaves_traffic_as_it_is(arena, installation):
    installation.install()
    pods = installation.pods()
    assert [status["ready"] for pod in pods for status in pod["status"]["containerStatuses"]] == [True, True]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2

    first(arena, "1")
    with arena.load("backend") as load:
        state = go_live(arena, "2")
        green = state.selected("backend")
        assert installation.leader()["metadata"]["name"] in {pod["metadata"]["name"] for pod in pods}
        serving = {pod["metadata"]["uid"] for pod in state.pods()}
        installation.uninstall()
        arena.never(
            lambda s: s.selected("backend") != green or len(s.pods()) < len(serving), "traffic or pods change", 10
        )
    assert not load.records().failed(), load.records().by_outcome()
    assert {pod["metadata"]["uid"] for pod in arena.now.pods()} == serving

    crds = {
        f"customresourcedefinition.apiextensions.k8s.io/{kind}.tradingplatform.io"
        for kind in ("tradingreleases", "releasecommands", "releasefreezes")
    }
    assert installation.left() == crds
    assert installation.kubectl("get", "leases,serviceaccounts,secrets", "-o", "name").split() == [
        f"lease.coordination.k8s.io/{NAME}", "serviceaccount/default",
    ]  # fmt: skip
