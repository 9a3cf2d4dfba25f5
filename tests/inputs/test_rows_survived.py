"""Bad input and bad times that the operator survives: it goes on, converges, and writes no more than it must (rows.py)."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from tests.builders import a_spec
from tests.e2e.api import Api, ApiError
from tests.e2e.builders import HEALTH, deployment, service
from tests.e2e.process import ROOT, Operator
from tests.inputs.place import release, template
from tests.oracle import REVISION, label
from tests.simulator import Simulator

ADMISSION = "admissionregistration.k8s.io/v1"
FEW = 12
"""Writes to what runs that one release of one component may need."""
HOSTILE = "\u202e\u200b\U0001f600\x00\x1b[31m{x} %s {{ }} <!channel>\r\nlevel=error forged"


def test_row_02_an_image_that_only_a_pod_is_refused_for(place):
    """A Deployment may carry it; its pods are refused, and the attempt is given up in the API server's words."""
    place.go_live("1")
    place.apply(release("2", pods=template("2", container={"image": " x:1"})))
    state = place.until(lambda s: s.latched() == ["2"], "it is given up", 30)
    assert "must not have leading or trailing whitespace" in state.condition("Ready")["message"]
    assert (state.live(), state.is_true("Serving")) == ("1", True)


def test_row_04_a_component_that_wants_no_replicas_waits(place):
    place.go_live("1")
    place.apply(release("2", replicas=0))
    place.until(lambda s: s.condition("Ready")["reason"] == "ZeroReplicas", "it waits and says why", 20)
    assert place.now.live() == "1"


