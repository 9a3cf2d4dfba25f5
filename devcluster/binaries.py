"""Go binaries from pinned modules: built once per version into the cache, found there afterwards."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from devcluster import host, pins
from devcluster.places import cache
from devcluster.progress import locked, output, run, step

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
NODE = ("kubelet", "kube-proxy", "kube-scheduler", "kubeadm")
_SMALL = ("-s", "-w")


def control_plane(version: pins.Kubernetes) -> Path:
    """Return the folder with etcd, kube-apiserver, kube-controller-manager and kubectl."""
    return _kubernetes(version, CONTROL_PLANE)


def kubernetes(version: pins.Kubernetes) -> Path:
    """Return the folder with all programs of Kubernetes."""
    return _kubernetes(version, (*CONTROL_PLANE, *NODE))


def kubectl(version: pins.Kubernetes) -> Path:
    """Return the folder with kubectl, which is all that a stock engine needs of Kubernetes."""
    return _kubernetes(version, ("kubectl",))


def containerd() -> Path:
    """Return the folder with containerd, its shim and ctr."""
    module = "github.com/containerd/containerd/v2"
    programs = ("containerd", "containerd-shim-runc-v2", "ctr")

    def build(folder: Path, log: Path, _programs: Sequence[str]) -> None:
        module_folder = _module("containerd", pins.CONTAINERD, log)
        tools = [f"{module}/cmd/{program}" for program in programs]
        go(["get", "-tool", *(f"{tool}@v{pins.CONTAINERD}" for tool in tools)], module_folder, log)
        go(
            ["build", "-tags", "no_btrfs no_zfs no_devmapper", *_ldflags(), "-o", f"{folder}/", *tools],
            module_folder,
            log,
        )

    return _built("containerd", pins.CONTAINERD, programs, build)


def kind() -> Path:
    """Return the folder with kind."""
    return _installed("kind", pins.KIND, "sigs.k8s.io/kind")


def crictl() -> Path:
    """Return the folder with crictl."""
    return _installed("crictl", pins.CRICTL, "sigs.k8s.io/cri-tools/cmd/crictl")


def coredns(version: pins.Kubernetes) -> Path:
    """Return the folder with CoreDNS."""
    return _installed("coredns", version.coredns, "github.com/coredns/coredns")


def helm() -> Path:
    """Return the folder with Helm, which no cluster needs: only for those who ask."""
    return _installed("helm", pins.HELM, "helm.sh/helm/v4/cmd/helm")


def helm_3() -> Path:
    """Return the folder with the Helm before it."""
    return _installed("helm", pins.HELM_3, "helm.sh/helm/v3/cmd/helm")


def actionlint() -> Path:
    """Return the folder with actionlint, which reads workflows as GitHub does."""
    return _installed("actionlint", pins.ACTIONLINT, "github.com/rhysd/actionlint/cmd/actionlint")


def gitleaks() -> Path:
    """Return the folder with gitleaks, which finds secrets in what is to be committed."""
    return _installed("gitleaks", pins.GITLEAKS, "github.com/zricethezav/gitleaks/v8")


def kstatus(source: Path) -> Path:
    """Return the folder with a program of one file that is built against the library kstatus of cli-utils."""
    version = f"{pins.CLI_UTILS}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}"

    def build(folder: Path, log: Path, _programs: Sequence[str]) -> None:
        module_folder = _module("kstatus", version, log)
        shutil.copy(source, module_folder / "main.go")
        go(["mod", "edit", f"-require=sigs.k8s.io/cli-utils@v{pins.CLI_UTILS}"], module_folder, log)
        go(["mod", "tidy"], module_folder, log)
        go(["build", *_ldflags(), "-o", f"{folder}/kstatus", "."], module_folder, log)

    return _built("kstatus", version, ("kstatus",), build)


def kube_network_policies() -> Path:
    """Return the folder with kube-network-policies (`netpol`) and the manifest that its makers install it by."""
    module = "sigs.k8s.io/kube-network-policies"

    def build(folder: Path, log: Path, _programs: Sequence[str]) -> None:
        module_folder = _module("kube-network-policies", pins.KUBE_NETWORK_POLICIES, log)
        go(["get", "-tool", f"{module}/cmd@v{pins.KUBE_NETWORK_POLICIES}"], module_folder, log)
        go(["build", *_ldflags(), "-o", f"{folder}/netpol", f"{module}/cmd"], module_folder, log)
        shutil.copyfile(module_source(module, pins.KUBE_NETWORK_POLICIES) / "install.yaml", folder / "install.yaml")

    return _built("kube-network-policies", pins.KUBE_NETWORK_POLICIES, ("netpol", "install.yaml"), build)


def module_source(module: str, version: str) -> Path:
    """Return the folder of a module's source, fetched if need be (read-only: it is Go's cache)."""
    host.need_go()
    told = output(["go", "mod", "download", "-json", f"{module}@v{version}"], env=_go_env())
    return Path(json.loads(told)["Dir"])


def go(arguments: Sequence[str], folder: Path, log: Path, **env: str) -> None:
    """Run go without C, without a workspace and without paths of this machine in the result."""
    run(["go", *arguments], log, env={**_go_env(), **env}, cwd=folder)


def _go_env() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-trimpath -buildvcs=false"}


def _ldflags(*more: str) -> list[str]:
    return ["-ldflags", " ".join((*_SMALL, *more))]


def _kubernetes(version: pins.Kubernetes, programs: Sequence[str]) -> Path:
    def build(folder: Path, log: Path, missing: Sequence[str]) -> None:
        module_folder = _kubernetes_module(version, log)
        for program in missing:
            with step(f"building {program}"):
                target = f"k8s.io/kubernetes/cmd/{program}" if program != "etcd" else "go.etcd.io/etcd/server/v3"
                flags = _ldflags() if program == "etcd" else _ldflags(*_version_flags(version))
                go(["build", *flags, "-o", f"{folder}/{program}", target], module_folder, log)

    return _built("kubernetes", version.version, programs, build)


def _kubernetes_module(version: pins.Kubernetes, log: Path) -> Path:
    """Make a module whose tools are Kubernetes' programs and etcd."""
    folder = _module("kubernetes", version.version, log)
    told = json.loads(
        output(["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version.version}"], env=_go_env())
    )
    # its own go.mod replaces the staging modules by ./staging; here each one at its own version
    staging = re.findall(r"^\s*(k8s\.io/[a-z-]+) => \./staging/", Path(told["GoMod"]).read_text(), re.MULTILINE)
    tools = [f"k8s.io/kubernetes/cmd/{p}" for p in (*CONTROL_PLANE, *NODE) if p != "etcd"] + [
        "go.etcd.io/etcd/server/v3"
    ]
    edits = [f"-require=k8s.io/kubernetes@v{version.version}"]
    edits += [f"-replace={module}={module}@v{version.staging}" for module in staging]
    edits += [f"-tool={tool}" for tool in tools]
    go(["mod", "edit", *edits], folder, log)
    go(["mod", "tidy"], folder, log)
    return folder


