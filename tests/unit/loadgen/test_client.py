"""The client's manners with connections, against a real server on loopback."""

import asyncio

import pytest

from loadgen.client import Client, Connection, Exchange, NoAnswerError, Site
from tests.unit.loadgen.server import Guest, Manner, Server, serving


def meet(manner: Manner, visit, **how: int):
    """Run `visit(client, server)` against a server of that manner."""

    async def go():
        async with serving(manner) as server:
            client = Client(await Site.find(server.url), **how)
            try:
                return await visit(client, server)
            finally:
                client.close()

    return asyncio.run(go())


async def ask(client: Client) -> tuple[int, Exchange]:
    exchange = Exchange()
    answer = await client.get(exchange)
    return answer.status, exchange


async def kindly(guest: Guest) -> bool:
    return await guest.answer()


def kindly_but(number: int, otherwise: Manner) -> Manner:
    """Answer well, but do something else at the n-th request of the first connection."""

    async def manner(guest: Guest) -> bool:
        return await (otherwise(guest) if (guest.connection, guest.number) == (1, number) else guest.answer())

    return manner


def test_new_connections_are_new_and_say_that_they_will_not_stay():
    async def visit(client: Client, server: Server):
        exchanges = [(await ask(client))[1] for _ in range(3)]
        assert server.connections == 3
        assert not any(exchange.reused for exchange in exchanges)
        assert all(b"Connection: close" in guest.head for guest in server.guests)

    meet(kindly, visit, keep=0)


def test_kept_connections_become_as_many_as_wanted_and_are_used_in_turn():
    async def visit(client: Client, server: Server):
        for _ in range(11):
            await ask(client)
        used = [guest.connection for guest in server.guests]
        assert sorted(used[-3:]) == [1, 2, 3]
        assert used[-3:] == used[-6:-3]

    meet(kindly, visit, keep=3)


def test_no_kept_connection_is_forgotten_while_the_server_hangs_up_on_all_others():
    """A client that only opened new ones then would meet a pod that is long out of service, much later."""

    async def hangs_up_on_new_ones(guest: Guest) -> bool:
        return await guest.answer(close=guest.connection > 3)

    async def visit(client: Client, server: Server):
        for _ in range(40):
            await ask(client)
        assert {guest.connection for guest in server.guests[-12:]} > {1, 2, 3}

    meet(hangs_up_on_new_ones, visit, keep=6)


def test_a_kept_connection_is_replaced_at_the_end_of_its_life():
    async def visit(client: Client, server: Server):
        for _ in range(6):
            await ask(client)
        assert [guest.connection for guest in server.guests] == [1, 1, 1, 2, 2, 2]

    meet(kindly, visit, keep=1, lifetime=3)


def test_a_busy_client_opens_more_connections_rather_than_wait():
    async def visit(client: Client, server: Server):
        await asyncio.gather(*(ask(client) for _ in range(5)))
        assert server.connections == 5
        assert len(client.idle) == 2

    meet(kindly, visit, keep=2)


def test_connection_close_is_obeyed_and_nothing_needs_a_second_try():
    async def visit(client: Client, server: Server):
        exchanges = [(await ask(client))[1] for _ in range(3)]
        assert server.connections == 2
        assert not any(exchange.retried for exchange in exchanges)

    meet(kindly_but(1, lambda guest: guest.answer(close=True)), visit, keep=1)


def test_an_idle_connection_seen_to_be_closed_is_not_used():
    async def answer_and_leave(guest: Guest) -> bool:
        await guest.answer()
        return False

    async def visit(client: Client, server: Server):
        await ask(client)
        kept = client.idle[0]
        async with asyncio.timeout(5):
            await kept.reader.read()  # until the server's end of it is here
        _, exchange = await ask(client)
        assert (server.connections, exchange.reused, exchange.retried) == (2, False, "")

    meet(kindly_but(1, answer_and_leave), visit, keep=1)


@pytest.mark.parametrize(("leave", "why"), [(Guest.hang_up, "closed: before an answer"), (Guest.slam, "reset: ")])
def test_a_kept_connection_that_ends_before_any_answer_is_tried_again_once(leave, why):
    async def visit(client: Client, server: Server):
        await ask(client)
        status, exchange = await ask(client)
        assert (status, server.connections, exchange.reused) == (200, 2, False)
        assert exchange.retried.startswith(why)

    meet(kindly_but(2, leave), visit, keep=1)


def test_the_second_try_is_the_last():
    async def rudely(guest: Guest) -> bool:
        return await guest.answer() if (guest.connection, guest.number) == (1, 1) else False

    async def visit(client: Client, server: Server):
        await ask(client)
        with pytest.raises(NoAnswerError, match="closed: before an answer"):
            await ask(client)
        assert server.connections == 2

    meet(rudely, visit, keep=1)


def test_a_new_connection_that_ends_before_any_answer_is_lost():
    async def visit(client: Client, server: Server):
        with pytest.raises(NoAnswerError, match="closed: before an answer"):
            await ask(client)
        assert server.connections == 1

    meet(kindly_but(1, Guest.hang_up), visit, keep=1)


def test_an_answer_that_breaks_off_is_lost_even_on_a_kept_connection():
    """The server may have done what was asked; sending it again is not for a client to decide."""

    async def break_off(guest: Guest) -> bool:
        guest.writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        await guest.writer.drain()
        return False

    async def visit(client: Client, server: Server):
        await ask(client)
        with pytest.raises(NoAnswerError, match="closed: in the middle of an answer"):
            await ask(client)
        assert server.connections == 1

    meet(kindly_but(2, break_off), visit, keep=1)


def test_an_answer_that_is_not_http_is_an_error():
    async def mumble(guest: Guest) -> bool:
        guest.writer.write(b"SSH-2.0-x y z\r\n\r\n")
        await guest.writer.drain()
        return False

    async def visit(client: Client, _: Server):
        with pytest.raises(NoAnswerError, match="garbled: not HTTP"):
            await ask(client)

    meet(mumble, visit, keep=0)


def test_nobody_listening_is_a_connect_error():
    async def visit(client: Client, server: Server):
        async with serving(kindly) as gone:
            site = await Site.find(gone.url)
        with pytest.raises(NoAnswerError, match=r"connect: .*refused"):
            await Connection.open(site)

    meet(kindly, visit, keep=0)


def test_who_answered_is_known_afterwards():
    async def visit(client: Client, _: Server):
        _, exchange = await ask(client)
        assert (exchange.connection.version, exchange.connection.pod) == ("7", "pod-7")

    meet(lambda guest: guest.answer(version="7"), visit, keep=0)


def test_an_error_on_a_kept_connection_is_put_to_the_version_that_it_led_to():
    async def visit(client: Client, _: Server):
        await ask(client)
        exchange = Exchange()
        with pytest.raises(NoAnswerError):
            await client.get(exchange)
        assert exchange.connection.version == "1"

    async def break_off(guest: Guest) -> bool:
        guest.writer.write(b"HTTP")
        return False

    meet(kindly_but(2, break_off), visit, keep=1)


@pytest.mark.parametrize("url", ["https://backend/", "backend:80", "http:///x"])
def test_what_is_no_http_url_is_refused_with_advice(url):
    with pytest.raises(ValueError, match="write http://HOST:PORT/PATH"):
        asyncio.run(Site.find(url))
