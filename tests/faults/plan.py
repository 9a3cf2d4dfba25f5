"""A plan: one scenario, one fault, one place where it strikes. A small JSON file says all of it.

A place is a write of the operator, named by what it does and not by its number alone, so that a plan stays true when
another status is written before it: `PATCH services/backend switch #1`.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.oracle import RELEASE, REVISION, SWITCH

Json = dict[str, Any]

FENCE = "tradingplatform.io/fence"
CLAIM_DOMAIN = "claim.tradingplatform.io/"


@dataclass(frozen=True, order=True)
class Write:
    """A write of the operator, as it is called in every run."""

    verb: str
    what: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.verb} {self.what} #{self.nth}"

    @classmethod
    def parse(cls, text: str) -> "Write":
        """Read what `str` wrote."""
        verb, _, rest = text.partition(" ")
        what, _, nth = rest.rpartition(" #")
        return cls(verb, what, int(nth))


@dataclass(frozen=True)
class Plan:
    """What is done to one run. `at` is a write or, for faults of watches, an event; "" for faults that need none."""

    scenario: str
    fault: str
    at: str = ""
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.scenario} / {self.fault}" + (f" at {self.at}" if self.at else "") + f" (seed {self.seed})"

    @classmethod
    def load(cls, file: Path) -> "Plan":
        """Read a plan."""
        return cls(**json.loads(file.read_text()))

    def save(self, folder: Path) -> Path:
        """Write the plan into a folder, under a name that tells it."""
        folder.mkdir(parents=True, exist_ok=True)
        words = f"{self.scenario}-{self.fault}-{self.at}-{self.seed}".lower()
        name = "-".join("".join(c if c.isalnum() else " " for c in words).split())
        file = folder / f"{name}.json"
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")
        return file


@dataclass(frozen=True)
class Learned:
    """What a clean run looks like."""

    setup: Json
    end: Json
    counts: dict[str, tuple[int, int]]
    said: dict[str, int]
    """Events by reason."""
    writes: tuple[Write, ...]
    events: tuple[str, ...]
    reconciles: int
    seconds: float


class Names:
    """Turns what differs from run to run, or by content only, into what a person calls it: hashes into versions."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def learn(self, kind: str, body: Json) -> None:
        """Note which version a hash stands for: a Deployment and a stored spec say it."""
        labels = (body.get("metadata") or {}).get("labels") or {}
        revision = labels.get(REVISION)
        if not revision:
            return
        if kind in {"deployments", "Deployment"}:
            annotations = body["metadata"].get("annotations") or {}
            self.versions[revision] = annotations.get("tradingplatform.io/version", "?")
        elif kind in {"controllerrevisions", "ControllerRevision"}:
            self.versions[revision] = "spec" + str(((body.get("data") or {}).get("spec") or {}).get("version", "?"))

    def plain(self, text: str) -> str:
        """Return a text with versions for hashes."""
        for revision, version in self.versions.items():
            text = text.replace(revision, version)
        return text


class Counting:
    """Numbers writes of one name."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()

    def numbered(self, write: Write) -> Write:
        """Return a write with its number."""
        self._seen[write.verb, write.what] += 1
        return replace(write, nth=self._seen[write.verb, write.what])


@dataclass(frozen=True)
class Place:
    """What a path of the API means."""

    namespace: str
    plural: str
    name: str
    subresource: str

    @classmethod
    def of(cls, path: str) -> "Place":
        """Read a path; what has no namespace has an empty one."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[:1] == ["namespaces"] and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, subresource = [*parts, "", "", ""][:3]
        return cls(namespace, plural, name, subresource)


def write_of(verb: str, place: Place, body: Any, names: Names) -> Write:
    """Name a write by what it does."""
    name = place.name or (body or {}).get("metadata", {}).get("name", "")
    if place.plural == "events":
        return Write(verb, f"events/{body['reason']}")
    what = f"{place.plural}/{names.plain(name)}" + (f"/{place.subresource}" if place.subresource else "")
    detail = _detail(place, body) if verb == "PATCH" else ""
    return Write(verb, f"{what} {detail}".strip())


def _detail(place: Place, body: Any) -> str:
    if isinstance(body, list):
        status = next((op.get("value") for op in body if op["path"] == "/status"), None)
        return str(status.get("phase")) if status else "restore"
    if place.subresource == "status":
        return str((body.get("status") or {}).get("phase"))
    metadata, spec = body.get("metadata") or {}, body.get("spec") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    said = {
        "switch": SWITCH in annotations,
        "fence": FENCE in annotations,
        "unmark": RELEASE in labels and labels[RELEASE] is None,
        "mark": bool(labels.get(RELEASE)),
        "claim": any(key.startswith(CLAIM_DOMAIN) for key in annotations),
        "scale": "replicas" in spec,
        "own": "ownerReferences" in metadata,
    }
    if found := next((word for word, true in said.items() if true), ""):
        return found
    return "+".join(sorted(key.rpartition("/")[2] for key in annotations)) or "spec"
