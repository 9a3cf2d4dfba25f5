"""Faults of what the operator is told: lines of watches, and LISTs."""

import asyncio
import contextlib
import json
from datetime import datetime, timedelta
from typing import ClassVar

from tests.faults.faults import AtWrite, Hands, Nothing
from tests.faults.plan import Learned, Plan
from tests.faults.proxy import Answer, Asked, Event, NoAnswer, Send, Stream
from tests.oracle import OPERATOR, State


class AtEvent(Nothing):
    """Strikes one line of a watch."""

    needs = "event"

    async def tell(self, event: Event, stream: Stream) -> None:
        """Strike the event that the plan names."""
        if str(event) == self.plan.at and not self.struck.is_set():
            self.struck.set()
            await self.strike(event, stream)
        else:
            await self.after(event, stream)

    async def strike(self, event: Event, stream: Stream) -> None:
        """Do it."""
        raise NotImplementedError

    async def after(self, event: Event, stream: Stream) -> None:
        """Treat any other line."""
        await stream.tell(event.line)


class Dropped(AtEvent):
    """The line never comes; the watch goes on."""

    blind = 2

    async def strike(self, event, stream):
        return


class Doubled(AtEvent):
    """The line comes twice."""

    async def strike(self, event, stream):
        await stream.tell(event.line)
        await stream.tell(event.line)


class Delayed(AtEvent):
    """The line, and with it all of its watch, comes a second and a half later."""

    async def strike(self, event, stream):
        await asyncio.sleep(1.5)
        await stream.tell(event.line)


class Swapped(AtEvent):
    """The line comes after the next one of another kind: watches know nothing of each other."""

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._other = asyncio.Event()

    async def strike(self, event, stream):
        self._kind = event.kind
        try:
            async with asyncio.timeout(2):
                await self._other.wait()
        except TimeoutError:
            pass  # nothing else happens: it was the last
        await stream.tell(event.line)

    async def after(self, event, stream):
        await stream.tell(event.line)
        if self.struck.is_set() and event.kind != self._kind:
            self._other.set()


class Failed(AtEvent):
    """An ERROR comes instead, and the watch ends."""

    blind = 2

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    async def strike(self, event, stream):
        status = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code, "reason": self.reason,
            "message": "it is a test",
        }  # fmt: skip
        await stream.tell(json.dumps({"type": "ERROR", "object": status}).encode())
        stream.over.set()


class TooOld(Failed):
    """ERROR 410 comes instead: the version is too old."""

    code, reason = 410, "Expired"


