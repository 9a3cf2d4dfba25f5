"""One arena for each test, and what all of them need once: CRDs, RBAC, admission, a kubeconfig for the operator.

Run inside the cluster's network: `devcluster/exec .venv/bin/python -m pytest tests/e2e -n 4`.
"""

import fcntl
import os

import pytest

from tests.e2e.api import Access
from tests.e2e.arena import Arena
from tests.e2e.chart import Installation
from tests.e2e.installed import ACCOUNT, SYSTEM, install, logged_in

REPORT = pytest.StashKey[pytest.TestReport]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[REPORT] = report
    return report


@pytest.fixture(scope="session")
def access():
    assert os.environ.get("KUBECONFIG"), "run these tests through devcluster/exec: they need the cluster's network"
    return Access.load()


@pytest.fixture(scope="session")
def operator_kubeconfig(access, tmp_path_factory):
    """Install CRDs, RBAC and who-is-who by admission (once, whichever worker comes first) and log in as the operator's ServiceAccount."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared
    target = shared / "operator-kubeconfig"
    with (shared / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            install(admission=True)
            target.write_text(logged_in(ACCOUNT, SYSTEM))
    return target


@pytest.fixture
def arena(request, access, operator_kubeconfig, tmp_path):
    """Give the test a namespace and an operator of its own. In the end: the invariants; on failure the last words."""
    arena = Arena(access, operator_kubeconfig, tmp_path, os.environ.get("NAME", "dev"))
    try:
        arena.open()
        yield arena
        report = request.node.stash.get(REPORT, None)
        failed = report is None or report.failed
        if failed:
            print(arena.summary())
        broken = arena.violations()
        listed = "\n".join(str(violation) for violation in broken)
        assert not broken, f"invariants did not hold:\n{listed}\n{'' if failed else arena.summary()}"
    finally:
        arena.close()


@pytest.fixture
def installation(arena):
    """Let pods that Helm installs do it, instead of a process of the arena's."""
    arena.operator.stop()
    return Installation(arena)
