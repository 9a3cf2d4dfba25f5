"""Webhooks against a real HTTP server: what passes, what is asked again, what is never sent, and how it is signed."""

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from tradingrelease.cluster.webhook import Allowed, Caller, judge, signature
from tradingrelease.policy.model import Call, Called

from tests.builders import KEY
from tests.served import served


def now():
    return datetime.now(UTC)


@asynccontextmanager
async def receiver(*answers, delay=0.0):
    """Serve the answers one after the other, the last for ever; yields the URL and what was received."""
    received = []

    async def handle(request):
        received.append((dict(request.headers), await request.text()))
        await asyncio.sleep(delay)
        status, headers = answers[min(len(received), len(answers)) - 1]
        return web.Response(status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handle)
    async with served(app) as url:
        yield f"{url}/hook", received


async def answered(url, *, allowed=None, seconds=20.0):
    """Call a URL until the call is over."""
    woken = asyncio.Event()
    caller = Caller(lambda _: woken.set(), now, allowed or Allowed(frozenset({"127.0.0.1"})))
    caller.aim(KEY, frozenset({Call("release/rev/1/smoke", url, '{"a":1}', now() + timedelta(seconds=seconds))}))
    try:
        async with asyncio.timeout(seconds + 5):
            await woken.wait()
        return caller.called(KEY)["release/rev/1/smoke"]
    finally:
        await caller.close()


@pytest.mark.parametrize(("status", "passed"), [(200, True), (204, True), (202, True), (404, False), (500, False)])
def test_only_2xx_passes(status, passed):
    async def story():
        async with receiver((status, {})) as (url, received):
            assert await answered(url) == Called(passed, f"HTTP {status}")
            assert len(received) == 1

    asyncio.run(story())


def test_of_an_answer_without_an_end_only_the_status_counts():
    sent = []

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while len(sent) < 10_000:
                await response.write(bytes(65536))
                sent.append(65536)
        return response

    async def story():
        app = web.Application()
        app.router.add_post("/hook", endless)
        async with served(app) as url:
            assert await answered(f"{url}/hook") == Called(True, "HTTP 200")
        assert sum(sent) < 20_000_000, "it was read on; what is on its way between two sockets is less"

    asyncio.run(story())


def test_in_progress_is_asked_again_with_the_same_words():
    async def story():
        async with receiver((202, {"Retry-After": "1"}), (202, {"Retry-After": "0"}), (200, {})) as (url, received):
            assert (await answered(url)).passed
            assert len(received) == 3
            assert {(headers["Webhook-Id"], body) for headers, body in received} == {("release/rev/1/smoke", '{"a":1}')}

    asyncio.run(story())


def test_what_changes_in_the_cluster_meanwhile_changes_no_word_of_a_call():
    async def story():
        async with receiver((202, {"Retry-After": "1"}), (200, {})) as (url, received):
            woken = asyncio.Event()
            caller = Caller(lambda _: woken.set(), now, Allowed(frozenset({"127.0.0.1"})))
            call = Call("release/rev/1/smoke", url, '{"service":"a"}', now() + timedelta(seconds=20))
            caller.aim(KEY, frozenset({call}))
            async with asyncio.timeout(20):
                while not received:
                    await asyncio.sleep(0.01)
                caller.aim(KEY, frozenset({replace(call, body='{"service":"b"}')}))
                await woken.wait()
            await caller.close()
            assert [body for _, body in received] == [call.body, call.body]

    asyncio.run(story())


def test_a_redirect_is_not_followed():
    async def story():
        async with receiver((200, {})) as (other, followed), receiver((307, {"Location": other})) as (url, _):
            assert await answered(url) == Called(passed=False, said="HTTP 307")
            assert followed == []

    asyncio.run(story())


def test_a_receiver_that_hangs_fails_in_the_time_that_is_left():
    async def story():
        async with receiver((200, {}), delay=5.0) as (url, _):
            assert not (await answered(url, seconds=0.5)).passed

    asyncio.run(story())


def test_nobody_there_fails():
    async def story():
        async with receiver((200, {})) as (url, _):
            pass
        assert await answered(url) == Called(passed=False, said="NoAnswer: no connection")

    asyncio.run(story())


def test_a_host_that_is_not_allowed_hears_nothing():
    async def story():
        async with receiver((200, {})) as (url, received):
            assert "TRADINGRELEASE_WEBHOOK_HOSTS" in (await answered(url, allowed=Allowed())).said
            assert received == []

    asyncio.run(story())


def test_a_name_that_is_allowed_leads_to_no_address_that_is_forbidden():
    """Whoever answers for a name may lead it to a metadata service; here it leads to the operator's own pod."""

    async def story():
        async with receiver((200, {})) as (url, received):
            named = url.replace("127.0.0.1", "localhost")
            called = await answered(named, allowed=Allowed(frozenset({"localhost"})))
            assert called.passed is False
            assert re.match(r"NoAnswer: the host leads to (127\.0\.0\.1|::1): it is a loopback", called.said)
            assert received == []

    asyncio.run(story())


def test_a_request_is_signed_with_the_key_of_now(tmp_path):
    key = tmp_path / "key"

    async def story():
        async with receiver((200, {})) as (url, received):
            allowed = Allowed(frozenset({"127.0.0.1"}), str(key))
            assert "signing key" in (await answered(url, allowed=allowed)).said
            assert received == [], "never unsigned"
            key.write_bytes(b"\n")
            assert (await answered(url, allowed=allowed)).said == "the signing key is empty: nothing is sent unsigned"
            assert received == [], "never unsigned"
            for text in (b"one\n", b"two\n"):
                key.write_bytes(text)
                assert (await answered(url, allowed=allowed)).passed
                headers, body = received[-1]
                wanted = signature(text.strip(), headers["Webhook-Id"], headers["Webhook-Timestamp"], body)
                assert headers["Webhook-Signature"] == wanted

    asyncio.run(story())


def test_the_signature_is_that_of_the_standard():
    """Checked with `printf 'id.1.{}' | openssl dgst -sha256 -hmac key -binary | base64`."""
    assert signature(b"key", "id", "1", "{}") == "v1,5PVmP2AfJGwnp9flV+flrzfukNWA9zyUdqvI+IQalVs="


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [("5", 5.0), ("0", 1.0), ("86400", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 5.0), ("²", 5.0)],
)
def test_retry_after_is_bounded(retry_after, wait):
    assert judge(202, retry_after) == (Called(passed=None, said="HTTP 202: in progress"), wait)
