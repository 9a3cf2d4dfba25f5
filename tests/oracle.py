"""What must hold on every recorded state (product.md 6), as pure functions over what the watches told.

A history is a list of `Recorded`: every stored state of every object of a namespace, in the order of its
resourceVersion. Who wrote a field is read from managedFields: under Update, the writer of a changed value owns it.
Objects are as the API server stores them. No invariant here reads the operator's code, only its words on the API.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

Json = dict[str, Any]

GROUP = "tradingplatform.io"
RELEASE, COMPONENT, REVISION = f"{GROUP}/release", f"{GROUP}/component", f"{GROUP}/revision"
PREVIEW_OF, SWITCH, PROVEN = f"{GROUP}/preview-of", f"{GROUP}/switch", f"{GROUP}/proven"
ADOPTED_FROM = f"{GROUP}/adopted-from"
HOOK, ATTEMPT, UNSAFE, APPLIED_BY = f"{GROUP}/hook", f"{GROUP}/attempt", f"{GROUP}/unsafe", f"{GROUP}/applied-by"
RELEASE_UID = f"{GROUP}/release-uid"
CLAIM, FENCE = f"claim.{GROUP}/", f"{GROUP}/fence"
OPERATOR = "tradingrelease-operator"
NOTHING = "none"

RECENTLY = 3.0
"""Seconds for which a state may have been the one that a write was decided on."""
PROMPTLY = 10.0
"""Seconds in which an order that nothing stands against begins to act."""
HALF = 10.0
"""Seconds of time in which the API accepts our writes: no longer does a switch stop half way."""
TIDY = 10.0
"""Seconds in which what is one too many is gone."""


@dataclass(frozen=True)
class Recorded:
    """One stored state. `seen` is when a watch told of it, in monotonic seconds."""

    version: int
    change: str
    kind: str
    name: str
    body: Json
    seen: float = 0.0


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold, and where."""

    rule: str
    text: str
    version: int

    def __str__(self) -> str:
        return f"{self.rule} at resourceVersion {self.version}: {self.text}"


