"""The values that policy works on: the world as observed, what is remembered, and what is decided.

Roles (live, candidate, retained) belong to revisions, never to objects. Times are aware datetimes on the API
server's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tradingrelease.policy import names
from tradingrelease.policy.check_spec import During
from tradingrelease.policy.freezes import Freeze
from tradingrelease.policy.measurements import Measured, Offers, Page, Tally, Verdict
from tradingrelease.policy.reasons import Action, Cause, Consent, Moment, Outcome, Progress, Severity
from tradingrelease.policy.spec import Health, Rejected, Spec


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names one release."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


# --- what is remembered: the part of status that is read back -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One component of a stack: which component revision, behind which Services."""

    name: str
    revision: str
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """A revision and the component revisions that belong together in it, in switching order."""

    revision: str
    version: str
    members: tuple[Member, ...]

    def member(self, name: str) -> Member | None:
        """Return the member for a component, if the stack has one."""
        return next((m for m in self.members if m.name == name), None)

    def shares(self, member: Member) -> bool:
        """Tell whether the stack runs the very revision of a component that a member names."""
        same = self.member(member.name)
        return same is not None and same.revision == member.revision

    def wants(self, service: str) -> str | None:
        """Return the component revision that this stack puts behind a Service, if it names it."""
        return next((m.revision for m in self.members if service in m.services), None)

    @property
    def services(self) -> tuple[str, ...]:
        """All Services of the stack, in switching order."""
        return tuple(service for member in self.members for service in member.services)


