"""A worker node drained, lost and back says nothing about the code. These tests run alone: others need the nodes, too.

One release a phase, all hit at once by one event: `watched` and `single` (one replica) are in their watch, `verified` is
about to switch, `kept` has its retained version on that node.
"""

import os
import subprocess

import pytest

from devcluster.cluster import Cluster
from tests.e2e.builders import component, release, service, template
from tests.e2e.faults import is_ready, kubectl
from tests.oracle import COMPONENT, RELEASE, annotation, label

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

RETURNS_SOON = [
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
    for what, seconds in (("not-ready", 600), ("unreachable", 600))
]
"""Pods stay bound to a lost node for as long as it may return: the default is 5 min."""


@pytest.fixture
def cluster():
    return Cluster.open(os.environ.get("NAME", "dev"))


@pytest.fixture
def workers(cluster):
    found = [node for node in cluster.nodes() if "control-plane" not in node]
    assert len(found) >= 2, "these tests need two worker nodes: NODES=3"
    return found[:2]


def pods(app, version, node="", prefer="", **env):
    """Return a template whose pods run on one node, begin on one if they can, or are spread over all."""
    host = "kubernetes.io/hostname"
    term = {"weight": 100, "preference": {"matchExpressions": [{"key": host, "operator": "In", "values": [prefer]}]}}
    where = {"topologySpreadConstraints": spread(app)}
    if node:
        where = {"nodeSelector": {host: node}}
    elif prefer:
        where = {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}
    return template(app, version, env=env, spec={"tolerations": RETURNS_SOON} | where)


def spread(app):
    """Return constraints that put the second pod of a Deployment on the other node."""
    rule = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    return [rule | {"labelSelector": {"matchLabels": {"app": app}}, "matchLabelKeys": ["pod-template-hash"]}]


def release_of(app, version, node="", *, prefer="", replicas=1, dead_after="3s", watch="10m", **env):
    template = pods(app, version, node, prefer, **env)
    part = component(app, version, pods=template, replicas=replicas, progressDeadline="10m")
    return release(version, part, name=app, watch={"for": watch, "deadAfter": dead_after},
                   failFast={"restartLimit": 1, "stuckFor": "10m"})  # fmt: skip


def pods_of(state, app, version):
    found = [d for d in state.deployments(app, app) if annotation(d, "tradingplatform.io/version") == version]
    revision = label(found[0], "tradingplatform.io/revision") if found else "-"
    return [p for p in state.pods(revision) if label(p, RELEASE) == app and label(p, COMPONENT) == app]


def uncordon(arena, node):
    subprocess.run(["kubectl", "uncordon", node], capture_output=True, check=True, timeout=60)


def test_a_drained_worker_rolls_nothing_back_in_verify_watch_and_retention(arena, workers):
    away, other = workers
    arena.apply(*(service(app) for app in ("watched", "single", "verified", "kept")))
    arena.apply(
        release_of("watched", "1", other, watch="1s"), release_of("single", "1", other, watch="1s"),
        release_of("verified", "1", other, watch="1s"), release_of("kept", "1", away, watch="1s"),
    )  # fmt: skip
    arena.until(lambda s: all(s.ready("1", app) for app in ("watched", "single", "verified", "kept")), "1 is live", 180)
    # `single` has one pod, on the node that is drained: a new one needs less than deadAfter
    anywhere = {"watched": {"replicas": 2}, "single": {"prefer": away, "dead_after": "2m"}, "kept": {"watch": "1s"}}
    arena.apply(*(release_of(app, "2", **fields) for app, fields in anywhere.items()))
    arena.until(lambda s: all(s.live(app) == "2" and s.is_true("Serving", app) for app in anywhere), "2 is live", 180)
    arena.apply(release_of("verified", "2", replicas=2, STARTUP_DELAY="15"))
    arena.until(lambda s: len(pods_of(s, "verified", "2")) == 2, "the candidate has pods", 90)
    arena.until(lambda s: s.retained("kept") == ["1"] and s.is_true("RollbackReady", "kept"), "kept can go back", 60)
    arena.finally_(lambda: uncordon(arena, away))
    assert pods_of(arena.now, "single", "2")[0]["spec"]["nodeName"] == away
    kubectl(arena, "drain", away, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s",
            f"--pod-selector={RELEASE}")  # fmt: skip
    arena.until(lambda s: not [p for p in s.pods() if p["spec"].get("nodeName") == away], "the node is empty", 90)
    arena.until(lambda s: s.condition("RollbackReady", "kept")["status"] == "False", "kept says so", 60)
    state = arena.until(
        lambda s: all(s.live(app) == "2" and s.is_true("Serving", app) for app in ("watched", "single", "kept"))
        and s.live("verified") == "2", "all serve version 2, by pods elsewhere", 180,
    )  # fmt: skip
    uncordon(arena, away)
    arena.until(lambda s: s.is_true("RollbackReady", "kept"), "kept can go back again", 120)
    state = arena.now
    assert all(state.latched(app) == [] for app in ("watched", "single", "verified", "kept"))
    assert [s["cause"] for s in arena.switches()] == ["Promote"] * 8


