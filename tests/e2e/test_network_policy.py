"""The chart's NetworkPolicy, enforced: whom the operator's pods reach, and who reaches them. Alone: it takes the CRDs over.

A packet that a policy drops gets no answer; one that arrives where nobody listens is refused.
"""

import json

import pytest

from devcluster.cluster import Cluster
from devcluster.network_policies import enforced
from tests.e2e.builders import IMAGE
from tests.e2e.faults import kubectl
from tests.e2e.scenes import first, go_live
from tests.waiting import eventually

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

OPEN, REFUSED, NOTHING = "open", "refused", "nothing"
METRICS, KUBELET, PROMETHEUS, CHAT, NOBODY_LISTENS = 8080, 10250, 9090, 8443, 9999
LISTENS_ON = (53, 443, 6443, 8080, PROMETHEUS, CHAT)
TOLD = {"config": {"targets": {"team": {}}, "routes": [{"to": ["team"]}]}, "secret": "urls"}
"""Somebody is told of releases; where, no Secret says."""

LISTEN = """
import selectors, socket, sys
ports = selectors.DefaultSelector()
for port in sys.argv[1:]:
    ports.register(socket.create_server(("", int(port))), selectors.EVENT_READ)
while True:
    for key, _ in ports.select():
        key.fileobj.accept()[0].close()
"""
REACH = """
import concurrent.futures, json, socket, sys
def reach(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "nothing"
    return "open"
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(reach, sys.argv[1:])))))
"""


def listener(name, **labels):
    """Return a pod that listens on many ports, and is nobody's."""
    box = {
        "name": "listener", "image": IMAGE, "command": ["python3", "-c", LISTEN, *map(str, LISTENS_ON)],
        "readinessProbe": {"tcpSocket": {"port": METRICS}, "periodSeconds": 1},
    }  # fmt: skip
    low_ports = {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}
    spec = {
        "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "securityContext": low_ports,
        "containers": [box],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def reached(arena, namespace, pod, *targets):
    """Tell what becomes of a connection from a pod to each target, an address or a name with a port."""
    told = kubectl(arena, "exec", f"--namespace={namespace}", pod, "--", "python3", "-c", REACH, *targets)
    return json.loads(told)


@pytest.fixture
def addresses(arena):
    """Start pods that are no business of the operator's, here and in another namespace, and tell where they are."""
    other = f"{arena.namespace}-other"
    kubectl(arena, "create", "namespace", other)
    arena.finally_(lambda: kubectl(arena, "delete", "namespace", other, "--wait=false"))
    pods = {
        "prometheus": (arena.namespace, {"app": "prometheus"}),
        "stranger": (arena.namespace, {"app": "stranger"}),
        "elsewhere": (other, {"tradingplatform.io/release": "shop"}),
    }
    for name, (namespace, labels) in pods.items():
        file = arena.folder / f"{name}.json"
        file.write_text(json.dumps(listener(name, **labels)))
        kubectl(arena, "apply", f"--namespace={namespace}", f"--filename={file}")
    found = {}
    for name, (namespace, _) in pods.items():
        kubectl(arena, "wait", f"--namespace={namespace}", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        found[name] = kubectl(arena, "get", "pod", name, f"--namespace={namespace}", "-o", "jsonpath={.status.podIP}")
    return found


def test_enforced_the_operators_pods_reach_what_they_need_and_are_reached_for_metrics_only(
    arena, installation, addresses
):
    server = kubectl(
        arena,
        "get",
        "endpointslices",
        "--namespace=default",
        "kubernetes",
        "-o",
        "jsonpath={.endpoints[0].addresses[0]}",
    )
    dns = kubectl(arena, "get", "service", "kube-dns", "--namespace=kube-system", "-o", "jsonpath={.spec.clusterIP}")
    prometheus = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    prometheus["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": arena.namespace}}
    policy = {
        "apiServer": {"ports": [6443], "cidrs": [f"{server}/32"]},
        "metricsFrom": [prometheus],
        "prometheusAt": [prometheus],
        "notificationPorts": [CHAT],
    }
    with enforced(Cluster.open(arena.cluster)):
        # Who waits for Ready knows that the kubelet's probes arrive.
        asked = {"url": f"http://prometheus.{arena.namespace}:{PROMETHEUS}"}
        installation.install(networkPolicy=policy, notifications=TOLD, prometheus=asked)
        state = first(arena, "1")
        (pod,) = state.pods(state.selected("backend"))
        needed = {
            "kubernetes.default.svc.cluster.local:443",  # by name: DNS answers, by UDP
            f"{dns}:53",
            f"{pod['status']['podIP']}:8080",
            f"{addresses['prometheus']}:{PROMETHEUS}",
            *(f"{address}:{CHAT}" for address in addresses.values()),  # anywhere, as chat rooms are
        }
        listens = {f"{address}:{port}" for address in addresses.values() for port in LISTENS_ON}
        else_ = {
            *(listens - needed),
            f"{server}:{KUBELET}",
        }
        replicas = installation.pods()
        assert len({replica["spec"]["nodeName"] for replica in replicas}) == 2

        def outwards():
            return [
                reached(arena, installation.namespace, replica["metadata"]["name"], *needed, *else_)
                for replica in replicas
            ]

        def inwards(who, *ports):
            targets = [f"{replica['status']['podIP']}:{port}" for replica in replicas for port in ports]
            return set(reached(arena, arena.namespace, who, *targets).values())

        expected = dict.fromkeys(needed, OPEN) | dict.fromkeys(else_, NOTHING)
        for found in outwards():
            assert found == expected
        assert inwards("prometheus", METRICS) == {OPEN}
        assert inwards("prometheus", NOBODY_LISTENS) == {NOTHING}
        assert inwards("stranger", METRICS, NOBODY_LISTENS) == {NOTHING}
        go_live(arena, "2")

        # It was this policy that said no, and nothing else.
        installation.upgrade(networkPolicy={"enabled": False}, notifications=TOLD, prometheus=asked)
        open_ = dict.fromkeys(needed | else_, OPEN)
        eventually(lambda: outwards() == [open_, open_], outwards, 20)
        assert inwards("stranger", METRICS) == {OPEN}
        assert inwards("stranger", NOBODY_LISTENS) == {REFUSED}
