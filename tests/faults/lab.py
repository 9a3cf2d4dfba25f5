"""Starts and ends what all runs share: a bare control plane with our CRDs and rights, a node, a nursery, a loop."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml

from devcluster.cluster import ControlPlane
from tests.apiserver import Server
from tests.e2e.api import Access
from tests.e2e.installed import ACCOUNT, FILES, ROOT, SYSTEM
from tests.faults.node import Node
from tests.faults.nursery import Nursery
from tests.faults.proxy import Upstream
from tests.faults.stage import Lab


@contextlib.contextmanager
def opened(name: str, folder: Path) -> Iterator[Lab]:
    """Start everything; end it."""
    with ControlPlane.start(name) as plane, plane.entered():
        _install(plane)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        nursery = Nursery(folder)
        try:
            upstream, node, token = asyncio.run_coroutine_threadsafe(_begin(plane), loop).result(60)
            yield Lab(plane, folder, token, loop, upstream, node, nursery, Access.load(plane.kubeconfig))
            asyncio.run_coroutine_threadsafe(_end(upstream, node), loop).result(60)
        finally:
            nursery.close()
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


def _install(plane: ControlPlane) -> None:
    """Install CRDs and rights, as an administrator does."""
    kubectl = Server(plane).kubectl
    kubectl("apply", "--server-side", *(f"--filename={file}" for file in FILES))
    crds = [f"crd/{body['metadata']['name']}" for body in _crds()]
    kubectl("delete", "clusterrolebinding", ACCOUNT)  # each run binds the role in its own namespace
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
    plane.restart("controller-manager")  # a garbage collector that runs already learns of new kinds 30 s later


def _crds() -> list[dict]:
    bodies = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "crds").glob("*.yaml"))]
    return [body for body in bodies if body.get("kind") == "CustomResourceDefinition"]


async def _begin(plane: ControlPlane) -> tuple[Upstream, Node, str]:
    upstream = Upstream(plane.kubeconfig)
    node = Node(plane, upstream)
    await node.start()
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{ACCOUNT}/token"
    answer = await upstream.ask("POST", path, {"spec": {"expirationSeconds": 86400}})
    return upstream, node, str(json.loads(answer.body)["status"]["token"])


async def _end(upstream: Upstream, node: Node) -> None:
    await node.stop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await upstream.close()
