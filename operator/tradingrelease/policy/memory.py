"""Memory to status and back. A round trip loses nothing; a field that cannot be read is treated as absent."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tradingrelease.policy.model import (
    Answer,
    Candidate,
    HistoryEntry,
    Latched,
    Live,
    Member,
    Memory,
    Override,
    Paused,
    Person,
    Retained,
    Settings,
    Stack,
)
from tradingrelease.policy.reasons import Outcome
from tradingrelease.policy.spec import UNREADABLE

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
    live, candidate, paused = memory.live, memory.candidate, memory.paused
    return {
        "live": live
        and _stack_out(live.stack)
        | {
            "since": stamp(live.since),
            "watchSince": stamp(live.watch_since),
            "provenAt": live.proven_at and stamp(live.proven_at),
            "act": live.act,
        },
        "act": memory.act,
        "candidate": candidate and _stack_out(candidate.stack) | _candidate_out(candidate),
        "retained": [_stack_out(r.stack) | {"until": stamp(r.until)} for r in memory.retained],
        "latched": [
            _stack_out(latch.stack) | {"reason": latch.reason, "message": latch.message, "at": stamp(latch.at)}
            for latch in memory.latched
        ],
        "history": [_history_out(entry) for entry in memory.history],
        "paused": paused and {"at": stamp(paused.at), "reason": paused.reason, "order": paused.order},
        "overrides": [_override_out(override) for override in memory.overrides],
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
    }


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
    return [{"by": p.by, "order": p.order, "reason": p.reason, "at": stamp(p.at)} for p in override.people]


def _override_in(raw: Mapping[str, Any]) -> Override:
    people = (
        Person(p["by"], p.get("order", ""), p.get("reason", ""), moment(p["at"])) for p in raw.get("people") or ()
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
    }


def from_status(status: Mapping[str, Any]) -> Memory:
    """Read back what `to_status` wrote. Whatever cannot be read is absent: what serves is then found out anew."""
    settings = _read(_settings_in, status.get("settings") or {})
    return Memory(
        live=_read(_live_in, status.get("live")),
        candidate=_read(_candidate_in, status.get("candidate")),
        retained=_each(lambda r: Retained(_stack_in(r), moment(r["until"])), status.get("retained")),
        latched=_each(_latched_in, status.get("latched")),
        history=_each(_history_in, status.get("history")),
        paused=_read(_paused_in, status.get("paused")),
        answers=_each(_answer_in, status.get("orders")),
        settings=settings or Settings(),
        act=_read(int, status.get("act")) or 0,
        overrides=_each(_override_in, status.get("overrides")),
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
    )


def _candidate_in(raw: Mapping[str, Any]) -> Candidate:
    return Candidate(
        _stack_in(raw),
        int(raw.get("attempt", 1)),
        moment(raw["startedAt"]),
        idle=bool(raw.get("idle")),
        counted_from=_maybe(raw.get("countedFrom")),
        held=raw.get("held") or "",
    )


def _latched_in(raw: Mapping[str, Any]) -> Latched:
    return Latched(_stack_in(raw), raw.get("reason", ""), raw.get("message", ""), moment(raw["at"]))


def _paused_in(raw: Mapping[str, Any]) -> Paused:
    return Paused(moment(raw["at"]), raw.get("reason", ""), raw.get("order", ""))


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
    )
