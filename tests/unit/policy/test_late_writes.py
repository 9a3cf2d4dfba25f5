"""A write of a switch that arrives after its revision was given up: traffic is brought back, and nothing stays stuck."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import names
from tradingrelease.policy.model import CreateDeployment, Record, Switch
from tradingrelease.policy.reasons import Action, Cause, Condition

from tests.builders import a_spec, a_stack, a_template
from tests.simulator import SOON, Behaviour, Simulator

PAIR = ("backend", "frontend")
V1, V3 = a_spec("1.0.0", PAIR), a_spec("3.0.0", PAIR)


class SlowNetwork(Simulator):
    """Keeps back the first write of the switch to 2.0.0; the operator dies before it hears of it."""

    late = None

    def attempt(self, step):
        if self.late is None and isinstance(step, Switch) and self.spec.version == "2.0.0":
            self.late = step
            self.stop()
            return SOON
        return super().attempt(step)


def held_back(components=PAIR):
    """Return the moment after 2.0.0 was to get traffic, and the write of its switch that is yet to arrive."""
    sim = SlowNetwork(*components)
    sim.apply(a_spec("1.0.0", components))
    sim.run(minutes=30)
    sim.apply(a_spec("2.0.0", components))
    sim.run_until(lambda sim: sim.down, minutes=2)
    return sim, sim.late


def selected(sim):
    """Return the version that each Service selects."""
    by_revision = {d.revision: d.created_version for d in sim.deployments.values()}
    return {name: by_revision.get(s.selected, s.selected) for name, s in sim.services.items() if not s.preview_of}


BOTH_LIVE = {"backend": "1.0.0", "frontend": "1.0.0"}


def given_up_by_spec(sim):
    sim.apply(V1)


def given_up_by_order(sim, components=PAIR):
    sim.order(Action.ABORT, a_stack("2.0.0", components).revision)


@pytest.mark.parametrize("give_up", [given_up_by_spec, given_up_by_order])
def test_a_switch_that_arrives_after_its_revision_was_given_up_is_put_back(give_up):
    sim, late = held_back()
    give_up(sim)
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(late)
    assert selected(sim) == {"backend": "2.0.0", "frontend": "1.0.0"}, "the late write must arrive"
    untouched = sim.services["frontend"].version
    sim.run(seconds=2)
    assert selected(sim) == BOTH_LIVE, sim.transcript
    assert untouched == sim.services["frontend"].version, "nothing more may be moved to what was given up"
    assert "ActGivenUp" in [note.reason for note in sim.notes]
    assert sim.condition(Condition.PROMOTED)[0] == ("True" if give_up is given_up_by_spec else "False")


def test_after_it_the_next_candidate_is_released_as_usual():
    sim, late = held_back()
    sim.apply(V3)
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(late)
    sim.run(minutes=30)
    assert (sim.live, selected(sim)) == ("3.0.0", {"backend": "3.0.0", "frontend": "3.0.0"}), sim.transcript


def test_a_late_switch_to_an_aborted_revision_makes_nothing_else_live():
    """With one Service it is complete when it arrives; the candidate of now is another one, and not verified."""
    sim, late = held_back(PAIR[:1])
    given_up_by_order(sim, PAIR[:1])
    sim.behaviours["backend:3.0.0"] = Behaviour(healthy=False)
    sim.apply(a_spec("3.0.0", PAIR[:1]))
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(late)
    assert selected(sim) == {"backend": "2.0.0"}, "the late write must arrive"
    sim.run(seconds=2)
    assert (sim.live, selected(sim)) == ("1.0.0", {"backend": "1.0.0"}), sim.transcript
    assert sim.memory.candidate.stack.version == "3.0.0", "it is still to be verified"


def test_watch_and_retention_count_from_when_the_switch_is_seen_and_not_from_when_it_was_sent():
    sim, late = held_back()
    sim.run(hours=2)
    sim.attempt(late)
    arrived = sim.now
    sim.run(hours=1)
    sim.restart()
    sim.run(seconds=1)
    live, blue = sim.memory.live, sim.memory.retained[0]
    assert (sim.live, blue.stack.version) == ("2.0.0", "1.0.0")
    assert blue.until >= arrived + timedelta(hours=24), "blue is promised for a day after the switch"
    assert live.watch_since >= sim.now - timedelta(seconds=1), "nobody watched before"


def test_a_crash_counts_that_came_before_anybody_saw_the_switch():
    sim, late = held_back()
    sim.attempt(late)
    sim.run(seconds=2)
    green = next(life.uid for life in sim.lives.values() if life.image == "backend:2.0.0")
    sim.crash(green)
    sim.run(seconds=20)
    sim.restart()
    sim.run(seconds=5)
    assert (sim.live, sim.memory.latched[0].reason) == ("1.0.0", "Crashed"), sim.transcript


# --- at the first release nothing is live to go back to ---------------------------------------------------------------


class ArrivesBeforeTheFence(SlowNetwork):
    """Lets the late write arrive when the next candidate is about to be deployed: nothing is taken away before that."""

    def attempt(self, step):
        if self.late and isinstance(step, CreateDeployment):
            late, self.late = self.late, False
            assert super().attempt(late) is None
        return super().attempt(step)


def held_back_first(components=PAIR, network=SlowNetwork):
    """Return the moment after the very first release was to get traffic, and the write that is yet to arrive."""
    sim = network(*components)
    sim.apply(a_spec("2.0.0", components))
    sim.run_until(lambda sim: sim.down, minutes=2)
    return sim, sim.late


@pytest.mark.parametrize("components", [PAIR, PAIR[:1]], ids=["half of it arrives", "it arrives as a whole"])
def test_a_first_release_that_was_aborted_stays_aborted_when_its_switch_arrives(components):
    sim, late = held_back_first(components)
    given_up_by_order(sim, components)
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(late)
    assert selected(sim)["backend"] == "2.0.0", "the late write must arrive"
    sim.run(minutes=30)
    assert (sim.live, set(selected(sim).values())) == ("", {"none"}), sim.transcript
    assert [latch.stack.version for latch in sim.memory.latched] == ["2.0.0"]
    reasons = [note.reason for note in sim.notes]
    assert ("ActGivenUp" in reasons, "TakenOver" in reasons) == (True, False)
    assert sim.transcript.count("event             SwitchUndone: Service backend") == 1
    assert not any(d.replicas for d in sim.deployments.values()), "what failed goes to zero, or away"


def test_a_first_release_that_was_superseded_serves_nobody_while_the_next_one_is_verified():
    sim, _ = held_back_first(network=ArrivesBeforeTheFence)
    sim.behaviours["backend:3.0.0"] = Behaviour(healthy=False)
    sim.apply(V3)
    sim.restart()
    sim.run(seconds=2)
    assert "-> none: the switch to" in sim.transcript, "the late write must arrive"
    assert set(selected(sim).values()) == {"none"}, sim.transcript
    sim.run(hours=1)
    assert (sim.live, set(selected(sim).values())) == ("", {"none"}), sim.transcript
    assert [latch.stack.version for latch in sim.memory.latched] == ["3.0.0"]


def test_a_first_release_that_is_retried_after_its_late_switch_is_verified_anew_before_it_serves():
    sim, late = held_back_first()
    given_up_by_order(sim)
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(late)
    sim.run(seconds=2)
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    sim.order(Action.RETRY, a_stack("2.0.0", PAIR).revision)
    sim.run(seconds=20)
    assert (sim.live, set(selected(sim).values())) == ("", {"none"}), "what is not verified serves nobody"
    sim.behaviours["backend:2.0.0"] = Behaviour()
    sim.run(hours=1)
    sim.order(Action.RETRY, a_stack("2.0.0", PAIR).revision)
    sim.run(minutes=30)
    assert (sim.live, set(selected(sim).values())) == ("2.0.0", {"2.0.0"}), sim.transcript


def test_a_late_switch_in_a_pause_is_taken_back_when_the_pause_ends():
    sim, late = held_back_first()
    given_up_by_order(sim)
    sim.restart()
    sim.run(seconds=1)
    sim.order(Action.PAUSE)
    sim.run(seconds=1)
    sim.attempt(late)
    sim.run(minutes=5)
    assert (sim.live, selected(sim)) == ("", {"backend": "2.0.0", "frontend": "none"})
    sim.order(Action.RESUME)
    sim.run(seconds=2)
    assert (sim.live, set(selected(sim).values())) == ("", {"none"}), sim.transcript


def test_who_broke_the_glass_keeps_what_the_late_switch_gave():
    sim, late = held_back_first(PAIR[:1])
    given_up_by_order(sim, PAIR[:1])
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(late)
    service = sim.services["backend"]
    glass = {**service.annotations, names.BREAK_GLASS: "incident 7"}
    sim.services["backend"] = replace(service, annotations=glass, version=service.version + 1)
    sim.run(seconds=30)
    assert (sim.live, selected(sim)) == ("", {"backend": "2.0.0"}), sim.transcript


# --- what others left is not taken back -------------------------------------------------------------------------------


def renamed(version):
    """Return the same component under another name: no Deployment of a former release is its."""
    raw = a_spec(version)
    raw["components"][0]["name"] = "api"
    return raw


def test_what_a_former_release_made_live_goes_on_serving_whatever_becomes_of_the_next_one():
    sim = Simulator("backend")
    sim.apply(a_spec("1.0.0"))
    sim.run(minutes=30)
    serves = sim.services["backend"].selected
    sim.delete_release()
    sim.run(minutes=5)
    sim.behaviours["backend:2.0.0"] = Behaviour(healthy=False)
    sim.apply(renamed("2.0.0"))
    sim.run(hours=1)
    assert sim.services["backend"].selected == serves, sim.transcript
    assert any(d.revision == serves and d.replicas for d in sim.deployments.values())


def test_what_another_release_made_live_is_not_taken_back():
    sim = SlowNetwork(*PAIR)
    theirs = Record(
        act=1, cause=Cause.PROMOTE, to="theirs", origin="", selected="theirs", before="none", at=sim.now,
        because="verified", reason="Switching", release="other",
    )  # fmt: skip
    frontend = sim.services["frontend"]
    sim.services["frontend"] = replace(
        frontend, selector={**frontend.selector, names.REVISION: "theirs"}, record=theirs
    )
    sim.apply(a_spec("2.0.0", PAIR))
    sim.run_until(lambda sim: sim.down, minutes=2)
    late = sim.late
    given_up_by_order(sim)
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(late)
    sim.run(seconds=5)
    assert sim.services["frontend"].selected == "theirs", sim.transcript


def test_a_status_that_cannot_be_read_beside_a_refused_spec_costs_no_traffic():
    sim = Simulator(*PAIR)
    sim.apply(V1)
    sim.run(minutes=30)
    sim.status["live"]["since"] = "?"
    sim.apply({"version": "x", "components": []})
    sim.restart()
    sim.run(minutes=10)
    assert selected(sim) == BOTH_LIVE, sim.transcript


def test_a_late_switch_behind_a_service_that_the_release_has_just_got_is_taken_back():
    order = ("frontend", "backend")
    sim = SlowNetwork(*order)
    sim.apply(a_spec("1.0.0", ("backend",)))
    sim.run(minutes=30)
    spec = sim.apply(a_spec("2.0.0", order))
    sim.run_until(lambda sim: sim.down, minutes=2)
    assert sim.late.service == "frontend"
    sim.order(Action.ABORT, spec.revision)
    sim.restart()
    sim.run(seconds=1)
    sim.attempt(sim.late)
    assert selected(sim)["frontend"] == "2.0.0", "the late write must arrive"
    sim.run(hours=2)
    assert (sim.live, selected(sim)) == ("1.0.0", {"backend": "1.0.0", "frontend": "none"}), sim.transcript


def test_an_aborted_revision_is_not_taken_over_with_what_is_adopted_beside_it():
    class AtOnce(SlowNetwork):
        """Lets the late write arrive together with the adoption."""

        lands = False

        def attempt(self, step):
            wait = super().attempt(step)
            if self.lands and isinstance(step, Switch) and step.record.cause is Cause.ADOPT:
                self.lands = False
                super().attempt(self.late)
            return wait

    sim = AtOnce(*PAIR)
    spec = sim.apply(a_spec("2.0.0", PAIR[:1]))
    sim.run_until(lambda sim: sim.down, minutes=2)
    sim.order(Action.ABORT, spec.revision)
    sim.restart()
    sim.run(seconds=1)
    sim.lands = True
    sim.serve_plainly("frontend", a_template("frontend", "0.9"))
    sim.behaviours["backend:3.0.0"] = Behaviour(healthy=False)
    sim.apply(V3)
    sim.run(minutes=1)
    aborted = [d for d in sim.deployments.values() if d.created_version == "2.0.0"]
    assert not any(d.proven for d in aborted), sim.transcript
    assert sim.services["backend"].selected not in {d.revision for d in aborted}
