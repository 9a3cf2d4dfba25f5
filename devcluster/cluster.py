"""The one interface of tests, demo and benchmarks to a Kubernetes: they do not know what runs it.

`Cluster` has nodes and pods; `ControlPlane` has none and is up in 3 s. Standard library only.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devcluster.control_plane import ControlPlane, ControlPlaneNotRunning
from devcluster.kind import Kind
from devcluster.places import state_of
from devcluster.progress import StepFailedError

__all__ = ["Cluster", "ClusterNotRunning", "ControlPlane", "ControlPlaneNotRunning", "StepFailedError"]


class ClusterNotRunning(RuntimeError):  # noqa: N818 - the name that callers know
    """There is no such cluster; the text says how to start one."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster with nodes."""

    name: str
    kubeconfig: Path
    kind: Literal["kind", "current"]
    _made_here: Kind | None = None

    @classmethod
    def open(cls, name: str = "dev") -> "Cluster":
        """Return the running cluster `name`, or with CLUSTER=current the one that KUBECONFIG names."""
        if os.environ.get("CLUSTER") == "current":
            return cls._current(name)
        made_here = Kind.find(name)
        if made_here is None or not made_here.running():
            raise ClusterNotRunning(
                f"no cluster {name!r} runs here ({state_of(name)}); start it: make cluster-up NAME={name}"
            )
        return cls(name, made_here.kubeconfig, "kind", made_here)

    @classmethod
    def _current(cls, name: str) -> "Cluster":
        kubeconfig = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        if not kubeconfig.exists():
            raise ClusterNotRunning(f"CLUSTER=current, but there is no {kubeconfig}; set KUBECONFIG")
        return cls(name, kubeconfig, "current")

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` wrapped to run where the cluster's network is; signals to the process reach the command itself."""
        return self._made_here.command(argv) if self._made_here else list(argv)

    def nodes(self) -> list[str]:
        """Return the names of the nodes, control plane first."""
        return self._ours().nodes()

    def stop_node(self, name: str) -> None:
        """Make a node go away without a word."""
        self._ours().stop_node(name)

    def start_node(self, name: str) -> None:
        """Let a node return, and wait until it is ready and its pods can be reached again."""
        self._ours().start_node(name)

    def load(self, archive: Path) -> None:
        """Bring an image from an archive onto every node."""
        self._ours().load(archive)

    def on_node(self, name: str, *command: str) -> str:
        """Tell what a command prints that runs on a node itself, as root."""
        return self._ours().in_engine("exec", name, *command)

    def audit_log(self) -> str:
        """Return the API server's audit log so far: one JSON object a line, level Metadata."""
        return self._ours().audit_log()

    def requests_of(self, user: str) -> list[tuple[str, str, str, int]]:
        """Return each kind of request that a user made so far: verb, API group, resource/subresource, HTTP code."""
        return self._ours().requests_of(user)

    def _ours(self) -> Kind:
        if self._made_here is None:
            raise StepFailedError(
                "this needs a cluster that devcluster/up made; with CLUSTER=current it belongs to others"
            )
        return self._made_here
