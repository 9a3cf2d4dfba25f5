"""The chart, and Helm as its users run it."""

import copy
import itertools
import json
import os
import subprocess
from pathlib import Path

import yaml

from devcluster import pins

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "tradingrelease-operator"
MONITORED = {
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
}
NOTIFIED = {
    "secret": "notifications",
    "config": {
        "cluster": "prod-eu", "keepFor": "12h", "targets": {"team": {}, "pager": {"batch": "0s", "perHour": 30}},
        "routes": [
            {"to": ["team"], "namespaces": ["prod-*"]},
            {"to": ["pager", "team"], "severity": "Warning", "outcomes": ["RolledBack"], "reasons": ["RolledBack"], "releases": ["shop"]},
        ],
        "cloudEvents": {"mode": "binary"},
    },
}  # fmt: skip
SETS = {
    "defaults": {},
    "two namespaces": {"namespaces": ["shop", "payments"]},
    "all that there is": {
        "image": {"repository": "registry.example.com/ops/operator", "tag": "1.2.3", "digest": f"sha256:{'ab' * 32}"},
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 3, "leaseSeconds": 10, "workers": 16, "logLevel": "DEBUG",
        "serviceAccount": {"name": "releaser", "annotations": {"example.com/role": "releaser"}},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "ops", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["ops"]}]}}]}},
        "spreadOver": ["kubernetes.io/hostname", "topology.kubernetes.io/zone"],
        "podAnnotations": {"example.com/team": "ops"}, "podLabels": {"team": "ops"},
        "networkPolicy": {
            "apiServer": {"ports": [6443], "cidrs": ["10.0.0.1/32", "fd00::1/128"]}, "probePorts": [8080, 9090], "dns": False,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"protocol": "TCP", "port": 9090}]}],
        },
        "admission": {
            "strictTemplates": {"enabled": True, "serviceAccounts": ["default", "trader"]},
        },
        "monitoring": MONITORED,
        "trustedAccounts": ["system:serviceaccount:ci:deployer"],
        "webhooks": {"hosts": ["hooks.example.com"], "keySecret": "webhook-key"},
        "prometheus": {"url": "http://prometheus:9090", "templates": {"errors": "sum(errors)"}},
        "notifications": NOTIFIED,
    },
    "as little as there can be": {
        "replicas": 1, "serviceAccount": {"create": False, "name": "exists"},
        "podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}, "crds": {"install": False},
        "userRoles": {"create": False},
        "admission": {who: {"enabled": False} for who in ("actionVerbs", "deputy", "identity", "selectorKeeper")},
    },
}  # fmt: skip


class Helm:
    """Helm, run as its users do."""

    def __init__(self, program, home):
        self._program, self._home = str(program), home
        self._numbers = itertools.count(1)
        self._rendered = {}

    def run(self, command, *arguments, values=None, chart=CHART, through=list):
        """Run it, whatever it answers. `through` wraps its command line, to reach a server."""
        given = self._home / f"values-{next(self._numbers)}.json"
        given.write_text(json.dumps(values or {}))
        argv = [self._program, *command.split(), *([str(chart), f"--values={given}"] if chart else []), *arguments]
        env = os.environ | {f"HELM_{kind}_HOME": str(self._home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(through(argv), env=env, capture_output=True, text=True, check=False)

    def refusal(self, values):
        """Tell why the values are refused."""
        answer = self.run("template tradingrelease-operator", values=values)
        assert answer.returncode != 0, "they were accepted"
        return answer.stderr

    def render(self, values=None, name="tradingrelease-operator", namespace="tradingrelease-system"):
        """Return the objects that an installation would make. A Helm 3 that is built here knows no newer Kubernetes."""
        place = (f"--namespace={namespace}", f"--kube-version={pins.DEFAULT_KUBERNETES}")
        asked = json.dumps([name, namespace, values])
        if asked not in self._rendered:  # most tests look at the same few
            answer = self.run(f"template {name}", *place, values=values)
            assert answer.returncode == 0, answer.stderr
            self._rendered[asked] = [found for found in yaml.load_all(answer.stdout, yaml.CSafeLoader) if found]
        return copy.deepcopy(self._rendered[asked])


def only(objects, kind, name=None):
    """Return the one object of a kind, or of a kind and name."""
    (found,) = [o for o in objects if o["kind"] == kind and name in {None, o["metadata"]["name"]}]
    return found


def kinds(objects):
    """Return the kinds that there are."""
    return {o["kind"] for o in objects}
