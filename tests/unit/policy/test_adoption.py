"""Services that serve something else today come under the release without an unverified moment (product.md 4.1 and 4.2)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.policy import names
from tradingrelease.policy.model import Backing, CreateDeployment, Latched, Mark, Rest, Scale, Stack, Switch
from tradingrelease.policy.reasons import Cause
from tradingrelease.policy.rules.adoption import (
    failed_clones,
    services_are_adopted,
    services_are_marked,
    what_serves_is_marked,
)

from tests.builders import (
    KEY,
    NOW,
    UID,
    a_component,
    a_container,
    a_deployment,
    a_pod,
    a_release,
    a_service,
    a_spec,
    a_stack,
    a_template,
    parsed,
    rejected,
)

PAIR = ("backend", "frontend")
BLUE = a_deployment()
TYPO = rejected({"version": "oops"})
MARK = {"labels": {names.RELEASE: KEY.name}, "annotations": {names.RELEASE_UID: UID}}


def remembering(world, **changes):
    return replace(world, memory=replace(world.memory, **changes))


# --- marks ------------------------------------------------------------------------------------------------------------


def marked(world):
    decision = services_are_marked(world, NOW)
    assert decision is None or decision.rule == "services_are_marked"
    return decision.step if decision else None


def test_every_service_of_the_spec_and_of_live_is_marked_before_anything_is_built_on_it():
    assert marked(a_release().having(services={"backend": a_service()}).world()) == Mark("backend", 10)
    world = a_release().live().asking(a_spec("2.0.0", ("frontend",))).world()
    bare = replace(world, services={"backend": a_service(), "frontend": a_service("frontend", **MARK)})
    assert marked(bare) == Mark("backend", 10), "it left the spec, and is live"
    assert (
        marked(replace(bare, services={"backend": a_service(**MARK), "frontend": a_service("frontend")})).service
        == "frontend"
    )
    assert marked(a_release().live().world()) is None
    assert marked(replace(bare, spec=TYPO)) is None


def test_a_void_mark_is_replaced_and_that_of_another_release_respected():
    other = {"labels": {names.RELEASE: "another"}, "annotations": {names.RELEASE_UID: "uid-another"}}
    world = a_release().having(services={"backend": a_service(**other)}).world()
    assert marked(world) == Mark("backend", 10)
    assert marked(replace(world, other_releases={"another": "uid-another"})) is None
    former = {"labels": {names.RELEASE: KEY.name}, "annotations": {names.RELEASE_UID: "former"}}
    assert marked(replace(world, services={"backend": a_service(**former)})) == Mark("backend", 10)
    two = a_release(*PAIR).having(other_releases={"another": "uid-another"}).world()
    both = replace(two, services={"backend": a_service(**other), "frontend": a_service("frontend")})
    assert marked(both).service == "frontend", "one that another took up hides no other"


def test_live_and_candidate_keep_their_mark_also_while_the_spec_is_refused():
    def kept(world):
        decision = what_serves_is_marked(world, NOW)
        assert decision is None or decision.rule == "what_serves_is_marked"
        return decision.step if decision else None

    world = a_release().live("1.0.0").candidate("2.0.0").asking({"version": "oops"}).world()
    bare = replace(world, services={"backend": a_service()})
    assert kept(world) is None
    assert kept(bare) == Mark("backend", 10)
    assert kept(remembering(bare, live=None)) == Mark("backend", 10)
    assert kept(remembering(bare, candidate=None)) == Mark("backend", 10)
    assert kept(remembering(bare, live=None, candidate=None)) is None
    assert kept(replace(world, services={})) is None
    other = {"labels": {names.RELEASE: "another"}}
    assert kept(replace(world, services={"backend": a_service(**other)})) is None


# --- adoption ---------------------------------------------------------------------------------------------------------

THEIRS = a_template("backend", "0.9.0")
PLAIN = Backing("Deployment", name="theirs", template=THEIRS, replicas=3, min_ready_seconds=7)
CLONE = a_deployment(written=THEIRS, version="0.9.0", adopted_from="theirs", created_at=NOW, replicas=3, available=3,
                     claims={"backend": 10})  # fmt: skip


def unsteered(backing=PLAIN, release=None, **changes):
    """Return a world whose Service has no key of ours, and what serves it."""
    world = (release or a_release()).world()
    services = {**world.services, "backend": a_service(**MARK)}
    return replace(world, **{"services": services, "backings": {"backend": backing}, **changes})


def adopted(world, at=NOW):
    decision = services_are_adopted(world, at)
    assert decision is None or decision.rule == "services_are_adopted"
    return decision


def test_what_serves_today_is_first_released_unchanged():
    decision = adopted(unsteered())
    body, notes = decision.step.body, decision.step.body["metadata"]["annotations"]
    assert (type(decision.step), decision.step.name, decision.reason) == (CreateDeployment, CLONE.name, "Adopting")
    assert (body["spec"]["replicas"], body["spec"]["minReadySeconds"]) == (3, 7)
    assert body["spec"]["template"]["spec"] == THEIRS["spec"]
    assert (notes[names.ADOPTED_FROM], notes[names.claim_key("backend")]) == ("theirs", "10")
    assert notes[names.CREATED_FOR] == names.digest({"adopted": "theirs", "template": CLONE.revision})
    assert decision.adopting
    assert not body["metadata"].get("ownerReferences")
    owned = adopted(unsteered(spec=parsed(a_spec(onDelete="Remove")))).step.body
    assert [o["uid"] for o in owned["metadata"]["ownerReferences"]] == [UID]


@pytest.mark.parametrize(
    ("labels", "version"),
    [
        ({"app.kubernetes.io/version": "0.9.0", "version": "x"}, "0.9.0"),
        ({"version": "0.8.0"}, "0.8.0"),
        ({"app": "backend"}, "adopted"),
        (None, "adopted"),
    ],
)
def test_its_version_is_what_its_labels_say(labels, version):
    template = (
        {"metadata": {"labels": labels}, "spec": THEIRS["spec"]} if labels is not None else {"spec": THEIRS["spec"]}
    )
    step = adopted(unsteered(replace(PLAIN, template=template))).step
    assert step.body["metadata"]["annotations"][names.VERSION_LABEL] == version


def cloned(backing=PLAIN, at=NOW, **changes):
    clone = replace(CLONE, **changes)
    return adopted(unsteered(backing, deployments={clone.name: clone}), at)


def test_the_clone_follows_the_old_deployment_both_ways_until_the_selector_moves():
    for size in (5, 1):
        decision = cloned(replace(PLAIN, replicas=size))
        assert (decision.step, decision.adopting) == (Scale(CLONE.name, CLONE.uid, CLONE.version, size), True)
    assert isinstance(cloned(replace(PLAIN, replicas=0)).step, Switch), "what serves goes to zero: the clone stays"


@pytest.mark.parametrize("changes", [{"available": 2}, {"settled": False}], ids=str)
def test_the_selector_moves_when_the_clone_is_available(changes):
    decision = cloned(**changes)
    assert (type(decision.step), decision.reason, decision.adopting) == (Rest, "Adopting", True)
    assert (decision.look_again, decision.memory, decision.refused) == (timedelta(seconds=1), None, None)
    record = cloned().step.record
    assert (record.cause, record.act, record.selected, record.before) == (Cause.ADOPT, 1, CLONE.revision, "")
    assert (record.to, record.origin, record.at, record.reason) == ("", "", NOW, "Adopted")
    assert cloned(available=4).step.component_revision == CLONE.revision


def test_a_clone_that_does_not_come_up_within_the_deadline_is_given_up_with_the_pods_words():
    container = a_container(waiting="ImagePullBackOff")
    clone = replace(CLONE, available=1)
    world = unsteered(deployments={clone.name: clone}, pods=(a_pod(clone, containers=(container,)),))
    assert adopted(world, NOW + timedelta(minutes=10)).memory is None
    decision = adopted(world, NOW + timedelta(minutes=10, seconds=1))
    latch = decision.memory.latched[0]
    assert decision.refused == ("AdoptionFailed", latch.message)
    assert (latch.reason, latch.stack) == ("AdoptionFailed", Stack(world.wanted.revision, "1.0.0", ()))
    assert latch.at == NOW + timedelta(minutes=10, seconds=1)
    assert "1 of 3 replicas available; pod " in latch.message
    assert "ImagePullBackOff after 0:10:00" in latch.message
    crashed = replace(world, pods=(a_pod(clone, containers=(a_container(restarts=1, last_words="no config"),)),))
    assert adopted(crashed).because.endswith("crashed 1 times, last: died, exit code 0: no config")
    latched = (Latched(a_stack("9.0.0"), "x", "", NOW),)
    assert len(adopted(remembering(world, latched=latched), NOW + timedelta(hours=1)).memory.latched) == 2


def test_it_is_not_tried_again_until_a_retry():
    latch = Latched(Stack(a_stack().revision, "1.0.0", ()), "AdoptionFailed", "it did not come up", NOW)
    decision = adopted(remembering(unsteered(), latched=(latch,)))
    assert decision.refused == ("AdoptionFailed", "it did not come up")
    assert decision.look_again == timedelta(seconds=5)
    other = replace(latch, reason="CrashLoop")
    assert isinstance(adopted(remembering(unsteered(), latched=(other,))).step, CreateDeployment)


def test_the_clone_of_a_failed_adoption_is_found_and_what_is_proven_is_not():
    latch = Latched(Stack(a_stack().revision, "1.0.0", ()), "AdoptionFailed", "", NOW)
    world = remembering(unsteered(deployments={CLONE.name: CLONE, BLUE.name: BLUE}), latched=(latch,))
    assert failed_clones(world) == [CLONE]
    assert failed_clones(remembering(world, latched=())) == []
    assert failed_clones(remembering(world, latched=(replace(latch, reason="CrashLoop"),))) == []
    assert failed_clones(replace(world, spec=TYPO)) == []
    proven = replace(CLONE, proven=("x",))
    assert failed_clones(replace(world, deployments={CLONE.name: proven})) == []


@pytest.mark.parametrize("backing", [Backing("Ambiguous", "two Deployments"), None], ids=["ambiguous", "not looked at"])
def test_what_is_ambiguous_is_refused(backing):
    decision = adopted(unsteered(backings={"backend": backing} if backing else {}))
    assert decision.refused[0] == decision.reason == "AdoptionAmbiguous"
    assert ("two Deployments" if backing else "not looked at yet") in decision.refused[1]


def test_a_service_that_selects_no_pod_is_gated():
    assert adopted(unsteered(Backing("Nothing"))).step == Mark("backend", 10, gate=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": TYPO},
        {"memory": a_release().paused().memory},
        {"services": {"backend": a_service(selected=names.NOTHING)}},
        {"services": {"backend": a_service(annotations={names.BREAK_GLASS: "true"})}},
    ],
    ids=["a typo", "paused", "steered", "glass is broken"],
)
def test_nothing_is_adopted(changes):
    assert adopted(unsteered(**changes)) is None


def test_a_service_that_serves_ours_already_gets_its_key_back():
    served = replace(BLUE, served=True, claims={"backend": 10})
    world = unsteered(Backing("Ours", name=BLUE.revision), a_release().live(), deployments={BLUE.name: served})
    record = adopted(world).step.record
    live = world.memory.live
    assert (record.cause, record.selected, record.act, record.to) == (
        Cause.ADOPT, BLUE.revision, live.act, live.stack.revision,
    )  # fmt: skip


@pytest.mark.parametrize("mark", [{"served": True}, {"proven": ("x",)}, {"adopted_from": "theirs"}, {}], ids=str)
def test_and_none_where_what_it_serves_is_not_verified(mark):
    found = replace(BLUE, claims={"backend": 10}, **mark)
    step = adopted(unsteered(Backing("Ours", name=BLUE.revision), deployments={BLUE.name: found})).step
    assert isinstance(step, Switch) if mark else step == Mark("backend", 10, gate=True)
    gone = adopted(unsteered(Backing("Ours", name=BLUE.revision), deployments={}))
    assert gone.reason == "TargetMissing"


def test_an_added_service_of_a_live_component_is_switched_to_live():
    release = a_release().live().asking(a_spec("1.0.0", (a_component(services=["backend", "public"]),)))
    world = release.world()
    public = a_service("public", selector={"app": "backend"}, **MARK)
    claimed = {n: replace(d, claims={"public": 10}) for n, d in world.deployments.items()}
    world = replace(
        world,
        services={**world.services, "public": public},
        backings={"public": Backing("Nothing")},
        deployments=claimed,
    )
    step = adopted(world).step
    assert (type(step), step.service, step.component_revision) == (Switch, "public", BLUE.revision)
    foreign = adopted(replace(world, backings={"public": PLAIN}))
    assert foreign.refused[0] == "AdoptionAmbiguous"
    assert "list that Service under a component of its own" in foreign.refused[1]
    narrow = replace(public, selector={"app": "backend", "tier": "internal"})
    assert adopted(replace(world, services={**world.services, "public": narrow})).step == Mark("public", 10, gate=True)
    gone = adopted(replace(world, deployments={}, services={**world.services, "public": narrow}))
    assert gone.reason == "TargetMissing"


def test_services_of_one_component_that_serve_different_deployments_are_ambiguous():
    spec = parsed(a_spec("1.0.0", (a_component(services=["backend", "public"]),)))
    public = a_service("public", **MARK)
    world = unsteered(spec=spec)
    both = {"backend": PLAIN, "public": replace(PLAIN, name="others")}
    world = replace(world, services={**world.services, "public": public}, backings=both)
    decision = adopted(world)
    assert decision.refused[0] == "AdoptionAmbiguous"
    assert "(others and theirs)" in decision.refused[1]
    same = adopted(replace(world, backings={"backend": PLAIN, "public": PLAIN})).step
    notes = same.body["metadata"]["annotations"]
    assert [notes[names.claim_key(n)] for n in ("backend", "public")] == ["10", "10"]
    half = adopted(replace(world, backings={"backend": Backing("Nothing"), "public": PLAIN})).step
    assert isinstance(half, CreateDeployment)


def test_the_clones_of_all_components_come_up_side_by_side():
    front = a_template("frontend", "0.9.0")
    clone = replace(CLONE, available=0)
    world = a_release(*PAIR).world()
    services = {n: a_service(n, **MARK) for n in PAIR}
    backings = {"backend": PLAIN, "frontend": replace(PLAIN, name="front", template=front)}
    world = replace(world, services=services, backings=backings, deployments={clone.name: clone})
    assert adopted(world).step.name.startswith("shop-frontend-")
    other = a_deployment(
        "frontend", written=front, version="0.9.0", adopted_from="front", created_at=NOW, replicas=3, available=1
    )
    both = adopted(replace(world, deployments={clone.name: clone, other.name: other}))
    assert (type(both.step), clone.name in both.because) == (Rest, True), "the first that waits is told"
    late = adopted(replace(world, deployments={clone.name: clone, other.name: other}), NOW + timedelta(hours=1))
    assert late.memory is not None
    refused = adopted(replace(world, backings={**backings, "frontend": Backing("Ambiguous", "two owners")}))
    assert refused.refused[0] == "AdoptionAmbiguous"
    steered = {**services, "backend": a_service(selected=names.NOTHING)}
    assert adopted(replace(world, services=steered)).step.name.startswith("shop-frontend-")