@dataclass
class State:
    """The namespace at one moment."""

    objects: dict[tuple[str, str], Json] = field(default_factory=dict)
    version: int = 0
    seen: float = 0.0
    running: bool = True
    """Whether the operator's process runs."""
    open: bool = True
    """Whether the API accepts the operator's writes, as far as whoever takes it away says so."""
    wrote: dict[tuple[str, str], float] = field(default_factory=dict)

    def take(self, event: Recorded) -> Json | None:
        """Become the state after an event; return the object before it."""
        self.version = max(self.version, event.version)
        self.seen = max(self.seen, event.seen)
        if event.kind == "Operator":
            self.running = event.change == "STARTED" if event.change in {"STARTED", "STOPPED"} else self.running
            self.open = event.change != "BLOCKED" if event.change in {"BLOCKED", "OPEN"} else self.open
            return None
        place = (event.kind, event.name)
        before = self.objects.get(place)
        if event.change == "DELETED":
            self.objects.pop(place, None)
        else:
            self.objects[place] = event.body
        return before

    def copy(self) -> "State":
        """Return a state that goes its own way from here."""
        return replace(self, objects=dict(self.objects), wrote=dict(self.wrote))

    @property
    def could_act(self) -> bool:
        """Whether time counts against the operator."""
        return self.running and self.open

    # --- questions; `None` and empty where there is no such thing

    def get(self, kind: str, name: str) -> Json | None:
        """Return an object."""
        return self.objects.get((kind, name))

    def all(self, kind: str) -> list[Json]:
        """Return every object of a kind, by name."""
        named = [(name, body) for (k, name), body in self.objects.items() if k == kind]
        return [body for _, body in sorted(named, key=itemgetter(0))]

    def release(self, name: str = "shop") -> Json:
        """Return a TradingRelease; an empty one where there is none."""
        return self.get("TradingRelease", name) or {"metadata": {"name": name}, "spec": {}, "status": {}}

    def status(self, name: str = "shop") -> Json:
        """Return a release's status."""
        return self.release(name).get("status") or {}

    def condition(self, kind: str, name: str = "shop") -> Json:
        """Return a condition of a release; an empty one where it is not there."""
        found = (c for c in self.status(name).get("conditions") or () if c["type"] == kind)
        return next(found, {"status": "", "reason": "", "message": ""})

    def is_true(self, kind: str, name: str = "shop") -> bool:
        """Tell whether a condition is True for the generation of now."""
        release, condition = self.release(name), self.condition(kind, name)
        current = condition.get("observedGeneration") == release["metadata"].get("generation")
        return condition["status"] == "True" and current

    def seen_generation(self, name: str = "shop") -> bool:
        """Tell whether the status speaks of the newest spec."""
        return self.status(name).get("observedGeneration") == self.release(name)["metadata"].get("generation", -1)

    def live(self, name: str = "shop") -> str:
        """Return the live version; "" for none."""
        return str((self.status(name).get("live") or {}).get("version", ""))

    def candidate(self, name: str = "shop") -> str:
        """Return the candidate's version; "" for none."""
        return str((self.status(name).get("candidate") or {}).get("version", ""))

    def ready(self, version: str, name: str = "shop") -> bool:
        """Tell whether a version is live and Ready is True for the newest spec."""
        return self.live(name) == version and self.is_true("Ready", name)

    def retained(self, name: str = "shop") -> list[str]:
        """Return the retained versions, newest first."""
        return [r["version"] for r in self.status(name).get("retained") or ()]

    def latched(self, name: str = "shop") -> list[str]:
        """Return the latched versions, newest first."""
        return [entry["version"] for entry in self.status(name).get("latched") or ()]

    def selected(self, service: str) -> str | None:
        """Return the component revision that a Service selects."""
        found = self.get("Service", service)
        return (found["spec"].get("selector") or {}).get(REVISION) if found else None

    def deployments(self, name: str = "shop", component: str = "") -> list[Json]:
        """Return a release's own Deployments."""
        return [
            d for d in self.all("Deployment")
            if label(d, RELEASE) == name and (not component or label(d, COMPONENT) == component)
        ]  # fmt: skip

    def deployment(self, component: str, revision: str, name: str = "shop") -> Json | None:
        """Return the Deployment of a component revision."""
        return next((d for d in self.deployments(name, component) if label(d, REVISION) == revision), None)

    def pods(self, revision: str = "", **labels: str) -> list[Json]:
        """Return pods that are not on their way out, by component revision or labels."""
        wanted = dict(labels) | ({REVISION: revision} if revision else {})
        return [
            p for p in self.all("Pod")
            if "deletionTimestamp" not in p["metadata"] and all(label(p, k) == v for k, v in wanted.items())
        ]  # fmt: skip

    def endpoints(self, service: str) -> set[str]:
        """Return the names of pods that are ready endpoints of a Service."""
        found = set()
        for piece in self.all("EndpointSlice"):
            if label(piece, "kubernetes.io/service-name") != service:
                continue
            for endpoint in piece.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    found.add((endpoint.get("targetRef") or {}).get("name", ""))
        return found

    def order(self, name: str) -> Json:
        """Return the status of an order."""
        return (self.get("ReleaseCommand", name) or {}).get("status") or {}

    def said(self, reason: str) -> list[str]:
        """Return the messages of the release's Events of a reason."""
        return [e["message"] for e in self.all("Event") if e["reason"] == reason]


def label(body: Json | None, key: str) -> str:
    """Return a label."""
    return str(((body or {}).get("metadata", {}).get("labels") or {}).get(key, ""))


def annotation(body: Json | None, key: str) -> str:
    """Return an annotation."""
    return str(((body or {}).get("metadata", {}).get("annotations") or {}).get(key, ""))


