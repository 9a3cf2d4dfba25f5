"""Starts and ends what all runs share: a bare control plane with our CRDs and rights, a node, a nursery, a loop."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

from urllib3 import Retry

from devcluster.cluster import ControlPlane
from devcluster.crds import wait_until_established
from tests import rights
from tests.apiserver import Server
from tests.e2e.api import Access
from tests.e2e.installed import ACCOUNT, FILES, SYSTEM
from tests.faults import clock, crds
from tests.faults.node import Node
from tests.faults.nursery import Nursery
from tests.faults.proxy import Upstream
from tests.faults.stage import Lab

PATIENTLY = Retry(60, allowed_methods=None, status_forcelist=(429, 500, 503, 504), backoff_factor=0.1, backoff_max=1)
"""How people ask while the API server is away: for about a minute. What they ask for is the same if it is asked twice."""


@contextlib.contextmanager
def opened(name: str, folder: Path, *, clocks: bool = False) -> Iterator[Lab]:
    """Start everything; end it. With `clocks` there are operators whose clock can be set."""
    if clocks:
        clock.need()  # before the network is the sandbox's
    with ControlPlane.start(name) as plane, plane.entered():
        _install(plane)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        nurseries = [Nursery(folder), *([Nursery(folder, clock.preloaded())] if clocks else [])]
        try:
            upstream, node, token = asyncio.run_coroutine_threadsafe(_begin(plane), loop).result(60)
            access, people = Access.load(plane.kubeconfig), Access.load(plane.kubeconfig, PATIENTLY)
            yield Lab(plane, folder, token, loop, upstream, node, nurseries[0], nurseries[-1], access, people)
            asyncio.run_coroutine_threadsafe(_end(upstream, node), loop).result(60)
            rights.note(plane.audit_log)
        finally:
            for nursery in nurseries:
                nursery.close()
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


def _install(plane: ControlPlane) -> None:
    """Install CRDs and rights, as an administrator does."""
    kubectl = Server(plane).kubectl
    kubectl("apply", "--server-side", *(f"--filename={file}" for file in FILES))
    kubectl("delete", "clusterrolebinding", ACCOUNT)  # each run binds the role in its own namespace
    wait_until_established(kubectl, *crds.names())
    plane.restart("controller-manager")  # a garbage collector that runs already learns of new kinds 30 s later


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