@dataclass(frozen=True, slots=True)
class HookRun:
    """One run of a hook: of one revision and attempt, never repeated."""

    name: str
    at: Moment
    phase: Progress = Progress.PENDING
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    job: str = ""
    """Name of its Job, once there is one."""
    job_uid: str = ""
    """That very Job: started only after this is stored, so that it is never started twice."""
    blue_passed_at: datetime | None = None
    """When live was found well after it (only before green)."""
    event: str = ""
    """What the receiver of its webhook is sent, while it runs: whoever calls again says the very same."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase not in {Progress.PENDING, Progress.RUNNING}


@dataclass(frozen=True, slots=True)
class Author:
    """Who applied a spec, as admission stamped it, and for whom."""

    applied_by: str = ""
    on_behalf_of: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes to one revision and attempt."""

    at: Moment
    by: str
    """Who it was: whom a trusted account spoke for, else the account."""
    account: str
    given_at: datetime
    reason: str
    order: str
    """Name of the ReleaseCommand."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The approvals of one moment."""

    at: Moment
    required: int
    phase: Consent = Consent.PENDING
    since: datetime | None = None
    """When it began to wait."""
    given: tuple[Approval, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """A revision that was rolled back from: its own spec says what is done after that."""

    revision: str
    version: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Live:
    """The stack that the Services select."""

    stack: Stack
    since: datetime
    watch_since: datetime
    proven_at: datetime | None
    act: int
    """Number of the last act (switch, rollback, undo, adoption) that is part of this memory."""
    attempt: int = 1
    """The attempt that made it live."""
    hooks: tuple[HookRun, ...] = ()
    """Runs of its own hooks; after a rollback, of the AfterRollback hooks of what was left."""
    left: Left | None = None
    """What was rolled back from, where that made this one live."""
    unsafe: str = ""
    """Which irreversible hook succeeded while this one was live, and so is older than what comes after it."""
    forced_at: datetime | None = None
    """When a person ordered by force to go back to it: what had been done by then is no reason any more."""
    author: Author = Author()


@dataclass(frozen=True, slots=True)
class Candidate:
    """The stack that the spec asks for and that is not live yet."""

    stack: Stack
    attempt: int
    started_at: datetime
    idle: bool = False
    """A component of it wants no replicas: it waits, and no deadline runs."""
    counted_from: datetime | None = None
    """When the deadline began to run anew, after such a wait or after what comes before green."""
    held: str = ""
    """Start or Switch while a freeze holds it there: no deadline runs."""
    hooks: tuple[HookRun, ...] = ()
    gates: tuple[Gate, ...] = ()
    author: Author = Author()
    """Who applied it: kept from its beginning, whoever touches the release later."""

    @property
    def deadline_from(self) -> datetime:
        """The moment from which progressDeadline counts."""
        return self.counted_from or self.started_at


@dataclass(frozen=True, slots=True)
class Retained:
    """A former live, proven stack kept for rollback."""

    stack: Stack
    until: datetime
    unsafe: str = ""
    """Which irreversible hook lies between it and now: nobody goes back but by a forced order."""
    forced_at: datetime | None = None
    """As it was when it was live."""


@dataclass(frozen=True, slots=True)
class Latched:
    """A stack that failed or was rolled back; not tried again until its spec changes or a Retry."""

    stack: Stack
    reason: str
    message: str
    at: datetime
    author: Author = Author()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check of an attempt, or of its watch, came to."""

    name: str
    during: During
    verdict: Verdict
    measured: Measured
    dry_run: bool = False
    since: datetime | None = None
    """From when on measurements are counted: that is when the process began to measure that saw the end."""


@dataclass(frozen=True, slots=True)
class HookResult:
    """How the run of a hook ended."""

    name: str
    phase: Progress
    seconds: float | None = None
    """How long it took; None where it was not begun, or its end was not waited for."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One revision's story, for people."""

    revision: str
    version: str
    outcome: Outcome
    started: datetime | None
    switched: datetime | None
    finished: datetime | None
    reason: str
    by: str
    attempt: int = 0
    approvals: tuple[Approval, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    hooks: tuple[HookResult, ...] = ()

    @property
    def told(self) -> "HistoryEntry":
        """The entry without the evidence, which may come later: what happened is told once."""
        return replace(self, checks=(), hooks=())


@dataclass(frozen=True, slots=True)
class Paused:
    """An ordered pause."""

    at: datetime
    reason: str
    order: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order: kept in memory until the order itself says so."""

    uid: str
    phase: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Person:
    """One person's order to override a freeze."""

    by: str
    """Who it was: whom a trusted account spoke for, else the account."""
    account: str
    order: str
    """Name of the ReleaseCommand."""
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Override:
    """A freeze that is lifted for one attempt at one revision, once people enough have ordered it."""

    freeze: str
    freeze_uid: str
    revision: str
    attempt: int
    people: tuple[Person, ...]
    """Oldest first, all different."""


@dataclass(frozen=True, slots=True)
class WebhookLeft:
    """A webhook that was called for an attempt that is given up: nobody asks any more whether its receiver is done."""

    hook: str
    version: str
    until: datetime
    """When its time is up: until then no other hook begins."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The newest accepted values of what is not part of a revision: a later typo must not shorten a retention."""

    replicas: Mapping[str, int] = field(default_factory=dict)
    retain_for: timedelta = timedelta(hours=24)
    retain_revisions: int = 1
    keep_failed_for: timedelta = timedelta(minutes=15)
    on_delete: str = "Keep"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A revision that is asked for and has not begun, with who applied it: whoever touches the release later."""

    revision: str
    author: Author


@dataclass(frozen=True, slots=True)
class Memory:
    """All that outlives one look at the world, stored in status."""

    live: Live | None = None
    candidate: Candidate | None = None
    retained: tuple[Retained, ...] = ()
    """Newest first."""
    latched: tuple[Latched, ...] = ()
    """Newest first."""
    history: tuple[HistoryEntry, ...] = ()
    """Newest first."""
    paused: Paused | None = None
    answers: tuple[Answer, ...] = ()
    settings: Settings = Settings()
    act: int = 0
    """Number of the last act that is part of this memory, also where nothing is live."""
    overrides: tuple[Override, ...] = ()
    """Newest first."""
    waiting: Waiting | None = None
    webhook_left: WebhookLeft | None = None
    """At most one, since one hook runs at a time."""

    def latch_of(self, revision: str) -> Latched | None:
        """Return the latch of a revision, if it has one."""
        return next((latch for latch in self.latched if latch.stack.revision == revision), None)

    def stack_of(self, revision: str) -> Stack | None:
        """Return the remembered stack of a revision, whatever its role."""
        known: list[Stack] = [self.live.stack] if self.live else []
        known += [self.candidate.stack] if self.candidate else []
        known += [r.stack for r in self.retained] + [latch.stack for latch in self.latched]
        return next((stack for stack in known if stack.revision == revision), None)


# --- what is observed -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """What a Service's switch annotation says: the act that last moved its selector."""

    act: int
    cause: Cause
    to: str
    """Revision that the act moves to."""
    origin: str
    """Revision that the act moves away from ("" at adoption)."""
    selected: str
    """Component revision that this Service was given."""
    before: str
    """Component revision that this Service selected before ("" where the key was absent)."""
    at: datetime
    because: str
    order: str = ""
    """uid of the ReleaseCommand that ordered it."""
    forced_at: datetime | None = None
    """When that was given, if by force."""
    latches: bool = False
    """A rollback that latches what it leaves."""
    reason: str = ""
    release: str = ""
    """Name of the release whose act it was: a Service may come from another one, with records of its own count."""


@dataclass(frozen=True, slots=True)
class Service:
    """A Service of the namespace."""

    name: str
    uid: str
    version: int
    """resourceVersion; compared as an integer (guaranteed since Kubernetes 1.35, true of etcd before)."""
    selector: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    type: str
    ports: tuple[Mapping[str, Any], ...]
    headless: bool
    publish_not_ready: bool
    record: Record | None
    deleting: bool = False
    cluster_ip: str = ""

    @property
    def selected(self) -> str | None:
        """The component revision that the Service selects; None without our key."""
        return self.selector.get(names.REVISION)

    @property
    def marked_by(self) -> tuple[str, str] | None:
        """Name and uid of the release whose mark the Service carries."""
        name, uid = self.labels.get(names.RELEASE), self.annotations.get(names.RELEASE_UID)
        return (name, uid or "") if name else None

    @property
    def preview_of(self) -> str | None:
        """The Service that this one previews, if it is a preview of ours."""
        return self.labels.get(names.PREVIEW_OF)

    @property
    def break_glass(self) -> bool:
        """Somebody took the selector into their own hands. A ticket's or a person's name will do as the value."""
        return self.annotations.get(names.BREAK_GLASS, "false") != "false"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A Deployment of ours."""

    name: str
    uid: str
    version: int
    component: str
    revision: str
    """Component revision."""
    created_for: str
    created_version: str
    created_at: datetime
    release_uid: str
    owner_uids: frozenset[str]
    adopted_from: str
    served: bool
    proven: tuple[str, ...]
    """The revisions that it was proven as part of, oldest first."""
    claims: Mapping[str, int]
    replicas: int
    min_ready_seconds: int
    template: Mapping[str, Any]
    settled: bool
    """The Deployment controller has seen the newest generation."""
    available: int
    updated: int
    deleting: bool
    replica_failure: str
    """The API server's words when pods cannot be created."""
    replica_failure_since: datetime | None
    unsafe: Mapping[str, str] = field(default_factory=dict)
    """By revision: why nobody goes back to it but by force."""

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels of its pods."""
        labels: Mapping[str, str] = (self.template.get("metadata") or {}).get("labels") or {}
        return labels


@dataclass(frozen=True, slots=True)
class Container:
    """What a container's status says of trouble."""

    name: str
    restarts: int
    waiting: str
    waiting_message: str
    died: str
    """Reason of the last termination: Error, OOMKilled, ..."""
    exit_code: int
    died_at: datetime | None
    last_words: str = ""
    """What it left behind when it died: its termination message, or the end of its log."""
    down: bool = False
    """It crashed and has not been started again yet."""

    @property
    def crashes(self) -> int:
        """How often it crashed: a restart is counted by the kubelet only when it happens."""
        return self.restarts + self.down


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of one of our Deployments."""

    name: str
    uid: str
    deployment_uid: str
    """uid of the Deployment that owns it through its ReplicaSet; "" where the chain is broken."""
    labels: Mapping[str, str]
    ip: str
    host_ip: str
    host_network: bool
    node: str
    ready: bool
    terminating: bool
    created_at: datetime
    ports: Mapping[str, int]
    """Container ports by name."""
    containers: tuple[Container, ...]
    unschedulable: str
    unschedulable_since: datetime | None
    ready_since: datetime | None = None
    """When `ready` last changed."""
    over: bool = False
    """Every container has ended for good: nothing of it runs any more."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a Service's EndpointSlices say, all slices together."""

    ready: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """uids of ready pods by the name of a port that resolves on them ("" for an unnamed port)."""
    every: frozenset[str] = frozenset()
    """uids of all pods that may get new connections (ready, or not known to be unready)."""

    def serving(self, ports: tuple[Mapping[str, Any], ...]) -> frozenset[str]:
        """Return the uids of pods that are ready on every port of the Service."""
        if not ports:
            return self.every
        wanted = [str(port.get("name") or "") for port in ports]
        found = [self.ready.get(name, frozenset()) for name in wanted]
        return frozenset.intersection(*found)


@dataclass(frozen=True, slots=True)
class Order:
    """A ReleaseCommand."""

    name: str
    uid: str
    action: Action
    revision: str
    force: bool
    reason: str
    created_at: datetime
    phase: str
    """"" (never seen), Pending, Done or Refused."""
    answered_at: datetime | None
    expired: bool = False
    """First seen too long after it was given."""
    freeze: str = ""
    """Name of the ReleaseFreeze that an Override lifts."""
    attempt: int | None = None
    """The attempt that it is for; None: the one of now (an Approve names it)."""
    issued_by: str = ""
    """Who gave it, as admission stamped it."""
    on_behalf_of: str = ""

    @property
    def open(self) -> bool:
        """Whether it has no answer yet."""
        return self.phase not in {"Done", "Refused"}

    @property
    def forced_at(self) -> datetime | None:
        """When it was given, if by force."""
        return self.created_at if self.force else None


@dataclass(frozen=True, slots=True)
class Job:
    """The Job of a hook."""

    name: str
    uid: str
    version: int
    hook: str
    revision: str
    attempt: str
    release_uid: str
    suspended: bool
    ends_at: datetime | None
    """When the cluster ends it by itself; None while it has not started."""
    ended: bool
    failed: bool
    reason: str
    """Why it failed, in the Job controller's words."""
    message: str
    deleting: bool = False
    ended_at: datetime | None = None
    irreversible: str = ""
    """Why nobody goes back once it succeeded; "" where that is no matter."""
    grace: timedelta = timedelta(seconds=30)
    """How long its pods may take to end once they are told to."""
    labelled: bool = True
    """It carries the label by which the watch of Jobs finds it."""
    ending: str = ""
    """Why the Job controller ends its pods; it says that the Job failed once they are gone."""

    @property
    def is_ours(self) -> bool:
        """Whether a release made it for a hook."""
        return bool(self.hook and self.release_uid)


@dataclass(frozen=True, slots=True)
class Called:
    """What came of a webhook. `passed` is None while it is being asked."""

    passed: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class Call:
    """A webhook that is to be called until it has answered."""

    id: str
    """Names the run: the receiver sees it on every call, so that it can tell a repetition."""
    url: str
    body: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Streak:
    """What the probes of one pod said lately, under one revision, attempt and health block."""

    passed: int = 0
    failed: int = 0
    unreachable: int = 0
    """In a row: the pod's node or network did not answer at all, which says nothing about the code."""
    last: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a stack's pods answered when asked once, before a rollback."""

    at: datetime
    passed: frozenset[str]
    """uids of pods that passed."""
    said: str


@dataclass(frozen=True, slots=True)
class Backing:
    """What serves a Service that is not steered yet."""

    kind: str
    """Nothing, Deployment, Ours or Ambiguous."""
    message: str = ""
    name: str = ""
    template: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 0
    min_ready_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server's answer to a dry run."""

    reason: str
    message: str
    terminal: bool
    """Nothing but another spec can cure it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """That the API server did not let a step be taken, and why."""

    reason: str
    message: str
    times: int
    """How often in a row."""
    until: datetime
    """When it is tried again."""


@dataclass(frozen=True, slots=True)
class JobRefused:
    """That a hook's Job cannot be created, and why."""

    reason: str
    message: str
    since: datetime
    """When that was first answered, as far as this process tried."""
    at: datetime
    """When it was last answered."""


@dataclass(frozen=True, slots=True)
class World:
    """One release and all that matters to it, as last seen."""

    key: Key
    uid: str
    generation: int
    version: int
    deleting: bool
    spec: Spec | Rejected
    memory: Memory
    conditions: Mapping[str, Mapping[str, Any]]
    observed_generation: int
    services: Mapping[str, Service]
    """Every Service of the namespace, by name."""
    other_releases: Mapping[str, str]
    """uid by name of the other releases of the namespace."""
    deployments: Mapping[str, Deployment]
    """Ours, by name."""
    pods: tuple[Pod, ...]
    endpoints: Mapping[str, Endpoints]
    """By Service name, for marked Services and previews."""
    stored: Mapping[str, Spec]
    """Stored specs by revision."""
    orders: tuple[Order, ...]
    """Oldest first."""
    streaks: Mapping[tuple[str, str], Streak]
    """By scope (see `scope`) and pod uid."""
    asked: Mapping[str, Asked]
    """By revision."""
    dry_runs: Mapping[str, Refusal | None]
    """By component revision: None where the API server would accept the Deployment."""
    backings: Mapping[str, Backing]
    """By Service, for listed Services without our selector key."""
    since: Mapping[str, datetime]
    """When each signal (see signals.py) became true, as far as this process saw."""
    confirmed_dead: Mapping[str, datetime]
    """By Service: when a direct read confirmed that it has no ready endpoint, for as long as that holds."""
    freezes: tuple[Freeze, ...] = ()
    """Those that are about this release, whether they hold now or not."""
    admitted: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By uid of a Deployment: the template that the API server answered when this process last wrote it."""
    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Jobs of hooks, by name."""
    job_gone: str = ""
    """uid of the Job that a direct read did not find, where a run waits for it."""
    job_read: tuple[str, datetime] | None = None
    """uid of the Job that a direct read found last, and when."""
    refused: Mapping[tuple[str, str], Refused] = field(default_factory=dict)
    """By rule and words of a decision: steps that the API server refused when this process last tried."""
    jobs_refused: Mapping[str, JobRefused] = field(default_factory=dict)
    """By name: Jobs that could not be created when this process last tried."""
    called: Mapping[str, Called] = field(default_factory=dict)
    """What came of webhooks, by the id of their run, as far as this process called them."""
    webhook_hosts: frozenset[str] = frozenset()
    """Hosts that the operator's configuration allows webhooks to."""
    author: Author = Author()
    """Who applied the spec of now."""
    trusted_accounts: frozenset[str] = frozenset()
    """Accounts (of CI) that act for others and have to say for whom."""
    tallies: Mapping[tuple[str, str], Tally] = field(default_factory=dict)
    """By scope (see `scope`) and name of the check."""
    pod_book: Mapping[str, Page] = field(default_factory=dict)
    """What pods did to themselves, by uid."""
    offers: Offers = field(default_factory=Offers)
    orders_gone: frozenset[str] = frozenset()
    """uids of orders that statuses name and that a list, begun after that, did not have."""

    def deployment(self, component: str, revision: str) -> Deployment | None:
        """Return our Deployment of a component revision, if it stands."""
        found = self.deployments.get(names.deployment_name(self.key.name, component, revision))
        return None if found is None or found.deleting else found

    def pods_of(self, deployment: Deployment) -> tuple[Pod, ...]:
        """Return the pods that a Deployment owns and that are not on their way out."""
        return tuple(p for p in self.pods if p.deployment_uid == deployment.uid and not p.terminating)

    def spec_of(self, revision: str) -> Spec | None:
        """Return the stored spec of a revision: the one that judges it, never a newer one."""
        return self.stored.get(revision)

    def health_of(self, revision: str, component: str) -> Health | None:
        """Return how a revision's own spec asks a component for its health."""
        spec = self.spec_of(revision)
        found = spec.component(component) if spec else None
        return found.health if found else None

    @property
    def wanted(self) -> Spec | None:
        """The spec as parsed, or None where it was rejected."""
        return self.spec if isinstance(self.spec, Spec) else None


def stack_for(spec: Spec) -> Stack:
    """Return the stack that a spec asks for."""
    return Stack(
        spec.revision,
        spec.version,
        tuple(Member(c.name, c.revision, tuple(c.services)) for c in spec.components),
    )


def scope(revision: str, attempt: int | None) -> str:
    """Return what evidence is bound to: a revision and its attempt, or its watch."""
    return f"{revision}/watch" if attempt is None else f"{revision}/{attempt}"


# --- what is decided ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rest:
    """Do nothing now."""


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """Keep an accepted spec in an immutable ControllerRevision."""

    revision: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DryRun:
    """Ask the API server whether it would take a component's Deployment."""

    component_revision: str
    """What the answer is kept under: of a hook's Job, its own key."""
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """Write the release's mark onto a Service; `gate` also makes it select nothing of ours yet."""

    service: str
    version: int
    gate: bool = False


@dataclass(frozen=True, slots=True)
class Unmark:
    """Take the mark off a Service. This write is also a fence."""

    service: str
    version: int


@dataclass(frozen=True, slots=True)
class CreateDeployment:
    """Create the Deployment of a component revision, with its claims."""

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CreatePreview:
    """Create or recreate a preview Service."""

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PatchPreview:
    """Point a preview at the candidate of now."""

    name: str
    version: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeletePreview:
    """Remove a preview Service."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Write a Deployment's claims on Service versions. The only write that touches claims after creation."""

    deployment: str
    uid: str
    version: int
    claims: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Switch:
    """Move one Service's selector. Legal only with a claim that equals the Service's version."""

    service: str
    version: int
    component_revision: str
    record: Record


@dataclass(frozen=True, slots=True)
class Annotate:
    """Write served, proven or unsafe onto a Deployment, so that they outlive the release object."""

    deployment: str
    uid: str
    version: int
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scale:
    """Change a Deployment's size to something above zero, or to a zero that its author asked for."""

    deployment: str
    uid: str
    version: int
    replicas: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Put back what somebody edited in a Deployment of ours. Never touches claims."""

    deployment: str
    uid: str
    version: int
    template: Mapping[str, Any] | None
    min_ready_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Own:
    """Make a Deployment owned by the release (onDelete: Remove) or by nobody (Keep)."""

    deployment: str
    uid: str
    version: int
    owned: bool


@dataclass(frozen=True, slots=True)
class Retire:
    """Scale a Deployment to zero, or delete it. Fences first where a claim is not yet stale."""

    deployment: str
    uid: str
    claims: Mapping[str, int]
    delete: bool
    served: bool = False
    """It had traffic: said on it, where it is not deleted."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a stack's pods for their health once, in parallel, before a rollback."""

    revision: str
    targets: tuple["Target", ...]
    ready_without_probe: frozenset[str]


@dataclass(frozen=True, slots=True)
class ConfirmDead:
    """Read a Service's EndpointSlices directly, to be sure that there is no ready endpoint."""

    service: str


@dataclass(frozen=True, slots=True)
class ForgetSpec:
    """Delete a stored spec that nothing refers to any more."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ForgetOrder:
    """Delete an order answered 90 days ago."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Create a hook's Job, suspended: nothing runs before its uid is stored."""

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StartJob:
    """Let exactly the Job run whose uid is stored."""

    name: str
    uid: str
    version: int


@dataclass(frozen=True, slots=True)
class ConfirmGone:
    """Read the Job that a run waits for: the watch does not tell of it, and may be behind."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """End a hook's Job, or tidy it up: as it was looked at, since its success must not go with it unseen."""

    name: str
    uid: str
    version: int


Step = (
    Rest
    | StoreSpec
    | DryRun
    | Mark
    | Unmark
    | CreateDeployment
    | CreatePreview
    | PatchPreview
    | DeletePreview
    | Claim
    | Switch
    | Annotate
    | Scale
    | Restore
    | Own
    | Retire
    | Ask
    | ConfirmDead
    | ForgetSpec
    | ForgetOrder
    | CreateJob
    | StartJob
    | ConfirmGone
    | DeleteJob
)


@dataclass(frozen=True, slots=True)
class Target:
    """A pod to be probed, and by which rules."""

    scope: str
    pod_uid: str
    pod_name: str
    ip: str
    host_ip: str
    port: int
    health: Health
    version: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened, for Events and the log; said once per `about`."""

    reason: str
    message: str
    about: str
    warning: bool = False
    severity: Severity | None = None
    """None: as `warning` says."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next, why, and when to look again without being woken."""

    step: Step
    rule: str
    reason: str
    because: str
    look_again: timedelta | None = None
    memory: Memory | None = None
    """What is to be remembered from now on, where that changed. It is stored before the step after it."""
    notes: tuple[Note, ...] = ()
    stalled: bool = False
    """Nothing will move without a person."""
    halted: tuple[str, str] | None = None
    """Reason and message where what serves waits for a person, whatever else goes on beside it."""
    refused: tuple[str, str] | None = None
    """Reason and message where the spec was not accepted."""
    adopting: bool = False
    """What serves today is being brought under the release."""
