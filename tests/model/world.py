"""The state of the model: what is stored, what pods do, and what each operator has seen and noticed.

A state is a value. Mappings in it are never changed once the state is made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tradingrelease.cluster.report import _plain
from tradingrelease.policy import model, names, probes
from tradingrelease.policy.memory import from_status, to_status
from tradingrelease.policy.model import (
    Asked,
    Backing,
    Container,
    Deployment,
    Endpoints,
    Job,
    Memory,
    Pod,
    Service,
    Streak,
    World,
)
from tradingrelease.policy.signals import signals
from tradingrelease.policy.spec import Spec
from tradingrelease.policy.writes import Create, Delete, Merge, Patch, Resource, Write

from tests.builders import KEY, NOW, UID
from tests.model.objects import Number, Stored, changed, created, interned, may_delete, numbers_of

Json = dict[str, Any]

PODS = "pods"
KINDS = (
    Resource.SERVICES, Resource.DEPLOYMENTS, Resource.RELEASES, Resource.STORED, Resource.COMMANDS, Resource.JOBS, PODS,
)  # fmt: skip
"""What is read by watches of their own, each at its own moment."""
STARTING, READY, SICK, DOWN = "starting", "ready", "sick", "down"
"""A pod: not ready yet; ready and well; ready, but fails its check; crashed."""


@dataclass(frozen=True, slots=True)
class Life:
    """The one pod of a Deployment."""

    number: int
    mode: str
    born: int
    died: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A step that takes several requests, and what was answered so far. It may be overtaken between any two."""

    step: model.Retire
    unique: str
    answers: tuple[Stored | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """A process of the operator: what it saw last where a watch is behind, and what it noticed."""

    name: str
    behind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By kind: what is seen where the watch of that kind has stopped telling."""
    since: Mapping[str, datetime] = field(default_factory=dict)
    confirmed_dead: Mapping[str, datetime] = field(default_factory=dict)
    asked: Mapping[str, Asked] = field(default_factory=dict)
    streaks: Mapping[tuple[str, str], Streak] = field(default_factory=dict)
    job_gone: str = ""
    job_read: tuple[str, datetime] | None = None
    task: Task | None = None
    world: World | None = None
    """All of that as one value, as long as nothing happens."""


@dataclass(frozen=True, slots=True)
class Held:
    """A write that was sent and has not arrived yet. Its sender knows nothing of its fate."""

    sender: str
    what: str
    request: Write


@dataclass(frozen=True, slots=True)
class Ghost:
    """What the invariants remember; no operator sees it."""

    proofs: frozenset[tuple[str, int, str]] = frozenset()
    """(revision, attempt, pod) whose check passed in that attempt."""
    left: tuple[tuple[str, str, int], ...] = ()
    """(component, Deployment, moment): which proven Deployment lost its traffic last, and when."""
    robbed: frozenset[str] = frozenset()
    """Deployments that somebody else deleted: no write of ours could have known."""
    proven: frozenset[str] = frozenset()
    """Deployments that were ever proven, also if they had to be made anew since."""
    ran: frozenset[tuple[str, str, str]] = frozenset()
    """(hook, revision, attempt) that was ever let run."""
    crossed: frozenset[str] = frozenset()
    """Deployments that stood when an irreversible hook succeeded, apart from those of its own revision."""
    agreed: frozenset[tuple[str, int, str]] = frozenset()
    """(revision, attempt, person) that was ever approved."""


@dataclass(frozen=True, slots=True)
class State:
    """The whole world of the model at one moment."""

    now: int
    """Seconds."""
    version: int
    kinds: Mapping[str, Mapping[str, Any]]
    operators: tuple[Operator, ...] = (Operator("A"),)
    flight: tuple[Held, ...] = ()
    left: tuple[tuple[str, int], ...] = ()
    """How often each fault may still happen."""
    edits: int = 0
    """How many of the author's specs were applied."""
    orders: int = 0
    births: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ghost: Ghost = Ghost()

    @property
    def clock(self) -> datetime:
        """Now, as the operator knows it."""
        return NOW + timedelta(seconds=self.now)

    def get(self, kind: str, name: str) -> Any:
        """Return what is stored, None where nothing is."""
        return self.kinds[kind].get(name)

    def put(self, kind: str, name: str, value: Any) -> "State":
        """Return the state with one thing stored; None removes it."""
        things = dict(self.kinds[kind])
        if value is None:
            things.pop(name, None)
        else:
            things[name] = value
        return replace(self, kinds={**self.kinds, kind: things})

    def budget(self, fault: str) -> int:
        """Return how often a fault may still happen."""
        return next((n for name, n in self.left if name == fault), 0)

    def spend(self, fault: str) -> "State":
        """Return the state with one fault less to come."""
        return replace(self, left=tuple((name, n - (name == fault)) for name, n in self.left))

    @property
    def release(self) -> Stored:
        """The TradingRelease."""
        found: Stored = self.kinds[Resource.RELEASES][KEY.name]
        return found

    @property
    def memory(self) -> Memory:
        """What is stored in its status."""
        return memory_of(self.release)

    @property
    def services(self) -> Iterator[Service]:
        """Services, previews aside."""
        return (s.value for s in self.kinds[Resource.SERVICES].values() if not s.value.preview_of)

    @property
    def deployments(self) -> Iterator[Deployment]:
        """Deployments of ours."""
        return (d.value for d in self.kinds[Resource.DEPLOYMENTS].values())


_MEMORIES: dict[int, Memory] = {}


def memory_of(release: Stored) -> Memory:
    """Return what a status says."""
    if release.shape not in _MEMORIES:
        status = release.raw.get("status")
        _MEMORIES[release.shape] = from_status(status) if status else Memory()
    return _MEMORIES[release.shape]


def status_of(memory: Memory) -> Json:
    """Return a memory as it is stored."""
    found: Json = _plain(to_status(memory))
    return found


# --- writes -----------------------------------------------------------------------------------------------------------


def applied(state: State, request: Write) -> State:
    """Return the state after a write arrived at the API server. Raises Refused."""
    version = state.version + 1
    match request:
        case Create(resource, body):
            name = body["metadata"]["name"]
            if state.get(resource, name):
                return state  # it exists: the answer is taken for it
            number = state.births.get((resource, name), 0) + 1
            stored = created(request, f"{name}#{number}", version, state.clock.isoformat())
            state = replace(state, version=version, births={**state.births, (resource, name): number})
            return with_pods(with_start(state.put(resource, name, stored), stored), stored)
        case Merge() | Patch():
            before = state.get(request.resource, request.name)
            stored = changed(before, request, version)
            if stored is before:
                return state
            state = replace(state, version=version).put(request.resource, request.name, stored)
            return with_pods(with_start(state, stored), stored)
        case Delete():
            stored = state.get(request.resource, request.name)
            if stored is None:
                return state
            may_delete(stored, request)
            state = replace(state, version=version).put(request.resource, request.name, None)
            return state.put(PODS, stored.uid, None) if request.resource is Resource.DEPLOYMENTS else state


def with_start(state: State, stored: Stored) -> State:
    """Let the Job controller begin a Job that may run."""
    if stored.resource is not Resource.JOBS or stored.value.suspended or stored.raw.get("status"):
        return state
    return _with_status(state, stored.name, {"startTime": state.clock.isoformat()})


def ended_job(state: State, name: str, failed: str = "") -> State:
    """Let the Job controller tell that a Job has ended; failed says why it failed."""
    at = state.clock.isoformat()
    told = {"type": "Failed" if failed else "Complete", "status": "True", "lastTransitionTime": at, "reason": failed}
    return _with_status(state, name, {**state.get(Resource.JOBS, name).raw["status"], "conditions": [told]})


def _with_status(state: State, name: str, status: Json) -> State:
    stored: Stored = state.get(Resource.JOBS, name)
    version = state.version + 1
    raw = {**stored.raw, "metadata": {**stored.raw["metadata"], "resourceVersion": str(version)}, "status": status}
    return replace(state, version=version).put(Resource.JOBS, name, Stored(Resource.JOBS, raw))


def running_jobs(state: State) -> list[Job]:
    """Return the Jobs that run now."""
    jobs = (stored.value for stored in state.kinds[Resource.JOBS].values())
    return [job for job in jobs if not job.suspended and not job.ended]


def with_pods(state: State, stored: Stored) -> State:
    """Let the Deployment controller make, replace or remove the pod of a Deployment."""
    if stored.resource is not Resource.DEPLOYMENTS:
        return state
    life: Life | None = state.get(PODS, stored.uid)
    wanted = stored.value.replicas > 0
    made_for = interned(stored.raw["spec"]["template"])
    if life is None and wanted:
        return state.put(PODS, stored.uid, Life(1000 * made_for, STARTING, state.now))
    if life is not None and not wanted:
        return state.put(PODS, stored.uid, None)
    if life is not None and life.number // 1000 != made_for:
        return state.put(PODS, stored.uid, Life(1000 * made_for, STARTING, state.now))
    return state


# --- what an operator sees --------------------------------------------------------------------------------------------


def seen(state: State, operator: Operator, kind: str) -> Mapping[str, Any]:
    """Return the things of a kind as an operator saw them last."""
    return operator.behind.get(kind, state.kinds[kind])


def observe(state: State, operator: Operator) -> World:
    """Return the world as an operator decides on it."""
    release: Stored | None = seen(state, operator, Resource.RELEASES).get(KEY.name)
    assert release is not None
    services = {n: s.value for n, s in seen(state, operator, Resource.SERVICES).items()}
    lives = seen(state, operator, PODS)
    found = seen(state, operator, Resource.DEPLOYMENTS)
    deployments = {n: _counted(d, lives.get(d.uid)) for n, d in found.items()}
    pods = tuple(_pod(d, life) for d in deployments.values() if (life := lives.get(d.uid)))
    specs = dict(s.value for s in seen(state, operator, Resource.STORED).values() if s.value)
    return World(
        key=KEY, uid=UID, generation=release.value.generation, version=release.version, deleting=False,
        spec=release.value.spec, memory=memory_of(release), conditions={}, observed_generation=0,
        services=services, other_releases={}, deployments=deployments, pods=pods,
        endpoints={n: _endpoints(s, pods) for n, s in services.items() if names.RELEASE in s.labels},
        stored=specs, orders=tuple(seen(state, operator, Resource.COMMANDS).values()),
        streaks=operator.streaks, asked=operator.asked, dry_runs=_Accepted(),
        backings=_backings(release.value.spec, services, deployments, pods),
        since=operator.since, confirmed_dead=operator.confirmed_dead,
        jobs={n: s.value for n, s in seen(state, operator, Resource.JOBS).items()}, job_gone=operator.job_gone,
        job_read=operator.job_read, author=release.value.author,
    )  # fmt: skip


class _Accepted(dict[str, None]):
    """Answers of dry runs: the API server would take every Deployment of the model."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> None:
        return None


def _counted(stored: Stored, life: Life | None) -> Deployment:
    available, updated = int(life is not None and life.mode in {READY, SICK}), int(life is not None)
    place = available, updated
    if place not in stored.counted:
        stored.counted[place] = replace(stored.value, available=available, updated=updated, settled=True)
    found: Deployment = stored.counted[place]
    return found


_PODS: dict[tuple[str, Life], Pod] = {}


def pod_uid(deployment: Deployment, life: Life) -> str:
    """Return the uid of the pod that a Deployment has now."""
    return f"{deployment.uid}/{life.number}"


def _pod(deployment: Deployment, life: Life) -> Pod:
    place = (deployment.uid, life)
    if place not in _PODS:
        died = ("Error", 1, NOW + timedelta(seconds=life.died)) if life.died is not None else ("", 0, None)
        container = Container(deployment.component, int(life.died is not None), "", "", *died)
        uid = pod_uid(deployment, life)
        _PODS[place] = Pod(
            name=uid, uid=uid, deployment_uid=deployment.uid, labels=deployment.pod_labels, ip="10.0.0.1",
            host_ip="192.168.0.1", host_network=False, node="node-1", ready=life.mode in {READY, SICK},
            terminating=False, created_at=NOW + timedelta(seconds=life.born), ports={"http": 8080},
            containers=(container,), unschedulable="", unschedulable_since=None,
        )  # fmt: skip
    return _PODS[place]


def _endpoints(service: Service, pods: tuple[Pod, ...]) -> Endpoints:
    ready = frozenset(p.uid for p in pods if p.ready and names.matches(service.selector, p.labels))
    return Endpoints({"http": ready}, ready)


def _backings(
    spec: Any, services: Mapping[str, Service], deployments: Mapping[str, Deployment], pods: tuple[Pod, ...]
) -> dict[str, Backing]:
    if not isinstance(spec, Spec):
        return {}
    found = {}
    for service in (services[n] for c in spec.components for n in c.services if n in services):
        if service.selected is not None:
            continue
        behind = {p.deployment_uid for p in pods if names.matches(service.selector, p.labels)}
        ours = [d for d in deployments.values() if d.uid in behind]
        several = Backing("Ambiguous", "it serves several of ours")
        found[service.name] = (
            Backing("Ours", name=ours[0].revision) if len(ours) == 1 else several if ours else Backing("Nothing")
        )
    return found


def noticed(state: State) -> State:
    """Let every operator note what it sees: since when a signal is true, and whose evidence still counts."""
    return replace(state, operators=tuple(_notice(state, operator) for operator in state.operators))


def _notice(state: State, operator: Operator) -> Operator:
    world = observe(state, operator)
    since = {signal: operator.since.get(signal, state.clock) for signal in signals(world)}
    confirmed = {s: at for s, at in operator.confirmed_dead.items() if f"dead:{s}" in since}
    streaks = operator.streaks
    if streaks:
        places = {(t.scope, t.pod_uid) for t in probes.wanted(world)}
        streaks = {place: streak for place, streak in streaks.items() if place in places}
    world = replace(world, since=since, confirmed_dead=confirmed, streaks=streaks)
    return replace(operator, since=since, confirmed_dead=confirmed, streaks=streaks, world=world)


# --- equality ---------------------------------------------------------------------------------------------------------


def key_of(state: State) -> tuple[Any, ...]:
    """Return what makes a state equal to another: versions count by their order on each object only."""
    parts: list[Any] = [state.now, state.edits, state.orders, state.left, state.ghost]
    parts.append(tuple(sorted(state.births.items())))
    numbers: list[Number] = []
    parts += [_things(kind, state.kinds[kind], numbers) for kind in KINDS]
    for operator in state.operators:
        behind = tuple((kind, _things(kind, things, numbers)) for kind, things in sorted(operator.behind.items()))
        parts += [
            behind, tuple(sorted(operator.since.items())), tuple(sorted(operator.confirmed_dead.items())),
            operator.job_gone, operator.job_read, tuple(sorted(operator.asked.items(), key=str)), tuple(sorted(operator.streaks.items(), key=str)),
            _task(operator.task, numbers),
        ]  # fmt: skip
    for held in sorted(state.flight, key=lambda h: (h.sender, h.what)):
        shape, found = numbers_of(held.request)
        parts.append((held.sender, shape))
        numbers += found
    return (*parts, _ranks(numbers))


def _things(kind: str, things: Mapping[str, Any], numbers: list[Number]) -> tuple[Any, ...]:
    if kind in {PODS, Resource.COMMANDS}:
        return tuple(sorted(things.items())) if kind is PODS else tuple(things.values())
    return tuple((name, _shape(things[name], numbers)) for name in sorted(things))


def _shape(stored: Stored, numbers: list[Number]) -> Any:
    numbers.append(((stored.resource, stored.name), stored.version))
    if not stored.claims:
        return stored.shape
    numbers += [((Resource.SERVICES, service), version) for service, version in stored.claims]
    return stored.shape, tuple(service for service, _ in stored.claims)


def _task(task: Task | None, numbers: list[Number]) -> Any:
    if task is None:
        return None
    answers = tuple(None if a is None else _shape(a, numbers) for a in task.answers)
    return task.step.deployment, task.step.uid, task.step.delete, task.step.served, answers


def _ranks(numbers: list[Number]) -> tuple[int, ...]:
    by_object: dict[Any, set[int]] = {}
    for place, number in numbers:
        by_object.setdefault(place, set()).add(number)
    ranks = {place: {n: i for i, n in enumerate(sorted(found))} for place, found in by_object.items()}
    return tuple(ranks[place][number] for place, number in numbers)