@pytest.mark.parametrize("megabytes", [0.3, 0.7, 1.0, 1.4])
def test_row_15_row_23_a_large_spec(place, megabytes):
    """It goes live, or is refused with advice; never is it tried for ever without a word."""
    place.go_live("1")
    room = int(megabytes * 1024 * 1024)
    pods = template("2", container={"env": [{"name": f"E{n}", "value": "v" * 1000} for n in range(room // 1030)]})
    place.apply(release("2", pods=pods))
    state = place.until(lambda s: s.ready("2") or s.condition("Accepted")["status"] == "False", "it is judged", 40)
    assert state.ready("2") or megabytes > 0.3, "what is large and not too large goes live"
    if state.condition("Accepted")["status"] == "False":
        assert "too large" in state.condition("Accepted")["message"]
        place.nothing_moved()


def test_row_15_a_spec_beyond_what_the_api_server_stores(place):
    pods = template("2", container={"env": [{"name": f"E{n}", "value": "v" * 1000} for n in range(3000)]})
    with pytest.raises(ApiError) as refused:
        place.apply(release("2", pods=pods))
    assert refused.value.status in {413, 500}
    assert "large" in str(refused.value)


@pytest.mark.parametrize(
    "status",
    [
        {"live": {}, "candidate": {}},
        {"live": {"revision": "x"}, "act": -1},
        {"phase": "Nonsense", "retained": [{"revision": "x"}]},
        {"latched": [{"revision": "x"}], "history": [{"outcome": "Nonsense"}]},
        {"paused": {"reason": "x"}, "orders": [{"uid": "x"}]},
        {"settings": {"retainFor": "soon", "keepFailedFor": "", "retainRevisions": -5, "replicas": {"backend": -5}}},
        {"live": {"revision": "x", "since": "0001-01-01T00:00:00Z", "components": [{"name": "backend"}]}},
        {"conditions": None},
        None,
    ],
    ids=lambda status: ",".join(status or ["none"]),
)
def test_row_17_a_status_that_somebody_else_wrote(place, status):
    """What cannot be read is as good as absent: what serves goes on serving, and the next version goes live."""
    place.go_live("1")
    if status is None:
        place.expect_violation("S9")
    place.api.patch("TradingRelease", "shop", {"status": status}, "status")
    place.apply(release("2"))
    place.until(lambda s: s.ready("2"), "version 2 goes live", 30)


def test_row_18_row_60_row_76_hostile_words_in_free_text(place):
    """They reach status and Events as they are, and no line of the log is anything but one JSON object."""
    place.go_live("1")
    name = place.order("Pause", reason=HOSTILE)
    place.until(lambda s: s.order(name).get("phase") == "Done", "it is carried out", 20)
    assert place.now.status()["paused"]["reason"] == HOSTILE
    name = place.order("Resume", reason=HOSTILE)
    place.until(lambda s: s.order(name).get("phase") == "Done", "it is carried out", 20)
    place.apply(release("2", pods=template("2", container={"env": [{"name": "TEXT", "value": HOSTILE}]})))
    place.until(lambda s: s.ready("2"), "it goes live", 20)
    raw = place.operator.log.read_bytes()
    assert not set(raw) & ({*range(32), 127} - {10}), "control characters in the log"
    assert all(isinstance(json.loads(line), dict) for line in raw.splitlines())


def test_row_19_row_21_row_35_pods_that_the_namespace_forbids(place):
    """The Deployment is taken, its pods are not: said in the API server's words, then given up; live goes on."""
    place.go_live("1")
    place.api.patch(
        "Namespace", place.namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    )
    strong = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
    volumes = [{"name": "root", "hostPath": {"path": "/"}}]
    pods = template(
        "2", container=strong, volumes=volumes, hostNetwork=True, hostPID=True, priorityClassName="system-node-critical",
        tolerations=[{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}],
    )  # fmt: skip
    place.apply(release("2", pods=pods))
    place.until(lambda s: "violates PodSecurity" in s.condition("CandidateAvailable")["message"], "it is said", 20)
    state = place.until(lambda s: s.latched() == ["2"], "it is given up", 30)
    assert (state.live(), state.is_true("Serving")) == ("1", True)


def test_row_29_the_first_release(place):
    place.apply(service(), release("1"))
    place.until(lambda s: s.ready("1"), "it is live", 20)


def test_row_32_the_same_image_in_another_template(place):
    first = place.go_live("1").selected("backend")
    place.apply(release("2", pods=template("1", container={"env": [{"name": "MODE", "value": "b"}]})))
    state = place.until(lambda s: s.ready("2"), "it is live", 20)
    assert state.selected("backend") != first


@pytest.mark.parametrize(
    "change",
    [
        ("add", "metadata/annotations", '{"example.com/by": "policy"}'),
        ("add", "metadata/labels/by", '"policy"'),
        ("add", "spec/containers/0/env", '[{"name": "INJECTED", "value": "x"}]'),
        ("add", "spec/containers/-", '{"name": "sidecar", "image": "sidecar:1"}'),
        ("replace", "spec/containers/0/image", '"mirror.example.com/backend:1"'),
        ("add", "spec/tolerations", '[{"key": "spot", "operator": "Exists"}]'),
    ],
    ids=lambda change: change[1],
)
def test_row_34_an_admission_policy_that_changes_templates(place, change):
    """Restoring what a policy changes again with each write would be a war, and pods restarted for ever."""
    place.go_live("1")
    with mutated(place, *change):
        place.apply(release("2"))
        state = place.until(lambda s: s.ready("2"), "it is live", 20)
        place.settled(3)
        assert len(place.writes_to_what_runs()) <= 2 * FEW
        made = state.deployment("backend", state.selected("backend"))
        assert made["metadata"]["generation"] <= 2


def test_row_38_readiness_that_flaps(place):
    """A pod that is never Ready for long enough gets no traffic."""
    place.go_live("1")
    place.apply(release("2", minReadySeconds=3))
    state = place.until(lambda s: s.candidate() == "2" and s.pods(version_2(s)), "its pod is there", 20)
    pod = state.pods(version_2(state))[0]["metadata"]["name"]
    stop = threading.Event()

    def flap():
        ready = False
        while not stop.wait(0.5):
            ready = not ready
            condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp()}
            place.api._call(
                "PATCH", place.api.path("Pod", pod) + "/status", {"status": {"conditions": [condition]}},
                content_type="application/strategic-merge-patch+json",
            )  # fmt: skip

    flapping = threading.Thread(target=flap)
    flapping.start()
    try:
        place.until(lambda s: s.latched() == ["2"], "it is given up", 40)
    finally:
        stop.set()
        flapping.join()
    assert not place.ever(lambda s: s.live() == "2")


def test_row_41_others_scale_green_up_and_blue_to_zero(place):
    place.go_live("1")
    place.apply(release("2"))
    state = place.until(lambda s: s.ready("2"), "version 2 is live", 20)
    blue = next(d["metadata"]["name"] for d in state.deployments() if label(d, REVISION) != state.selected("backend"))
    green = next(d["metadata"]["name"] for d in state.deployments() if d["metadata"]["name"] != blue)
    place.api.patch("Deployment", green, {"spec": {"replicas": 3}})
    place.until(lambda s: s.get("Deployment", blue)["spec"]["replicas"] == 3, "blue follows upwards", 20)
    place.expect_violation("S3", "was scaled from 3 to 0")
    place.api.patch("Deployment", blue, {"spec": {"replicas": 0}})
    place.until(lambda s: s.get("Deployment", blue)["spec"]["replicas"] == 3, "blue gets its size back", 20)
    place.until(lambda s: s.condition("RollbackReady")["reason"] == "Standing", "blue stands", 20)


def test_row_48_a_namespace_that_is_going(place, access):
    place.go_live("1")
    place.apply(release("2", minReadySeconds=10, progressDeadline="30s"))
    place.until(lambda s: s.candidate() == "2", "version 2 is under way", 20)
    place.recorder.stop()  # what the namespace controller deletes, and in which order, is not ours to judge
    place.api.delete("Namespace", place.namespace)
    place.poll(
        lambda: place.api.get("Namespace", place.namespace) is None, "it is gone: nothing of ours holds it up", 60
    )
    assert len(place.log_lines()) < 200


def test_row_50_an_operator_that_was_down_for_25_hours(sim):
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=30)
    sim.apply(a_spec("2.0.0"))
    sim.run(minutes=30)
    assert len(sim.deployments) == 2
    sim.stop()
    sim.run(hours=25)
    sim.restart()
    sim.run(minutes=1)
    assert sim.live == "2.0.0"
    assert len(sim.deployments) == 1, "what is overdue goes at once, and by the delete rule"


def test_row_62_a_switch_that_lands_late_finds_the_world_changed(place):
    """The packet of a switch to green, delayed until green is gone, must not land."""
    place.go_live("1")
    before = place.api.get("Service", "backend")["metadata"]["resourceVersion"]
    place.apply(release("2", health=HEALTH | {"httpGet": {"path": "/", "port": 1}}, progressDeadline="5s"))
    state = place.until(lambda s: s.candidate() == "2" and version_2(s), "green is there", 20)
    late = {"metadata": {"resourceVersion": before}, "spec": {"selector": {REVISION: version_2(state)}}}
    place.until(lambda s: s.latched() == ["2"], "green is given up", 30)
    place.until(lambda s: not s.pods(version_2_of(late)), "green has no pods", 30)
    with pytest.raises(ApiError) as refused:
        place.api.patch("Service", "backend", late)
    assert refused.value.status == 409


def test_row_63_a_conflict_with_every_write(place):
    """Somebody writes to everything all the time: each of our writes may find that it was decided on an older state."""
    stop = threading.Event()

    def meddle():
        n = 0
        while not stop.wait(0.02):
            n += 1
            for kind in ("Service", "Deployment", "TradingRelease"):
                for body in place.api.list(kind)["items"]:
                    try:
                        place.api.patch(
                            kind, body["metadata"]["name"], {"metadata": {"annotations": {"meddled": str(n)}}}
                        )
                    except ApiError:
                        continue

    place.apply(service())
    meddling = threading.Thread(target=meddle)
    meddling.start()
    try:
        place.apply(release("1"))
        place.until(lambda s: s.ready("1"), "version 1 is live", 60)
        place.apply(release("2"))
        place.until(lambda s: s.ready("2"), "version 2 is live", 60)
    finally:
        stop.set()
        meddling.join()


def test_row_64_too_many_requests(place):
    """429 with Retry-After, by the API server's own priority and fairness: others hold every place that there is.

    Of no shares one place is left after a while: who asks for one thing after another is then refused nothing.
    """
    place.go_live("1")
    flow = "flowcontrol.apiserver.k8s.io/v1"
    name = place.namespace
    level = {
        "apiVersion": flow, "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}},
    }  # fmt: skip
    account = {
        "kind": "ServiceAccount",
        "serviceAccount": {"namespace": "tradingrelease-system", "name": "tradingrelease-operator"},
    }
    others = {"kind": "User", "user": {"name": "hog"}}
    schema = {
        "apiVersion": flow, "kind": "FlowSchema", "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 2,
            "rules": [{"subjects": [account, others], "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}]}],
        },
    }  # fmt: skip

    def lift():
        place.api.delete("FlowSchema", name)
        place.api.delete("PriorityLevelConfiguration", name)

    place.finally_(lift)
    place.api.create(level)
    place.api.create(schema)
    with places_taken(place, "hog") as are_taken:
        place.poll(are_taken.is_set, "the API server refuses who asks for one thing more", 60)
        place.apply(release("2"))
        place.poll(lambda: '"429"' in place.operator.metrics(), "it is told", 30)
    lift()
    place.until(lambda s: s.ready("2"), "it goes on", 60)


@contextlib.contextmanager
def places_taken(place, who):
    """Let somebody make requests that take long, more at once than are let through: a webhook never answers them.

    Yields an Event: the first of them was refused.
    """
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    role = {
        "kind": "Role",
        "metadata": {"name": who},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}],
    }
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": who}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who}
    place.api.create(kind | role)
    place.api.create(
        kind | {"kind": "RoleBinding", "metadata": {"name": who}, "roleRef": reference, "subjects": [subject]}
    )
    api = place.api.as_user(who, "system:authenticated")
    are_taken, over = threading.Event(), threading.Event()

    def ask():
        while not over.is_set():
            try:
                api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "hog-"}})
            except ApiError as error:
                if error.status == 429:
                    are_taken.set()
            over.wait(0.1)

    with socket.create_server(("127.0.0.1", 0)) as hole:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
        webhook = {
            "name": "hangs.example.com", "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": f"https://127.0.0.1:{hole.getsockname()[1]}/"}, "timeoutSeconds": 5,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
        }  # fmt: skip
        name = f"{place.namespace}-hangs"
        body = {"apiVersion": ADMISSION, "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name}}
        place.api.create(body | {"webhooks": [webhook]})
        askers = [threading.Thread(target=ask) for _ in range(8)]
        for asker in askers:
            asker.start()
        try:
            yield are_taken
        finally:
            over.set()
            place.api.delete("ValidatingWebhookConfiguration", name)
            for asker in askers:
                asker.join()


def test_row_68_two_operators(place, operator_kubeconfig, tmp_path):
    place.apply(service())
    second = Operator(place.namespace, operator_kubeconfig, tmp_path / "second.log", lambda _: None)
    second.start()
    try:
        for version in ("1", "2", "3"):
            place.apply(release(version))
            place.until(lambda s, v=version: s.ready(v), f"version {version} is live", 30)
        place.until(lambda s: len(s.deployments()) == 2, "version 1 is retained no more", 20)
        place.settled(3)
    finally:
        second.kill()


def test_row_69_a_right_that_is_taken_and_given_back(place):
    role = "tradingrelease-operator"
    path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}"
    whole = place.api._call("GET", path)
    rules = [r if r["resources"] != ["services"] else r | {"verbs": ["get", "list", "watch"]} for r in whole["rules"]]
    place.finally_(
        lambda: place.api._call("PATCH", path, {"rules": whole["rules"]}, content_type="application/merge-patch+json")
    )
    place.go_live("1")
    place.api._call("PATCH", path, {"rules": rules}, content_type="application/merge-patch+json")
    place.apply(release("2", progressDeadline="2m"))  # its deadline is not what is tested
    place.until(lambda s: s.candidate() == "2", "it begins", 20)
    place.never(lambda s: s.live() == "2", "it is live without the right to switch", 3)
    assert len(place.log_lines()) < 200
    place.api._call("PATCH", path, {"rules": whole["rules"]}, content_type="application/merge-patch+json")
    place.until(lambda s: s.ready("2"), "it goes on", 60)