def switch_record(service: Json | None) -> Json:
    """Return what a Service's switch annotation says; empty where there is none."""
    text = annotation(service, SWITCH)
    return dict(json.loads(text)) if text else {}


def writer(body: Json, *path: str) -> str:
    """Return the field manager that owns a field, "" for nobody."""
    for entry in body["metadata"].get("managedFields") or ():
        place: Any = entry.get("fieldsV1") or {}
        for step in path:
            place = place.get(f"f:{step}") if isinstance(place, dict) else None
            if place is None:
                break
        if place is not None:
            return str(entry.get("manager", ""))
    return ""


# --- replay -------------------------------------------------------------------------------------------------------


def ordered(history: Iterable[Recorded]) -> list[Recorded]:
    """Return what several watches told in the one order in which it was stored."""
    return sorted(history, key=lambda event: event.version)


Checks = Callable[[State, Recorded, Json | None], Iterator[str]]


class Rule:
    """An invariant: looks at each event, with the state before and after it. May remember."""

    name = ""

    def look(self, before: State, after: State, event: Recorded) -> Iterator[str]:
        """Yield what does not hold."""
        raise NotImplementedError


def check(history: Iterable[Recorded]) -> list[Violation]:
    """Replay a history and return every violation, each once.

    Whoever takes the API away from the operator says so (BLOCKED, OPEN): that time does not count in S10.
    """
    active = [rule() for rule in RULES]
    state = State()
    found: list[Violation] = []
    said: set[tuple[str, str]] = set()
    for event in ordered(history):
        before = state.copy()
        state.take(event)
        for rule in active:
            for text in rule.look(before, state, event):
                if (rule.name, text) not in said:
                    said.add((rule.name, text))
                    found.append(Violation(rule.name, text, event.version))
    return found


def states(history: Iterable[Recorded]) -> Iterator[State]:
    """Yield every state of a history. Each is valid until the next is asked for."""
    state = State()
    for event in ordered(history):
        state.take(event)
        yield state


# --- the invariants -----------------------------------------------------------------------------------------------


def steered(state: State) -> Iterator[tuple[str, Json]]:
    """Yield Services that carry a release's mark, with that release's name."""
    for service in state.all("Service"):
        name = label(service, RELEASE)
        if name and not label(service, PREVIEW_OF):
            yield name, service


class S1(Rule):
    """From the first switch on, a selector is never empty and always selects an existing Deployment of the release."""

    name = "S1"

    def __init__(self):
        self._switched: set[tuple[str, str, str]] = set()
        self._removed: set[str] = set()

    def look(self, before, after, event):
        if event.kind == "TradingRelease":
            # onDelete=Remove: the Deployments go with the release, and Services stay as they are.
            goes = event.change == "DELETED" and event.body["spec"].get("onDelete") == "Remove"
            (self._removed.add if goes else self._removed.discard)(event.name)
        if event.kind not in {"Service", "Deployment"}:
            return
        for release, service in steered(after):
            if release in self._removed:
                continue
            name, uid = service["metadata"]["name"], service["metadata"].get("uid", "")
            selector = service["spec"].get("selector") or {}
            revision = selector.get(REVISION)
            moved = event.kind == "Service" and event.name == name and before.selected(name) != revision
            if moved and revision not in {None, NOTHING}:
                self._switched.add((release, name, uid))
            if (release, name, uid) not in self._switched:
                continue
            if not selector or revision is None:
                yield f"Service {name} lost its revision key: its selector is {selector}"
            elif revision == NOTHING:
                if switch_record(service).get("cause") != "Undo":
                    yield f"Service {name} selects {NOTHING} after its first switch"
            else:
                yield from self._target(before if not moved else None, after, release, name, revision)

    @staticmethod
    def _target(before, state, release, service, revision):
        standing = [d for d in state.deployments(release) if label(d, REVISION) == revision]
        if not standing:
            yield f"Service {service} selects {revision}, which no Deployment of {release} has"
            return
        asked = {c["name"]: c.get("replicas") for c in state.release(release)["spec"].get("components") or ()}
        for found in standing:
            emptied = found["spec"].get("replicas") == 0 and asked.get(label(found, COMPONENT)) != 0
            was = before and before.get("Deployment", found["metadata"]["name"])
            if was and was["spec"].get("replicas") == 0:
                continue  # its author had none until now, and asks for some again
            if emptied and writer(found, "spec", "replicas") == OPERATOR and len(standing) == 1:
                yield f"Service {service} selects Deployment {found['metadata']['name']}, scaled to zero by us"


