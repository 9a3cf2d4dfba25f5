"""Small worlds to search: where each begins, and what may happen in it, how often.

A scope is directed at one part of the protocol, so that it can be exhausted. It begins where it becomes interesting:
what led there was done by the operator itself, without a fault.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tradingrelease.policy import model, names
from tradingrelease.policy.decide import decide
from tradingrelease.policy.reasons import Action, Cause
from tradingrelease.policy.spec import Spec, parse
from tradingrelease.policy.writes import Merge, Resource

from tests.builders import KEY, UID, a_component, a_health, a_hook, a_spec, a_template
from tests.model import moves
from tests.model.moves import Play
from tests.model.objects import Stored
from tests.model.search import following
from tests.model.words import learn
from tests.model.world import DOWN, KINDS, SICK, Operator, State, applied, noticed, observe

Json = dict[str, Any]

ONE = ("backend",)
TWO_SERVICES = ("backend", "public")


def spec(version: str, *components: Json, **fields: Any) -> Json:
    """Return a spec with short times: a watch of 20 s, 30 s of retention."""
    raw = a_spec(
        version,
        components or (component(version),),
        **{"watch": {"for": "20s", "deadAfter": "5s"}, "retain": {"for": "30s"}, "keepFailedFor": "5s", **fields},
    )
    parsed = parse(raw, KEY.name)
    assert isinstance(parsed, Spec), parsed
    learn(parsed)
    return raw


def component(version: str, services: tuple[str, ...] = ONE, name: str = "backend", path: str = "/healthz") -> Json:
    """Return a component of one replica; its version is that of its template."""
    health = a_health(httpGet={"path": path, "port": "http"}, successThreshold=1, failureThreshold=1)
    return a_component(
        name,
        version,
        services=list(services),
        replicas=1,
        minReadySeconds=0,
        progressDeadline="1m",
        health=health,
        template=a_template(name, version),
    )


def component_revision(version: str) -> str:
    """Return the component revision of a version's backend."""
    return names.digest(a_template("backend", version))


def beginning(raw: Json, *services: str) -> State:
    """Return a namespace with Services that select nothing yet, and a release that was just applied."""
    body = {
        "apiVersion": "tradingplatform.io/v1alpha1",
        "kind": "TradingRelease",
        "metadata": {
            "name": KEY.name,
            "namespace": KEY.namespace,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "annotations": {names.APPLIED_BY: "anna"},
        },
        "spec": raw,
    }
    release = Stored(Resource.RELEASES, body)
    state = State(0, 1, {kind: {} for kind in KINDS}).put(Resource.RELEASES, KEY.name, release)
    for name in services or ONE:
        state = moves.recreated(state, name)
    return noticed(state)


def until(state: State, play: Play, happened: Callable[[State], bool]) -> State:
    """Return the state in which something has happened, with no fault on the way."""
    lines = []
    for _ in range(300):
        if happened(state):
            return state
        move = following(state, play) or moves.tick(state, play, [])
        assert not move.broken, (move.broken, lines)
        lines.append(move.text)
        state = move.state
    raise AssertionError("\n".join(lines))


def decided(state: State) -> model.Decision:
    """Return what the first operator would do now."""
    operator = state.operators[0]
    return decide(observe(state, operator), state.clock)


def proven(state: State) -> bool:
    """Tell whether what is asked for is live and proven, and nothing is left to do."""
    live = state.memory.live
    asked = state.release.value.spec
    settled = following(state, Play()) is None
    return settled and live is not None and live.proven_at is not None and live.stack.revision == asked.revision


def live(state: State) -> bool:
    """Tell whether what is asked for is live."""
    found = state.memory.live
    return found is not None and found.stack.revision == state.release.value.spec.revision


def about_to_switch(state: State) -> bool:
    """Tell whether the next write moves the first Service to the candidate."""
    step = decided(state).step
    return isinstance(step, model.Switch) and step.record.cause is Cause.PROMOTE


def half_switched(state: State) -> bool:
    """Tell whether the first of two Services is moved."""
    step = decided(state).step
    world = observe(state, state.operators[0])
    from tradingrelease.policy import acts

    return isinstance(step, model.Switch) and acts.unfinished(world) is not None


