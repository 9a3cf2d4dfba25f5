"""What the chart makes of its values."""

import itertools
import json
import re
import subprocess
import sys
import tomllib

import prometheus_client
import pytest
import yaml
from tradingrelease import telemetry
from tradingrelease.policy import notifications

from tests.chart.helm import CHART, MONITORED, NOTIFIED, ROOT, SETS, kinds, only

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture(params=SETS.values(), ids=SETS.keys())
def values(request):
    return request.param


def test_the_manifests_and_the_chart_s_crds_are_current():
    """Otherwise make them anew: make manifests."""
    answer = subprocess.run(
        [sys.executable, ROOT / "tools" / "manifests", "--check"], capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stderr


def test_helm_3_makes_the_same_of_it_and_has_no_complaints_either(helm, helm_3, values):
    assert helm_3.render(values) == helm.render(values)
    answer = helm_3.run("lint --strict", values=values)
    assert answer.returncode == 0, answer.stdout


def test_helm_3_refuses_what_nobody_reads(helm_3):
    assert "replica" in helm_3.refusal({"replica": 3})


def test_helm_finds_nothing_to_complain_about(helm, values):
    answer = helm.run("lint --strict", values=values)

    assert answer.returncode == 0, answer.stdout
    assert "WARNING" not in answer.stdout + answer.stderr


def test_the_chart_has_the_version_of_the_program():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    program = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert [chart["version"], chart["appVersion"]] == [program, program]


# --- values ------------------------------------------------------------------------------------------------------


def closed(schema):
    """Whether no key that is not described gets through."""
    below = schema.get("additionalProperties")
    return below is False or (isinstance(below, dict) and "type" in below) or "$comment" in schema


def schemas(schema, path=""):
    yield path, schema
    for key, below in schema.get("properties", {}).items():
        yield from schemas(below, f"{path}.{key}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")


def test_the_schema_leaves_no_object_open_but_those_of_kubernetes_itself():
    assert [path for path, schema in schemas(SCHEMA) if schema.get("type") == "object" and not closed(schema)] == []


def test_the_schema_describes_the_values_that_there_are():
    def paths(value, schema, path=""):
        known = schema.get("properties", {})
        for key in value if isinstance(value, dict) and known else ():
            yield f"{path}.{key}"
            yield from paths(value[key], known[key], f"{path}.{key}")

    told = {path for path, _ in schemas(SCHEMA) if path and "[]" not in path}
    there = set(paths(yaml.safe_load((CHART / "values.yaml").read_text()), SCHEMA))
    of_kubernetes = {".global", ".affinity.nodeAffinity", ".affinity.podAffinity", ".affinity.podAntiAffinity"}

    assert told - of_kubernetes == there


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"replicaCount": 3}, "replicaCount"),
        ({"image": {"name": "operator"}}, "image"),
        ({"image": {"digest": "sha256:abc"}}, "digest"),
        ({"namespaces": "shop"}, "namespaces"),
        ({"namespaces": ["Shop"]}, "namespaces"),
        ({"namespaces": ["shop", "shop"]}, "namespaces"),
        ({"replicas": 0}, "replicas"),
        ({"logLevel": "verbose"}, "logLevel"),
        ({"podLabels": {"team": 1}}, "podLabels"),
        ({"networkPolicy": {"apiServer": {"ports": []}}}, "ports"),
        ({"networkPolicy": {"probePorts": [0]}}, "probePorts"),
        ({"tolerations": [{"operators": "Exists"}]}, "tolerations"),
        ({"admission": {"actionVerbs": True}}, "actionVerbs"),
        ({"monitoring": {"podMonitor": {"interval": "often"}}}, "interval"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
        ({"notifications": {"config": {"cloudEvents": {}}}}, "secret"),
        ({"notifications": {"secret": "s", "config": {"target": {}}}}, "target"),
        ({"notifications": {"secret": "s", "config": {"targets": {"team": {"url": "slack://x"}}}}}, "url"),
        ({"notifications": {"secret": "s", "config": {"targets": {"cloudevents": {}}}}}, "cloudevents"),
        ({"notifications": {"secret": "s", "config": {"targets": {"team": {"batch": "10"}}}}}, "batch"),
        ({"notifications": {"secret": "s", "config": {"routes": [{"to": ["team"], "severity": "Bad"}]}}}, "severity"),
        ({"networkPolicy": {"notificationPorts": []}}, "notificationPorts"),
    ],
    ids=str,
)
def test_a_mistake_is_refused_and_named(helm, values, advice):
    assert advice in helm.refusal(values)


