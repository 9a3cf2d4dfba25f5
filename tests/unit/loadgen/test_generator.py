"""The schedule, kept against a real server on loopback."""

import asyncio
import itertools
import json

import pytest

from loadgen.generator import Plan, generate
from loadgen.record import Mode
from loadgen.records import Records
from tests.unit.loadgen.server import Guest, Manner, serving

BOTH = (Mode.NEW, Mode.KEEPALIVE)


def generated(manner: Manner, *, rate, seconds, modes=BOTH, timeout=5.0, targets=("backend",)) -> list[str]:
    """Carry out a plan against one server under one or more names; return the lines."""

    async def go():
        async with serving(manner) as server:
            lines: list[str] = []
            plan = Plan([(name, server.url) for name in targets], rate, modes, timeout, seconds)
            await generate(plan, lines.append, asyncio.Event())
            return lines

    return asyncio.run(go())


async def kindly(guest: Guest) -> bool:
    return await guest.answer()


def test_requests_are_evenly_spaced_over_targets_and_modes():
    lines = generated(kindly, rate=200, seconds=1, targets=("backend", "frontend"))
    records = Records.parse(lines)
    assert records.rate() == pytest.approx(200, rel=1e-3)
    for target in records.targets():
        for mode in Mode:
            assert len(records.of(target=target, mode=mode)) == 50


def test_the_closing_line_counts_the_records():
    lines = generated(kindly, rate=100, seconds=0.5)
    assert json.loads(lines[-1]) == {"end": len(lines) - 1}


def test_a_server_that_stalls_delays_no_request_and_hides_no_latency():
    """All that came due during the stall is sent on time, and counts its wait."""
    stall = asyncio.Event()

    async def stalls_at_first(guest: Guest) -> bool:
        if guest.connection == 1:
            asyncio.get_running_loop().call_later(0.5, stall.set)
        await stall.wait()
        return await guest.answer()

    records = Records.parse(generated(stalls_at_first, rate=100, seconds=1))
    assert len(records) == 100
    assert not records.failed().all
    due = sorted(record.due for record in records)
    assert all(later - earlier == pytest.approx(0.01, abs=1e-4) for earlier, later in itertools.pairwise(due))
    waited = [record.latency_ms for record in records if record.due < due[0] + 0.4]
    assert min(waited) > 90
    assert records.lag_ms(0.5) < 250


def test_a_request_without_an_answer_in_time_is_recorded_as_such():
    async def never(guest: Guest) -> bool:
        await guest.writer.wait_closed()
        return False

    records = Records.parse(generated(never, rate=20, seconds=0.3, timeout=0.2))
    assert records.by_outcome() == {"timeout: no answer in 0.2 s": len(records)}
    assert all(record.latency_ms >= 200 for record in records)


def test_kept_connections_are_kept_and_new_ones_are_not():
    records = Records.parse(generated(kindly, rate=200, seconds=0.5))
    assert not any(record.reused for record in records.of(mode=Mode.NEW))
    kept = records.of(mode=Mode.KEEPALIVE)
    assert sum(record.reused for record in kept) > len(kept) / 2


def test_a_failing_server_is_asked_as_often_as_a_good_one():
    records = Records.parse(generated(lambda guest: guest.answer(503, close=True), rate=100, seconds=0.5))
    assert records.by_outcome() == {"503": len(records)}
    assert len(records) == 50


def test_stop_ends_it_after_the_answers_that_are_still_due():
    async def go():
        stop, lines = asyncio.Event(), []

        async def stop_at_once(guest: Guest) -> bool:
            stop.set()
            return await guest.answer()

        async with serving(stop_at_once) as server:
            await generate(Plan([("backend", server.url)], 50, BOTH, 5.0), lines.append, stop)
        return lines

    lines = asyncio.run(go())
    assert json.loads(lines[-1])["end"] == len(Records.parse(lines)) >= 1
