"""May this spec be worked on? Nothing here changes anything; a spec that is not accepted disarms nothing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tradingrelease.policy import checks, hooks, manifests, names
from tradingrelease.policy.model import (
    Decision,
    DryRun,
    Rest,
    Service,
    StoreSpec,
    World,
)
from tradingrelease.policy.sizes import wanted_replicas
from tradingrelease.policy.spec import Component, Rejected, Spec

OF_A_DRY_RUN: Final = frozenset(
    {"InvalidTemplate", "DeploymentForbidden", "DeploymentNameTaken", "InvalidJob", "JobForbidden", "AdmissionFailing"}
)
"""Reasons that the API server gives; they stand until it is asked again."""
RETRY: Final = timedelta(seconds=10)
"""How soon a refused spec is looked at again without an event: a quota may be raised, a webhook may return."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a spec is not accepted."""

    reason: str
    message: str


def problem(world: World, spec: Spec) -> Problem | None:
    """Return the first thing that speaks against a spec, apart from what only the API server can judge."""
    for component in spec.components:
        for name in component.services:
            if found := _service_problem(world, component, name):
                return found
        if found := _unlisted(world, spec, component):
            return found
    said = hooks.problem(world, spec) or checks.unmeasurable(world, spec)
    return Problem(*said) if said else None


def missing_services(world: World, spec: Spec) -> list[str]:
    """Return the listed Services that do not exist."""
    return [name for c in spec.components for name in c.services if name not in world.services]


def _service_problem(world: World, component: Component, name: str) -> Problem | None:
    service = world.services.get(name)
    where = f"component {component.name}, Service {name}"
    if service is None:
        return Problem("ServiceMissing", f"{where} does not exist in this namespace: create it, or correct the name")
    own = names.own_selector(service.selector)
    if service.type == "ExternalName" or not own:
        what = "is of type ExternalName" if service.type == "ExternalName" else "has no selector of its own"
        return Problem(
            "ServiceNotSteerable",
            f"{where} {what}: list a Service whose selector matches the labels of the pods",
        )
    if service.preview_of:
        return Problem("ServiceNotSteerable", f"{where} is a preview: list {service.preview_of}")
    if other := taken(world, service):
        return Problem("ServiceTaken", f"{where} is steered by TradingRelease {other}: list it in one release only")
    labels = component.pod_labels
    if lacking := sorted(f"{k}={v}" for k, v in own.items() if labels.get(k) != v):
        return Problem(
            "SelectorMismatch",
            f"{where} selects {lacking[0]}, which the template's labels do not satisfy: add it to "
            "template.metadata.labels, or correct the Service's selector",
        )
    return _preview_taken(world, name, where)


def taken(world: World, service: Service) -> str:
    """Return the name of the other release whose mark a Service carries; "" where it is free or ours."""
    if (mark := service.marked_by) is None:
        return ""
    name, uid = mark
    if name == world.key.name:
        return ""  # an older release of this name is no more: its mark is void
    # A mark naming a release that no longer exists is void.
    return name if world.other_releases.get(name) == uid else ""


def _preview_taken(world: World, name: str, where: str) -> Problem | None:
    found = world.services.get(names.preview_name(name))
    if found is None or (found.preview_of == name and found.labels.get(names.RELEASE) == world.key.name):
        return None
    return Problem("PreviewNameTaken", f"{where}: a Service {found.name} exists that is not its preview: rename it")


def _unlisted(world: World, spec: Spec, component: Component) -> Problem | None:
    """Find a Service that would give the candidate's pods traffic before they are verified."""
    labels = component.pod_labels | {
        names.RELEASE: world.key.name,
        names.COMPONENT: component.name,
        names.REVISION: component.revision,
    }
    mine = set(component.services) | set(component.allow_unlisted_services)
    live = world.memory.live
    serves = {s for m in live.stack.members if m.revision == component.revision for s in m.services} if live else set()
    # What is live already gets no traffic too early: a Service that left the spec goes on selecting it.
    is_live = live is not None and (m := live.stack.member(component.name)) and m.revision == component.revision
    for service in world.services.values():
        if service.name in mine | serves or service.preview_of or not names.matches(service.selector, labels):
            continue
        listed = next((c.name for c in spec.components if service.name in c.services), "")
        if listed:
            text = (
                f"Service {service.name} of component {listed} also selects the pods of component {component.name}: "
                "give the two templates different labels"
            )
        elif is_live:
            continue
        else:
            text = (
                f"component {component.name}: Service {service.name} is not listed, but its selector matches the "
                "candidate's pods and would send them traffic before they are verified: add it to services, or to "
                "allowUnlistedServices"
            )
        return Problem("UnlistedService", text)
    return None


def refused(world: World, rule: str, found: Problem | Rejected) -> Decision:
    """Return the decision that leaves everything as it is and says what to write instead."""
    return Decision(Rest(), rule, found.reason, found.message, look_again=RETRY, refused=(found.reason, found.message))


def judged(world: World, spec: Spec, rule: str) -> Decision | None:
    """Return the next step of accepting a spec: ask the API server, then store it. None: it is accepted."""
    if spec.revision in world.stored:
        return None
    for component in spec.components:
        if world.deployment(component.name, component.revision):
            continue
        if component.revision not in world.dry_runs:
            body = dry_run_body(world, spec, component)
            text = f"component {component.name}: would the API server take revision {component.revision}?"
            return Decision(DryRun(component.revision, body), rule, "Validating", text)
        if refusal := world.dry_runs[component.revision]:
            return refused(world, rule, Problem(refusal.reason, f"component {component.name}: {refusal.message}"))
    for key, name, body in hooks.dry_runs(world, spec):
        if key not in world.dry_runs:
            text = f"hook {name}: would the API server take its Job?"
            return Decision(DryRun(key, body), rule, "Validating", text)
        if refusal := world.dry_runs[key]:
            return refused(world, rule, Problem(refusal.reason, f"hook {name}: {refusal.message}"))
    step = StoreSpec(spec.revision, manifests.stored_spec(world.key, world.uid, spec))
    return Decision(step, rule, "Accepted", f"spec {spec.revision} (version {spec.version}) is valid")


def dry_run_body(world: World, spec: Spec, component: Component) -> dict[str, object]:
    """Return the Deployment that the API server is asked about."""
    return manifests.deployment(
        world.key,
        world.uid,
        component=component.name,
        revision=component.revision,
        template=component.template,
        replicas=wanted_replicas(world, spec, component.name),
        claims={},
        created_for=spec.revision,
        version=spec.version,
        min_ready_seconds=component.min_ready_seconds,
        progress_deadline=component.progress_deadline,
        owned=False,
    )
