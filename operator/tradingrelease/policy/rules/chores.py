"""What keeps the house in order. None of it is urgent, all of it is done while other things are waited for."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease.policy import acts, manifests, names, signals
from tradingrelease.policy.model import (
    Annotate,
    Decision,
    DeletePreview,
    Deployment,
    ForgetOrder,
    ForgetSpec,
    Member,
    Note,
    Own,
    Rest,
    Retire,
    Scale,
    Stack,
    StoreSpec,
    Unmark,
    World,
)
from tradingrelease.policy.reasons import Role
from tradingrelease.policy.rules.adoption import failed_clones
from tradingrelease.policy.rules.live import recreate
from tradingrelease.policy.sizes import grown
from tradingrelease.policy.spec import Component, Spec

SETTLE: Final = timedelta(seconds=5)
"""How long what lost its traffic stays up after blue's endpoints are read back: kube-proxy may need a second to move
new connections (product.md 4.8)."""
ORDERS_KEPT: Final = timedelta(days=90)


def role_of(world: World, deployment: Deployment) -> Role:
    """Return the strongest role that any revision gives a Deployment."""
    memory = world.memory
    if memory.live and _holds(memory.live.stack, deployment):
        return Role.LIVE
    if any(s.selected == deployment.revision and s.name in deployment.claims for s in acts.steered(world).values()):
        return Role.LIVE
    if any(_holds(r.stack, deployment) for r in memory.retained):
        return Role.RETAINED
    if memory.candidate and _holds(memory.candidate.stack, deployment):
        return Role.CANDIDATE
    if any(_holds(latch.stack, deployment) for latch in memory.latched):
        return Role.FAILED
    return Role.LEFTOVER


def _holds(stack: Stack, deployment: Deployment) -> bool:
    member = stack.member(deployment.component)
    return member is not None and member.revision == deployment.revision


# --- what serves is remembered on the objects -------------------------------------------------------------------------


def live_is_annotated(world: World, _: datetime) -> Decision | None:
    """Write `served` and `proven` onto live Deployments, so that they survive the release object.

    And onto retained ones that were made anew: they say nothing of it yet.
    """
    live = world.memory.live
    if live and live.proven_at:
        for member in live.stack.members:
            deployment = world.deployment(member.name, member.revision)
            if deployment and live.stack.revision not in deployment.proven:
                return _proven(deployment, live.stack)
    for retained in world.memory.retained:
        for member in retained.stack.members:
            deployment = world.deployment(member.name, member.revision)
            if deployment and not deployment.proven and not deployment.deleting:
                return _proven(deployment, retained.stack)
    return None


def _proven(deployment: Deployment, stack: Stack) -> Decision:
    proven = ",".join([*deployment.proven[-9:], stack.revision])
    annotations = {names.SERVED: "true", names.PROVEN: proven}
    step = Annotate(deployment.name, deployment.uid, deployment.version, annotations)
    text = f"Deployment {deployment.name} is proven as part of {stack.revision}"
    return Decision(step, "live_is_annotated", "Proven", text)


def live_spec_is_stored(world: World, _: datetime) -> Decision | None:
    """Rebuild a stored spec that is missing (adoption, takeover, deleted by hand), without checks."""
    memory = world.memory
    for stack in [s for s in (memory.live and memory.live.stack, *(r.stack for r in memory.retained)) if s]:
        if stack.revision in world.stored:
            continue
        if world.wanted and world.wanted.revision == stack.revision:
            spec: Spec | None = world.wanted
        else:
            spec = _rebuilt(world, stack)
        if spec is None:
            continue
        body = manifests.stored_spec(world.key, world.uid, spec)
        body["metadata"]["name"] = names.stored_spec_name(world.key.name, stack.revision)
        body["metadata"]["labels"][names.REVISION] = stack.revision
        text = f"the spec of revision {stack.revision} is stored, rebuilt from its Deployments"
        return Decision(StoreSpec(stack.revision, body), "live_spec_is_stored", "SpecRebuilt", text)
    return None


def _rebuilt(world: World, stack: Stack) -> Spec | None:
    components = []
    for member in stack.members:
        deployment = world.deployment(member.name, member.revision)
        if deployment is None:
            return None
        components.append(
            Component(
                name=member.name,
                services=member.services,
                min_ready_seconds=deployment.min_ready_seconds,
                template=manifests.as_written(deployment.template),
            )
        )
    return Spec(version=stack.version, components=tuple(components)) if components else None


# --- standby ---------------------------------------------------------------------------------------------------------


def standby_is_claimed(world: World, _: datetime) -> Decision | None:
    """Keep claims of candidate and retained Deployments current: a switch or rollback is one write a Service."""
    memory = world.memory
    if acts.unfinished(world):
        return None
    stacks = [memory.candidate.stack] if memory.candidate else []
    # What is pushed out once live is proven is due to go: a claim anew would only make its retirement write a fence.
    stacks += [r.stack for r in memory.retained[: memory.settings.retain_revisions]]
    for stack in stacks:
        for member in stack.members:
            deployment = world.deployment(member.name, member.revision)
            if deployment is None or deployment.replicas == 0:
                continue
            # What the live stack selects already needs no claim to stay there.
            apart = {n for n in member.services if (s := world.services.get(n)) and s.selected != member.revision}
            step = acts.claim(world, deployment, apart)
            if step.claims:
                text = f"Deployment {deployment.name} claims {', '.join(sorted(step.claims))} anew"
                return Decision(step, "standby_is_claimed", "Claiming", text)
    return None


def retained_stands(world: World, now: datetime) -> Decision | None:
    """Recreate a retained Deployment that somebody deleted: a rollback target is promised until its time is over."""
    rule = "retained_stands"
    if world.memory.paused or acts.unfinished(world):
        return None
    for retained in world.memory.retained:
        for member in retained.stack.members:
            name = names.deployment_name(world.key.name, member.name, member.revision)
            if name in world.deployments:
                continue
            if decision := recreate(world, retained.stack, member, rule):
                text = f"retained Deployment {name} was deleted: recreated from its stored spec"
                note = Note("RetainedRecreated", text, f"{member.revision}/{now:%Y%m%d%H%M}", warning=True)
                return replace(decision, because=text, notes=(note,))
    return None


def standby_has_its_size(world: World, _: datetime) -> Decision | None:
    """Let live have the size that its author wrote, and candidate and retained follow live upwards."""
    for deployment in world.deployments.values():
        if deployment.deleting:
            continue
        role = role_of(world, deployment)
        if role not in {Role.LIVE, Role.CANDIDATE, Role.RETAINED}:
            continue
        member = _member(world, deployment)
        size = grown(world, member, deployment, role) if member else None
        if size is not None:
            text = f"{role} Deployment {deployment.name}: {deployment.replicas} -> {size} replicas"
            step = Scale(deployment.name, deployment.uid, deployment.version, size)
            return Decision(step, "standby_has_its_size", "Scaling", text)
    return None


def _member(world: World, deployment: Deployment) -> Member | None:
    memory = world.memory
    stacks = [s for s in (memory.live and memory.live.stack, memory.candidate and memory.candidate.stack) if s]
    for stack in stacks + [r.stack for r in memory.retained]:
        if _holds(stack, deployment):
            return stack.member(deployment.component)
    return None


def ours_is_owned_as_asked(world: World, _: datetime) -> Decision | None:
    """Let Deployments go with the release (Remove), or stay without it (Keep)."""
    owned = world.memory.settings.on_delete == "Remove"
    for deployment in world.deployments.values():
        if not deployment.deleting and (world.uid in deployment.owner_uids) is not owned and world.memory.live:
            what = "goes with the release from now on" if owned else "stays when the release is deleted"
            step = Own(deployment.name, deployment.uid, deployment.version, owned)
            return Decision(step, "ours_is_owned_as_asked", "Owning", f"Deployment {deployment.name} {what}")
    return None


# --- going -----------------------------------------------------------------------------------------------------------


def previews_end_with_the_candidate(world: World, _: datetime) -> Decision | None:
    """Remove previews that preview nothing."""
    candidate = world.memory.candidate
    wanted = set(candidate.stack.services) if candidate else set()
    for service in world.services.values():
        if (
            service.labels.get(names.RELEASE) == world.key.name
            and service.preview_of
            and service.preview_of not in wanted
        ):
            text = f"{service.name} has no candidate to lead to"
            return Decision(
                DeletePreview(service.name, service.uid), "previews_end_with_the_candidate", "Tidying", text
            )
    return None


def unlisted_services_are_free(world: World, _: datetime) -> Decision | None:
    """Take the mark off Services that left the spec. They keep their selector, as with Keep."""
    memory = world.memory
    kept: set[str] = set()
    for stack in [s for s in (memory.live and memory.live.stack, memory.candidate and memory.candidate.stack) if s]:
        kept |= set(stack.services)
    if world.wanted is None or memory.live is None or acts.unfinished(world):
        return None
    kept |= {n for c in world.wanted.components for n in c.services}
    for service in acts.steered(world).values():
        if service.name not in kept:
            text = f"Service {service.name} left the spec: it stays as it is"
            return Decision(Unmark(service.name, service.version), "unlisted_services_are_free", "Unmarking", text)
    return None


def retention_ends(world: World, now: datetime) -> Decision | None:
    """Let go of retained stacks whose time is over, or that are too many once live is proven."""
    memory, live = world.memory, world.memory.live
    # A release that is yet to prove itself must not cost the targets that it found.
    if live is None or live.proven_at is None or acts.unfinished(world):
        return None
    for i, retained in reversed(list(enumerate(memory.retained))):
        over = now >= retained.until
        too_many = i >= memory.settings.retain_revisions
        if over or too_many:
            kept = tuple(r for r in memory.retained if r is not retained)
            why = (
                f"its time ended at {retained.until:%Y-%m-%d %H:%M:%S} UTC"
                if over
                else "newer proven revisions are kept"
            )
            text = f"version {retained.stack.version} ({retained.stack.revision}) is no longer retained: {why}"
            note = Note("Retired", text, f"{retained.stack.revision}/{retained.until.isoformat()}")
            memory = replace(memory, retained=kept)
            return Decision(Rest(), "retention_ends", "Retired", text, memory=memory, notes=(note,))
    return None


def leftovers_go(world: World, now: datetime) -> Decision | None:
    """Scale to zero, later delete, what has no role: fenced, oldest first, never while anything selects it."""
    if acts.unfinished(world):
        return None
    clones = {d.name for d in failed_clones(world)}
    going = sorted(world.deployments.values(), key=lambda d: (d.created_at, d.name))
    for deployment in going:
        if deployment.deleting or _selected(world, deployment):
            continue
        role = role_of(world, deployment)
        if deployment.name in clones:
            role = Role.LEFTOVER
        elif deployment.adopted_from and _being_adopted(world, deployment.component):
            continue  # a clone on its way to become live
        if role in {Role.FAILED, Role.LEFTOVER} and (step := _going(world, deployment, role, now)):
            what = "deleted" if step.delete else "scaled to zero"
            text = f"{role} Deployment {deployment.name} is {what}"
            return Decision(step, "leftovers_go", "Retiring", text)
    return None


def _being_adopted(world: World, component: str) -> bool:
    asked = world.wanted.component(component) if world.wanted else None
    listed = [world.services.get(name) for name in asked.services] if asked else []
    return any(service is not None and service.selected is None for service in listed)


def _selected(world: World, deployment: Deployment) -> bool:
    labels = {
        **deployment.pod_labels,
        names.RELEASE: world.key.name,
        names.COMPONENT: deployment.component,
        names.REVISION: deployment.revision,
    }
    return any(
        not s.preview_of and s.selected == deployment.revision and names.matches(s.selector, labels)
        for s in world.services.values()
    )


def _going(world: World, deployment: Deployment, role: Role, now: datetime) -> Retire | None:
    if role is Role.LEFTOVER:
        # It may have served until a moment ago: connections move within a second of the read-back.
        if not _settled(world, deployment, now) and world.memory.live:
            return None
        return Retire(deployment.name, deployment.uid, deployment.claims, delete=True)
    failed_at, served = _failed_at(world, deployment)
    # Two may fail at one time of the clock: the later one was made later.
    newer = any(
        (_failed_at(world, other)[0], other.created_at, other.name)
        > (failed_at, deployment.created_at, deployment.name)
        for other in world.deployments.values()
        if other.component == deployment.component
        and other.name != deployment.name
        and role_of(world, other) is Role.FAILED
    )
    if newer and _settled(world, deployment, now):
        return Retire(deployment.name, deployment.uid, deployment.claims, delete=True)
    if deployment.replicas > 0:
        over = _settled(world, deployment, now) if served else now - failed_at >= world.memory.settings.keep_failed_for
        zero = Retire(deployment.name, deployment.uid, deployment.claims, delete=False, served=served)
        return zero if over else None
    if now - failed_at >= world.memory.settings.keep_failed_for + world.memory.settings.retain_for:
        return Retire(deployment.name, deployment.uid, deployment.claims, delete=True)
    return None


def _settled(world: World, deployment: Deployment, now: datetime) -> bool:
    # Counted per Deployment: releases that follow each other quickly must not keep every former live standing.
    since, live = world.since.get(signals.idle(deployment.name)), world.memory.live
    read_back = live is not None and signals.read_back(live.act) in world.since
    return read_back and since is not None and now - since >= SETTLE


def _failed_at(world: World, deployment: Deployment) -> tuple[datetime, bool]:
    """Return when a Deployment's newest failed revision failed, and whether that revision had served."""
    holding = [latch for latch in world.memory.latched if _holds(latch.stack, deployment)]
    newest = max(holding, key=lambda latch: latch.at, default=None)
    if newest is None:
        return deployment.created_at, False
    entry = next((e for e in world.memory.history if e.revision == newest.stack.revision and e.switched), None)
    return newest.at, deployment.served or entry is not None


