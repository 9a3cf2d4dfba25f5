"""One arena for each test, and what all of them need once: CRDs, RBAC, and a kubeconfig for the operator.

Run inside the cluster's network: `devcluster/exec .venv/bin/python -m pytest tests/e2e -n 4`.
"""

import fcntl
import os
from pathlib import Path

import pytest
import yaml

from tests.e2e.api import Access
from tests.e2e.arena import Arena
from tests.e2e.installed import ACCOUNT, FILES, ROOT, SYSTEM, kubectl

REPORT = pytest.StashKey[pytest.TestReport]()


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


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
    """Install CRDs and RBAC (once, whichever worker comes first) and log in as the operator's ServiceAccount."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared
    target = shared / "operator-kubeconfig"
    with (shared / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            kubectl("apply", "--server-side", "--force-conflicts", *(f"--filename={file}" for file in FILES))
            kubectl("wait", "--for=condition=Established", "--timeout=60s", *_crds())
            token = kubectl("create", "token", ACCOUNT, f"--namespace={SYSTEM}", "--duration=8h")
            target.write_text(_as_operator(token))
    return target


def _crds():
    return [f"crd/{yaml.safe_load(file.read_text())['metadata']['name']}" for file in (ROOT / "crds").glob("*.yaml")]


def _as_operator(token):
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    current = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c for c in config["clusters"] if c["name"] == current["cluster"])
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": ACCOUNT, "user": {"token": token}}],
            "contexts": [{"name": ACCOUNT, "context": {"cluster": cluster["name"], "user": ACCOUNT}}],
            "current-context": ACCOUNT,
        }
    )


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
