"""Checks: what is to be measured now, and what the tallies mean for the candidate and for live.

The checks that judge a revision are those of its stored spec. A check that is only reported (`dryRun`) is measured
and shown like the others, and asked by no rule.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tradingrelease.policy import names, pod_book, promql
from tradingrelease.policy.check_spec import Check, During, PodsCheck, component_of
from tradingrelease.policy.measurements import (
    HttpSubject,
    Incident,
    Kind,
    LogSubject,
    Measurement,
    QuerySubject,
    Tally,
    Verdict,
    passes,
)
from tradingrelease.policy.model import CheckResult, Deployment, Live, Member, Service, Stack, World, scope
from tradingrelease.policy.signals import read_back
from tradingrelease.policy.spec import Spec

DATA_PLANE: Final = timedelta(seconds=2)
"""kube-proxy was measured to need up to 1 s until a new connection follows a Service: twice that is waited."""
LONGEST_WORDS: Final = 300

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """A revision that its checks judge now."""

    stack: Stack
    spec: Spec
    during: During
    scope: str
    since: datetime
    """When its attempt or its watch began."""
    shared: frozenset[str] = frozenset()
    """Components of a candidate that live shares with it: what these pods do and answer is no news of the candidate."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of its own spec that judge it now."""
        return tuple(check for check in self.spec.checks if check.judges(self.during) and not self._of_live(check))

    def _of_live(self, check: Check) -> bool:
        return bool(check.http or check.logs) and self.component_of(check) in self.shared

    def component_of(self, check: Check) -> str:
        """Return the component that a check is about; the first one where it is about all."""
        services = {c.name: c.services for c in self.spec.components}
        return component_of(check, services) or self.spec.components[0].name


def candidate(world: World) -> Judged | None:
    """Return the candidate as its checks see it."""
    found = world.memory.candidate
    spec = world.spec_of(found.stack.revision) if found else None
    if found is None or spec is None:
        return None
    live, where = world.memory.live, scope(found.stack.revision, found.attempt)
    shared = frozenset(m.name for m in found.stack.members if live and live.stack.shares(m))
    return Judged(found.stack, spec, "Verify", where, found.started_at, shared)


def watched(world: World) -> Judged | None:
    """Return live as its checks see it, while it is in its watch."""
    live = world.memory.live
    spec = world.spec_of(live.stack.revision) if live else None
    if live is None or spec is None or live.proven_at is not None:
        return None
    return Judged(live.stack, spec, "Watch", scope(live.stack.revision, None), switched_at(world, live))


def switched_at(world: World, live: Live) -> datetime:
    """Return when live's switch was written: a crash counts also if nobody had seen the switch complete by then."""
    written = (e.switched for e in world.memory.history if e.revision == live.stack.revision and e.switched)
    return min(next(written, live.since), live.since)


# --- what to measure --------------------------------------------------------------------------------------------------


def wanted(world: World, *, stands: bool) -> frozenset[Measurement]:
    """Return what is to be measured again and again now. `stands`: the candidate has its replicas and endpoints."""
    green, live = candidate(world), watched(world)
    found = list(_measurements(world, green)) if green and stands else []
    return frozenset([*found, *(_measurements(world, live) if live else ())])


def _measurements(world: World, judged: Judged) -> Iterator[Measurement]:
    for check in judged.checks:
        subject = _http(world, judged, check) or _query(world, judged, check) or _logs(world, judged, check)
        if subject is None:
            continue
        wait = DATA_PLANE if check.http else timedelta(0)
        yield Measurement(judged.scope, check, judged.during, subject, check.initial_delay + wait)


def _http(world: World, judged: Judged, check: Check) -> HttpSubject | None:
    """Aim at the preview of a Service, or at the Service itself once it leads to live and to nothing else."""
    if check.http is None:
        return None
    member = judged.stack.member(judged.component_of(check))
    watching = judged.during == "Watch"
    name = check.http.service if watching else names.preview_name(check.http.service)
    service = world.services.get(name)
    deployment = world.deployment(member.name, member.revision) if member else None
    if member is None or service is None or deployment is None or service.selected != member.revision:
        return None
    if service.labels.get(names.RELEASE) != world.key.name:
        return None
    begun = (judged.scope, check.name) in world.tallies
    if watching and not begun and read_back(world.memory.live.act if world.memory.live else 0) not in world.since:
        return None
    others = [d for d in world.deployments.values() if d.component == member.name and d.uid != deployment.uid]
    uids = {d.uid for d in others}
    return HttpSubject(
        address=service.cluster_ip if not service.headless else "",
        port=_port(service, check.http.port),
        version=deployment.created_version,
        other_pods=frozenset(pod.name for pod in world.pods if pod.deployment_uid in uids),
        other_versions=frozenset(d.created_version for d in others) - {deployment.created_version},
    )