@dataclass(frozen=True)
class Scope:
    """One small world."""

    name: str
    about: str
    start: Callable[[], State]
    play: Play
    left: dict[str, int] = field(default_factory=dict)
    """How often each fault may happen."""
    behind: tuple[str, ...] = ()
    """What a second operator does not hear of any more, from the beginning on; without any there is but one operator."""

    def begin(self) -> State:
        """Return the state that the search begins with."""
        state = self.start()
        operators = state.operators
        if self.behind:
            operators += (Operator("B", {kind: state.kinds[kind] for kind in self.behind}),)
        state = replace(state, operators=operators, left=tuple(sorted(self.left.items())), edits=0, orders=0)
        return noticed(state)


V1, V2, V3 = "1.0.0", "2.0.0", "3.0.0"
for version in (V1, V2, V3):
    spec(version)


def switching(services: tuple[str, ...] = ONE, first: Json | None = None, second: Json | None = None) -> State:
    """Return the moment before a verified candidate 2.0.0 takes over from a proven 1.0.0."""
    one = first or spec(V1, component(V1, services))
    two = second or spec(V2, component(V2, services))
    state = until(beginning(one, *services), Play(), proven)
    return until(moves.apply(state, two), Play(), about_to_switch)


def revisited() -> State:
    """Return the moment before a switch to 2.0.0 whose Deployment's Service was fenced once before."""
    state = until(beginning(spec(V1)), Play(), proven)
    state = until(moves.apply(state, spec(V3)), Play(), about_to_switch)
    state = until(moves.apply(state, spec(V1)), Play(), lambda s: len(list(s.deployments)) == 1)
    return until(moves.apply(state, spec(V2)), Play(), about_to_switch)


def reclaiming() -> State:
    """Return 2.0.0 about to be switched to, as soon as it claims its Service anew: somebody wrote that."""
    state = switching()
    bumped = Merge(Resource.SERVICES, "backend", {"metadata": {"annotations": {"example.com/note": "0"}}})
    return noticed(applied(state, bumped))


def half_way() -> State:
    """Return a live but unproven 1.0.0 with two Services, and 2.0.0 about to take over from it."""
    one = spec(V1, component(V1, TWO_SERVICES), watch={"for": "1h", "deadAfter": "5s"})
    state = until(beginning(one, *TWO_SERVICES), Play(), live)
    return until(moves.apply(state, spec(V2, component(V2, TWO_SERVICES))), Play(), half_switched)


def unclaimed() -> State:
    """Return 2.0.0 about to take over two Services on a Deployment that was made for one of them."""
    both, one = component(V1, TWO_SERVICES), component(V2, ONE)
    state = until(beginning(spec(V1, both), *TWO_SERVICES), Play(), proven)
    state = until(moves.apply(state, spec(V2, one)), Play(), about_to_switch)
    return until(moves.apply(state, spec(V2, component(V2, TWO_SERVICES))), Play(), half_switched)


def two_services_half_way() -> State:
    """Return the moment after the first of two Services moved from a proven 1.0.0 to 2.0.0."""
    one, two = spec(V1, component(V1, TWO_SERVICES)), spec(V2, component(V2, TWO_SERVICES))
    state = until(beginning(one, *TWO_SERVICES), Play(), proven)
    return until(moves.apply(state, two), Play(), half_switched)


def released_twice() -> State:
    """Return 2.0.0 live and proven, 1.0.0 retained."""
    state = until(beginning(spec(V1)), Play(), proven)
    return until(moves.apply(state, spec(V2)), Play(), proven)


def verified_slowly() -> State:
    """Return 2.0.0 live, after a verification that took longer than a retention."""
    state = until(beginning(spec(V1)), Play(), proven)
    state = until(moves.apply(state, spec(V2)), Play(), about_to_switch)
    return noticed(replace(state, now=state.now + 40))


def retiring() -> State:
    """Return 3.0.0 live and proven, 1.0.0 about to be deleted."""
    state = released_twice()
    return until(state, Play(), lambda s: isinstance(decided(s).step, model.Retire))


def hooked(version: str, **hook: Any) -> Json:
    """Return a spec with a migration before anything of it is deployed; it may take 10 s."""
    return spec(version, hooks=[a_hook(timeout="10s", **hook)])


