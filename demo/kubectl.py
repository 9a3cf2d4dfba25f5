"""kubectl, and watches that stamp what they see.

kubectl and not a client library: whoever watches the demo can type the same.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from devcluster.cluster import Cluster

T = TypeVar("T")
Object = dict[str, Any]


class KubectlError(Exception):
    """A command failed; its words are the message."""


def epoch() -> float:
    """Now, in seconds since the epoch, by the clock that the load's records use."""
    return time.time_ns() / 1e9


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl where the cluster's network is."""

    cluster: Cluster
    namespace: str

    def argv(self, *arguments: str) -> list[str]:
        """Return the whole command."""
        options = ["--kubeconfig", str(self.cluster.kubeconfig), "--namespace", self.namespace]
        return self.cluster.command(["kubectl", *options, *arguments])

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = 60.0) -> str:
        """Run a command and return its output."""
        try:
            done = subprocess.run(
                self.argv(*arguments),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"kubectl {' '.join(arguments)}: no answer in {seconds:g} s") from error
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Object:
        """Return an object or a list."""
        found: Object = json.loads(self("get", *arguments, "--output=json"))
        return found

    def watch(self, *what: str, told: Callable[["Seen"], None] | None = None) -> "Watch":
        """Watch objects from now on; `told` hears of each of their states as it comes."""
        argv = self.argv("get", *what, "--watch", "--output-watch-events", "--output=jsonpath={@}{'\\n'}")
        return Watch(argv, told)


@dataclass(frozen=True)
class Seen:
    """One state of an object, and when the watch brought it."""

    at: float
    object: Object
    deleted: bool

    @property
    def name(self) -> str:
        """Name the object."""
        return str(self.object["metadata"]["name"])


class Watch:
    """`kubectl get --watch` in the background: every state that an object went through, with the time."""

    def __init__(self, argv: Sequence[str], told: Callable[[Seen], None] | None = None) -> None:
        self._argv = argv
        self._told = told
        self._seen: list[Seen] = []
        self._versions: set[tuple[str, str, bool]] = set()
        self._news = threading.Condition()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._closed = True
        if self._process:
            self._process.terminate()
        self._thread.join(10)

    def seen(self) -> list[Seen]:
        """Return all states so far."""
        with self._news:
            return list(self._seen)

    def latest(self) -> Seen | None:
        """Return the newest state, if any."""
        with self._news:
            return self._seen[-1] if self._seen else None

    def until(self, question: Callable[[Seen], T | None], seconds: float, since: float = 0.0) -> T:
        """Ask a question of every state seen since then, old and new, in order, until its answer is true."""
        deadline, index = time.monotonic() + seconds, 0
        while True:
            with self._news:
                while index >= len(self._seen):
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError(f"not within {seconds:g} s")
                    self._news.wait(left)
                state = self._seen[index]
            index += 1
            if state.at >= since and (answer := question(state)):
                return answer

    def _run(self) -> None:
        while not self._closed:
            with subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as self._process:
                assert self._process.stdout is not None  # noqa: S101 - for the type checker
                for line in self._process.stdout:
                    self._take(line)
            # A watch may end, as any connection; its successor begins with what is now, and the API is not hammered.
            time.sleep(0.2)

    def _take(self, line: bytes) -> None:
        at, event = epoch(), json.loads(line)
        state = Seen(at, event["object"], event["type"] == "DELETED")
        key = (state.name, state.object["metadata"]["resourceVersion"], state.deleted)
        with self._news:
            if key in self._versions:
                return
            self._versions.add(key)
            self._seen.append(state)
            self._news.notify_all()
        if self._told:
            self._told(state)
