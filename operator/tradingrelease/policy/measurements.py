"""Values of checks: what is measured, what was found, and what the findings add up to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tradingrelease.policy.check_spec import Check, During


class Verdict(StrEnum):
    """What a check says."""

    PENDING = "Pending"
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """It could not be measured, or what was measured says nothing: never taken for passed, never for failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one measurement found."""

    verdict: Verdict
    said: str
    value: float | None = None
    """The number that was measured, for metrics."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How many findings of each kind there were, and the last number."""

    passed: int = 0
    failed: int = 0
    inconclusive: int = 0
    value: float | None = None
    """None: a check of this kind measures no number, or never did."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the findings of one check add up to, within one revision and attempt."""

    passed: int = 0
    """In a row."""
    failed: int = 0
    """Since the last that passed: what could not be measured in between is no proof of health."""
    inconclusive: int = 0
    """In a row."""
    verdict: Verdict = Verdict.PENDING
    """The last limit that was reached."""
    said: str = ""
    """What was found when the verdict last changed."""
    measured: Measured = Measured()
    """Of all findings."""
    since: datetime | None = None
    """From when on they are counted: what an earlier process found went with it."""


@dataclass(frozen=True, slots=True)
class HttpSubject:
    """A Service to be asked, and who may answer."""

    address: str
    """Its ClusterIP; "" where it has none."""
    port: int
    """0 where the Service has no such port."""
    version: str
    """The version under which the judged component revision was first deployed."""
    other_pods: frozenset[str] = frozenset()
    """Names of pods of the same component that are not judged."""
    other_versions: frozenset[str] = frozenset()
    """Versions of those pods, without the judged one."""


@dataclass(frozen=True, slots=True)
class QuerySubject:
    """A query with its arguments filled in."""

    query: str
    """"" where there is no such template."""


@dataclass(frozen=True, slots=True)
class LogSubject:
    """Containers whose logs are read."""

    containers: frozenset[tuple[str, str, int]]
    """Names of pod and container, and how often it was started again."""
    since: datetime
    young: frozenset[str] = frozenset()
    """Names of pods that were made since then: all that they write counts, whatever the clock of their node says."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A check that is measured now, for one revision and attempt or its watch."""

    scope: str
    check: Check
    during: During
    subject: HttpSubject | QuerySubject | LogSubject
    delay: timedelta
    """How long to wait before the first measurement."""

    @property
    def place(self) -> tuple[str, str]:
        """What its tally is kept under."""
        return self.scope, self.check.name


@dataclass(frozen=True, slots=True)
class Offers:
    """What the operator's configuration offers to checks."""

    prometheus: bool = False
    templates: Mapping[str, str] = field(default_factory=dict)
    """Queries by name."""


class Kind(StrEnum):
    """What happened to a pod."""

    CRASH = "crash"
    OOM_KILL = "OOM kill"
    """A crash as well."""
    FLAP = "loss of readiness"


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that happened to a pod by itself."""

    kind: Kind
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of one pod."""

    crashes: Mapping[str, int] = field(default_factory=dict)
    """By container, as last seen."""
    ready: bool = False
    ready_since: datetime | None = None
    incidents: tuple[Incident, ...] = ()


def counted(tally: Tally, finding: Finding, check: Check) -> Tally:
    """Return a tally with one more finding. A verdict stands until another limit is reached."""
    passed, failed, inconclusive = 0, tally.failed, 0
    match finding.verdict:
        case Verdict.PASSED:
            passed, failed = tally.passed + 1, 0
            reached = passed >= check.success_limit
        case Verdict.FAILED:
            failed = tally.failed + 1
            reached = failed >= check.failure_limit
        case _:
            inconclusive = tally.inconclusive + 1
            reached = inconclusive >= check.inconclusive_limit
    verdict = finding.verdict if reached else tally.verdict
    said = tally.said if verdict is tally.verdict else finding.said
    return Tally(passed, failed, inconclusive, verdict, said, _one_more(tally.measured, finding), tally.since)


def _one_more(measured: Measured, finding: Finding) -> Measured:
    return Measured(
        measured.passed + (finding.verdict is Verdict.PASSED),
        measured.failed + (finding.verdict is Verdict.FAILED),
        measured.inconclusive + (finding.verdict is Verdict.INCONCLUSIVE),
        measured.value if finding.value is None else finding.value,
    )


def passes(tally: Tally, check: Check) -> bool:
    """Tell whether a check passes right now: its last findings, as many as the limit asks for, all passed."""
    return tally.passed >= check.success_limit


def matters(before: Tally, after: Tally, check: Check) -> bool:
    """Tell whether a decision may come out differently now."""
    return before.verdict is not after.verdict or passes(before, check) is not passes(after, check)