def migrating() -> State:
    """Return the moment before the Job of a migration to 2.0.0 is created, beside a proven 1.0.0."""
    state = until(beginning(spec(V1)), Play(), proven)
    return until(moves.apply(state, hooked(V2)), Play(), lambda s: isinstance(decided(s).step, model.CreateJob))


def migrated() -> State:
    """Return 2.0.0 in its watch, after a migration that cannot be undone."""
    state = until(beginning(spec(V1)), Play(), proven)
    state = until(moves.apply(state, hooked(V2, irreversible=True)), Play(), live)
    return until(state, Play(), lambda s: following(s, Play()) is None or bool(s.ghost.crossed))


def migrated_half_way() -> State:
    """Return the moment after the first of two Services moved to 2.0.0, past a migration that cannot be undone."""
    state = until(beginning(spec(V1, component(V1, TWO_SERVICES)), *TWO_SERVICES), Play(), proven)
    migration = [a_hook(timeout="10s", irreversible=True)]
    return until(moves.apply(state, spec(V2, component(V2, TWO_SERVICES), hooks=migration)), Play(), half_switched)


def asking_people() -> State:
    """Return 2.0.0 verified beside a proven 1.0.0, with two Services, waiting for one person to agree."""
    state = until(beginning(spec(V1, component(V1, TWO_SERVICES)), *TWO_SERVICES), Play(), proven)
    two = spec(V2, component(V2, TWO_SERVICES), approvals=[{"at": "BeforeSwitch", "timeout": "30s"}])
    return until(moves.apply(state, two), Play(), lambda s: decided(s).reason == "ApprovalPending")


def watched() -> State:
    """Return 2.0.0 in a long watch, its preview gone, and a proven 1.0.0 beside it."""
    state = until(beginning(spec(V1)), Play(), proven)
    state = until(moves.apply(state, spec(V2, watch={"for": "1h", "deadAfter": "5s"})), Play(), live)
    return until(state, Play(), lambda s: not any(service.preview_of for service in s.services))


def first_release() -> State:
    """Return the moment before the very first switch: nothing is live."""
    return until(beginning(spec(V1)), Play(), about_to_switch)


REVERT = spec(V1)

