"""A pure, deterministic cluster in memory that drives the policy: what policy decides is applied as cluster/act.py would.

It speaks no HTTP and keeps no JSON but what an author wrote. Time moves only by `run`, from one thing that happens to
the next, so a day of waiting costs as much as what happens in it. The operator is woken as the real one is: by a change
of what it observes, by a verdict of a probe, or by its own `look_again`. There is no resync: a rule that forgets to
say when to look again hangs here.

Parts, in the order of the file: behaviours of images, the cluster and its people, actors (Deployment controller, pods,
EndpointSlices, probes), the operator (observe, decide, perform, report), the transcript, the invariants.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tradingrelease.cluster.probe import Verdict as Answer
from tradingrelease.cluster.probe import _changed, counted
from tradingrelease.policy import acts, checks, hooks, model, names, probes, refusals
from tradingrelease.policy.conditions import compute, merged, phase
from tradingrelease.policy.decide import decide
from tradingrelease.policy.freezes import Freeze
from tradingrelease.policy.freezes import parse as parse_freeze
from tradingrelease.policy.measurements import Finding, Measurement, Offers, Tally, Verdict, matters
from tradingrelease.policy.measurements import counted as counted_in
from tradingrelease.policy.memory import from_status, to_status
from tradingrelease.policy.model import (
    Asked,
    Backing,
    Container,
    Decision,
    Deployment,
    Endpoints,
    Memory,
    Order,
    Pod,
    Rest,
    Service,
    Streak,
    Target,
    World,
)
from tradingrelease.policy.pod_book import Book, noted
from tradingrelease.policy.reasons import Action, Cause, Condition
from tradingrelease.policy.rules.candidate import stands
from tradingrelease.policy.signals import signals
from tradingrelease.policy.spec import Rejected, Spec, parse

from tests.builders import KEY, NOW, UID, a_deployment, a_pod, a_service

Json = dict[str, Any]

MOST_STEPS = 200
SOON = 0.1
ADDRESS_AFTER = timedelta(seconds=1)


class Conflict(Exception):  # noqa: N818 - named as the operator names it
    """The precondition of a write does not hold: somebody wrote first, or it is gone."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How pods of an image behave."""

    ready_after: float = 3.0
    crashes_every: float = 0.0
    """Crash-loops, never ready; 0: it does not."""
    waiting: str = ""
    """A waiting reason that keeps its container from starting, as ImagePullBackOff."""
    healthy: bool = True
    """Whether it passes its health check, once it is ready."""
    reachable: bool = True
    """Whether its node answers at all."""


@dataclass(frozen=True, slots=True)
class Life:
    """One pod, as the actors know it."""

    name: str
    uid: str
    deployment: str
    """uid of its Deployment."""
    template: Any
    born: datetime
    started: datetime
    """When its container last started."""
    restarts: int = 0
    died_at: datetime | None = None

    @property
    def image(self) -> str:
        """Image of the first container: what behaviours are told by."""
        return str(self.template["spec"]["containers"][0]["image"])


@dataclass(frozen=True, slots=True)
class Plain:
    """A Deployment of the user's, which serves before the release exists."""

    name: str
    template: Any
    replicas: int = 2
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """How the Job of a hook does, and what a webhook answers: told by the name of the hook."""

    takes: float = 5.0
    """Seconds; 0: it never ends by itself."""
    fails: bool = False
    refused: str = ""
    """Why the API server does not take its Job."""
    held: str = ""
    """Why it does not let its Job be started."""
    ends_after: float = 0.0
    """Seconds that its pod takes to end once it is told to."""


@dataclass(slots=True)
class Notebook:
    """What the process notices and loses at a restart (cluster/notebook.py)."""

    since: dict[str, datetime] = field(default_factory=dict)
    confirmed_dead: dict[str, datetime] = field(default_factory=dict)
    job_gone: str = ""
    job_read: tuple[str, datetime] | None = None
    jobs_refused: Mapping[str, model.JobRefused] = field(default_factory=dict)
    refused: refusals.Known = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    dry_runs: dict[str, model.Refusal | None] = field(default_factory=dict)
    pod_book: Book = field(default_factory=dict)


