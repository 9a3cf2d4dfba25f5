"""How tests break what runs: one pod at a time, when they say so, from the outside."""

import http.client
import subprocess
from collections.abc import Iterable
from typing import Any

from tests.e2e import builders
from tests.e2e.api import Json
from tests.e2e.arena import Arena
from tests.oracle import State

UNREADY = {"readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1,
                              "failureThreshold": 1, "timeoutSeconds": 3}}  # fmt: skip
"""Of a container: who fails its health check is not ready either."""

_CRASHABLE = (
    'python3 app.py & app=$!; trap "kill $app" TERM; '
    "while [ ! -e /tmp/crash ] && kill -0 $app; do sleep 0.2; done; test ! -e /tmp/crash || exit 3; wait $app"
)


def breakable(app: str = "backend", version: str = "1", **container: Any) -> Json:
    """Return a template whose pods are well until `spoil` is done to them."""
    env = {"FAIL_AFTER_SWITCH": "0"} | container.pop("env", {})
    return builders.template(app, version, env=env, **container)


def crashable(app: str = "backend", version: str = "1", **container: Any) -> Json:
    """Return a template whose pods are well until `crash` is done to them."""
    return builders.template(app, version, command=["sh", "-c", _CRASHABLE], **container)


_GREEDY = (
    'python3 app.py & app=$!; trap "kill $app" TERM; while [ ! -e /tmp/eat ] && kill -0 $app; do sleep 0.2; done; '
    "test -e /tmp/eat && exec python3 -c 'bytearray(10**9)'; wait $app"
)


def greedy(app: str = "backend", version: str = "1", **container: Any) -> Json:
    """Return a template whose pods take more memory than they may once /tmp/eat is there."""
    limits = {"limits": {"memory": "64Mi"}}
    return builders.template(app, version, command=["sh", "-c", _GREEDY], resources=limits, **container)


def full(arena: Arena) -> None:
    """Let a quota allow one pod; return when it counts those that are there."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}}
    arena.apply(quota)
    used = lambda: (arena.api.get("ResourceQuota", "full") or {}).get("status", {}).get("used")  # noqa: E731 - once
    arena.poll(used, "the quota counts", 20)


def touch(arena: Arena, pod: Json, file: str) -> None:
    """Make a file in a pod."""
    kubectl(arena, "exec", pod["metadata"]["name"], "--", "touch", file)


def spoil(pods: Iterable[Json]) -> None:
    """Let breakable pods answer 500 from now on."""
    for pod in pods:
        status = ask(pod)
        assert status == 500, f"pod {pod['metadata']['name']} is not breakable: HTTP {status}"


def ask(pod: Json, path: str = "/") -> int:
    """Ask a pod as a user does; the status of its answer."""
    connection = http.client.HTTPConnection(pod["status"]["podIP"], 8080, timeout=10)
    try:
        connection.request("GET", path, headers={"x-load": "1", "Connection": "close"})
        return connection.getresponse().status
    finally:
        connection.close()


def crash(arena: Arena, pods: Iterable[Json]) -> None:
    """Let the container of crashable pods end by itself, with exit code 3."""
    for pod in pods:
        touch(arena, pod, "/tmp/crash")


def kubectl(arena: Arena, *arguments: str) -> str:
    """Do what a person does at a terminal, in the arena's namespace."""
    answer = subprocess.run(
        ["kubectl", "--namespace", arena.namespace, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stderr}"
    return answer.stdout


def ready(state: State, revision: str) -> list[Json]:
    """Return the Ready pods of a component revision."""
    return [pod for pod in state.pods(revision) if is_ready(pod)]


def is_ready(pod: Json) -> bool:
    """Tell whether a pod is Ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


_MOODY = """
import asyncio, json, os, pathlib
from http import HTTPStatus
import app

def mood():
    file = pathlib.Path("/tmp/mood")
    return file.read_text().strip() if file.exists() else os.environ["MOOD"]

route, read = app.Platform._route, app.read_request

def answer(platform, request):
    if request.path != "/orders":
        return route(platform, request)
    if request.method == "POST":
        return platform._say(HTTPStatus.OK, asked="POST", desk=request.headers.get("x-desk"))
    if mood() == "broken":
        return platform._say(HTTPStatus.INTERNAL_SERVER_ERROR, error="no prices")
    return platform._say(HTTPStatus.OK, **({"error": "no prices"} if mood() == "lie" else {}))

async def heard(reader):
    request = await read(reader)
    if request and request.path == "/orders" and mood() == "hang":
        await asyncio.sleep(3600)
    return request

app.Platform._route, app.read_request = answer, heard
asyncio.run(app.main())
"""


def moody(app: str = "backend", version: str = "1", mood: str = "well", **container: Any) -> Json:
    """Return a template whose pods are healthy, and answer /orders as they feel: well, lie (200), broken or hang."""
    env = {"MOOD": mood} | container.pop("env", {})
    return builders.template(app, version, env=env, command=["python3", "-c", _MOODY], **container)


def feel(arena: Arena, pods: Iterable[Json], mood: str) -> None:
    """Let moody pods answer /orders differently from now on."""
    for pod in pods:
        kubectl(arena, "exec", pod["metadata"]["name"], "--", "sh", "-c", f"echo {mood} > /tmp/mood")