SCOPES: dict[str, Scope] = {
    s.name: s
    for s in (
        Scope(
            "revert",
            "the switch to green is delayed, the author reverts, green goes, the switch arrives",
            switching,
            Play(edits=(REVERT,)),
            {"hold Switch": 1, "tick": 1},
        ),
        Scope(
            "abort",
            "the switch to green is delayed, a person aborts, green is scaled to zero, the switch arrives",
            switching,
            Play(orders=(Action.ABORT,)),
            {"hold Switch": 1, "tick": 1},
        ),
        Scope(
            "abort at first",
            "the switch of the first release is delayed, a person aborts or the author goes on, the switch arrives",
            first_release,
            Play(edits=(spec(V2),), orders=(Action.ABORT,)),
            {"hold Switch": 1, "tick": 1},
        ),
        Scope(
            "edited",
            "somebody edits green while its switch is delayed",
            switching,
            Play(edits=(REVERT,), victim=V2, prompt=True),
            {"hold Switch": 1, "tick": 1, "edit": 1},
        ),
        Scope(
            "fenced twice",
            "a Service that was fenced before is fenced again",
            revisited,
            Play(edits=(REVERT,)),
            {"hold Switch": 1, "tick": 1},
        ),
        Scope(
            "old read",
            "a second operator still sees a Service as it was before somebody else wrote it",
            switching,
            Play(edits=(REVERT,), catches_up=False, prompt=True),
            {"hold Switch": 1, "tick": 1, "bump": 1, "steps of B": 1},
            behind=(Resource.SERVICES,),
        ),
        Scope(
            "late claim",
            "a claim is delayed while the Service goes on changing, and the switch after it is delayed as well",
            reclaiming,
            Play(edits=(REVERT,), prompt=True),
            {"hold Switch": 1, "hold Claim": 1, "tick": 1, "bump": 1},
        ),
        Scope(
            "half way",
            "half a switch away from a live that was never proven is undone, or not",
            half_way,
            Play(fails=(DOWN,), victim=V2),
            {"hold Switch": 1, "tick": 1, "fail": 1},
        ),
        Scope(
            "left out",
            "a Service leaves the spec while its switch is delayed",
            two_services_half_way,
            Play(recovers=False, prompt=True, edits=(spec(V1, component(V1, ONE)),), victim=V2),
            {"hold Switch": 1, "tick": 1, "fail": 1},
        ),
        Scope(
            "unclaimed",
            "a Service is added to a Deployment that never claimed it",
            unclaimed,
            Play(recovers=False, prompt=True, edits=(spec(V1, component(V1, TWO_SERVICES)),), victim=V2),
            {"hold Switch": 1, "tick": 1, "fail": 1},
        ),
        Scope(
            "asked again",
            "the deletion of a former revision is delayed, and the author asks for it again",
            retiring,
            Play(edits=(spec(V1),)),
            {"hold Retire": 1, "tick": 1},
        ),
        Scope(
            "put back late",
            "others make a Service select blue, which is put back late, and a person orders a rollback meanwhile",
            watched,
            Play(orders=(Action.ROLLBACK,), prompt=True, others_select=component_revision(V1)),
            {"redirect": 1, "hold Switch": 1, "tick": 2},
        ),
        Scope(
            "made again",
            "others delete the Service of a release that is about to be switched, and make it again without our mark",
            switching,
            Play(prompt=True),
            {"recreate": 1, "tick": 1},
        ),
        Scope(
            "retention",
            "the promise to keep blue counts from the switch",
            verified_slowly,
            Play(),
            {"tick": 6},
        ),
        Scope(
            "rollback",
            "a person orders a rollback while green is well, sick or down",
            released_twice,
            Play(orders=(Action.ROLLBACK,), fails=(DOWN, SICK), victim=V2),
            {"fail": 1, "tick": 1, "hold Switch": 1},
        ),
        Scope(
            "another revision",
            "the checks of a candidate change, its template does not",
            switching,
            Play(edits=(spec("2.0.1", component(V2, ONE, path="/ready")),)),
            {"tick": 1},
        ),
        Scope(
            "another attempt",
            "half a switch is undone, and the candidate begins anew",
            two_services_half_way,
            Play(fails=(DOWN,), victim=V2),
            {"fail": 1, "tick": 1},
        ),
        Scope(
            "migration",
            "a hook runs, fails or hangs; others delete its Job, the author goes on",
            migrating,
            Play(edits=(spec(V3),), prompt=True),
            {"hook": 1, "lose": 1, "tick": 1},
        ),
        Scope(
            "unseen Job",
            "a second operator hears of the hook that runs, and not yet of its Job",
            migrating,
            Play(prompt=True, catches_up=False),
            {"steps of B": 2},
            behind=(Resource.JOBS,),
        ),
        Scope(
            "no way back",
            "what an irreversible hook led to fails, and the status that knew of the hook is taken away",
            migrated,
            Play(fails=(DOWN, SICK), victim=V2, prompt=True, recovers=False),
            {"fail": 1, "forget": 1, "tick": 1},
        ),
        Scope(
            "half way past a migration",
            "half a switch is to be undone, and a hook before it was irreversible",
            migrated_half_way,
            Play(orders=(Action.ABORT, Action.ROLLBACK), fails=(DOWN,), victim=V2, prompt=True),
            {"fail": 1, "tick": 1},
        ),
        Scope(
            "approval",
            "a person agrees to a switch, half of which is undone, and the candidate begins anew",
            asking_people,
            Play(orders=(Action.APPROVE, Action.APPROVE), fails=(DOWN,), victim=V2, prompt=True),
            {"fail": 1, "tick": 1},
        ),
    )
}


EVERYTHING = {
    "hold Switch": 1, "hold Claim": 1, "hold Retire": 1, "tick": 4, "fail": 1, "bump": 1, "restart": 1, "lag": 1,
}  # fmt: skip
PAIR = ("backend", "frontend")


def pair(version: str, frontend: str = "") -> Json:
    """Return a spec of two components; the frontend may stay at another version."""
    return spec(version, component(version), component(frontend or version, ("frontend",), "frontend"))


def two_components() -> State:
    """Return the moment before 2.0.0 of two components takes over from a proven 1.0.0."""
    state = until(beginning(pair(V1), *PAIR), Play(), proven)
    return until(moves.apply(state, pair(V2)), Play(), about_to_switch)


