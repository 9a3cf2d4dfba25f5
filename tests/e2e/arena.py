"""An arena: a namespace of its own, an operator of its own, and a recorder that sees every state.

    def test_v2_goes_live(arena):
        arena.apply(service(), deployment())
        arena.until(lambda s: s.endpoints("backend"), "v1 serves")
        arena.apply(release("2"))
        arena.until(lambda s: s.ready("2"), "version 2 is live and proven")

In the end every recorded state is held against the invariants of product.md 6 (tests/oracle.py).
"""

import contextlib
import functools
import itertools
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loadgen import Load, Target
from tests.e2e import builders
from tests.e2e.api import Access, Api, ApiError, Json
from tests.e2e.installed import ACCOUNT, SYSTEM, names_people
from tests.e2e.process import Operator
from tests.e2e.recorder import KINDS, Recorder
from tests.oracle import (
    APPLIED_BY,
    PREVIEW_OF,
    Recorded,
    State,
    Violation,
    annotation,
    check,
    label,
    our_writes,
    switch_record,
)
from tests.waiting import eventually

CATCH_UP = 20.0
REST, RESTS_WITHIN = 2.0, 20.0
"""Seconds without a write that count as rest, and in which it must begin."""
_KEY = "tradingplatform.io/revision"
_MOVES_NOT = f"object.spec.selector == oldObject.spec.selector || object.spec.selector[?'{_KEY}'].orValue('') == 'none'"
"""CEL: a selector stays as it is. That a Service is gated before its first release is no switch."""


