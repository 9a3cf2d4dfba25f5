"""Words for people: hashes become versions, requests become one line."""

import json
from typing import Any

from tradingrelease.policy import names
from tradingrelease.policy.spec import Spec
from tradingrelease.policy.writes import Create, Delete, Merge, Patch, Resource

from tests.model.objects import CLAIM

_NAMES: dict[str, str] = {}


def learn(spec: Spec) -> None:
    """Remember what the hashes of a spec stand for."""
    _NAMES[spec.revision] = spec.version
    for component in spec.components:
        _NAMES.setdefault(component.revision, spec.version)


def told(text: str) -> str:
    """Return a text with versions in the place of hashes."""
    for revision, version in _NAMES.items():
        text = text.replace(revision, version)
    return text


def said(thing: Any) -> str:
    """Return a request, a revision or a mapping in words."""
    match thing:
        case Merge():
            return told(_merge(thing))
        case Create(resource, body):
            claims = {
                k.removeprefix(CLAIM): v for k, v in body["metadata"]["annotations"].items() if k.startswith(CLAIM)
            }
            return told(
                f"CREATE {resource} {body['metadata']['name']}" + (f", claims {said(claims)}" if claims else "")
            )
        case Patch(resource, name, operations):
            paths = [o["path"] for o in operations if o["op"] != "test"]
            return told(f"PATCH {resource} {name}: {', '.join(paths)}{_guard(operations)}")
        case Delete(resource, name, uid, version):
            return told(f"DELETE {resource} {name} [if uid {uid}, version {version}]")
        case dict():
            return ", ".join(f"{k}@{v}" for k, v in sorted(thing.items()))
        case _:
            return _NAMES.get(str(thing), str(thing))


def _guard(operations: tuple[dict[str, Any], ...]) -> str:
    tests = [f"{o['path'].rpartition('/')[2]} {o['value']}" for o in operations if o["op"] == "test"]
    return f" [if {', '.join(tests)}]"


def _merge(request: Merge) -> str:
    metadata = request.body["metadata"]
    notes = metadata.get("annotations") or {}
    what = []
    if selector := (request.body.get("spec") or {}).get("selector"):
        cause = json.loads(notes[names.SWITCH])["cause"] if names.SWITCH in notes else "mark"
        what.append(f"{cause}: select {selector.get(names.REVISION)}")
    claims = {k.removeprefix(CLAIM): v for k, v in notes.items() if k.startswith(CLAIM)}
    what += [f"claim {said(claims)}"] if claims else []
    what += [f"replicas {request.body['spec']['replicas']}"] if "replicas" in (request.body.get("spec") or {}) else []
    what += ["fence"] if names.FENCE in notes else []
    labels = metadata.get("labels") or {}
    what += ["mark" if labels[names.RELEASE] else "unmark"] if names.RELEASE in labels and not selector else []
    what += ["proven"] if names.PROVEN in notes else []
    what += ["unsafe"] if names.UNSAFE in notes else []
    what += ["may run"] if "suspend" in (request.body.get("spec") or {}) else []
    guards = [f"{k} {metadata[k]}" for k in ("uid", "resourceVersion") if k in metadata]
    kinds = {Resource.SERVICES: "Service", Resource.JOBS: "Job"}
    return f"PATCH {kinds.get(request.resource, 'Deployment')} {request.name}: {', '.join(what) or 'metadata'} [if {', '.join(guards) or 'ANYTHING'}]"
