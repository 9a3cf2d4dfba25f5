"""What Flux and Helm make of the statuses of the stories: kstatus itself judges them, not a copy of its rules."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from tradingrelease.policy.result import Result, judge, target

from devcluster import binaries
from tests.golden.test_transcripts import STORIES

pytestmark = pytest.mark.timeout(900)  # on a new machine kstatus is built first
ROOT = Path(__file__).parents[2]
EXPECTED = {Result.READY: "Current", Result.FAILED: "Failed", Result.REFUSED: "Failed"}


@pytest.fixture(scope="module")
def kstatus():
    program = binaries.kstatus(Path(__file__).with_name("kstatus.go")) / "kstatus"

    def compute(objects):
        given = "\n".join(json.dumps(o) for o in objects)
        answer = subprocess.run([program], input=given, capture_output=True, text=True, check=True)
        return [line.split("\t")[0] for line in answer.stdout.splitlines()]

    return compute


def test_flux_sees_what_a_pipeline_sees(kstatus):
    """Current only when live and proven, Failed only when a person is needed, else InProgress."""
    records = [(story.__name__, release) for story in STORIES for *_, release in story().records if release["status"]]
    found = kstatus([release for _, release in records])
    assert set(found) == {"Current", "Failed", "InProgress"}
    for (name, release), status in zip(records, found, strict=True):
        result = judge(release, target(release)).result
        stalled = any(c["type"] == "Stalled" and c["status"] == "True" for c in release["status"]["conditions"])
        about = release["status"]["observedGeneration"] == release["metadata"]["generation"]
        held = "Failed" if stalled and about else "InProgress"  # held, and a person is paged: both sides fail
        assert status == EXPECTED.get(result, held), (name, release["metadata"], release["status"]["conditions"])


def test_an_object_that_the_operator_has_not_seen_yet_is_in_progress(kstatus):
    """Kstatus takes an object without a status for Current: the CRD's default says that nobody looked yet."""
    crd = yaml.safe_load((ROOT / "crds" / "tradingreleases.yaml").read_text())
    default = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
    (*_, release), *_ = STORIES[0]().records
    assert kstatus([release | {"status": {}}, release | {"status": default}]) == ["Current", "InProgress"]
