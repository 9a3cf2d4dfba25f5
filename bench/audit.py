"""What the operator asked of the API server, from the API server's own audit log."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.process import USER
from bench.server import Json

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One finished request of the operator's user."""

    verb: str
    what: str
    """Resource, with its subresource."""
    dry_run: bool
    everywhere: bool
    """Of all namespaces: the LISTs by which the operator finds out every two minutes what a watch lost."""

    @property
    def writes(self) -> bool:
        """Whether it stores something."""
        return self.verb in _WRITES and not self.dry_run

    @property
    def reads(self) -> bool:
        """Whether it reads for one release: neither a watch, opened once, nor a LIST of everything."""
        return self.verb in {"get", "list"} and not self.everywhere


class AuditLog:
    """The audit log, read piece by piece. The server writes an entry before it sends the answer."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = file.stat().st_size

    def mark(self) -> None:
        """Count from here."""
        self._at = self._file.stat().st_size

    def since_mark(self) -> list[Request]:
        """Return the operator's requests since the mark; Leases are another matter (issue 3)."""
        with self._file.open("rb") as log:
            log.seek(self._at)
            lines = log.read().splitlines()
        events = [json.loads(line) for line in lines if line.endswith(b"}")]
        return [_request(e) for e in events if _counts(e)]


def _counts(event: Json) -> bool:
    reference = event.get("objectRef") or {}
    return (
        event["user"]["username"] == USER
        and event["stage"] == "ResponseComplete"
        and reference.get("resource") != "leases"
    )


def _request(event: Json) -> Request:
    reference = event.get("objectRef") or {}
    what = "/".join(filter(None, [reference.get("resource", ""), reference.get("subresource", "")]))
    return Request(event["verb"], what, "dryRun=All" in event["requestURI"], "namespace" not in reference)


def tally(requests: list[Request]) -> dict[str, int]:
    """Count requests by verb and resource."""
    counted = Counter(f"{r.verb} {r.what}" for r in requests)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