def unneeded_specs_go(world: World, _: datetime) -> Decision | None:
    """Delete stored specs that nothing refers to."""
    memory = world.memory
    if memory.live is None or acts.unfinished(world):
        return None
    kept = {e.revision for e in memory.history} | {latch.stack.revision for latch in memory.latched}
    kept |= {r.stack.revision for r in memory.retained} | {memory.live.stack.revision}
    kept |= {memory.candidate.stack.revision} if memory.candidate else set()
    kept |= {world.wanted.revision} if world.wanted else set()
    for revision in world.stored:
        if revision not in kept:
            name = names.stored_spec_name(world.key.name, revision)
            return Decision(
                ForgetSpec(name, ""), "unneeded_specs_go", "Tidying", f"stored spec {revision} is not needed"
            )
    return None


def old_orders_go(world: World, now: datetime) -> Decision | None:
    """Delete orders answered 90 days ago."""
    for order in world.orders:
        if order.answered_at and now - order.answered_at > ORDERS_KEPT:
            text = f"order {order.name} was answered more than {ORDERS_KEPT.days} days ago"
            return Decision(ForgetOrder(order.name, order.uid), "old_orders_go", "Tidying", text)
    return None


def next_chore(world: World, now: datetime) -> timedelta | None:
    """Return when a chore falls due by the passing of time alone."""
    memory = world.memory
    due: list[timedelta] = [r.until - now for r in memory.retained]
    due += list(_going_due(world, now))
    due += [order.answered_at + ORDERS_KEPT - now for order in world.orders if order.answered_at]
    if memory.live and memory.live.proven_at is None:
        spec = world.spec_of(memory.live.stack.revision)
        due.append(memory.live.watch_since + (spec.watch.for_ if spec else timedelta(minutes=15)) - now)
    # What is due and yet not done waits for something else to change: to look again at once would be to look for ever.
    yet = [span for span in due if span >= timedelta(0)]
    return max(min(yet), timedelta(milliseconds=50)) if yet else None


def _going_due(world: World, now: datetime) -> Iterator[timedelta]:
    settings = world.memory.settings
    for deployment in world.deployments.values():
        role = role_of(world, deployment)
        if deployment.deleting or role not in {Role.FAILED, Role.LEFTOVER}:
            continue
        since = world.since.get(signals.idle(deployment.name))
        if since and now - since < SETTLE:
            yield since + SETTLE - now
        if role is Role.FAILED:
            failed_at, _ = _failed_at(world, deployment)
            zero = failed_at + settings.keep_failed_for
            yield (zero if zero > now and deployment.replicas else zero + settings.retain_for) - now
