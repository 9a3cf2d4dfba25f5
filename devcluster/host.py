"""What the machine must have: installs it as root on Debian, names it elsewhere."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from devcluster.places import STATE
from devcluster.progress import StepFailedError, run, say

# command -> Debian package
BUILD_TOOLS = {"gcc": "gcc", "debootstrap": "debootstrap"}
NAMESPACE_TOOLS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "openssl": "openssl",
    "curl": "curl",
}
PODMAN_TOOLS = {
    "podman": "podman", "conmon": "conmon", "runc": "runc", "iptables": "iptables", "nft": "nftables",
    "/usr/lib/podman/netavark": "netavark", "/usr/lib/podman/aardvark-dns": "aardvark-dns",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}  # fmt: skip
_HEADERS = {"/usr/include/stdio.h": "libc6-dev"}
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_NEEDED = 1024  # a worker takes 14, a control plane 27: the usual 128 is too low for two clusters


def need(*groups: dict[str, str]) -> None:
    """Make sure that the commands are there."""
    missing = {package for group in groups for command, package in group.items() if not _there(command)}
    if not missing:
        return
    names = " ".join(sorted(missing))
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(
            f"needed here and not installed: {names} (as root on Debian this command installs them itself)"
        )
    log = STATE / "log" / "apt.log"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    say(f"installing Debian packages: {names}")
    run(["apt-get", "update", "-q"], log, env=env)
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *sorted(missing)], log, env=env)


def need_go() -> None:
    """Go builds every binary; Debian's own is too old, so it is not installed here."""
    if not shutil.which("go"):
        raise SystemExit("needed here and not installed: Go 1.26 or newer (https://go.dev/doc/install)")


def need_root() -> None:
    """Namespaces and containers without an engine need root on Linux."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise SystemExit(
            "no container engine with a registry answers, and building everything here needs root on Linux: "
            "start Docker, or run this as root"
        )


def need_build_tools() -> None:
    """Everything for a cold build."""
    need_go()
    need(BUILD_TOOLS, _HEADERS, NAMESPACE_TOOLS, PODMAN_TOOLS)


def allow_inotify() -> None:
    """Raise the number of inotify instances: the one setting of the machine that several nodes need."""
    if int(_INOTIFY.read_text()) < _INOTIFY_NEEDED:
        say(f"raising fs.inotify.max_user_instances to {_INOTIFY_NEEDED} (until the next boot)")
        _INOTIFY.write_text(str(_INOTIFY_NEEDED))


def free_engine() -> str | None:
    """`docker` or `podman`, whichever answers first."""
    for engine in ("docker", "podman"):
        if shutil.which(engine) and _quiet([engine, "info"], 20):
            return engine
    return None


def can_pull(engine: str, image: str) -> bool:
    """Whether the image is there or a registry gives it."""
    return _quiet([engine, "image", "inspect", image], 20) or _quiet([engine, "pull", "--quiet", image], 600)


def _quiet(argv: list[str], seconds: float) -> bool:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as late:
        raise StepFailedError(f"{' '.join(argv)} gives no answer within {seconds:.0f} s") from late
    return done.returncode == 0


def _there(command: str) -> bool:
    return Path(command).exists() if command.startswith("/") else shutil.which(command) is not None
