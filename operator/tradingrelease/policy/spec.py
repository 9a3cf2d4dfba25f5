"""From the dict that an author wrote to a Spec, or to a rejection that says what to write instead.

The one place that knows the field names of the CRD. Deeper code never sees the raw dict.
Defaults here equal those of `crds/tradingreleases.yaml`; a test compares the two.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import cel
from pydantic import AfterValidator, Field, ValidationError

from tradingrelease.policy import check_spec, expression
from tradingrelease.policy.check_spec import Check
from tradingrelease.policy.fields import Duration, Path, Port
from tradingrelease.policy.fields import Part as _Part
from tradingrelease.policy.names import DIGEST_LENGTH, digest
from tradingrelease.policy.reasons import Moment

_NOT_PART_OF_A_REVISION: Final = frozenset({"replicas", "retain", "keepFailedFor", "onDelete"})
DEEPEST: Final = 100
"""Levels of a spec. A pod template needs 20; what hashes, copies and stores specs recurses."""
_NOT_OF_A_HOOK: Final = frozenset({"suspend", "managedBy", "selector", "manualSelector", "ttlSecondsAfterFinished"})


class HttpGet(_Part):
    """Where a pod is asked for its health: a path and a port of the pod itself, never a host."""

    path: Path
    port: Port
    scheme: str = "HTTP"


class Health(_Part):
    """How every pod is asked whether it is well."""

    http_get: HttpGet
    expect: str | None = None
    interval: Duration = timedelta(seconds=5)
    timeout: Duration = timedelta(seconds=2)
    success_threshold: int = Field(default=3, ge=1)
    failure_threshold: int = Field(default=3, ge=1)

    @cached_property
    def program(self) -> cel.Program | None:
        """The compiled `expect`, or None where any 2xx or 3xx is healthy."""
        return None if self.expect is None else cel.compile(self.expect)


def _template(template: dict[str, Any]) -> dict[str, Any]:
    """Check the little that we read ourselves; the rest is for the API server to judge."""
    metadata = template.get("metadata")
    if not isinstance(metadata, dict | None):
        raise ValueError("write metadata with labels, or leave it out")  # noqa: TRY004 - pydantic asks for ValueError
    for field in ("labels", "annotations"):
        if not isinstance((metadata or {}).get(field), dict | None):
            raise ValueError(f"write metadata.{field} as names with values, or leave them out")  # noqa: TRY004
    return template


class Component(_Part):
    """One workload: its Services and the template of its pods."""

    name: str
    services: tuple[str, ...] = Field(min_length=1)
    allow_unlisted_services: tuple[str, ...] = ()
    replicas: int | None = Field(default=None, ge=0)
    min_ready_seconds: int = Field(default=5, ge=0)
    progress_deadline: Duration = timedelta(minutes=10)
    template: Annotated[dict[str, Any], AfterValidator(_template)]
    health: Health | None = None

    @cached_property
    def revision(self) -> str:
        """The component revision: a digest of the template as its author wrote it, and of nothing else."""
        return digest(self.template)

    @property
    def pod_labels(self) -> dict[str, str]:
        """The labels that the author gave the pods."""
        return dict((self.template.get("metadata") or {}).get("labels") or {})


class FailFast(_Part):
    """When to give up on a candidate before its deadline."""

    restart_limit: int = Field(default=2, ge=0)
    stuck_for: Duration = timedelta(minutes=3)


class Watch(_Part):
    """The time after the switch in which failures roll back by themselves."""

    for_: Duration = Field(default=timedelta(minutes=15), alias="for")
    dead_after: Duration = timedelta(seconds=10)


class Retain(_Part):
    """How long, and how many, former live revisions are kept."""

    for_: Duration = Field(default=timedelta(hours=24), alias="for")
    revisions: int = Field(default=1, ge=1)


class Webhook(_Part):
    """Whom to tell, and to ask whether to go on."""

    url: str


class Hook(_Part):
    """What is done once per revision and attempt: a Job, or a webhook."""

    name: str
    at: Moment
    job: dict[str, Any] | None = None
    """A JobSpec as its author wrote it."""
    webhook: Webhook | None = None
    timeout: Duration = timedelta(minutes=10)
    on_failure: str = "Fail"
    irreversible: bool = False
    """Once it succeeded, nobody goes back across it but by a forced order."""

    @property
    def stops(self) -> bool:
        """Whether its failure fails the attempt, or rolls back."""
        return self.on_failure == "Fail"


class Asked(_Part):
    """How many people have to agree at one moment."""

    at: Moment
    required: int = Field(default=1, ge=1)
    not_by_author: bool = True
    timeout: Duration = timedelta(hours=24)
    on_timeout: str = "Abort"


class Spec(_Part):
    """What a TradingRelease asks for."""

    version: str
    components: tuple[Component, ...] = Field(min_length=1, max_length=16)
    hooks: tuple[Hook, ...] = Field(default=(), max_length=16)
    checks: tuple[Check, ...] = ()
    approvals: tuple[Asked, ...] = Field(default=(), max_length=2)
    fail_fast: FailFast = FailFast()
    watch: Watch = Watch()
    retain: Retain = Retain()
    keep_failed_for: Duration = timedelta(minutes=15)
    on_delete: Literal["Keep", "Remove"] = "Keep"

    @cached_property
    def revision(self) -> str:
        """The digest of all that names and judges a revision.

        Left out: what may change without a release (replicas, retain, keepFailedFor, onDelete), and every field that
        equals its default, so that a field added by a later version never looks like a new spec.
        """
        written = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"components"})
        body = {key: value for key, value in written.items() if key not in _NOT_PART_OF_A_REVISION}
        body["components"] = [self._judged(component) for component in self.components]
        if "checks" in body:
            body["checks"].sort(key=lambda check: check["name"])  # a map: its order means nothing
        return digest(body)

    @staticmethod
    def _judged(component: Component) -> dict[str, Any]:
        written = component.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"template"})
        written["services"] = sorted(component.services)  # a set: its order means nothing
        if component.allow_unlisted_services:
            written["allowUnlistedServices"] = sorted(component.allow_unlisted_services)
        kept = {key: value for key, value in written.items() if key not in _NOT_PART_OF_A_REVISION}
        return kept | {"template": component.revision}

    def component(self, name: str) -> Component | None:
        """Return the component of that name, if there is one."""
        return next((c for c in self.components if c.name == name), None)

    def hook(self, name: str) -> Hook | None:
        """Return the hook of that name, if there is one."""
        return next((h for h in self.hooks if h.name == name), None)

    def asked_at(self, at: Moment) -> Asked | None:
        """Return how many people have to agree at a moment; None: nobody."""
        return next((asked for asked in self.approvals if asked.at is at), None)

    def hooks_at(self, at: Moment) -> tuple[Hook, ...]:
        """Return the hooks of one moment, in their order."""
        return tuple(h for h in self.hooks if h.at is at)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A spec that cannot be worked with: why, and what to write instead."""

    reason: str
    message: str


