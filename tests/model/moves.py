"""Everything that may happen next: what operators, people, pods, time and faults can do in a state.

Each move is one atomic thing. A move has a line for people, the state after it, and what it broke.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tradingrelease.policy import model, names, probes, writes
from tradingrelease.policy.decide import decide
from tradingrelease.policy.memory import from_status
from tradingrelease.policy.model import Asked, Decision, Deployment, Order, Rest, Streak, World
from tradingrelease.policy.reasons import Action
from tradingrelease.policy.writes import Create, Delete, Merge, Patch, Read, Resource, Stopped, Write

from tests.builders import KEY, UID
from tests.model import invariants
from tests.model.objects import UNIQUE, Refused, Stored
from tests.model.words import said, told
from tests.model.world import (
    DOWN,
    PODS,
    READY,
    SICK,
    STARTING,
    Held,
    Life,
    Operator,
    State,
    Task,
    applied,
    ended_job,
    noticed,
    observe,
    running_jobs,
    status_of,
)

Json = dict[str, Any]

LATER = "; tries again later"

# Steps on what only their release uses: they commute with all that others do, so nothing is gained by waiting.
PRIVATE = (
    model.StoreSpec, model.DryRun, model.CreatePreview, model.PatchPreview, model.DeletePreview, model.Ask,
    model.ConfirmDead, model.ForgetSpec, model.ForgetOrder, model.ConfirmGone,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Play:
    """What may happen in one search, apart from how often (see State.left)."""

    edits: tuple[Json, ...] = ()
    """What the author applies, in this order."""
    orders: tuple[Action, ...] = ()
    """What a person orders, in this order."""
    tick: int = 10
    """Seconds that pass at a time."""
    lags: tuple[str, ...] = (Resource.SERVICES, Resource.DEPLOYMENTS, Resource.RELEASES)
    """Kinds whose watch may fall behind."""
    fails: tuple[str, ...] = (DOWN,)
    """How pods fail."""
    victim: str = ""
    """Version whose pods may fail, and whose Deployment others may edit or delete; any, where empty."""
    recovers: bool = True
    """Whether a pod that failed becomes well again."""
    prompt: bool = False
    """Whether pods that start and probes come before all else: their timing is of no interest."""
    catches_up: bool = True
    """Whether a watch that fell behind goes on before faults have stopped."""
    bad: frozenset[str] = frozenset()
    """Versions whose pods never become well."""
    foreign: tuple[str, ...] = ()
    """Services that others write; all, where empty."""
    others_select: str = ""
    """A component revision that others may make a Service select."""


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that may happen."""

    text: str
    state: State
    broken: tuple[str, ...] = ()
    alone: bool = False
    """It commutes with all else: nothing else needs to be tried first."""


def moves(state: State, play: Play) -> list[Move]:
    """Return everything that may happen next."""
    found: list[Move] = []
    resting: list[tuple[Operator, Decision]] = []
    for operator in state.operators:
        own, rest = _operator(state, operator, play)
        if own and own[0].alone:
            return own[:1]
        found += own
        if rest is not None:
            resting.append((operator, rest))
    quiet = len(resting) == len(state.operators)
    if play.prompt and (first := next(_prompt(state, play), None)):
        return [first]
    found += _probes(state, play)
    found += _pods(state, play)
    found += _jobs(state)
    found += _people(state, play)
    found += _arrivals(state)
    found += _watches(state, play)
    found += _others(state, play)
    if state.budget("restart"):
        for operator in state.operators:
            text = f"operator {operator.name} is killed and starts anew"
            found.append(Move(text, noticed(_with(state.spend("restart"), Operator(operator.name)))))
    if state.budget("tick") and (quiet or any(o.behind for o in state.operators)):
        found.append(tick(state.spend("tick"), play, resting if quiet else []))
    return [m for m in found if m.state is not state]


