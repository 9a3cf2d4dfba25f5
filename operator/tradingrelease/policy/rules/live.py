"""What serves now comes first: an act begun is finished, traffic has a home, failures of live roll back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from tradingrelease.policy import acts, checks, drift, manifests, names, signals
from tradingrelease.policy.absorb import close, ended_unswitched
from tradingrelease.policy.hooks import pending_after_switch
from tradingrelease.policy.model import (
    Ask,
    ConfirmDead,
    CreateDeployment,
    Decision,
    Deployment,
    Key,
    Live,
    Mark,
    Member,
    Note,
    Order,
    Record,
    Rest,
    Restore,
    Retained,
    Service,
    Stack,
    Switch,
    World,
    scope,
)
from tradingrelease.policy.pods import not_standing, ready
from tradingrelease.policy.probes import pod_targets
from tradingrelease.policy.reasons import Cause, Outcome
from tradingrelease.policy.rules.hooks import failed_after_switch, halted
from tradingrelease.policy.spec import Component, Watch

NOT_YET: Final = datetime(1, 1, 1, tzinfo=UTC)
ANSWER_HOLDS: Final = timedelta(seconds=5)
"""How long blue's answer counts when it was asked before a rollback."""


def rollback_record(
    live: Stack, target: Stack, *, because: str, reason: str, order: Order | None = None, latches: bool = True
) -> Record:
    """Return the record of a rollback; number, time and Service are filled in when it is written."""
    return Record(
        act=0, cause=Cause.ROLLBACK, to=target.revision, origin=live.revision, selected="", before="",
        at=NOT_YET, because=because, order=order.uid if order else "", latches=latches, reason=reason,
        forced_at=order.forced_at if order else None,
    )  # fmt: skip


def any_dead(world: World) -> bool:
    """Tell whether a live Service has no ready endpoint, as far as the watches show."""
    return any(signal.startswith("dead:") for signal in world.since)


# --- an act begun is finished, or undone ----------------------------------------------------------------------------


def traffic_has_a_home(world: World, now: datetime) -> Decision | None:
    """Recreate a live Deployment that somebody deleted."""
    rule = "traffic_has_a_home"
    live = world.memory.live
    if live is None:
        return None
    for member in live.stack.members:
        if names.deployment_name(world.key.name, member.name, member.revision) in world.deployments:
            continue
        services = [s for n in member.services if (s := world.services.get(n))]
        # One that selects something else, or nothing, is to be put back to it (unless somebody broke the glass).
        comes_back = acts.unfinished(world) is None and any(not s.break_glass for s in services)
        if not comes_back and all(s.selected != member.revision for s in services):
            continue
        if decision := recreate(world, live.stack, member, rule):
            text = f"live Deployment of component {member.name} was deleted: recreated from its stored spec"
            note = Note("LiveRecreated", text, f"{member.revision}/{now:%Y%m%d%H%M}", warning=True)
            return replace(decision, because=text, notes=(note,))
    return None


def recreate(world: World, stack: Stack, member: Member, rule: str) -> Decision | None:
    """Return the creation of a member's Deployment from the stack's stored spec, with claims."""
    spec = world.spec_of(stack.revision)
    component = spec.component(member.name) if spec else None
    if component is None or component.revision != member.revision:
        return None
    same = [d.replicas for d in world.deployments.values() if d.component == member.name]
    replicas = world.memory.settings.replicas.get(member.name) or max(same, default=1) or 1
    body = manifests.deployment(
        world.key,
        world.uid,
        component=member.name,
        revision=member.revision,
        template=component.template,
        replicas=replicas,
        claims={n: world.services[n].version for n in member.services if n in world.services},
        created_for=stack.revision,
        version=stack.version,
        min_ready_seconds=component.min_ready_seconds,
        progress_deadline=component.progress_deadline,
        owned=world.memory.settings.on_delete == "Remove",
    )
    return Decision(CreateDeployment(body["metadata"]["name"], body), rule, "Recreating", "")


