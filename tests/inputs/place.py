"""A namespace of the bare control plane, and what the one operator did in it: writes, log lines, health.

What is recorded and how it is judged is shared with the end-to-end tests (`Arena`, `tests/oracle.py`).
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from devcluster.cluster import ControlPlane
from tests.e2e import builders
from tests.e2e.api import Access, ApiError, Json
from tests.e2e.arena import Arena
from tests.e2e.process import Operator
from tests.oracle import PROVEN, State, annotation

IMAGE = "registry.example.com/backend"
WRITES = frozenset({"create", "patch", "update", "delete"})
MOST_WRITES, WRITES_A_SECOND = 100, 15
MOST_LINES, LINES_A_SECOND = 300, 15
"""Measured: at most 44 writes and 120 lines of one test, and 13 writes a second where release follows release."""


class Place(Arena):
    """An arena that shares its operator with all others of the run."""

    def __init__(self, access: Access, operator: Operator, plane: ControlPlane, folder: Path):
        super().__init__(access, Path(), folder, plane.name)
        self.operator, self.plane = operator, plane
        self._log_began = operator.log.stat().st_size
        self._pid = operator.pid
        self._ran: Json = {}
        self._began = time.monotonic()

    def open(self) -> None:
        """Make the namespace and begin to record."""
        self.api.create({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": self.namespace}})
        with contextlib.suppress(ApiError):
            self.api.create({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}})
        self.recorder.start()

    def close(self) -> None:
        """Delete the namespace without waiting for it; the operator stays."""
        for undo in self._after:
            undo()
        self.recorder.stop()
        self.api.delete("Namespace", self.namespace)

    # --- looking -------------------------------------------------------------------------------------------------

    def refused(self, reason: str, *words: str, name: str = "shop") -> State:
        """Wait until a spec is refused for a reason; the message says what to write instead, and nothing moved."""

        def holds(state: State) -> bool:
            return state.condition("Accepted", name)["reason"] == reason and state.seen_generation(name)

        state = self.until(holds, f"it is refused: {reason}", 20)
        said = state.condition("Accepted", name)
        assert said["status"] == "False"
        assert not state.is_true("Ready", name)
        for word in words:
            assert word in said["message"], said["message"]
        return state

    def go_live(self, version: str = "1", name: str = "shop", **fields: Json) -> State:  # type: ignore[override]
        """Bring a release of one component live; what runs then is what `nothing_moved` compares with."""
        if self.api.get("Service", "backend") is None:
            self.apply(builders.service())
        self.apply(release(version, name=name, **fields))
        state = self.until(lambda s: s.ready(version, name) and _at_rest(s, name), f"version {version} is live", 30)
        self._ran = self._what_runs()
        return state

    def nothing_moved(self, seconds: float = 1.0) -> None:
        """Assert that what runs is what ran when it went live: the same Deployments, the same selectors."""
        self.never(lambda _: self._what_runs() != self._ran, "what ran was changed", seconds)

    def _what_runs(self) -> Json:
        found = self.now
        sizes = {
            d["metadata"]["name"]: (d["metadata"]["generation"], d["spec"]["replicas"]) for d in found.all("Deployment")
        }
        return {
            "deployments": sizes,
            "services": {s["metadata"]["name"]: s["spec"]["selector"] for s in found.all("Service")},
        }

    def refuses(self, body: Json) -> bool:
        """Tell whether the API server would refuse to create something."""
        try:
            self.api.create(body, dryRun="All")
        except ApiError as error:
            return error.status in {403, 422}
        return False

    def untouched(self, seconds: float = 1.0) -> None:
        """Assert that the operator wrote nothing but words in this namespace, ever, and goes on to do so."""
        self.never(lambda _: self.writes_to_what_runs(), "the operator wrote to what runs", seconds)

    def writes(self) -> list[str]:
        """Return what the operator wrote in this namespace, from the audit log."""
        return [line for line, _ in self._audited()]

    def writes_to_what_runs(self) -> list[str]:
        """Return the writes to Deployments, Services and pods; dry runs are questions."""
        return [line for line, resource in self._audited() if resource in {"deployments", "services", "pods"}]

    def _audited(self) -> Iterator[tuple[str, str]]:
        for text in self.plane.audit_log.read_text().splitlines():
            if self.namespace not in text or "tradingrelease-operator" not in text:
                continue
            event = json.loads(text)
            target = event.get("objectRef") or {}
            ours = event["user"]["username"].endswith(":tradingrelease-operator")
            if not ours or event["verb"] not in WRITES or target.get("namespace") != self.namespace:
                continue
            if "dryRun=All" in event["requestURI"] or event["responseStatus"]["code"] >= 300:
                continue
            sub = f"/{target['subresource']}" if "subresource" in target else ""
            yield f"{event['verb']} {target['resource']}{sub} {target.get('name', '')}", target["resource"]

    def log_lines(self) -> list[Json]:
        """Return what the operator logged about this namespace, or about nothing in particular, since the beginning."""
        with self.operator.log.open(errors="replace") as log:
            log.seek(self._log_began)
            lines = [json.loads(line) for line in log if line.strip()]
        return [line for line in lines if str(line.get("release", self.namespace)).startswith(self.namespace)]

    # --- the oracles of every test -------------------------------------------------------------------------------

    def nothing_broke(self) -> None:
        """Assert no crash, no error, no invariant broken, no unbounded rate of writes and of log lines."""
        assert self.operator.runs, f"the operator ended:\n{self.operator.tail()}"
        assert self.operator.pid == self._pid, "the operator was started anew"
        lines = self.log_lines()
        wrong = [line for line in lines if line["level"] == "error" or "exception" in line]
        assert not wrong, f"{len(wrong)} errors, the first: {wrong[0]}"
        seconds = time.monotonic() - self._began
        writes = len(self.writes())
        assert writes <= MOST_WRITES + seconds * WRITES_A_SECOND, f"{writes} writes in {seconds:.0f} s"
        assert len(lines) <= MOST_LINES + seconds * LINES_A_SECOND, f"{len(lines)} lines of log in {seconds:.0f} s"
        broken = self.violations()
        assert not broken, "\n".join(map(str, broken))


def _at_rest(state: State, name: str) -> bool:
    """Tell whether what follows a proof is done: the Deployment says so itself, and the preview is gone."""
    proven = all(annotation(d, PROVEN) for d in state.deployments(name) if d["spec"]["replicas"])
    return proven and not state.get("Service", "backend-preview")


def template(version: str = "1", image: str = "", **fields: Json) -> Json:
    """Return a small template; `version` is its image's tag."""
    box = {"name": "app", "image": image or f"{IMAGE}:{version}", "ports": [{"name": "http", "containerPort": 8080}]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [box | fields.pop("container", {})]} | fields
    return {"metadata": {"labels": {"app": "backend"}}, "spec": spec}


def release(version: str = "1", pods: Json | None = None, name: str = "shop", **fields: Json) -> Json:
    """Return a release of one component, with short times. `fields` are those of the component."""
    part = builders.component(
        "backend", version, pods=pods or template(version), health=fields.pop("health", None), progressDeadline="15s"
    )
    return builders.release(
        version, part | fields, name=name, watch={"for": "0s", "deadAfter": "3s"}, keepFailedFor="0s"
    )
