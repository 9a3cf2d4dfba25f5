"""Where most stories begin: a release that is live and proven, without adoption, as quickly as that goes."""

from typing import Any

from tests.e2e import builders
from tests.e2e.api import Json
from tests.e2e.arena import Arena
from tests.oracle import State, annotation, label

WATCH = {"for": "5m", "deadAfter": "3s"}
"""A watch that does not end within a test."""
SHORT = {"for": "1s", "deadAfter": "3s"}


def part(version: str, pods: Json | None = None, **fields: Any) -> Json:
    """Return the backend of a version."""
    return builders.component(version=version, **({} if pods is None else {"pods": pods}), **fields)


def go_live(arena: Arena, version: str, *parts: Json, seconds: float = 120, **spec: Any) -> State:
    """Release a version and wait until it is live and proven."""
    spec.setdefault("watch", SHORT)
    arena.apply(builders.release(version, *parts, **spec))
    return arena.until(lambda s: s.ready(version), f"version {version} is live and proven", seconds)


def first(
    arena: Arena, version: str = "1", *parts: Json, services: tuple[str, ...] = ("backend",), **spec: Any
) -> State:
    """Make Services that select nothing and release the first version onto them."""
    arena.apply(*(builders.service(name) for name in services))
    return go_live(arena, version, *parts, **spec)


def switch_to(arena: Arena, version: str, *parts: Json, seconds: float = 120, **spec: Any) -> State:
    """Release a version and wait until it is live, in a watch that does not end by itself."""
    spec.setdefault("watch", WATCH)
    arena.apply(builders.release(version, *parts, **spec))
    return arena.until(
        lambda s: s.live() == version and s.is_true("Promoted"), f"version {version} is live, in its watch", seconds
    )


def rolled_back(state: State, version: str, to: str) -> bool:
    """Tell whether a version is latched, and the one before it live with all its endpoints."""
    revision = {c["name"]: c["revision"] for c in (state.status().get("live") or {}).get("components") or ()}
    return (
        state.live() == to
        and version in state.latched()
        and state.status().get("phase") == "RolledBack"
        and state.condition("Ready")["status"] == "False"
        and state.is_true("Serving")
        and state.selected("backend") == revision.get("backend")
    )


def revision_of(state: State, version: str) -> str:
    """Return the revision of a version: what orders name."""
    status = state.status()
    known = [
        status.get("live"),
        status.get("candidate"),
        *(status.get("retained") or ()),
        *(status.get("latched") or ()),
    ]
    known += status.get("history") or ()
    found = next((r["revision"] for r in known if r and r["version"] == version), "")
    assert found, f"no revision of version {version}"
    return str(found)


def outcome(state: State, version: str) -> str:
    """Return the newest outcome of a version in history."""
    entry = next((h for h in state.status().get("history") or () if h["version"] == version), {})
    return str(entry.get("outcome", ""))


def reason(state: State, version: str) -> str:
    """Return why a version is latched."""
    return next((str(e["reason"]) for e in state.status().get("latched") or () if e["version"] == version), "")


def of_version(state: State, version: str, component: str = "backend") -> Json | None:
    """Return the Deployment that was made for a version."""
    wanted = "tradingplatform.io/version"
    return next((d for d in state.deployments(component=component) if annotation(d, wanted) == version), None)


def is_reached(state: State) -> bool:
    """Tell whether the slices name the pods that the Service selects, and no others: they are told of after it."""
    pods = {pod["metadata"]["name"] for pod in state.pods(state.selected("backend"))}
    return state.endpoints("backend") == pods != set()


def names(state: State) -> list[str]:
    """Return the names of the release's own Deployments."""
    return [d["metadata"]["name"] for d in state.deployments()]


def component_revision(deployment: Json | None) -> str:
    """Return the component revision of a Deployment."""
    return label(deployment, "tradingplatform.io/revision")