class Simulator:
    """A namespace with one release in it, its people, its controllers and its operator."""

    def __init__(self, *services: str) -> None:  # noqa: PLR0915 - all that a namespace holds
        self.now = self.began = NOW
        self.version = 100
        self.behaviours: dict[str, Behaviour] = {}
        self.refusals: dict[str, model.Refusal] = {}
        """What the API server would answer to a dry run, by component revision."""
        self.services: dict[str, Service] = {name: a_service(name) for name in services or ("backend",)}
        self.plain: dict[str, Plain] = {}
        self.deployments: dict[str, Deployment] = {}
        self.lives: dict[str, Life] = {}
        self.stored: dict[str, Spec] = {}
        self.orders: dict[str, Order] = {}
        self.freezes: dict[str, Freeze] = {}
        self.uid = ""
        self.generation = 0
        self.spec: Spec | Rejected = Rejected("Deleted", "there is no release yet")
        self.status: Json = {}
        self.raw: Json = {}  # the spec as its author wrote it last
        # The release as whoever watched it saw it: when, who wrote (author or operator), and the object.
        self.records: list[tuple[datetime, str, Json]] = []
        self.notebook = Notebook()
        self.streaks: dict[tuple[str, str], Streak] = {}
        self.author = model.Author("anna")
        self.jobs: dict[str, model.Job] = {}
        self.tasks: dict[str, Task] = {}
        self.hook_pods: dict[str, Pod] = {}
        """Pods of Jobs, by name."""
        self.ran: list[str] = []
        """Jobs that were ever started, and ids of webhooks that were ever answered."""
        self.ends: dict[str, datetime] = {}
        """When each started Job, or webhook that is called, ends."""
        self.calls: dict[str, model.Call] = {}
        self.called: dict[str, model.Called] = {}
        self.asks: dict[Target, datetime] = {}
        """When each target is asked next."""
        self.offers = Offers(prometheus=True)
        self.findings: dict[str, Finding] = {}
        """What is found of a check, by its name; it passes where nothing is said."""
        self.tallies: dict[tuple[str, str], Tally] = {}
        self.measures: dict[tuple[str, str], tuple[Measurement, datetime]] = {}
        """What is measured, and when next."""
        self.look_at: datetime | None = None
        self.seen: World | None = None
        self.woken = False
        self.touched = True
        """Something may have changed since the last look, other than a verdict."""
        self.down = False
        self.dies_when: Callable[[Simulator], bool] | None = None
        """Asked after every write, of a step or of the status: True kills the operator right there, once."""
        self.refuses: Callable[[model.Step], str] = lambda _: ""
        """Asked before every step: what the API server says to refuse it; "": it is taken."""
        self.lines: list[str] = []
        self.notes: list[model.Note] = []
        self.watchdog = Watchdog()
        self._said: tuple[str, ...] = ()
        self._shown = ""

    # --- people and accidents -----------------------------------------------------------------------------------

    def apply(self, raw: Json) -> Spec | Rejected:
        """Apply a manifest. Applying what is there already changes nothing, as with kubectl."""
        spec = parse(raw, KEY.name)
        version = raw.get("version", "?")
        self.tell("author", f"applies version {version} ({spec.revision if isinstance(spec, Spec) else spec.reason})")
        if self.generation and spec == self.spec:
            self._record("author")
            return spec
        self.uid = self.uid or UID
        self.generation += 1
        self.spec, self.raw = spec, raw
        self._record("author")
        return spec

    def order(self, action: Action, revision: str = "", reason: str = "", **fields: Any) -> Order:
        """Give an order."""
        number = len(self.orders) + 1
        name = f"{action.lower()}-{number}"
        given = Order(
            name, f"order-{number}", action, revision, fields.pop("force", False), reason, self.now, "", None, **fields
        )
        self.orders[given.uid] = given
        self.tell("person", f"orders {action} of {revision or 'the release'} ({name})")
        return given

    def override(self, freeze: str, reason: str = "the fix of the outage", by: str = "jane") -> Order:
        """Order that a freeze is lifted for the candidate's attempt of now."""
        number, candidate = len(self.orders) + 1, self.memory.candidate
        name, revision = f"override-{number}", candidate.stack.revision if candidate else self.spec.revision
        given = Order(
            name, f"order-{number}", Action.OVERRIDE, revision, False, reason, self.now, "", None,
            freeze=freeze, issued_by=by,
        )  # fmt: skip
        self.orders[given.uid] = given
        self.tell("person", f"{by} orders Override of {freeze} for {revision} ({name})")
        return given

    def freeze(self, name: str, **spec: Any) -> Freeze:
        """Declare a freeze, as its author writes it."""
        given = parse_freeze(
            name, f"uid-{name}-{self.next_version()}", {"reason": "quarter close", "author": "risk"} | spec
        )
        self.freezes[name] = given
        self.tell("author", f"declares ReleaseFreeze {name}: {given.window.why}")
        return given

    def freeze_for(self, name: str, **spans: timedelta) -> Freeze:
        """Declare a freeze from now (or `after` a while) for a time (`lasting`)."""
        begin = self.now + spans.get("after", timedelta(0))
        end = begin + spans["lasting"]
        return self.freeze(name, between={"from": begin.isoformat(), "to": end.isoformat()})

    def serve_plainly(self, component: str, template: Json, replicas: int = 2) -> None:
        """Let a Deployment of the user's serve, as before any release."""
        self.plain[component] = Plain(component, template, replicas)

    def alter_service(self, name: str, **changes: Any) -> None:
        """Let somebody else write a Service."""
        self.services[name] = replace(self.services[name], version=self.next_version(), **changes)
        self.tell("others", f"change Service {name} ({', '.join(sorted(changes))})")

    def delete_service(self, name: str) -> None:
        """Let somebody delete a Service."""
        del self.services[name]
        self.tell("others", f"delete Service {name}")

    def create_service(self, name: str) -> None:
        """Let somebody create a Service, anew or for the first time."""
        version = self.next_version()
        self.services[name] = a_service(name, uid=f"uid-{name}-{version}", version=version)
        self.tell("others", f"create Service {name}")

    def alter_deployment(self, name: str, **changes: Any) -> None:
        """Let somebody else write a Deployment of ours."""
        self.deployments[name] = replace(self.deployments[name], version=self.next_version(), **changes)
        self.tell("others", f"change Deployment {name} ({', '.join(sorted(changes))})")

    def delete_deployment(self, name: str) -> None:
        """Let somebody delete a Deployment of ours."""
        del self.deployments[name]
        self.tell("others", f"delete Deployment {name}")

    def delete_release(self) -> None:
        """Delete the release: what it owns goes with it."""
        self.uid, self.status, self.generation = "", {}, 0
        self.spec = Rejected("Deleted", "the release is deleted")
        self.stored.clear()
        self.orders.clear()
        self.jobs.clear()
        self.services = {n: s for n, s in self.services.items() if not s.preview_of}
        self.deployments = {n: d for n, d in self.deployments.items() if not d.owner_uids}
        self.tell("author", "deletes the release")

    def crash(self, pod: str) -> None:
        """Let a container of a pod die by itself."""
        life = self.lives[pod]
        self.lives[pod] = replace(life, restarts=life.restarts + 1, died_at=self.now, started=self.now)
        self.tell("pods", f"{life.name} crashes")

    def evict(self, pod: str) -> None:
        """Let a pod go with its node."""
        self.tell("pods", f"{self.lives.pop(pod).name} is evicted")

    def restart(self) -> None:
        """Kill the operator and start it anew: its notebook and its streaks are lost."""
        self.notebook, self.streaks, self.asks, self.seen = Notebook(), {}, {}, None
        self.calls, self.called = {}, {}
        self.tallies, self.measures = {}, {}
        self.down = False
        self.tell("operator", "starts anew")

    def stop(self) -> None:
        """Kill the operator; `restart` brings it back."""
        self.down = True
        self.tell("operator", "stops")

    def next_version(self) -> int:
        """Return the version of the next write: one counter for the whole API server, as etcd has."""
        self.version += 1
        return self.version

    # --- time ---------------------------------------------------------------------------------------------------

    def run(self, **span: float) -> "Simulator":
        """Let time pass, as in `sim.run(minutes=5)`."""
        end = self.now + timedelta(**span)
        self.touched = True
        self._turn()
        while (at := self._next()) is not None and at <= end:
            self._move_to(at)
        self.now = end
        return self

    def run_until(self, happened: Callable[["Simulator"], bool], **within: float) -> "Simulator":
        """Let time pass until something has happened."""
        end = self.now + timedelta(**within)
        self.touched = True
        self._turn()
        while not happened(self):
            at = self._next()
            happens = at is not None and at <= end
            assert happens, "\n".join(["it did not happen:", *self.lines[-30:]])
            self._move_to(at)
        return self

    def _move_to(self, at: datetime) -> None:
        points = [p for life in self.lives.values() for p in self._turning_points(life)]
        points += self.ends.values()
        self.touched = any(self.now < point <= at for point in points)
        self.now = at
        self._turn()

    def _turn(self) -> None:
        for _ in range(MOST_STEPS):
            self._controllers()
            self._probe()
            self._measure()
            if not self._wants_a_look():
                return
            self.woken, self.look_at = False, None
            self._operate()
            self.touched = True
        raise AssertionError("\n".join(["the operator does not let time pass:", *self.lines[-20:]]))

    def _wants_a_look(self) -> bool:
        if self.down or not (self.generation or self.seen):
            return False
        due = self.look_at is not None and self.look_at <= self.now
        return due or self.woken or (self.touched and self.observe() != self.seen)

    def _next(self) -> datetime | None:
        moments = [at for life in self.lives.values() for at in self._turning_points(life)]
        moments += list(self.asks.values()) if not self.down else []
        moments += self.ends.values()
        moments += [at for _, at in self.measures.values()] if not self.down else []
        moments += [self.look_at] if self.look_at and not self.down else []
        return min((at for at in moments if at > self.now), default=None)

    def _turning_points(self, life: Life) -> list[datetime]:
        behaviour, deployment = self.behaviour(life), self._deployment_of(life)
        waits = timedelta(seconds=deployment.min_ready_seconds if deployment else 0)
        ready = life.started + timedelta(seconds=behaviour.ready_after)
        crash = [life.started + timedelta(seconds=behaviour.crashes_every)] if behaviour.crashes_every else []
        return [life.born + ADDRESS_AFTER, ready, ready + waits, *crash]

    # --- controllers --------------------------------------------------------------------------------------------

    def behaviour(self, life: Life) -> Behaviour:
        """Return how a pod behaves now."""
        return self.behaviours.get(life.image, Behaviour())

    def is_ready(self, life: Life) -> bool:
        """Tell whether a pod is Ready now."""
        behaviour = self.behaviour(life)
        stands = not behaviour.crashes_every and not behaviour.waiting
        return stands and self.now >= life.started + timedelta(seconds=behaviour.ready_after)

    def is_available(self, life: Life, deployment: Deployment) -> bool:
        """Tell whether a pod is Ready for long enough."""
        ready = life.started + timedelta(seconds=self.behaviour(life).ready_after)
        return self.is_ready(life) and self.now >= ready + timedelta(seconds=deployment.min_ready_seconds)

    def pods_of(self, deployment: str) -> list[Life]:
        """Return the pods of a Deployment, by its name, oldest first."""
        found = self.deployments.get(deployment)
        return [life for life in self.lives.values() if found and life.deployment == found.uid]

    def _deployment_of(self, life: Life) -> Deployment | None:
        return next((d for d in self.deployments.values() if d.uid == life.deployment), None)

    def _controllers(self) -> None:
        """Let the kubelet restart what crashed, and the Deployment controller make and remove pods."""
        for uid, life in list(self.lives.items()):
            every = timedelta(seconds=self.behaviour(life).crashes_every)
            if every and self.now >= life.started + every:
                self.lives[uid] = replace(life, restarts=life.restarts + 1, died_at=self.now, started=self.now)
        self._end_tasks()
        uids = {d.uid for d in self.deployments.values()}
        self.lives = {uid: life for uid, life in self.lives.items() if life.deployment in uids}
        for deployment in sorted(self.deployments.values(), key=lambda d: d.name):
            self._roll_out(deployment)

    def _end_tasks(self) -> None:
        """Let the Job controller and the receivers of webhooks tell what has ended by now."""
        for name, at in list(self.ends.items()):
            if at > self.now or (self.down and name in self.calls):
                continue
            del self.ends[name]
            if name in self.hook_pods:
                del self.hook_pods[name]
            elif job := self.jobs.get(name):
                late = job.ends_at is not None and self.now >= job.ends_at
                task = self.tasks.get(job.hook, Task())
                if late and task.ends_after and not job.ending:
                    self.jobs[name] = replace(job, version=self.next_version(), ending="DeadlineExceeded")
                    self.ends[name] = self.now + timedelta(seconds=task.ends_after)
                    continue
                self._end_pod(name)
                reason = "DeadlineExceeded" if late else "BackoffLimitExceeded" if task.fails else ""
                self.jobs[name] = replace(
                    job, version=self.next_version(), ended=True, failed=bool(reason), reason=reason,
                    ended_at=self.now.replace(microsecond=0), message="Job has reached the specified backoff limit" if task.fails else "",
                )  # fmt: skip
            elif name in self.calls:
                fails = self.tasks.get(name.rsplit("/", 1)[-1], Task()).fails
                self.called[name] = model.Called(not fails, "HTTP 500" if fails else "HTTP 200")
                self.ran.append(name)
                self.woken = True

    def _end_pod(self, job: str) -> None:
        for name, pod in self.hook_pods.items():
            if pod.labels[hooks.JOB_NAME] == job:
                self.hook_pods[name] = replace(pod, terminating=True, over=True)

    def _delete_job(self, job: model.Job) -> None:
        """Let a Job go, and its pods end: it takes them their time."""
        del self.jobs[job.name]
        self.ends.pop(job.name, None)
        for name, pod in list(self.hook_pods.items()):
            if pod.labels[hooks.JOB_NAME] == job.name:
                self.hook_pods[name] = replace(pod, terminating=True)
                self.ends[name] = self.now + timedelta(seconds=self.tasks.get(job.hook, Task()).ends_after)

    def _begin_calls(self, wanted: frozenset[model.Call]) -> None:
        self.calls = {call.id: call for call in wanted}
        self.called = {name: said for name, said in self.called.items() if name in self.calls}
        for name in sorted(self.calls):
            if name not in self.called and name not in self.ends:
                task = self.tasks.get(name.rsplit("/", 1)[-1], Task())
                if task.takes:
                    self.ends[name] = self.now + timedelta(seconds=task.takes)

    def _create_job(self, step: model.CreateJob) -> float | None:
        if step.name in self.jobs:
            return SOON
        metadata, book = step.body["metadata"], self.notebook
        if why := self.tasks.get(metadata["labels"][names.HOOK], Task()).refused:
            book.jobs_refused = hooks.refused_again(book.jobs_refused, step.name, "JobForbidden", why, self.now)
            return None
        book.jobs_refused, version = {}, self.next_version()
        self.jobs[step.name] = model.Job(
            name=step.name, uid=f"job-{version}", version=version, hook=metadata["labels"][names.HOOK],
            revision=metadata["labels"][names.REVISION], attempt=metadata["annotations"][names.ATTEMPT],
            release_uid=metadata["annotations"][names.RELEASE_UID], suspended=step.body["spec"]["suspend"],
            ends_at=None, ended=False, failed=False, reason="", message="",
            irreversible=metadata["annotations"].get(names.IRREVERSIBLE, ""),
        )  # fmt: skip
        return None

    def _start_job(self, step: model.StartJob) -> None:
        job = self.jobs.get(step.name)
        if job is None or (job.uid, job.version) != (step.uid, step.version):
            raise Conflict(f"Job {step.name} is not what was read")
        book = self.notebook
        if why := self.tasks.get(job.hook, Task()).held:
            book.jobs_refused = hooks.refused_again(book.jobs_refused, step.name, "AdmissionFailing", why, self.now)
            return
        book.jobs_refused, spec = {}, self.stored[job.revision]
        takes = self.tasks.get(job.hook, Task()).takes
        ends = self.now + spec.hook(job.hook).timeout
        self.jobs[step.name] = replace(job, suspended=False, version=self.next_version(), ends_at=ends)
        self.ends[step.name] = min(self.now + timedelta(seconds=takes), ends) if takes else ends
        self.watchdog.starts(self, step.name)
        self.ran.append(step.name)
        name = f"{step.name}-pod"
        labels = {names.HOOK: job.hook, hooks.JOB_NAME: step.name}
        self.hook_pods[name] = a_pod(a_deployment(), name=name, uid=f"uid-{name}", deployment_uid="", labels=labels,
                                     ready=False, ports={}, containers=())  # fmt: skip

    def _roll_out(self, deployment: Deployment) -> None:
        mine = self.pods_of(deployment.name)
        current = [life for life in mine if life.template == deployment.template]
        surplus = current[deployment.replicas :]
        lacking = deployment.replicas - len(current)
        if sum(self.is_available(life, deployment) for life in current) >= deployment.replicas:
            surplus += [life for life in mine if life not in current]  # a rollout takes the old ones last
        for life in surplus:
            del self.lives[life.uid]
        for _ in range(lacking):
            number = self.next_version()
            life = Life(f"{deployment.name}-{number}", f"pod-{number}", deployment.uid, deployment.template,
                        self.now, self.now)  # fmt: skip
            self.lives[life.uid] = life

    def _probe(self) -> None:
        for target in sorted(self.asks, key=lambda t: (t.scope, t.pod_name)):
            if self.asks[target] > self.now or self.down:
                continue
            place = (target.scope, target.pod_uid)
            before = self.streaks.get(place, Streak())
            after = self.streaks[place] = counted(before, self._answer_of(target))
            self.woken = self.woken or _changed(before, after, target.health)
            self.asks[target] = self.now + target.health.interval

    def _measure(self) -> None:
        for place, (measurement, at) in sorted(self.measures.items()):
            if at > self.now or self.down:
                continue
            check = measurement.check
            before = self.tallies[place]
            finding = self.findings.get(check.name, Finding(Verdict.PASSED, "well"))
            after = self.tallies[place] = counted_in(before, finding, check)
            self.woken = self.woken or matters(before, after, check)
            self.measures[place] = (measurement, self.now + check.interval)

    def _answer_of(self, target: Target) -> Answer:
        life = self.lives.get(target.pod_uid)
        if life is None or not self.behaviour(life).reachable:
            return Answer(passed=False, said="no connection", reached=False)
        if not self.is_ready(life):
            return Answer(passed=False, said="connection refused")
        return Answer(passed=True, said="HTTP 200") if self.behaviour(life).healthy else Answer(False, "HTTP 500")

    # --- the operator: observe ----------------------------------------------------------------------------------

    def observe(self) -> World:
        """Return the world without what the notebook knows: what the watches would say now."""
        pods = (*(self._pod(life) for life in self.lives.values()), *self.hook_pods.values())
        return World(
            key=KEY,
            uid=self.uid,
            generation=self.generation,
            version=0,
            deleting=not self.uid,
            spec=self.spec,
            memory=from_status(self.status) if self.status else Memory(),
            conditions={c["type"]: c for c in self.status.get("conditions", ())},
            observed_generation=self.status.get("observedGeneration", 0),
            services=dict(self.services),
            other_releases={},
            deployments={d.name: self._counted(d) for d in self.deployments.values()},
            pods=pods,
            endpoints={n: self._endpoints(s, pods) for n, s in self.services.items() if names.RELEASE in s.labels},
            stored=dict(self.stored),
            orders=tuple(self.orders.values()),
            streaks={},
            asked={},
            dry_runs={},
            backings=self._backings(),
            since={},
            confirmed_dead={},
            freezes=tuple(self.freezes.values()),
            jobs=dict(self.jobs),
            webhook_hosts=frozenset({"hooks.example.com"}),
            author=self.author,
            trusted_accounts=frozenset({"ci"}),
            offers=self.offers,
        )

    def world(self) -> World:
        """Return the world as the operator decides on it."""
        world = replace(
            self.observe(),
            streaks=dict(self.streaks),
            tallies=dict(self.tallies),
            asked=dict(self.notebook.asked),
            dry_runs=dict(self.notebook.dry_runs),
            called=dict(self.called),
            job_gone=self.notebook.job_gone,
            job_read=self.notebook.job_read,
            jobs_refused=self.notebook.jobs_refused,
            refused=self.notebook.refused,
        )
        book, true_now = self.notebook, signals(world)
        book.since = {signal: book.since.get(signal, self.now) for signal in sorted(true_now)}
        book.confirmed_dead = {s: at for s, at in book.confirmed_dead.items() if f"dead:{s}" in book.since}
        book.pod_book = noted(book.pod_book, world.pods)
        return replace(world, since=dict(book.since), confirmed_dead=dict(book.confirmed_dead), pod_book=book.pod_book)

    def _pod(self, life: Life) -> Pod:
        behaviour = self.behaviour(life)
        died = ("Error", 1) if life.died_at else ("", 0)
        container = Container(
            life.template["spec"]["containers"][0]["name"], life.restarts, behaviour.waiting, "", *died, life.died_at
        )
        return Pod(
            name=life.name,
            uid=life.uid,
            deployment_uid=life.deployment,
            labels=life.template["metadata"]["labels"],
            ip="10.0.0.1" if self.now >= life.born + ADDRESS_AFTER else "",
            host_ip="192.168.0.1",
            host_network=False,
            node="node-1",
            ready=self.is_ready(life),
            terminating=False,
            created_at=life.born.replace(microsecond=0),
            ports={
                p["name"]: p["containerPort"]
                for c in life.template["spec"]["containers"]
                for p in c.get("ports", ())
                if "name" in p
            },
            containers=(container,),
            unschedulable="",
            unschedulable_since=None,
        )

    def _counted(self, deployment: Deployment) -> Deployment:
        mine = self.pods_of(deployment.name)
        available = sum(self.is_available(life, deployment) for life in mine)
        updated = sum(life.template == deployment.template for life in mine)
        return replace(deployment, available=available, updated=updated, settled=True)

    def _endpoints(self, service: Service, pods: tuple[Pod, ...]) -> Endpoints:
        behind = [p for p in pods if p.ip and names.matches(service.selector, p.labels)]
        listed = [p for p in behind if p.ready or service.publish_not_ready]
        ready: dict[str, frozenset[str]] = {}
        for port in service.ports:
            target = port.get("targetPort", port["port"])
            found = frozenset(p.uid for p in listed if isinstance(target, int) or target in p.ports)
            ready[str(port.get("name") or "")] = found
        return Endpoints(ready, frozenset(p.uid for p in listed))

    def _backings(self) -> dict[str, Backing]:
        if not isinstance(self.spec, Spec):
            return {}
        listed = [self.services[n] for c in self.spec.components for n in c.services if n in self.services]
        return {s.name: self._backing(s) for s in listed if s.selected is None and s.selector}

    def _backing(self, service: Service) -> Backing:
        def behind(template: Any) -> bool:
            return names.matches(service.selector, template["metadata"]["labels"])

        plain = [p for p in self.plain.values() if p.replicas and behind(p.template)]
        if len(plain) > 1:
            return Backing("Ambiguous", f"it serves pods of several Deployments ({plain[0].name}, ...)")
        if plain and not plain[0].settled:
            return Backing("Ambiguous", f"Deployment {plain[0].name} is in the middle of a rollout")
        if plain:
            return Backing("Deployment", "", plain[0].name, plain[0].template, plain[0].replicas, 0)
        ours = [d for d in self.deployments.values() if self.pods_of(d.name) and behind(d.template)]
        if len(ours) == 1:
            return Backing("Ours", name=ours[0].revision)
        return Backing("Ambiguous", "it serves several of ours") if ours else Backing("Nothing")

    # --- the operator: decide, perform, report ------------------------------------------------------------------

    def _operate(self) -> None:
        for _ in range(MOST_STEPS):
            world = self.world()
            decision = decide(world, self.now)
            still = refusals.still(self.notebook.refused, self.now)
            if decision.memory is None and isinstance(decision.step, Rest) and still != self.notebook.refused:
                self.notebook.refused = still
                continue
            self.tell_of(decision)
            if decision.memory is not None or isinstance(decision.step, Rest):
                self.report(world, decision)
                if self._dies():
                    return
                if decision.memory is None:
                    self._look_after(decision.look_again)
                    self.seen = self.observe()
                    self.watchdog.after(self)
                    return
                continue
            self.watchdog.before(self, world, decision)
            if self.uid and (said := self.refuses(decision.step)):
                self.notebook.refused = refusals.refused_again(self.notebook.refused, decision, said, self.now)
                self.tell("refused", f"{decision.because} ({said})")
                continue
            self.notebook.refused = refusals.taken(self.notebook.refused, decision)
            wait = self.attempt(decision.step)
            self._controllers()
            if self._dies():
                return
            if wait is not None:
                self._look_after(timedelta(seconds=wait))
                self.seen = self.observe()
                return
        raise AssertionError("\n".join(["the operator does not come to rest:", *self.lines[-20:]]))

    def _dies(self) -> bool:
        if self.dies_when is None or not self.dies_when(self):
            return False
        self.dies_when = None
        self.stop()
        return True

    def _look_after(self, span: timedelta | None) -> None:
        self.look_at = None if span is None else self.now + max(span, timedelta(milliseconds=20))

    def attempt(self, step: model.Step) -> float | None:
        """Perform a step. Returns in how many seconds to look again; None: at once."""
        try:
            return self.perform(step)
        except Conflict as error:
            self.tell("conflict", str(error))
            return SOON

    def report(self, world: World, decision: Decision) -> None:
        """Store what is remembered, compute the conditions, answer orders."""
        memory = decision.memory if decision.memory is not None else world.memory
        after = replace(world, memory=memory)
        self.notes += decision.notes
        wanted = probes.wanted(after) if self.uid else frozenset()
        self._begin_calls(hooks.calls(world) if self.uid else frozenset())
        self.asks = {t: self.asks.get(t, self.now) for t in sorted(wanted, key=lambda t: (t.scope, t.pod_name))}
        places = {(t.scope, t.pod_uid) for t in wanted}
        self.streaks = {place: streak for place, streak in self.streaks.items() if place in places}
        aims = {m.place: m for m in (checks.wanted(after, stands=stands(after)) if self.uid else ())}
        self.measures = {
            p: (m, self.measures[p][1] if p in self.measures else self.now + m.delay) for p, m in aims.items()
        }
        self.tallies = {place: self.tallies.get(place, Tally(since=self.now)) for place in aims}
        if not self.uid:
            return
        found = compute(after, decision)
        self.status = to_status(memory) | {
            "observedGeneration": self.generation,
            "phase": str(phase(after, decision, found)),
            "conditions": merged(world.conditions, found, self.generation, self.now),
        }
        self.status = checks.in_status(after, self.status)
        answers = {a.uid: a for a in memory.answers}
        for uid, order in self.orders.items():
            if (given := answers.get(uid)) and order.phase not in {"Done", "Refused"}:
                self.orders[uid] = replace(order, phase=given.phase, answered_at=self.now)
                self.tell("answer", f"{order.name}: {given.phase}, {given.reason}: {given.message}")
            elif not given and not order.phase:
                self.orders[uid] = replace(order, phase="Pending")
        self._tell_of_status(found)
        self._record("operator")

    def _record(self, who: str) -> None:
        metadata = {"name": KEY.name, "namespace": KEY.namespace, "uid": self.uid, "generation": self.generation}
        release = {
            "apiVersion": names.API_VERSION, "kind": "TradingRelease", "metadata": metadata, "spec": self.raw,
            "status": plain(self.status),
        }  # fmt: skip
        if who == "author" or not self.records or self.records[-1][2] != release:
            self.records.append((self.now, who, release))

    def perform(self, step: model.Step) -> float | None:  # noqa: C901, PLR0912, PLR0915 - one line a step
        """Perform one step with its preconditions, as cluster/act.py does. Raises Conflict."""
        match step:
            case model.Rest():
                pass
            case model.Switch():
                service = self._guarded_service(step.service, step.version)
                selector = dict(service.selector) | {names.REVISION: step.component_revision}
                self._put_service(service, selector=selector, record=step.record)
            case model.Claim():
                deployment = self._guarded_deployment(step.deployment, step.uid, step.version)
                self._put_deployment(deployment, claims=dict(deployment.claims) | dict(step.claims))
            case model.Mark():
                service = self._guarded_service(step.service, step.version)
                selector = dict(service.selector) | ({names.REVISION: names.NOTHING} if step.gate else {})
                labels = dict(service.labels) | {names.RELEASE: KEY.name}
                marks = dict(service.annotations) | {names.RELEASE_UID: self.uid}
                self._put_service(service, selector=selector, labels=labels, annotations=marks)
            case model.Unmark():
                service = self._guarded_service(step.service, step.version)
                labels = {k: v for k, v in service.labels.items() if k != names.RELEASE}
                marks = {k: v for k, v in service.annotations.items() if k != names.RELEASE_UID}
                self._put_service(service, labels=labels, annotations=marks)
            case model.Annotate():
                deployment = self._guarded_deployment(step.deployment, step.uid, step.version)
                self._put_deployment(deployment, **_annotated(step.annotations))
            case model.Scale():
                deployment = self._guarded_deployment(step.deployment, step.uid, step.version)
                self._put_deployment(deployment, replicas=step.replicas)
            case model.Own():
                deployment = self._guarded_deployment(step.deployment, step.uid, step.version)
                self._put_deployment(deployment, owner_uids=frozenset({self.uid} if step.owned else ()))
            case model.Restore():
                deployment = self._guarded_deployment(step.deployment, step.uid, step.version)
                template = deployment.template if step.template is None else step.template
                seconds = deployment.min_ready_seconds if step.min_ready_seconds is None else step.min_ready_seconds
                self._put_deployment(deployment, template=template, min_ready_seconds=seconds)
            case model.Retire():
                return self._retire(step)
            case model.CreateDeployment():
                return self._create_deployment(step)
            case model.CreatePreview():
                self._create_preview(step)
            case model.PatchPreview():
                service = self._guarded_service(step.name, step.version)
                ports = tuple(step.body["spec"]["ports"])
                self._put_service(service, selector=step.body["spec"]["selector"], ports=ports,
                                  annotations=step.body["metadata"]["annotations"])  # fmt: skip
            case model.DeletePreview():
                found = self.services.get(step.name)
                if found and found.uid == step.uid:
                    del self.services[step.name]
            case model.StoreSpec():
                self.stored.setdefault(step.revision, Spec.model_validate(step.body["data"]["spec"]))
            case model.ForgetSpec():
                self.stored = {r: s for r, s in self.stored.items() if names.stored_spec_name(KEY.name, r) != step.name}
            case model.ForgetOrder():
                self.orders.pop(step.uid, None)
            case model.CreateJob():
                return self._create_job(step)
            case model.StartJob():
                self._start_job(step)
            case model.DeleteJob():
                if (job := self.jobs.get(step.name)) and job.uid == step.uid:
                    if job.version != step.version:
                        raise Conflict(f"Job {step.name} is not what was read")
                    self._delete_job(job)
            case model.ConfirmGone():
                found = self.jobs.get(step.name)
                here = found is not None and found.uid == step.uid
                self.notebook.job_gone = "" if here else step.uid
                self.notebook.job_read = (step.uid, self.now) if here else None
            case model.DryRun():
                self.notebook.dry_runs[step.component_revision] = self.refusals.get(step.component_revision)
            case model.Ask():
                verdicts = {t: self._answer_of(t) for t in step.targets}
                passed = frozenset(t.pod_uid for t, v in verdicts.items() if v.passed)
                said = [f"pod {t.pod_name}: {v.said}" for t, v in verdicts.items() if not v.passed]
                text = "; ".join(said[:3]) or "no pod to ask"
                self.notebook.asked[step.revision] = Asked(self.now, passed | step.ready_without_probe, text)
            case model.ConfirmDead():
                self.notebook.confirmed_dead[step.service] = self.now
        return None

    def _guarded_service(self, name: str, version: int) -> Service:
        service = self.services.get(name)
        if service is None or service.version != version:
            raise Conflict(f"Service {name} is not what was read")
        return service

    def _guarded_deployment(self, name: str, uid: str, version: int) -> Deployment:
        deployment = self.deployments.get(name)
        if deployment is None or (deployment.uid, deployment.version) != (uid, version):
            raise Conflict(f"Deployment {name} is not what was read")
        return deployment

    def _put_service(self, service: Service, **changes: Any) -> None:
        changed = replace(service, **changes)
        if changed != service:  # a write that changes nothing raises no version
            self.services[service.name] = replace(changed, version=self.next_version())

    def _put_deployment(self, deployment: Deployment, **changes: Any) -> None:
        changed = replace(deployment, **changes)
        if changed != deployment:
            self.deployments[deployment.name] = replace(changed, version=self.next_version())

    def _retire(self, step: model.Retire) -> float | None:
        target = self.deployments.get(step.deployment)
        if target is None:
            raise Conflict(f"Deployment {step.deployment} is gone")
        if target.uid != step.uid:
            return SOON
        for name, claimed in target.claims.items():
            service = self.services.get(name)
            if service is None:
                continue
            if service.selected == target.revision:
                return 1.0
            if claimed >= service.version:
                fence = dict(service.annotations) | {names.FENCE: str(self.version)}
                self._put_service(service, annotations=fence)
                self.tell("fence", f"Service {name}: claims up to {claimed} are void")
        if step.delete:
            del self.deployments[target.name]
        else:
            self._put_deployment(target, replicas=0, served=target.served or step.served)
        return None

    def _create_deployment(self, step: model.CreateDeployment) -> float | None:
        if step.name in self.deployments:
            return SOON
        body = step.body
        notes, spec = body["metadata"]["annotations"], body["spec"]
        version = self.next_version()
        prefix = names.CLAIM_DOMAIN + "/"
        self.deployments[step.name] = Deployment(
            name=step.name,
            uid=f"deployment-{version}",
            version=version,
            component=body["metadata"]["labels"][names.COMPONENT],
            revision=body["metadata"]["labels"][names.REVISION],
            created_for=notes[names.CREATED_FOR],
            created_version=notes[names.VERSION_LABEL],
            created_at=self.now.replace(microsecond=0),
            release_uid=notes[names.RELEASE_UID],
            owner_uids=frozenset(o["uid"] for o in body["metadata"].get("ownerReferences", ())),
            adopted_from=notes.get(names.ADOPTED_FROM, ""),
            served=False,
            proven=(),
            claims={k.removeprefix(prefix): int(v) for k, v in notes.items() if k.startswith(prefix)},
            replicas=spec["replicas"],
            min_ready_seconds=spec["minReadySeconds"],
            template=spec["template"],
            settled=True,
            available=0,
            updated=0,
            deleting=False,
            replica_failure="",
            replica_failure_since=None,
        )
        return None

    def _create_preview(self, step: model.CreatePreview) -> None:
        if step.name in self.services:
            raise Conflict(f"Service {step.name} exists already")
        metadata, spec, version = step.body["metadata"], step.body["spec"], self.next_version()
        self.services[step.name] = a_service(
            step.name, uid=f"uid-{step.name}-{version}", version=version, selector=spec["selector"],
            labels=metadata["labels"], annotations=metadata["annotations"], ports=tuple(spec["ports"]),
            headless="clusterIP" in spec, publish_not_ready=spec["publishNotReadyAddresses"],
        )  # fmt: skip

    # --- the transcript -----------------------------------------------------------------------------------------

    def tell(self, who: str, what: str) -> None:
        """Write a line of the transcript."""
        seconds = (self.now - self.began).total_seconds()
        clock = f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:04.1f}"
        self.lines.append(f"{clock:>10}  {who:<16}  {what}")

    def tell_of(self, decision: Decision) -> None:
        """Write what was decided; what only waits is written when its words change."""
        step = type(decision.step).__name__
        if isinstance(decision.step, Rest):
            step = "remember" if decision.memory is not None else "wait"
        said = (step, decision.reason, decision.because)
        if step != "wait" or said != self._said:
            self.tell(step, f"{decision.reason}: {decision.because}")
        self._said = said if step == "wait" else self._said
        for note in decision.notes:
            if note.message != decision.because:
                self.tell("event", f"{note.reason}: {note.message}")

    def _tell_of_status(self, found: Any) -> None:
        ready, stalled = found[Condition.READY], found[Condition.STALLED]
        text = f"{self.status['phase']}, Ready={ready.status} ({ready.reason})"
        text += f", Stalled ({stalled.reason})" if stalled.status == "True" else ""
        if self._shown != text:
            self.tell("status", text)
            self._shown = text

    @property
    def transcript(self) -> str:
        """The whole story, for golden files."""
        return "\n".join(line.rstrip() for line in self.lines) + "\n"

    # --- what tests ask -----------------------------------------------------------------------------------------

    @property
    def memory(self) -> Memory:
        """What the operator remembers."""
        return from_status(self.status) if self.status else Memory()

    @property
    def live(self) -> str:
        """The version that is live; "" if none is."""
        found = self.memory.live
        return found.stack.version if found else ""

    @property
    def phase(self) -> str:
        """The phase that people see."""
        return str(self.status.get("phase", ""))

    def condition(self, kind: Condition) -> tuple[str, str]:
        """Return status and reason of a condition."""
        found = next((c for c in self.status.get("conditions", ()) if c["type"] == kind), {})
        return found.get("status", "Unknown"), found.get("reason", "")


