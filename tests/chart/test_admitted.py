"""What the chart renders, read by a real API server: strictly, so a misspelt field is an error."""

import pytest

from tests.chart.helm import SETS


@pytest.fixture(scope="module")
def places(server):
    """Make the namespaces that the value sets name, and ours as restricted as its standard is."""
    server.kubectl("apply", "--server-side", "-f", "manifests/namespace.yaml")
    for name in ("shop", "payments"):
        server.kubectl("create", "namespace", name)
    return server


@pytest.mark.parametrize("values", SETS.values(), ids=SETS.keys())
def test_the_server_takes_every_object_word_for_word(helm, places, values):
    for made in helm.render(values):
        answer = places.run("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", manifest=made)
        assert answer.returncode == 0, f"{made['kind']}: {answer.stderr}"
        assert "warning" not in answer.stderr.lower(), f"{made['kind']}: {answer.stderr}"


@pytest.mark.parametrize("values", SETS.values(), ids=SETS.keys())
def test_its_pod_meets_the_restricted_standard(helm, places, values):
    (deployment,) = [o for o in helm.render(values) if o["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    metadata = template["metadata"] | {"name": "operator", "namespace": "default"}
    spec = template["spec"] | {"serviceAccountName": "default"}
    spec.pop("priorityClassName", None)  # its namespace may not use every one
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    places.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted", "--overwrite")

    assert places.run("create", "--dry-run=server", "-f", "-", manifest=pod).stderr == ""


def test_the_one_file_installs_as_the_folder_does(places):
    def installed(*source):
        made = places.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-o", "name", *source)
        return sorted(made.split())

    assert installed("-f", "manifests/install.yaml") == installed("-k", "manifests")
