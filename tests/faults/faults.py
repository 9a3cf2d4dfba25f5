"""Faults of one write. Each strikes once, and leaves the rest of a run alone.

The six main faults cover what a network and a restart can do to one write: it never left, it was done and nobody
heard, it was done and said to have failed, somebody else was first, it is refused for a while, it lands much later.
"""

import asyncio
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from devcluster.cluster import ControlPlane
from tests.faults.node import Node
from tests.faults.plan import Learned, Plan, Write
from tests.faults.proxy import Answer, Asked, Fault, NoAnswer, Proxy, Send, Upstream
from tests.oracle import State

_MERGE = "application/merge-patch+json"
FOREIGN = "faults.example.com/foreign"
"""Annotation that a foreign writer leaves."""


@dataclass(frozen=True)
class Hands:
    """What a fault may lay hands on."""

    kill: Callable[[], None]
    began: Callable[[], int]
    """Tells the version of the cluster at which the part began that faults strike."""
    way: Callable[[bool], None]
    """Hears whether the API accepts the operator's writes from here on: other time does not count against it."""
    namespace: str
    folder: Path
    """What is the run's own."""
    clock: Callable[[], datetime]
    """Tells the operator's own time of day."""
    upstream: Upstream
    proxy: Proxy
    node: Node
    plane: ControlPlane


class Nothing(Fault):
    """What all faults share."""

    needs: ClassVar[str] = ""
    """What a plan must name for it: a "write", an "event", or nothing."""
    compares: ClassVar[str] = "same"
    """What its end is held against: the "same" end and counts as those of a clean run, or only how the scenario "ends"."""
    ends: ClassVar[Callable[[State], bool] | None] = None
    """What certainly holds in the end, where that is something else than what the scenario ends in."""
    allows: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Invariants that the fault itself breaks: each with words of what is then said."""
    blind: ClassVar[int] = 0
    """How many times more than in a clean run an object may come and go, since the operator could not know better."""
    lasts: ClassVar[float] = 0.0
    """Seconds by which a run is longer than a clean one."""
    clocked: ClassVar[bool] = False
    """The operator's own clock can be set."""
    scenarios: ClassVar[tuple[str, ...]] = ()
    """The only scenarios that it is for; none: all that are gone through with every fault."""
    few: ClassVar[bool] = False
    """It takes long: it strikes only the first, a middle and the last place of a scenario, and each switch."""
    settings: ClassVar[Mapping[str, str]] = {}
    """Settings of the operator, where it is to have others than in other runs."""
    alone: ClassVar[bool] = False
    """It strikes what all runs share."""

    @classmethod
    def ways(cls, place: str) -> int:  # noqa: ARG003 - some faults ask
        """Return in how many ways it strikes a place; each is a plan, with a seed of its own."""
        return 1

    def __init__(self, plan: Plan, hands: Hands) -> None:
        self.plan, self.hands = plan, hands
        self.struck = threading.Event()
        """It has done what it is there for."""
        self.brought: set[str] = set()
        """What it created by itself, where nothing stood: it is created and deleted once more than in a clean run."""

    def verdict(self, state: State, learned: Learned) -> list[str]:
        """Return what does not hold of the end beside what must hold of every run."""
        return []

    def expects(self, clean: Mapping[str, int], said: Mapping[str, int]) -> Mapping[str, int]:
        """Return how many Events of each reason there are to be, given those of a clean run and what was said."""
        return clean

    async def at_rest(self) -> None:
        """Do what is left to do when the scenario has come to its end."""


def chosen(plan: Plan, *ways: str) -> str:
    """Choose one of several ways, the same for the same plan."""
    return ways[(zlib.crc32(plan.at.encode()) + plan.seed) % len(ways)]


class Clean(Nothing):
    """No fault at all: the comparison itself is tried by it."""

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self.struck.set()


class AtWrite(Nothing):
    """Strikes one write."""

    needs = "write"

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._at = Write.parse(plan.at)

    async def write(self, write: Write, request: Asked, send: Send) -> Answer:
        """Strike the write that the plan names."""
        if write == self._at and not self.struck.is_set():
            self.struck.set()
            return await self.strike(request, send)
        return await self.later(write, request, send)

    async def strike(self, request: Asked, send: Send) -> Answer:
        """Do it."""
        raise NotImplementedError

    async def later(self, write: Write, request: Asked, send: Send) -> Answer:
        """Treat any other write."""
        return await send()


class KillBefore(AtWrite):
    """The operator dies; the write never left it."""

    async def strike(self, request, send):
        self.hands.kill()
        raise NoAnswer


class KillAfter(AtWrite):
    """The write is applied; the operator dies before it hears of it."""

    async def strike(self, request, send):
        await send()
        self.hands.kill()
        raise NoAnswer