def parse(raw: dict[str, Any], release_name: str) -> Spec | Rejected:
    """Turn a release's spec into a Spec, or say what to write instead."""
    if _deeper(raw, DEEPEST):
        text = f"spec: nested more than {DEEPEST} levels deep, which no field of a pod template is: take that away"
        return Rejected("InvalidSpec", text)
    try:
        spec = Spec.model_validate(raw)
    except ValidationError as error:
        return Rejected("InvalidSpec", "; ".join(_advice(item) for item in _causes(error)[:3]))
    problems = (
        _duplicates(spec),
        _too_long(spec, release_name),
        _expressions(spec),
        _unclear_hook(spec),
        _checks(spec),
    )
    for problem in problems:
        if problem:
            return problem
    return spec


def _deeper(value: Any, levels: int) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether a value is nested more than so many levels deep. Without recursion: it may be very deep."""
    layer = [value]
    for _ in range(levels):
        layer = [
            below
            for found in layer
            if isinstance(found, dict | list)
            for below in (found.values() if isinstance(found, dict) else found)
        ]
        if not layer:
            return False
    return True


def _causes(error: ValidationError) -> list[Any]:
    """Return the errors without those that only follow from another one further in ("at least 1 item")."""
    found = error.errors(include_url=False)
    deeper = {tuple(item["loc"][:depth]) for item in found for depth in range(len(item["loc"]))}
    return [item for item in found if tuple(item["loc"]) not in deeper]


def _advice(item: Any) -> str:  # noqa: ANN401 - pydantic's error dict
    where = ".".join(str(part) for part in item["loc"])
    return f"spec.{where}: {item['msg'].removeprefix('Value error, ')}"


def _duplicates(spec: Spec) -> Rejected | None:
    owner: dict[str, str] = {}
    names: set[str] = set()
    for component in spec.components:
        if component.name in names:
            return Rejected("InvalidSpec", f"two components are named {component.name!r}: rename one")
        names.add(component.name)
        for service in component.services:
            if service in owner:
                return Rejected(
                    "InvalidSpec",
                    f"Service {service!r} is listed by component {owner[service]!r} and again by {component.name!r}: "
                    "list it once",
                )
            owner[service] = component.name
    return None


def _too_long(spec: Spec, release_name: str) -> Rejected | None:
    for component in spec.components:
        room = 63 - DIGEST_LENGTH - 2 - len(release_name)
        if len(component.name) > room:
            return Rejected(
                "InvalidSpec",
                f"component name {component.name!r} is too long: with release {release_name!r} at most {room} "
                "characters fit into the name of its Deployment",
            )
    return None


def _expressions(spec: Spec) -> Rejected | None:
    for component in spec.components:
        expect = component.health.expect if component.health else None
        if expect is not None and (advice := expression.problem(expect)):
            return Rejected("InvalidExpression", f"component {component.name!r}, health.expect: {advice}")
    return None


def _unclear_hook(spec: Spec) -> Rejected | None:
    known: set[str] = set()
    for hook in spec.hooks:
        if hook.name in known:
            return Rejected("InvalidSpec", f"two hooks are named {hook.name!r}: rename one")
        known.add(hook.name)
        if (hook.job is None) is (hook.webhook is None):
            return Rejected("InvalidSpec", f"hook {hook.name!r}: write either job or webhook")
        if taken := sorted(_NOT_OF_A_HOOK & set(hook.job or ())):
            text = f"hook {hook.name!r}: remove job.{taken[0]}: the operator starts its Job, and keeps it for its logs"
            return Rejected("InvalidSpec", text)
        if hook.irreversible and hook.at is Moment.AFTER_ROLLBACK:
            text = (
                f"hook {hook.name!r}: irreversible says what a rollback cannot undo, and it runs after one: remove it"
            )
            return Rejected("InvalidSpec", text)
    return None


def _checks(spec: Spec) -> Rejected | None:
    found = check_spec.problem(spec.checks, {c.name: c.services for c in spec.components})
    return Rejected(*found) if found else None