def _annotated(annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return what annotations change on a Deployment."""
    if names.UNSAFE in annotations:
        return {"unsafe": json.loads(annotations[names.UNSAFE])}
    return {"served": annotations[names.SERVED] == "true", "proven": tuple(annotations[names.PROVEN].split(","))}


def plain(value: Any) -> Any:
    """Return JSON as the API server stores it: without nulls."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


class Watchdog:
    """Holds every write against the invariants of product.md 6, by other means than the policy's own."""

    def before(self, sim: Simulator, world: World, decision: Decision) -> None:
        """Judge a step on the state that it would be applied to."""
        step = decision.step
        match step:
            case model.Switch():
                self._switch(sim, world, step)
            case model.Claim():
                held = sim.deployments[step.deployment].claims
                lowered = {n: v for n, v in step.claims.items() if v < held.get(n, 0)}
                self._must(sim, not lowered, f"a claim is lowered: {lowered}")
            case model.Retire():
                self._going(sim, world, step.deployment)
            case model.Scale():
                if step.replicas < sim.deployments[step.deployment].replicas:
                    self._shrinking(sim, world, step)
            case model.Mark():
                gates = not step.gate or sim.services[step.service].selected is None
                self._must(sim, gates, "S1: a Service that selects a revision is gated")
            case _:
                pass

    def starts(self, sim: Simulator, job: str) -> None:
        """Judge the start of a Job: never twice, and never one whose uid is not remembered."""
        known = [r for s in hooks.series(sim.memory) for r in s.runs if r.job_uid == sim.jobs[job].uid]
        self._must(sim, bool(known), f"Job {job} is started, and nothing remembers it")
        self._must(sim, job not in sim.ran, f"Job {job} is started twice")
        beside = [pod.name for pod in sim.hook_pods.values() if not pod.over]
        self._must(sim, not beside, f"Job {job} is started beside {beside}")

    def after(self, sim: Simulator) -> None:
        """Judge a state in which the operator rests."""
        self._s5(sim)

    @staticmethod
    def _must(sim: Simulator, holds: bool, text: str) -> None:
        assert holds, "\n".join([text, *sim.lines[-25:]])

    def _switch(self, sim: Simulator, world: World, step: model.Switch) -> None:
        if step.component_revision == names.NOTHING:
            self._must(sim, step.record.cause is Cause.UNDO, f"S1: {step.service} is made to select nothing")
            return
        service = sim.services[step.service]
        own = names.own_selector(service.selector)
        fitting = [
            d
            for d in sim.deployments.values()
            if d.revision == step.component_revision
            and all(d.pod_labels.get(k) == v for k, v in own.items())
            and d.claims.get(step.service) == service.version == step.version
        ]
        self._must(sim, any(d.replicas > 0 for d in fitting), f"claim rule: {step}")
        if step.record.cause is Cause.PROMOTE:
            self._verified(sim, world, step, fitting)
        if step.record.cause is Cause.ROLLBACK:
            proven = {r.stack.revision for r in world.memory.retained}
            self._must(sim, step.record.to in proven, f"S2: rollback to what is not retained: {step.record.to}")

    def _verified(self, sim: Simulator, world: World, step: model.Switch, behind: list[Deployment]) -> None:
        """S2: verified in this attempt and Available now; from its second Service on, Available is enough."""
        candidate = world.memory.candidate
        self._must(sim, candidate is not None, "S2: a promotion without a candidate")
        begun = acts.unfinished(world) is not None
        for deployment in behind:
            lives = sim.pods_of(deployment.name)
            there = sum(sim.is_available(life, deployment) for life in lives)
            self._must(sim, there >= (1 if begun else deployment.replicas), f"S2: not Available: {deployment.name}")
            health = world.health_of(candidate.stack.revision, deployment.component)
            if health and not begun:
                where = model.scope(candidate.stack.revision, candidate.attempt)
                passed = [world.streaks.get((where, life.uid), Streak()).passed for life in lives]
                enough = all(count >= health.success_threshold for count in passed)
                self._must(sim, enough, f"S2: not verified on every pod: {deployment.name} {passed}")
        judged = checks.candidate(world)
        for check in judged.checks if judged and not begun else ():
            tally = world.tallies.get((judged.scope, check.name), Tally())
            passes = check.dry_run or check.pods or tally.passed >= check.success_limit
            self._must(sim, passes, f"S2: check {check.name} has not passed: {tally}")

    def _going(self, sim: Simulator, world: World, name: str) -> None:
        deployment = sim.deployments[name]
        selecting = [
            s.name
            for s in sim.services.values()
            if not s.preview_of
            and s.selected == deployment.revision
            and names.matches(s.selector, deployment.pod_labels)
        ]
        self._must(sim, not selecting, f"S1: {name} goes, and {selecting} select it")
        self._must(sim, name not in _held(world), f"S3: {name} goes before its time")

    def _shrinking(self, sim: Simulator, world: World, step: model.Scale) -> None:
        self._must(sim, step.deployment not in _held(world) - _lives(world), f"S3: {step.deployment} shrinks")

    def _s5(self, sim: Simulator) -> None:
        memory = sim.memory
        if memory.live is None:
            return
        most = 1 + memory.settings.retain_revisions + 1 + 1 + 1
        for component in {d.component for d in sim.deployments.values()}:
            count = sum(d.component == component for d in sim.deployments.values())
            self._must(sim, count <= most, f"S5: {count} Deployments of component {component}, at most {most}")


def _names(stack: model.Stack) -> set[str]:
    return {names.deployment_name(KEY.name, m.name, m.revision) for m in stack.members}


def _lives(world: World) -> set[str]:
    return _names(world.memory.live.stack) if world.memory.live else set()


def _held(world: World) -> set[str]:
    """Return the Deployments that must stand: those of live and of what is retained."""
    return _lives(world) | {name for r in world.memory.retained for name in _names(r.stack)}
