"""A default of the API server must never look like an edit; an edit must always be found."""

import copy

import pytest
from tradingrelease.policy import manifests
from tradingrelease.policy.drift import edited

from tests.builders import KEY, a_template

WRITTEN = manifests.pod_template(KEY, "backend", "abc", a_template() | {})
WRITTEN["spec"]["containers"][0] |= {
    "env": [
        {"name": "LEVEL", "value": "info"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
    "resources": {"limits": {"cpu": "1000m", "memory": "1Gi"}},
    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
}
WRITTEN["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}, {"name": "conf", "configMap": {"name": "conf"}}]


def stored():
    """Return what the API server makes of it."""
    found = copy.deepcopy(WRITTEN)
    found["metadata"]["creationTimestamp"] = None
    found["spec"] |= {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    found["spec"]["volumes"][1]["configMap"]["defaultMode"] = 420
    container = found["spec"]["containers"][0]
    container |= {
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    container["ports"][0]["protocol"] = "TCP"
    container["env"][1]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    container["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}
    container["readinessProbe"] |= {
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    container["readinessProbe"]["httpGet"]["scheme"] = "HTTP"
    return found


def test_defaults_of_the_api_server_are_no_edit():
    assert edited(WRITTEN, stored()) == ""


def test_a_default_that_does_not_exist_yet_is_no_edit():
    found = stored()
    found["spec"]["containers"][0]["somethingOfVersion1.50"] = "Default"
    assert edited(WRITTEN, found) == ""


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("containers[0].image", lambda spec: spec["containers"][0].update(image="backend:6.6.6")),
        ("containers[0].env", lambda spec: spec["containers"][0]["env"].append({"name": "X", "value": "1"})),
        ("containers[0].env[0].value", lambda spec: spec["containers"][0]["env"][0].update(value="debug")),
        ("containers[0].command", lambda spec: spec["containers"][0].update(command=["sh"])),
        ("containers[0].args", lambda spec: spec["containers"][0].update(args=["--verbose"])),
        ("containers[0].resources.limits.cpu", lambda spec: spec["containers"][0]["resources"]["limits"].update(cpu="2")),
        ("containers[0].livenessProbe", lambda spec: spec["containers"][0].update(livenessProbe={"exec": {}})),
        ("containers[0].readinessProbe", lambda spec: spec["containers"][0].pop("readinessProbe")),
        ("containers", lambda spec: spec["containers"].append({"name": "sidecar", "image": "spy"})),
        ("initContainers", lambda spec: spec.update(initContainers=[{"name": "spy"}])),
        ("nodeSelector", lambda spec: spec.update(nodeSelector={"disk": "ssd"})),
        ("tolerations", lambda spec: spec.update(tolerations=[{"operator": "Exists"}])),
        ("volumes", lambda spec: spec["volumes"].pop()),
        ("hostNetwork", lambda spec: spec.update(hostNetwork=True)),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_an_edit_is_found_where_it_is(where, change):
    found = stored()
    change(found["spec"])
    assert f"template.spec.{where}" == edited(WRITTEN, found)


def test_an_added_label_is_an_edit_since_a_service_may_select_it():
    found = stored()
    found["metadata"]["labels"]["canary"] = "yes"
    assert edited(WRITTEN, found) == "template.metadata.labels.canary"


def test_an_added_annotation_is_no_edit_of_what_was_written():
    found = stored()
    found["metadata"]["annotations"] = {"sidecar.example.com/injected": "true"}
    assert edited(WRITTEN, found) == ""


@pytest.mark.parametrize(("one", "same"), [("1000m", "1"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1e3", "1e3")])
def test_a_quantity_in_other_words_is_no_edit(one, same):
    assert edited({"cpu": one}, {"cpu": same}) == ""


def test_different_quantities_are_an_edit():
    assert edited({"cpu": "1"}, {"cpu": "1001m"}) == "template.cpu"
