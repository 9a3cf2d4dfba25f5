"""What a run ends in and what it made and removed, without what differs from run to run: to be compared with a clean run.

Left out on purpose: times, uids, versions, addresses, words of conditions (they tell counts and times), the number of an
act (an act that was undone and done again has a higher one), and the
words of Events: only how many there are of each reason.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.faults.plan import CLAIM_DOMAIN, Names
from tests.oracle import (
    ATTEMPT,
    HOOK,
    OPERATOR,
    PREVIEW_OF,
    PROVEN,
    RELEASE,
    REVISION,
    UNSAFE,
    Recorded,
    State,
    annotation,
    label,
    switch_record,
)

Json = dict[str, Any]

COUNTED = ("Deployment", "Service", "ControllerRevision", "TradingRelease", "ReleaseCommand", "Job")
_SERVED = "tradingplatform.io/served"
_POD = re.compile(r"\bpod [a-z0-9-]+")
_LAST_ANSWER = re.compile(r"(times in a row: ).*")
"""What a probe heard last: an error, or on a busy machine nothing in time. That it failed so often is what counts."""


def _words(reason: str) -> str:
    return _LAST_ANSWER.sub(r"\1...", _POD.sub("pod", reason))


def learn(history: Iterable[Recorded], names: Names) -> None:
    """Take the names of everything that ever was."""
    for event in history:
        names.learn(event.kind, event.body)


def end_state(state: State, names: Names) -> Json:
    """Return the state of a namespace in its normal form."""
    found: Json = {}
    for kind, describe in _DESCRIBED.items():
        for body in state.all(kind):
            found[f"{kind} {names.plain(body['metadata']['name'])}"] = describe(state, body)
    return dict(json.loads(names.plain(json.dumps(found, sort_keys=True))))


def created_and_deleted(history: Iterable[Recorded], names: Names) -> dict[str, tuple[int, int]]:
    """Return for each object by name how often it was created and deleted."""
    born: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    known: set[str] = set()
    for event in history:
        if event.kind not in COUNTED:
            continue
        name = f"{event.kind} {names.plain(event.name)}"
        uid = event.body["metadata"]["uid"]
        if uid not in known:
            known.add(uid)
            born[name] += 1
        if event.change == "DELETED":
            gone[name] += 1
    return {name: (count, gone[name]) for name, count in sorted(born.items())}


def said(state: State) -> dict[str, int]:
    """Return how many Events of each reason there are."""
    return dict(sorted(Counter(str(event["reason"]) for event in state.all("Event") if _ours(event)).items()))


def _ours(event: Json) -> bool:
    return bool((event.get("source") or {}).get("component") == OPERATOR)


def differences(wanted: Any, found: Any, place: str = "") -> list[str]:
    """Say in which places two normal forms differ."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            line
            for key in sorted(wanted.keys() | found.keys())
            for line in differences(wanted.get(key), found.get(key), f"{place}/{key}" if place else key)
        ]
    return [] if wanted == found else [f"{place}: clean {json.dumps(wanted)}, here {json.dumps(found)}"]


# --- by kind ----------------------------------------------------------------------------------------------------------


def _release(_: State, body: Json) -> Json:
    status = body.get("status") or {}
    conditions = {c["type"]: f"{c['status']} {c['reason']}" for c in status.get("conditions") or ()}
    seen = status.get("observedGeneration") == body["metadata"]["generation"]
    return {
        "phase": status.get("phase"),
        "current": seen,
        "conditions": conditions,
        "live": _stack(status.get("live")),
        "proven": bool((status.get("live") or {}).get("provenAt")),
        "candidate": _stack(status.get("candidate")),
        "attempt": (status.get("candidate") or {}).get("attempt"),
        "hooks": [[h["name"], h["phase"]] for h in (status.get("live") or {}).get("hooks") or ()],
        "retained": [_stack(kept) | {"unsafe": kept.get("unsafe")} for kept in status.get("retained") or ()],
        "latched": [_stack(entry) | {"reason": entry["reason"]} for entry in status.get("latched") or ()],
        "history": [[h["version"], h["outcome"], _words(h.get("reason", ""))] for h in status.get("history") or ()],
        "paused": "paused" in status,
    }


def _stack(body: Json | None) -> Json:
    if not body:
        return {}
    parts = {c["name"]: c["revision"] for c in body.get("components") or ()}
    return {"revision": body["revision"], "version": body["version"], "components": parts}


def _service(_: State, body: Json) -> Json:
    record = switch_record(body)
    kept = {key: record.get(key) for key in ("cause", "to", "from", "selected", "before", "reason", "latches")}
    return {
        "selector": body["spec"].get("selector"),
        "ports": body["spec"].get("ports"),
        "release": label(body, RELEASE),
        "previewOf": label(body, PREVIEW_OF),
        "marked": bool(annotation(body, "tradingplatform.io/release-uid")),
        "owned": bool(body["metadata"].get("ownerReferences")),
        "switch": kept | {"ordered": bool(record.get("order"))} if record else None,
    }


def _deployment(state: State, body: Json) -> Json:
    metadata, spec = body["metadata"], body["spec"]
    annotations = metadata.get("annotations") or {}
    return {
        "labels": metadata.get("labels"),
        "replicas": spec.get("replicas"),
        "available": (body.get("status") or {}).get("availableReplicas", 0),
        "minReadySeconds": spec.get("minReadySeconds", 0),
        "template": spec["template"],
        "served": annotations.get(_SERVED),
        "proven": sorted(annotations.get(PROVEN, "").split(",")),
        "unsafe": annotations.get(UNSAFE),
        "adoptedFrom": annotations.get("tradingplatform.io/adopted-from"),
        "claims": {
            key: _claim(state, key, value) for key, value in annotations.items() if key.startswith(CLAIM_DOMAIN)
        },
        "owned": bool(metadata.get("ownerReferences")),
        "leaves": "deletionTimestamp" in metadata,
    }


def _claim(state: State, key: str, value: str) -> str:
    """Return how a claim stands to its Service: the numbers differ from run to run, their order does not."""
    service = state.get("Service", key.removeprefix(CLAIM_DOMAIN))
    if service is None:
        return "no such Service"
    version = int(service["metadata"]["resourceVersion"])
    return "as the Service" if int(value) == version else "lower" if int(value) < version else "HIGHER"


def _stored(_: State, body: Json) -> Json:
    return {"labels": label(body, REVISION), "owned": bool(body["metadata"].get("ownerReferences"))}


def _job(_: State, body: Json) -> Json:
    status = body.get("status") or {}
    return {
        "hook": label(body, HOOK),
        "attempt": annotation(body, ATTEMPT),
        "suspended": body["spec"].get("suspend"),
        # A controller that is started anew while a Job begins may leave it called suspended: that is no end.
        "ended": sorted({c["type"] for c in status.get("conditions") or () if c["status"] == "True"} - {"Suspended"}),
        "pods": status.get("succeeded", 0) + status.get("failed", 0),
        "owned": bool(body["metadata"].get("ownerReferences")),
    }


def _order(_: State, body: Json) -> Json:
    status = body.get("status") or {}
    return {"action": body["spec"]["action"], "phase": status.get("phase"), "reason": status.get("reason")}


_DESCRIBED = {
    "TradingRelease": _release,
    "Service": _service,
    "Deployment": _deployment,
    "ControllerRevision": _stored,
    "ReleaseCommand": _order,
    "Job": _job,
}
