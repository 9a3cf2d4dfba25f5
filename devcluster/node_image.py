"""The node image for kind where no registry is reachable: Debian, kind's own node files and our binaries."""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from devcluster import archive, binaries, debian, host, pins, podman
from devcluster.places import HERE, cache, digest
from devcluster.progress import StepFailedError, failure, output, run, step
from devcluster.sandbox import Sandbox

_CHANGES = (
    "ENV container=docker",
    "STOPSIGNAL SIGRTMIN+3",
    'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]',
)
_BASE_TAG = f"localhost/tradingrelease/base:{pins.DEBIAN_SUITE}-{pins.DEBIAN_BASE}"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def base() -> tuple[str, Path]:
    """Return the base image for images built here: its tag, and the store that holds it."""
    root = debian.base_root()
    return _BASE_TAG, podman.image_store(root.name, _BASE_TAG, lambda _: (root, ['CMD ["python3"]']))


def node(version: pins.Kubernetes) -> tuple[str, Path]:
    """Return the node image: its tag, and the store that holds it."""
    recipe = digest(
        version.version, version.coredns, pins.KIND, pins.CONTAINERD, pins.CRICTL, debian.node_root().name,
        *(file.read_bytes() for file in sorted((HERE / "node").iterdir())), Path(__file__).read_bytes(),
    )  # fmt: skip
    tag = f"localhost/tradingrelease/node:v{version.version}-{recipe}"
    key = f"node-{version.version}-{recipe}"

    def produce(folder: Path) -> tuple[Path, list[str]]:
        return _Recipe(version, folder).make(), list(_CHANGES)

    store = cache() / "stores" / key
    if store.exists():
        return tag, store
    host.need_build_tools()
    with step(f"making the node image for Kubernetes {version.version}"):
        return tag, podman.image_store(key, tag, produce)


