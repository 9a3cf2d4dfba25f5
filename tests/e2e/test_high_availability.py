"""Several operators and one Lease: the leader is killed in every phase, under load, and nobody notices."""

import itertools
import time

import pytest

from tests.e2e.builders import component, deployment, release, service, template
from tests.e2e.faults import breakable, spoil
from tests.e2e.process import Operator
from tests.e2e.scenes import first, of_version, part, revision_of, rolled_back, switch_to

NAMES = ("backend", "engine", "frontend")


class Replicas:
    """The arena's operator and two more, as replicas of one Deployment: one works, one stands by, one may be starting."""

    def __init__(self, arena, kubeconfig):
        self._arena, self._kubeconfig = arena, kubeconfig
        self._lease = arena.leased()
        self._numbers = itertools.count(2)
        self.takeovers = []
        arena.operator.stop()
        arena.operator.start(**self._lease)
        self.members = [arena.operator, self._another(), self._another()]
        self.until(lambda: self.members[0].leads, "the first operator leads")

    def _another(self):
        log = self._arena.folder / f"operator-{next(self._numbers)}.log"
        operator = Operator(self._arena.namespace, self._kubeconfig, log, self._arena.recorder.note)
        operator.launch(**self._lease)  # nobody waits for a standby
        self._arena.finally_(lambda: operator.runs and operator.kill())
        return operator

    @property
    def leader(self):
        """Return the one that leads, once one does; two at a time fail the test."""
        leading = []
        self.until(lambda: leading.extend(o for o in self.members if o.leads) or leading, "one leads")
        assert len(leading) == 1, f"{len(leading)} lead"
        return leading[0]

    @property
    def standby(self):
        return next(operator for operator in self.members if operator is not self.leader)

    def end_the_leader(self, end):
        """End the leader, wait until another one leads, and let a new one stand by."""
        leader = self.leader
        self.members.remove(leader)
        self.until(lambda: all(m.ask("/readyz")[0] == 200 for m in self.members), "the others stand by")
        began = time.monotonic()
        end(leader)
        self.until(lambda: any(m.leads for m in self.members), "another one leads")
        self.takeovers.append(time.monotonic() - began)
        self.members.append(self._another())

    def until(self, holds, what):
        """Wait for what an operator says of itself."""
        self._arena.poll(holds, what, 60)


@pytest.fixture
def replicas(arena, operator_kubeconfig):
    return Replicas(arena, operator_kubeconfig)


def parts(version):
    # Long enough on its way that no phase is over before the next leader is there.
    return [component(name, pods=template(name, version, drain=True), minReadySeconds=8) for name in NAMES]


def test_a_leader_killed_in_every_phase_costs_no_request(arena, replicas):
    watch = {"for": "12s", "deadAfter": "3s"}
    arena.apply(*(service(name) for name in NAMES))
    arena.apply(*(deployment(name, template(name, "0", drain=True)) for name in NAMES))
    arena.until(lambda s: all(s.endpoints(name) for name in NAMES), "plain Deployments serve")
    with arena.load(*NAMES, rate=60) as load:
        arena.apply(release("1", *parts("1"), watch=watch))
        for reached, what in (
            (lambda s: s.deployments(), "adoption has begun"),
            (lambda s: s.candidate() == "1" and len(s.deployments()) == 2 * len(NAMES), "version 1 is deployed"),
            (lambda s: s.live() == "1", "version 1 is live, in its watch"),
        ):
            arena.until(reached, what, 90)
            replicas.end_the_leader(Operator.kill)
        arena.until(lambda s: s.ready("1"), "version 1 is live and proven", 90)
        replicas.end_the_leader(Operator.kill)
        one = arena.now.selected("backend")

        arena.apply(release("2", *parts("2"), watch=watch))
        moved = lambda s: s.selected("backend") not in {one, None}  # noqa: E731 - it is said once
        arena.until(moved, "the switch to version 2 has begun", 90)
        replicas.end_the_leader(Operator.kill)
        state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 90)
        arena.order("Rollback", revision_of(state, "2"))
        replicas.end_the_leader(Operator.kill)
        state = arena.until(lambda s: rolled_back(s, "2", "1"), "version 2 is rolled back", 60)
        replicas.end_the_leader(Operator.kill)
        arena.until(lambda s: of_version(s, "2")["spec"]["replicas"] == 0, "green goes to zero", 60)
    records = load.records()
    assert not records.failed(), records.by_outcome()
    causes = [move["cause"] for move in arena.switches()]
    assert causes == [cause for cause in ("Adopt", "Promote", "Promote", "Rollback") for _ in NAMES]
    told = sorted(replicas.takeovers)
    print(f"takeovers after kill -9: {len(told)}, median {told[len(told) // 2]:.1f} s, longest {told[-1]:.1f} s")
    arena.settled(8)