def selectors_are_ours(world: World, now: datetime) -> Decision | None:
    """Put back a live Service's selector that others changed, or that a recreated Service lacks."""
    rule = "selectors_are_ours"
    live = world.memory.live
    if live is None or world.memory.paused or acts.unfinished(world):
        return None
    for member in live.stack.members:
        for name in member.services:
            service = world.services.get(name)
            if service is None or service.selected == member.revision or service.break_glass:
                continue
            if (mark := service.marked_by) and mark[0] != world.key.name:
                continue
            deployment = world.deployment(member.name, member.revision)
            if deployment and deployment.replicas == 0 and service.selected in {None, names.NOTHING}:
                # No selector may name what has no pods. Without our key it would give a candidate its traffic.
                if service.selected is None:
                    text = f"Service {name} had no revision key, and {deployment.name} has 0 replicas: it selects none"
                    return Decision(Mark(name, service.version, gate=True), rule, "Gating", text)
                continue
            return _put_back(world, live, member, service, now, rule)
    return None


def _put_back(world: World, live: Live, member: Member, service: Service, now: datetime, rule: str) -> Decision | None:
    what = f"selected {service.selected}" if service.selected else "had no revision key"
    because = f"it {what} though {member.revision} is live; somebody else wrote it"
    record = Record(
        act=live.act, cause=Cause.REPAIR, to=live.stack.revision, origin=live.stack.revision,
        selected=member.revision, before="", at=now, because=because, reason="SelectorRepaired",
    )  # fmt: skip
    decision = acts.point(world, service.name, record, rule)
    note = Note(
        "SelectorRepaired",
        f"Service {service.name}: {because}",
        f"{service.uid}/{service.version}",
        warning=True,
    )
    return replace(decision, notes=(note,)) if isinstance(decision.step, Switch) else decision


def given_up_serves_nobody(world: World, now: datetime) -> Decision | None:
    """Take back what a late write gave to a revision that was given up before it arrived, where nothing live was.

    At the first release, and behind a Service that a release has just got.
    """
    rule, memory = "given_up_serves_nobody", world.memory
    if memory.paused or acts.unfinished(world):
        return None
    of_live = set(memory.live.stack.services) if memory.live else set()
    for service in acts.steered(world).values():
        record = service.record
        if service.name in of_live or record is None or record.cause is not Cause.PROMOTE or service.break_glass:
            continue
        late = record.act <= memory.act and service.selected == record.selected and record.before == names.NOTHING
        proven = any(d.proven for d in world.deployments.values() if d.revision == record.selected)
        if late and not proven and record.release == world.key.name and ended_unswitched(memory, record.to):
            because = f"the switch to {record.to} arrived after that was given up"
            undo = replace(
                record, act=memory.act, cause=Cause.UNDO, to="", origin=record.to, selected=names.NOTHING,
                at=now, because=because, order="", latches=False, reason="SwitchUndone",
            )  # fmt: skip
            text = f"Service {service.name} selects no pod again: {because}"
            note = Note("SwitchUndone", text, f"{service.uid}/{service.version}", warning=True)
            return replace(acts.point(world, service.name, undo, rule), notes=(note,))
    return None


def nobody_edited_ours(world: World, _: datetime) -> Decision | None:
    """Restore the template of a live, candidate or retained Deployment that somebody edited."""
    rule = "nobody_edited_ours"
    if world.memory.paused:
        return None
    memory = world.memory
    stacks = [s for s in (memory.candidate and memory.candidate.stack, memory.live and memory.live.stack) if s]
    for stack in stacks + [r.stack for r in memory.retained]:
        spec = world.spec_of(stack.revision)
        for member in stack.members:
            deployment = world.deployment(member.name, member.revision)
            component = spec.component(member.name) if spec else None
            if deployment is None or component is None or component.revision != member.revision:
                continue
            # What the API server answered to our own write is no edit: to write it again would give the same again.
            admitted = world.admitted.get(deployment.uid) == deployment.template
            if not admitted and (where := _edited(_Templates.of(world, member, component, deployment))):
                written = manifests.pod_template(world.key, member.name, member.revision, component.template)
                text = f"Deployment {deployment.name} was edited ({where}): restored"
                note = Note("EditRestored", text, f"{deployment.uid}/{deployment.version}", warning=True)
                step = Restore(deployment.name, deployment.uid, deployment.version, written)
                return Decision(step, rule, "EditRestored", text, notes=(note,))
            if (
                stacks
                and stack is stacks[0]
                and not deployment.adopted_from
                and deployment.min_ready_seconds != component.min_ready_seconds
            ):
                text = f"Deployment {deployment.name}: minReadySeconds is {component.min_ready_seconds} from now on"
                step = Restore(deployment.name, deployment.uid, deployment.version, None, component.min_ready_seconds)
                return Decision(step, rule, "SettingsOnly", text)
    return None


