"""Whether live is well after a hook ran beside it: every pod of every component that wants any, by its own health."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import hooks
from tradingrelease.policy.blue import asks_blue
from tradingrelease.policy.decide import decide
from tradingrelease.policy.measurements import Incident, Kind, Page
from tradingrelease.policy.model import HookRun, Streak
from tradingrelease.policy.reasons import Moment, Progress
from tradingrelease.policy.rules.hooks import hooks_come_before_green

from tests.builders import NOW, a_component, a_hook, a_spec, parsed
from tests.unit.policy.test_hooks import begun

RAN = HookRun(
    "migrate", Moment.BEFORE_GREEN, Progress.SUCCEEDED, started_at=NOW - timedelta(seconds=5), finished_at=NOW
)
WELL, BAD, SOON = Streak(passed=2), Streak(failed=2, last="HTTP 500"), Streak(passed=1, failed=1)


def after(*streaks, run=RAN, **changes):
    """Return a world in which a hook ran beside a live of two pods, by what these answered since."""
    world, _ = begun(a_hook(), run=run)
    world = replace(world, **changes)
    where = asks_blue(world.memory)
    return replace(world, streaks={(where, p.uid): s for p, s in zip(world.pods, streaks, strict=False) if s})


def lacks(number, what="has not passed yet"):
    name = f"shop-backend-{begun(a_hook())[0].memory.live.stack.members[0].revision}-{number}"
    return f"component backend, pod {name} {what}"


@pytest.mark.parametrize(
    ("streaks", "unwell", "lacking"),
    [
        ((WELL, WELL), "", ""),
        ((WELL, SOON), "", lacks(1)),
        ((SOON, WELL), "", lacks(0)),
        ((None, WELL), "", lacks(0)),
        ((WELL,), "", lacks(1)),
        ((SOON, BAD), lacks(1, "").rstrip() + ": HTTP 500", ""),
        ((BAD, WELL), lacks(0, "").rstrip() + ": HTTP 500", ""),
    ],
)
def test_live_is_well_when_every_pod_passed_and_unwell_when_one_failed(streaks, unwell, lacking):
    assert hooks.blue(after(*streaks), RAN) == (unwell, lacking)


def test_a_crash_says_enough_and_nothing_is_waited_for():
    world = after(SOON)
    crash = Incident(Kind.CRASH, NOW, "it died")
    pod = world.pods[1]
    found = hooks.blue(replace(world, pod_book={pod.uid: Page({"backend": 0}, incidents=(crash,))}), RAN)
    assert found == ("component backend: it died", "")


def test_before_it_was_asked_nobody_knows_how_live_is():
    world = after(run=replace(RAN, phase=Progress.RUNNING))
    assert hooks.blue(replace(world, deployments={}), RAN) == ("", "it has not been asked yet")


def test_of_a_component_that_wants_no_pods_or_lost_its_deployment_nothing_is_asked():
    world = after()
    empty = {name: replace(d, replicas=0) for name, d in world.deployments.items()}
    assert hooks.blue(replace(world, deployments=empty), RAN) == ("", "")
    assert hooks.blue(replace(world, deployments={}), RAN) == ("", "")


def test_at_the_first_release_nothing_is_asked():
    world, _ = begun(a_hook(), run=RAN, live="")
    assert hooks.blue(world, RAN) == ("", "")


@pytest.mark.parametrize(("ready", "lacking"), [((True, True), ""), ((False, True), 0), ((True, False), 1)])
def test_where_nothing_is_written_of_its_health_its_readiness_is(ready, lacking):
    world = after()
    plain = parsed(a_spec("1.0.0", (a_component("backend", "1.0.0", health=None),)))
    stored = {**world.stored, world.memory.live.stack.revision: plain}
    pods = tuple(replace(p, ready=r) for p, r in zip(world.pods, ready, strict=True))
    said = lacks(lacking, "is not ready") if isinstance(lacking, int) else ""
    assert hooks.blue(replace(world, stored=stored, pods=pods), RAN) == ("", said)


def test_of_two_hooks_before_green_each_has_to_leave_live_well():
    hook, other = a_hook(), a_hook("other")
    world, _ = begun(hook, other, run=replace(RAN, blue_passed_at=NOW))
    assert asks_blue(world.memory) == ""
    second = tuple(replace(RAN, name=r.name, blue_passed_at=r.blue_passed_at) for r in world.memory.candidate.hooks)
    memory = replace(world.memory, candidate=replace(world.memory.candidate, hooks=second))
    assert asks_blue(memory).endswith("/after/other")
    assert not hooks.green_may_begin(memory, hooks.of_candidate(memory.candidate))
    both = tuple(replace(r, blue_passed_at=NOW) for r in second)
    memory = replace(memory, candidate=replace(memory.candidate, hooks=both))
    assert hooks.green_may_begin(memory, hooks.of_candidate(memory.candidate))


@pytest.mark.parametrize(
    ("run", "live", "begins"),
    [
        (RAN, "1.0.0", False),
        (replace(RAN, blue_passed_at=NOW), "1.0.0", True),
        (replace(RAN, phase=Progress.RUNNING), "1.0.0", False),
        (replace(RAN, phase=Progress.RUNNING), "", False),
        (RAN, "", True),
    ],
)
def test_green_begins_after_its_hooks_and_when_live_was_found_well(run, live, begins):
    memory = begun(a_hook(), run=run, live=live)[0].memory
    assert hooks.green_may_begin(memory, hooks.of_candidate(memory.candidate)) is begins


def waited(seconds, asked=0.0, *streaks):
    """Return what is decided so many seconds after the hook ended, live being asked since `asked`."""
    world = after(*streaks)
    signal = f"asking-blue:{asks_blue(world.memory)}"
    world = replace(world, since={signal: NOW + timedelta(seconds=asked)})
    return hooks_come_before_green(world, NOW + timedelta(seconds=seconds))


def test_live_has_a_minute_to_be_found_well_from_when_it_could_be_asked():
    decision = waited(20)
    assert (decision.rule, decision.reason, decision.memory) == ("hooks_come_before_green", "AskingBlue", None)
    assert decision.look_again == timedelta(seconds=40.1)
    assert waited(60).look_again == timedelta(seconds=0.1)
    assert waited(60.001).reason == "BlueUnhealthyAfterHook"
    assert waited(60.001, 5).look_again == timedelta(seconds=5.099)
    assert waited(60.001, -30).reason == "BlueUnhealthyAfterHook", "not before the hook had ended"
    assert "not found well within 60 s: component backend, pod " in waited(61).because
    assert waited(1, 0, BAD).reason == "BlueUnhealthyAfterHook"
    assert "HTTP 500" in waited(61, 0, BAD).because, "what is wrong says more than how long it took"
    assert waited(1, 0, WELL, WELL) is None, "and the next step is not kept waiting"


def test_at_the_first_release_nobody_has_to_be_found_well_in_time():
    world, _ = begun(a_hook(), run=RAN, live="")
    assert hooks_come_before_green(world, NOW + timedelta(hours=1)) is None


@pytest.mark.parametrize(
    ("run", "live"),
    [
        (replace(RAN, phase=Progress.FAILED), "1.0.0"),
        (HookRun("migrate", Moment.BEFORE_GREEN), ""),
        (replace(RAN, phase=Progress.RUNNING, job="j"), ""),
    ],
    ids=["it ends the attempt", "pending", "running"],
)
def test_of_what_is_not_due_it_is_never_said_that_live_was_well_after_it(run, live):
    world = after(WELL, WELL, run=run) if live else begun(a_hook(), run=run, live="")[0]
    memory, _ = hooks.absorb(world, world.memory, NOW)
    assert memory.candidate.hooks[0].blue_passed_at is None


def test_live_is_asked_also_after_a_hook_that_could_not_even_begin():
    run = replace(RAN, phase=Progress.FAILED, started_at=None)
    assert hooks.blue(after(WELL, WELL, run=run), run) == ("", "")


def test_that_live_was_found_well_is_remembered_once():
    memory = decide(after(WELL, WELL), NOW).memory
    assert memory.candidate.hooks[0].blue_passed_at == NOW
    assert asks_blue(memory) == ""
