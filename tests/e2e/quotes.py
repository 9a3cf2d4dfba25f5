"""The backend of a release that goes by the checklist: a quote, from the cache or from the database.

Runs in a pod, as `python3 -c` of this text in the image of the stores; the example's `app` does the rest.

    /         what users ask for: the quote as the cache has it; without one, as the database has it
    /healthz  asks the database, not the cache
    /orders   what robots and smoke tests ask for; how it answers is in /tmp/mood (faults.feel) or MOOD
    COLUMN    where this version looks for the price: what a migration changes
"""

import asyncio
import json
import os
import pathlib
import socket
from http import HTTPStatus

import app
import psycopg2

QUOTE = f"select {os.environ['COLUMN']} from quotes where symbol = 'XAU'"  # noqa: S608 - the test's own word


class Database:
    """One connection, made anew after an error."""

    def __init__(self):
        self.connection = None

    def quote(self):
        """Return the price."""
        try:
            if self.connection is None:
                self.connection = psycopg2.connect(options="-c statement_timeout=1000")
                self.connection.autocommit = True
            with self.connection.cursor() as cursor:
                cursor.execute(QUOTE)
                return str(cursor.fetchone()[0])
        except psycopg2.Error:
            self.connection = None
            raise


class Cache:
    """Reads from Redis: GET and nothing else, as its protocol writes it."""

    def __init__(self):
        self.stream = None

    def quote(self):
        """Return the price, None where there is none."""
        try:
            if self.stream is None:
                self.stream = socket.create_connection(("redis", 6379), timeout=1).makefile("rwb")
            self.stream.write(b"GET quote\r\n")
            self.stream.flush()
            length = int(self.stream.readline()[1:])
            return None if length < 0 else self.stream.read(length + 2)[:-2].decode()
        except (OSError, ValueError):
            self.stream = None
            raise


database, cache = Database(), Cache()
route, read = app.Platform._route, app.read_request


def mood():
    """Return how it feels now."""
    file = pathlib.Path("/tmp/mood")
    return file.read_text().strip() if file.exists() else os.environ.get("MOOD", "well")


def answer(platform, request):
    """Answer what a test is about; the rest is the example's."""
    try:
        match request.path:
            case "/":
                cached = cache.quote()
                price, source = (database.quote(), "database") if cached is None else (cached, "cache")
                return platform._say(HTTPStatus.OK, price=price, source=source)
            case "/healthz":
                return platform._say(HTTPStatus.OK, price=database.quote())
            case "/orders" if mood() == "broken":
                return platform._say(HTTPStatus.INTERNAL_SERVER_ERROR, error="no prices")
            case "/orders":
                return platform._say(HTTPStatus.OK, **({"error": "no prices"} if mood() == "lie" else {}))
    except (psycopg2.Error, OSError, ValueError) as error:
        words = " ".join(str(error).split())
        print(f"ERROR {json.dumps(words)}", flush=True)
        return platform._say(HTTPStatus.INTERNAL_SERVER_ERROR, error=words)
    return route(platform, request)


async def heard(reader):
    """Let a request for orders wait for ever, where that is the mood."""
    request = await read(reader)
    if request and request.path == "/orders" and mood() == "hang":
        await asyncio.sleep(3600)
    return request


app.Platform._route, app.read_request = answer, heard
asyncio.run(app.main())
