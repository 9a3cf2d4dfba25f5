"""How many replicas each Deployment gets. Scaling is not a release (product.md 3 and 4.4)."""

from dataclasses import replace

import pytest
from tradingrelease.policy import sizes
from tradingrelease.policy.reasons import Role

from tests.builders import a_component, a_deployment, a_release, a_spec, parsed

BLUE, GREEN = a_deployment(), a_deployment(version="2.0.0")


def asked(world, replicas):
    """Let the newest accepted spec want so many."""
    settings = replace(world.memory.settings, replicas={"backend": replicas} if replicas is not None else {})
    return replace(world, memory=replace(world.memory, settings=settings))


def of_live(world, replicas):
    live = world.memory.live.stack.members[0]
    held = {
        n: replace(d, replicas=replicas) if d.revision == live.revision else d for n, d in world.deployments.items()
    }
    return replace(world, deployments=held)


def test_a_component_has_no_live_size_before_it_is_live():
    assert sizes.live_size(a_release().world(), "backend") is None
    assert sizes.live_size(a_release().live().world(), "frontend") is None
    assert sizes.live_size(a_release().live().having(deployments={}).world(), "backend") is None


@pytest.mark.parametrize(("written", "live", "wanted"), [(None, None, 1), (None, 4, 4), (3, None, 3), (3, 4, 4), (5, 4, 5), (0, 4, 0)])  # fmt: skip
def test_a_new_deployment_is_as_large_as_written_and_never_below_live(written, live, wanted):
    release = a_release().live() if live else a_release()
    world = of_live(release.world(), live) if live else release.world()
    spec = parsed(a_spec("2.0.0", (a_component(replicas=written),)))
    assert sizes.wanted_replicas(world, spec, "backend") == wanted
    member = a_release().candidate().memory.candidate.stack.members[0]
    assert sizes.candidate_size(asked(world, written), member) == wanted


def test_a_component_that_the_spec_does_not_name_is_as_large_as_live():
    assert sizes.wanted_replicas(of_live(a_release().live().world(), 4), parsed(), "frontend") == 1
    assert (
        sizes.wanted_replicas(of_live(a_release().live().world(), 4), parsed(a_spec("2.0.0", ("x",))), "backend") == 4
    )


def grown(world, role, deployment):
    member = next(
        s.member("backend")
        for s in (world.memory.candidate and world.memory.candidate.stack, world.memory.live.stack)
        if s and s.member("backend").revision == deployment.revision
    )
    return sizes.grown(world, member, deployment, role)


@pytest.mark.parametrize(("replicas", "live", "size"), [(2, 4, 4), (4, 4, None), (5, 4, None)])
def test_a_candidate_follows_live_upwards_only(replicas, live, size):
    world = of_live(a_release().live().candidate(replicas=replicas).world(), live)
    assert grown(world, Role.CANDIDATE, replace(GREEN, replicas=replicas)) == size


def test_a_candidate_follows_its_author_upwards():
    world = asked(a_release().live().candidate().world(), 6)
    assert grown(world, Role.CANDIDATE, GREEN) == 6


def test_what_is_retained_follows_live_and_not_the_author():
    world = asked(of_live(a_release().promoted("2.0.0").world(), 4), 9)
    member = world.memory.retained[0].stack.members[0]
    assert sizes.grown(world, member, BLUE, Role.RETAINED) == 4
    assert sizes.grown(replace(world, deployments={}), member, BLUE, Role.RETAINED) is None


@pytest.mark.parametrize(("written", "size"), [(5, 5), (1, 1), (0, 0), (2, None), (None, None)])
def test_live_takes_the_size_that_its_author_wrote_both_ways(written, size):
    assert grown(asked(a_release().live().world(), written), Role.LIVE, BLUE) == size


def test_the_authors_number_is_meant_for_the_candidate_while_there_is_one():
    assert grown(asked(a_release().live().candidate().world(), 5), Role.LIVE, BLUE) is None


@pytest.mark.parametrize("spec", [a_spec("2.0.0"), {"version": "oops"}], ids=["another", "a typo"])
def test_live_keeps_its_size_while_the_spec_asks_for_something_else(spec):
    assert grown(asked(a_release().live().asking(spec).world(), 5), Role.LIVE, BLUE) is None