def _version_flags(version: pins.Kubernetes) -> list[str]:
    """Without them the server reports v0.0.0 and clients misbehave."""
    package = "k8s.io/component-base/version"
    values = {"gitVersion": f"v{version.version}", "gitMajor": "1", "gitMinor": version.minor, "gitTreeState": "clean"}
    return [f"-X {package}.{key}={value}" for key, value in values.items()]


def _module(name: str, version: str, log: Path) -> Path:
    """Make an empty module to build in."""
    folder = cache() / "modules" / f"{name}-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    go(["mod", "init", f"devcluster.local/{name}"], folder, log)
    return folder


def _installed(name: str, version: str, package: str) -> Path:
    def build(folder: Path, log: Path, _programs: Sequence[str]) -> None:
        go(["install", *_ldflags(), f"{package}@v{version}"], cache(), log, GOBIN=str(folder))

    return _built(name, version, (name,), build)


def _built(
    name: str, version: str, programs: Sequence[str], build: Callable[[Path, Path, Sequence[str]], None]
) -> Path:
    """Build what is missing in a folder beside, then move each finished program in place."""
    folder = cache() / "bin" / f"{name}-{version}"

    def missing() -> list[str]:
        return [program for program in programs if not (folder / program).exists()]

    if not missing():
        return folder
    host.need_go()
    with locked(cache() / "locks" / f"{name}-{version}"):
        wanted = missing()
        if wanted:
            half = folder.with_name(f"{folder.name}.building")
            half.mkdir(parents=True, exist_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            with step(f"building {name} {version}: {', '.join(wanted)}"):
                build(half, cache() / "log" / f"build-{name}-{version}.log", wanted)
            for program in wanted:
                (half / program).rename(folder / program)
            shutil.rmtree(half)
    return folder
