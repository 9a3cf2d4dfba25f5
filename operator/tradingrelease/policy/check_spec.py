"""What an author may write under `checks`, and what is wrong with it."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Final, Literal

import cel
from pydantic import Field, model_validator

from tradingrelease.policy import expression, patterns, promql
from tradingrelease.policy.fields import Duration, Part, Path, Port

During = Literal["Verify", "Watch"]

KINDS: Final = ("prometheus", "http", "logs", "pods")


class Header(Part):
    """One header of a request."""

    name: str
    value: str


class HttpCheck(Part):
    """A request to a Service: to its preview during Verify, to itself during Watch."""

    service: str
    path: Path
    port: Port
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    method: Literal["GET", "HEAD", "POST"] = "GET"
    headers: tuple[Header, ...] = ()
    expect: str | None = None

    @cached_property
    def program(self) -> cel.Program | None:
        """The compiled `expect`, or None where any 2xx or 3xx passes."""
        return None if self.expect is None else cel.compile(self.expect)


class PrometheusCheck(Part):
    """A query whose result is one number, and what it must be."""

    component: str | None = None
    query: str | None = None
    template: str | None = None
    expect: str

    @cached_property
    def program(self) -> cel.Program:
        """The compiled `expect`."""
        return cel.compile(self.expect)


class PodsCheck(Part):
    """What pods may do to themselves."""

    component: str | None = None
    restarts: int = Field(default=0, ge=0)
    oom_kills: int = Field(default=0, ge=0)
    readiness_flaps: int | None = Field(default=None, ge=0)


class LogsCheck(Part):
    """What must not stand in the logs of a component's pods."""

    component: str
    pattern: str
    allow: str | None = None
    max_per_minute: int = Field(default=0, ge=0)
    show_first_line: bool = False


class Check(Part):
    """Something that is measured again and again, with a verdict."""

    name: str
    during: tuple[During, ...] = ("Verify", "Watch")
    interval: Duration = timedelta(seconds=10)
    timeout: Duration = timedelta(seconds=5)
    failure_limit: int = Field(default=3, ge=1)
    success_limit: int = Field(default=3, ge=1)
    inconclusive_limit: int = Field(default=3, ge=1)
    initial_delay: Duration = timedelta(0)
    dry_run: bool = False
    prometheus: PrometheusCheck | None = None
    http: HttpCheck | None = None
    logs: LogsCheck | None = None
    pods: PodsCheck | None = None

    @model_validator(mode="after")
    def _has_one_kind(self) -> "Check":
        written = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(written) != 1:
            found = " and ".join(written) or "none of them"
            raise ValueError(f"write exactly one of prometheus, http, logs and pods, found {found}")
        return self

    @property
    def kind(self) -> str:
        """The kind of check, as its field is called."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def judges(self, during: During) -> bool:
        """Tell whether it is measured in a phase."""
        return during in self.during


def problem(checks: Iterable[Check], services: Mapping[str, Iterable[str]]) -> tuple[str, str] | None:
    """Return reason and advice for the first check that cannot work. `services`: of each component, by name."""
    names: set[str] = set()
    for check in checks:
        if check.name in names:
            return "InvalidCheck", f"two checks are named {check.name!r}: rename one"
        names.add(check.name)
        if found := _unknown(check, services):
            return "InvalidCheck", f"check {check.name!r}: {found}"
        if found := _not_compiled(check):
            return "InvalidExpression", f"check {check.name!r}, {found}"
    return None


def component_of(check: Check, services: Mapping[str, Iterable[str]]) -> str:
    """Return the component that a check is about; "" where it is about all of them, or about none that there is."""
    if check.http:
        return next((name for name, listed in services.items() if check.http.service in listed), "")
    about = check.prometheus or check.logs or check.pods
    named = about.component if about else None
    if named is None:
        return next(iter(services)) if len(services) == 1 else ""
    return named if named in services else ""


def _unknown(check: Check, services: Mapping[str, Iterable[str]]) -> str:
    about = check.prometheus or check.logs or check.pods
    if about and about.component is not None and about.component not in services:
        return f"there is no component {about.component!r}: write one of {', '.join(services)}"
    if check.http and not component_of(check, services):
        listed = ", ".join(service for found in services.values() for service in found)
        return f"no component lists Service {check.http.service!r}: write one of {listed}"
    if check.prometheus and (check.prometheus.query is None) == (check.prometheus.template is None):
        return "write either a query or a template"
    return ""


def _not_compiled(check: Check) -> str:
    if check.http and check.http.expect is not None:
        found = expression.problem(check.http.expect, expression.ANSWER)
        return f"http.expect: {found}" if found else ""
    for field in ("pattern", "allow") if check.logs else ():
        try:
            patterns.compiled(getattr(check.logs, field) or "")
        except ValueError as error:
            return f"logs.{field}: {error}"
    if check.prometheus:
        if found := expression.problem(check.prometheus.expect, expression.RESULT):
            return f"prometheus.expect: {found}"
        try:
            promql.arguments(check.prometheus.query or "")
        except ValueError as error:
            return f"prometheus.query: {error}"
    return ""
