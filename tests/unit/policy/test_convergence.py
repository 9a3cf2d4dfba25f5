"""Two histories that end in the same spec end in the same cluster: nothing of the way there is left behind.

What may differ is the past itself: history, answered orders, uids, versions and times.
"""

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tradingrelease.policy import names
from tradingrelease.policy.reasons import Action, Condition

from tests.unit.policy.test_properties import COMPONENTS, VERSIONS, histories, told, wanted

OF_THE_PAST = {"lastTransitionTime", "observedGeneration", "message"}


def ended(history, version, *, plainly):
    """Tell a history that ends well: all faults over, one spec asked for, and nothing left to wait for."""
    sim = told(history, plainly=plainly)
    sim.behaviours.clear()
    sim.dies_when = None
    for name in COMPONENTS:
        if name not in sim.services:
            sim.create_service(name)
    sim.order(Action.RESUME)
    sim.run(minutes=4)
    raw = wanted(version, "plain")
    spec = sim.apply(
        raw | {"components": [c | {"replicas": 2} for c in raw["components"]]}
    )  # left out: as many as are live
    sim.run(seconds=1)
    if sim.memory.latch_of(spec.revision):  # it failed before, on the way
        sim.order(Action.RETRY, spec.revision)
    sim.run(hours=3)
    return sim


def outcome(sim):
    """Return what stands and what is said of it, without uids, versions and times."""
    memory, live = sim.memory, sim.memory.live
    services = {
        s.name: (
            dict(s.selector),
            s.ports,
            s.type,
            sorted(s.labels.items()),
            sorted(set(s.annotations) - {names.FENCE}),
        )
        for s in sim.services.values()
    }
    deployments = {
        d.name: (
            d.replicas,
            d.template,
            d.served,
            live.stack.revision in d.proven,
            sorted(d.claims),
            d.min_ready_seconds,
            d.component,
        )
        for d in sim.deployments.values()
    }
    status = {key: sim.status.get(key) for key in ("phase", "candidate", "retained")}
    said = [{k: v for k, v in c.items() if k not in OF_THE_PAST} for c in sim.status["conditions"]]
    past = {e.revision for e in memory.history} | {latch.stack.revision for latch in memory.latched}
    stored = set(sim.stored) - (past - {live.stack.revision})
    pods = sorted(life.image for life in sim.lives.values())
    return {"services": services, "deployments": deployments, "stored": stored, "pods": pods,
            "live": live.stack, "status": status, "conditions": said}  # fmt: skip


@settings(max_examples=40, derandomize=True)
@given(histories, histories, st.sampled_from(VERSIONS), st.booleans())
def test_two_histories_that_end_in_the_same_spec_end_in_the_same_cluster(one, other, version, plainly):
    first, second = (ended(history, version, plainly=plainly) for history in (one, other))
    # A first release that crashed in its watch waits for a person: a terminal reason, which no other way shares.
    assume(all(sim.condition(Condition.STALLED)[1] != "NothingToRollBackTo" for sim in (first, second)))
    assert outcome(first) == outcome(second), first.transcript + "\n--- or\n" + second.transcript
