"""A TCP relay in front of a real server, for faults below HTTP.

A server that falls silent, one whose answers are lost, one that refuses. It knows nothing of what it carries; TLS
passes through.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class Mode(StrEnum):
    """What happens to bytes and connections."""

    OPEN = "open"
    SILENT = "silent"
    """Connections stand, nothing passes in either direction."""
    DEAF = "deaf"
    """What is asked arrives and is done; the answers are held back."""
    REFUSING = "refusing"
    """New connections are closed at once, and so are those that stand."""


class Relay:
    """Listens on 127.0.0.1 and carries connections to one server, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._mode = Mode.OPEN
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    def set(self, mode: Mode) -> None:
        """Change what happens from now on; also to connections that stand."""
        asyncio.run_coroutine_threadsafe(self._set(mode), self._loop).result(5)

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.REFUSING:
            for writer in self._writers:
                writer.close()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _passes(self, upwards: bool) -> None:
        while self._mode is Mode.SILENT or (self._mode is Mode.DEAF and not upwards):
            await self._changed.wait()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._passes(upwards)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.REFUSING:
            writer.close()
            return
        try:
            there, back = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._carry(reader, back, upwards=True), self._carry(there, writer, upwards=False))
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _listen(self, listening: threading.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    @contextlib.contextmanager
    def running(self) -> Iterator["Relay"]:
        """Carry, for as long as the block lasts. The thread listens in the network of the calling one."""
        listening = threading.Event()
        task = self._loop.create_task(self._listen(listening))
        thread = threading.Thread(target=self._run, args=(task,), daemon=True)
        thread.start()
        assert listening.wait(10), "the relay does not listen"
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(task.cancel)
            thread.join(10)

    def _run(self, task: asyncio.Task[None]) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(task)
        for other in (others := asyncio.all_tasks(self._loop)):
            other.cancel()
        self._loop.run_until_complete(asyncio.gather(*others, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # sockets are closed by the next turn
        self._loop.close()


@contextlib.contextmanager
def before(kubeconfig: Path, through: Path) -> Iterator[Relay]:
    """Carry connections to the API server of a kubeconfig; write one to `through` that leads there by the relay."""
    settings = yaml.safe_load(kubeconfig.read_text())
    cluster = settings["clusters"][0]["cluster"]
    server = urlsplit(cluster["server"])
    with Relay(server.hostname or "", server.port or 443).running() as relay:
        cluster["server"] = f"https://127.0.0.1:{relay.port}"
        through.write_text(yaml.safe_dump(settings))
        yield relay