def _prompt(state: State, play: Play) -> Iterator[Move]:
    yield from _starts(state, play)
    yield from _probes(state, play)


def tick(state: State, play: Play, resting: list[tuple[Operator, Decision]]) -> Move:
    """Let time pass."""
    broken = tuple(invariants.of_time(state, resting, play.tick))
    after = replace(state, now=state.now + play.tick)
    for job in running_jobs(after):
        if job.ends_at and job.ends_at <= after.clock:
            after = ended_job(after, job.name, "DeadlineExceeded")
    return Move(f"{play.tick} s pass", noticed(after), broken)


def _with(state: State, operator: Operator) -> State:
    operators = tuple(operator if o.name == operator.name else o for o in state.operators)
    return replace(state, operators=operators)


# --- operators --------------------------------------------------------------------------------------------------------


def _operator(state: State, operator: Operator, play: Play) -> tuple[list[Move], Decision | None]:
    """Return what an operator may do next; and its decision, where it rests."""
    limited = f"steps of {operator.name}"
    if any(name == limited for name, _ in state.left):
        if not state.budget(limited):
            return [], Decision(Rest(), "", "", "")
        state = state.spend(limited)
    if operator.task:
        return list(_next_request(state, operator, operator.task, play)), None
    world = operator.world or observe(state, operator)
    decision = decide(world, state.clock)
    broken = tuple(invariants.of_decision(state, operator, world, decision))
    if decision.memory is not None:
        return _remember(state, operator, world, decision, broken), None
    if isinstance(decision.step, Rest):
        after = _answered(state, world)
        seen_orders = (
            [Move(f"operator {operator.name} marks the order as seen", noticed(after))] if after is not state else []
        )
        broke = (
            [Move(f"operator {operator.name} waits: {told(decision.because)}", replace(state), broken)]
            if broken
            else []
        )
        return seen_orders + broke, decision
    if isinstance(decision.step, PRIVATE):
        after = _private(state, operator, world, decision.step)
        text = f"operator {operator.name}: {type(decision.step).__name__}"
        return ([Move(text, noticed(after), broken, alone=True)] if after is not state else []), None
    return list(_step(state, operator, decision, play, broken)), None


def _remember(
    state: State, operator: Operator, world: World, decision: Decision, broken: tuple[str, ...]
) -> list[Move]:
    memory = decision.memory
    assert memory is not None
    request = Patch(Resource.RELEASES, KEY.name, writes.status(world.version, status_of(memory)))
    text = f"operator {operator.name} remembers ({decision.reason}): {told(decision.because)}"
    try:
        after = applied(state, request)
    except Refused:
        return [] if not broken else [Move(text, replace(state), broken)]
    if after is state:
        return []
    after = _answered(after, replace(world, memory=from_status(status_of(memory))))
    after = replace(after, ghost=invariants.known_as_proven(after))
    broken += tuple(invariants.of_memory(state, after))
    return [Move(text, noticed(_told(after, operator, Resource.RELEASES, KEY.name)), broken)]


def _answered(state: State, world: World) -> State:
    """Write the answers of orders, as cluster/report.py does."""
    answers = {a.uid: a for a in world.memory.answers}
    for name, order in state.kinds[Resource.COMMANDS].items():
        given = answers.get(order.uid)
        if given and order.phase not in {"Done", "Refused"}:
            state = state.put(Resource.COMMANDS, name, replace(order, phase=given.phase, answered_at=state.clock))
        elif not given and not order.phase and any(o.uid == order.uid for o in world.orders):
            state = state.put(Resource.COMMANDS, name, replace(order, phase="Pending"))
    return state


def _told(state: State, operator: Operator, kind: Resource, name: str) -> State:
    """Let an operator take the answer to its own write into what it sees."""
    operator = next(o for o in state.operators if o.name == operator.name)
    if kind not in operator.behind:
        return state
    things = dict(operator.behind[kind])
    if (found := state.get(kind, name)) is None:
        things.pop(name, None)
    else:
        things[name] = found
    return _with(state, replace(operator, behind={**operator.behind, kind: things}))