class S2(Rule):
    """A selector moves only to a verified, Available candidate, back to a proven revision, or back in an undo."""

    name = "S2"

    def __init__(self):
        self._available: dict[str, float] = {}
        self._acts: set[tuple[str, int]] = set()

    def look(self, before, after, event):
        if event.kind == "Deployment":
            self._note(before, event)
        if event.kind != "Service" or event.change == "DELETED":
            return
        old, new = before.get("Service", event.name), event.body
        revision = (new["spec"].get("selector") or {}).get(REVISION)
        was = ((old or {}).get("spec", {}).get("selector") or {}).get(REVISION)
        if label(new, PREVIEW_OF) or revision is None or revision == was:
            return
        if writer(new, "spec", "selector") != OPERATOR:
            return  # S2 binds our writes
        record, name = switch_record(new), event.name
        if revision == NOTHING:
            if was is not None and record.get("cause") != "Undo":
                yield f"Service {name} was given {NOTHING} by a {record.get('cause') or 'mark'}"
            return
        if not record or record.get("selected") != revision:
            yield f"Service {name} was given {revision}, but its switch record says {record.get('selected')}"
            return
        yield from self._legal(before, label(new, RELEASE), name, revision, record)

    def _note(self, before, event):
        """Remember until when each Deployment was Available at full size, as far as stored states tell."""
        old = before.get("Deployment", event.name)
        if old is not None and _full(old):
            self._available[event.name] = event.seen

    def _legal(self, state, release, service, revision, record):
        standing = [d for d in state.deployments(release) if label(d, REVISION) == revision]
        status, cause, to = state.status(release), record["cause"], record["to"]
        moved = f"Service {service} was given {revision} by {cause} {record['act']} to {to or '(none)'}"
        if not standing:
            yield f"{moved}: no such Deployment"
        elif cause == "Promote":
            yield from self._promote(state, release, record, standing, moved)
        elif cause == "Rollback" and to not in {r["revision"] for r in status.get("retained") or ()}:
            yield f"{moved}: it is not retained as proven"
        elif cause in {"Adopt", "Repair"}:
            live = {c["name"]: c["revision"] for c in (status.get("live") or {}).get("components") or ()}
            known = any(live.get(label(d, COMPONENT)) == revision for d in standing)
            clone = cause == "Adopt" and any(self._was_well(state, d, whole=True) for d in standing)
            if not known and not clone:
                yield f"{moved}: it is neither live nor an Available clone"
        # An undo goes back to what the act before it found: S1 sees to it that it stands.

    def _promote(self, state, release, record, standing, moved):
        candidate = (state.status(release).get("candidate") or {}).get("revision")
        if candidate != record["to"]:
            yield f"{moved}: the candidate is {candidate}"
        first = (release, record["act"]) not in self._acts
        self._acts.add((release, record["act"]))
        if not any(self._was_well(state, d, whole=first) for d in standing):
            yield f"{moved}: its Deployment is not Available"

    def _was_well(self, state, deployment, *, whole):
        name = deployment["metadata"]["name"]
        now = _full(deployment) if whole else _some(deployment)
        return now or state.seen - self._available.get(name, float("-inf")) <= RECENTLY


def _full(deployment: Json) -> bool:
    wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status") or {}
    return wanted > 0 and int(status.get("availableReplicas") or 0) >= wanted


