"""What the commands in this folder do. Options come from flags or from the environment: NAME, NODES, K8S, CLUSTER."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from devcluster import binaries, host, images, pins
from devcluster.cluster import Cluster, ClusterNotRunning, ControlPlane, ControlPlaneNotRunning, StepFailedError
from devcluster.control_plane import PARTS
from devcluster.kind import Kind, choose_engine
from devcluster.places import STATE, control_plane_state, state_of
from devcluster.progress import locked, output, say

Command = Callable[[Sequence[str]], int | None]


def up(argv: Sequence[str]) -> int:
    """Start a cluster, or check the one that runs."""
    parser = _parser("up", up, "name")
    parser.add_argument("--nodes", type=int, default=os.environ.get("NODES") or None, help="how many nodes (NODES, 1)")
    parser.add_argument(
        "--k8s", default=os.environ.get("K8S") or None, help=f"one of {', '.join(pins.SUPPORTED_KUBERNETES)} (K8S)"
    )
    options = parser.parse_args(argv)
    if os.environ.get("CLUSTER") == "current":
        say(f"CLUSTER=current: using {Cluster.open(options.name).kubeconfig}, starting nothing")
        return 0
    with locked(STATE / "locks" / options.name):
        found = Kind.find(options.name)
        if found and found.running():
            return _reuse(found, options.nodes, options.k8s)
        version = pins.kubernetes(options.k8s)
        _delete(options.name)
        engine = choose_engine(version)
        if engine is None:
            host.need(host.NAMESPACE_TOOLS, host.PODMAN_TOOLS)
        _create(Kind(options.name, state_of(options.name), version, options.nodes or 1, engine))
    return 0


def down(argv: Sequence[str]) -> int:
    """End a cluster and remove what it left."""
    options = _parser("down", down, "name").parse_args(argv)
    if os.environ.get("CLUSTER") == "current":
        say("CLUSTER=current: it belongs to others, nothing is ended")
        return 0
    with locked(STATE / "locks" / options.name):
        say(f"cluster {options.name} is gone" if _delete(options.name) else f"no cluster {options.name} was here")
    return 0


def status(argv: Sequence[str]) -> int:
    """Show a cluster's nodes; exit code 1 if it does not run."""
    options = _parser("status", status, "name").parse_args(argv)
    cluster = Cluster.open(options.name)
    print(f"cluster {cluster.name} runs; KUBECONFIG={cluster.kubeconfig}")
    print(output(cluster.command(["kubectl", "get", "nodes", "-o", "wide"])), end="")
    return 0


def execute(argv: Sequence[str]) -> NoReturn:
    """Run a command where the cluster's network is reachable: exec CMD... (NAME in the environment)."""
    wants_engine = list(argv[:1]) == ["--engine"]
    command = list(argv[1:] if wants_engine else argv)
    if not command or command[0] in {"-h", "--help"}:
        sys.exit(f"devcluster/exec: {execute.__doc__}")
    name = _name()
    made_here = Kind.find(name)
    if os.environ.get("CLUSTER") == "current" or made_here is None:
        wrapped = Cluster.open(name).command(command)
    elif wants_engine:
        wrapped = made_here.engine_command(command)
    else:
        wrapped = made_here.command(command)
    _become(wrapped)


def load(argv: Sequence[str]) -> int:
    """Bring an image from an archive onto every node."""
    parser = _parser("load", load, "name")
    parser.add_argument("archive", type=Path)
    options = parser.parse_args(argv)
    Cluster.open(options.name).load(options.archive)
    say(f"{options.archive.name} is on every node of {options.name}")
    return 0


def image(argv: Sequence[str]) -> int:
    """Build an image with docker or podman, save it below .devcluster/images, load it into the cluster if it runs."""
    parser = _parser("image", image, "name")
    parser.add_argument(
        "tag", help="such as localhost/tradingrelease/operator:dev; not :latest, which Kubernetes pulls anew"
    )
    parser.add_argument("context", type=Path)
    parser.add_argument("-f", "--file", type=Path, help="the Dockerfile (CONTEXT/Dockerfile)")
    parser.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-cache", action="store_true", help="use no layer of an earlier build")
    options = parser.parse_args(argv)
    settings = [
        *(f"--build-arg={given}" for given in options.build_arg),
        *(f"--label={given}" for given in options.label),
    ]
    archive = images.build(options.tag, options.context, options.file, settings, afresh=options.no_cache)
    say(f"{options.tag} is in {archive}")
    try:
        Cluster.open(options.name).load(archive)
        say(f"{options.tag} is on every node of {options.name}")
    except ClusterNotRunning:
        say(f"no cluster {options.name} runs; later: devcluster/load {archive}")
    return 0