def test_row_70_a_finalizer_that_comes_and_goes(place):
    """We have none; who puts one on and takes it off again wakes us, and nothing more."""
    place.go_live("1")
    place.settled(1)
    before = len(place.writes())
    for n in range(20):
        place.api.patch("TradingRelease", "shop", {"metadata": {"finalizers": ["example.com/hold"] if n % 2 else []}})
    place.settled(2)
    assert len(place.writes()) == before
    assert not [d for d in place.now.all("Deployment") + place.now.all("Service") if d["metadata"].get("finalizers")]


def test_row_74_a_secret_in_the_environment(place):
    """In environment and annotations of a pod. It stands in the template, the stored spec and the Deployment, and nowhere else."""
    canary = "canary-7f3a91"
    place.go_live("1")
    env = [{"name": "TOKEN", "value": canary}]

    def secret(version, image="", **container):
        made = template(version, image=image, container={"env": env} | container)
        return {**made, "metadata": made["metadata"] | {"annotations": {"example.com/token": canary}}}

    place.apply(release("2", pods=secret("2", env=[*env, {"name": "A=B", "value": canary}])))
    place.refused("InvalidTemplate")
    place.apply(release("4", pods=secret("4", image="x:unready"), progressDeadline="6s"))
    place.until(lambda s: s.latched() == ["4"], "it is given up", 30)
    place.apply(release("5", pods=secret("5")))
    state = place.until(lambda s: s.ready("5"), "version 5 is live", 20)
    told = [state.status(), state.all("Event"), [s["metadata"] for s in state.all("Service")]]
    told += [d["metadata"]["annotations"] for d in state.deployments()]
    assert canary not in json.dumps(told)
    assert canary not in place.operator.log.read_text()
    assert canary not in place.operator.metrics()