def test_a_parent_chart_may_pass_its_globals(helm):
    assert helm.render({"global": {"imageRegistry": "registry.example.com"}}) == helm.render()


# --- what is made ------------------------------------------------------------------------------------------------


def test_nothing_is_made_outside_the_release_s_namespace_and_those_that_it_serves(helm, values):
    places = {o["metadata"].get("namespace") for o in helm.render(values, "shop", "ops")}

    assert places <= {None, "ops", *values.get("namespaces", [])}


def test_everything_says_whose_it_is(helm, values):
    for made in helm.render(values, "shop", "ops"):
        labels = made["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "shop", made
        assert labels["app.kubernetes.io/managed-by"] == "Helm", made


def test_with_namespaces_the_operator_has_the_same_rights_in_them_and_nowhere_else(helm):
    cluster_wide = only(helm.render(), "ClusterRole", "tradingrelease-operator")["rules"]
    made = helm.render({"namespaces": ["shop", "payments"]})
    roles = {o["metadata"]["namespace"]: o["rules"] for o in made if o["kind"] == "Role"}
    env = {
        e["name"]: e.get("value") for e in only(made, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    }

    assert "ClusterRoleBinding" not in kinds(made)
    assert {o["metadata"]["name"] for o in made if o["kind"] == "ClusterRole"} == {
        f"tradingrelease-{who}" for who in ("viewer", "deployer", "approver", "freezer", "operator-oncall")
    }
    assert roles.pop("tradingrelease-system")[0]["resources"] == ["leases"]
    assert roles == {"shop": cluster_wide, "payments": cluster_wide}
    assert env["TRADINGRELEASE_NAMESPACES"] == "shop,payments"


def test_every_binding_names_a_role_that_there_is_and_the_account_of_the_pods(helm, values):
    made = helm.render(values)
    pods = only(made, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    roles = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in made if "Role" in o["kind"]}
    bindings = [o for o in made if o["kind"].endswith("Binding") and "roleRef" in o]

    assert bindings
    for binding in bindings:
        assert (binding["roleRef"]["kind"], binding["metadata"].get("namespace"), binding["roleRef"]["name"]) in roles
        assert [s["name"] for s in binding["subjects"]] == [pods]


def test_every_selector_selects_the_operator_s_pods(helm, values):
    made = helm.render(values)
    labels = only(made, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = []
    for o in made:
        match o["kind"]:
            case "Deployment" | "PodDisruptionBudget" | "PodMonitor":
                selectors.append(o["spec"]["selector"]["matchLabels"])
            case "NetworkPolicy":
                selectors.append(o["spec"]["podSelector"]["matchLabels"])
            case "Service":
                selectors.append(o["spec"]["selector"])
    selectors += [
        spread["labelSelector"]["matchLabels"]
        for spread in only(made, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    ]

    assert len(selectors) >= 2
    assert [selector for selector in selectors if not selector.items() <= labels.items()] == []


def test_two_installations_share_no_name_and_no_pod(helm):
    second = {"crds": {"install": False}, "userRoles": {"create": False}} | {
        "admission": {who: {"enabled": False} for who in ("actionVerbs", "deputy", "identity")}
    }
    one, other = helm.render(SETS["all that there is"], "one", "ops"), helm.render(second, "other", "ops")
    names = [
        {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in made} for made in (one, other)
    ]
    selectors = [only(made, "Deployment")["spec"]["selector"]["matchLabels"] for made in (one, other)]

    assert names[0] & names[1] == set()
    assert selectors[0] != selectors[1]


def test_a_long_name_stays_a_name(helm):
    """Services and what becomes a label have 63 characters; policies and CRDs have names like domains."""
    made = helm.render({"monitoring": MONITORED}, name="s" * 53)
    names = [o["metadata"]["name"] for o in made if "Admission" not in o["kind"] and "Custom" not in o["kind"]]

    assert max(len(name) for name in names) <= 63


def test_a_digest_pins_the_image(helm):
    def image(values):
        return only(helm.render(values), "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]

    assert image({}) == "localhost/tradingrelease/operator:0.1.0"
    assert image(SETS["all that there is"]) == f"registry.example.com/ops/operator:1.2.3@sha256:{'ab' * 32}"


def test_every_mount_has_its_volume_and_every_volume_its_mount(helm, values):
    pod = only(helm.render(values), "Deployment")["spec"]["template"]["spec"]
    mounts = [mount["name"] for mount in pod["containers"][0].get("volumeMounts", ())]

    assert sorted(mounts) == sorted(volume["name"] for volume in pod.get("volumes", ()))
    assert len(mounts) == (4 if values is SETS["all that there is"] else 0)


def test_notifications_are_configured_as_the_operator_reads_them(helm):
    made = helm.render(SETS["all that there is"])
    pod = only(made, "Deployment")["spec"]["template"]["spec"]
    env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    folder, _, file = env["TRADINGRELEASE_NOTIFICATIONS"].rpartition("/")
    config = only(made, "ConfigMap", volumes[mounts[folder]]["configMap"]["name"])

    found = notifications.parse(yaml.safe_load(config["data"][file]))
    assert found == notifications.parse(NOTIFIED["config"])
    assert found.names() == ("pager", "team", "cloudevents")
    assert volumes[mounts[env["TRADINGRELEASE_NOTIFICATION_SECRETS"]]]["secret"]["secretName"] == "notifications"


def test_the_way_to_receivers_is_open_only_where_somebody_is_told(helm):
    def ports(values):
        rules = only(helm.render(values), "NetworkPolicy")["spec"]["egress"]
        return [port["port"] for rule in rules if "to" not in rule for port in rule["ports"]]

    assert ports({}) == [443, 6443]
    assert ports({"notifications": NOTIFIED, "networkPolicy": {"notificationPorts": [8443]}}) == [443, 6443, 8443]


@pytest.mark.parametrize(
    ("url", "given", "ports"),
    [
        ("http://prometheus.monitoring:9090", [], [9090]),
        ("http://prometheus.monitoring/prom", [], [80]),
        ("https://[2001:db8::7]/", [], [443]),
        ("https://[2001:db8::7]:9443/", [], [9443]),
        ("http://thanos.monitoring", [10902, 9090], [10902, 9090]),
    ],
)
def test_the_way_to_prometheus_is_open_where_it_is_asked(helm, url, given, ports):
    where = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    policy = {"networkPolicy": {"prometheusAt": where, "prometheusPorts": given}}

    def rules(values):
        return only(helm.render(policy | values), "NetworkPolicy")["spec"]["egress"]

    opened = {"ports": [{"protocol": "TCP", "port": port} for port in ports], "to": where}
    assert [rule for rule in rules({"prometheus": {"url": url}}) if rule not in rules({})] == [opened]


def test_an_uninstalled_chart_leaves_its_crds(helm):
    crds = [o for o in helm.render() if o["kind"] == "CustomResourceDefinition"]

    assert len(crds) == len(list((ROOT / "crds").glob("*.yaml")))
    assert {crd["metadata"]["annotations"]["helm.sh/resource-policy"] for crd in crds} == {"keep"}


# --- monitoring --------------------------------------------------------------------------------------------------


def series():
    """Name every series that the operator exports: by itself, not by the client library."""
    metrics = [m for m in vars(telemetry).values() if isinstance(m, prometheus_client.metrics.MetricWrapperBase)]
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {metric._name: {metric._name + suffix for suffix in suffixes[metric._type]} for metric in metrics}


def asked(expressions):
    return {name for e in expressions for name in re.findall(r"\btradingrelease_\w+", e)}


def rules(helm):
    groups = only(helm.render({"monitoring": MONITORED}), "PrometheusRule")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard(helm):
    data = only(helm.render({"monitoring": MONITORED}), "ConfigMap")["data"]
    return json.loads(data["tradingrelease-operator.json"])


def test_alerts_and_dashboard_ask_only_for_what_is_exported(helm):
    expressions = [rule["expr"] for rule in rules(helm)]
    expressions += [target["expr"] for panel in dashboard(helm)["panels"] for target in panel["targets"]]

    assert asked(expressions) - set(itertools.chain(*series().values())) == set()


def test_the_dashboard_shows_everything_that_is_exported(helm):
    shown = asked(target["expr"] for panel in dashboard(helm)["panels"] for target in panel["targets"])

    assert [name for name, its in series().items() if not its & shown] == []


def test_every_alert_says_what_it_means_and_what_to_do(helm):
    for rule in rules(helm):
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule
        assert set(rule["annotations"]) == {"summary", "description", "action"}, rule


def test_panels_do_not_overlap(helm):
    places = [panel["gridPos"] for panel in dashboard(helm)["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]

    assert max(x for x, _ in cells) == 23
    assert len(cells) == len(set(cells))


# --- admission ---------------------------------------------------------------------------------------------------


def test_each_policy_can_be_switched_off(helm):
    def policies(**off):
        made = helm.render({"admission": {name: {"enabled": False} for name in off}})
        return {o["metadata"]["name"].partition(".")[0] for o in made if o["kind"].endswith("AdmissionPolicy")}

    who = {"tradingrelease-author", "tradingrelease-behalf", "tradingrelease-issuer"}
    every = {"action-verbs", "deputy", "tradingrelease-operator-selector-keeper"} | who
    assert policies() == every
    assert policies(identity=...) == every - who
    assert policies(actionVerbs=...) == every - {"action-verbs"}
    assert policies(deputy=...) == every - {"deputy"}
    strict = helm.render({"admission": {"strictTemplates": {"enabled": True}}})
    assert only(strict, "ValidatingAdmissionPolicy", "strict-templates.tradingplatform.io")
    assert policies(selectorKeeper=...) == every - {"tradingrelease-operator-selector-keeper"}


def test_a_server_that_cannot_keep_selectors_is_not_asked_to(helm):
    """MutatingAdmissionPolicy is there from Kubernetes 1.36."""
    old, new = (
        helm.run("template tradingrelease-operator", f"--kube-version={version}").stdout
        for version in ("1.35.4", "1.36.0")
    )

    assert "MutatingAdmissionPolicy" not in old
    assert "MutatingAdmissionPolicy" in new


@pytest.mark.parametrize(
    ("version", "who_makes_it_true"),
    [("1.35.4", {"Validating"}), ("1.36.0", {"Validating", "Mutating"})],
)
def test_who_it_was_is_stamped_where_the_server_can_and_refused_where_it_cannot(helm, version, who_makes_it_true):
    """The objects are those of manifests/admission, whose tests in tests/crd meet real users."""
    answer = helm.run("template tradingrelease-operator", f"--kube-version={version}")
    made = [o for o in yaml.safe_load_all(answer.stdout) if o]
    found = {
        (o["kind"].partition("Admission")[0], o["kind"].partition("Admission")[2], o["metadata"]["name"]) for o in made
    }
    names = ("tradingrelease-author", "tradingrelease-behalf", "tradingrelease-issuer")
    wanted = {(k, part, name) for k in who_makes_it_true for part in ("Policy", "PolicyBinding") for name in names}
    wanted -= {
        ("Validating", part, "tradingrelease-behalf") for part in ("Policy", "PolicyBinding")
    }  # nothing to refuse

    assert {one for one in found if one[2] in names} == wanted
