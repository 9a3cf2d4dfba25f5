"""Bad input that the API server takes: Accepted=False with a reason and advice, and no write to what runs (rows.py)."""

import pytest
from tradingrelease.policy.names import deployment_name, digest

from tests.e2e.builders import deployment, service
from tests.inputs.place import release, template


def denied(place, expression, message):
    """Let the cluster's own admission policy refuse Deployments of this namespace."""
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    probe = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"},
        "spec": {"selector": {"matchLabels": {"app": "backend"}}, "template": WITH_STRONG_ACCOUNT},
    }  # fmt: skip
    return place.denying(rule, expression, message, lambda: place.refuses(probe))


WITH_STRONG_ACCOUNT = template("2", serviceAccountName="cluster-admin")


def test_row_02_an_image_that_is_missing(place):
    place.go_live("1")
    place.apply(release("2", pods=template("2", container={"image": ""})))
    place.refused("InvalidTemplate", "image: Required value")
    place.nothing_moved()


def test_row_15_an_environment_variable_with_an_equals_sign_in_its_name(place):
    place.go_live("1")
    place.apply(release("2", pods=template("2", container={"env": [{"name": "A=B", "value": "1"}]})))
    place.refused("InvalidTemplate", "env[0].name")
    place.nothing_moved()


def test_row_20_a_stronger_account_that_the_clusters_policy_denies(place):
    """Whoever may create a release can create pods, as with a Deployment: what a cluster forbids there holds here."""
    place.go_live("1")
    rule = "!has(object.spec.template.spec.serviceAccountName) || object.spec.template.spec.serviceAccountName != 'cluster-admin'"
    with denied(place, rule, "use the account of your team"):
        place.apply(release("2", pods=WITH_STRONG_ACCOUNT))
        place.refused("InvalidTemplate", "use the account of your team")
        place.nothing_moved()
    place.apply(release("3"))
    place.until(lambda s: s.ready("3"), "a good spec goes live", 20)


def test_row_25_a_service_that_is_missing(place):
    place.apply(release("1"))
    place.refused("ServiceMissing", "Service backend does not exist in this namespace: create it, or correct the name")
    place.untouched()
    place.apply(service())
    place.until(lambda s: s.ready("1"), "it is noticed", 20)


@pytest.mark.parametrize(
    "odd",
    [{"type": "ExternalName", "externalName": "example.org", "selector": ..., "ports": ...}, {"selector": ...}],
    ids=["external", "no selector"],
)
def test_row_26_a_service_that_cannot_be_steered(place, odd):
    place.apply(service(**odd), release("1"))
    place.refused("ServiceNotSteerable", "list a Service whose selector matches the labels of the pods")
    place.untouched()


def test_row_27_a_service_of_another_release(place):
    place.go_live("1", name="first")
    place.apply(release("2"))
    place.refused("ServiceTaken", "is steered by TradingRelease first: list it in one release only")
    place.nothing_moved()


def test_row_28_a_service_that_another_controller_steers(place):
    """Argo Rollouts puts its own key into the selector: no template satisfies it for more than one rollout."""
    place.apply(service(selector={"app": "backend", "rollouts-pod-template-hash": "5d4f8c7b9"}), release("1"))
    place.refused("SelectorMismatch", "rollouts-pod-template-hash=5d4f8c7b9", "correct the Service's selector")
    place.untouched()


@pytest.mark.parametrize("left", [False, True], ids=["row-30", "row-31"])
def test_a_deployment_of_that_name_that_is_not_ours(place, left):
    """It carries no label of ours: a stranger's (30), or a former release's whose labels were taken off (31)."""
    name = deployment_name("shop", "backend", digest(template("1")))
    marks = {"tradingplatform.io/release-uid": "0b7e9f3a-0000-4000-8000-000000000000"} if left else {}
    body = deployment(name, {"metadata": {"labels": {"app": "other"}}, "spec": template("0")["spec"]}, replicas=0)
    body["metadata"]["annotations"] = marks
    place.apply(service(), body)
    place.apply(release("1"))
    place.refused("DeploymentNameTaken", f"Deployment {name} exists and is not of this release", "rename")
    place.untouched()
    place.api.delete("Deployment", name)
    place.until(lambda s: s.ready("1"), "it goes live once the name is free", 40)


def test_row_33_a_quota_that_forbids_the_deployment(place):
    place.go_live("1")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/deployments.apps": "1"}},
    }
    place.api.create(quota)
    place.poll(lambda: (place.api.get("ResourceQuota", "few").get("status") or {}).get("used"), "it counts", 20)
    place.apply(release("2"))
    place.refused("DeploymentForbidden", "exceeded quota: few")
    place.nothing_moved()
    place.api.delete("ResourceQuota", "few")
    place.until(lambda s: s.ready("2"), "it goes live once it may", 40)


def test_row_34_an_admission_policy_that_denies(place):
    place.go_live("1")
    with denied(place, "false", "no changes on Fridays"):
        place.apply(release("2"))
        place.refused("InvalidTemplate", "no changes on Fridays")
        place.nothing_moved()


def test_row_53_pods_on_the_network_of_their_node_are_not_probed(place):
    """A policy may let them run; their address is the node's, where other things listen."""
    place.go_live("1")
    get = {"httpGet": {"path": "/healthz", "port": 8080}}
    pods = template(
        "2", hostNetwork=True, container={"ports": [{"name": "http", "containerPort": 8080, "hostPort": 8080}]}
    )
    place.apply(release("2", pods=pods, health=get, progressDeadline="6s", minReadySeconds=0))
    place.until(lambda s: "node's own network" in s.condition("Ready")["message"], "it says why it waits", 20)
    state = place.until(lambda s: s.latched() == ["2"], "it is given up", 30)
    assert state.live() == "1"
