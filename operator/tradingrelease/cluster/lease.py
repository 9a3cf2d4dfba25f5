"""Who leads: one Lease, one holder, and a holder that stops by itself before anybody else may begin.

The elector of the `kubernetes` client goes on leading when the API server is lost (ADR 7), so this is ours.
Time is monotonic throughout: the times written into the Lease are for people. Two that both believe to lead are still
safe, since every write carries its precondition (product.md 5); the Lease makes them rare, and quiet.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tradingrelease.clock import ServerClock, monotonic
from tradingrelease.cluster.api import LEASES, Api
from tradingrelease.errors import ClusterError, NotFound

log: Final = logging.getLogger("tradingrelease.lease")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast leadership is kept, lost and taken. Seconds.

    `deadline` is shorter than `duration`: a holder stops before others may begin. It counts from before a renewal was
    sent, the others count from when they saw it stored.
    """

    duration: float = 6.0
    """Others may take the Lease when they have not seen it renewed for so long."""
    deadline: float = 4.0
    """A holder whose last renewal was sent this long ago stops."""
    every: float = 1.0
    """Between two renewals of the holder, and two looks of everybody else."""
    timeout: float = 1.0
    """For one request."""

    @classmethod
    def of(cls, duration: float) -> "Pace":
        """Return the pace at which a Lease that holds so many seconds is kept."""
        return cls(duration, duration * 2 / 3, duration / 6, duration / 6)


class Elector:
    """Takes the Lease, keeps it, gives it back. `leads` is true only while nobody else may lead."""

    def __init__(  # noqa: PLR0913 - all of them named
        self,
        api: Api,
        clock: ServerClock,
        *,
        namespace: str,
        name: str,
        identity: str,
        pace: Pace,
        sick: Callable[[], str],
    ) -> None:
        self._api, self._clock = api, clock
        self._namespace, self._name, self.identity = namespace, name, identity
        self._pace, self._sick = pace, sick
        self._until = 0.0
        self._seen: tuple[object, float] = (None, 0.0)
        """What the Lease said when it last changed, and when we saw that."""
        self._lease: Json | None = None

    @property
    def leads(self) -> bool:
        """Whether this process may write now."""
        return monotonic() < self._until

    async def acquired(self) -> None:
        """Return when we lead. Who is sick leaves the Lease to others."""
        # Polled: one small read a second, and no watch that may be silent.
        while self._sick() or not await self._try("take"):  # noqa: ASYNC110
            await asyncio.sleep(self._pace.every * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def lost(self) -> None:
        """Renew, and return when we do not lead any more, or must not."""
        pause = self._pace.every
        while self.leads:
            await asyncio.sleep(max(min(pause, self._until - monotonic()), 0.0))
            if not self.leads:
                break
            if sick := self._sick():
                log.error("%s: the lease goes to a healthy peer", sick)
                return
            # After a failure the next one is tried soon, until the deadline ends it.
            pause = self._pace.every if await self._try("renew") else self._pace.every / 4
        log.warning("lease %s/%s is lost", self._namespace, self._name)

    async def release(self) -> None:
        """Stop leading at once, and let the next one begin at once."""
        led, self._until = self.leads, 0.0
        if not led or self._lease is None:
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
        try:
            async with asyncio.timeout(self._pace.timeout):
                await self._store(self._lease, spec)
        except (ClusterError, TimeoutError) as error:
            log.warning("lease %s/%s is not given back: %s", self._namespace, self._name, error)
        else:
            log.info("lease %s/%s is given back", self._namespace, self._name)

    async def _try(self, what: str) -> bool:
        sent = monotonic()
        try:
            async with asyncio.timeout(self._pace.timeout):
                got = await (self._renew() if what == "renew" else self._take())
        except (ClusterError, TimeoutError) as error:
            # A renewal that conflicts was overtaken by somebody else, or by our own renewal whose answer was lost:
            # the next look tells. Without a Lease to renew, the next look makes one.
            log.warning("lease %s/%s: %s: %s", self._namespace, self._name, what, error or type(error).__name__)
            self._lease = None
            return False
        if got:
            # Counted from before the request was sent: the others count from after it was stored.
            self._until = sent + self._pace.deadline
        return got

    async def _renew(self) -> bool:
        if self._lease is None:
            self._lease = await self._api.get(LEASES, self._namespace, self._name)
        spec = self._lease["spec"]
        if spec.get("holderIdentity") != self.identity:
            self._until = 0.0
            return False
        await self._store(self._lease, {**spec, "renewTime": self._stamp()})
        return True

    async def _take(self) -> bool:
        try:
            lease = await self._api.get(LEASES, self._namespace, self._name)
        except NotFound:
            return await self._make()
        spec: Json = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        silent = self._silent((holder, spec.get("renewTime"), spec.get("leaseTransitions"), lease["metadata"]["uid"]))
        # Its holder's own promise counts, if it is longer than ours: it may be of another version.
        promised = max(self._pace.duration, float(spec.get("leaseDurationSeconds") or 0))
        if holder and holder != self.identity and silent < promised:
            return False
        await self._store(lease, self._spec(spec))
        before = f"{holder}, silent for {silent:.1f} s" if holder else "nobody"
        log.info("lease %s/%s is ours; before: %s", self._namespace, self._name, before)
        return True

    async def _make(self) -> bool:
        seen_before = self._seen[0] is not None
        if seen_before and self._silent("missing") < self._pace.duration:
            return False  # deleted by hand: its holder may not know yet
        # Safe twice: of two creations one is refused.
        body = {"metadata": {"name": self._name}, "spec": self._spec({})}
        self._lease = await self._api.create(LEASES, self._namespace, body)
        log.info("lease %s/%s is made, and ours", self._namespace, self._name)
        return True

    def _silent(self, said: object) -> float:
        """Return for how many seconds the Lease has been saying the same to us."""
        if said != self._seen[0]:
            self._seen = (said, monotonic())
        return monotonic() - self._seen[1]

    def _spec(self, before: Json) -> Json:
        now = self._stamp()
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(int(self._pace.duration), 1),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + 1 if before else 0,
        }

    async def _store(self, lease: Json, spec: Json) -> None:
        version = lease["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        self._lease = await self._api.merge(LEASES, self._namespace, self._name, body)

    def _stamp(self) -> str:
        return _micro(self._clock.now())


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