def _some(deployment: Json) -> bool:
    return int((deployment.get("status") or {}).get("availableReplicas") or 0) > 0


class S3(Rule):
    """A retained revision is neither scaled down nor deleted, and is not forgotten before its time."""

    name = "S3"

    def look(self, before, after, event):
        if event.kind == "Deployment":
            yield from self._deployment(before, event)
        if event.kind == "TradingRelease" and event.change != "DELETED":
            yield from self._status(before, event)

    @staticmethod
    def _deployment(before, event):
        old = before.get("Deployment", event.name)
        release = label(old, RELEASE)
        if old is None or before.get("TradingRelease", release) is None:
            return  # onDelete speaks of what becomes of it
        for kept in before.status(release).get("retained") or ():
            held = {(c["name"], c["revision"]) for c in kept.get("components") or ()}
            if (label(old, COMPONENT), label(old, REVISION)) not in held:
                continue
            if event.change == "DELETED":
                yield f"Deployment {event.name} of retained {kept['revision']} was deleted"
            elif label(old, REVISION) in {
                before.selected(s["metadata"]["name"]) for r, s in steered(before) if r == release
            }:
                continue  # a spec asked for it again: it is live, though the status does not say so yet
            elif event.body["spec"].get("replicas", 1) < old["spec"].get("replicas", 1):
                yield (
                    f"Deployment {event.name} of retained {kept['revision']} was scaled from "
                    f"{old['spec'].get('replicas', 1)} to {event.body['spec'].get('replicas', 1)}"
                )

    @staticmethod
    def _status(before, event):
        old = (before.get("TradingRelease", event.name) or {}).get("status") or {}
        new = event.body.get("status") or {}
        still = {r["revision"] for r in new.get("retained") or ()} | {(new.get("live") or {}).get("revision")}
        still |= {entry["revision"] for entry in new.get("latched") or ()}
        wrote = written_at(event.body)
        for kept in old.get("retained") or ():
            if "until" not in kept:  # somebody else wrote it
                continue
            room = int((new.get("settings") or {}).get("retainRevisions", 1))
            full = len(new.get("retained") or ()) >= room
            # managedFields tell whole seconds
            over = wrote is not None and datetime.fromisoformat(kept["until"]) < wrote + timedelta(seconds=1)
            shorter = (old.get("settings") or {}).get("retainFor") != (new.get("settings") or {}).get("retainFor")
            if kept["revision"] not in still and not full and not over and not shorter:
                yield f"{event.name} forgot retained {kept['revision']} before {kept['until']}"


def written_at(body: Json) -> datetime | None:
    """Return when a version of an object was written, by the API server's clock: a whole second, rounded down."""
    times = [e["time"] for e in body["metadata"].get("managedFields") or () if e.get("time")]
    return datetime.fromisoformat(max(times)) if times else None


class S4(Rule):
    """Rollback never waits for green: an order that finds blue standing moves a Service promptly."""

    name = "S4"

    def __init__(self):
        self._since: dict[str, float] = {}

    def look(self, before, after, event):
        waiting = {}
        for order in after.all("ReleaseCommand"):
            if self._could_act(after, order):
                name = order["metadata"]["name"]
                waiting[name] = self._since.get(name, after.seen)
                if after.seen - waiting[name] > PROMPTLY:
                    yield f"order {name} has waited for more than {PROMPTLY:.0f} s though its target stands"
        self._since = waiting

    @staticmethod
    def _could_act(state, order):
        spec, phase = order["spec"], (order.get("status") or {}).get("phase", "")
        status = state.status(spec["release"])
        live, retained = status.get("live") or {}, status.get("retained") or ()
        if spec["action"] != "Rollback" or phase in {"Done", "Refused"} or not state.could_act or not retained:
            return False
        if live.get("revision") != spec.get("revision"):
            return False
        moved = any(switch_record(s).get("order") == order["metadata"]["uid"] for _, s in steered(state))
        parts = [state.deployment(c["name"], c["revision"], spec["release"]) for c in retained[0]["components"]]
        return not moved and all(d is not None and _full(d) for d in parts)


