"""What the world does while a release goes on: people, other controllers, and the control plane itself.

Each strikes at the moment of a write, before it is passed on: so every moment of a scenario is one of its plans.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from devcluster.crds import wait_until_established
from tests.apiserver import Server
from tests.faults import clock, crds
from tests.faults.faults import AtWrite
from tests.faults.proxy import Answer
from tests.oracle import RELEASE, REVISION, State, label

SILENCE = 6.0
"""Seconds for which connections are refused. No rule of the operator waits for longer but its back-off, capped at 30 s."""
_MERGE = "application/merge-patch+json"
_MANAGER = "fieldManager=e2e"


class World(AtWrite):
    """Something happens, and the write goes on."""

    async def strike(self, request, send):
        self._happening = asyncio.ensure_future(self._happen())
        await asyncio.wait([self._happening], timeout=self.first)
        return await send()

    async def _happen(self) -> None:
        if self.blocks:
            self.hands.way(False)
        try:
            await self.happen()
        finally:
            if self.blocks:
                self.hands.way(True)

    blocks = False
    """Whether the API accepts none of the operator's writes meanwhile."""
    first = 5.0
    """Seconds by which it has happened before the write is passed on; what takes longer goes on beside it."""

    async def happen(self) -> None:
        """Do it."""
        raise NotImplementedError

    async def at_rest(self):
        await self._happening

    async def object(self, path: str):
        """Return an object of the namespace, None where there is none."""
        answer = await self.hands.upstream.ask("GET", self.path(path))
        return json.loads(answer.body) if answer.succeeded else None

    async def patch(self, path: str, body) -> bool:
        """Merge into an object of the namespace; tell whether that was done."""
        answer = await self.hands.upstream.ask("PATCH", f"{self.path(path)}?{_MANAGER}", body, _MERGE)
        return answer.succeeded

    def path(self, path: str) -> str:
        """Return the whole path of what is in the namespace."""
        group, _, rest = path.rpartition(":")
        prefix = f"/apis/{group}" if group else "/api/v1"
        return f"{prefix}/namespaces/{self.hands.namespace}/{rest}"


class Flap(World):
    """Every pod is not ready for a second."""

    first = 0.0

    async def happen(self):
        await self.hands.node.flap(self.hands.namespace, ready=False)
        await asyncio.sleep(1.0)
        await self.hands.node.flap(self.hands.namespace, ready=True)


class EditThereAndBack(World):
    """The author asks for something else, and at once for the former again."""

    compares = "ends"
    pause = 0.05

    async def happen(self):
        path = "tradingplatform.io/v1alpha1:tradingreleases/shop"
        found = await self.object(path)
        if found is None:
            return
        other = json.loads(json.dumps(found["spec"]))
        other["version"] = "9"
        for part in other["components"]:
            part["template"]["spec"]["containers"][0]["env"] += [{"name": "NINE", "value": "9"}]
        await self.patch(path, {"spec": other})
        await asyncio.sleep(self.pause)
        await self.patch(path, {"spec": found["spec"]})


class EditAndRepent(EditThereAndBack):
    """The author asks for something else, and for the former again when a candidate has begun."""

    first = 0.0
    pause = 0.6

    @property
    def ends(self):
        return _is_repented if self.plan.scenario == "rollback" else None


def _is_repented(state: State) -> bool:
    """Tell whether version 1 serves, and neither bad version will: one failed live, both did, or one fails its gate.

    Where version 2 was live before the edit its pods are sick since: what is asked for last is not released again.
    """
    latched = set(state.latched())
    return state.live() == "1" and ("2" in latched or (latched == {"9"} and state.candidate() == "2"))


class ServiceEdited(World):
    """Somebody takes our key out of a Service's selector."""

    compares = "ends"
    allows = (("S1", "lost its revision key"),)

    async def happen(self):
        await self.patch("services/backend", {"spec": {"selector": {REVISION: None}}})