def test_row_75_a_password_in_a_url(tmp_path):
    """What cannot be reached is named by its path: the server's address may hold a password."""
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": "http://user:canary-pass@127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"token": "canary-token"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )  # fmt: skip
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT / "operator"),
        "KUBECONFIG": str(config),
        "TRADINGRELEASE_HTTP_PORT": "0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tradingrelease"], env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = [process.stderr.readline() for _ in range(3)]
        process.kill()
        lines += process.stderr.readlines()
    told = "".join(lines)
    assert "listing" in told
    assert "canary" not in told


def test_row_64_row_65_an_api_server_that_is_away(plane, access, operator):
    """Watches end, every request fails; once it is back, what was asked meanwhile is done. The last test here."""
    api = Api(access, "default")
    api.create(service())
    api.create(release("1"))
    deadline = time.monotonic() + 60

    def live():
        status = api.get("TradingRelease", "shop").get("status") or {}
        return (status.get("live") or {}).get("version")

    while live() != "1":
        assert time.monotonic() < deadline
    plane.kill("apiserver")
    while not port_is_free():
        assert time.monotonic() < deadline
    plane.restart("apiserver")
    deadline = time.monotonic() + 90
    api.apply(release("2"))
    while live() != "2":
        assert time.monotonic() < deadline, operator.tail()
    assert operator.runs