class S5(Rule):
    """Per component at most live, retain.revisions + 1 retained, one candidate, one failed."""

    name = "S5"

    def __init__(self):
        self._since: dict[tuple[str, str], float] = {}

    def look(self, before, after, event):
        crowded = {}
        for release in after.all("TradingRelease"):
            name = release["metadata"]["name"]
            room = 4 + int(((release.get("status") or {}).get("settings") or {}).get("retainRevisions", 1))
            standing: dict[str, int] = {}
            for found in after.deployments(name):
                if "deletionTimestamp" not in found["metadata"]:
                    standing[label(found, COMPONENT)] = standing.get(label(found, COMPONENT), 0) + 1
            for component, count in standing.items():
                if count > room and after.could_act:
                    place = (name, component)
                    crowded[place] = self._since.get(place, after.seen)
                    if after.seen - crowded[place] > TIDY:
                        yield f"{name}, component {component}: {count} Deployments stand, {room} are enough"
        self._since = crowded


class S6(Rule):
    """No write to an object that is not ours: our label and release; for a Service, our mark."""

    name = "S6"

    OURS = {"Deployment", "Service", "ControllerRevision", "Job"}

    def look(self, before, after, event):
        if event.change == "DELETED" or event.kind in {"Operator", "Event", "TradingRelease", "ReleaseCommand"}:
            return
        entries = event.body["metadata"].get("managedFields") or ()
        old = before.get(event.kind, event.name)
        known = {_signature(e) for e in ((old or {}).get("metadata", {}).get("managedFields") or ())}
        if not any(e.get("manager") == OPERATOR and _signature(e) not in known for e in entries):
            return
        mine = label(event.body, RELEASE) or label(old, RELEASE)
        if event.kind not in self.OURS or not mine:
            yield f"{event.kind} {event.name} is not ours, but we wrote it"


def _signature(entry: Json) -> str:
    return json.dumps([entry.get("manager"), entry.get("time"), entry.get("fieldsV1")], sort_keys=True)


class S9(Rule):
    """`observedGeneration` never goes back; `lastTransitionTime` moves only with its status."""

    name = "S9"

    def look(self, before, after, event):
        if event.kind != "TradingRelease" or event.change == "DELETED":
            return
        old = before.get("TradingRelease", event.name)
        if old is None or old["metadata"].get("uid") != event.body["metadata"].get("uid"):
            return
        was, now = old.get("status") or {}, event.body.get("status") or {}
        if now.get("observedGeneration", 0) < was.get("observedGeneration", 0):
            yield f"{event.name}: observedGeneration {was['observedGeneration']} -> {now.get('observedGeneration')}"
        conditions = {c["type"]: c for c in was.get("conditions") or ()}
        for condition in now.get("conditions") or ():
            earlier = conditions.get(condition["type"])
            if earlier is None:
                continue
            moved = earlier["lastTransitionTime"] != condition["lastTransitionTime"]
            if moved and earlier["status"] == condition["status"]:
                yield f"{event.name}: {condition['type']} stays {condition['status']}, its lastTransitionTime moved"
            if datetime.fromisoformat(condition["lastTransitionTime"]) < datetime.fromisoformat(
                earlier["lastTransitionTime"]
            ):
                yield f"{event.name}: lastTransitionTime of {condition['type']} went back"


HOSTILE = (KeyError, TypeError, AttributeError)
"""What reading raises that a test of bad input wrote: what nobody can read moves no Service."""