@dataclass(frozen=True, slots=True)
class _Templates:
    """A template as written and as found. Two of them are equal where they hold the very same objects."""

    key: Key
    component: str
    revision: str
    identities: tuple[int, int]
    """Unique for as long as this value lives, since it holds on to the objects."""
    written: Mapping[str, Any] = field(compare=False)
    found: Mapping[str, Any] = field(compare=False)

    @classmethod
    def of(cls, world: World, member: Member, component: Component, deployment: Deployment) -> "_Templates":
        written, found = component.template, deployment.template
        return cls(world.key, member.name, member.revision, (id(written), id(found)), written, found)


@lru_cache(maxsize=512)
def _edited(templates: _Templates) -> str:
    """Say what was edited; asked at every look, answered once for each version of a Deployment."""
    written = manifests.pod_template(templates.key, templates.component, templates.revision, templates.written)
    return drift.edited(written, templates.found)


# --- live is healthy, or the last proven revision takes over ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """Why live is not well."""

    reason: str
    message: str
    dead: str = ""
    """The Service that has no ready endpoint, if that is the failure."""


def live_is_healthy(world: World, now: datetime) -> Decision | None:
    """Roll back when live fails: any failure in the watch, loss of every endpoint while blue is retained."""
    rule = "live_is_healthy"
    live = world.memory.live
    if live is None or acts.unfinished(world):
        return None
    failure = failing(world, live, now)
    if failure is None:
        return None
    target = next((r for r in world.memory.retained if world.memory.latch_of(r.stack.revision) is None), None)
    if target is None:
        text = f"{failure.message}; no proven revision is retained to roll back to"
        return Decision(Rest(), rule, "NothingToRollBackTo", text, look_again=timedelta(seconds=5), stalled=True)
    if held := halted(world, target, failure.message, rule):
        return held
    if failure.dead:
        return _dead(world, live, target, failure, now, rule)
    return _unwell(world, live, target, failure, now, rule)


def failing(world: World, live: Live, now: datetime) -> Failure | None:
    """Return how live fails, by its own stored spec: the worst first."""
    spec = world.spec_of(live.stack.revision)
    watch = spec.watch if spec else Watch()
    for member in live.stack.members:
        for name in member.services:
            began = world.since.get(signals.dead(name))
            if began and now - began >= watch.dead_after:
                lasting = watch.dead_after.total_seconds()
                text = f"Service {name} has had no ready endpoint for {lasting:g} s"
                return Failure("NoEndpoint", text, dead=name)
    if live.proven_at is not None:
        return None
    if text := failed_after_switch(world, live):
        return Failure("HookFailed", text)
    for member in live.stack.members:
        deployment = world.deployment(member.name, member.revision)
        if deployment is None or deployment.replicas == 0:
            continue
        if found := _member_failing(world, live, member, deployment):
            return found
    judged = checks.watched(world)
    check = judged and (checks.pods_failing(world, judged) or checks.failing(world, judged))
    return Failure(*check) if check else None


def _member_failing(world: World, live: Live, member: Member, deployment: Deployment) -> Failure | None:
    if text := checks.crashed(world, live, member, deployment):
        return Failure("Crashed", f"component {member.name} crashed in its watch: {text}")
    health = world.health_of(live.stack.revision, member.name)
    if health is None:
        return None
    where = scope(live.stack.revision, None)
    for pod in world.pods_of(deployment):
        streak = world.streaks.get((where, pod.uid))
        if streak and streak.failed >= health.failure_threshold:
            times = f"{health.failure_threshold} times in a row"
            text = f"component {member.name}, pod {pod.name}: health failed {times}: {streak.last}"
            return Failure("HealthFailed", text)
    return None