def _private(state: State, operator: Operator, world: World, step: model.Step) -> State:
    match step:
        case model.Ask():
            passed = frozenset(t.pod_uid for t in step.targets if _well(state, t.pod_uid))
            answer = Asked(state.clock, passed | step.ready_without_probe, "asked")
            return _with(state, replace(operator, asked={**operator.asked, step.revision: answer}))
        case model.ConfirmDead():
            service = state.get(Resource.SERVICES, step.service)
            fresh = observe(state, Operator("fresh"))
            if service and fresh.endpoints[step.service].every:
                since = {k: v for k, v in operator.since.items() if k != f"dead:{step.service}"}
                return _with(state, replace(operator, since=since))
            confirmed = {**operator.confirmed_dead, step.service: state.clock}
            return _with(state, replace(operator, confirmed_dead=confirmed))
        case model.ConfirmGone():
            found = state.get(Resource.JOBS, step.name)
            told = _told(state, operator, Resource.JOBS, step.name)
            operator = next(o for o in told.operators if o.name == operator.name)
            here = found is not None and found.uid == step.uid
            read = (step.uid, state.clock) if here else None
            return _with(told, replace(operator, job_gone="" if here else step.uid, job_read=read))
        case _:
            request = writes.write(step, KEY, UID)
            name = request.body["metadata"]["name"] if isinstance(request, Create) else request.name
            try:
                after = applied(state, request)
            except Refused:
                return state
            return _told(after, operator, request.resource, name)


def _well(state: State, pod: str) -> bool:
    life: Life | None = state.get(PODS, pod.rpartition("/")[0])
    return life is not None and life.mode == READY and pod.endswith(f"/{life.number}")


def _step(state: State, operator: Operator, decision: Decision, play: Play, broken: tuple[str, ...]) -> Iterator[Move]:
    step = decision.step
    if isinstance(step, model.Retire):
        task = Task(step, f"{UNIQUE}{state.version}")
        begun = _with(state, replace(operator, task=task))
        first = next(iter(_next_request(begun, replace(operator, task=task), task, play)), None)
        if first is not None:
            why = f"operator {operator.name} decides: {told(decision.because)}"
            yield replace(first, text=f"{why}; {first.text}", broken=broken + first.broken)
        return
    yield from _send(state, operator, writes.write(step, KEY, UID), type(step).__name__, play, broken, decision.because)


def _next_request(state: State, operator: Operator, task: Task, play: Play) -> Iterator[Move]:
    asked = writes.requests(task.step, KEY, UID, task.unique)
    idle = replace(operator, task=None)
    try:
        request = next(asked)
        for answer in task.answers:
            request = asked.send(answer.value if answer else None)
    except StopIteration as end:
        text = end.value.said if isinstance(end.value, Stopped) else "done"
        yield Move(f"operator {operator.name} stops: {told(text)}{LATER}", noticed(_with(state, idle)))
        return
    if isinstance(request, Read):
        found: Stored | None = state.get(request.resource, request.name)
        after = _with(state, replace(operator, task=replace(task, answers=(*task.answers, found))))
        what = f"{request.resource} {told(request.name)}"
        version = f" at {found.version}" if found else ": gone"
        claims = f", claims {said(dict(found.claims))}" if found and found.claims else ""
        yield Move(f"operator {operator.name} reads {what}{version}{claims}", after)
        return
    last = not (isinstance(request, Merge) and request.resource is Resource.SERVICES)
    goes_on = idle if last else replace(operator, task=replace(task, answers=(*task.answers, None)))
    yield from _send(state, goes_on, request, "Retire", play, (), "")