DEEP: dict[str, Scope] = {
    s.name: s
    for s in (
        Scope(
            "everything",
            "three edits, a rollback, delays, crashes, old reads, one operator",
            switching,
            Play(prompt=True, edits=(spec(V3), REVERT, spec(V2)), orders=(Action.ROLLBACK,), fails=(DOWN, SICK)),
            EVERYTHING,
        ),
        Scope(
            "two operators",
            "two operators that both act, one of them on old reads of Services and Deployments",
            switching,
            Play(prompt=True, edits=(spec(V3), REVERT), orders=(Action.ROLLBACK,)),
            {**EVERYTHING, "steps of B": 6},
            behind=(Resource.SERVICES, Resource.DEPLOYMENTS),
        ),
        Scope(
            "two memories",
            "a second operator that remembers only what was stored a while ago",
            switching,
            Play(prompt=True, edits=(REVERT, spec(V3)), orders=(Action.ROLLBACK,)),
            {"hold Switch": 1, "tick": 3, "fail": 1, "steps of B": 6},
            behind=(Resource.RELEASES,),
        ),
        Scope(
            "two components",
            "two components that go live together, pods that fail half way, a rollback",
            two_components,
            Play(prompt=True, edits=(pair(V3, V2), pair(V1)), orders=(Action.ROLLBACK,), fails=(DOWN, SICK)),
            EVERYTHING,
        ),
        Scope(
            "two Services",
            "one component behind two Services, one of which others write, delete and make again",
            two_services_half_way,
            Play(
                prompt=True,
                edits=(spec(V3, component(V3, TWO_SERVICES)), spec(V1, component(V1, TWO_SERVICES))),
                orders=(Action.ABORT,),
            ),
            {**EVERYTHING, "recreate": 1},
        ),
        Scope(
            "redirected",
            "others make a Service select the candidate, or what they like",
            half_way,
            Play(prompt=True, edits=(spec(V1, component(V1, TWO_SERVICES)),), others_select=component_revision(V2)),
            {"hold Switch": 1, "redirect": 1, "fail": 1, "tick": 2, "lag": 1, "steps of B": 4},
            behind=(Resource.SERVICES,),
        ),
        Scope(
            "recreated",
            "others delete Services and Deployments, which come again under their names",
            switching,
            Play(prompt=True, edits=(REVERT, spec(V2)), orders=(Action.RETRY,)),
            {"hold Switch": 1, "hold Retire": 1, "recreate": 1, "remove": 1, "tick": 3},
        ),
        Scope(
            "bad candidate",
            "a candidate that never becomes well, and the one after it",
            switching,
            Play(prompt=True, edits=(spec(V3), REVERT), orders=(Action.RETRY, Action.ROLLBACK), bad=frozenset({V3})),
            {"hold Switch": 1, "tick": 4, "restart": 1, "bump": 1},
        ),
        Scope(
            "late Job",
            "a hook's Job is created and started late, by one of two operators, and its attempt ends in between",
            migrating,
            Play(
                edits=(spec(V3), hooked(V2)),
                orders=(Action.ABORT, Action.RETRY),
                prompt=True,
                lags=(Resource.JOBS, Resource.RELEASES),
            ),
            {
                "hold CreateJob": 1,
                "hold StartJob": 1,
                "hook": 1,
                "lose": 1,
                "restart": 1,
                "lag": 1,
                "tick": 3,
                "steps of B": 6,
            },
            behind=(Resource.JOBS,),
        ),
        Scope(
            "no way back at all",
            "edits, orders and pods that fail after an irreversible hook, whose status is taken away",
            migrated,
            Play(fails=(DOWN, SICK), edits=(spec(V3), REVERT), orders=(Action.ROLLBACK,), prompt=True),
            {"fail": 2, "forget": 1, "tick": 4, "hold Switch": 1, "restart": 1, "lag": 1},
        ),
        Scope(
            "first release",
            "nothing is live yet: half a switch is undone to nothing",
            first_release,
            Play(prompt=True, edits=(spec(V2), REVERT), orders=(Action.ABORT,)),
            {"hold Switch": 1, "fail": 1, "tick": 2, "restart": 1, "bump": 1},
        ),
    )
}
