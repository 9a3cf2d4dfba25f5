"""podman inside a sandbox: its settings, and stores of finished images that every cluster reads and none writes."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, cast

from devcluster import host
from devcluster.places import cache
from devcluster.progress import locked, run
from devcluster.sandbox import Sandbox

_CONTAINERS_CONF = """\
[containers]
# without CAP_SYS_RESOURCE podman cannot raise these, and asks for more than there is
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"            # the other kind is one set for the whole machine
runtime = "runc"              # crun refuses hybrid cgroups
[network]
network_backend = "netavark"  # kubeadm join needs names between nodes
network_config_dir = "{folder}/networks"
"""
_STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{folder}/storage"
runroot = "/run/containers/storage"
[storage.options]
additionalimagestores = [{stores}]
"""
_PROXIES = {f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")}


def settings(folder: Path, stores: Sequence[Path]) -> dict[str, str]:
    """Write podman's two configuration files into `folder`; what the environment needs so that they are used."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = int(Path("/proc/sys/kernel/pid_max").read_text())
    (folder / "containers.conf").write_text(_CONTAINERS_CONF.format(files=files, processes=processes, folder=folder))
    listed = ", ".join(f'"{store}"' for store in stores)
    (folder / "storage.conf").write_text(_STORAGE_CONF.format(folder=folder, stores=listed))
    return environment(folder)


def environment(folder: Path) -> dict[str, str]:
    """Tell what the environment of podman and kind needs. Proxies are emptied: kind would hand them to the nodes."""
    return {
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "KIND_EXPERIMENTAL_PROVIDER": "podman",
        "TMPDIR": str(folder / "tmp"),
        **{name: "" for name in os.environ if name.lower() in _PROXIES},
    }


def image_store(key: str, tag: str, produce: Callable[[Path], tuple[Path, Sequence[str]]]) -> Path:
    """Provide the store in the cache that holds the image `tag`; `produce` makes its root file system and settings."""
    store = cache() / "stores" / key
    if store.exists():
        return store
    host.need(host.NAMESPACE_TOOLS, host.PODMAN_TOOLS)
    with locked(cache() / "locks" / key):
        if not store.exists():
            half = store.with_name(f"{key}.building")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            try:
                root, changes = produce(half)
                _import(half, root, tag, changes, cache() / "log" / f"{key}.log")
                (half / "storage").rename(store)
            finally:
                shutil.rmtree(half)
    return store


def _import(folder: Path, root: Path, tag: str, changes: Sequence[str], log: Path) -> None:
    env = settings(folder, [])
    sandbox, holder = Sandbox.start(log)
    try:
        options = [word for change in changes for word in ("--change", change)]
        importing = sandbox.in_full(["podman", "import", "--quiet", *options, "-", tag], env)
        with subprocess.Popen(["tar", "-C", root, "-cf", "-", "."], stdout=subprocess.PIPE) as tar:
            run(importing, log, stdin=cast("IO[bytes]", tar.stdout).fileno())
    finally:
        sandbox.end()
        holder.communicate()
