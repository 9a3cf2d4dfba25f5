"""Whatever authors, people, pods and accidents do: no write breaks an invariant, and in the end the spec is live.

The invariants themselves are held by `tests.simulator.Watchdog`, on every write of every history.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from tradingrelease.policy import acts, names, pods
from tradingrelease.policy.reasons import Action, Condition

from tests.builders import a_component, a_health, a_spec, a_template
from tests.simulator import Behaviour, Simulator

VERSIONS = ("1.0.0", "2.0.0", "3.0.0", "4.0.0")
COMPONENTS = ("backend", "frontend")
GOOD = Behaviour()
BAD = (
    Behaviour(healthy=False),
    Behaviour(crashes_every=5),
    Behaviour(waiting="ImagePullBackOff"),
    Behaviour(waiting="InvalidImageName"),
    Behaviour(reachable=False),
    Behaviour(ready_after=90),
)

pick = st.integers(0, 7)
versions = st.sampled_from(VERSIONS)
histories = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), versions, st.sampled_from(["plain", "scaled", "watched", "mixed", "zero", "kept"])),
        st.tuples(st.just("typo")),
        st.tuples(st.just("order"), st.sampled_from(list(Action)), pick),
        st.tuples(st.just("behave"), versions, st.sampled_from((GOOD, GOOD, *BAD))),
        st.tuples(st.just("crash"), pick),
        st.tuples(st.just("evict"), pick),
        st.tuples(st.just("redirect"), st.sampled_from(COMPONENTS), versions),
        st.tuples(st.just("unkey"), st.sampled_from(COMPONENTS)),
        st.tuples(st.just("recreate"), st.sampled_from(COMPONENTS)),
        st.tuples(st.just("delete"), pick),
        st.tuples(st.just("edit"), pick),
        st.tuples(st.just("kill"), st.integers(1, 12)),
        st.tuples(st.just("wait"), st.sampled_from([1, 4, 9, 30, 200, 1500])),
    ),
    max_size=14,
)


def wanted(version, kind):
    """Return a spec of some kind; `mixed` shares the frontend of 1.0.0."""

    def quick(name, of=version, **fields):
        return a_component(name, of, progressDeadline="2m", health=a_health(interval="10s"), **fields)

    fields = {"watch": {"for": "1m"}, "retain": {"for": "20m"}, "keepFailedFor": "1m"}
    if kind == "watched":
        fields["watch"] = {"for": "2m", "deadAfter": "5s"}
    if kind == "kept":
        fields["retain"] = {"for": "1h", "revisions": 2}
    replicas = {"zero": {"replicas": 0}, "scaled": {"replicas": 3}, "sized": {"replicas": 1}}.get(kind, {})
    return a_spec(
        version, (quick("backend"), quick("frontend", "1.0.0" if kind == "mixed" else version, **replicas)), **fields
    )


def chosen(things, number):
    """Return one of some things, if there is any."""
    listed = sorted(things)
    return listed[number % len(listed)] if listed else None


def revisions(sim):
    """Return the revisions that an order may name."""
    memory = sim.memory
    known = [memory.live and memory.live.stack, memory.candidate and memory.candidate.stack]
    known += [r.stack for r in memory.retained] + [latch.stack for latch in memory.latched]
    return {stack.revision for stack in known if stack}


def happen(sim, event):  # noqa: C901, PLR0912 - one line an event
    """Let one thing happen."""
    match event:
        case ("apply", version, kind):
            sim.apply(wanted(version, kind))
        case ("typo",):
            sim.apply({"version": "oops", "components": []})
        case ("order", action, number):
            sim.order(action, chosen(revisions(sim), number) or "nothing")
        case ("behave", version, behaviour):
            for component in COMPONENTS:
                sim.behaviours[f"{component}:{version}"] = behaviour
        case ("crash", number) if pod := chosen(sim.lives, number):
            sim.crash(pod)
        case ("evict", number) if pod := chosen(sim.lives, number):
            sim.evict(pod)
        case ("redirect", name, version) if service := sim.services.get(name):
            other = names.digest(a_template(name, version))
            if any(d.revision == other for d in sim.deployments.values()):
                sim.alter_service(name, selector=dict(service.selector) | {names.REVISION: other})
        case ("unkey", name) if service := sim.services.get(name):
            sim.alter_service(name, selector=names.own_selector(service.selector))
        case ("recreate", name):
            sim.delete_service(name)
            sim.run(seconds=2)
            sim.create_service(name)
        case ("delete", number) if name := chosen(sim.deployments, number):
            sim.delete_deployment(name)
        case ("edit", number) if name := chosen(sim.deployments, number):
            template = sim.deployments[name].template
            edited = template | {"spec": template["spec"] | {"nodeName": "node-2"}}
            sim.alter_deployment(name, template=edited)
        case ("kill", number):
            writes = iter(range(number))
            sim.dies_when = lambda _: next(writes, None) is None
        case ("wait", seconds):
            sim.run(seconds=seconds)
        case _:
            pass
    sim.run(seconds=1)
    if sim.down:
        sim.restart()


def told(history, *, plainly):
    """Tell a history, from nothing or from plain Deployments that serve already."""
    sim = Simulator(*COMPONENTS)
    if plainly:
        for component in COMPONENTS:
            sim.serve_plainly(component, a_template(component, "0.9.0"))
    sim.apply(wanted("1.0.0", "plain"))
    for event in history:
        happen(sim, event)
    return sim


@settings(max_examples=40)
@given(histories, st.booleans())
def test_no_history_breaks_an_invariant_and_a_good_spec_is_live_in_the_end(history, plainly):
    sim = told(history, plainly=plainly)
    sim.behaviours.clear()
    sim.dies_when = None
    sim.order(Action.RESUME)
    sim.run(minutes=4)
    sim.apply(wanted("9.0.0", "sized"))  # left out, it would be as many as are live: perhaps none
    sim.run(minutes=10)
    assert (sim.live, sim.condition(Condition.READY)) == ("9.0.0", ("True", "Proven")), sim.transcript


@settings(max_examples=15)
@given(histories, st.booleans())
def test_what_has_settled_is_silent(history, plainly):
    sim = told(history, plainly=plainly)
    sim.behaviours.clear()
    sim.dies_when = None
    sim.run(hours=3)
    before = sim.version
    sim.restart()
    sim.run(seconds=30)
    assert before == sim.version, sim.transcript


@settings(max_examples=15)
@given(histories)
def test_a_rollback_of_a_standing_blue_takes_no_time(history):
    sim = told(history, plainly=False)
    memory = sim.memory
    target = next((r for r in memory.retained if not memory.latch_of(r.stack.revision)), None)
    world = sim.world()
    if memory.live is None or target is None or acts.unfinished(world):
        return
    here, full = pods.size(world, target.stack)
    if here < full or pods.not_standing(world, target.stack, skip=memory.live.stack):
        return
    sim.order(Action.ROLLBACK, memory.live.stack.revision)
    sim.run(seconds=0)
    assert target.stack.revision == sim.memory.live.stack.revision, sim.transcript
