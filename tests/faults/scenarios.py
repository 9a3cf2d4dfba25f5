"""What is gone through, by name: a stage set without faults, then the part that faults strike, then how it must end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.e2e import builders
from tests.faults import node
from tests.oracle import APPLIED_BY, PREVIEW_OF, RELEASE, UNSAFE, State, annotation, label

if TYPE_CHECKING:
    from tests.faults.stage import Stage

Json = dict[str, Any]

WATCH = {"for": "0s", "deadAfter": "3s"}
LONG_WATCH = {"for": "30m", "deadAfter": "3s"}
HEALTH = {
    "httpGet": {"path": "/healthz", "port": "http"}, "interval": "1s", "timeout": "900ms",
    "successThreshold": 1, "failureThreshold": 2,
}  # fmt: skip
TRIO = ("backend", "frontend", "ml-engine")


@dataclass(frozen=True)
class Scenario:
    """`prepare` brings the stage to where the faults begin; `act` does what people do then, and waits between it."""

    prepare: Callable[["Stage"], None]
    act: Callable[["Stage"], None]
    ends: Callable[[State], bool]
    """What certainly holds in the end; that all the rest does too is known from the clean run."""
    patience: float = 90.0
    """Seconds in which each of its parts must come to an end, faults included."""
    common: bool = True
    """Whether it is gone through with every fault, or only with those that name it."""


def part(name: str, version: str, behaviour: str = "ok", **fields: Any) -> Json:
    """Return a component whose pods the node plays."""
    env = {"BEHAVIOUR": behaviour}
    pods = builders.template(name, version, env=env, spec={"nodeName": node.NAME, "terminationGracePeriodSeconds": 0})
    return builders.component(name, version, pods=pods, health=HEALTH, replicas=1) | fields


def release(version: str, *parts: Json, **spec: Any) -> Json:
    """Return a release that goes through its life quickly."""
    return builders.release(version, *parts, **{"watch": WATCH} | spec)


def _services(stage: "Stage", *names: str) -> None:
    for name in names:
        stage.api.apply(builders.service(name))


def _live(stage: "Stage", version: str, *parts: Json, **spec: Any) -> None:
    stage.api.apply(release(version, *parts, **spec))
    stage.until(
        lambda s: s.ready(version) and not any(label(found, PREVIEW_OF) for found in s.all("Service")),
        f"version {version} is live and proven, and its previews are gone",
    )


# --- the scenarios ----------------------------------------------------------------------------------------------------


def _nothing(stage: "Stage") -> None:
    _services(stage, "backend")


def _first(stage: "Stage") -> None:
    stage.api.apply(release("1", part("backend", "1")))


def _trio_is_live(stage: "Stage") -> None:
    _services(stage, *TRIO)
    _live(stage, "1", *(part(name, "1") for name in TRIO))


def _next_trio(stage: "Stage") -> None:
    stage.api.apply(release("2", *(part(name, "2") for name in TRIO)))


def _one_is_live(stage: "Stage") -> None:
    _services(stage, "backend")
    _live(stage, "1", part("backend", "1"))


def _bad_release(stage: "Stage") -> None:
    stage.api.apply(release("2", part("backend", "2", "fails-live"), watch=LONG_WATCH))


def _is_back(state: State) -> bool:
    """Tell whether traffic is back and the bad version is at zero, which it is 5 s later."""
    back = state.live() == "1" and state.status().get("phase") == "RolledBack" and state.latched() == ["2"]
    return back and any(d["spec"]["replicas"] == 0 for d in state.deployments())


# --- adoption ---------------------------------------------------------------------------------------------------------


def _plain_serves(stage: "Stage") -> None:
    _services(stage, "backend")
    pods = part("backend", "0")["template"]
    stage.api.apply(builders.deployment("backend", pods))
    stage.until(lambda s: s.endpoints("backend"), "the plain Deployment serves")


def _second(stage: "Stage") -> None:
    stage.api.apply(release("2", part("backend", "2")))


# --- rollback by command ----------------------------------------------------------------------------------------------


def _two_are_known(stage: "Stage") -> None:
    _one_is_live(stage)
    _live(stage, "2", part("backend", "2"))


def _order(stage: "Stage") -> None:
    live = stage.recorder.state().status()["live"]["revision"]
    stage.api.apply(builders.order("Rollback", "back", revision=live, reason="orders are lost"))


def _is_ordered_back(state: State) -> bool:
    return _is_back(state) and state.order("back").get("phase") == "Done"


def _order_too_early(stage: "Stage") -> None:
    """Order a rollback of version 2 before it is live: it is refused, and stays refused when version 2 is live."""
    body = release("2", part("backend", "2"), approvals=[{"at": "BeforeSwitch"}])
    body["metadata"]["annotations"] = {APPLIED_BY: "anna"}
    stage.api.apply(body)
    _, revision, _ = _wants(stage.until(_wants, "version 2 waits for people")) or ("", "", 0)
    stage.api.apply(builders.order("Rollback", "hasty", revision=revision, reason="this was meant for later"))
    stage.until(lambda s: s.order("hasty").get("phase") == "Refused", "the rollback is refused")
    _agree(stage)


# --- supersede --------------------------------------------------------------------------------------------------------


def _is_verifying(state: State) -> bool:
    """Tell whether version 2 has all that it is verified by."""
    return (
        state.candidate() == "2"
        and len(state.deployments()) == 2
        and state.get("Service", "backend-preview") is not None
    )


def _supersede_in_verify(stage: "Stage") -> None:
    stage.api.apply(release("2", part("backend", "2", "fails")))
    stage.until(_is_verifying, "version 2 is being verified")
    stage.api.apply(release("3", part("backend", "3")))


def _supersede_in_watch(stage: "Stage") -> None:
    stage.api.apply(release("2", part("backend", "2"), watch=LONG_WATCH))
    stage.until(
        lambda s: s.live() == "2" and s.is_true("Promoted") and s.get("Service", "backend-preview") is None,
        "version 2 is in its watch",
    )
    stage.api.apply(release("3", part("backend", "3")))


def _is_third(state: State) -> bool:
    """Tell whether version 3 is live and one version retained; what was never proven is at zero or gone."""
    running = [d for d in state.deployments() if d["spec"]["replicas"]]
    return state.ready("3") and len(state.retained()) == 1 and len(running) == 2


# --- the end of things ------------------------------------------------------------------------------------------------

_BRIEFLY = {"for": "2s", "revisions": 1}


def _one_is_live_briefly(stage: "Stage") -> None:
    _services(stage, "backend")
    _live(stage, "1", part("backend", "1"), retain=_BRIEFLY)


def _second_briefly(stage: "Stage") -> None:
    stage.api.apply(release("2", part("backend", "2"), retain=_BRIEFLY))


def _is_alone(state: State) -> bool:
    return state.ready("2") and not state.retained() and len(state.deployments()) == 1


def _is_left(state: State) -> bool:
    """Tell whether nothing but what served is left of a deleted release."""
    service = state.get("Service", "backend")
    owned = [*state.all("ControllerRevision"), *(s for s in state.all("Service") if label(s, PREVIEW_OF))]
    return len(state.deployments()) == 1 and not label(service, RELEASE) and not owned


def _delete_and_create(stage: "Stage") -> None:
    """Delete a release whose candidate is being verified, and create it anew when what never served is swept."""
    stage.api.apply(release("2", part("backend", "2", "fails")))
    stage.until(_is_verifying, "version 2 is being verified")
    stage.api.delete("TradingRelease", "shop")
    stage.until(_is_left, "the Service is unmarked, and what was owned or never served is gone")
    stage.api.apply(release("1", part("backend", "1")))


# --- hooks and approvals ----------------------------------------------------------------------------------------------

MIGRATION = {
    "name": "migrate", "at": "BeforeGreen", "irreversible": True, "timeout": "60s",
    "job": {
        "backoffLimit": 0,
        "template": {
            "spec": {
                "nodeName": node.NAME, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
                "containers": [{"name": "app", "image": "none", "env": [{"name": "BEHAVIOUR", "value": "ok"}]}],
            }
        },
    },
}  # fmt: skip


def _wants(state: State) -> tuple[str, str, int] | None:
    """Return version, revision and attempt of a candidate that waits for people."""
    found = state.status().get("candidate") or {}
    waits = any(gate["phase"] == "Waiting" for gate in found.get("approvals") or ())
    return (found["version"], found["revision"], found["attempt"]) if waits else None


def _migrate_and_agree(stage: "Stage") -> None:
    _ask_and_agree(stage, hooks=[MIGRATION])


def _go_by_the_checklist(stage: "Stage") -> None:
    """Ask for a migration, a smoke test and a flush around the switch, and for pods that are calm before and after it."""
    moments = {"migrate": "BeforeGreen", "smoke": "BeforeSwitch", "flush": "AfterSwitch"}
    hooks = [MIGRATION | {"name": name, "at": at, "irreversible": False} for name, at in moments.items()]
    _ask_and_agree(stage, hooks=hooks, checks=[{"name": "calm", "during": ["Verify", "Watch"], "pods": {}}])


def _ask_and_agree(stage: "Stage", **spec: Any) -> None:
    body = release("2", part("backend", "2"), approvals=[{"at": "BeforeSwitch"}], **spec)
    body["metadata"]["annotations"] = {APPLIED_BY: "anna"}  # what admission would write
    stage.api.apply(body)
    _agree(stage)


def _agree(stage: "Stage") -> None:
    """Agree to whatever attempt at version 2 waits for people, once each."""
    agreed: set[tuple[str, str, int] | None] = {None}
    while True:
        state = stage.until(lambda s: _over(s) or _wants(s) not in agreed, "version 2 is live, or waits for people")
        if _over(state):
            return
        agreed.add(wanted := _wants(state))
        version, revision, attempt = wanted or ("", "", 0)
        name = f"yes-{version}-{attempt}"
        yes = builders.order("Approve", name, revision=revision, attempt=attempt, issuedBy="bob")
        stage.api.apply(yes)


def _over(state: State) -> bool:
    """Tell whether version 2 waits for people no more."""
    return state.live() == "2" or "2" in state.latched()


def _is_migrated(state: State) -> bool:
    """Tell whether version 2 is proven, and nobody goes back to 1 but by force."""
    kept = state.status().get("retained") or [{}]
    return state.ready("2") and bool(kept[0].get("unsafe")) and any(annotation(d, UNSAFE) for d in state.deployments())


def _all_is_ticked_off(state: State) -> bool:
    """Tell whether version 2 is proven, and history says what each hook and check came to."""
    history = state.status().get("history") or ()  # newest first; an author may have asked for another version since
    told = next((entry for entry in history if entry["version"] == "2"), {})
    hooks = {hook["name"]: hook["phase"] for hook in told.get("hooks") or ()}
    verdicts = {check["verdict"] for check in told.get("checks") or ()}
    return (
        state.ready("2")
        and hooks == dict.fromkeys(("migrate", "smoke", "flush"), "Succeeded")
        and verdicts == {"Passed"}
    )


# --- many releases ----------------------------------------------------------------------------------------------------

CROWD = tuple(f"app-{number:02}" for number in range(50))
POISONED = "poisoned"


def _many_services(stage: "Stage") -> None:
    _services(stage, *CROWD, POISONED)


def _many(stage: "Stage") -> None:
    """Apply the one first: whatever it does to the others, it does from the beginning."""
    for name in (POISONED, *CROWD):
        body = release("1", part(name, "1"))
        stage.api.apply(body | {"metadata": {"name": name}})


def crowd_is_ready(state: State) -> bool:
    """Tell whether all releases but the poisoned one are live and proven."""
    return all(state.ready("1", name) for name in CROWD)


SCENARIOS: dict[str, Scenario] = {
    "first": Scenario(_nothing, _first, lambda s: s.ready("1")),
    "three": Scenario(_trio_is_live, _next_trio, lambda s: s.ready("2")),
    "adoption": Scenario(_plain_serves, _second, lambda s: s.ready("2")),
    "rollback": Scenario(_one_is_live, _bad_release, _is_back),
    "command": Scenario(_two_are_known, _order, _is_ordered_back),
    "hasty": Scenario(
        _one_is_live, _order_too_early, lambda s: s.ready("2") and s.order("hasty").get("reason") == "WrongRevision"
    ),
    "supersede-verify": Scenario(_one_is_live, _supersede_in_verify, _is_third),
    "supersede-watch": Scenario(_one_is_live, _supersede_in_watch, _is_third),
    "retire": Scenario(_one_is_live_briefly, _second_briefly, _is_alone),
    "migration": Scenario(_one_is_live, _migrate_and_agree, _is_migrated),
    "checklist": Scenario(_one_is_live, _go_by_the_checklist, _all_is_ticked_off),
    "crowd": Scenario(
        _many_services, _many, lambda s: crowd_is_ready(s) and s.ready("1", POISONED), patience=300.0, common=False
    ),
    "recreate": Scenario(_one_is_live, _delete_and_create, lambda s: s.ready("1")),
}
DEFAULT = ("three", "rollback")