class S10(Rule):
    """Components are not left half switched for more than 10 s of time in which the API accepts our writes.

    Half switched: of the Services that a switch moves, some select its target and some do not. Which Services it moves
    is read from the spec and from the stacks that status ever told of. Only time in which the operator ran counts, and
    none in which it says that there is no way back (RollbackUnsafe): a person decides then.
    """

    name = "S10"

    def __init__(self):
        self._stacks: dict[tuple[str, str], dict[str, str]] = {}
        """Component revisions by component, of each (release, revision)."""
        self._services: dict[tuple[str, str], str] = {}
        """The component of each (release, Service)."""
        self._half: dict[str, str] = {}
        """What is half switched, by release, as of the last event."""
        self._spent: dict[str, float] = {}

    def look(self, before, after, event):
        elapsed = max(after.seen - before.seen, 0.0) if before.could_act else 0.0
        for release, text in self._half.items():
            held = _waits_for_a_person(before, release)
            self._spent[release] = self._spent.get(release, 0.0) + (0.0 if held else elapsed)
            if self._spent[release] > HALF:
                yield f"{release} has been half switched for more than {HALF:.0f} s: {text}"
        if event.kind == "TradingRelease":
            self._learn(event)
        if event.kind in {"TradingRelease", "Service"}:
            names = {body["metadata"]["name"] for body in after.all("TradingRelease")}
            self._half = {name: text for name in names if (text := self._split(after, name))}
            self._spent = {name: spent for name, spent in self._spent.items() if name in self._half}

    def _learn(self, event):
        with suppress(*HOSTILE):
            for part in event.body["spec"].get("components") or ():
                for service in part.get("services") or ():
                    self._services[event.name, service] = part["name"]
        status = event.body.get("status") or {}
        for stack in (status.get("live"), status.get("candidate"), *(status.get("retained") or ())):
            with suppress(*HOSTILE):
                self._stacks[event.name, stack["revision"]] = _parts(stack)

    def _split(self, state, release):
        """Say which Services have been moved and which have not, "" where all agree."""
        home: dict[str, str] = {}
        with suppress(*HOSTILE):
            home = _parts(state.status(release).get("live") or {})
        found = [
            (service["metadata"]["name"], service, self._services.get((release, service["metadata"]["name"])))
            for name, service in steered(state) if name == release
        ]  # fmt: skip
        found = [(name, service, component) for name, service, component in found if component]
        for name, service, component in found:
            selected, record = state.selected(name), switch_record(service)
            away = selected not in {None, NOTHING, home.get(component)}
            if not away or writer(service, "spec", "selector") != OPERATOR:
                continue
            target = self._stacks.get((release, record.get("to", "")), {})
            moves = {n: target[c] for n, _, c in found if c in target and target[c] != home.get(c)}
            behind = sorted(n for n, revision in moves.items() if state.selected(n) != revision)
            if name in moves and behind:
                return f"{name} selects {selected}, {', '.join(behind)} not what goes with it"
        return ""


def _waits_for_a_person(state, release) -> bool:
    """Tell whether an irreversible hook keeps half a switch from being undone, and status says so."""
    with suppress(*HOSTILE):
        stalled = next((c for c in state.status(release).get("conditions") or () if c["type"] == "Stalled"), {})
        return (stalled.get("status"), stalled.get("reason")) == ("True", "RollbackUnsafe")
    return False


def _parts(stack: Json) -> dict[str, str]:
    """Return a stack's component revisions, by component."""
    return {c["name"]: c["revision"] for c in stack.get("components") or ()}


class Fence(Rule):
    """Scaling to zero is a delete (product.md 5): nobody selects it, and every claim of it is lower than its Service.

    A component whose author wants 0 replicas is asked for, not retired.
    """

    name = "Fence"

    def look(self, before, after, event):
        old = before.get("Deployment", event.name) if event.kind == "Deployment" else None
        if old is None or event.change == "DELETED" or not label(old, RELEASE):
            return
        down = event.body["spec"].get("replicas", 1) == 0 < old["spec"].get("replicas", 1)
        if not down or writer(event.body, "spec", "replicas") != OPERATOR:
            return
        wanted = (before.status(label(old, RELEASE)).get("settings") or {}).get("replicas") or {}
        if wanted.get(label(old, COMPONENT)) == 0:
            return
        yield from not_void(before, old)