def test_a_lost_worker_rolls_back_only_what_has_no_endpoint_and_returns(arena, workers, cluster):
    away, other = workers
    apps = ("watched", "single", "verified", "kept")
    arena.apply(*(service(app) for app in apps))
    arena.apply(
        release_of("watched", "1", other, watch="1s"), release_of("single", "1", other, watch="1s"),
        release_of("verified", "1", other, watch="1s"), release_of("kept", "1", away, watch="1s"),
    )  # fmt: skip
    arena.until(lambda s: all(s.ready("1", app) for app in apps), "version 1 is live", 180)
    arena.apply(
        release_of("watched", "2", replicas=2),
        release_of("single", "2", away),
        release_of("kept", "2", other, watch="1s"),
    )
    arena.until(lambda s: all(s.live(app) == "2" for app in ("watched", "single", "kept")), "2 is live", 180)
    assert {p["spec"]["nodeName"] for p in pods_of(arena.now, "watched", "2")} >= {away}
    arena.apply(release_of("verified", "2", away, STARTUP_DELAY="20"))
    arena.until(lambda s: any(p["spec"].get("nodeName") for p in pods_of(s, "verified", "2")), "a candidate's pod", 90)
    arena.finally_(lambda: cluster.start_node(away))
    cluster.stop_node(away)
    state = arena.until(lambda s: s.live("single") == "1", "what has no endpoint any more is rolled back", 240)
    assert state.latched("single") == ["2"]
    arena.until(lambda s: s.condition("RollbackReady", "kept")["status"] == "False", "kept says that it cannot", 120)
    arena.never(lambda s: s.live("watched") != "2" or s.latched("watched"), "watched is rolled back", 20)
    state = arena.now
    assert state.live("verified") == "1"
    assert state.latched("verified") == [], "a lost node is no verdict on the code"
    assert state.live("kept") == "2"
    cluster.start_node(away)
    state = arena.until(lambda s: s.live("verified") == "2", "the candidate is verified and switched to", 240)
    state = arena.until(lambda s: s.is_true("RollbackReady", "kept"), "kept can go back again", 120)
    state = arena.until(lambda s: len([p for p in pods_of(s, "watched", "2") if is_ready(p)]) == 2, "both pods", 120)
    assert state.live("watched") == "2"
    assert state.latched("watched") == state.latched("kept") == state.latched("verified") == []


def test_a_bad_line_counts_though_the_log_of_another_pod_hangs_with_its_kubelet(arena, workers, cluster):
    """A kubelet that stands still answers no one, and its node is not called lost for most of a minute."""
    away, other = workers
    arena.apply(service("watched"), release_of("watched", "1", other, watch="1s"))
    arena.until(lambda s: s.ready("1", "watched"), "version 1 is live", 180)
    logs = {"component": "watched", "pattern": "FATAL"}
    check = {"name": "fatal", "interval": "1s", "timeout": "1s", "failureLimit": 1, "successLimit": 2, "logs": logs}
    changed = release_of("watched", "2", replicas=2)
    changed["spec"]["checks"] = [check]
    arena.apply(changed)
    arena.until(lambda s: verdict(s) == "Passed", "version 2 is live, and its logs are clean", 180)
    by_node = {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in pods_of(arena.now, "watched", "2")}
    assert set(by_node) == {away, other}
    arena.finally_(lambda: cluster.on_node(away, "pkill", "-CONT", "kubelet"))
    cluster.on_node(away, "pkill", "-STOP", "kubelet")
    arena.until(lambda s: verdict(s) == "Inconclusive", "the log that hangs is missed", 30)
    kubectl(arena, "exec", by_node[other], "--", "sh", "-c", "echo FATAL: prices are lost > /proc/1/fd/1")
    state = arena.until(lambda s: s.live("watched") == "1", "version 1 is live again", 30)
    assert state.latched("watched") == ["2"]


def verdict(state):
    checks = (state.status("watched").get("live") or {}).get("checks") or [{}]
    return state.live("watched") == "2" and checks[0].get("verdict")