class HalfALine(AtEvent):
    """Half of the line comes, and the connection ends."""

    blind = 2

    async def strike(self, event, stream):
        await stream.tell(event.line[: len(event.line) // 2], end=b"")
        stream.over.set()


class Silent(AtEvent):
    """From this line on the watch says nothing more, and stays open."""

    blind = 2

    async def strike(self, event, stream):
        await asyncio.Event().wait()


class Restless(AtEvent):
    """From this line on every watch of its kind is closed after half a second, for a while."""

    times: ClassVar[int] = 6

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._left = self.times
        self._closing: set[asyncio.Task[None]] = set()

    async def strike(self, event, stream):
        await stream.tell(event.line)
        self._kind = event.kind
        await self.opened(stream)

    async def opened(self, stream):
        if self.struck.is_set() and stream.kind == self._kind and self._left:
            self._left -= 1
            task = asyncio.create_task(self._close(stream))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    @staticmethod
    async def _close(stream):
        await asyncio.sleep(0.5)
        stream.over.set()


class StaleStart(AtWrite):
    """The operator starts anew and begins with what an API server that is behind tells: as of the beginning, then catching up.

    Only what a cache begins with is old: a LIST without resourceVersion that comes later is answered by etcd.
    """

    blind = 2

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._fresh: set[str] = set()
        """Kinds that have been listed since: their watch catches up."""

    async def strike(self, request: Asked, send: Send) -> Answer:
        self.hands.kill()
        raise NoAnswer

    async def read(self, request: Asked, send: Send) -> Answer:
        if not self.struck.is_set() or not request.lists or request.place.plural in self._fresh:
            return await send()
        self._fresh.add(request.place.plural)
        kept = "&".join(part for part in request.path.partition("?")[2].split("&") if "resourceVersion" not in part)
        return await request.again(f"{kept}&resourceVersion={self.as_of()}&resourceVersionMatch=Exact".strip("&"))

    def as_of(self) -> int:
        """Return the version that a cache begins with."""
        return self.hands.began()


class Behind(StaleStart):
    """As stale-start, and what the watch of one kind tells comes seconds late."""

    few = True
    kinds: ClassVar[tuple[str, ...]] = (
        "tradingreleases", "releasecommands", "controllerrevisions", "deployments", "services", "endpointslices", "pods", "jobs",
        "replicasets", "releasefreezes",
    )  # fmt: skip
    behind: ClassVar[float] = 3.0
    _since = 0.0
    """When that watch was opened anew; what the killed operator's own still carries is not held back."""

    @classmethod
    def ways(cls, place: str) -> int:  # noqa: ARG003
        return len(cls.kinds)

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._kind = self.kinds[plan.seed % len(self.kinds)]

    async def opened(self, stream: Stream) -> None:
        if self.struck.is_set() and stream.kind == self._kind:
            self._since = asyncio.get_running_loop().time()

    async def tell(self, event: Event, stream: Stream) -> None:
        if self.struck.is_set() and self._is_late(event):
            await asyncio.sleep(self._since + self.behind - asyncio.get_running_loop().time())
        await stream.tell(event.line)

    def _is_late(self, event: Event) -> bool:
        return event.kind == self._kind


class Unlisted(StaleStart):
    """As stale-start, and every later LIST fails for a while: the operator works with what is old, and finds out by its writes.

    It lists everything when that is possible again, long before it is time to.
    """

    few = True
    compares = "ends"
    lasts = 6.0
    patience: ClassVar[float] = 15.0
    """Seconds in which it must list: its tries are up to 5 s apart."""
    witness: ClassVar[str] = "tradingreleases"
    """The kind by whose list it is seen."""
    excuses: ClassVar[bool] = True
    """Whether it counts as if no write was taken: of half a switch that it was not told of it knows nothing."""
    settings: ClassVar[dict[str, str]] = {"TRADINGRELEASE_AUDIT_SECONDS": "600"}
    scenarios = ("three", "rollback", "command", "migration", "checklist", "retire", "supersede-watch")

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._until = 0.0
        """Begins with the first LIST after the start."""
        self._refused = self._answered = 0
        self._listed = asyncio.Event()

    async def read(self, request: Asked, send: Send) -> Answer:
        if not self.struck.is_set() or not request.lists:
            return await send()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._until:
            self._until = now + self.lasts
            if self.excuses:
                self.hands.way(False)
                loop.call_later(self.lasts, self.hands.way, True)
        if request.place.plural not in self._fresh:
            return await super().read(request, send)
        if now < self._until:
            self._refused += 1
            return Answer.refusal(503, "ServiceUnavailable", "it is a test: 503")
        self._answered += request.place.plural == self.witness
        if (
            self._answered > 1
        ):  # kopf tries again until it has one, and watches from then on: the other is the operator's own
            self._listed.set()
        return await send()

    async def at_rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._listed.wait(), self.lasts + self.patience)

    def verdict(self, state: State, learned: Learned) -> list[str]:
        if not self.struck.is_set():
            return []
        said = [] if self._refused else ["no LIST was refused: the fault was none"]
        return said if self._listed.is_set() else [*said, "it did not list again by itself when lists were answered"]


class StaleOrders(Behind):
    """The operator starts anew, and hears that orders were answered last of all: until then they look as if they waited."""

    scenarios: ClassVar[tuple[str, ...]] = ("command", "migration", "checklist")
    kinds = ("releasecommands",)

    def _is_late(self, event: Event) -> bool:
        return super()._is_late(event) and event.change == "MODIFIED"


class UnlistedOrders(Unlisted):
    """As unlisted, but orders alone, as of when the first was given: it looks as if it waited, and could be done by now."""

    scenarios: ClassVar[tuple[str, ...]] = ("hasty", "command")
    witness = "releasecommands"
    excuses = False

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._given = 0

    async def tell(self, event: Event, stream: Stream) -> None:
        if not self._given and event.kind == self.witness and event.change == "ADDED":
            self._given = int(json.loads(event.line)["object"]["metadata"]["resourceVersion"])
        await stream.tell(event.line)

    async def read(self, request: Asked, send: Send) -> Answer:
        return await (super().read(request, send) if request.place.plural == self.witness else send())

    def as_of(self) -> int:
        return self._given or super().as_of()


class OrdersUnread(Nothing):
    """Whoever reads an order directly is refused, or told of an error, or hears nothing: for a while, from the first on."""

    scenarios: ClassVar[tuple[str, ...]] = ("command", "migration")
    ways_to_fail: ClassVar[tuple[str, ...]] = ("forbidden", "error", "silence")
    lasts = 15.0
    moves_within: ClassVar[timedelta] = timedelta(seconds=6)
    """In which an ordered rollback moves all the same. Both times are known to the second."""

    @classmethod
    def ways(cls, place: str) -> int:  # noqa: ARG003
        return len(cls.ways_to_fail)

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._way = self.ways_to_fail[plan.seed % len(self.ways_to_fail)]
        self._until = 0.0

    async def read(self, request: Asked, send: Send) -> Answer:
        if request.place.plural != "releasecommands" or not request.place.name or request.verb != "GET":
            return await send()
        self.struck.set()
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + self.lasts
        if now >= self._until:
            return await send()
        match self._way:
            case "forbidden":
                return Answer.refusal(403, "Forbidden", "it is a test: 403")
            case "error":
                return Answer.refusal(500, "InternalError", "it is a test: 500")
        await asyncio.sleep(self._until - now)
        return await send()

    def verdict(self, state: State, learned: Learned) -> list[str]:
        if self.plan.scenario != "command" or not self.struck.is_set():
            return []
        service, order = (state.get(*what)["metadata"] for what in (("Service", "backend"), ("ReleaseCommand", "back")))
        moved = max(entry["time"] for entry in service["managedFields"] if entry["manager"] == OPERATOR)
        took = datetime.fromisoformat(moved) - datetime.fromisoformat(order["creationTimestamp"])
        return [f"the rollback took {took}: it waited for the read of its order"] if took > self.moves_within else []
