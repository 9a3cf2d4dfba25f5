"""Who leads: never two at once, and soon again one, whatever happens to the API server and to the Lease."""

import asyncio
import contextlib
import itertools
import logging

import pytest
import uvloop
from tradingrelease.clock import ServerClock, monotonic
from tradingrelease.cluster.api import LEASES, Api, WatchAges, session
from tradingrelease.cluster.credentials import load
from tradingrelease.cluster.lease import Elector, Pace

from tests.apiserver import Server
from tests.relay import Mode

PACE = Pace.of(9.0)
"""Long enough for a busy machine: whoever cannot renew in time loses its term, as it must."""
NAMES = (f"lease-{n}" for n in itertools.count())


class Peer:
    """An operator as far as the Lease goes: it takes it, keeps it, and takes it again. `terms` counts."""

    def __init__(self, elector):
        self.elector = elector
        self.terms = 0
        self.running = asyncio.create_task(self._run())

    async def _run(self):
        while True:
            await self.elector.acquired()
            self.terms += 1
            await self.elector.lost()
            await self.elector.release()

    @property
    def leads(self):
        return self.elector.leads

    async def end(self):
        """End as on SIGTERM."""
        await self.crash()
        await self.elector.release()

    async def crash(self):
        """End as on kill -9: nothing is given back."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class Stage:
    """Peers of one Lease, all seen at once: two that lead at the same moment fail the test."""

    def __init__(self, stack, monkeypatch, relayed):
        self.name = next(NAMES)
        self._stack, self._monkeypatch, self._relayed = stack, monkeypatch, relayed
        self.peers = []
        self.together = []
        self._watch = asyncio.create_task(self._look())

    async def _look(self):
        while True:
            leading = [n for n, peer in enumerate(self.peers) if peer.leads]
            if len(leading) > 1:
                self.together.append(leading)
            await asyncio.sleep(0.005)

    async def peer(self, sick=lambda: "", pace=PACE):
        """Add a peer with a way of its own to the API server. Returns it and its relay."""
        number = len(self.peers)
        relay, kubeconfig = self._relayed(f"{self.name}-{number}")
        self._monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        credentials, clock = load(), ServerClock()
        http = await self._stack.enter_async_context(session(credentials, clock, WatchAges()))
        api = Api(credentials, http)
        named = {"namespace": "default", "name": self.name, "identity": f"peer-{number}"}
        peer = Peer(Elector(api, clock, **named, pace=pace, sick=sick))
        self._stack.push_async_callback(peer.crash)
        self.peers.append(peer)
        self.api = api
        return peer, relay

    async def until(self, holds, what, seconds=60.0):
        deadline = monotonic() + seconds
        while not holds():
            assert monotonic() < deadline, f"it did not come about that {what}"
            await asyncio.sleep(0.01)

    async def two(self):
        """Return the leader, its relay, and a second peer that stands by."""
        first, relay = await self.peer()
        await self.until(lambda: first.leads, "the first peer leads")
        second, _ = await self.peer()
        await self.seen_twice()
        return first, relay, second

    async def seen_twice(self):
        """Let every peer look at the Lease twice."""
        before = await self.lease()
        while (await self.lease())["renewTime"] == before["renewTime"]:
            await asyncio.sleep(PACE.every / 4)

    async def lease(self):
        return (await self.api.get(LEASES, "default", self.name))["spec"]


@pytest.fixture
def on_stage(plane, monkeypatch, relayed):
    """Run a story, and hold what was seen against the one rule."""

    def run(story):
        async def whole():
            async with contextlib.AsyncExitStack() as stack:
                stage = Stage(stack, monkeypatch, relayed)
                await story(stage)
                stage._watch.cancel()
                assert stage.together == [], "two led at once"

        uvloop.run(whole())  # the loop of the operator

    return run


def test_the_first_leads_and_goes_on_leading(on_stage):
    async def story(stage):
        first, _, second = await stage.two()
        for _ in range(4):
            await stage.seen_twice()
        assert (first.leads, second.leads, first.terms) == (True, False, 1)
        lease = await stage.lease()
        assert (lease["holderIdentity"], lease["leaseDurationSeconds"], lease["leaseTransitions"]) == ("peer-0", 9, 0)

    on_stage(story)


def test_who_ends_in_good_order_hands_over_before_the_lease_runs_out(on_stage, caplog):
    caplog.set_level(logging.INFO)

    async def story(stage):
        first, _, second = await stage.two()
        caplog.clear()
        await first.end()
        assert (await stage.lease())["holderIdentity"] in {"", "peer-1"}
        await stage.until(lambda: second.leads, "the second leads")
        assert [text.partition("; ")[2] for text in caplog.messages if "is ours" in text] == ["before: nobody"]
        assert (await stage.lease())["leaseTransitions"] == 1

    on_stage(story)


def test_who_crashes_is_followed_when_the_lease_has_run_out(on_stage):
    async def story(stage):
        first, _, second = await stage.two()
        await first.crash()
        await stage.until(lambda: second.leads, "the second leads")
        assert not first.leads
        await first.elector.release()
        assert (await stage.lease())["holderIdentity"] == "peer-1", "who lost it gives nothing back"

    on_stage(story)


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.REFUSING, Mode.DEAF])
def test_who_loses_the_api_server_stops_by_itself_before_the_next_begins(on_stage, mode):
    async def story(stage):
        first, relay, second = await stage.two()
        relay.set(mode)
        await stage.until(lambda: not first.leads, "the first stops")
        await stage.until(lambda: second.leads, "the second leads")
        relay.set(Mode.OPEN)
        await stage.seen_twice()
        assert (first.leads, second.leads) == (False, True)
        await second.end()
        await stage.until(lambda: first.leads, "the first leads again")

    on_stage(story)


def test_a_renewal_whose_answer_is_lost_costs_no_term(on_stage):
    async def story(stage):
        first, relay, _ = await stage.two()
        before = await stage.lease()
        relay.set(Mode.DEAF)
        while (await stage.lease())["renewTime"] == before["renewTime"]:
            await asyncio.sleep(0.01)
        relay.set(Mode.REFUSING)  # the answer never comes
        relay.set(Mode.OPEN)
        for _ in range(3):
            await stage.seen_twice()
        assert (first.leads, first.terms) == (True, 1)

    on_stage(story)


def test_an_api_server_that_goes_and_comes_back_is_led_again(on_stage, plane):
    async def story(stage):
        first, _, second = await stage.two()
        await asyncio.to_thread(plane.kill, "apiserver")
        await stage.until(lambda: not first.leads and not second.leads, "nobody leads")
        await asyncio.to_thread(plane.restart, "apiserver")
        await stage.until(lambda: first.leads or second.leads, "somebody leads", 60)

    on_stage(story)


def test_a_lease_deleted_by_hand_is_made_anew_when_its_holder_can_know(on_stage, plane):
    async def story(stage):
        first, _, second = await stage.two()
        await asyncio.to_thread(Server(plane).kubectl, "delete", "lease", stage.name)
        await stage.until(lambda: first.terms + second.terms == 2, "somebody leads anew")

    on_stage(story)


def test_a_foreign_writer_on_the_lease_costs_no_term(on_stage, plane):
    async def story(stage):
        first, _, second = await stage.two()
        for number in range(5):
            await asyncio.to_thread(
                Server(plane).kubectl, "annotate", "lease", stage.name, f"n={number}", "--overwrite"
            )
        await stage.seen_twice()
        assert (first.leads, second.leads, first.terms) == (True, False, 1)

    on_stage(story)


def test_who_is_sick_lets_a_healthy_peer_lead(on_stage):
    async def story(stage):
        said = []
        sick, _ = await stage.peer(sick=lambda: said[0] if said else "")
        await stage.until(lambda: sick.leads, "it leads")
        healthy, _ = await stage.peer()
        await stage.seen_twice()
        said.append("the watch of pods is silent")
        await stage.until(lambda: healthy.leads, "the healthy one leads")

    on_stage(story)


def test_a_holder_that_promised_to_be_slower_is_waited_for(on_stage):
    async def story(stage):
        slow, _ = await stage.peer(pace=Pace.of(18.0))
        await stage.until(lambda: slow.leads, "it leads")
        quick, _ = await stage.peer()
        await stage.seen_twice()
        await slow.crash()
        began = monotonic()
        await stage.until(lambda: quick.leads, "the quick one leads")
        assert monotonic() - began > PACE.duration, "it waited for longer than for its own time"

    on_stage(story)