@pytest.mark.parametrize(("cause", "last"), [("Promote", NAMES[-1]), ("Rollback", NAMES[0])])
def test_a_leader_killed_in_half_a_switch_is_followed_by_one_that_completes_it(arena, replicas, cause, last):
    first(arena, "1", *parts("1"), services=NAMES)
    before = {name: arena.now.selected(name) for name in NAMES}
    with arena.load(*NAMES, rate=60) as load:
        if cause == "Rollback":
            state = switch_to(arena, "2", *parts("2"))
            before = {name: state.selected(name) for name in NAMES}
        with arena.denied(last):
            if cause == "Promote":
                arena.apply(release("2", *parts("2"), watch={"for": "5m", "deadAfter": "3s"}))
            else:
                arena.order("Rollback", revision_of(arena.now, "2"))
            split = lambda s: [n for n in NAMES if s.selected(n) == before[n]] == [last]  # noqa: E731 - it is said twice
            arena.until(split, "all but one Service moved", 90)
            replicas.end_the_leader(Operator.kill)
            assert split(arena.now), "still so when the next one leads"
        to = "2" if cause == "Promote" else "1"
        arena.until(lambda s: s.live() == to and s.selected(last) != before[last], f"version {to} is live", 60)
    records = load.records()
    assert not records.failed(), records.by_outcome()
    acts = ["Promote", "Promote", "Rollback"] if cause == "Rollback" else ["Promote", "Promote"]
    assert [move["cause"] for move in arena.switches()] == [act for act in acts for _ in NAMES]


MOMENTS = {
    "deployed": lambda s: s.candidate() == "2" and len(s.deployments()) == 2,
    "in its watch": lambda s: s.live() == "2" and s.is_true("Promoted"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_two_that_both_work_do_no_harm(arena, operator_kubeconfig, moment):
    """Without a Lease nothing but preconditions keeps them apart. One stands still for a while, and goes on with old reads."""
    other = Operator(arena.namespace, operator_kubeconfig, arena.folder / "other.log", lambda _: None)
    arena.finally_(lambda: other.runs and other.kill())
    other.start()
    watch = {"for": "8s", "deadAfter": "3s"}
    first(arena, "1", part("1", template(version="1", drain=True), replicas=2))
    with arena.load("backend", rate=60) as load:
        arena.apply(release("2", part("2", template(version="2", drain=True), replicas=2), watch=watch))
        arena.until(MOMENTS[moment], f"version 2 is {moment}", 90)
        with arena.operator.frozen():
            arena.until(lambda s: s.ready("2"), "the other one finishes it", 90)
            arena.apply(release("3", part("3", template(version="3", drain=True), replicas=2), watch=watch))
            arena.until(lambda s: s.candidate() == "3", "version 3 has begun", 60)
        state = arena.until(lambda s: s.ready("3"), "both finish version 3", 90)
        arena.order("Rollback", revision_of(state, "3"))
        arena.until(lambda s: rolled_back(s, "3", "2"), "and both roll it back", 60)
    records = load.records()
    assert not records.failed(), records.by_outcome()
    assert [move["cause"] for move in arena.switches()] == ["Promote"] * 3 + ["Rollback"]
    assert all(operator.writes() for operator in (arena.operator, other)), "both have worked"
    refused = [refusals(operator) for operator in (arena.operator, other)]
    assert sum(refused), "the API server has kept them apart"


def refusals(operator):
    """Return how many changes of an operator met a precondition that did not hold."""
    calls = operator.samples("tradingrelease_api_calls_total")
    return int(sum(number for labels, number in calls if (labels["verb"], labels["code"]) == ("PATCH", "409")))


def test_a_leader_killed_while_live_turns_bad_is_followed_by_one_that_rolls_back(arena, replicas):
    arena.go_live("1")
    arena.apply(release("2", component(pods=breakable(version="2")), watch={"for": "5m", "deadAfter": "3s"}))
    state = arena.until(lambda s: s.live() == "2" and s.is_true("Promoted"), "version 2 is live, in its watch", 90)
    spoil(state.pods(state.selected("backend")))
    replicas.end_the_leader(Operator.kill)
    arena.until(lambda s: rolled_back(s, "2", "1"), "version 2 is rolled back", 60)


def test_a_leader_that_ends_in_good_order_gives_the_lease_back(arena, replicas):
    arena.go_live("1")
    for _ in range(3):
        replicas.end_the_leader(Operator.stop)
        assert "before: nobody" in replicas.leader.tail(500), "it was given back, and did not have to run out"
    arena.settled(8)


def test_a_leader_that_was_paused_and_goes_on_does_no_harm(arena, replicas):
    """SIGSTOP in the middle of a release; the other one takes over and finishes; SIGCONT: two believe to lead."""
    arena.apply(service())
    arena.go_live("1")
    arena.apply(release("2", component(pods=template(version="2")), watch={"for": "4s", "deadAfter": "3s"}))
    arena.until(lambda s: s.candidate() == "2" and len(s.deployments()) == 2, "version 2 is deployed", 60)
    paused = replicas.leader
    others = [member for member in replicas.members if member is not paused]
    with paused.frozen():
        replicas.until(lambda: any(other.leads for other in others), "another one leads")
        arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 90)
        arena.apply(release("3", component(pods=template(version="3")), watch={"for": "4s", "deadAfter": "3s"}))
        arena.until(lambda s: s.candidate() == "3", "version 3 is the candidate")
    replicas.until(lambda: not paused.leads, "its time is over, and it knows")
    arena.until(lambda s: s.ready("3"), "version 3 is live and proven", 90)
    assert [m["cause"] for m in arena.switches()] == ["Promote"] * 3
    arena.settled(8)


def test_a_standby_writes_nothing(arena, replicas):
    arena.go_live("1")
    standby = replicas.standby
    replicas.until(lambda: standby.ask("/readyz")[0] == 200, "it stands by")
    lines = [line for line in standby.metrics().splitlines() if line.startswith("tradingrelease_api_calls_total")]
    assert {line.split('verb="')[1].split('"')[0] for line in lines} == {"GET"}
