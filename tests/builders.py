"""Small builders of what policy works on: raw specs, the values of the cluster, and whole worlds by the roles in them.

`a_release().live("2.0.0", hours_ago=23).retained("1.0.0").world()` reads as the situation that a test begins with.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tradingrelease.policy import manifests, names
from tradingrelease.policy.model import (
    Candidate,
    Container,
    Deployment,
    Endpoints,
    HistoryEntry,
    Key,
    Latched,
    Live,
    Memory,
    Order,
    Paused,
    Pod,
    Retained,
    Service,
    Stack,
    Streak,
    World,
    scope,
    stack_for,
)
from tradingrelease.policy.reasons import Action, Outcome
from tradingrelease.policy.spec import Rejected, Spec, parse

Json = dict[str, Any]

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = Key("production", "shop")
UID = "uid-shop"


# --- what an author writes ------------------------------------------------------------------------------------------


def a_template(component: str = "backend", version: str = "1.0.0", **spec: Any) -> Json:
    """Return a pod template whose image is `<component>:<version>`."""
    container = {
        "name": component,
        "image": f"{component}:{version}",
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    return {"metadata": {"labels": {"app": component}}, "spec": {"containers": [container], **spec}}


def a_health(**fields: Any) -> Json:
    """Return a health block that passes after two good answers."""
    return {"httpGet": {"path": "/healthz", "port": "http"}, "successThreshold": 2, "failureThreshold": 2, **fields}


def a_check(name: str = "check", **fields: Any) -> Json:
    """Return a check that asks the backend by HTTP, decided after two findings; a field given as None is left out."""
    http = {"service": "backend", "path": "/", "port": "http"}
    limits = {"failureLimit": 2, "successLimit": 2, "inconclusiveLimit": 2, "interval": "5s"}
    written = {"name": name, **limits, "http": http} | fields
    if {"prometheus", "logs", "pods"} & set(fields) and "http" not in fields:
        del written["http"]
    return {key: value for key, value in written.items() if value is not None}


def a_component(name: str = "backend", version: str = "1.0.0", **fields: Any) -> Json:
    """Return a component behind the Service of its own name; a field given as None is left out."""
    written = {"name": name, "services": [name], "template": a_template(name, version), "health": a_health()} | fields
    return {key: value for key, value in written.items() if value is not None}


def a_spec(version: str = "1.0.0", components: tuple[str, ...] = ("backend",), **fields: Any) -> Json:
    """Return a spec in which every component runs `version`."""
    written = [a_component(name, version) if isinstance(name, str) else name for name in components]
    return {"version": version, "components": written, **fields}


def parsed(raw: Json | None = None, release: str = KEY.name) -> Spec:
    """Return a spec that parses."""
    found = parse(raw or a_spec(), release)
    assert not isinstance(found, Rejected), found
    return found


def rejected(raw: Json, release: str = KEY.name) -> Rejected:
    """Return why a spec does not parse."""
    found = parse(raw, release)
    assert isinstance(found, Rejected), found
    return found


def a_hook(name: str = "migrate", at: str = "BeforeGreen", **fields: Any) -> Json:
    """Return a hook that runs a Job; with a `webhook` it runs none."""
    pod = {"spec": {"containers": [{"name": "main", "image": "migrate:1"}]}}
    does = {} if "webhook" in fields else {"job": {"template": pod}}
    return {"name": name, "at": at, **does, **fields}


# --- what stands in the cluster -------------------------------------------------------------------------------------


def a_service(name: str = "backend", selected: str | None = None, **fields: Any) -> Service:
    """Return a Service with the selector {app: <name>}, marked by our release where it selects a revision."""
    marked = selected is not None
    given = {
        "name": name,
        "uid": f"uid-{name}",
        "version": 10,
        "selector": {"app": name} | ({names.REVISION: selected} if marked else {}),
        "labels": {names.RELEASE: KEY.name} if marked else {},
        "annotations": {names.RELEASE_UID: UID} if marked else {},
        "type": "ClusterIP",
        "ports": ({"name": "http", "port": 80, "targetPort": "http"},),
        "headless": False,
        "publish_not_ready": False,
        "record": None,
        "cluster_ip": "10.96.0.1",
    }
    return Service(**{**given, **fields})


def a_preview(service: Service, selected: str) -> Service:
    """Return the preview of a Service."""
    return a_service(
        names.preview_name(service.name),
        selector=names.own_selector(service.selector) | {names.REVISION: selected},
        labels={names.RELEASE: KEY.name, names.PREVIEW_OF: service.name},
        annotations={names.RELEASE_UID: UID},
        ports=service.ports,
    )


def a_deployment(component: str = "backend", version: str = "1.0.0", **fields: Any) -> Deployment:
    """Return our Deployment of a component at a version, all its replicas available."""
    template = fields.pop("written", None) or a_template(component, version)
    revision = names.digest(template)
    given = {
        "name": names.deployment_name(KEY.name, component, revision),
        "uid": f"uid-{component}-{version}",
        "version": 20,
        "component": component,
        "revision": revision,
        "created_for": parsed(a_spec(version, (component,))).revision,
        "created_version": version,
        "created_at": NOW - timedelta(hours=2),
        "release_uid": UID,
        "owner_uids": frozenset(),
        "adopted_from": "",
        "served": False,
        "proven": (),
        "claims": {},
        "replicas": 2,
        "min_ready_seconds": 5,
        "template": manifests.pod_template(KEY, component, revision, template),
        "settled": True,
        "available": 2,
        "updated": 2,
        "deleting": False,
        "replica_failure": "",
        "replica_failure_since": None,
    }
    return Deployment(**{**given, **fields})


def a_container(name: str = "backend", **fields: Any) -> Container:
    """Return a container that runs and never died."""
    given = {"restarts": 0, "waiting": "", "waiting_message": "", "died": "", "exit_code": 0, "died_at": None}
    return Container(**{"name": name, **given, **fields})


def a_pod(deployment: Deployment, number: int = 0, **fields: Any) -> Pod:
    """Return a ready pod of a Deployment."""
    given = {
        "name": f"{deployment.name}-{number}",
        "uid": f"{deployment.uid}-{number}",
        "deployment_uid": deployment.uid,
        "labels": deployment.pod_labels,
        "ip": f"10.0.0.{number + 1}",
        "host_ip": "192.168.0.1",
        "host_network": False,
        "node": "node-1",
        "ready": True,
        "terminating": False,
        "created_at": deployment.created_at,
        "ports": {"http": 8080},
        "containers": (a_container(deployment.component),),
        "unschedulable": "",
        "unschedulable_since": None,
    }
    return Pod(**{**given, **fields})


def endpoints_of(*pods: Pod, port: str = "http") -> Endpoints:
    """Return endpoints that list pods as ready on one port."""
    uids = frozenset(pod.uid for pod in pods)
    return Endpoints({port: uids}, uids)


def an_order(action: Action, revision: str = "", **fields: Any) -> Order:
    """Return an order that was just given and not yet seen."""
    given = {
        "name": f"{action.lower()}-1",
        "uid": f"order-{action.lower()}",
        "action": action,
        "revision": revision,
        "force": False,
        "reason": "",
        "created_at": NOW,
        "phase": "",
        "answered_at": None,
    }
    return Order(**{**given, **fields})


def a_stack(version: str = "1.0.0", components: tuple[str, ...] = ("backend",)) -> Stack:
    """Return the stack that `a_spec` asks for."""
    return stack_for(parsed(a_spec(version, components)))


# --- a whole world --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReleaseBuilder:
    """A situation, told by the role of each version in it."""

    components: tuple[str, ...] = ("backend",)
    memory: Memory = field(default_factory=Memory)
    asked: Json | None = None
    deployments: dict[str, Deployment] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    stored: dict[str, Spec] = field(default_factory=dict)
    verified: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    def _with(self, version: str, **fields: Any) -> "ReleaseBuilder":
        spec = parsed(a_spec(version, self.components))
        made = [a_deployment(name, version, **fields) for name in self.components]
        pods = tuple(a_pod(d, n) for d in made for n in range(d.replicas))
        return replace(
            self,
            deployments=self.deployments | {d.name: d for d in made},
            pods=self.pods + pods,
            stored=self.stored | {spec.revision: spec},
        )

    def live(self, version: str = "1.0.0", hours_ago: float = 1, *, proven: bool = True) -> "ReleaseBuilder":
        """Let a version be live since some hours."""
        stack, since = a_stack(version, self.components), NOW - timedelta(hours=hours_ago)
        marks = (stack.revision,) if proven else ()
        held = self._with(version, served=proven, proven=marks)
        live = Live(stack, since, since, NOW - timedelta(seconds=30) if proven else None, 1)
        entry = HistoryEntry(stack.revision, version, Outcome.PROMOTED, since, since, None, "", "spec")
        memory = replace(held.memory, live=live, history=(entry, *held.memory.history))
        return replace(held, memory=memory, asked=held.asked or a_spec(version, self.components))

    def promoted(self, version: str = "2.0.0", hours_ago: float = 1, former: str = "1.0.0") -> "ReleaseBuilder":
        """Let a version be live and proven since some hours, and the one before it be retained."""
        return self.live(version, hours_ago).retained(former)

    def retained(self, version: str = "1.0.0", **fields: Any) -> "ReleaseBuilder":
        """Keep a version for rollback, 24 h after the latest switch."""
        stack = a_stack(version, self.components)
        held = self._with(version, served=True, proven=(stack.revision,), **fields)
        since = held.memory.live.since if held.memory.live else NOW
        kept = (*held.memory.retained, Retained(stack, since + timedelta(hours=24)))
        return replace(held, memory=replace(held.memory, retained=kept))

    def candidate(self, version: str = "2.0.0", *, verified: bool = False, **fields: Any) -> "ReleaseBuilder":
        """Prepare a version, asked for a minute ago."""
        held = self._with(version, **{"created_at": NOW - timedelta(minutes=1), **fields})
        candidate = Candidate(a_stack(version, self.components), 1, NOW - timedelta(minutes=1))
        asked = a_spec(version, self.components)
        return replace(held, memory=replace(held.memory, candidate=candidate), asked=asked, verified=verified)

    def failed(
        self, version: str, reason: str = "CrashLoop", minutes_ago: float = 1, **fields: Any
    ) -> "ReleaseBuilder":
        """Let a version have failed some minutes ago."""
        held = self._with(version, **fields)
        latch = Latched(a_stack(version, self.components), reason, "it crashed", NOW - timedelta(minutes=minutes_ago))
        return replace(held, memory=replace(held.memory, latched=(latch, *held.memory.latched)))

    def paused(self) -> "ReleaseBuilder":
        """Pause the release."""
        return replace(self, memory=replace(self.memory, paused=Paused(NOW, "lunch", "order-0")))

    def asking(self, raw: Json) -> "ReleaseBuilder":
        """Let the author ask for something else."""
        return replace(self, asked=raw)

    def ordered(self, action: Action, revision: str = "", **fields: Any) -> "ReleaseBuilder":
        """Let somebody give an order."""
        return self.having(orders=(*self.changes.get("orders", ()), an_order(action, revision, **fields)))

    def having(self, **changes: Any) -> "ReleaseBuilder":
        """Change fields of the finished world."""
        return replace(self, changes=self.changes | changes)

    def world(self) -> World:
        """Return the world."""
        services, endpoints = self._traffic()
        candidate = self.memory.candidate
        streaks = {}
        if candidate and self.verified:
            where = scope(candidate.stack.revision, candidate.attempt)
            streaks = {(where, pod.uid): Streak(passed=9, last="HTTP 200") for pod in self.pods}
        world = World(
            key=KEY,
            uid=UID,
            generation=1,
            version=100,
            deleting=False,
            spec=parse(self.asked or a_spec("1.0.0", self.components), KEY.name),
            memory=self.memory,
            conditions={},
            observed_generation=1,
            services=services,
            other_releases={},
            deployments=self._claimed(services),
            pods=self.pods,
            endpoints=endpoints,
            stored=self.stored,
            orders=(),
            streaks=streaks,
            asked={},
            dry_runs={},
            backings={},
            since={f"read-back:{self.memory.live.act}": NOW - timedelta(minutes=1)} if self.memory.live else {},
            confirmed_dead={},
        )
        return replace(world, **self.changes)

    def _traffic(self) -> tuple[dict[str, Service], dict[str, Endpoints]]:
        live, candidate = self.memory.live, self.memory.candidate
        services: dict[str, Service] = {}
        endpoints: dict[str, Endpoints] = {}
        for name in self.components:
            member = live.stack.member(name) if live else None
            services[name] = a_service(name, member.revision if member else names.NOTHING)
            if candidate and (green := candidate.stack.member(name)):
                preview = a_preview(services[name], green.revision)
                services[preview.name] = preview
        for name, service in services.items():
            behind = [p for p in self.pods if p.labels.get(names.REVISION) == service.selected]
            behind = [p for p in behind if names.matches(service.selector, p.labels)]
            endpoints[name] = endpoints_of(*behind)
        return services, endpoints

    def _claimed(self, services: dict[str, Service]) -> dict[str, Deployment]:
        def claims(d: Deployment) -> dict[str, int]:
            return {d.component: services[d.component].version if d.component in services else 0}

        return {name: replace(d, claims=d.claims or claims(d)) for name, d in self.deployments.items()}


def a_release(*components: str) -> ReleaseBuilder:
    """Begin a situation; without components it is about `backend`."""
    return ReleaseBuilder(components or ("backend",))
