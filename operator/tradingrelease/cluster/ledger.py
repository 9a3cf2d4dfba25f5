"""Who is yet to be told of what: taken from the statuses of releases, and written back into them.

Durable are `status.transitions` and `status.notified` alone. What is here is lost with the process and taken in anew by
the next one: so whatever was sent and is not stored as told is sent again, and nothing is sent never (ADR 18).
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tradingrelease import telemetry
from tradingrelease.clock import monotonic
from tradingrelease.cluster.api import RELEASES
from tradingrelease.cluster.cache import Cache
from tradingrelease.policy import transitions
from tradingrelease.policy.messages import News
from tradingrelease.policy.model import Key
from tradingrelease.policy.notifications import Notifications

LAZY: Final = 15.0
"""Seconds that a status waits to say who was told: one write for all targets, and for many events."""
LAZY_UNDER_WAY: Final = 120.0
"""The same while a candidate is on its way, whose switch or end is written anyway."""
ROOM: Final = 1000
"""Transitions that wait for one target: more push out the oldest, and are counted."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transition that one target is yet to be told of."""

    uid: str
    """Of the release: another one may take its name."""
    news: News


class Ledger:
    """The queues, one a target, each in the order in which a release's transitions happened."""

    def __init__(self, config: Notifications, cache: Cache) -> None:
        self._config, self._cache = config, cache
        self.queues: dict[str, deque[Waiting]] = {name: deque() for name in config.names()}
        self._seen: dict[str, int] = {}
        """By uid of a release: the newest transition that was taken in."""
        self._sent: dict[tuple[str, str], int] = {}
        """By uid and target: the newest transition that was sent."""
        self._unsaid: dict[str, float] = {}
        """By uid: since when (monotonic) something was sent that its status does not say."""
        self.listener: Callable[[Key], None] = lambda _: None
        """Called with a release whose status was stored."""

    def stored(self, key: Key) -> None:
        """Note that a release's status was written or read."""
        self.listener(key)

    def take_in(self, key: Key) -> None:
        """Queue what a release's status tells and its targets have not been told."""
        release, uid = self._cache.release(key), self._cache.uid(RELEASES, key.namespace, key.name)
        if release is None or not uid:
            return
        listed = transitions.read(release.status.get("transitions"))
        if not listed:
            return
        told = transitions.marks(release.status.get("notified"))
        seen = self._seen.get(uid, 0)
        for name, queue in self.queues.items():
            if name not in told:
                continue  # it came later: what was before is not told to it
            known = max(told[name], seen)
            if (lost := listed[-1].number - known - 1) > 0:
                telemetry.NOTIFICATIONS_DROPPED.labels(name, "forgotten").inc(lost)
            for what in reversed(listed):
                if what.number > known and name in self._config.receivers(key, what):
                    self._queue(name, queue, Waiting(uid, News(key, what)))
        self._seen[uid] = max(seen, listed[0].number)

    @staticmethod
    def _queue(name: str, queue: deque[Waiting], waiting: Waiting) -> None:
        if len(queue) >= ROOM:
            queue.popleft()
            telemetry.NOTIFICATIONS_DROPPED.labels(name, "full").inc()
        queue.append(waiting)

    def sent(self, target: str, batch: list[Waiting]) -> set[Key]:
        """Note that a target was told. Returns whose status is to say so."""
        self.done(target, batch)
        for waiting in batch:
            self._unsaid.setdefault(waiting.uid, monotonic())
            place = (waiting.uid, target)
            self._sent[place] = max(self._sent.get(place, 0), waiting.news.what.number)
        return {waiting.news.key for waiting in batch}

    def done(self, target: str, batch: list[Waiting]) -> None:
        """Take a batch out of its queue."""
        gone = set(map(id, batch))
        queue = self.queues[target]
        # From the left, in order; what a full queue has pushed out meanwhile is there no more.
        while queue and id(queue[0]) in gone:
            queue.popleft()

    def due_in(self, uid: str, told: Mapping[str, int], patience: float) -> float | None:
        """Return in how many seconds a status is to say who was sent what; None: it says so already.

        It waits so long for another reason to be written.
        """
        if not any(self._sent.get((uid, name), 0) > number for name, number in told.items()):
            self._unsaid.pop(uid, None)
            return None
        return max(self._unsaid.setdefault(uid, monotonic()) + patience - monotonic(), 0.0)

    def marks(self, uid: str, told: Mapping[str, int], newest: int) -> dict[str, int]:
        """Return what a status is to say of who was told; of a target that is new, that it was told all until now."""
        return {name: max(told.get(name, newest), self._mark(uid, name)) for name in self.queues}

    def _mark(self, uid: str, target: str) -> int:
        first = next((w.news.what.number for w in self.queues[target] if w.uid == uid), None)
        return self._seen.get(uid, 0) if first is None else first - 1

    def clear(self) -> None:
        """Forget everything: another process leads, and tells."""
        for queue in self.queues.values():
            queue.clear()
        self._seen.clear()
        self._sent.clear()
        self._unsaid.clear()