class _Recipe:
    """The steps from a Debian root file system to a node."""

    def __init__(self, version: pins.Kubernetes, folder: Path) -> None:
        self.version = version
        self.folder = folder
        self.root = folder / "root"
        self.kubernetes = binaries.kubernetes(version)
        self.log = cache() / "log" / f"node-{version.version}.log"
        listed = output(
            [self.kubernetes / "kubeadm", "config", "images", "list", f"--kubernetes-version=v{version.version}"]
        )
        self.names = {line.rpartition(":")[0].rpartition("/")[2]: line for line in listed.split()}

    def make(self) -> Path:
        """Make the node's root file system."""
        self._copy_debian()
        self._copy_kind_files()
        self._tame_systemd()
        self._install_programs()
        self._configure_containerd()
        self._preload_images()
        return self.root

    def _copy_debian(self) -> None:
        run(["cp", "-a", debian.node_root(), self.root], self.log)

    def _copy_kind_files(self) -> None:
        """Copy kind's node files; the module cache is read-only and unowned, so modes and owners are set here."""
        files = binaries.module_source("sigs.k8s.io/kind", pins.KIND) / "images/base/files"
        for source in sorted(files.rglob("*")):
            target = self.root / source.relative_to(files)
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                shutil.copyfile(source, target)
                target.chmod(0o755 if target.parent.name == "bin" else 0o644)
        for folder in (
            "etc/kubernetes/manifests",
            "opt/cni/bin",
            "etc/cni/net.d",
            "kind/manifests",
            "var/lib/containerd",
        ):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "kind/version").write_text(f"v{self.version.version}")
        manifest = (HERE / "node/default-cni.yaml").read_text().replace("KUBE_PROXY_IMAGE", self.names["kube-proxy"])
        (self.root / "kind/manifests/default-cni.yaml").write_text(manifest)
        shutil.copyfile(HERE / "node/pod-routes", self.root / "kind/bin/pod-routes")

    def _tame_systemd(self) -> None:
        """Do what kind's Dockerfile does after installing packages."""
        units = self.root / "lib/systemd/system"
        unwanted = [
            *units.glob("sysinit.target.wants/systemd-tmpfiles-setup.service"),
            *units.glob("multi-user.target.wants/*"), *units.glob("local-fs.target.wants/*"),
            *units.glob("basic.target.wants/*"), *units.glob("sockets.target.wants/*udev*"),
            *units.glob("sockets.target.wants/*initctl*"), *(self.root / "etc/systemd/system").glob("*.wants/*"),
        ]  # fmt: skip
        for unit in unwanted:
            unit.unlink()
        with (self.root / "etc/systemd/journald.conf").open("a") as conf:
            conf.write("ReadKMsg=no\n")
        self._chroot("systemctl", "enable", "kubelet.service", "containerd.service", "undo-mount-hacks.service")
        self._chroot("systemctl", "mask", "systemd-binfmt.service")

    def _install_programs(self) -> None:
        containerd = binaries.containerd()
        for program in ("containerd", "ctr", "containerd-shim-runc-v2"):
            self._install(containerd / program, "usr/local/bin")
        self._install(binaries.crictl() / "crictl", "usr/local/bin")
        for program in ("kubelet", "kubectl", "kubeadm"):
            self._install(self.kubernetes / program, "usr/bin")
        for plugin in ("host-local", "loopback", "ptp", "portmap"):
            self._install(Path("/usr/lib/cni") / plugin, "opt/cni/bin")

    def _configure_containerd(self) -> None:
        spec = json.loads(self._chroot("ctr", "oci", "spec"))
        spec.setdefault("hooks", {}).setdefault("createContainer", []).append(
            {"path": "/kind/bin/mount-product-files.sh"}
        )
        del spec["process"]["rlimits"]
        (self.root / "etc/containerd/cri-base.json").write_text(json.dumps(spec))
        config = self.root / "etc/containerd/config.toml"
        lines = config.read_text().splitlines()
        for number, line in enumerate(lines):
            key = line.strip().partition(" = ")[0]
            if key == "restrict_oom_score_adj":  # without CAP_SYS_RESOURCE runc cannot lower the score
                lines[number] = "  restrict_oom_score_adj = true"
            elif key == "sandbox_image":
                lines[number] = f'  sandbox_image = "{self.names["pause"]}"'
        config.write_text("\n".join(lines) + "\n")

    def _preload_images(self) -> None:
        """Put the images that kubeadm asks for into the node's containerd; it unpacks them on first use."""
        archives = [self._pause(), self._coredns(), self._kube_proxy()]
        archives += [
            self._image(name, {self.kubernetes / name: "usr/local/bin"}, [f"/usr/local/bin/{name}"])
            for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
        ]
        _import_into_containerd(archives, self.root / "var/lib/containerd", self.log)

    def _pause(self) -> Path:
        source = binaries.module_source("k8s.io/kubernetes", self.version.version) / "build/pause/linux/pause.c"
        program = self.folder / "pause"
        run(
            ["gcc", "-Os", "-static", f"-DVERSION={self.names['pause'].rpartition(':')[2]}", "-o", program, source],
            self.log,
        )
        return self._image("pause", {program: ""}, ["/pause"])

    def _coredns(self) -> Path:
        certificates = self.root / "etc/ssl/certs/ca-certificates.crt"
        files = {binaries.coredns(self.version) / "coredns": "", certificates: "etc/ssl/certs"}
        return self._image("coredns", files, ["/coredns"])

    def _kube_proxy(self) -> Path:
        """Make kube-proxy's image, with what it calls; iptables loads its extensions by name, so ldd must see each.

        Without the names of protocols nft lists "6" where kube-proxy wrote "tcp": one that is started anew takes what
        it finds for others' and deletes it, so that no Service that was there before leads anywhere.
        """
        extensions = [str(file.relative_to(self.root)) for file in (self.root / _LIBRARIES / "xtables").iterdir()]
        names = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
        called = [f"usr/sbin/{name}" for name in (*names, "nft", "conntrack")]
        called += ["sbin/modprobe", "bin/ip", "bin/sh", "bin/cat", "bin/mv", "bin/sleep"]
        root = self.folder / "images" / "kube-proxy"
        for folder in ("tmp", "run", "etc", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"):
            (root / folder).mkdir(parents=True)
        for folder in ("bin", "sbin", "lib", "lib64"):
            (root / folder).symlink_to(f"usr/{folder}")
        listed = "\n".join(debian.closure(self.root, [*called, *extensions]))
        output(["cp", "-a", "--parents", "-t", root, *listed.split("\n"), "etc/protocols"], cwd=self.root)
        return self._image(
            "kube-proxy", {self.kubernetes / "kube-proxy": "usr/local/bin"}, ["/usr/local/bin/kube-proxy"]
        )

    def _image(self, name: str, files: dict[Path, str], entrypoint: list[str]) -> Path:
        root = self.folder / "images" / name
        for source, folder in files.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / folder / source.name)
        target = self.folder / f"{name}.tar"
        archive.write(target, self.names[name], root, entrypoint)
        return target

    def _install(self, program: Path, folder: str) -> None:
        shutil.copyfile(program, self.root / folder / program.name)
        (self.root / folder / program.name).chmod(0o755)

    def _chroot(self, *argv: str) -> str:
        return output(["chroot", self.root, *argv])


def _import_into_containerd(archives: list[Path], root: Path, log: Path) -> None:
    """Import with a containerd that runs only for this; a path of a socket must be short, so not in the cache."""
    sandbox, holder = Sandbox.start(log)
    try:
        with tempfile.TemporaryDirectory(prefix="devcluster-") as folder:
            daemon = _start_containerd(sandbox, root, Path(folder), log)
            for file in archives:
                options = ["--label=io.cri-containerd.pinned=pinned", "--all-platforms", "--no-unpack", "--local"]
                run([*_ctr(Path(folder)), "images", "import", *options, file], log)
            daemon.terminate()  # in good order, so that its database is whole
            daemon.wait()
    finally:
        sandbox.end()
        holder.communicate()


def _start_containerd(sandbox: Sandbox, root: Path, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    config = folder / "config.toml"
    without = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images",
               "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt")  # fmt: skip
    config.write_text(
        f'version = 3\nroot = "{root}"\nstate = "{folder}/state"\ndisabled_plugins = {json.dumps(without)}\n'
        f'[grpc]\naddress = "{folder}/socket"\n[ttrpc]\naddress = "{folder}/ttrpc"\n'
    )
    serve = [str(binaries.containerd() / "containerd"), "-c", str(config)]
    with log.open("ab") as out:
        daemon = subprocess.Popen(sandbox.in_network(serve, {}), stdout=out, stderr=out)
    deadline = time.monotonic() + 30
    while subprocess.run([*_ctr(folder), "version"], capture_output=True, check=False).returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise StepFailedError(failure("containerd did not start", log))
        time.sleep(0.1)
    return daemon


def _ctr(folder: Path) -> list[str]:
    return [str(binaries.containerd() / "ctr"), "--address", f"{folder}/socket", "--namespace", "k8s.io"]