class Arena:
    """What a test sees."""

    def __init__(self, access: Access, kubeconfig: Path, folder: Path, cluster: str):
        self.folder = folder
        self.cluster = cluster
        self.namespace = f"e2e-{uuid.uuid4().hex[:10]}"
        self.api = Api(access, self.namespace)
        self.recorder = Recorder(access, self.namespace)
        self.operator = Operator(self.namespace, kubeconfig, folder / "operator.log", self.recorder.note)
        self._numbers = itertools.count(1)
        self._expected: list[tuple[str, str]] = []
        self._after: list[Callable[[], None]] = []

    # --- life ----------------------------------------------------------------------------------------------------

    def open(self, **env: str) -> None:
        """Make the namespace, begin to record, start the operator."""
        self.api.create({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": self.namespace}})
        with contextlib.suppress(ApiError):  # made here, no pod has to wait for a controller to make it
            self.api.create({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}})
        self.recorder.start()
        self.operator.start(**env)

    def close(self) -> None:
        """End the operator by its id; delete the namespace without waiting for it."""
        for undo in self._after:
            undo()
        if self.operator.runs:
            self.operator.kill()
        self.recorder.stop()
        self.api.delete("Namespace", self.namespace)

    def finally_(self, undo: Callable[[], None]) -> None:
        """Do something at the end, whatever happens."""
        self._after.append(undo)

    def leased(self) -> dict[str, str]:
        """Let operators keep a Lease in the namespace; the environment of those that do."""
        rules = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]}]
        api, name = "rbac.authorization.k8s.io/v1", {"name": "lease"}
        account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lease"}
        self.api.create({"apiVersion": api, "kind": "Role", "metadata": name, "rules": rules})
        self.api.create(
            {"apiVersion": api, "kind": "RoleBinding", "metadata": name, "roleRef": role, "subjects": [account]}
        )
        return {"TRADINGRELEASE_LEASE": f"{self.namespace}/operator"}

    # --- acting --------------------------------------------------------------------------------------------------

    def apply(self, *bodies: Json) -> list[Json]:
        """Apply objects, as GitOps does: fields that the last apply had and this one lacks go away."""
        stored = [self.api.apply(body) for body in bodies]
        self._hear(stored)
        return stored

    def _hear(self, stored: list[Json]) -> None:
        """Wait until the recorder knows of what was answered: what is waited for after it came after it."""
        watched = [body for body in stored if body["kind"] in KINDS]
        assert self.recorder.hear(watched, CATCH_UP), f"the watches do not catch up\n{self.summary()}"

    def order(self, action: str, revision: str = "", **spec: Any) -> str:
        """Order something; the name of the ReleaseCommand."""
        name = f"{action.lower()}-{next(self._numbers)}"
        named = {"revision": revision} if revision else {}
        self._hear([self.api.create(builders.order(action, name, **named, **spec))])
        return name

    def apply_as(self, who: str, *bodies: Json) -> list[Json]:
        """Let somebody apply releases."""
        if not names_people():
            bodies = tuple(_annotated(body, APPLIED_BY, who) for body in bodies)
        stored = [self.api.as_user(who).apply(body) for body in bodies]
        self._hear(stored)
        return stored

    def order_as(self, who: str, action: str, revision: str, **spec: Any) -> str:
        """Let somebody order something; the name of the ReleaseCommand.

        What somebody orders in the name of another is her own: a server that cannot write so refuses the other name.
        """
        name, spoken = f"{action.lower()}-{next(self._numbers)}", self.api.as_user(who)
        order = functools.partial(builders.order, action, name, revision=revision)
        if not names_people():
            if spec.pop("issuedBy", who) != who:
                with pytest.raises(ApiError, match="names somebody else"):
                    spoken.create(order(issuedBy="another", **spec))
            spec["issuedBy"] = who
        self._hear([spoken.create(order(**spec))])
        return name

    def expect_violation(self, rule: str, text: str = "") -> None:
        """Allow violations of one invariant (whose text contains `text`), since the test is the one who breaks it.

        At least one must be found: an expectation that is not met fails the test.
        """
        self._expected.append((rule, text))

    @contextlib.contextmanager
    def denied(self, service: str, message: str = "the test says no") -> Iterator[None]:
        """Let the API server refuse every change of a Service's selector: half a switch, for as long as the block."""
        rule = {
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"],
            "resourceNames": [service],
        }  # fmt: skip
        self.recorder.note("BLOCKED")  # before it is in force, and until it no longer is: S10 counts all other time
        with self.denying(rule, _MOVES_NOT, message, lambda: self._refuses(service)):
            yield
        self.recorder.note("OPEN")

    @contextlib.contextmanager
    def denying(self, rule: Json, expression: str, message: str, in_force: Callable[[], object]) -> Iterator[None]:
        """Let an admission policy of the cluster deny, in this namespace, what a rule names and an expression forbids."""
        name = f"{self.namespace}-{next(self._numbers)}"
        meta = {"name": name}
        api = "admissionregistration.k8s.io/v1"
        here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}}

        def lift() -> None:
            self.api.delete("ValidatingAdmissionPolicyBinding", name)
            self.api.delete("ValidatingAdmissionPolicy", name)

        self.finally_(lift)
        self.api.create({
            "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": meta,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": expression, "message": message}],
            },
        })  # fmt: skip
        self.api.create({
            "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta,
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here},
        })  # fmt: skip
        self.poll(in_force, "the admission policy is in force", 30)
        yield
        lift()
        self.poll(lambda: not in_force(), "the admission policy is lifted", 30)

    def _refuses(self, service: str) -> bool:
        body = {"spec": {"selector": {"e2e": "probe"}}}
        path = self.api.path("Service", service) + "?dryRun=All"
        try:
            self.api._call("PATCH", path, body, content_type="application/merge-patch+json")
        except ApiError as error:
            return error.status in {403, 422}
        return False

    def poll(self, holds: Callable[[], object], what: str, seconds: float) -> None:
        """Ask for what no watch tells."""
        eventually(holds, lambda: f"is it so that {what}\n{self.summary()}", seconds)

    def go_live(self, version: str = "1", *components: Json, **spec: Any) -> State:
        """Bring a first release live and wait until it is proven: where most tests begin."""
        body = builders.release(version, *components, **spec)
        listed = [name for part in body["spec"]["components"] for name in part["services"]]
        owners = {name: part for part in body["spec"]["components"] for name in part["services"]}
        for name in listed:
            if self.api.get("Service", name) is None:
                labels = owners[name]["template"]["metadata"]["labels"]
                self.apply(builders.service(name, {"app": labels["app"]}))
        self.apply(body)
        return self.until(lambda s: s.ready(version), f"version {version} is live and proven", 90)

    # --- looking -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> State:
        """The state of now, as far as the watches told."""
        return self.recorder.state()

    def until(self, holds: Callable[[State], object], what: str, seconds: float = 60) -> State:
        """Wait until something holds; the state in which it does. No state in between is missed."""
        began = time.monotonic()
        state = self.recorder.until(holds, seconds)
        waited = time.monotonic() - began
        assert state is not None, f"after {waited:.0f} s it is not so that {what}\n{self.summary()}"
        # Watches are not told in step: what was stored before that state, and was told after it, belongs to it.
        for kind in ("TradingRelease", "ReleaseCommand", "Service", "EndpointSlice", "Event"):
            self._hear(self.recorder.stored(kind))
        whole = self.recorder.state_at(state.version)
        return whole if holds(whole) else state

    def said(self, reason: str) -> list[str]:
        """Return the messages of the release's Events of a reason; they are told on a watch of their own, so wait for it."""
        return self.until(lambda s: s.said(reason), f"an Event says {reason}", CATCH_UP).said(reason)

    def never(self, holds: Callable[[State], object], what: str, seconds: float) -> None:
        """See for some time that something does not come about."""
        state = self.recorder.until(holds, seconds)
        assert state is None, f"it must not be so that {what}\n{self.summary()}"

    def ever(self, holds: Callable[[State], object]) -> bool:
        """Tell whether something held in any state recorded so far."""
        self.catch_up()
        return self.recorder.ever(holds)

    def catch_up(self) -> None:
        """Wait until the watches have told of all that is stored now, which a LIST says."""
        assert self.recorder.catch_up(CATCH_UP), f"the watches do not catch up\n{self.summary()}"

    def settled(self, seconds: float = 10.0) -> None:
        """Assert that converged means silent (S8): the operator comes to rest, and then writes nothing for some time.

        What follows from being Ready (annotations, claims) is written a moment after it; that must come to an end.
        """
        began = time.monotonic()
        while told := self._writes_within(REST):
            assert time.monotonic() - began < RESTS_WITHIN, f"the operator does not come to rest: {told}"
        told = self._writes_within(seconds)
        assert not told, f"converged, but the operator wrote in {seconds:.0f} s: {told}"

    def _writes_within(self, seconds: float) -> list[str]:
        """Return the operator's writes from now on: as soon as there is one, or none after so many seconds."""
        self.catch_up()
        since = self.recorder.version
        self.recorder.until(lambda _: our_writes(self.recorder.history(), since), seconds)
        return our_writes(self.recorder.history(), since)

    def switches(self) -> list[Json]:
        """Return every write that moved a selector, in order: its record, and which Service."""
        self.catch_up()
        found, known = [], {}
        for event in sorted(self.recorder.history(), key=lambda e: e.version):
            if event.kind != "Service" or event.change == "DELETED" or label(event.body, PREVIEW_OF):
                continue
            selector = event.body["spec"].get("selector")
            if event.name in known and known[event.name] != selector and switch_record(event.body):
                found.append(switch_record(event.body) | {"service": event.name, "version": event.version})
            known[event.name] = selector
        return found

    def told(self) -> list[Recorded]:
        """Return what was recorded up to a moment of which all watches have told.

        They are not told in step: the last state of one kind may rest on one of another kind that is still to come.
        """
        version = int(self.api.list("Service")["metadata"]["resourceVersion"])
        self.catch_up()
        return [event for event in self.recorder.history() if event.version <= version]

    def violations(self) -> list[Violation]:
        """Hold every recorded state against the invariants; return what was not expected, and what was but is not."""
        found = check(self.told())
        open_ = [v for v in found if not any(v.rule == rule and text in v.text for rule, text in self._expected)]
        missed = [
            Violation(rule, f"a violation was expected ({text!r}) and none was found", 0)
            for rule, text in self._expected
            if not any(v.rule == rule and text in v.text for v in found)
        ]
        return open_ + missed

    def log(self, pod: Json) -> str:
        """Return what a pod has written to its log."""
        return self.api.text(self.api.path("Pod", pod["metadata"]["name"]) + "/log")

    # --- traffic -------------------------------------------------------------------------------------------------

    def load(self, *services: str, rate: float = 40.0, mode: str = "both", lifetime: int = 0) -> Load:
        """Return a load on ClusterIPs, to be used as a context manager."""
        targets = []
        for name in services:
            found = self.api.get("Service", name)
            assert found is not None, name
            targets.append(Target(name, f"http://{found['spec']['clusterIP']}:{found['spec']['ports'][0]['port']}/"))
        path = self.folder / f"load-{next(self._numbers)}.jsonl"
        return Load(targets, path, rate=rate, mode=mode, lifetime=lifetime)

    # --- telling -------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        """Return what somebody needs who wants to know why it did not come about."""
        state = self.now
        lines = [f"namespace {self.namespace} of cluster {self.cluster}; look further:"]
        lines.append(f"  NAME={self.cluster} devcluster/exec kubectl -n {self.namespace} get tr,svc,deploy,pod,trc")
        for release in state.all("TradingRelease"):
            lines += _release_lines(release)
        for service in state.all("Service"):
            name, selector = service["metadata"]["name"], service["spec"].get("selector")
            lines.append(f"Service {name}: {selector} endpoints={sorted(state.endpoints(name))}")
            if record := switch_record(service):
                lines.append(f"  {record['cause']} {record['act']} to {record['to']}: {record['because']}")
        for found in state.all("Deployment"):
            status = found.get("status") or {}
            wanted, here = found["spec"].get("replicas"), status.get("availableReplicas", 0)
            marks = [k for k in ("served", "proven", "adopted-from") if annotation(found, f"tradingplatform.io/{k}")]
            lines.append(f"Deployment {found['metadata']['name']}: {here} of {wanted} available {marks}")
        lines += [_pod_line(pod) for pod in state.all("Pod")]
        lines += [line for service in state.all("Service") if (line := _reached(service))]
        lines += [f"order {o['metadata']['name']}: {o.get('status')}" for o in state.all("ReleaseCommand")]
        lines += ["the operator's last words:", self.operator.tail(), f"(all of them: {self.operator.log})"]
        return "\n".join(lines)


