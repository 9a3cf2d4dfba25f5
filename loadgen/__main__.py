"""`python -m loadgen`: send a load, write one JSON line per request."""

import argparse
import asyncio
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TextIO

from loadgen.generator import Plan, generate
from loadgen.record import Mode

MODES = {"new": (Mode.NEW,), "keepalive": (Mode.KEEPALIVE,), "both": (Mode.NEW, Mode.KEEPALIVE)}


class Writer:
    """Writes lines in a thread of its own: a reader that pauses must not delay the next request."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take a line; return at once."""
        self._lines.put(line)

    def close(self) -> None:
        """Wait until all is written."""
        self._lines.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._out.write(line + "\n")
            self._out.flush()


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser("loadgen", description="Open-loop HTTP load; one JSON line per request.")
    parser.add_argument("--target", action="append", required=True, metavar="NAME=URL", help="where to; repeat it")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second, all together (100)")
    parser.add_argument("--mode", choices=MODES, default="both", help="new connections, kept ones, or both (both)")
    parser.add_argument("--seconds", type=float, help="stop after so long (default: at SIGTERM)")
    parser.add_argument("--timeout", type=float, default=5.0, help="give up an answer after so many seconds (5)")
    parser.add_argument("--lifetime", type=int, default=0, help="requests that a kept connection serves (no limit)")
    parser.add_argument("--output", default="-", metavar="FILE", help="where the records go (standard output)")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when whoever started this is gone")
    return parser.parse_args(argv)


def plan(wanted: argparse.Namespace) -> Plan:
    """Turn arguments into a plan."""
    targets = [(name, url) for name, _, url in (text.partition("=") for text in wanted.target)]
    return Plan(targets, wanted.rate, MODES[wanted.mode], wanted.timeout, wanted.seconds, wanted.lifetime)


async def run(wanted: argparse.Namespace, writer: Writer) -> None:
    """Send until the time is over, a signal comes, or standard input closes."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if wanted.until_stdin_closes:

        def watch_stdin() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=watch_stdin, daemon=True).start()
    await generate(plan(wanted), writer.write, stop)


def main() -> None:
    """Start."""
    wanted = arguments()
    with sys.stdout if wanted.output == "-" else open(wanted.output, "w", encoding="utf-8") as out:  # noqa: PTH123
        writer = Writer(out)
        try:
            asyncio.run(run(wanted, writer))
        finally:
            writer.close()


if __name__ == "__main__":
    main()
