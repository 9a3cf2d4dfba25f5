"""What the API server refuses when it is to be done: told, tried again, and in nobody's way (ADR 20)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import decide as policy
from tradingrelease.policy import model, refusals
from tradingrelease.policy.conditions import compute, phase
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Annotate, Claim, CreateDeployment, Mark, Rest, Restore, Switch
from tradingrelease.policy.reasons import Action, Cause, Condition, Phase
from tradingrelease.policy.transitions import told_by_conditions

from tests.builders import NOW, a_deployment, a_release, a_spec, a_stack
from tests.simulator import Simulator

BLUE = a_deployment()
PAIR = ("backend", "frontend")
SWITCHES = "no changes on Fridays"


def refusing(world, *, times=1, said="no", at=NOW):
    """Return a world whose next step was refused so often, just now."""
    decision, known = decide(world, at), world.refused
    for _ in range(times):
        known = refusals.refused_again(known, decision, said, at)
    return replace(world, refused=known)


def edited():
    """Return a world in which somebody edited the template of what is live."""
    world = a_release().live().world()
    template = {**BLUE.template, "spec": {"containers": [{"name": "backend", "image": "backend:9"}]}}
    return replace(world, deployments={n: replace(d, template=template) for n, d in world.deployments.items()})


def stand(world, decision):
    """Return reasons of Ready and of Stalled where they are bad, and the phase."""
    found = compute(replace(world, memory=decision.memory or world.memory), decision)
    ready, stalled = found[Condition.READY], found[Condition.STALLED]
    return (
        ready.reason if ready.status == "False" else "",
        stalled.reason if stalled.status == "True" else "",
        phase(world, decision, found),
    )


# --- one refusal ------------------------------------------------------------------------------------------------------


def test_a_refused_switch_waits_and_says_in_whose_words():
    world = a_release().live().candidate(verified=True).world()
    wanted = decide(world, NOW)
    assert isinstance(wanted.step, Switch)
    told = decide(refusing(world, said=SWITCHES), NOW)
    assert (told.step, told.rule, told.reason, told.stalled) == (Rest(), wanted.rule, "SwitchRefused", True)
    assert told.because.startswith(f"the API server refuses what comes next ({SWITCHES})")
    assert told.because.endswith(wanted.because)
    assert told.look_again == timedelta(seconds=0.2)


@pytest.mark.parametrize(("times", "seconds"), [(1, 0.2), (2, 0.5), (5, 4), (50, 4)])
def test_it_is_tried_again_ever_later_but_within_4_s(times, seconds):
    world = refusing(a_release().live().candidate(verified=True).world(), times=times)
    assert decide(world, NOW).look_again == timedelta(seconds=seconds)
    assert isinstance(decide(world, NOW + timedelta(seconds=seconds)).step, Switch)


def test_there_is_one_event_whatever_the_words_and_another_one_for_another_step():
    switch = decide(a_release().live().candidate(verified=True).world(), NOW)
    first, second = (
        refusals.note(refusals.refused_again({}, switch, said, NOW), switch) for said in ("no", "still no")
    )
    assert (first.reason, first.warning, first.about) == ("SwitchRefused", True, second.about)
    other = decide(edited(), NOW)
    note = refusals.note(refusals.refused_again({}, other, "no", NOW), other)
    assert (note.reason, note.about != first.about) == ("WriteRefused", True)


def half(cause):
    """Return a simulated pair between the two patches of a switch, or of a rollback, of which the second is refused."""
    sim = Simulator(*PAIR)
    sim.apply(a_spec("1.0.0", PAIR))
    sim.run(minutes=30)
    sim.apply(a_spec("2.0.0", PAIR))
    last = "backend" if cause is Cause.ROLLBACK else "frontend"
    if cause is Cause.ROLLBACK:
        sim.run(minutes=30)
        sim.order(Action.ROLLBACK, a_stack("2.0.0", PAIR).revision)
    sim.refuses = lambda step: SWITCHES if isinstance(step, Switch) and step.service == last else ""
    sim.run(seconds=30)
    return sim


@pytest.mark.parametrize("cause", [Cause.PROMOTE, Cause.ROLLBACK])
def test_half_a_switch_that_is_refused_is_stalled_and_completed_within_4_s(cause):
    sim = half(cause)
    assert (sim.phase, sim.condition(Condition.STALLED)) == (Phase.STALLED, ("True", "SwitchRefused"))
    assert sim.condition(Condition.READY) == ("False", "SwitchRefused")
    sim.refuses = lambda _: ""
    sim.run(seconds=4)
    assert len({s.record.act for s in sim.services.values() if not s.preview_of}) == 1, sim.transcript
    assert sim.condition(Condition.STALLED)[1] != "SwitchRefused"


def test_half_a_switch_that_is_refused_is_undone_at_once_when_that_is_ordered():
    sim = half(Cause.PROMOTE)
    sim.run(seconds=3)
    sim.order(Action.ABORT, a_stack("2.0.0", PAIR).revision)
    sim.run(seconds=0.1)
    assert {s.record.cause for s in sim.services.values() if not s.preview_of} == {Cause.UNDO, Cause.PROMOTE}
    assert (sim.live, sim.memory.latched[0].stack.version) == ("1.0.0", "2.0.0")


def test_the_very_first_switch_that_is_refused_is_stalled():
    world = refusing(a_release().candidate(verified=True).world())
    assert stand(world, decide(world, NOW)) == ("SwitchRefused", "SwitchRefused", Phase.STALLED)


def test_what_is_live_and_proven_is_not_ready_while_it_is_refused_what_it_needs():
    world = refusing(edited())
    assert stand(world, decide(world, NOW)) == ("WriteRefused", "WriteRefused", Phase.STALLED)


def test_a_refusal_that_nobody_asks_for_any_more_is_over():
    """The edit is gone; the API server was not asked again since."""
    world = replace(a_release().live().world(), refused=refusing(edited()).refused)
    assert stand(world, decide(world, NOW)) == ("", "", Phase.READY)


# --- nobody else waits ------------------------------------------------------------------------------------------------


def test_a_rollback_does_not_wait_for_a_refused_deployment():
    """What is live was deleted, and a quota is in the way of making it anew: blue takes over."""
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=30)
    sim.apply(a_spec("2.0.0"))
    sim.run(minutes=30)
    sim.refuses = lambda step: "exceeded quota" if isinstance(step, CreateDeployment) else ""
    sim.delete_deployment(next(d.name for d in sim.deployments.values() if d.created_version == "2.0.0"))
    sim.run(minutes=1)
    assert sim.live == "1.0.0", sim.transcript


def test_what_is_urgent_goes_on_beside_what_is_refused():
    world = refusing(edited())
    ordered = replace(a_release().live().ordered(Action.PAUSE).world(), deployments=world.deployments)
    decision = decide(replace(ordered, refused=world.refused), NOW)
    assert [a.reason for a in decision.memory.answers] == ["Paused"]


def test_what_is_refused_is_told_beside_what_is_remembered():
    world = refusing(a_release().live().candidate(verified=True).world())
    ordered = a_release().live().candidate(verified=True).ordered(Action.PAUSE).world()
    decision = decide(replace(ordered, refused=world.refused), NOW)
    assert decision.memory.paused
    assert decision.halted[0] == "SwitchRefused"


def test_each_of_two_refused_steps_is_told_while_it_is_asked_for():
    other = {("traffic_has_a_home", "no such step"): next(iter(refusing(edited()).refused.values()))}
    world = refusing(edited())
    assert decide(replace(world, refused={**other, **world.refused}), NOW).halted[0] == "WriteRefused"
    assert decide(replace(world, refused=other), NOW).halted is None


@pytest.mark.parametrize("seconds", [0.2, 60])
def test_a_refusal_whose_time_is_over_asks_for_no_look_of_its_own(seconds):
    world = a_release().live().world()
    past = replace(world, refused=refusing(edited()).refused)
    at = NOW + timedelta(seconds=seconds)
    assert decide(past, at).look_again == decide(world, at).look_again
    assert decide(past, NOW).look_again == timedelta(seconds=0.2)


def test_nothing_is_done_while_the_mark_of_a_live_service_is_refused():
    """All rules read records and endpoints by that mark."""
    world = a_release().live().candidate(verified=True).world()
    bare = {name: replace(s, labels={}) for name, s in world.services.items()}
    world = replace(world, services=bare)
    assert isinstance(decide(world, NOW).step, Mark)
    told = decide(refusing(world), NOW)
    assert (told.step, told.reason) == (Rest(), "WriteRefused")


def test_what_is_remembered_meanwhile_does_not_end_a_refusal():
    """Else each order would be told as a recovery, and the next look as a new outage."""
    told = []

    class Told(Simulator):
        def report(self, world, decision):
            after = replace(world, memory=decision.memory if decision.memory is not None else world.memory)
            told.extend(note.reason for note in told_by_conditions(after, compute(after, decision), self.now))
            super().report(world, decision)

    sim = Told("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=30)
    told.clear()
    sim.refuses = lambda step: SWITCHES if isinstance(step, Switch) else ""
    sim.apply(a_spec("2.0.0"))
    for _ in range(3):
        sim.run(minutes=1)
        sim.order(Action.ROLLBACK, "nonsense")
    sim.run(minutes=1)
    assert told == ["SwitchRefused"]
    sim.refuses = lambda _: ""
    sim.run(minutes=1)
    assert (told, sim.live) == (["SwitchRefused", "Recovered"], "2.0.0")


def test_an_abort_ends_the_refusal_of_its_switch():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=30)
    sim.refuses = lambda step: SWITCHES if isinstance(step, Switch) else ""
    sim.apply(a_spec("2.0.0"))
    sim.run(minutes=1)
    sim.order(Action.ABORT, a_stack("2.0.0").revision)
    sim.run(seconds=0.1)
    assert (sim.phase, sim.condition(Condition.STALLED)) == (Phase.FAILED, ("True", "Aborted"))


def test_a_refused_step_is_not_tried_in_a_loop():
    sim = Simulator("backend")
    sim.refuses = lambda step: SWITCHES if isinstance(step, Switch) else ""
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=5)
    assert 60 < sim.transcript.count("refused  ") < 90, "every 4 s"


# --- housework --------------------------------------------------------------------------------------------------------


def test_housework_is_known_by_the_names_of_its_rules():
    chores = {rule.__name__ for rule in policy.CHORES}
    assert chores <= refusals.HOUSEWORK
    assert refusals.HOUSEWORK - chores <= {rule.__name__ for rule in policy.URGENT}


def test_rules_say_their_own_names():
    """What is refused is known by the rule that its decision names."""
    rules = policy.URGENT + policy.PROGRESS + policy.CANDIDATE + policy.CHORES
    said = set()

    class Told(Simulator):
        def attempt(self, step):
            world = self.world()
            said.update((rule.__name__, d.rule) for rule in rules if (d := rule(world, self.now)))
            return super().attempt(step)

    sim = Told(*PAIR)
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        sim.apply(a_spec(version, PAIR))
        sim.run(hours=1)
    sim.order(Action.ROLLBACK, a_stack("3.0.0", PAIR).revision)
    sim.run(hours=1)
    assert len(said) > 8
    assert not {pair for pair in said if pair[0] != pair[1]}


@pytest.mark.parametrize("refused", [Annotate, Claim, model.Retire, model.DeletePreview])
def test_refused_housework_holds_up_no_release_and_stalls_nobody(refused):
    sim = Simulator("backend")
    sim.refuses = lambda step: "no" if isinstance(step, refused) else ""
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        sim.apply(a_spec(version))
        sim.run(hours=1)
        assert (sim.live, sim.condition(Condition.READY)[0], sim.condition(Condition.STALLED)[0]) == (
            version,
            "True",
            "False",
        )
    assert "refused" in sim.transcript
    sim.refuses = lambda _: ""
    sim.run(seconds=11)
    before = sim.transcript.count("\n")
    sim.run(minutes=10)
    assert sim.transcript.count("\n") - before < 10, "what was refused is done by then"


def test_a_refused_chore_is_skipped_until_it_is_tried_again():
    world = a_release().live().world()
    going = replace(
        world, deployments={n: replace(d, owner_uids=frozenset({world.uid})) for n, d in world.deployments.items()}
    )
    put_aside = refusing(going)
    assert decide(put_aside, NOW).rule == "settled"
    assert decide(put_aside, NOW).look_again == timedelta(seconds=10)
    assert decide(put_aside, NOW + timedelta(seconds=10)).rule == "ours_is_owned_as_asked"


def test_a_template_that_is_restored_is_no_housework():
    assert isinstance(decide(edited(), NOW).step, Restore)
    assert decide(edited(), NOW).rule not in refusals.HOUSEWORK