def _annotated(body: Json, key: str, value: str) -> Json:
    metadata = body["metadata"]
    return body | {"metadata": metadata | {"annotations": (metadata.get("annotations") or {}) | {key: value}}}


def _release_lines(release: Json) -> list[str]:
    status = release.get("status") or {}
    parts = {k: (status.get(k) or {}).get("version") for k in ("live", "candidate")}
    name, generation = release["metadata"]["name"], release["metadata"].get("generation")
    lines = [f"TradingRelease {name}: phase {status.get('phase')}, {parts}, generation {generation}"]
    lines += [f"  {c['type']}={c['status']} {c['reason']}: {c['message']}" for c in status.get("conditions") or ()]
    for key in ("retained", "latched", "history"):
        lines += [f"  {key}: {json.dumps(entry)[:300]}" for entry in status.get(key) or ()]
    return lines


def _reached(service: Json) -> str:
    """Say whether a Service answers from here: where it does not, the network of the cluster is what failed."""
    address, ports = service["spec"].get("clusterIP", "None"), service["spec"].get("ports") or ()
    if address == "None" or not ports:
        return ""
    try:
        socket.create_connection((address, ports[0]["port"]), timeout=1).close()
    except OSError as error:
        return f"Service {service['metadata']['name']} ({address}) cannot be reached from here: {error}"
    return ""


def _pod_line(pod: Json) -> str:
    status = pod.get("status") or {}
    ready = next((c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"), "?")
    states = [json.dumps(c.get("state"))[:200] for c in status.get("containerStatuses") or ()]
    going = " terminating" if "deletionTimestamp" in pod["metadata"] else ""
    where = f"{status.get('podIP', 'no address')} on {pod['spec'].get('nodeName', 'no node')}"
    return f"Pod {pod['metadata']['name']}, {where}: {status.get('phase')} ready={ready}{going} {states}"
