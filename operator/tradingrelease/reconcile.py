"""Observe, decide, act, report: one release, one safe step after the other."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from tradingrelease import telemetry
from tradingrelease.clock import ServerClock, monotonic
from tradingrelease.cluster.act import Actor, Outcome
from tradingrelease.cluster.measure import verdicts
from tradingrelease.cluster.measure.measurer import Measurer
from tradingrelease.cluster.notebook import Notebook
from tradingrelease.cluster.observe import Observer
from tradingrelease.cluster.probe import Prober
from tradingrelease.cluster.report import Reporter
from tradingrelease.cluster.webhook import Caller
from tradingrelease.errors import Conflict, Forbidden, Invalid
from tradingrelease.policy import checks, hooks, probes, refusals
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import Decision, Key, Rest, Switch, World
from tradingrelease.policy.reasons import Cause
from tradingrelease.policy.rules.candidate import stands

log: Final = logging.getLogger("tradingrelease.decision")

MOST_STEPS: Final = 200
"""Steps in one go: more than any release needs (16 components with 8 Services each), fewer than a hot loop."""
SOON: Final = 0.1


class Reconciler:
    """Brings releases to what their authors asked for."""

    def __init__(  # noqa: PLR0913, PLR0917 - it holds the pipeline together
        self,
        observer: Observer,
        actor: Actor,
        reporter: Reporter,
        prober: Prober,
        caller: Caller,
        measurer: Measurer,
        clock: ServerClock,
        notebooks: dict[Key, Notebook],
    ) -> None:
        self._observer = observer
        self._actor = actor
        self._reporter = reporter
        self._prober = prober
        self._caller = caller
        self._measurer = measurer
        self._clock = clock
        self._notebooks = notebooks

    async def reconcile(self, key: Key) -> float | None:
        """Take steps until nothing is to be done now. Returns in how many seconds to look again, if by time alone."""
        for _ in range(MOST_STEPS):
            now = self._clock.now()
            if page := self._notebooks.get(key):
                page.forget_refusals(now)
            world = await self._observer.observe(key, now)
            notebook = self._notebooks[key]
            decision = decide(world, now)
            notebook.moves_traffic = isinstance(decision.step, Switch)
            if decision.memory is None and isinstance(decision.step, Rest):
                still = refusals.still(notebook.refused, now)
                if still != notebook.refused:
                    notebook.refused = still
                    continue
            _tell(key, decision)
            if decision.memory is not None or isinstance(decision.step, Rest):
                wait = await self._rest(world, decision, notebook, now)
                if wait is None or wait > 0:
                    return wait
                continue
            outcome = await self._take(world, decision, notebook, now)
            if outcome is None:
                continue
            notebook.refused = refusals.taken(notebook.refused, decision)
            self._measure(decision, outcome, notebook)
            if outcome.wait is not None:
                log.info("look again", extra={"release": str(key), "because": outcome.said})
                return outcome.wait
            await self._reporter.say(world, decision.notes, notebook, now)
        return SOON

    async def _take(self, world: World, decision: Decision, notebook: Notebook, now: datetime) -> Outcome | None:
        """Take the step of a decision. Returns None where it has to be decided anew, with what is known by now."""
        step = decision.step
        if isinstance(step, Switch) and not await self._reporter.may_begin(world, step.record):
            return None
        try:
            return await self._actor.act(step, world, notebook, now)
        except (Forbidden, Invalid) as error:
            if not world.uid or world.deleting:
                raise
            await self._put_aside(world, decision, error, notebook, now)
            return None

    async def _put_aside(
        self, world: World, decision: Decision, error: Forbidden | Invalid, notebook: Notebook, now: datetime
    ) -> None:
        """Keep that the API server refuses a step. Status tells of it as soon as there is nothing else to do."""
        before = notebook.refused
        notebook.refused = refusals.refused_again(before, decision, str(error), now)
        note = refusals.note(notebook.refused, decision)
        telemetry.ERRORS.labels(type(error).__name__).inc()
        log.warning("%s", note.message, extra={"release": str(world.key), "rule": decision.rule})
        if refusals.place(decision) not in before:
            await self._reporter.warn(world, note, now)

    async def _rest(self, world: World, decision: Decision, notebook: Notebook, now: datetime) -> float | None:
        after = replace(world, memory=decision.memory) if decision.memory is not None else world
        self._prober.aim(world.key, probes.wanted(after) if world.uid else frozenset())
        # What is stored, not what is to be.
        self._caller.aim(world.key, hooks.calls(world) if world.uid else frozenset())
        measured = checks.wanted(after, stands=stands(after)) if world.uid else frozenset()
        self._measurer.aim(world.key, measured, now)
        verdicts.tell(world.key, after if world.uid else None)
        if not world.uid or world.deleting:
            await self._reporter.refuse_orders(world, now)
            self._notebooks.pop(world.key, None)
            return _seconds(decision.look_again)
        try:
            if notebook.writing is not None:
                if decision.memory is None and not notebook.writing.done():
                    return SOON
                # What was looked at is older than what is stored by now.
                await self._reporter.finish(notebook)
                return 0.0
            due = await self._reporter.report(after, decision, notebook, now)
        except Conflict:
            return SOON
        _count(world, after, notebook)
        if decision.memory is not None:
            return 0.0
        waits = [wait for wait in (due, _seconds(decision.look_again)) if wait is not None]
        return max(min(waits), 0.02) if waits else None

    def _measure(self, decision: Decision, outcome: Outcome, notebook: Notebook) -> None:
        step = decision.step
        if not isinstance(step, Switch) or outcome.wait is not None:
            return
        if step.record.cause is Cause.PROMOTE and notebook.woken_at:
            telemetry.READY_TO_SWITCH.observe(monotonic() - notebook.woken_at)
            notebook.woken_at = 0.0
        if step.record.cause is Cause.ROLLBACK and step.record.order and not notebook.ordered_at:
            notebook.ordered_at = notebook.woken_at


def _count(world: World, after: World, notebook: Notebook) -> None:
    """Count attempts that ended, and time an ordered rollback once its last Service is moved."""
    for entry in {e.told for e in after.memory.history} - {e.told for e in world.memory.history}:
        telemetry.OUTCOMES.labels(str(entry.outcome)).inc()
    live, before = after.memory.live, world.memory.live
    if notebook.ordered_at and live and before and live.act != before.act:
        telemetry.COMMAND_TO_ROLLBACK.observe(monotonic() - notebook.ordered_at)
        notebook.ordered_at = 0.0


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else max(span.total_seconds(), 0.0)


def _tell(key: Key, decision: Decision) -> None:
    step = type(decision.step).__name__
    telemetry.DECISIONS.labels(decision.rule, step).inc()
    level = logging.DEBUG if isinstance(decision.step, Rest) and decision.memory is None else logging.INFO
    log.log(
        level,
        "%s",
        decision.because,
        extra={"release": str(key), "rule": decision.rule, "step": step, "reason": decision.reason},
    )