def not_void(state: State, deployment: Json) -> Iterator[str]:
    """Yield which Services could still be switched to a Deployment by a write that is under way."""
    name, revision = deployment["metadata"]["name"], label(deployment, REVISION)
    for key, claimed in (deployment["metadata"].get("annotations") or {}).items():
        service = state.get("Service", key.removeprefix(CLAIM)) if key.startswith(CLAIM) else None
        if service is None:
            continue
        version = int(service["metadata"]["resourceVersion"])
        if (service["spec"].get("selector") or {}).get(REVISION) == revision:
            yield f"Deployment {name} is taken down while Service {service['metadata']['name']} selects it"
        elif int(claimed) >= version:
            yield f"Deployment {name} is taken down with a claim of {claimed} on {key}, which stands at {version}"


class Once(Rule):
    """A hook runs once for a revision and attempt: no second Job of it is ever let run."""

    name = "Once"

    def __init__(self):
        self._ran: dict[tuple[str, ...], str] = {}

    def look(self, before, after, event):
        body = event.body
        if event.kind != "Job" or not label(body, HOOK) or body["spec"].get("suspend") or event.change == "DELETED":
            return
        whose = (annotation(body, RELEASE_UID), label(body, HOOK), label(body, REVISION), annotation(body, ATTEMPT))
        uid = body["metadata"]["uid"]
        if self._ran.setdefault(whose, uid) != uid:
            yield f"hook {label(body, HOOK)} of {label(body, REVISION)} runs a second time in attempt {whose[-1]}"


class Agreed(Rule):
    """No switch begins without the approvals that its spec asks for, given for its revision and attempt."""

    name = "Agreed"

    def __init__(self):
        self._acts: set[tuple[str, int]] = set()

    def look(self, before, after, event):
        if event.kind != "Service" or event.change == "DELETED":
            return
        record, release = switch_record(event.body), label(event.body, RELEASE)
        if record.get("cause") != "Promote" or (release, record["act"]) in self._acts:
            return
        self._acts.add((release, record["act"]))
        stored = before.get("ControllerRevision", f"{release}-{record['to']}")
        spec = ((stored or {}).get("data") or {}).get("spec") or {}
        binding = [asked for asked in spec.get("approvals") or () if asked.get("onTimeout") != "Continue"]
        wanted = sum(int(asked.get("required", 1)) for asked in binding)
        place = (record["to"], (before.status(release).get("candidate") or {}).get("attempt"))
        orders = [o["spec"] for o in before.all("ReleaseCommand") if o["spec"]["action"] == "Approve"]
        given = [o for o in orders if (o.get("revision"), o.get("attempt")) == place]
        if len(given) < wanted:
            yield f"{event.name} is switched to {record['to']} with {len(given)} of {wanted} approvals"


RULES: tuple[type[Rule], ...] = (S1, S2, S3, S4, S5, S6, S9, S10, Fence, Once, Agreed)


# --- S8: converged means silent -----------------------------------------------------------------------------------


def our_writes(history: Iterable[Recorded], since: int) -> list[str]:
    """Return what the operator wrote after a version, by field manager; deletions of what is ours count."""
    told = []
    state = State()
    for event in ordered(history):
        old = state.take(event)
        if event.version <= since or event.kind == "Operator":
            continue
        known = {_signature(e) for e in ((old or {}).get("metadata", {}).get("managedFields") or ())}
        entries = event.body["metadata"].get("managedFields") or ()
        wrote = any(e.get("manager") == OPERATOR and _signature(e) not in known for e in entries)
        went = event.change == "DELETED" and event.kind in S6.OURS and label(event.body, RELEASE)
        if wrote or went:
            told.append(f"{event.change} {event.kind} {event.name} at {event.version}")
    return told
