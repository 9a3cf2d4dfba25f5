"""Every reason for which a spec is not accepted, and the words that say what to write instead."""

import pytest
from tradingrelease.policy import accept, names
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import DryRun, Refusal, StoreSpec

from tests.builders import KEY, NOW, UID, a_component, a_preview, a_release, a_service, a_spec, a_template, parsed


def found(*services, spec=None, others=None, release=None):
    """Return what speaks against a spec where these Services stand."""
    world = (release or a_release()).having(services={s.name: s for s in services}, other_releases=others or {}).world()
    return accept.problem(world, spec or parsed())


def marked(release, uid):
    """Return a Service that another release steers."""
    return a_service(labels={names.RELEASE: release}, annotations={names.RELEASE_UID: uid})


def test_a_service_that_serves_nobody_else_is_fine():
    assert found(a_service()) is None


def test_a_missing_service_is_named():
    problem = found()
    assert problem.reason == "ServiceMissing"
    assert problem.message == (
        "component backend, Service backend does not exist in this namespace: create it, or correct the name"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"type": "ExternalName"}, "is of type ExternalName"), ({"selector": {}}, "has no selector of its own")],
    ids=["external", "selectorless"],
)
def test_a_service_that_cannot_be_steered_is_refused(changes, words):
    problem = found(a_service(**changes))
    assert problem.reason == "ServiceNotSteerable"
    assert words in problem.message


def test_a_preview_cannot_be_listed():
    spec = parsed(a_spec(components=(a_component(services=["backend-preview"]),)))
    problem = found(a_preview(a_service(), "abc"), spec=spec)
    assert (problem.reason, problem.message.split(": ")[1]) == ("ServiceNotSteerable", "list backend")


def test_a_service_of_another_release_is_refused():
    problem = found(marked("desk", "uid-desk"), others={"desk": "uid-desk"})
    assert problem.reason == "ServiceTaken"
    assert problem.message == (
        "component backend, Service backend is steered by TradingRelease desk: list it in one release only"
    )


@pytest.mark.parametrize("others", [{}, {"desk": "uid-of-its-successor"}], ids=["gone", "made anew"])
def test_the_mark_of_a_release_that_is_no_more_is_void(others):
    assert found(marked("desk", "uid-desk"), others=others) is None


def test_a_mark_of_an_earlier_release_of_our_name_is_void():
    assert found(marked(KEY.name, "uid-of-old")) is None


def test_labels_that_do_not_satisfy_a_selector_are_refused():
    problem = found(a_service(selector={"app": "backend", "tier": "core"}))
    assert problem.reason == "SelectorMismatch"
    assert "selects tier=core, which the template's labels do not satisfy" in problem.message


def test_our_own_key_in_a_selector_is_no_mismatch():
    assert found(a_service(selected="abc")) is None


def test_a_stranger_by_the_name_of_a_preview_is_refused():
    stranger = a_service("backend-preview", selector={"app": "other"})
    assert found(a_service(), stranger).reason == "PreviewNameTaken"


def test_a_service_that_would_give_the_candidate_traffic_is_refused():
    problem = found(a_service(), a_service("debug", selector={"app": "backend"}))
    assert problem.reason == "UnlistedService"
    assert problem.message.startswith("component backend: Service debug is not listed, but its selector matches")


def test_a_service_that_may_do_so_is_allowed():
    spec = parsed(a_spec(components=(a_component(allowUnlistedServices=["debug"]),)))
    assert found(a_service(), a_service("debug", selector={"app": "backend"}), spec=spec) is None


def test_a_service_that_left_the_spec_may_go_on_selecting_what_is_live():
    stranger = a_service("debug", selector={"app": "backend"})
    live = a_release().live("1.0.0")
    assert found(a_service(), stranger, release=live) is None
    assert found(a_service(), stranger, release=live, spec=parsed(a_spec("2.0.0"))).reason == "UnlistedService"


def test_our_own_previews_and_selectorless_services_are_no_strangers():
    service = a_service()
    assert found(service, a_preview(service, "abc"), a_service("external", selector={})) is None


def test_components_that_select_each_others_pods_are_refused():
    same = a_component("frontend", template=a_template("backend"), services=["frontend"])
    spec = parsed(a_spec(components=("backend", same)))
    problem = found(a_service(), a_service("frontend", selector={"app": "backend"}), spec=spec)
    assert problem.message == (
        "Service frontend of component frontend also selects the pods of component backend: give the two templates "
        "different labels"
    )


def asked():
    """Return a release whose spec is new and acceptable."""
    return a_release().having(services={"backend": a_service()})


def test_the_api_server_is_asked_before_a_spec_is_stored():
    decision = decide(asked().world(), NOW)
    assert isinstance(decision.step, DryRun)
    stored = decide(asked().having(dry_runs={parsed().components[0].revision: None}).world(), NOW)
    assert isinstance(stored.step, StoreSpec)


def test_what_the_api_server_says_is_said():
    refusal = Refusal("InvalidTemplate", 'unknown field "imagee"', terminal=True)
    world = asked().having(dry_runs={parsed().components[0].revision: refusal}).world()
    assert decide(world, NOW).refused == ("InvalidTemplate", 'component backend: unknown field "imagee"')


def test_a_refused_spec_does_not_stop_the_candidate_before_it():
    world = a_release().live().candidate(verified=True).asking({"version": "oops"}).world()
    decision = decide(world, NOW)
    assert (decision.rule, decision.step.service) == ("traffic_is_on_the_candidate", "backend")
    assert world.uid == UID
