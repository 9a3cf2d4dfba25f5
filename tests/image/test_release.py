"""What a tag becomes, as far as it goes without pushing anything."""

import json
import os
import shutil
import subprocess
import tarfile

import pytest
import yaml

from devcluster.places import ROOT

CHANGELOG = (
    "# Changelog\n\n## Unreleased\n- not yet\n\n## 0.1.0 - 2026-03-02\n### Added\n- The first one.\n\n## 0.0.9\n- old\n"
)


@pytest.fixture
def checkout(tmp_path):
    """Copy what a release is made of, with a changelog that has its section."""
    for folder in ("tools", "charts", "devcluster", "manifests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def release(checkout, what, tag="v0.1.0"):
    env = {**os.environ, "DRY": "1", "REGISTRY": "registry.example.com/Ops", "TAG": tag}
    return subprocess.run([checkout / "tools" / "release", what], env=env, capture_output=True, text=True, check=False)


def test_the_notes_are_the_section_of_the_version(checkout):
    answer = release(checkout, "notes")
    assert (answer.returncode, answer.stdout.strip()) == (0, "### Added\n- The first one."), answer.stderr


def test_the_chart_has_the_version_of_the_tag(checkout):
    answer = release(checkout, "all")
    assert answer.returncode == 0, answer.stderr
    with tarfile.open(checkout / "build" / "tradingrelease-operator-0.1.0.tgz") as chart:
        said = yaml.safe_load(chart.extractfile("tradingrelease-operator/Chart.yaml"))
        values = yaml.safe_load(chart.extractfile("tradingrelease-operator/values.yaml"))
    assert (said["version"], said["appVersion"]) == ("0.1.0", "0.1.0")
    assert values["image"]["repository"] == "registry.example.com/ops/operator"
    installed = list(yaml.safe_load_all((checkout / "build" / "install.yaml").read_text()))
    (deployment,) = (body for body in installed if body["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/ops/operator:0.1.0"


@pytest.mark.parametrize(
    ("tag", "changelog", "advice"),
    [("v9.9.9", CHANGELOG, "make them one"), ("v0.1.0", "# Changelog\n\n## Unreleased\n- x\n", "write it")],
)
def test_a_tag_that_nothing_speaks_for_is_refused(checkout, tag, changelog, advice):
    (checkout / "CHANGELOG.md").write_text(changelog)
    answer = release(checkout, "notes", tag)
    assert (answer.returncode, advice in answer.stderr) == (1, True)


def test_the_sbom_is_what_an_attestation_takes_and_the_same_each_time():
    """GitHub's action takes a file for CycloneDX by these three fields, and a release ends without them."""

    def made():
        subprocess.run([ROOT / "tools" / "sbom"], check=True, stdout=subprocess.DEVNULL)
        return (ROOT / "build" / "sbom.json").read_text()

    first = made()
    body = json.loads(first)
    assert (body["bomFormat"], body["specVersion"][:2]) == ("CycloneDX", "1.")
    assert body["serialNumber"].startswith("urn:uuid:")
    assert {"kopf", "kubernetes", "pydantic", "prometheus-client"} <= {part["name"] for part in body["components"]}
    assert made() == first
