"""How an attempt that failed ends, whichever rule found out."""

from datetime import datetime

from tradingrelease.policy.absorb import latch_candidate
from tradingrelease.policy.model import Candidate, Decision, Note, Rest, World
from tradingrelease.policy.reasons import Outcome


def failed(world: World, candidate: Candidate, reason: str, message: str, now: datetime, rule: str) -> Decision:
    """Latch the candidate, and say why."""
    memory = latch_candidate(world.memory, reason, message, now, Outcome.FAILED)
    text = f"version {candidate.stack.version} ({candidate.stack.revision}) failed: {message}"
    note = Note(reason, text, f"{candidate.stack.revision}/{candidate.attempt}/failed", warning=True)
    return Decision(Rest(), rule, reason, text, memory=memory, notes=(note,))
