"""What a deleted release leaves behind (product.md 4, Deletion): traffic as it is, and nothing that never served."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Rest, Retire, Unmark

from tests.builders import NOW, a_deployment, a_release, a_service

AT_ONCE = timedelta(0)
GREEN = a_deployment(version="2.0.0")


def deleted(release, **changes):
    """Return a world whose release is deleted: its Services are unmarked already."""
    world = replace(release.world(), deleting=True)
    free = {n: replace(s, labels={}) if not s.preview_of else s for n, s in world.services.items()}
    return replace(world, **{"services": free, **changes})


@pytest.mark.parametrize("gone", [{"deleting": True}, {"uid": ""}], ids=["being deleted", "deleted"])
def test_the_mark_is_taken_off_before_anything_goes(gone):
    """That write is the fence: no switch of before can land after it."""
    decision = decide(a_release().live().candidate().having(**gone).world(), NOW)
    assert (decision.step, decision.rule, decision.look_again) == (Unmark("backend", 10), "gone", AT_ONCE)


def test_then_a_candidate_that_never_served_is_swept_at_once():
    world = deleted(a_release().live().candidate())
    decision = decide(world, NOW)
    assert (type(decision.step), decision.step.deployment, decision.step.delete) == (Retire, GREEN.name, True)
    assert (decision.rule, decision.look_again) == ("gone", AT_ONCE)
    assert world.services["backend-preview"].selected == GREEN.revision, "a preview keeps nothing"


def test_then_nothing_is_left_to_do():
    decision = decide(deleted(a_release().live()), NOW)
    assert (type(decision.step), decision.rule, decision.reason) == (Rest, "gone", "Deleted")
    assert decision.look_again is None


@pytest.mark.parametrize(
    ("changes", "selected"),
    [({"served": True}, False), ({"proven": ("x",)}, False), ({}, True)],
    ids=["it served", "it was proven", "a Service selects it"],
)
def test_what_served_or_may_serve_stays(changes, selected):
    world = a_release().live().world()
    stays = replace(GREEN, **changes)
    services = {"backend": a_service(), "public": a_service("public", GREEN.revision if selected else "x", labels={})}
    world = replace(world, uid="", services=services, deployments={stays.name: stays})
    assert isinstance(decide(world, NOW).step, Rest)


def test_what_is_on_its_way_out_is_not_deleted_twice():
    going = replace(GREEN, deleting=True)
    assert isinstance(decide(deleted(a_release().live(), deployments={going.name: going}), NOW).step, Rest)


def test_a_service_of_another_release_keeps_its_mark():
    other = a_service("other", "x", labels={"tradingplatform.io/release": "another"})
    assert isinstance(decide(deleted(a_release().live(), services={"other": other}), NOW).step, Rest)