def _port(service: Service, asked: int | str) -> int:
    found = (p for p in service.ports if asked in {p.get("port"), p.get("name")})
    return int(next(found, {}).get("port", 0))


def _query(world: World, judged: Judged, check: Check) -> QuerySubject | None:
    if check.prometheus is None:
        return None
    member = judged.stack.member(judged.component_of(check))
    deployment = world.deployment(member.name, member.revision) if member else None
    if member is None or deployment is None:
        return None
    template = check.prometheus.template
    query = check.prometheus.query if template is None else world.offers.templates.get(template)
    values = {
        "release": world.key.name,
        "namespace": world.key.namespace,
        "component": member.name,
        "revision": member.revision,
        "version": deployment.created_version,
    }
    return QuerySubject(promql.rendered(query, values) if query else "")


def _logs(world: World, judged: Judged, check: Check) -> LogSubject | None:
    """Read the pods of the judged revision, and only those, from when its attempt or its watch began."""
    if check.logs is None:
        return None
    member = judged.stack.member(check.logs.component)
    deployment = world.deployment(member.name, member.revision) if member else None
    pods = world.pods_of(deployment) if deployment else ()
    found = frozenset((pod.name, container.name, container.restarts) for pod in pods for container in pod.containers)
    since = judged.since + check.initial_delay
    return LogSubject(found, since, frozenset(pod.name for pod in pods if pod.created_at > since))


def unmeasurable(world: World, spec: Spec) -> tuple[str, str] | None:
    """Return reason and advice for the first check of a spec that could not be measured here."""
    for check in spec.checks:
        if check.prometheus:
            if not world.offers.prometheus:
                text = "the operator knows no Prometheus: set TRADINGRELEASE_PROMETHEUS_URL, or remove the check"
                return "PrometheusNotConfigured", f"check {check.name!r}: {text}"
            template = check.prometheus.template
            if template is not None and template not in world.offers.templates:
                known = ", ".join(sorted(world.offers.templates)) or "none"
                text = f"the operator's configuration has no template {template!r}; it has: {known}"
                return "InvalidCheck", f"check {check.name!r}: {text}"
        service = world.services.get(check.http.service) if check.http else None
        if check.http and service:
            if service.headless or not service.cluster_ip:
                text = f"Service {service.name} has no ClusterIP to be asked at: name another Service of the component"
                return "InvalidCheck", f"check {check.name!r}: {text}"
            if not _port(service, check.http.port):
                text = f"Service {service.name} has no port {check.http.port!r}"
                return "InvalidCheck", f"check {check.name!r}: {text}"
    return None


