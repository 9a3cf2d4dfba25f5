"""Status, Events, answers to orders; and whether an order is still what it was when something was decided for it."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from tradingrelease.clock import monotonic
from tradingrelease.cluster.anew import is_as_looked_at, read_anew
from tradingrelease.cluster.api import COMMANDS, EVENTS, RELEASES, Api
from tradingrelease.cluster.cache import Cache
from tradingrelease.cluster.ledger import LAZY, LAZY_UNDER_WAY, Ledger
from tradingrelease.cluster.notebook import Notebook
from tradingrelease.errors import ClusterError, Conflict, Forbidden, Invalid, NotFound, Unreachable
from tradingrelease.policy import acts, names, transitions, writes
from tradingrelease.policy.checks import in_status
from tradingrelease.policy.conditions import compute, merged, phase
from tradingrelease.policy.memory import stamp, to_status
from tradingrelease.policy.model import Answer, Decision, Memory, Note, Order, Record, World
from tradingrelease.policy.transitions import Transition

Json = dict[str, Any]

TALK: Final = 3.0
"""Seconds between two writes that change only the words of a status."""
SETTLE: Final = 0.2
"""Seconds that a status waits for the events that come with the one that changed it. What is remembered never waits.

Pods, their Deployment and their EndpointSlices change in one burst: one write says it all.
"""
READ_WITHIN: Final = 1.0
"""Seconds that a look waits for the read of an order: others wait for the look, and maybe a way back."""
_SEEN: Final = "seen; waits for its turn"
SOON: Final = 0.1
"""Seconds until a look finds out what became of the write of a status."""


class Reporter:
    """Writes what people read, and reads anew what people ordered."""

    def __init__(self, api: Api, cache: Cache, ledger: Ledger) -> None:
        self._api = api
        self._cache = cache
        self._ledger = ledger

    async def report(self, world: World, decision: Decision, notebook: Notebook, now: datetime) -> float | None:
        """Bring status, Events and orders up to a decision. `world` carries the memory as the decision leaves it.

        What is remembered is stored when this returns. A status that only describes is written in a task of its own
        (`finish` waits for it), so that no switch waits for words. Returns in how many seconds to look again because
        of the status. Raises Conflict where the release changed meanwhile: it is then decided anew.
        """
        if decision.memory is not None and not notebook.is_newest:
            # Right after a start its watch may be behind the others: what is decided then would be told as an Event,
            # and only then its status be refused. Later nobody else writes it.
            if not await is_as_looked_at(self._api, self._cache, world):
                raise Conflict("the release is not as it was looked at", 409)
            notebook.is_newest = True
        before = notebook.read[1]
        if decision.memory is not None:
            await self._are_unchanged(world, before)
        for note in decision.notes:
            await self._say(world, note, now)
        fresh = [transitions.of(world, before, note, now) for note in decision.notes]
        if decision.memory is None:
            notebook.happened += fresh  # recorded with the next status, whatever is decided until then
            fresh = []
        due = await self._status(world, decision, notebook, fresh, now)
        await self._answer(world, now)
        return due

    async def warn(self, world: World, note: Note, now: datetime) -> None:
        """Write an Event alone: a condition records it, if it matters."""
        await self._say(world, note, now)

    async def say(self, world: World, notes: tuple[Note, ...], notebook: Notebook, now: datetime) -> None:
        """Write the Events of a step, once it is carried out. They are recorded with the next status."""
        for note in notes:
            await self._say(world, note, now)
            notebook.happened.append(transitions.of(world, world.memory, note, now))

    async def _status(
        self, world: World, decision: Decision, notebook: Notebook, fresh: list[Transition], now: datetime
    ) -> float | None:
        release = self._cache.release(world.key)
        if release is None:
            return None
        found = compute(world, decision)
        fresh += [
            transitions.of(world, world.memory, n, now) for n in transitions.told_by_conditions(world, found, now)
        ]
        wanted = {
            **to_status(world.memory),
            "observedGeneration": max(world.generation, world.observed_generation),
            "phase": str(phase(world, decision, found)),
            "conditions": merged(world.conditions, found, world.generation, now),
        }
        wanted = in_status(world, wanted)
        stored = dict(release.status)
        happened = tuple(notebook.happened)
        told = transitions.marks(stored.get("notified"))
        marks = self._ledger.marks(world.uid, told, transitions.newest(stored.get("transitions")))
        due = self._ledger.due_in(world.uid, told, LAZY_UNDER_WAY if world.memory.candidate else LAZY)
        wanted["transitions"] = transitions.recorded(stored.get("transitions"), [*happened, *fresh], told) or None
        wanted["notified"] = marks if due == 0 else stored.get("notified")
        wanted = {key: value for key, value in wanted.items() if value is not None}
        plain = _plain(wanted)
        if plain == _plain(stored):
            del notebook.happened[: len(happened)]  # said before, each of them
            notebook.differs_since, notebook.differs_materially = 0.0, False
            return due
        # Whatever it is written for, it says who was told by now.
        plain = _plain({**plain, "notified": marks or None})
        if decision.memory is not None:
            await self._write(world, plain, notebook, len(happened))
            return None
        if (wait := _wait(wanted, stored, notebook)) > 0:
            return wait
        notebook.writing = asyncio.create_task(self._write(world, plain, notebook, len(happened)))
        notebook.writing.add_done_callback(_heard)
        return SOON

    async def _write(self, world: World, status: Json, notebook: Notebook, happened: int) -> None:
        ops = list(writes.status(world.version, status))
        try:
            raw = await self._api.patch(RELEASES, world.key.namespace, world.key.name, ops, "status")
        except (Conflict, NotFound) as error:
            # A watch that would tell what became of it may be dead, and the status be written for ever.
            await read_anew(self._api, self._cache, RELEASES, world.key.namespace, world.key.name)
            raise Conflict(str(error), 409) from error
        self._cache.store(RELEASES, raw)
        self._ledger.stored(world.key)
        del notebook.happened[:happened]
        notebook.reported_at = monotonic()
        notebook.differs_since, notebook.differs_materially = 0.0, False

    @staticmethod
    async def finish(notebook: Notebook) -> None:
        """Wait for the write of a status that only describes. Raises what it raised."""
        task, notebook.writing = notebook.writing, None
        if task is not None:
            await task

    async def _say(self, world: World, note: Note, now: datetime) -> None:
        """Write an Event. Its name says what it is about, so it is said once, also across a restart."""
        name = f"{world.key.name}.{transitions.identity(world.uid, note)}"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": world.key.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": "TradingRelease",
                "name": world.key.name,
                "namespace": world.key.namespace,
                "uid": world.uid,
            },
            "reason": note.reason,
            "message": note.message[:1000],
            "type": "Warning" if note.warning else "Normal",
            "action": note.reason,
            "reportingComponent": names.FIELD_MANAGER,
            "reportingInstance": names.FIELD_MANAGER,
            "source": {"component": names.FIELD_MANAGER},
            "firstTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lastTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "count": 1,
        }
        try:
            await self._api.create(EVENTS, world.key.namespace, body)
        except (Conflict, Forbidden, Invalid, NotFound):
            return  # said already; or a namespace that is going, or a policy, takes no Events

    async def _are_unchanged(self, world: World, before: Memory) -> None:
        """Read orders before what they did is remembered. Raises Conflict where one is not as it was looked at.

        Their watch may be behind, or dead, and status forgets an answer once its order carries it. What the Services
        say of the order that moved them is remembered whatever became of it.
        """
        begun = acts.unfinished(replace(world, memory=before))
        said = {answer.uid for answer in before.answers} | ({begun.order} if begun else set())
        answered = {answer.uid for answer in world.memory.answers} - said
        for order in world.orders:
            if not order.open or order.uid not in answered:
                continue
            if await self._read(world, order) != order:
                raise Conflict(f"ReleaseCommand {order.name} is not as it was looked at, or gone", 409)

    async def may_begin(self, world: World, act: Record) -> bool:
        """Read the order of an act before its first Service moves, and tell whether it still waits for that.

        What was refused may be possible by now, and its watch be so far behind that it seems to wait. A way back does
        not depend on this read: where it fails, or takes longer than a second, the watch is believed.
        """
        begun = acts.unfinished(world)
        order = next((order for order in world.orders if order.uid == act.order), None)
        if order is None or (begun is not None and begun.act == act.act):
            return True
        try:
            found = await self._read(world, order)
        except ClusterError:
            return True
        return found is not None and found.open

    async def _read(self, world: World, order: Order) -> Order | None:
        """Read an order anew. Returns None where it is gone, and what is known of it where it may not be read.

        Raises Unreachable, also where there is no answer in a second.
        """
        try:
            async with asyncio.timeout(READ_WITHIN):
                await read_anew(self._api, self._cache, COMMANDS, world.key.namespace, order.name)
        except TimeoutError:
            raise Unreachable(f"ReleaseCommand {order.name}: no answer in {READ_WITHIN:g} s") from None
        except Forbidden:
            pass
        return next((found for found in self._cache.orders(world.key) if found.uid == order.uid), None)

    async def _answer(self, world: World, now: datetime) -> None:
        """Write answers onto their orders. Safe twice: the API server keeps the first (crds/releasecommands.yaml)."""
        answers = {a.uid: a for a in world.memory.answers}
        for order in world.orders:
            answer = answers.get(order.uid)
            if answer and order.open:
                await self._write_answer(world, order, answer, now)
            elif not answer and not order.phase:
                await self._write_answer(world, order, Answer(order.uid, "Pending", "Seen", _SEEN), now)

    async def refuse_orders(self, world: World, now: datetime) -> None:
        """Answer the open orders of a release that is no more: an order without an answer would wait for ever."""
        what = "is being deleted" if world.uid else "does not exist in this namespace"
        text = f"TradingRelease {world.key.name} {what}"
        answers = {a.uid: a for a in world.memory.answers}  # what its status says was done stays done
        for order in world.orders:
            if order.open:
                refusal = Answer(order.uid, "Refused", "NoSuchRelease", text)
                await self._write_answer(world, order, answers.get(order.uid, refusal), now)

    async def _write_answer(self, world: World, order: Order, answer: Answer, now: datetime) -> None:
        words = {"phase": answer.phase, "reason": answer.reason, "message": answer.message[:1000], "at": stamp(now)}
        body = {"metadata": {"uid": order.uid}, "status": words}
        try:
            raw = await self._api.merge(COMMANDS, world.key.namespace, order.name, body, "status")
        except NotFound:
            return
        except Invalid:
            # It has an answer, which its watch has not told yet; or something else forbids the write.
            found = await self._read(world, order)
            if found is not None and found.open:
                raise
            return
        self._cache.store(COMMANDS, raw)


def _heard(task: asyncio.Task[None]) -> None:
    """Take note of an error that nobody may come to ask for: the release may be gone."""
    if not task.cancelled():
        task.exception()


def _wait(wanted: Json, stored: Json, notebook: Notebook) -> float:
    """Return for how long a status that only describes may still wait to be written."""
    now, material = monotonic(), _material(wanted, stored)
    if not notebook.differs_since or (material and not notebook.differs_materially):
        notebook.differs_since = now
    notebook.differs_materially = material
    settling = notebook.differs_since + SETTLE - now
    return settling if material else max(settling, notebook.reported_at + TALK - now)


def _plain(status: Json) -> Json:
    """Return a status as the API server stores it: without nulls."""
    return {key: _pruned(value) for key, value in status.items() if value is not None}


def _pruned(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {k: _pruned(v) for k, v in value.items() if v is not None}
    return [_pruned(v) for v in value] if isinstance(value, list) else value


def _material(wanted: Json, stored: Json) -> bool:
    """Tell whether more than the words of conditions differs."""

    def bones(status: Json) -> Json:
        kept = {c["type"]: (c["status"], c.get("observedGeneration")) for c in status.get("conditions") or ()}
        return _plain({**status, "conditions": kept, "notified": None})

    return bones(wanted) != bones(stored)