def _send(
    state: State, operator: Operator, request: Write, what: str, play: Play, broken: tuple[str, ...], because: str
) -> Iterator[Move]:
    """Yield what may become of a write: it arrives now, or it is held back."""
    name = request.body["metadata"]["name"] if isinstance(request, Create) else request.name
    text = f"operator {operator.name}: {said(request)}"
    arrived = arrive(state, request)
    if arrived is None:
        after = _with(state, replace(operator, task=None))
        if after.operators != state.operators:
            yield Move(f"{text}: refused (409)", noticed(after), broken)
    else:
        after, more = arrived
        after = noticed(_told(_with(after, operator), operator, request.resource, name))
        yield Move(f"{text}{_outcome(after, request, name)}", after, broken + more)
    if state.budget(f"hold {what}") and not _in_flight(state, request):
        held = Held(operator.name, said(request), request)
        waits = _with(replace(state.spend(f"hold {what}"), flight=(*state.flight, held)), replace(operator, task=None))
        yield Move(f"{text}: SENT, BUT HELD BACK on its way", noticed(waits), broken)


def _in_flight(state: State, request: Write) -> bool:
    return any(held.request == request for held in state.flight)


def _outcome(state: State, request: Write, name: str) -> str:
    stored = state.get(request.resource, name)
    return f": stored as {stored.version}" if stored else ": gone"


def arrive(state: State, request: Write) -> tuple[State, tuple[str, ...]] | None:
    """Let a write of an operator arrive. Returns the state after it and what it broke; None where it is refused."""
    try:
        after = applied(state, request)
    except Refused:
        return None
    broken = tuple(invariants.of_write(state, after, request))
    return replace(after, ghost=invariants.remembered(state, after, request)), broken


# --- what was sent arrives late ---------------------------------------------------------------------------------------


def _arrivals(state: State) -> Iterator[Move]:
    for held in state.flight:
        rest = replace(state, flight=tuple(h for h in state.flight if h is not held))
        arrived = arrive(rest, held.request)
        text = f"the HELD write of {held.sender} arrives ({held.what})"
        if arrived is None:
            yield Move(f"{text}: refused (409)", rest)
        else:
            yield Move(text, noticed(arrived[0]), arrived[1])


# --- probes and pods --------------------------------------------------------------------------------------------------


def _probes(state: State, play: Play) -> Iterator[Move]:
    for operator in state.operators:
        if any(name == f"steps of {operator.name}" for name, _ in state.left):
            continue  # whose steps are counted is there for its writes
        world = operator.world or observe(state, operator)
        streaks = {}
        for target in probes.wanted(world):
            if not _is_there(state, target.pod_uid):
                continue
            threshold = target.health.success_threshold, target.health.failure_threshold
            well = _well(state, target.pod_uid)
            streaks[target.scope, target.pod_uid] = (
                Streak(passed=threshold[0], last="HTTP 200") if well else Streak(failed=threshold[1], last="HTTP 500")
            )
        if streaks != operator.streaks:
            after = replace(_with(state, replace(operator, streaks=streaks)), ghost=invariants.evidence(state, world))
            marks = [f"{told(uid)}: {'passes' if s.passed else 'fails'}" for (_, uid), s in sorted(streaks.items())]
            text = f"operator {operator.name} probes {len(streaks)} pod(s): {', '.join(marks)}"
            yield Move(text, noticed(after))


def _is_there(state: State, pod: str) -> bool:
    life: Life | None = state.get(PODS, pod.rpartition("/")[0])
    return life is not None and pod.endswith(f"/{life.number}")


def _pods(state: State, play: Play) -> Iterator[Move]:
    yield from _starts(state, play)
    for d, life in _lives(state):
        if life.mode in {SICK, DOWN} and play.recovers and d.created_version not in play.bad:
            after = state.put(PODS, d.uid, replace(life, mode=READY))
            yield Move(f"the pod of {told(d.name)} is well again", noticed(after))
        if life.mode == READY and state.budget("fail") and play.victim in {"", d.created_version}:
            for mode in play.fails:
                died = state.now if mode == DOWN else life.died
                after = state.spend("fail").put(PODS, d.uid, replace(life, mode=mode, died=died))
                text = "crashes" if mode == DOWN else "fails its check"
                yield Move(f"the pod of {told(d.name)} {text}", noticed(after))