class LostReply(AtWrite):
    """The write is applied, and said to have timed out."""

    async def strike(self, request, send):
        await send()
        return Answer.refusal(504, "Timeout", "the server was unable to return a response in time")


class Conflict(AtWrite):
    """Somebody else writes the object first; the API server itself says what that means for the write."""

    async def strike(self, request, send):
        path = request.path.partition("?")[0]
        if request.verb == "POST":  # a second operator was faster, with the very same object
            await self.hands.upstream.ask("POST", f"{path}?fieldManager=e2e", request.body)
            return await send()
        if request.place.subresource:
            path = path.rpartition("/")[0]
        note = {"metadata": {"annotations": {FOREIGN: f"{self.plan.seed}"}}}
        await self.hands.upstream.ask("PATCH", f"{path}?fieldManager=e2e", note, _MERGE)
        return await send()


class Refused(AtWrite):
    """The write and those after it are refused for a while."""

    times: ClassVar[int] = 1
    status: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._left = self.times

    async def strike(self, request, send):
        self._left -= 1
        self.hands.way(not self._left)
        return Answer.refusal(self.status, self.reason, f"it is a test: {self.status}", **self.headers)

    async def later(self, write, request, send):
        return await self.strike(request, send) if self.struck.is_set() and self._left > 0 else await send()


class Errors(Refused):
    """500, three times."""

    times = 3


class TooMany(Refused):
    """429 with Retry-After."""

    status, reason, headers = 429, "TooManyRequests", {"Retry_After": "1"}


class Forbidden(Refused):
    """403, twice: a right that was taken away and is given back.

    An Event that is refused may stay unsaid: it is not worth a release's time. A step that is refused is told of.
    """

    times, status, reason = 2, 403, "Forbidden"

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._unsaid: Counter[str] = Counter()
        self._steps = 0

    async def strike(self, request, send):
        if request.place.plural == "events":
            self._unsaid[request.body["reason"]] += 1
        else:
            self._steps += 1
        return await super().strike(request, send)

    def expects(self, clean, said):
        least = {reason: clean.get(reason, 0) - count for reason, count in self._unsaid.items()}
        told = {
            reason: said[reason]
            for reason in ("SwitchRefused", "WriteRefused")
            if 0 < said.get(reason, 0) <= self._steps
        }
        unsaid = {
            reason: said.get(reason, 0)
            for reason in least
            if least[reason] <= said.get(reason, 0) < clean.get(reason, 0)
        }
        return {reason: count for reason, count in {**clean, **told, **unsaid}.items() if count}


class Unauthorized(Refused):
    """401, once: a token that has just expired."""

    status, reason = 401, "Unauthorized"


class Late(AtWrite):
    """A write of which a copy is still on its way: at the latest it lands when all has come to rest."""

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._held: Send | None = None
        self._created = ""

    def hold(self, request: Asked, send: Send) -> None:
        """Keep a copy back."""
        self._held = send
        self._created = request.body["metadata"]["name"] if request.verb == "POST" else ""

    async def at_rest(self):
        held, self._held = self._held, None
        if held and (await held()).succeeded and self._created:
            self.brought.add(self._created)


class Held(Late):
    """The write is held back, the operator dies, and the write lands in the next life.

    When it lands is chosen by the plan: once the new process has read everything and is about to write, after its
    first write, or when all has come to rest.
    """

    LANDS = ("read", "written", "rest")

    @classmethod
    def lands(cls, plan: Plan) -> str:
        """Return when the write of a plan lands."""
        return chosen(plan, *cls.LANDS)

    @classmethod
    def ways(cls, place: str) -> int:
        """Let what can take traffic away land at every moment: a switch, a size, a deletion."""
        takes = " switch #" in place or " scale " in place or place.startswith("DELETE deployments/")
        return len(cls.LANDS) if takes else 1

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._lands = self.lands(plan)

    async def strike(self, request, send):
        self.hold(request, send)
        self.hands.kill()
        raise NoAnswer

    async def later(self, write, request, send):
        if self._lands == "read":
            await self.at_rest()
        answer = await send()
        if self._lands == "written":
            await self.at_rest()
        return answer


class Twice(Late):
    """The write is delivered twice: at once, or again when all has come to rest. The operator hears the first answer."""

    WHEN = ("at once", "at rest")

    @classmethod
    def ways(cls, place: str) -> int:  # noqa: ARG003 - every place
        """Let it come again at both moments."""
        return len(cls.WHEN)

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._late = chosen(plan, *self.WHEN) == "at rest"

    async def strike(self, request, send):
        answer = await send()
        if self._late:
            self.hold(request, send)
        else:
            await send()
        return answer


class Slow(AtWrite):
    """The answer is late, and everything else goes on."""

    async def strike(self, request, send):
        answer = await send()
        await asyncio.sleep(1.5)
        return answer