def next_death(world: World, now: datetime) -> timedelta | None:
    """Return when to look again because a Service may have been dead for long enough by then."""
    live = world.memory.live
    spec = world.spec_of(live.stack.revision) if live else None
    after = (spec.watch if spec else Watch()).dead_after
    ages = [now - at for signal, at in world.since.items() if signal.startswith("dead:")]
    # Who is dead for that long has been spoken of: to look again at once would be to look for ever.
    yet = [after - age for age in ages if age < after]
    return max(min(yet), timedelta(milliseconds=50)) if yet else None


def _dead(world: World, live: Live, target: Retained, failure: Failure, now: datetime, rule: str) -> Decision | None:
    if failure.dead not in world.confirmed_dead:
        text = f"{failure.message}: confirmed by a direct read before anything is done"
        return Decision(ConfirmDead(failure.dead), rule, "Confirming", text)
    if text := not_standing(world, target.stack, skip=live.stack):
        text = f"{failure.message}, and version {target.stack.version} cannot take over: {text}"
        return Decision(Rest(), rule, "BothSidesFail", text, look_again=timedelta(seconds=1), stalled=True)
    record = rollback_record(live.stack, target.stack, because=failure.message, reason=failure.reason)
    return acts.begin(world, record, rule, now)


def _unwell(world: World, live: Live, target: Retained, failure: Failure, now: datetime, rule: str) -> Decision | None:
    asked = world.asked.get(target.stack.revision)
    if asked is None or now - asked.at > ANSWER_HOLDS:
        text = f"{failure.message}; version {target.stack.version} is asked whether it is well"
        return Decision(_question(world, target.stack), rule, "AskingBlue", text)
    if silent := _unanswered(world, target.stack, live.stack, asked.passed):
        text = f"{failure.message}; and of version {target.stack.version}, {silent} ({asked.said}): holding still"
        wait = max(asked.at + ANSWER_HOLDS - now, timedelta(milliseconds=100))
        return Decision(Rest(), rule, "BothSidesFail", text, look_again=wait, stalled=True)
    record = rollback_record(live.stack, target.stack, because=failure.message, reason=failure.reason)
    return acts.begin(world, record, rule, now)


def _question(world: World, stack: Stack) -> Ask:
    targets = []
    unprobed = set()
    for member in stack.members:
        deployment = world.deployment(member.name, member.revision)
        if deployment is None:
            continue
        health = world.health_of(stack.revision, member.name)
        if health is None:
            unprobed |= {pod.uid for pod in ready(world, deployment)}
        else:
            targets += pod_targets(world, "asked", deployment, health)
    return Ask(stack.revision, tuple(targets), frozenset(unprobed))


def _unanswered(world: World, stack: Stack, live: Stack, passed: frozenset[str]) -> str:
    for member in stack.members:
        if live.shares(member):
            continue
        deployment = world.deployment(member.name, member.revision)
        own = {pod.uid for pod in world.pods_of(deployment)} if deployment else set()
        if not own & passed:
            return f"no pod of component {member.name} passes"
    return ""


# --- live is proven ---------------------------------------------------------------------------------------------------


def live_is_proven(world: World, now: datetime) -> Decision | None:
    """End the watch when its time is over and nothing failed."""
    live = world.memory.live
    if live is None or live.proven_at is not None or acts.unfinished(world) or not world.generation:
        return None
    spec = world.spec_of(live.stack.revision)
    ends = live.watch_since + (spec.watch if spec else Watch()).for_
    if pending_after_switch(live.hooks):
        return None
    if now < ends or signals.unread(world) or any_dead(world) or failing(world, live, now):
        return None
    if any(checks.lacking(world, checks.watched(world))):
        return None
    history = close(
        world.memory.history,
        live.stack.revision,
        Outcome.PROVEN,
        "",
        "the watch ended without a failure",
        now,
    )
    memory = replace(world.memory, live=replace(live, proven_at=now), history=history)
    text = f"version {live.stack.version} ({live.stack.revision}) is proven: its watch ended without a failure"
    note = Note("Proven", text, f"{live.act}/{live.stack.revision}")  # not by its times: an answer may be lost
    return Decision(Rest(), "live_is_proven", "Proven", text, memory=memory, notes=(note,))
