"""Reads pins.toml, the one place that names versions."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

_TABLE = tomllib.loads((Path(__file__).parent / "pins.toml").read_text())

DEFAULT_KUBERNETES: str = _TABLE["default-kubernetes"]
SUPPORTED_KUBERNETES: tuple[str, ...] = tuple(_TABLE["kubernetes"])
KIND: str = _TABLE["tools"]["kind"]
CONTAINERD: str = _TABLE["tools"]["containerd"]
CRICTL: str = _TABLE["tools"]["crictl"]
HELM: str = _TABLE["tools"]["helm"]
HELM_3: str = _TABLE["tools"]["helm-3"]
ACTIONLINT: str = _TABLE["tools"]["actionlint"]
GITLEAKS: str = _TABLE["tools"]["gitleaks"]
CLI_UTILS: str = _TABLE["tools"]["cli-utils"]
PROMETHEUS_OPERATOR: str = _TABLE["tools"]["prometheus-operator"]
KUBE_NETWORK_POLICIES: str = _TABLE["tools"]["kube-network-policies"]
DEBIAN_SUITE: str = _TABLE["debian"]["suite"]
DEBIAN_BASE: str = _TABLE["debian"]["base"]


@dataclass(frozen=True)
class Kubernetes:
    """One supported version of Kubernetes and what belongs to it."""

    version: str
    coredns: str

    @property
    def minor(self) -> str:
        """The 37 of 1.37.2."""
        return self.version.split(".")[1]

    @property
    def staging(self) -> str:
        """The version of the k8s.io modules that belong to it: 0.37.2 for 1.37.2."""
        return "0." + self.version.partition(".")[2]


def kubernetes(version: str | None = None) -> Kubernetes:
    """Return the pinned version, or the default one; anything else is an error that names the choice."""
    wanted = (version or DEFAULT_KUBERNETES).removeprefix("v")
    if wanted not in SUPPORTED_KUBERNETES:
        raise SystemExit(f"Kubernetes {wanted} is not pinned here; K8S is one of {', '.join(SUPPORTED_KUBERNETES)}")
    return Kubernetes(wanted, _TABLE["kubernetes"][wanted]["coredns"])
