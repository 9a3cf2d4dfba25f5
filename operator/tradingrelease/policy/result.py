"""From a TradingRelease as it is read to what a pipeline learns of it.

Used by the command `wait`. It reads what the operator wrote and trusts it only as far as it is about the spec asked
for: every condition carries the generation that it judged, and live and latched carry revisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from tradingrelease.policy.names import digest
from tradingrelease.policy.reasons import Condition
from tradingrelease.policy.spec import Spec, parse

Json = Mapping[str, Any]

WAITED_FOR: Final = frozenset({"ServiceMissing", "AdoptionAmbiguous", "AdmissionFailing"})
"""Refusals that end without a new manifest: the Service is created later, a rollout settles, a webhook is up again."""


class Result(IntEnum):
    """The exit code of `wait`."""

    READY = 0
    """Live and proven."""
    FAILED = 1
    """Failed, aborted, rolled back, replaced by another spec, or deleted."""
    REFUSED = 2
    """Not taken up at all: by the API server, by the operator, or for a wrong argument."""
    TIMEOUT = 3
    """None of these in time. The release goes on."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is waited for: one spec of one release."""

    uid: str
    revision: str
    version: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a release stands on the way to its target. `result` is None while that is open."""

    phase: str
    reason: str
    message: str
    result: Result | None = None


def target(release: Json) -> Target:
    """Return what a release asks for now."""
    version, revision = _asked(release)
    return Target(str(release["metadata"]["uid"]), revision, version)


def judge(release: Json, wanted: Target) -> Standing:
    """Tell where a release stands.

    A status about an earlier generation says nothing; neither does Ready for a revision other than the one wanted.
    """
    status: Json = release.get("status") or {}
    phase, generation = str(status.get("phase") or "Pending"), int(release["metadata"].get("generation") or 0)
    if release["metadata"]["uid"] != wanted.uid:
        return Standing(phase, "Deleted", "the release was deleted and made anew meanwhile", Result.FAILED)
    version, revision = _asked(release)
    if revision != wanted.revision:
        text = f"version {wanted.version} was replaced by another spec (version {version}) before it was proven"
        return Standing(phase, "Superseded", text, Result.FAILED)
    said = {c["type"]: c for c in status.get("conditions") or () if int(c.get("observedGeneration") or 0) >= generation}
    if (ready := said.get(Condition.READY)) is None:
        return Standing("Pending", "Unseen", f"the operator has not looked at generation {generation} yet")
    accepted = said.get(Condition.ACCEPTED) or {}
    if accepted.get("status") == "False" and accepted["reason"] not in WAITED_FOR:
        return Standing(phase, accepted["reason"], accepted["message"], Result.REFUSED)
    standing = Standing(phase, ready["reason"], ready["message"])
    if latch := next((entry for entry in status.get("latched") or () if entry["revision"] == revision), None):
        return Standing(phase, latch.get("reason", ""), standing.message, Result.FAILED)
    if ready["status"] != "True":
        return standing
    live: Json = status.get("live") or {}
    if live.get("revision") != revision or not live.get("provenAt"):
        text = (
            f"Ready is True for revision {live.get('revision')}, and {revision} is waited for: "
            "is this command as new as the operator?"
        )
        return Standing(phase, "OtherRevision", text)
    return Standing(phase, standing.reason, standing.message, Result.READY)


def _asked(release: Json) -> tuple[str, str]:
    """Return version and revision that a release asks for. What is no valid spec has a revision that is never live."""
    raw = release.get("spec") or {}
    spec = parse(raw, release["metadata"]["name"])
    if isinstance(spec, Spec):
        return spec.version, spec.revision
    return str(raw.get("version", "")), digest(raw)
