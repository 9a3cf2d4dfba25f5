"""What pods did to themselves is counted once, and never by guess."""

from dataclasses import replace
from datetime import timedelta

from tradingrelease.policy.measurements import Kind
from tradingrelease.policy.pod_book import noted, since

from tests.builders import NOW, a_container, a_deployment, a_pod

BEFORE = NOW - timedelta(hours=1)


def crashed(times, minutes, died="Error", **more):
    return a_container(restarts=times, died=died, exit_code=1, died_at=NOW + timedelta(minutes=minutes), **more)


def pod(*containers, **more):
    return a_pod(a_deployment(), containers=containers or (a_container(),), **more)


def told(*pods, moment=BEFORE):
    """Show a pod as it was, one time after the other."""
    book = {}
    for shown in pods:
        book = noted(book, [shown])
    return [i.kind for i in since(book, pods[-1:], moment)]


def test_every_crash_is_counted_once_however_often_it_is_seen():
    once, twice = pod(crashed(1, 1)), pod(crashed(2, 2))
    assert told(pod(), once, once, twice, twice) == [Kind.CRASH, Kind.CRASH]


def test_crashes_that_were_not_seen_one_by_one_are_counted():
    assert len(told(pod(), pod(crashed(3, 1)))) == 3


def test_a_crash_counts_when_it_happens_and_not_again_when_the_container_is_started():
    down = pod(a_container(down=True, died="Error", exit_code=1, died_at=NOW + timedelta(minutes=1)))
    assert told(pod(), down, pod(crashed(1, 1))) == [Kind.CRASH]


def test_an_oom_kill_is_told_apart():
    assert told(pod(), pod(crashed(1, 1, "OOMKilled"))) == [Kind.OOM_KILL]


def test_what_ended_well_or_went_with_its_node_has_not_crashed():
    assert told(pod(), pod(replace(crashed(1, 1), exit_code=0))) == []
    assert told(pod(), pod(crashed(1, 1, "ContainerStatusUnknown"))) == []


def test_what_a_restarted_operator_finds_counts_only_as_far_as_it_is_sure():
    """Of five crashes of an old pod, only the last is known to be after the switch."""
    old = pod(crashed(5, 1))
    assert len(told(old, moment=NOW)) == 1
    assert told(old, moment=NOW + timedelta(minutes=2)) == []
    young = replace(old, created_at=NOW + timedelta(seconds=1))
    assert len(told(young, moment=NOW)) == 5


def test_a_loss_of_readiness_is_counted_once_also_when_its_end_alone_is_seen():
    at = [NOW + timedelta(minutes=m) for m in range(4)]
    well, lost, back = (pod(ready=r, ready_since=at[m]) for r, m in ((True, 0), (False, 1), (True, 2)))
    assert told(well, lost, lost, back) == [Kind.FLAP]
    assert told(well, back, back) == [Kind.FLAP]
    assert told(lost, back) == [], "it becomes ready for the first time"


def test_a_pod_that_goes_is_forgotten():
    book = noted(noted({}, [pod()]), [pod(terminating=True)])
    assert book == {}
