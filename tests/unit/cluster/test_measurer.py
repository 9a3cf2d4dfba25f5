"""Checks measured for real: over sockets, against servers that answer well, badly, slowly or not at all."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import web
from tradingrelease.cluster.measure import http
from tradingrelease.cluster.measure.measurer import Measurer
from tradingrelease.cluster.probe import BODY_LIMIT, Answer, Request, send, without_verification
from tradingrelease.policy.measurements import HttpSubject, Measurement, QuerySubject, Verdict

from tests.builders import KEY, NOW, a_check, a_spec, parsed
from tests.served import served

SUBJECT = HttpSubject("10.96.0.1", 80, "2.0.0", frozenset({"blue-1"}), frozenset({"1.0.0"}))
BY_VERSION = "response.status == 200 && response.json.version == release.version"


def a_measurement(subject=SUBJECT, scope="rev/1", delay=0.0, **fields):
    check = parsed(a_spec(checks=[a_check(**fields)])).checks[0]
    quick = check.model_copy(update={"interval": timedelta(milliseconds=10), "timeout": timedelta(milliseconds=300)})
    return Measurement(scope, quick, "Verify", subject, timedelta(seconds=delay))


def judged(status=200, body=b"{}", expect=None, subject=SUBJECT):
    service = {"service": "backend", "path": "/", "port": "http"} | ({"expect": expect} if expect else {})
    check = parsed(a_spec(checks=[a_check(http=service)])).checks[0].http
    return http.judge(check, subject, Answer(status, body))


# --- an answer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expect", "verdict"),
    [
        (200, b"", None, Verdict.PASSED),
        (500, b"", None, Verdict.FAILED),
        (200, b'{"version": "2.0.0"}', BY_VERSION, Verdict.PASSED),
        (200, b'{"version": "3.0.0"}', BY_VERSION, Verdict.FAILED),
        (200, b'{"error": "no prices"}', "response.json.error == null", Verdict.FAILED),
        (200, b'{"error": "no prices"}', "!has(response.json.error)", Verdict.FAILED),
        (200, b"<html>Sorry!</html>", "response.json.orders > 0", Verdict.FAILED),
        (200, b"x" * (BODY_LIMIT + 1), None, Verdict.FAILED),
    ],
)
def test_an_answer_is_judged_by_its_expression_and_not_by_its_status_alone(status, body, expect, verdict):
    assert judged(status, body, expect).verdict is verdict


@pytest.mark.parametrize(
    ("body", "who"), [(b'{"pod": "blue-1"}', "pod blue-1"), (b'{"version": "1.0.0"}', "version 1.0.0")]
)
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_of_another_revision_counts_neither_way(status, body, who):
    finding = judged(status, body)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert f"answered by {who}" in finding.said


def test_what_a_body_says_stays_here():
    assert "secret" not in judged(500, b'{"token": "secret"}', "response.json.token == ''").said


@pytest.mark.parametrize(("address", "port"), [("", 80), ("10.96.0.1", 0), ("127.0.0.1", 80), ("169.254.169.254", 80)])
def test_no_address_but_that_of_a_service_is_asked(address, port):
    measurement = a_measurement(replace(SUBJECT, address=address, port=port))
    finding = asyncio.run(http.measure(measurement, measurement.check.http, without_verification()))
    assert finding.verdict is Verdict.INCONCLUSIVE


# --- a Prometheus at the other end of a socket -----------------------------------------------------------------------


def prometheus_of(handler):
    app = web.Application()
    app.router.add_post("/api/v1/query", handler)
    return served(app)


def number_is(value):
    result = [{"metric": {}, "value": [0, value]}]
    return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


async def tallied(measurer, until, scope="rev/1", seconds=10):
    async with asyncio.timeout(seconds):
        while not until(tally := measurer.tallies(KEY).get((scope, "check"))):
            await asyncio.sleep(0.005)
    return tally


QUERY = {"prometheus": {"query": "up", "expect": "result < 1.0"}}


def run(story):
    """Run a story with a measurer that asks what `story` lets answer."""

    async def told():
        woken = []
        async with prometheus_of(story.handler) as server:
            measurer = Measurer(woken.append, server)
            try:
                await story(measurer, woken)
            finally:
                await measurer.close()

    asyncio.run(told())


def answering(handler):
    """Say who answers in a story."""

    def wrap(story):
        story.handler = handler
        return story

    return wrap


async def zero(_):
    return number_is("0")


async def one(_):
    return number_is("1")


async def hang(_):
    await asyncio.sleep(60)


async def to_elsewhere(request):
    raise web.HTTPFound(f"http://{request.host}/elsewhere")


def test_findings_add_up_and_wake_when_a_verdict_changes():
    @answering(zero)
    async def story(measurer, woken):
        measurer.aim(KEY, frozenset({a_measurement(QuerySubject("up"), **QUERY)}), NOW)
        tally = await tallied(measurer, lambda t: t.passed >= 5)
        assert tally.verdict is Verdict.PASSED
        assert woken == [KEY], "what only goes on wakes nobody"

    run(story)


@pytest.mark.parametrize("handler", [hang, to_elsewhere])
def test_a_server_that_hangs_or_leads_elsewhere_is_inconclusive(handler):
    @answering(handler)
    async def story(measurer, woken):
        measurer.aim(KEY, frozenset({a_measurement(QuerySubject("up"), **QUERY)}), NOW)
        tally = await tallied(measurer, lambda t: t.verdict is not Verdict.PENDING)
        assert (tally.verdict, tally.passed) == (Verdict.INCONCLUSIVE, 0)
        assert KEY in woken

    run(story)


def test_another_revision_or_attempt_begins_with_nothing():
    @answering(zero)
    async def story(measurer, _):
        measurer.aim(KEY, frozenset({a_measurement(QuerySubject("up"), **QUERY)}), NOW)
        await tallied(measurer, lambda t: t.passed >= 3)
        measurer.aim(KEY, frozenset({a_measurement(QuerySubject("up"), "rev/2", 60, **QUERY)}), NOW)
        assert measurer.tallies(KEY).keys() == {("rev/2", "check")}
        assert measurer.tallies(KEY)["rev/2", "check"].passed == 0
        measurer.aim(KEY, frozenset(), NOW)
        assert measurer.tallies(KEY) == {}

    run(story)


def test_a_check_that_goes_on_keeps_its_tally_though_whom_it_asks_changes():
    @answering(zero)
    async def story(measurer, _):
        measurer.aim(KEY, frozenset({a_measurement(QuerySubject("up"), **QUERY)}), NOW)
        before = await tallied(measurer, lambda t: t.passed >= 3)
        measurer.aim(KEY, frozenset({a_measurement(QuerySubject("up offset 1s"), **QUERY)}), NOW)
        assert measurer.tallies(KEY)["rev/1", "check"].passed >= before.passed

    run(story)


def test_one_check_that_cannot_be_measured_does_not_stop_itself():
    @answering(one)
    async def story(measurer, _):
        broken = a_measurement(SUBJECT, **QUERY)  # a Service where a query belongs
        measurer.aim(KEY, frozenset({broken}), NOW)
        tally = await tallied(measurer, lambda t: t.verdict is Verdict.INCONCLUSIVE)
        assert "cannot be measured" in tally.said
        measurer.aim(KEY, frozenset({replace(broken, subject=QuerySubject("up"))}), NOW)
        await tallied(measurer, lambda t: t.verdict is Verdict.FAILED)

    run(story)


def test_a_connection_is_new_each_time():
    """One that is kept would go on to the pods that a Service led to before."""
    ports = []

    async def noting(request):
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response()

    async def story():
        async with prometheus_of(noting) as server:
            address, port = server.removeprefix("http://").split(":")
            request = a_request(address, int(port))
            for _ in range(3):
                assert isinstance(await send(request, without_verification()), Answer)

    asyncio.run(story())
    assert len(set(ports)) == 3


def a_request(address, port):
    return Request("POST", "HTTP", address, port, "/api/v1/query", 2.0, {"A": "b"})