def control_plane(argv: Sequence[str]) -> int:
    """Start and end a control plane without nodes, or single parts of it."""
    parser = _parser("control-plane", control_plane)
    if list(argv[:1]) == ["exec"]:  # what follows are not our flags
        _become(ControlPlane.open(_name()).command(argv[1:]))
    parser.add_argument("action", choices=["up", "down", "status", "exec", "restart", "stop", "kill"])
    parser.add_argument(
        "words", nargs="*", metavar="PART", help=f"for restart, stop and kill: one of {', '.join(PARTS)}"
    )
    parser.add_argument("--name", default=_name(), help="its name (NAME, dev)")
    parser.add_argument("--no-controller-manager", action="store_true", help="leave it out")
    parser.add_argument("--fsync", action="store_true", help="let etcd write to the disk as in production")
    parser.add_argument("--apiserver-flag", action="append", default=[], help="one more flag of kube-apiserver")
    options = parser.parse_args(argv)
    if options.action == "up":
        return _control_plane_up(options)
    if options.action == "down":
        return _control_plane_down(options.name)
    plane = ControlPlane.open(options.name)
    if options.action == "status":
        for part in PARTS:
            print(f"{part}: {plane.pid(part) or 'not running'}")
        print(f"ready: {plane.ready()}\nKUBECONFIG={plane.kubeconfig}\naudit log: {plane.audit_log}")
        return 0 if plane.ready() else 1
    for part in options.words:
        {"restart": plane.restart, "stop": plane.stop, "kill": plane.kill}[options.action](part)
    return 0


def build(argv: Sequence[str]) -> int:
    """Build programs into the cache ahead of time, or fetch them from Debian (prometheus, packages); prints where."""
    parser = _parser("build", build)
    choices = ["control-plane", "node", "base", "helm", "helm-3", "network-policies", "prometheus", "packages"]
    parser.add_argument("what", choices=choices)
    parser.add_argument("names", nargs="*", metavar="PACKAGE", help="for packages: which of Debian, as they are")
    parser.add_argument("--k8s", default=os.environ.get("K8S") or None)
    options = parser.parse_args(argv)
    version = pins.kubernetes(options.k8s)
    from devcluster import debian, node_image  # late: only this command needs them by itself

    if options.what in {"prometheus", "packages"}:
        print(debian.unpacked("prometheus") if options.what == "prometheus" else debian.archives(options.names))
        return 0
    host.need_build_tools()

    print({
        "control-plane": lambda: binaries.control_plane(version),
        "node": lambda: node_image.node(version)[0],
        "base": lambda: node_image.base()[0],
        "helm": binaries.helm,
        "helm-3": binaries.helm_3,
        "network-policies": binaries.kube_network_policies,
    }[options.what]())  # fmt: skip
    return 0


def main(command: Command) -> None:
    """Run a command; a known failure is a text and not a traceback, and a signal cleans up as an error does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup asks to ignore it
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(command(sys.argv[1:]))
    except (StepFailedError, ClusterNotRunning, ControlPlaneNotRunning) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _name() -> str:
    return os.environ.get("NAME") or "dev"


def _become(argv: Sequence[str]) -> NoReturn:
    """Let this process become the command, so that signals to it reach the command."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and a command would inherit that
    os.execvp(argv[0], list(argv))  # noqa: S606 - a shell in between would take the signals


def _parser(program: str, command: Command, *common: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"devcluster/{program}", description=command.__doc__)
    if "name" in common:
        parser.add_argument("--name", default=_name(), help="the cluster's name (NAME, dev)")
    return parser


def _reuse(found: Kind, nodes: int | None, k8s: str | None) -> int:
    wanted = (nodes or found.size, pins.kubernetes(k8s or found.version.version))
    if wanted != (found.size, found.version):
        raise StepFailedError(
            f"cluster {found.name} runs with {found.size} node(s) of Kubernetes {found.version.version}; "
            f"for another one: make cluster-down NAME={found.name}"
        )
    found.route_pods()
    say(f"cluster {found.name} runs already: {len(found.nodes())} node(s), Kubernetes {found.version.version}")
    return 0


def _create(cluster: Kind) -> None:
    try:
        cluster.create()
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say("that did not work; removing what was begun")
        cluster.delete()
        raise
    say(f"cluster {cluster.name} is up; KUBECONFIG={cluster.kubeconfig}; try devcluster/exec kubectl get pods -A")


def _delete(name: str) -> bool:
    found = Kind.find(name)
    if found is None and state_of(name).exists():  # ended before it had written down what it is
        found = Kind(name, state_of(name), pins.kubernetes(), 1, None)
    if found:
        found.delete()
    return found is not None


def _control_plane_up(options: argparse.Namespace) -> int:
    try:
        found = ControlPlane.open(options.name)
    except ControlPlaneNotRunning:
        plane = ControlPlane.start(
            options.name,
            controller_manager=not options.no_controller_manager,
            fsync=options.fsync,
            extra_apiserver_flags=options.apiserver_flag,
        )
        plane.keep()
        say(f"control plane {options.name} is ready; KUBECONFIG={plane.kubeconfig}")
        return 0
    if not found.ready():
        raise StepFailedError(f"control plane {options.name} runs but is not ready: devcluster/control-plane status")
    say(f"control plane {options.name} is ready already; KUBECONFIG={found.kubeconfig}")
    return 0


def _control_plane_down(name: str) -> int:
    try:
        ControlPlane.open(name).close()
        say(f"control plane {name} is gone")
    except ControlPlaneNotRunning:
        import shutil  # late: only for the remains of one that was killed

        shutil.rmtree(control_plane_state(name), ignore_errors=True)
        say(f"no control plane {name} was here")
    return 0
