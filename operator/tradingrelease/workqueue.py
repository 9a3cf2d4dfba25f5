"""A keyed work queue: a key waits at most once, is worked on by one worker at a time, and may be put off."""

import asyncio
import heapq
from collections import OrderedDict

from tradingrelease import telemetry
from tradingrelease.clock import monotonic
from tradingrelease.policy.model import Key


class WorkQueue:
    """Keys that want to be looked at, now or later."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, None] = OrderedDict()
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """Ask for a look now. A key being worked on is looked at once more afterwards."""
        if key in self._working:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._wake.set()
        telemetry.QUEUE_DEPTH.set(len(self._waiting))

    def add_after(self, key: Key, seconds: float) -> None:
        """Ask for a look in some seconds, unless one that is due earlier is asked for already."""
        due = monotonic() + max(seconds, 0.0)
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._wake.set()

    async def take(self) -> Key:
        """Return the next key; it stays with the caller until `done`."""
        while True:
            timeout = self._move_due()
            if self._waiting:
                key, _ = self._waiting.popitem(last=False)
                self._working.add(key)
                # A look is a look: what was put off is decided anew by it.
                self._due.pop(key, None)
                telemetry.QUEUE_DEPTH.set(len(self._waiting))
                return key
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """Give a key back."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _move_due(self) -> float | None:
        now = monotonic()
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)  # put off anew, or looked at since
            elif due <= now:
                heapq.heappop(self._heap)
                del self._due[key]
                self.add(key)
            else:
                return due - now
        return None
