"""Memory to status and back. A round trip loses nothing; a field that cannot be read is treated as absent."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tradingrelease.policy.check_spec import During
from tradingrelease.policy.fields import UNREADABLE
from tradingrelease.policy.measurements import Measured, Verdict
from tradingrelease.policy.model import (
    Answer,
    Approval,
    Author,
    Candidate,
    CheckResult,
    Gate,
    HistoryEntry,
    HookResult,
    HookRun,
    Latched,
    Left,
    Live,
    Member,
    Memory,
    Override,
    Paused,
    Person,
    Retained,
    Settings,
    Stack,
    Waiting,
    WebhookLeft,
)
from tradingrelease.policy.reasons import Consent, Moment, Outcome, Progress

Json = dict[str, Any]
T = TypeVar("T")


def stamp(at: datetime) -> str:
    """Return RFC 3339 with milliseconds, UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Parse what `stamp` or the API server wrote."""
    return datetime.fromisoformat(text)


def _maybe(text: str | None) -> datetime | None:
    return moment(text) if text else None


def _stack_out(stack: Stack) -> Json:
    components = [{"name": m.name, "revision": m.revision, "services": list(m.services)} for m in stack.members]
    return {"revision": stack.revision, "version": stack.version, "components": components}


def _stack_in(raw: Mapping[str, Any]) -> Stack:
    members = (Member(c["name"], c["revision"], tuple(c.get("services") or ())) for c in raw.get("components") or ())
    return Stack(raw["revision"], raw.get("version", ""), tuple(members))


def to_status(memory: Memory) -> Json:
    """Return the remembered part of a status; every key is present, so that a merge patch replaces all of it."""
    live, candidate, paused, left = memory.live, memory.candidate, memory.paused, memory.webhook_left
    return {
        "live": live
        and _stack_out(live.stack)
        | {
            "since": stamp(live.since),
            "watchSince": stamp(live.watch_since),
            "provenAt": live.proven_at and stamp(live.proven_at),
            "act": live.act,
            "attempt": live.attempt,
            "hooks": _hooks_out(live.hooks),
            "rolledBackFrom": live.left
            and {"revision": live.left.revision, "version": live.left.version, "attempt": live.left.attempt},
            "unsafe": live.unsafe or None,
            "forcedAt": live.forced_at and stamp(live.forced_at),
            **_author_out(live.author),
        },
        "act": memory.act,
        "candidate": candidate and _stack_out(candidate.stack) | _candidate_out(candidate),
        "retained": [
            _stack_out(r.stack)
            | {"until": stamp(r.until), "unsafe": r.unsafe or None, "forcedAt": r.forced_at and stamp(r.forced_at)}
            for r in memory.retained
        ],
        "latched": [
            _stack_out(latch.stack)
            | {"reason": latch.reason, "message": latch.message, "at": stamp(latch.at), **_author_out(latch.author)}
            for latch in memory.latched
        ],
        "history": [_history_out(entry) for entry in memory.history],
        "paused": paused and {"at": stamp(paused.at), "reason": paused.reason, "order": paused.order},
        "webhookLeft": left and {"hook": left.hook, "version": left.version, "until": stamp(left.until)},
        "overrides": [_override_out(override) for override in memory.overrides],
        "waiting": memory.waiting and {"revision": memory.waiting.revision, **_author_out(memory.waiting.author)},
        "orders": [{"uid": a.uid, "phase": a.phase, "reason": a.reason, "message": a.message} for a in memory.answers],
        "settings": {
            "replicas": dict(memory.settings.replicas),
            "retainFor": _span(memory.settings.retain_for),
            "retainRevisions": memory.settings.retain_revisions,
            "keepFailedFor": _span(memory.settings.keep_failed_for),
            "onDelete": memory.settings.on_delete,
        },
    }


def _candidate_out(candidate: Candidate) -> Json:
    return {
        "attempt": candidate.attempt,
        "startedAt": stamp(candidate.started_at),
        "idle": candidate.idle or None,
        "countedFrom": candidate.counted_from and stamp(candidate.counted_from),
        "held": candidate.held or None,
        "hooks": _hooks_out(candidate.hooks),
        "approvals": [_gate_out(gate) for gate in candidate.gates] or None,
        **_author_out(candidate.author),
    }


def _author_out(author: Author) -> Json:
    return {"appliedBy": author.applied_by or None, "onBehalfOf": author.on_behalf_of or None}


def _author_in(raw: Mapping[str, Any]) -> Author:
    return Author(raw.get("appliedBy") or "", raw.get("onBehalfOf") or "")


def _gate_out(gate: Gate) -> Json:
    return {
        "at": str(gate.at),
        "required": gate.required,
        "phase": str(gate.phase),
        "since": gate.since and stamp(gate.since),
        "given": [_approval_out(yes) for yes in gate.given] or None,
    }


def _gate_in(raw: Mapping[str, Any]) -> Gate:
    given = tuple(_approval_in(yes) for yes in raw.get("given") or ())
    phase = Consent(raw.get("phase", Consent.PENDING))
    return Gate(Moment(raw["at"]), int(raw.get("required", 1)), phase, _maybe(raw.get("since")), given)


def _approval_out(yes: Approval) -> Json:
    return {
        "at": str(yes.at),
        "by": yes.by,
        "account": yes.account,
        "time": stamp(yes.given_at),
        "reason": yes.reason or None,
        "order": yes.order,
    }


def _approval_in(raw: Mapping[str, Any]) -> Approval:
    return Approval(
        Moment(raw["at"]), raw["by"], raw.get("account", ""), moment(raw["time"]), raw.get("reason") or "",
        raw.get("order", ""),
    )  # fmt: skip


def _hooks_out(runs: tuple[HookRun, ...]) -> list[Json] | None:
    return [_hook_out(run) for run in runs] or None


def _hook_out(run: HookRun) -> Json:
    return {
        "name": run.name,
        "at": str(run.at),
        "phase": str(run.phase),
        "message": run.message or None,
        "startedAt": run.started_at and stamp(run.started_at),
        "finishedAt": run.finished_at and stamp(run.finished_at),
        "job": run.job or None,
        "jobUid": run.job_uid or None,
        "bluePassedAt": run.blue_passed_at and stamp(run.blue_passed_at),
        "event": run.event or None,
    }


def _hooks_in(listed: Iterable[Mapping[str, Any]] | None) -> tuple[HookRun, ...]:
    return tuple(
        HookRun(
            name=raw["name"],
            at=Moment(raw["at"]),
            phase=Progress(raw.get("phase", Progress.PENDING)),
            message=raw.get("message") or "",
            started_at=_maybe(raw.get("startedAt")),
            finished_at=_maybe(raw.get("finishedAt")),
            job=raw.get("job") or "",
            job_uid=raw.get("jobUid") or "",
            blue_passed_at=_maybe(raw.get("bluePassedAt")),
            event=raw.get("event") or "",
        )
        for raw in listed or ()
    )


def _left_in(raw: Mapping[str, Any] | None) -> Left | None:
    return Left(raw["revision"], raw.get("version", ""), int(raw.get("attempt", 1))) if raw else None


def _override_out(override: Override) -> Json:
    return {
        "freeze": override.freeze,
        "freezeUid": override.freeze_uid,
        "revision": override.revision,
        "attempt": override.attempt,
        "people": people_out(override),
    }


def people_out(override: Override) -> list[Json]:
    """Return who ordered an Override, as both the release and the freeze keep it."""
    return [
        {"by": p.by, "account": p.account, "order": p.order, "reason": p.reason, "at": stamp(p.at)}
        for p in override.people
    ]


def _override_in(raw: Mapping[str, Any]) -> Override:
    people = (
        Person(p["by"], p.get("account", p["by"]), p.get("order", ""), p.get("reason", ""), moment(p["at"]))
        for p in raw.get("people") or ()
    )
    return Override(raw["freeze"], raw.get("freezeUid", ""), raw["revision"], int(raw["attempt"]), tuple(people))


def _history_out(entry: HistoryEntry) -> Json:
    times = {"started": entry.started, "switched": entry.switched, "finished": entry.finished}
    return {
        "revision": entry.revision,
        "version": entry.version,
        "outcome": str(entry.outcome),
        **{key: stamp(at) for key, at in times.items() if at},
        "reason": entry.reason,
        "by": entry.by,
        "attempt": entry.attempt or None,
        "approvals": [_approval_out(yes) for yes in entry.approvals] or None,
        "checks": [_check_out(check) for check in entry.checks] or None,
        "hooks": [{"name": h.name, "phase": str(h.phase), "seconds": h.seconds} for h in entry.hooks] or None,
    }


def _check_out(found: CheckResult) -> Json:
    times = found.measured
    return {
        "name": found.name,
        "during": found.during,
        "verdict": str(found.verdict),
        "passed": times.passed,
        "failed": times.failed,
        "inconclusive": times.inconclusive,
        "value": times.value,
        "dryRun": found.dry_run or None,
        "since": found.since and stamp(found.since),
    }


def _check_in(raw: Mapping[str, Any]) -> CheckResult:
    passed, failed, inconclusive = (int(raw.get(key) or 0) for key in ("passed", "failed", "inconclusive"))
    measured = Measured(passed, failed, inconclusive, _number(raw.get("value")))
    during: During = "Watch" if raw["during"] == "Watch" else "Verify"
    since = _maybe(raw.get("since"))
    return CheckResult(raw["name"], during, Verdict(raw["verdict"]), measured, bool(raw.get("dryRun")), since)


def _hook_result_in(raw: Mapping[str, Any]) -> HookResult:
    return HookResult(raw["name"], Progress(raw["phase"]), _number(raw.get("seconds")))


def _number(raw: Any) -> float | None:  # noqa: ANN401 - JSON
    return None if raw is None else float(raw)


def from_status(status: Mapping[str, Any]) -> Memory:
    """Read back what `to_status` wrote. Whatever cannot be read is absent: what serves is then found out anew."""
    settings = _read(_settings_in, status.get("settings") or {})
    return Memory(
        live=_read(_live_in, status.get("live")),
        candidate=_read(_candidate_in, status.get("candidate")),
        retained=_each(_retained_in, status.get("retained")),
        latched=_each(_latched_in, status.get("latched")),
        history=_each(_history_in, status.get("history")),
        paused=_read(_paused_in, status.get("paused")),
        answers=_each(_answer_in, status.get("orders")),
        settings=settings or Settings(),
        act=_read(int, status.get("act")) or 0,
        overrides=_each(_override_in, status.get("overrides")),
        waiting=_read(lambda raw: Waiting(raw["revision"], _author_in(raw)), status.get("waiting")),
        webhook_left=_read(_webhook_left_in, status.get("webhookLeft")),
    )


def _read(how: Callable[[Any], T], raw: Any) -> T | None:  # noqa: ANN401 - JSON
    """Read one part of a status; None where there is none, or none that can be read."""
    try:
        return None if raw is None else how(raw)
    except UNREADABLE:
        return None


def _each(how: Callable[[Any], T], raw: Any) -> tuple[T, ...]:  # noqa: ANN401 - JSON
    found = [_read(how, item) for item in raw or ()]
    return tuple(item for item in found if item is not None)


def _live_in(raw: Mapping[str, Any]) -> Live:
    return Live(
        _stack_in(raw),
        since=moment(raw["since"]),
        watch_since=moment(raw.get("watchSince") or raw["since"]),
        proven_at=_maybe(raw.get("provenAt")),
        act=int(raw.get("act", 0)),
        attempt=int(raw.get("attempt", 1)),
        hooks=_hooks_in(raw.get("hooks")),
        left=_left_in(raw.get("rolledBackFrom")),
        unsafe=raw.get("unsafe") or "",
        forced_at=_maybe(raw.get("forcedAt")),
        author=_author_in(raw),
    )


def _candidate_in(raw: Mapping[str, Any]) -> Candidate:
    return Candidate(
        _stack_in(raw),
        int(raw.get("attempt", 1)),
        moment(raw["startedAt"]),
        idle=bool(raw.get("idle")),
        counted_from=_maybe(raw.get("countedFrom")),
        held=raw.get("held") or "",
        hooks=_hooks_in(raw.get("hooks")),
        gates=tuple(_gate_in(gate) for gate in raw.get("approvals") or ()),
        author=_author_in(raw),
    )


def _retained_in(raw: Mapping[str, Any]) -> Retained:
    return Retained(_stack_in(raw), moment(raw["until"]), raw.get("unsafe") or "", _maybe(raw.get("forcedAt")))


def _latched_in(raw: Mapping[str, Any]) -> Latched:
    return Latched(_stack_in(raw), raw.get("reason", ""), raw.get("message", ""), moment(raw["at"]), _author_in(raw))


def _paused_in(raw: Mapping[str, Any]) -> Paused:
    return Paused(moment(raw["at"]), raw.get("reason", ""), raw.get("order", ""))


def _webhook_left_in(raw: Mapping[str, Any]) -> WebhookLeft:
    return WebhookLeft(raw.get("hook", ""), raw.get("version", ""), moment(raw["until"]))


def _answer_in(raw: Mapping[str, Any]) -> Answer:
    return Answer(raw["uid"], raw.get("phase", "Done"), raw.get("reason", ""), raw.get("message", ""))


def _settings_in(raw: Mapping[str, Any]) -> Settings:
    return Settings(
        replicas={str(k): int(v) for k, v in (raw.get("replicas") or {}).items()},
        retain_for=_seconds(raw.get("retainFor"), Settings().retain_for),
        retain_revisions=int(raw.get("retainRevisions", 1)),
        keep_failed_for=_seconds(raw.get("keepFailedFor"), Settings().keep_failed_for),
        on_delete=raw.get("onDelete", "Keep"),
    )


def _span(span: timedelta) -> str:
    # Exact to the millisecond: a span that reads back as another would be remembered anew for ever.
    return f"{span.total_seconds():.3f}".rstrip("0").rstrip(".") + "s"


def _seconds(text: str | None, default: timedelta) -> timedelta:
    return timedelta(seconds=float(text.removesuffix("s"))) if text else default


def _history_in(entry: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        revision=entry.get("revision", ""),
        version=entry.get("version", ""),
        outcome=Outcome(entry.get("outcome", Outcome.PROMOTED)),
        started=_maybe(entry.get("started")),
        switched=_maybe(entry.get("switched")),
        finished=_maybe(entry.get("finished")),
        reason=entry.get("reason", ""),
        by=entry.get("by", ""),
        attempt=int(entry.get("attempt") or 0),
        approvals=tuple(_approval_in(yes) for yes in entry.get("approvals") or ()),
        checks=_each(_check_in, entry.get("checks")),
        hooks=_each(_hook_result_in, entry.get("hooks")),
    )