def _starts(state: State, play: Play) -> Iterator[Move]:
    for d, life in _lives(state):
        if life.mode == STARTING:
            bad = d.created_version in play.bad
            after = state.put(PODS, d.uid, replace(life, mode=SICK if bad else READY))
            text = "becomes ready, but is not well" if bad else "becomes ready"
            yield Move(f"the pod of {told(d.name)} {text}", noticed(after))


def _lives(state: State) -> Iterator[tuple[Deployment, Life]]:
    for d in state.deployments:
        if life := state.get(PODS, d.uid):
            yield d, life


# --- hooks ------------------------------------------------------------------------------------------------------------


def _jobs(state: State) -> Iterator[Move]:
    """Let Jobs that run end; one that runs long is ended by its deadline, as time passes."""
    for job in running_jobs(state):
        after = ended_job(state, job.name)
        yield Move(f"Job {told(job.name)} succeeds", noticed(replace(after, ghost=invariants.crossed(after, job))))
        if state.budget("hook"):
            after = ended_job(state.spend("hook"), job.name, "BackoffLimitExceeded")
            yield Move(f"Job {told(job.name)} fails", noticed(after))


# --- people -----------------------------------------------------------------------------------------------------------


def apply(state: State, raw: Json) -> State:
    """Let the author apply a manifest."""
    release = state.release.raw
    metadata = release["metadata"]
    body = {
        **release,
        "spec": raw,
        "metadata": {
            **metadata,
            "generation": metadata["generation"] + 1,
            "resourceVersion": str(state.version + 1),
        },
    }
    stored = Stored(Resource.RELEASES, body)
    return noticed(replace(state, version=state.version + 1).put(Resource.RELEASES, KEY.name, stored))


def _people(state: State, play: Play) -> Iterator[Move]:
    if state.edits < len(play.edits):
        raw = play.edits[state.edits]
        yield Move(f"the author applies version {raw['version']}", apply(replace(state, edits=state.edits + 1), raw))
    if state.orders < len(play.orders):
        action, memory = play.orders[state.orders], state.memory
        wanted = state.release.value.spec
        stack = {
            Action.ROLLBACK: memory.live and memory.live.stack,
            Action.ABORT: memory.candidate and memory.candidate.stack,
            Action.APPROVE: memory.candidate and memory.candidate.stack,
        }
        revision = stack[action].revision if stack.get(action) else wanted.revision if action is Action.RETRY else ""
        if revision or action in {Action.PAUSE, Action.RESUME}:
            number = state.orders + 1
            attempt = memory.candidate.attempt if memory.candidate and action is Action.APPROVE else None
            order = Order(
                f"{action.lower()}-{number}", f"order-{number}", action, revision, False, "", state.clock, "", None,
                attempt=attempt, issued_by="bob",
            )  # fmt: skip
            after = replace(state, orders=number).put(Resource.COMMANDS, order.name, order)
            if attempt is not None:
                agreed = after.ghost.agreed | {(revision, attempt, order.issued_by)}
                after = replace(after, ghost=replace(after.ghost, agreed=agreed))
            yield Move(f"a person orders {action} of {said(revision) or 'the release'}", noticed(after))


# --- watches that fall behind -----------------------------------------------------------------------------------------


