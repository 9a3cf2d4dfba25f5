"""What is kept in history of an attempt or a watch that is over: what its checks found, and how its hooks ended."""

from collections.abc import Iterable
from dataclasses import replace

from tradingrelease.policy import checks
from tradingrelease.policy.model import Candidate, CheckResult, HistoryEntry, HookResult, HookRun, Live, Memory, World
from tradingrelease.policy.reasons import Progress

History = tuple[HistoryEntry, ...]


def recorded(world: World, memory: Memory) -> Memory:
    """Return a memory that follows on the one of the world, with the evidence of what ends between them."""
    candidate, live, history = world.memory.candidate, world.memory.live, memory.history
    after = memory.candidate
    if candidate and (after is None or (after.stack.revision, after.attempt) != _whose(candidate)):
        history = _kept(history, *_whose(candidate), checks.results(world, checks.candidate(world)), candidate.hooks)
    if live and _watch_ends(live, memory.live):
        history = _kept(history, *_whose(live), checks.results(world, checks.watched(world)), live.hooks)
    if memory.live and (left := memory.live.left):
        history = _kept(history, left.revision, left.attempt, (), memory.live.hooks)
    return replace(memory, history=history)


def _whose(role: Candidate | Live) -> tuple[str, int]:
    return role.stack.revision, role.attempt


def _watch_ends(live: Live, after: Live | None) -> bool:
    if live.proven_at is not None:
        return False
    return after is None or after.stack.revision != live.stack.revision or after.proven_at is not None


def _kept(
    history: History, revision: str, attempt: int, found: tuple[CheckResult, ...], runs: Iterable[HookRun]
) -> History:
    """Return the history with evidence in the newest entry of an attempt; of settings alone it has the number 0."""
    for i, entry in enumerate(history):
        if entry.revision == revision and entry.attempt in {attempt, 0}:
            judged = {(r.name, r.during): r for r in (*entry.checks, *found)}
            done = {r.name: r for r in (*entry.hooks, *map(_result, _begun(runs)))}
            more = replace(entry, checks=tuple(judged.values()), hooks=tuple(done.values()))
            return *history[:i], more, *history[i + 1 :]
    return history


def _begun(runs: Iterable[HookRun]) -> Iterable[HookRun]:
    return (run for run in runs if run.phase is not Progress.PENDING)


def _result(run: HookRun) -> HookResult:
    if run.started_at is None or run.finished_at is None:
        return HookResult(run.name, run.phase)
    return HookResult(run.name, run.phase, round((run.finished_at - run.started_at).total_seconds(), 3))
