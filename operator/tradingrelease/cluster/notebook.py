"""What this process has noticed about a release and does not store: lost at a restart, and safe to lose."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tradingrelease.policy.accept import RETRY
from tradingrelease.policy.hooks import REREAD
from tradingrelease.policy.model import Asked, Job, JobRefused, Memory, Refusal, Refused
from tradingrelease.policy.pod_book import Book
from tradingrelease.policy.transitions import Transition


@dataclass(slots=True)
class Notebook:
    """One release's page."""

    since: dict[str, datetime] = field(default_factory=dict)
    confirmed_dead: dict[str, datetime] = field(default_factory=dict)
    job_gone: str = ""
    """uid of the Job that was looked for last, and not found."""
    job_read: tuple[Job, datetime] | None = None
    """The Job that was looked for last, as it was read, and when."""
    refused: Mapping[tuple[str, str], Refused] = field(default_factory=dict)
    """By rule and words of a decision: steps that the API server refused, until one is taken or no longer asked for."""
    jobs_refused: Mapping[str, JobRefused] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    dry_runs: dict[str, Refusal | None] = field(default_factory=dict)
    pod_book: Book = field(default_factory=dict)
    """What pods did to themselves."""
    dry_run_at: dict[str, datetime] = field(default_factory=dict)
    """When the API server refused what an outside change can cure."""
    admitted: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By uid of a Deployment: the template that our last write of it was answered with, for as long as it stands."""
    read: tuple[object, Memory] = (None, Memory())
    """The status that was last read, and what it says: a status is never changed, only replaced."""
    is_newest: bool = False
    """The release was read directly since this process began: its watch is not behind."""
    reported_at: float = 0.0
    differs_since: float = 0.0
    """Monotonic time since which the stored status differs from what there is to say; 0: it does not."""
    differs_materially: bool = False
    """It differs in more than the words of conditions."""
    writing: asyncio.Task[None] | None = None
    """The write of a status that only describes: looks and switches go on meanwhile."""
    happened: list[Transition] = field(default_factory=list)
    """What steps did and no status records yet."""
    moves_traffic: bool = False
    """The step of the last look moves a Service: others may have moved before it."""
    woken_at: float = 0.0
    """Monotonic time of the event that led to this look, for ready-to-switch."""
    ordered_at: float = 0.0

    def jobs(self, listed: Mapping[str, Job], now: datetime) -> Mapping[str, Job]:
        """Return Jobs with the one that lost its label, as it was read not long ago."""
        if self.job_read is None:
            return listed
        job, at = self.job_read
        return listed if job.name in listed or now - at >= REREAD else {**listed, job.name: job}

    def note(self, true_now: frozenset[str], now: datetime) -> None:
        """Keep when each signal became true; forget those that are not true any more."""
        self.since = {signal: self.since.get(signal, now) for signal in true_now}
        self.confirmed_dead = {s: at for s, at in self.confirmed_dead.items() if f"dead:{s}" in self.since}

    def forget_refusals(self, now: datetime) -> None:
        """Forget answers that an outside change can cure, so that the look of RETRY later asks the API server anew."""
        for revision, at in list(self.dry_run_at.items()):
            if now - at > RETRY - timedelta(seconds=1):
                self.dry_runs.pop(revision, None)
                del self.dry_run_at[revision]
