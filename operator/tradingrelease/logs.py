"""Logs: one JSON object a line, so that no text from the cluster can forge a line or colour a terminal."""

import json
import logging
import queue
import sys
import threading
from datetime import UTC, datetime
from typing import Final, TextIO

_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; extra fields become keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        body: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        body |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            body["exception"] = self.formatException(record.exc_info)
        return json.dumps(body, default=str)


class AsideHandler(logging.Handler):
    """Writes lines in a thread of its own: who logs never waits for a slow disk or pipe, least of all a switch.

    Lines wait in order. When more than `ROOM` of them wait, further ones are dropped, and their number is told.
    """

    ROOM: Final = 10_000
    PATIENCE: Final = 2.0
    """Seconds that a flush (the end of the process) waits for lines to be written."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stderr
        self._lines: queue.Queue[str | threading.Event] = queue.Queue(self.ROOM)
        self._dropped = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a line into the queue."""
        try:
            if self._dropped:
                self._lines.put_nowait(json.dumps({"level": "error", "message": f"{self._dropped} lines were dropped"}))
                self._dropped = 0
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what was logged so far is written, or for a while."""
        written = threading.Event()
        try:
            self._lines.put(written, timeout=self.PATIENCE)
        except queue.Full:
            return
        written.wait(self.PATIENCE)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more: that must not end the writer
                continue


def configure(level: str) -> None:
    """Send everything to standard error as JSON lines. kopf says one line per event: only its warnings are kept."""
    handler = AsideHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("kopf", "kopf.objects", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
