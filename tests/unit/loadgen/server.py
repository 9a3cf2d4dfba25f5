"""A small real server whose manners each test chooses: what it does with the n-th request of a connection."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Manner = Callable[["Guest"], Awaitable[bool]]


@dataclass
class Guest:
    """One request at the server: which connection it came on, and its how many-th it is there."""

    connection: int
    number: int
    head: bytes
    writer: asyncio.StreamWriter

    async def answer(self, status: int = 200, *, close: bool = False, version: str = "1") -> bool:
        """Answer in full; say whether the connection stays."""
        body = json.dumps({"version": version, "pod": f"pod-{version}"}).encode()
        manner = "close" if close else "keep-alive"
        head = f"HTTP/1.1 {status} Word\r\nContent-Length: {len(body)}\r\nConnection: {manner}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        return not close

    async def hang_up(self) -> bool:
        """Close without a word."""
        return False

    async def slam(self) -> bool:
        """Reset the connection."""
        now = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        self.writer.transport.abort()
        return False


@dataclass
class Server:
    """Serves on a port of loopback and remembers what it saw."""

    manner: Manner
    port: int = 0
    connections: int = 0
    guests: list[Guest] = field(default_factory=list)
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.conversations[asyncio.current_task()] = writer
        mine, number, stays = self.connections, 0, True
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while stays:
                head = await reader.readuntil(b"\r\n\r\n")
                number += 1
                guest = Guest(mine, number, head, writer)
                self.guests.append(guest)
                stays = await self.manner(guest)
        writer.close()

    async def end(self) -> None:
        """Close every connection and wait until nobody talks any more."""
        for writer in self.conversations.values():
            writer.close()
        await asyncio.gather(*self.conversations)


@contextlib.asynccontextmanager
async def serving(manner: Manner) -> AsyncIterator[Server]:
    """Serve for the time of the block."""
    server = Server(manner)
    listener = await asyncio.start_server(server._converse, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.end()