def _watches(state: State, play: Play) -> Iterator[Move]:
    for operator in state.operators:
        for kind in operator.behind if play.catches_up else ():
            behind = {k: v for k, v in operator.behind.items() if k != kind}
            after = _with(state, replace(operator, behind=behind))
            yield Move(f"operator {operator.name} catches up on {kind}", noticed(after))
        if state.budget("lag"):
            for kind in play.lags:
                if kind not in operator.behind:
                    behind = {**operator.behind, kind: state.kinds[kind]}
                    after = _with(state.spend("lag"), replace(operator, behind=behind))
                    yield Move(f"operator {operator.name} hears no more of {kind}", noticed(after))


# --- others who write -------------------------------------------------------------------------------------------------


def _others(state: State, play: Play) -> Iterator[Move]:
    for name, stored in list(state.kinds[Resource.SERVICES].items()):
        if not stored.value.preview_of and (not play.foreign or name in play.foreign):
            yield from _write_service(state, play, name)
    for name in service_names(state):
        if name not in state.kinds[Resource.SERVICES]:
            yield Move(f"somebody creates Service {name} again", recreated(state, name))
    for name, stored in list(state.kinds[Resource.DEPLOYMENTS].items()):
        if play.victim in {"", stored.value.created_version}:
            yield from _write_deployment(state, name)
    for name in list(state.kinds[Resource.JOBS]):
        yield from _write_job(state, name)
    yield from _forget(state)


def _write_job(state: State, name: str) -> Iterator[Move]:
    if state.budget("lose"):
        after = applied(state.spend("lose"), Delete(Resource.JOBS, name, ""))
        yield Move(f"somebody deletes Job {told(name)}", noticed(after))


def _forget(state: State) -> Iterator[Move]:
    if state.budget("forget"):
        after = applied(state.spend("forget"), Merge(Resource.RELEASES, KEY.name, {"status": None}))
        yield Move("somebody takes the status of the release away", noticed(after))


def _write_service(state: State, play: Play, name: str) -> Iterator[Move]:
    if state.budget("bump"):
        body: Json = {"metadata": {"annotations": {"example.com/note": str(state.budget("bump"))}}}
        after = applied(state.spend("bump"), Merge(Resource.SERVICES, name, body))
        yield Move(f"somebody annotates Service {name}: now at {after.version}", noticed(after))
    if state.budget("redirect") and play.others_select:
        body = {"spec": {"selector": {names.REVISION: play.others_select}}}
        after = applied(state.spend("redirect"), Merge(Resource.SERVICES, name, body))
        text = f"somebody makes Service {name} select {said(play.others_select)}: now at {after.version}"
        yield Move(text, noticed(after))
    if state.budget("recreate"):
        after = applied(state.spend("recreate"), Delete(Resource.SERVICES, name, ""))
        yield Move(f"somebody deletes Service {name}", noticed(after))


def _write_deployment(state: State, name: str) -> Iterator[Move]:
    if state.budget("edit"):
        template = {"spec": {"nodeName": "node-2"}}
        after = applied(state.spend("edit"), Merge(Resource.DEPLOYMENTS, name, {"spec": {"template": template}}))
        yield Move(f"somebody edits Deployment {told(name)}", noticed(after))
    if state.budget("remove"):
        after = applied(state.spend("remove"), Delete(Resource.DEPLOYMENTS, name, ""))
        after = replace(after, ghost=replace(after.ghost, robbed=after.ghost.robbed | {name}))
        yield Move(f"somebody deletes Deployment {told(name)}", noticed(after))


def service_names(state: State) -> list[str]:
    """Return the Services that there were at the beginning."""
    return sorted(name for kind, name in state.births if kind == Resource.SERVICES and not name.endswith("-preview"))


def recreated(state: State, name: str) -> State:
    """Return the state with a Service made as its author made it."""
    component = "frontend" if name == "frontend" else "backend"
    body: Mapping[str, Any] = {
        "metadata": {"name": name, "labels": {}, "annotations": {}},
        "spec": {
            "type": "ClusterIP",
            "selector": {"app": component},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
    return noticed(applied(state, Create(Resource.SERVICES, body)))