def port_is_free():
    """Tell whether nothing listens at the API server's port: the kernel takes a moment to bury a large process."""
    try:
        socket.create_server(("", 6443)).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def mutated(place, op, path, value):
    """Let the cluster's own admission policy change the template of every Deployment of this namespace."""
    name = f"{place.namespace}-mutates"
    probe = deployment("probe", template("2"), replicas=0)
    plain = place.api.create(probe, dryRun="All")["spec"]["template"]
    patch = f'[JSONPatch{{op: "{op}", path: "/spec/template/{path}", value: {value}}}]'
    place.api.create(
        {
            "apiVersion": ADMISSION, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "reinvocationPolicy": "Never",
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}
                ]},
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            },
        }
    )  # fmt: skip
    place.api.create(
        {
            "apiVersion": ADMISSION, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}},
            },
        }
    )  # fmt: skip

    def lift():
        place.api.delete("MutatingAdmissionPolicyBinding", name)
        place.api.delete("MutatingAdmissionPolicy", name)

    place.finally_(lift)

    def in_force():
        return place.api.create(probe, dryRun="All")["spec"]["template"] != plain

    place.poll(in_force, "the admission policy is in force", 30)
    yield
    lift()


def stamp():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def sim():
    return Simulator("backend")


def version_2(state):
    """Return the component revision of the candidate."""
    parts = (state.status().get("candidate") or {}).get("components") or [{}]
    return parts[0].get("revision")


def version_2_of(late):
    return late["spec"]["selector"][REVISION]
