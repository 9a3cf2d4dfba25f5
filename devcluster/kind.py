"""kind on this machine: in a sandbox through podman with a node image made here, or through a stock engine."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import binaries, host, node_image, pins, podman
from devcluster.places import HERE, STATE, cache, checkout, state_of
from devcluster.progress import StepFailedError, failure, output, run, say, step
from devcluster.sandbox import Sandbox, keep, thaw

SERVICE_RANGE = "10.96.0.0/16"
_PATIENCE = "120s"


@dataclass(frozen=True)
class Kind:
    """One kind cluster, running or about to: where its state lies and how its commands are run."""

    name: str
    folder: Path
    version: pins.Kubernetes
    size: int
    engine: str | None  # docker or podman where a stock engine runs the nodes, nothing in a sandbox

    @classmethod
    def find(cls, name: str) -> "Kind | None":
        """Return the cluster that `up` began to make, whether or not it is complete and still runs."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            told = json.loads((state_of(name) / "cluster.json").read_text())
            return cls(name, state_of(name), pins.kubernetes(told["kubernetes"]), told["size"], told["engine"])
        return None

    @property
    def kind_name(self) -> str:
        """Its name for kind; engines are shared by all checkouts, so there the name tells them apart."""
        return f"{self.name}-{checkout()}" if self.engine else self.name

    @property
    def kubeconfig(self) -> Path:
        """Its administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def log(self) -> Path:
        """What kind and podman said."""
        return STATE / "log" / f"{self.name}.log"

    @property
    def _complete(self) -> Path:
        return self.folder / "complete"

    @property
    def sandbox(self) -> Sandbox | None:
        """Its sandbox, if it has one and that is alive."""
        return Sandbox.load(self.folder / "sandbox.json")

    # --- commands -----------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Tell what a command for this cluster finds in its environment; `programs` first in PATH."""
        folders = [str(self.folder / "bin"), str(binaries.kubectl(self.version)), str(binaries.kind())]
        env = {
            "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder / "kubecache"), "NAME": self.name,
            "PATH": ":".join([*folders, os.environ["PATH"]]),
        }  # fmt: skip
        return env | ({} if self.engine else podman.environment(self.folder / "podman"))

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` wrapped to run where the cluster's network is; a signal reaches the command itself."""
        if self.engine:
            return ["env", *(f"{key}={value}" for key, value in self.environment().items()), *argv]
        return self._alive().in_network(argv, self.environment())

    def engine_command(self, argv: Sequence[str]) -> list[str]:
        """`argv` wrapped for podman, docker and kind themselves."""
        return self.command(argv) if self.engine else self._alive().in_full(argv, self._full_environment())

    def kubectl(self, *arguments: str) -> str:
        """Tell what kubectl prints."""
        return output(self.command(["kubectl", *arguments]))

    def in_engine(self, *arguments: str) -> str:
        """Tell what a command of the engine prints."""
        return output(self.engine_command([self.engine or "podman", *arguments]))

    # --- life ---------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Whether it runs and its API server answers."""
        if not self._complete.exists() or (not self.engine and self.sandbox is None):
            return False
        asked = self.command(["kubectl", "get", "--raw=/readyz", "--request-timeout=5s"])
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "ok"

    def create(self) -> None:
        """Create it. Until this returns, the sandbox ends with this process."""
        self.folder.mkdir(parents=True)
        self.log.unlink(missing_ok=True)
        told = {"kubernetes": self.version.version, "size": self.size, "engine": self.engine}
        (self.folder / "cluster.json").write_text(json.dumps(told))
        binaries.kind()
        binaries.kubectl(self.version)
        with self._place() as image:
            with step(f"kind create cluster: {self.size} node(s), Kubernetes {self.version.version}"):
                self._write_config()
                create = ["kind", "create", "cluster", "--name", self.kind_name, "--image", image,
                          "--config", str(self.folder / "kind.yaml"), "--retain"]  # fmt: skip
                run(self.engine_command(create), self.log)
            with step("waiting for the nodes and for cluster DNS"):
                self._wait("--for=condition=Ready", "nodes", "--all")
                self._wait("--for=condition=Available", "-n", "kube-system", "deployment/coredns")
            with step("giving kube-proxy its share of the processors"):
                self._favour_kube_proxy()
            self.route_pods()
        self._complete.touch()

    def delete(self) -> None:
        """End it and remove what it left, whatever state it is in."""
        if self.engine:
            self._unroute()
            kind = ["kind", "delete", "cluster", "--name", self.kind_name]
            subprocess.run(self.engine_command(kind), capture_output=True, check=False)
        else:
            self._end_sandbox()
        shutil.rmtree(self.folder, ignore_errors=True)

    def nodes(self) -> list[str]:
        """Return the names of its nodes, control plane first."""
        listed = self.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split()
        return sorted(listed, key=lambda node: ("control-plane" not in node, node))

    def stop_node(self, node: str) -> None:
        """Make a node go away, as a machine does that loses power."""
        self.in_engine("kill", node)
        self._until(f"{node} is away", lambda: self._inspect(node, "{{.State.Status}}") == "exited", 30)

    def start_node(self, node: str) -> None:
        """Let it come back, maybe with another address, and wait until it is ready."""
        self.in_engine("start", node)
        address = self._inspect(node, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        self._until(f"node {node} is known at {address}", lambda: self._addresses().get(node) == address)
        self._wait("--for=condition=Ready", f"node/{node}")
        self.route_pods()

    def load(self, archive: Path) -> None:
        """Bring an image from an archive onto every node."""
        loading = ["kind", "load", "image-archive", str(archive.absolute()), "--name", self.kind_name]
        run(self.engine_command(loading), self.log)

    def audit_log(self) -> str:
        """Tell what the API server has written so far, one JSON object a line."""
        return self.in_engine("exec", f"{self.kind_name}-control-plane", "cat", "/var/log/kubernetes/audit.log")

    def requests_of(self, user: str) -> list[tuple[str, str, str, int]]:
        """Return each kind of request that a user made so far: verb, API group, resource/subresource, HTTP code."""
        fields = (
            '.verb, .objectRef.apiGroup // "", .objectRef.resource + if .objectRef.subresource then '
            '"/" + .objectRef.subresource else "" end, .responseStatus.code // 0'
        )
        script = (
            f"""grep -hF '"username":"{user}"' /var/log/kubernetes/audit*.log """
            f"""| jq -c 'select(.objectRef.resource) | [{fields}]' | sort -u"""
        )
        told = self.in_engine("exec", f"{self.kind_name}-control-plane", "sh", "-c", script)
        return [tuple(json.loads(line)) for line in told.splitlines()]

    def route_pods(self) -> None:
        """Let pod addresses and ClusterIPs be reached from where commands run."""
        if self.engine and not (os.geteuid() == 0 and Path("/proc/net/route").exists()):
            say("no routes to pods: they need root on Linux")
            return
        for target, address in self._routes().items():
            output(self.command(["ip", "route", "replace", target, "via", address]))

    # --- how ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _place(self) -> Iterator[str]:
        """Provide what the nodes run in; the node image to use."""
        if self.engine:
            yield f"kindest/node:v{self.version.version}"
            return
        host.allow_inotify()
        Path("/lib/modules").mkdir(parents=True, exist_ok=True)  # kind mounts it into the nodes
        image, store = node_image.node(self.version)
        podman.settings(self.folder / "podman", [store])
        _write_shims(self.folder / "bin")
        sandbox, holder = Sandbox.start(self.folder / "sandbox.log")
        sandbox.save(self.folder / "sandbox.json")
        yield image
        keep(holder)

    def _write_config(self) -> None:
        config = (HERE / "kind.yaml").read_text() + "  - role: worker\n" * (self.size - 1)
        policy = HERE / "audit-policy.yaml"
        (self.folder / "kind.yaml").write_text(config.replace("hostPath: audit-policy.yaml", f"hostPath: {policy}"))

    def _alive(self) -> Sandbox:
        sandbox = self.sandbox
        if sandbox is None:
            raise StepFailedError(f"the cluster {self.name!r} does not run: devcluster/up")
        return sandbox

    def _full_environment(self) -> dict[str, str]:
        """Leave the shims out of PATH: they enter the sandbox, and this is for commands that are inside."""
        env = self.environment()
        return env | {"PATH": ":".join(part for part in env["PATH"].split(":") if part != str(self.folder / "bin"))}

    def _end_sandbox(self) -> None:
        containers = _containers(self.folder / "podman")
        groups = [group for container in containers for group in _cgroups(container)]
        sandbox = self.sandbox
        if sandbox:
            sandbox.end(frozen=groups)
        for group in groups:
            thaw(group)
            _remove(group)

    def _wait(self, *what: str) -> None:
        waiting = self.command(["kubectl", "wait", *what, f"--timeout={_PATIENCE}"])
        run(waiting, self.log)

    def _favour_kube_proxy(self) -> None:
        """Let kube-proxy ask for a share of the processors, as it does wherever people run it in earnest.

        kubeadm gives it none: on a busy machine it comes last of all, while a test waits for it.
        """
        container = {"name": "kube-proxy", "resources": {"requests": {"cpu": "200m"}}}
        spec = {
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}},
            "template": {"spec": {"containers": [container]}},
        }
        self.kubectl("-n", "kube-system", "patch", "daemonset/kube-proxy", "--patch", json.dumps({"spec": spec}))
        told = ["kubectl", "-n", "kube-system", "rollout", "status", "daemonset/kube-proxy", f"--timeout={_PATIENCE}"]
        run(self.command(told), self.log)

    def _until(self, what: str, holds: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise StepFailedError(failure(f"waited {seconds:.0f} s and it is not so that {what}", self.log))
            time.sleep(0.5)

    def _inspect(self, node: str, template: str) -> str:
        return self.in_engine("inspect", node, "--format", template).strip()

    def _addresses(self) -> dict[str, str]:
        form = '{range .items[*]}{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address}{"\\n"}{end}'
        lines = [line.split() for line in self.kubectl("get", "nodes", "-o", f"jsonpath={form}").splitlines()]
        return {name: addresses[0] for name, *addresses in lines if addresses}

    def _routes(self) -> dict[str, str]:
        """Each node's pod range behind the node, the services behind the control plane."""
        addresses = self._addresses()
        form = '{range .items[*]}{.metadata.name} {.spec.podCIDR}{"\\n"}{end}'
        lines = [line.split() for line in self.kubectl("get", "nodes", "-o", f"jsonpath={form}").splitlines()]
        routes = {ranges[0]: addresses[node] for node, *ranges in lines if ranges and node in addresses}
        return routes | {SERVICE_RANGE: addresses[f"{self.kind_name}-control-plane"]}

    def _unroute(self) -> None:
        if os.geteuid() == 0 and self.running():
            for target, address in self._routes().items():
                subprocess.run(["ip", "route", "del", target, "via", address], capture_output=True, check=False)


def choose_engine(version: pins.Kubernetes) -> str | None:
    """Choose a stock engine with a registry, or nothing: then everything is made here."""
    if made_here(version):
        return None
    engine = host.free_engine()
    if engine and host.can_pull(engine, f"kindest/node:v{version.version}"):
        return engine
    host.need_root()
    return None


def made_here(version: pins.Kubernetes) -> bool:
    """Whether a node image of this version was made here before: then nothing is asked of a registry."""
    return any((cache() / "stores").glob(f"node-{version.version}-*"))


def _write_shims(folder: Path) -> None:
    """Lead podman and kind into the whole sandbox: its network alone is not enough for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for program in ("podman", "kind"):
        shim = folder / program
        shim.write_text(f'#!/bin/sh\nexec "{HERE}/exec" --engine {program} "$@"\n')
        shim.chmod(0o755)


def _containers(folder: Path) -> list[str]:
    """Return the ids of the containers that podman wrote down, whether or not it still runs."""
    listed = folder / "storage" / "overlay-containers" / "containers.json"
    with contextlib.suppress(FileNotFoundError, ValueError):
        return [container["id"] for container in json.loads(listed.read_text())]
    return []


def _cgroups(container: str) -> list[Path]:
    """Return the cgroups of a container, in every hierarchy."""
    top = Path("/sys/fs/cgroup")
    return [*top.glob(f"libpod_parent/*{container}*"), *top.glob(f"*/libpod_parent/*{container}*")]


def _remove(cgroup: Path) -> None:
    """Remove an empty cgroup and those below it."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
