"""Others write while a release goes on: a process of its own that stores things the operator has to look at.

`python -m bench.load KUBECONFIG RATE NAMESPACE...` writes RATE times a second in turns, until its stdin ends: the
status of a live pod (its watch tells the operator, which looks at the release), the annotation of a Service that no
release lists (its watch tells the operator, which looks at every release of the namespace), a ConfigMap (not watched;
it costs the API server and etcd).
"""

import asyncio
import itertools
import sys
from contextlib import suppress
from pathlib import Path

from bench.server import RefusedError, Server, path


async def _pods(server: Server, namespace: str) -> list[str]:
    listed = await server.ask("GET", path("pods", namespace))
    return [raw["metadata"]["name"] for raw in listed["items"]]


async def _write(server: Server, namespace: str, number: int) -> None:
    note = {"metadata": {"annotations": {"benchmark": str(number)}}}
    with suppress(RefusedError):  # a pod that was taken away meanwhile
        match number % 3:
            case 0:
                if pods := await _pods(server, namespace):
                    await server.merge("pods", namespace, pods[number % len(pods)], note)
            case 1:
                await server.merge("services", namespace, "bystander", note)
            case _:
                await server.merge("configmaps", namespace, "bystander", note)


async def run(kubeconfig: Path, rate: float, namespaces: list[str]) -> None:
    """Write until stdin ends."""
    server = Server(kubeconfig)
    ports = [{"port": 80}]
    for namespace in namespaces:
        body = {"metadata": {"name": "bystander"}}
        await server.create("configmaps", namespace, body)
        await server.create("services", namespace, {**body, "spec": {"selector": {"app": "other"}, "ports": ports}})
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    loop = asyncio.get_running_loop()
    began, writes = loop.time(), set[asyncio.Task[None]]()
    for number in itertools.count():
        if over.done():
            break
        await asyncio.sleep(max(began + number / rate - loop.time(), 0))
        if len(writes) < 20:
            task = asyncio.create_task(_write(server, namespaces[number // 3 % len(namespaces)], number))
            writes.add(task)
            task.add_done_callback(writes.discard)
    await asyncio.gather(*writes)
    await server.close()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
