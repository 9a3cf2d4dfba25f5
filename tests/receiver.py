"""A receiver on the loopback address, as Slack, Mattermost or a sink of CloudEvents is one: it answers as it is told to.

It also plays the proxy that leads to a host of the internet, so that a plugin of Apprise that knows one host only speaks
to it: with TLS, and a certificate that nobody has signed.
"""

import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WITHIN = 90.0
CANARY = "t0psecretcanary0000000000"
"""Stands in every URL, and must be told nowhere."""


@dataclass(frozen=True)
class Answer:
    """What to answer, and after how many seconds; a hanging one comes never. `drip` sends it a byte at a time, slowly."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    hangs: bool = False
    drip: bool = False
    body: bytes = b"ok"


@dataclass(frozen=True)
class Request:
    """What was received, and whether it was answered with a success."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    answer: Answer

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    @property
    def took(self) -> bool:
        """Whether its sender knows that it arrived."""
        return self.answer.status < 300 and not self.answer.hangs and not self.answer.drip


class Receiver:
    """Serves until closed. Answers are told by path, one after the other, the last of them for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: dict[str, list[Answer]] = defaultdict(lambda: [Answer()])
        self._changed = threading.Condition()
        self._released = threading.Event()
        self.tls: ssl.SSLContext | None = None
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                assert receiver.tls, "no certificate was made"
                self.send_response(200)
                self.end_headers()
                self.connection = receiver.tls.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb", -1)
                self.wfile = self.connection.makefile("wb", 0)
                self.close_connection = False

            def do_POST(self) -> None:
                receiver._handle(self)

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Say nothing of senders that were killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """End; what hangs, too."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def signs_for(self, host: str, folder: Any) -> None:
        """Make a certificate, so that it can pass for a host."""
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
             "-subj", f"/CN={host}", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)

    def answers(self, path: str, *answers: Answer) -> None:
        """Say what is answered from now on, to paths that end so."""
        with self._changed:
            self._answers[path] = list(answers)

    def got(self, path: str, *, took: bool = False) -> list[Request]:
        """Return what has come in on paths that end so; only what was answered well, if asked for that."""
        with self._changed:
            return [r for r in self.requests if r.path.endswith(path) and (r.took or not took)]

    def until(self, holds: Callable[[], bool], what: str, seconds: float = WITHIN) -> None:
        """Wait until something holds of what was received."""
        deadline = time.monotonic() + seconds
        while not holds():
            left = deadline - time.monotonic()
            assert left > 0, (
                f"not within {seconds} s: {what}; received: {[(r.path, r.answer.status) for r in self.requests]}"
            )
            with self._changed:
                self._changed.wait(min(left, 0.2))

    def _handle(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._changed:
            path = next((p for p in self._answers if handler.path.endswith(p)), handler.path)
            told = self._answers[path]
            answer = told.pop(0) if len(told) > 1 else told[0]
            self.requests.append(Request(handler.path, dict(handler.headers), body, time.monotonic(), answer))
            self._changed.notify_all()
        if answer.hangs:
            self._released.wait()
            return
        self._released.wait(answer.after)
        with contextlib.suppress(OSError):
            if answer.drip:
                self._drip(handler)
                return
            handler.send_response(answer.status)
            for key, value in (answer.headers | {"Content-Length": str(len(answer.body))}).items():
                handler.send_header(key, value)
            handler.end_headers()
            handler.wfile.write(answer.body)

    def _drip(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        # Each byte comes soon enough for a limit on single reads: only a limit on the whole ends it.
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self._released.wait(0.5):
            handler.wfile.write(b".")


def write_urls(folder: Path, receiver: Receiver, *targets: str) -> None:
    """Write the files of the Secret: each target is a hook of its own, the sink of CloudEvents is another."""
    folder.mkdir()
    for name in targets:
        (folder / name).write_text(f"mmost://127.0.0.1:{receiver.port}/{name}/{CANARY}\n")
    (folder / "cloudevents").write_text(f"http://127.0.0.1:{receiver.port}/sink?token={CANARY}\n")
