"""What `kubectl apply -k manifests` installs: everything that the operator needs, and no right beyond it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tradingrelease.calendars import manifests
from tradingrelease.policy.calendars import Calendar

pytestmark = pytest.mark.apiserver

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
OPERATOR = "system:serviceaccount:tradingrelease-system:tradingrelease-operator"
WATCH = ["list", "watch"]
GRANTED = {
    "tradingreleases.tradingplatform.io": ["get", *WATCH],
    "tradingreleases.tradingplatform.io/status": ["patch"],
    "releasecommands.tradingplatform.io": ["get", *WATCH, "delete"],
    "releasecommands.tradingplatform.io/status": ["patch"],
    "releasefreezes.tradingplatform.io": WATCH,
    "releasefreezes.tradingplatform.io/status": ["patch"],
    "deployments.apps": ["get", *WATCH, "create", "patch", "delete"],
    "controllerrevisions.apps": ["get", *WATCH, "create", "delete"],
    "replicasets.apps": WATCH,
    "jobs.batch": ["get", *WATCH, "create", "patch", "delete"],
    "services": ["get", *WATCH, "create", "patch", "delete"],
    "pods": WATCH,
    "pods/log": ["get"],
    "endpointslices.discovery.k8s.io": WATCH,
    "events": ["create"],
}


@pytest.fixture(scope="module")
def installed(server):
    """Install the operator; there is no kubelet to run it."""
    server.kubectl("apply", "--server-side", "--validate=strict", "-k", str(MANIFESTS))
    return server


def rights(server, account):
    """Ask what RBAC gives an account in one namespace, by resource."""
    table = server.kubectl("auth", "can-i", "--list", "--no-headers", f"--as={account}", "-n", "default")
    rows = [line.split("[") for line in table.splitlines() if not line.startswith(" ")]
    return {row[0].strip(): set(row[-1].strip("] ").split()) for row in rows}


def test_the_operator_may_do_what_it_does_and_nothing_else(installed):
    everybody = rights(installed, "system:serviceaccount:default:nobody")
    own = {
        resource: verbs for resource, verbs in rights(installed, OPERATOR).items() if verbs != everybody.get(resource)
    }

    assert own == {resource: set(verbs) for resource, verbs in GRANTED.items()}


@pytest.mark.parametrize(
    "right",
    [
        "get secrets", "list configmaps", "get configmaps", "patch releasefreezes.tradingplatform.io", "list namespaces", "list customresourcedefinitions.apiextensions.k8s.io",
        "update services", "update deployments.apps", "deletecollection services", "create pods", "delete pods", "create pods --subresource=exec",
        "patch tradingreleases.tradingplatform.io", "delete tradingreleases.tradingplatform.io", "create releasecommands.tradingplatform.io",
        "create serviceaccounts --subresource=token", "impersonate users", "bind clusterroles.rbac.authorization.k8s.io",
    ],
)  # fmt: skip
def test_the_operator_may_not(installed, right):
    answer = installed.run("auth", "can-i", *right.split(), f"--as={OPERATOR}", "-A")

    assert answer.stdout.strip() == "no"


def test_an_exported_calendar_brings_the_right_to_read_it_and_no_other(installed, namespace):
    calendar = Calendar("XNYS", *(datetime(year, 1, 1, tzinfo=UTC) for year in (2026, 2027)), ())
    for manifest in manifests(calendar, "xnys", namespace):
        installed.create(namespace, manifest)
    may = [
        installed.run("auth", "can-i", verb, what, f"--as={OPERATOR}", "-n", place).stdout.strip()
        for verb, what, place in (
            ("get", "configmaps/xnys", namespace), ("get", "configmaps/other", namespace), ("list", "configmaps", namespace),
            ("patch", "configmaps/xnys", namespace), ("get", "configmaps/xnys", "default"),
        )
    ]  # fmt: skip

    assert may == ["yes", "no", "no", "no", "no"]


def pod_of_the_operator():
    deployment = yaml.safe_load((MANIFESTS / "deployment.yaml").read_text())
    template = deployment["spec"]["template"]
    metadata = template["metadata"] | {"name": "operator", "namespace": "tradingrelease-system"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_its_pod_passes_the_restricted_pod_security_standard(installed, changed):
    assert installed.accepted(pod_of_the_operator())["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"

    loose = changed(pod_of_the_operator(), {"spec/containers/0/securityContext/capabilities": ...})
    assert 'violates PodSecurity "restricted:latest": unrestricted capabilities' in installed.refusal(loose)


def test_its_pod_is_hardened_where_the_standard_asks_for_less():
    spec = pod_of_the_operator()["spec"]
    (container,) = spec["containers"]

    assert spec["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}


def test_two_stand_and_agree_by_the_one_lease_that_they_may_write(installed):
    spec = yaml.safe_load((MANIFESTS / "deployment.yaml").read_text())["spec"]
    env = {e["name"]: e.get("value") for e in spec["template"]["spec"]["containers"][0]["env"]}
    namespace, name = env["TRADINGRELEASE_LEASE"].replace("$(POD_NAMESPACE)", "tradingrelease-system").split("/")
    may = [
        installed.run("auth", "can-i", verb, f"leases.coordination.k8s.io{which}", f"--as={OPERATOR}", "-n", place)
        for verb, which, place in (
            ("get", f"/{name}", namespace), ("patch", f"/{name}", namespace), ("create", "", namespace),
            ("patch", "/another", namespace), ("get", f"/{name}", "default"), ("delete", f"/{name}", namespace),
        )
    ]  # fmt: skip

    assert spec["replicas"] == 2
    assert [answer.stdout.strip() for answer in may] == ["yes", "yes", "yes", "no", "no", "no"]


def test_its_probes_name_a_port_of_the_container():
    (container,) = pod_of_the_operator()["spec"]["containers"]
    probes = {
        container[probe]["httpGet"]["path"]: container[probe]["httpGet"]["port"]
        for probe in ("livenessProbe", "readinessProbe")
    }

    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert probes == {"/livez": "http", "/readyz": "http"}


def test_the_base_and_the_folder_of_crds_apply_alike(installed):
    """`kubectl apply -f crds` must not stumble over the kustomization in it."""
    installed.kubectl("apply", "--server-side", "-f", str(MANIFESTS.parent / "crds"))