# --- what it means ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lack:
    """A check that keeps the candidate from traffic, or live from being proven."""

    reason: str
    message: str
    component: str
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A check in status."""

    name: str
    verdict: Verdict
    said: str
    dry_run: bool


def _asked(world: World, judged: Judged) -> Iterator[tuple[Check, Tally]]:
    """Yield the checks that rules ask, with what was found: those that are measured, and not only reported."""
    for check in judged.checks:
        if not check.dry_run and not check.pods:
            yield check, _tally(world, judged, check)


def _tally(world: World, judged: Judged, check: Check) -> Tally:
    return world.tallies.get((judged.scope, check.name), Tally())


def lacking(world: World, judged: Judged | None) -> Iterator[Lack]:
    """Yield what does not pass right now. What was gathered for another revision or attempt is not looked at.

    The words change when a verdict does, and not at every measurement.
    """
    if judged is None:
        return
    for check, tally in _asked(world, judged):
        if passes(tally, check):
            continue
        component = judged.component_of(check)
        if tally.verdict is Verdict.INCONCLUSIVE:
            times = f"{check.inconclusive_limit} times in a row"
            text = f"check {check.name} could not be judged {times}: {tally.said}"
            yield Lack("CheckInconclusive", text, component, stalled=True)
        else:
            text = f"check {check.name} has not passed {check.success_limit} times in a row yet"
            yield Lack("CheckPending", text, component)


def failing(world: World, judged: Judged | None) -> tuple[str, str] | None:
    """Return reason and words of the first check that failed."""
    for check, tally in _asked(world, judged) if judged else ():
        if tally.verdict is Verdict.FAILED:
            # What was found when the limit was reached: the words of a failure stay the same.
            text = f"check {check.name} failed {check.failure_limit} times: {tally.said}"
            return "CheckFailed", text
    return None


def in_status(world: World, status: Json) -> Json:
    """Return a status with the verdicts of the checks that judge the candidate and live."""
    for key, judged in (("candidate", candidate(world)), ("live", watched(world))):
        if judged and status.get(key) and (found := list(shown(world, judged))):
            listed = [
                {"name": s.name, "verdict": str(s.verdict), "message": s.said or None, "dryRun": s.dry_run or None}
                for s in found
            ]
            status = {**status, key: {**status[key], "checks": listed}}
    return status


def shown(world: World, judged: Judged) -> Iterator[Shown]:
    """Yield every check that judges a revision, with its verdict."""
    for check in judged.checks:
        if check.pods:
            text = exceeded(world, judged, check, check.pods)
            verdict = Verdict.FAILED if text else Verdict.PASSED
            yield Shown(check.name, verdict, text[:LONGEST_WORDS], check.dry_run)
        else:
            tally = _tally(world, judged, check)
            yield Shown(check.name, tally.verdict, tally.said[:LONGEST_WORDS], check.dry_run)


def results(world: World, judged: Judged | None) -> tuple[CheckResult, ...]:
    """Return what each check that judges a revision came to, for history."""
    if judged is None:
        return ()
    found = zip(judged.checks, shown(world, judged), strict=True)
    return tuple(_result(judged, check, _tally(world, judged, check), s.verdict) for check, s in found)


def _result(judged: Judged, check: Check, tally: Tally, verdict: Verdict) -> CheckResult:
    return CheckResult(check.name, judged.during, verdict, tally.measured, check.dry_run, tally.since)


# --- pods: seen as it happens, never measured -------------------------------------------------------------------------


def pods_failing(world: World, judged: Judged) -> tuple[str, str] | None:
    """Return reason and words of the first check of pods that failed.

    In the watch every component has one, whether written or not: no crash is allowed.
    """
    for check in judged.checks:
        if check.pods and not check.dry_run and (text := exceeded(world, judged, check, check.pods)):
            return "CheckFailed", f"check {check.name} failed: {text}"
    return None


def crashed(world: World, live: Live, member: Member, deployment: Deployment) -> str:
    """Say how a component of live crashed in its watch, where no check of pods of its own says what is allowed."""
    judged = watched(world)
    covered = judged and any(c.pods and _covers(c.pods, member) for c in judged.checks)
    if covered:
        return ""
    return crashed_since(world, deployment, switched_at(world, live))


def crashed_since(world: World, deployment: Deployment, moment: datetime) -> str:
    """Say which container of a Deployment died by itself after a moment; "" if none did."""
    crashes = [i for i in _incidents(world, deployment, moment) if i.kind is not Kind.FLAP]
    return crashes[-1].text if crashes else ""


def _covers(pods: PodsCheck, member: Member) -> bool:
    return pods.component in {None, member.name}


def exceeded(world: World, judged: Judged, check: Check, pods: PodsCheck) -> str:
    """Say which limit of a check of pods is exceeded; "" if none is."""
    since = judged.since + check.initial_delay
    for member in judged.stack.members:
        deployment = world.deployment(member.name, member.revision)
        if deployment is None or not _covers(pods, member) or member.name in judged.shared:
            continue
        found = _incidents(world, deployment, since)
        if text := _over(found, pods):
            return f"component {member.name}: {text}"
    return ""


def _over(found: list[Incident], pods: PodsCheck) -> str:
    crashes = [i for i in found if i.kind is not Kind.FLAP]
    limits = [
        ([i for i in found if i.kind is Kind.OOM_KILL], pods.oom_kills, "OOM kills"),
        (crashes, pods.restarts, "crashes"),
        ([i for i in found if i.kind is Kind.FLAP], pods.readiness_flaps, "losses of readiness"),
    ]
    for some, allowed, what in limits:
        if allowed is not None and len(some) > allowed:
            return f"{len(some)} {what}, {allowed} allowed: {some[-1].text}"
    return ""


def _incidents(world: World, deployment: Deployment, since: datetime) -> list[Incident]:
    pods = world.pods_of(deployment)
    return pod_book.since(pod_book.noted(world.pod_book, pods), pods, since)
