"""Strict templates: what reaches for the node, or for rights of others, is refused by name; everything else is not."""

import copy

import pytest
import yaml

from devcluster.crds import wait_until_established
from tests.chart.helm import ROOT
from tests.waiting import eventually

ACCOUNTS = ["default", "trader"]


@pytest.fixture(scope="module")
def strict(helm, server):
    """Put the policy in force; take it away again, for other tests share the server."""
    server.kubectl("apply", "--server-side", "-f", str(ROOT / "crds" / "tradingreleases.yaml"), "--force-conflicts")
    wait_until_established(server.kubectl, "crd/tradingreleases.tradingplatform.io")
    made = helm.render({"admission": {"strictTemplates": {"enabled": True, "serviceAccounts": ACCOUNTS}}})
    objects = [o for o in made if o["metadata"]["name"] == "strict-templates.tradingplatform.io"]
    assert len(objects) == 2
    for item in objects:
        server.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", manifest=item)
    probe = release({"hostNetwork": True})
    eventually(lambda: "hostNetwork" in server.run("create", "--dry-run=server", "-f", "-", manifest=probe).stderr)
    yield server
    for item in objects:
        server.kubectl("delete", item["kind"], item["metadata"]["name"])


def release(spec=None, container=None, metadata=None):
    """Return the smallest release with a changed pod."""
    made = yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())
    template = made["spec"]["components"][0]["template"]
    template["spec"] |= spec or {}
    template["spec"]["containers"][0] |= container or {}
    for key, more in (metadata or {}).items():
        template["metadata"][key] = template["metadata"].get(key, {}) | more
    return made


def security(**context):
    return {"container": {"securityContext": context}}


REFUSED = {
    "hostPath": ({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}, "a volume is a hostPath"),
    "hostNetwork": ({"spec": {"hostNetwork": True}}, "hostNetwork, hostPID and hostIPC"),
    "hostPID": ({"spec": {"hostPID": True}}, "hostNetwork, hostPID and hostIPC"),
    "hostIPC": ({"spec": {"hostIPC": True}}, "hostNetwork, hostPID and hostIPC"),
    "hostPort": ({"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}}, "a hostPort"),
    "privileged": (security(privileged=True), "a privileged container"),
    "privileged init": ({"spec": {"initContainers": [{"name": "i", "image": "x", "securityContext": {"privileged": True}}]}}, "a privileged container"),
    "capability": (security(capabilities={"add": ["NET_BIND_SERVICE", "SYS_ADMIN"]}), "only the capability NET_BIND_SERVICE"),
    "account": ({"spec": {"serviceAccountName": "cluster-admin"}}, "the ServiceAccount is none of those"),
    "old name of the account": ({"spec": {"serviceAccount": "cluster-admin"}}, "the ServiceAccount is none of those"),
    "node": ({"spec": {"nodeName": "control-plane"}}, "nodeName goes past the scheduler"),
    "priority": ({"spec": {"priorityClassName": "system-node-critical"}}, "system- priorities"),
    "label of Kubernetes": ({"metadata": {"labels": {"node.kubernetes.io/exclude": "x"}}}, "are reserved"),
}  # fmt: skip
TAKEN = {
    "nothing more": {},
    "a listed account": {"spec": {"serviceAccountName": "trader", "serviceAccount": "trader"}},
    "the strictest context": security(
        privileged=False, allowPrivilegeEscalation=False, capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    ),
    "a usual volume": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "hostNetwork": False}},
    "recommended labels": {"metadata": {"labels": {"app.kubernetes.io/name": "x", "example.com/kubernetes.io": "x"}}},
    "a priority of their own": {"spec": {"priorityClassName": "trading"}},
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_what_reaches_for_the_node_or_for_others_is_refused_by_name(strict, change, words):
    said = strict.refusal(release(**copy.deepcopy(change)))
    assert "strict templates: " in said
    assert words in said


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN)
def test_what_asks_for_nothing_special_is_taken(strict, change):
    strict.accepted(release(**copy.deepcopy(change)))


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_the_job_of_a_hook_is_held_to_the_same(strict, change, words):
    assert words in strict.refusal(hooked(release(**copy.deepcopy(change))))


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN)
def test_the_job_of_a_hook_that_asks_for_nothing_special_is_taken(strict, change):
    strict.accepted(hooked(release(**copy.deepcopy(change))))


def hooked(changed):
    """Return the smallest release with hooks: a Job whose pods are as those of the release given, and a webhook."""
    made = release()
    template = changed["spec"]["components"][0]["template"]
    call = {"name": "smoke", "at": "BeforeSwitch", "webhook": {"url": "https://hooks.example.com/smoke"}}
    made["spec"]["hooks"] = [{"name": "migrate", "at": "BeforeGreen", "job": {"template": template}}, call]
    return made


def test_the_second_component_is_looked_at_too(strict):
    made = release()
    other = copy.deepcopy(release({"hostNetwork": True})["spec"]["components"][0]) | {
        "name": "web",
        "services": ["web"],
    }
    made["spec"]["components"].append(other)
    assert "hostNetwork" in strict.refusal(made)
