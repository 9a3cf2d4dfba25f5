"""Who is told of which transitions, and how often: the operator's configuration, never a release's.

It holds no secret: where a target is (its URL) is a file of that name in a mounted Secret, read only when something is
sent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tradingrelease.policy.fields import Duration
from tradingrelease.policy.model import Key
from tradingrelease.policy.reasons import Outcome, Severity
from tradingrelease.policy.transitions import Transition

SINK: Final = "cloudevents"
"""What the sink of CloudEvents is called: the file with its URL, in `status.notified`, and in metrics."""
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_LEVELS: Final = list(Severity)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r}: write up to 32 lower-case letters, digits and '-': it is a file of the Secret, too"
        )
    if text == SINK:
        raise ValueError(f"{text!r} is the name of the sink of CloudEvents: write another")
    return text


Name = Annotated[str, AfterValidator(_name)]


class _Part(BaseModel):
    # A misspelt field would silently tell nobody: nothing unknown is taken.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class Target(_Part):
    """How often one place is told."""

    batch: Duration = timedelta(seconds=10)
    """The first transition waits so long for others, to be told with them; a Critical one does not wait."""
    per_hour: int = Field(default=60, ge=1, le=3600)
    """Messages, at most; as many as a tenth of it may come at once."""


class Route(_Part):
    """Which transitions go to which targets: those that meet everything that is said here."""

    to: tuple[Name, ...] = Field(min_length=1)
    severity: Severity = Severity.INFO
    """At least."""
    outcomes: tuple[Outcome, ...] = ()
    """How an attempt ended; none named: also what ends none."""
    reasons: tuple[str, ...] = ()
    """Of Events; none named: all."""
    namespaces: tuple[str, ...] = ()
    """Names or patterns such as prod-*; none: all."""
    releases: tuple[str, ...] = ()

    def takes(self, key: Key, what: Transition) -> bool:
        """Tell whether a transition goes this way."""
        return (
            _LEVELS.index(what.severity) >= _LEVELS.index(self.severity)
            and (not self.outcomes or what.outcome in set(self.outcomes))
            and (not self.reasons or what.reason in self.reasons)
            and _matches(self.namespaces, key.namespace)
            and _matches(self.releases, key.name)
        )


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


class Sink(_Part):
    """Where every transition goes as a CloudEvent."""

    mode: Literal["structured", "binary"] = "structured"


class Notifications(_Part):
    """All of it."""

    cluster: str = Field(default="", max_length=64)
    """What people call this cluster; said in messages and events."""
    targets: Mapping[Name, Target] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    cloud_events: Sink | None = None
    keep_for: Duration = timedelta(hours=24)
    """What could not be sent for so long is dropped, and counted."""

    def names(self) -> tuple[str, ...]:
        """Return everybody who is told, the sink last."""
        return (*sorted(self.targets), *((SINK,) if self.cloud_events else ()))

    def receivers(self, key: Key, what: Transition) -> frozenset[str]:
        """Return who is told of a transition, each once."""
        routed = {name for route in self.routes if route.takes(key, what) for name in route.to}
        return frozenset(routed | ({SINK} if self.cloud_events else set()))


def parse(raw: object) -> Notifications:
    """Return the configuration. Raises ValueError that says, for each fault, where it is and what to write."""
    if not isinstance(raw, Mapping):
        raise ValueError("write a mapping with targets and routes, or cloudEvents")  # noqa: TRY004 - advice for people
    try:
        found = Notifications.model_validate(raw)
    except ValidationError as error:
        raise ValueError("; ".join(_advice(item) for item in error.errors(include_url=False)[:5])) from None
    routed = {name for route in found.routes for name in route.to}
    if unknown := sorted(routed - set(found.targets)):
        known = ", ".join(sorted(found.targets)) or "none"
        raise ValueError(f"routes: nobody is named {unknown[0]!r} in targets (there: {known})")
    if unrouted := sorted(set(found.targets) - routed):
        raise ValueError(f"targets.{unrouted[0]}: no route leads to it: write one, such as {{to: [{unrouted[0]}]}}")
    if not found.names():
        raise ValueError("nobody is told: write targets and routes, or cloudEvents")
    return found


def _advice(item: Any) -> str:  # noqa: ANN401 - pydantic's error dict
    where = ".".join(str(part) for part in item["loc"] if part != "[key]")
    said = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        said = "there is no such field"
    return f"{where}: {said}"


# --- how often --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: `size` messages at once, `per_second` on the long run. Times are seconds that only grow."""

    size: float
    per_second: float
    left: float
    at: float

    @classmethod
    def of(cls, target: Target, now: float) -> "Bucket":
        """Return a full one."""
        size = max(1.0, target.per_hour / 10)
        return cls(size, target.per_hour / 3600, size, now)

    def _left(self, now: float) -> float:
        return min(self.size, self.left + max(now - self.at, 0.0) * self.per_second)

    def wait(self, now: float) -> float:
        """Return in how many seconds a message may be sent."""
        return max(1.0 - self._left(now), 0.0) / self.per_second

    def taken(self, now: float) -> "Bucket":
        """Return the bucket after one message."""
        return Bucket(self.size, self.per_second, self._left(now) - 1.0, now)


_BACKOFF: Final = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
LONGEST_WAIT: Final = 900.0
"""Seconds that a receiver's Retry-After is believed."""


def backoff(failures: int, retry_after: float) -> float:
    """Return for how many seconds a target is left alone after so many failures in a row."""
    return max(_BACKOFF[min(failures, len(_BACKOFF)) - 1], min(retry_after, LONGEST_WAIT))
