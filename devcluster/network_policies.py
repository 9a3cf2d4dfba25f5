"""NetworkPolicies that are enforced, in a cluster whose pod network takes no notice of them.

kube-network-policies does it, as its makers build and install it: it judges the first packet of every connection. The
packets reach it through a queue of the kernel, by a rule that it writes itself. Where the kernel has no `queue` for
nftables (CONFIG_NFT_QUEUE) that rule is refused, and a rule of iptables for the same queue stands in its place.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from devcluster import archive, binaries, pins
from devcluster.cluster import Cluster
from devcluster.places import images
from devcluster.progress import StepFailedError, locked, output

_IMAGE = f"localhost/tradingrelease/kube-network-policies:{pins.KUBE_NETWORK_POLICIES}"
_RULE = (
    "FORWARD", "-m", "conntrack", "!", "--ctstate", "ESTABLISHED,RELATED",
    "-j", "NFQUEUE", "--queue-bypass", "--queue-num",
)  # fmt: skip
_QUEUE_CHECK = "table inet check { chain check { queue num 0; }; }"


@contextlib.contextmanager
def enforced(cluster: Cluster) -> Iterator[None]:
    """Enforce the NetworkPolicies of a cluster for as long as the block lasts."""
    folder = images() / "network-policies"
    with locked(images() / "lock"):
        manifest, queue = _made(folder)
    cluster.load(folder / "image.tar")
    with contextlib.ExitStack() as undo:
        undo.callback(_kubectl, cluster, "delete", "--ignore-not-found", f"--filename={manifest}")
        _kubectl(cluster, "apply", "--server-side", f"--filename={manifest}")
        for node in cluster.nodes():
            if not _queues_by_nftables(cluster, node):
                cluster.on_node(node, "iptables", "--insert", *_RULE, queue)
                undo.callback(cluster.on_node, node, "iptables", "--delete", *_RULE, queue)
        _kubectl(
            cluster, "rollout", "status", "--namespace=kube-system", "daemonset/kube-network-policies", "--timeout=120s"
        )
        yield


def _made(folder: Path) -> tuple[Path, str]:
    """Make its image and its manifest, which names that image; return the manifest, and the queue that it asks for."""
    built = binaries.kube_network_policies()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "root" / "bin").mkdir(parents=True)
    shutil.copy(built / "netpol", folder / "root" / "bin" / "netpol")
    archive.write(folder / "image.tar", _IMAGE, folder / "root", [])  # the manifest says what is run
    text = re.sub(r"image: \S+", f"image: {_IMAGE}", (built / "install.yaml").read_text())
    manifest = folder / "install.yaml"
    manifest.write_text(text)
    return manifest, re.findall(r"--nfqueue-id=(\d+)", text)[0]


def _queues_by_nftables(cluster: Cluster, node: str) -> bool:
    try:
        cluster.on_node(node, "nft", "--check", _QUEUE_CHECK)
    except StepFailedError:
        return False
    return True


def _kubectl(cluster: Cluster, *arguments: str) -> None:
    output(cluster.command(["kubectl", *arguments]))
