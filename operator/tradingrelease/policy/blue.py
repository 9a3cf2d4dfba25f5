"""When live is asked whether it is well, because a hook ran beside it."""

from tradingrelease.policy.model import HookRun, Memory, scope
from tradingrelease.policy.reasons import Moment, Progress


def asks_blue(memory: Memory) -> str:
    """Return the scope under which live is probed because a hook ran beside it; "" where none did."""
    candidate = memory.candidate
    if candidate is None or memory.live is None:
        return ""
    due = next((run for run in candidate.hooks if is_due(run)), None)
    return f"{scope(candidate.stack.revision, candidate.attempt)}/after/{due.name}" if due else ""


def is_due(run: HookRun) -> bool:
    """Tell whether live is to be found well after a run, and was not yet."""
    ran = run.phase in {Progress.SUCCEEDED, Progress.FAILED}
    return run.at is Moment.BEFORE_GREEN and ran and run.blue_passed_at is None