class ServiceReplaced(World):
    """Somebody deletes a Service and creates it anew as its owner wrote it, without our mark."""

    allows = (("S1", "lost its revision key"),)
    compares = "ends"

    async def happen(self):
        found = await self.object("services/backend")
        if found is None:
            return
        await self.hands.upstream.ask("DELETE", self.path("services/backend"))
        spec = {"selector": {"app": "backend"}, "ports": found["spec"]["ports"]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend"}, "spec": spec}
        await self.hands.upstream.ask("POST", f"{self.path('services')}?{_MANAGER}", body)


class Scaled(World):
    """An autoscaler writes the size of whatever Deployment of ours stands first."""

    compares = "ends"

    async def happen(self):
        listed = await self.object("apps/v1:deployments")
        mine = [d for d in (listed or {}).get("items", ()) if label(d, RELEASE) and d["spec"]["replicas"]]
        if mine:
            name = mine[0]["metadata"]["name"]
            await self.patch(f"apps/v1:deployments/{name}/scale", {"spec": {"replicas": 2}})


class JobDeleted(World):
    """Somebody deletes the Jobs of hooks. One that may have run is not made again: its attempt fails."""

    compares = "ends"
    scenarios = ("migration",)

    async def happen(self):
        listed = await self.object("batch/v1:jobs")
        for job in (listed or {}).get("items", ()):
            path = self.path(f"batch/v1:jobs/{job['metadata']['name']}")
            await self.hands.upstream.ask("DELETE", path, {"propagationPolicy": "Background"})

    @staticmethod
    def ends(state: State) -> bool:
        """Tell whether version 2 is proven, or was given up."""
        return state.ready("2") or (state.live() == "1" and state.latched() == ["2"])


class OrderDeleted(World):
    """Somebody deletes an order, whatever has become of it: status does not keep its answer for ever."""

    compares = "ends"
    scenarios = ("command",)

    async def happen(self):
        path = self.path("tradingplatform.io/v1alpha1:releasecommands/back")
        await self.hands.upstream.ask("DELETE", path)

    @staticmethod
    def ends(state: State) -> bool:
        """Tell whether the rollback is done, though nobody is there any more to be told."""
        return state.live() == "1" and state.latched() == ["2"] and not state.status().get("orders")


class RightsRevoked(World):
    """All rights in the namespace are revoked, and given back a second later."""

    blocks = True
    first = 0.3

    async def happen(self):
        path = "rbac.authorization.k8s.io/v1:rolebindings"
        found = await self.object(f"{path}/operator")
        await self.hands.upstream.ask("DELETE", self.path(f"{path}/operator"))
        await asyncio.sleep(1.2)
        found["metadata"] = {"name": "operator"}
        await self.hands.upstream.ask("POST", self.path(path), found)

    def expects(self, clean, said):
        """Let it be told, once, that a Job could not be created or started."""
        return {**clean, **_once(said, "JobForbidden")}


def _once(said: Mapping[str, int], *reasons: str) -> dict[str, int]:
    """Return those of some reasons of Events of which there is one."""
    return {reason: 1 for reason in reasons if said.get(reason) == 1}


class Deaf(World):
    """Connections are refused for a while, those that are open end."""

    silence = SILENCE
    blocks = True
    first = 0.0

    async def happen(self):
        await self.hands.proxy.stop()
        await asyncio.sleep(self.silence)
        await self.hands.proxy.start()


class ClockAhead(World):
    """Somebody sets the clock of the operator's node: it is a day ahead from here on.

    Every time that counts is the API server's, carried on by the monotonic clock: nothing may come of it.
    """

    clocked = True
    hours: ClassVar[int] = 24

    async def happen(self):
        clock.shift(self.hands.folder, self.hours)

    async def at_rest(self):
        await super().at_rest()
        told = await asyncio.to_thread(self.hands.clock) - datetime.now(UTC)
        assert abs(told - timedelta(hours=self.hours)) < timedelta(minutes=1), f"the operator's clock is off by {told}"


class ClockBehind(ClockAhead):
    """A day behind."""

    hours = -24


class CrdsRemoved(World):
    """Somebody removes our CRDs, and with them every release; later CRDs and the release are applied anew."""

    alone = True
    compares = "ends"
    first = 0.0
    scenarios = ("first", "three", "adoption", "rollback", "retire")

    async def happen(self):
        path = "tradingplatform.io/v1alpha1:tradingreleases"
        found = await self.object(f"{path}/shop")
        folder = f"--filename={crds.FOLDER}"
        await self._kubectl("delete", "--wait=true", "--timeout=60s", folder)
        await self._kubectl("apply", "--server-side", folder)
        await asyncio.to_thread(wait_until_established, Server(self.hands.plane).kubectl, *crds.names())
        found["metadata"] = {"name": "shop"}
        del found["status"]
        answer = await self.hands.upstream.ask("POST", f"{self.path(path)}?{_MANAGER}", found)
        assert answer.succeeded, answer.body

    async def _kubectl(self, *arguments: str) -> None:
        await asyncio.to_thread(Server(self.hands.plane).kubectl, *arguments)

    @staticmethod
    def ends(state: State) -> bool:
        """Tell whether the release has been taken over, and is ready or says why it never will be."""
        told = state.seen_generation() and state.condition("Accepted")["status"] == "True"
        return told and (state.is_true("Ready") or state.is_true("Stalled"))


class DeafForLong(Deaf):
    """Connections are refused for two minutes: every back-off is at its longest when they are accepted again."""

    silence = 120.0
    lasts = 120.0
    few = True


class TokenExpired(World):
    """The token expires: watches end, and for a while everything is answered with 401, watches and lists included.

    Then it is accepted again, as one that was renewed is.
    """

    blocks = True
    first = 0.0
    seconds = 3.0
    _barred = False

    async def happen(self):
        self._barred = True
        self.hands.proxy.hang_up()
        await asyncio.sleep(self.seconds)
        self._barred = False

    def barred(self, request):
        return Answer.refusal(401, "Unauthorized", "Unauthorized") if self._barred else None


class ApiServerRestarted(World):
    """The API server ends and is started anew."""

    alone = True
    blocks = True
    first = 0.0

    async def happen(self):
        await asyncio.to_thread(self.hands.plane.restart, "apiserver")
        # Its watches come back up to a minute later, and Deployments get no pods until then: that is not what is tried.
        await asyncio.to_thread(self.hands.plane.restart, "controller-manager")

    def expects(self, clean, said):
        """Let a refusal be told: an API server that has just begun knows no role yet, and forbids what needs one."""
        return {**clean, **_once(said, "JobForbidden", "SwitchRefused", "WriteRefused")}


class NoLeader(World):
    """etcd is gone for a few seconds: the API server answers 500 or nothing."""

    alone = True
    blocks = True
    first = 0.5

    async def happen(self):
        await asyncio.to_thread(self.hands.plane.kill, "etcd")
        await asyncio.sleep(4)
        await asyncio.to_thread(self.hands.plane.restart, "etcd")
