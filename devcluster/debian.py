"""Debian root file systems, made by debootstrap once and kept in the cache."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devcluster import host, pins
from devcluster.places import cache, digest
from devcluster.progress import StepFailedError, locked, run, step

_NODE_PACKAGES = (
    "systemd", "systemd-sysv", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "kmod", "libseccomp2",
    "pigz", "e2fsprogs", "ca-certificates", "curl", "jq", "netbase", "procps", "runc",
)  # fmt: skip
_BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_NOT_NEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/log")


def node_root() -> Path:
    """Return the root file system that nodes are made from."""
    return _root("node", _NODE_PACKAGES)


def base_root() -> Path:
    """Return the root file system of the base image for images built here: Python and certificates."""
    root = _root("base", _BASE_PACKAGES)
    for name in ("python", "python3"):  # where the official Python images have it
        link = root / "usr/local/bin" / name
        if not link.is_symlink():
            link.symlink_to("/usr/bin/python3")
    return root


def closure(root: Path, programs: Sequence[str]) -> list[str]:
    """Return the programs, relative to the root, with the libraries that they load and the links that lead to them."""
    found: set[str] = set()
    for program in programs:
        _follow(root, program, found)
    told = _chroot(root, ["ldd", *(f"/{name}" for name in sorted(found) if not (root / name).is_symlink())])
    for line in told.splitlines():
        words = [word for word in line.split() if word.startswith("/") and not word.endswith(":")]
        for word in words:
            _follow(root, word.lstrip("/"), found)
    return sorted(found)


def _follow(root: Path, name: str, found: set[str]) -> None:
    """Add a file and every symbolic link on the way to it; /bin, /lib and so on are links into /usr."""
    top, _, rest = name.partition("/")
    if top in {"bin", "lib", "lib64", "sbin"}:
        name = f"usr/{top}/{rest}"
    found.add(name)
    path = root / name
    if path.is_symlink():
        target = Path("/", Path(name).parent, path.readlink())
        _follow(root, os.path.normpath(target).lstrip("/"), found)


def _chroot(root: Path, argv: Sequence[str]) -> str:
    """Tell what a command inside the root prints; ldd ends with 1 for a static program, which is no failure."""
    return subprocess.run(["chroot", root, *argv], capture_output=True, text=True, check=False).stdout


def unpacked(package: str) -> Path:
    """Return what a Debian package contains, unpacked and not installed: nothing is started, nothing configured."""
    root = cache() / "packages" / f"{package}-{pins.DEBIAN_SUITE}"
    with locked(cache() / "locks" / root.name):
        if not root.exists():
            half = root.with_name(f"{root.name}.building")
            shutil.rmtree(half, ignore_errors=True)
            (deb,) = archives([package]).glob("*.deb")
            run(["dpkg", "-x", deb, half], cache() / "log" / f"package-{package}.log")
            half.rename(root)
    return root


def archives(packages: Sequence[str]) -> Path:
    """Return a folder that holds Debian packages as files: an image can be made from them without a network."""
    folder = cache() / "packages" / f"archives-{pins.DEBIAN_SUITE}-{digest(*packages)}"
    with locked(cache() / "locks" / folder.name):
        if not folder.exists():
            log = cache() / "log" / f"{folder.name}.log"
            half = folder.with_name(f"{folder.name}.building")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            with step(f"fetching Debian packages: {' '.join(packages)}"):
                run(["apt-get", "update", "-q"], log)
                run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *packages], log, cwd=half)
                half.rename(folder)
    return folder


def _root(name: str, packages: Sequence[str]) -> Path:
    recipe = digest(pins.DEBIAN_SUITE, pins.DEBIAN_BASE, *packages)
    root = cache() / "roots" / f"{name}-{pins.DEBIAN_SUITE}-{recipe}"
    if root.exists():
        return root
    host.need(host.BUILD_TOOLS)
    with locked(cache() / "locks" / root.name):
        if not root.exists():
            with step(f"making a Debian {pins.DEBIAN_SUITE} root file system ({name})"):
                half = root.with_name(f"{root.name}.building")
                shutil.rmtree(half, ignore_errors=True)
                _debootstrap(half, packages)
                half.rename(root)
    return root


def _debootstrap(root: Path, packages: Sequence[str]) -> None:
    if os.geteuid() != 0:
        raise StepFailedError("debootstrap needs root")
    root.mkdir(parents=True)
    mirror = os.environ.get("DEVCLUSTER_DEBIAN_MIRROR")
    run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", pins.DEBIAN_SUITE, root,
         *([mirror] if mirror else [])],
        cache() / "log" / f"debootstrap-{root.name}.log",
    )  # fmt: skip
    for folder in _NOT_NEEDED:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
