"""Installed, upgraded and taken away by the real Helm, on an API server of its own."""

import os
import shutil

import pytest
import yaml

from devcluster.cluster import ControlPlane
from tests.apiserver import Server
from tests.chart.helm import CHART, ROOT
from tests.waiting import eventually

pytestmark = pytest.mark.apiserver

NAME, NAMESPACE = "tradingrelease-operator", "tradingrelease-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{NAME}"
CLUSTER_WIDE = {
    "crds": {"install": False}, "userRoles": {"create": False},
    "admission": {who: {"enabled": False} for who in ("actionVerbs", "deputy", "identity")},
}  # fmt: skip


class Place:
    """An empty cluster, and Helm in it."""

    def __init__(self, helm, plane):
        self.server = Server(plane)
        self._helm, self._plane = helm, plane

    def helm(self, command, *arguments, values=None, chart=CHART, namespace=NAMESPACE):
        """Run Helm, whatever it answers."""
        return self._helm.run(
            command, f"--namespace={namespace}", *arguments, values=values, chart=chart, through=self._plane.command
        )

    def done(self, command, *arguments, **more):
        """Run Helm; a refusal fails the test with its words."""
        answer = self.helm(command, *arguments, **more)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def install(self, name=NAME, **more):
        """Install the chart, and wait until its API is there."""
        told = self.done(f"install {name}", "--create-namespace", **more)
        self.server.settle()
        return told

    def release(self):
        """Create a release, and return what was stored."""
        return self.server.create("default", yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text()))

    def stored(self):
        """Return that release as it is now."""
        return self.server.read("get", "tradingrelease", "trading-platform", "-n", "default")

    def made(self, name=NAME):
        """Name everything in the cluster that says it belongs to an installation."""
        listable = self.server.kubectl("api-resources", "--verbs=list", "-o", "name").split()
        kinds = ",".join(kind for kind in listable if not kind.startswith(("events", "componentstatuses")))
        selector = f"--selector=app.kubernetes.io/instance={name}"
        told = self.server.kubectl("get", kinds, "-A", selector, "-o", "name", "--ignore-not-found")
        return {line for line in told.split() if "/" in line}

    def may(self, verb, what, namespace):
        """Ask what the operator may do."""
        answer = self.server.run("auth", "can-i", verb, what, f"--as={OPERATOR}", "-n", namespace)
        return answer.stdout.strip() == "yes"


@pytest.fixture
def plane():
    with ControlPlane.start(f"cht-life-{os.getpid()}") as plane:
        yield plane


@pytest.fixture
def place(helm, plane):
    return Place(helm, plane)


def names_of_crds():
    files = (ROOT / "crds").glob("*.yaml")
    return {
        f"customresourcedefinition.apiextensions.k8s.io/{yaml.safe_load(f.read_text())['metadata']['name']}"
        for f in files
    }


def test_an_uninstalled_chart_leaves_its_crds_and_every_release_and_nothing_else(place):
    told = place.install()
    stored = place.release()
    everything = place.made()
    place.done(f"uninstall {NAME}", chart=None)
    place.server.kubectl("wait", "--for=delete", "deployment", "--all", "-n", NAMESPACE, "--timeout=60s")

    assert "serves the whole cluster" in told
    assert len(everything - names_of_crds()) >= 15
    eventually(lambda: place.made() == names_of_crds(), place.made)
    assert place.stored()["metadata"] == stored["metadata"]
    assert place.server.kubectl("get", "serviceaccounts,leases", "-n", NAMESPACE, "-o", "name").split() == [
        "serviceaccount/default"
    ]


def test_helm_3_installs_upgrades_and_takes_away_the_same(helm_3, plane):
    place = Place(helm_3, plane)
    place.install()
    stored = place.release()
    place.done(f"upgrade {NAME}", values={"replicas": 3})
    assert place.server.read("get", "deployment", NAME, "-n", NAMESPACE)["spec"]["replicas"] == 3
    place.done(f"uninstall {NAME}", chart=None)
    place.server.kubectl("wait", "--for=delete", "deployment", "--all", "-n", NAMESPACE, "--timeout=60s")

    eventually(lambda: place.made() == names_of_crds(), place.made)
    assert place.stored()["metadata"] == stored["metadata"]


def test_installed_again_it_finds_its_crds_and_releases(place):
    place.install()
    stored = place.release()
    place.done(f"uninstall {NAME}", chart=None)
    place.install()

    assert place.stored()["metadata"]["uid"] == stored["metadata"]["uid"]


def test_an_upgrade_brings_new_fields_and_leaves_stored_releases_as_they_are(place, tmp_path):
    """What Helm does not do for the folder crds/ of a chart."""
    before = shutil.copytree(CHART, tmp_path / "before")
    file = before / "files" / "crds" / "tradingreleases.yaml"
    crd = yaml.safe_load(file.read_text())
    version = crd["spec"]["versions"][0]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["retain"]
    file.write_text("---\n" + yaml.safe_dump(crd))
    place.install(chart=before)
    stored = place.release()
    place.done(f"upgrade {NAME}")
    place.server.settle()

    assert "retain" not in stored["spec"]
    assert place.stored()["metadata"]["generation"] == stored["metadata"]["generation"]
    assert "revisions" in place.server.kubectl("explain", "tradingrelease.spec.retain")
    place.server.kubectl(
        "patch", "tradingrelease", "trading-platform", "-n", "default", "--type=merge", '-p={"spec":{"retain":{"revisions":2}}}'
    )  # fmt: skip
    assert place.stored()["spec"]["retain"]["revisions"] == 2


def test_what_kubectl_installed_is_taken_over_only_on_purpose(place):
    place.server.kubectl("apply", "--server-side", "-k", "manifests")
    deployment = ["get", "deployment", NAME, "-n", NAMESPACE]
    before = place.server.read(*deployment)["metadata"]["uid"]

    refused = place.helm(f"install {NAME}", values={"image": {"tag": "dev"}})
    assert refused.returncode != 0
    assert "ownership" in refused.stderr
    place.done(f"install {NAME}", "--take-ownership", "--force-conflicts", values={"image": {"tag": "dev"}})
    assert place.server.read(*deployment)["metadata"]["uid"] == before


def test_confined_to_namespaces_it_loses_its_rights_elsewhere(place):
    for name in ("shop", "payments", "other"):
        place.server.kubectl("create", "namespace", name)
    place.install()
    eventually(lambda: place.may("patch", "services", "other"))
    place.done(f"upgrade {NAME}", values={"namespaces": ["shop", "payments"]})

    names = ("shop", "payments", "other", NAMESPACE)
    eventually(lambda: [place.may("patch", "services", name) for name in names] == [True, True, False, False])
    assert not place.may("list", "tradingreleases.tradingplatform.io", "other")


def test_two_installations_live_side_by_side(place):
    for name in ("shop", "payments"):
        place.server.kubectl("create", "namespace", name)
    place.install(values={"namespaces": ["shop"]})
    second = f"payments-{NAME}"
    place.install(second, values=CLUSTER_WIDE | {"namespaces": ["payments"]})
    place.done(f"uninstall {second}", chart=None)

    eventually(lambda: place.made(second) == set(), lambda: place.made(second))
    assert f"deployment.apps/{NAME}" in place.made()
    assert names_of_crds() <= place.made()
