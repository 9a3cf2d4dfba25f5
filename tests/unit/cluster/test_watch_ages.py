"""How long a watch has been silent: measured on a stream of a real HTTP server, read as kopf reads it."""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web
from kopf._cogs.clients.api import iter_jsonlines
from tradingrelease.clock import ServerClock
from tradingrelease.cluster.api import WatchAges, session
from tradingrelease.cluster.credentials import Credentials

from tests.served import served

BOOKMARK = json.dumps({"type": "BOOKMARK", "object": {"kind": "Service"}}).encode() + b"\n"
PAUSE = 0.3


@asynccontextmanager
async def api_server():
    """Serve a watch that says something when it is told to; yields its URL and what tells it."""
    say, over = asyncio.Event(), asyncio.Event()

    async def watch(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await say.wait()
        await response.write(BOOKMARK)
        await over.wait()
        return response

    app = web.Application()
    app.router.add_get("/api/v1/services", watch)
    async with served(app) as url:
        try:
            yield url, say
        finally:
            over.set()


def test_a_watch_that_says_anything_at_all_is_not_silent():
    """A bookmark a minute is all that a quiet cluster says; a watch on it is as alive as any."""

    async def story():
        ages = WatchAges()
        async with (
            api_server() as (server, say),
            session(Credentials(server, None, dict), ServerClock(), ages) as http,
            http.get(f"{server}/api/v1/services?watch=true") as response,
        ):
            lines = iter_jsonlines(response.content)
            await asyncio.sleep(PAUSE)
            assert ages.ages()["services"] >= PAUSE
            say.set()
            assert await anext(lines) == BOOKMARK.strip()
            assert ages.ages()["services"] < PAUSE
            await asyncio.sleep(PAUSE)
            assert ages.ages()["services"] >= PAUSE, "and it may fall silent again"

    asyncio.run(story())
