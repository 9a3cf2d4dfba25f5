"""What was stored under the CRDs of an earlier version, under those of now and back: valid, unchanged, with its status."""

import importlib.util
import os
import shutil

import pytest
import yaml

from devcluster.cluster import ControlPlane
from tests import earlier
from tests.chart.helm import CHART
from tests.chart.test_lifecycle import NAME, Place

pytestmark = pytest.mark.apiserver

KINDS = {"TradingRelease": "tradingreleases", "ReleaseCommand": "releasecommands", "ReleaseFreeze": "releasefreezes"}


@pytest.fixture
def place(helm):
    with ControlPlane.start(f"cht-up-{os.getpid()}") as plane:
        yield Place(helm, plane)


def of_that_time():
    """Return the objects of all examples of the earlier version."""
    files = sorted((earlier.tree() / "examples").rglob("*.yaml"))
    read = [body for file in files for body in yaml.safe_load_all(file.read_text()) if body]
    ours = [body for body in read if body["kind"] in KINDS]
    for number, body in enumerate(ours):
        body["metadata"] |= {"name": f"stored-{number}", "namespace": "default"}
    return ours


def full_status():
    """Return a status with all that the earlier version may write, as its own tests have it."""
    found = importlib.util.spec_from_file_location(
        "earlier_status", earlier.tree() / "tests" / "crd" / "test_status.py"
    )
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.STATUS


class Stored:
    """Objects in the API server, as they were stored under the earlier CRDs."""

    def __init__(self, server):
        self._server = server
        listed = {"apiVersion": "v1", "kind": "List", "items": of_that_time()}
        server.kubectl("create", "--namespace=default", "-f", "-", manifest=listed)
        status = full_status()
        for body in self.now("TradingRelease"):
            self._write_status(body | {"status": status})
        self._first = {body["metadata"]["name"]: body for body in self.now()}

    def now(self, *kinds):
        """Return them as they are now."""
        listed = ",".join(KINDS[kind] for kind in kinds or KINDS)
        return self._server.read("get", listed, "--namespace=default")["items"]

    def assert_unchanged(self):
        """Check that nothing was lost, nothing came and nothing looks like a new spec."""
        now = {body["metadata"]["name"]: body for body in self.now()}
        assert now.keys() == self._first.keys()
        for name, was in self._first.items():
            assert now[name]["spec"] == was["spec"]
            assert now[name]["metadata"]["generation"] == was["metadata"]["generation"]
            if was["kind"] == "TradingRelease":
                assert now[name]["status"] == was["status"]

    def assert_writable(self, label):
        """Check that people and the operator may write them as they are."""
        kinds = ",".join(KINDS.values())
        self._server.kubectl("label", "--overwrite", "--all", "--namespace=default", kinds, f"example.com/seen={label}")
        for body in self.now("TradingRelease"):
            self._write_status(body)

    def _write_status(self, body):
        path = f"/apis/tradingplatform.io/v1alpha1/namespaces/default/tradingreleases/{body['metadata']['name']}/status"
        self._server.kubectl("replace", "--raw", path, "-f", "-", manifest=body)


def test_objects_of_an_earlier_version_are_valid_and_unchanged_after_an_upgrade_and_a_downgrade(place):
    place.install(chart=earlier.chart())
    stored = Stored(place.server)
    assert {body["kind"] for body in stored.now()} == KINDS.keys()

    place.done(f"upgrade {NAME}")
    place.server.settle()
    stored.assert_unchanged()
    stored.assert_writable("after-the-upgrade")
    stored.assert_unchanged()

    place.done(f"rollback {NAME}", chart=None)
    place.server.settle()
    stored.assert_writable("after-the-downgrade")
    stored.assert_unchanged()


def test_a_release_that_a_later_version_would_refuse_is_kept_and_can_still_be_steered(place, tmp_path):
    """Stricter CRDs hold for what is written anew: what was stored before is not cut off from its operator."""
    place.install()
    stored = Stored(place.server)
    later = shutil.copytree(CHART, tmp_path / "later")
    file = later / "files" / "crds" / "tradingreleases.yaml"
    crd = yaml.safe_load(file.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    spec["components"]["items"]["properties"]["name"]["pattern"] = "^later-"
    spec["version"]["pattern"] = "^later-"
    file.write_text("---\n" + yaml.safe_dump(crd))
    place.done(f"upgrade {NAME}", chart=later)
    place.server.settle()

    another = next(body for body in of_that_time() if body["kind"] == "TradingRelease")
    another["metadata"]["name"] = "another"
    assert "later-" in place.server.refusal(another)
    stored.assert_writable("after-the-upgrade")
    stored.assert_unchanged()
