"""Logs of real pods: what green writes judges it, and every line is taken once through restarts, rotation and breaks."""

import asyncio
import contextlib
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from tradingrelease.clock import ServerClock
from tradingrelease.cluster.api import Api, WatchAges, session
from tradingrelease.cluster.credentials import load
from tradingrelease.cluster.measure.logs import Log, Where
from tradingrelease.errors import ClusterError

from tests.e2e.builders import IMAGE, release, template
from tests.e2e.faults import kubectl
from tests.e2e.scenes import first, part, reason, rolled_back, switch_to
from tests.relay import Mode, Relay

CHECK = {
    "name": "fatal", "interval": "1s", "timeout": "1s", "failureLimit": 1, "successLimit": 2,
    "logs": {"component": "backend", "pattern": r"\b(FATAL|PANIC)\b", "allow": "drill"},
}  # fmt: skip


def write(arena, pods, text):
    """Let the main process of pods write a line."""
    for pod in pods:
        kubectl(arena, "exec", pod["metadata"]["name"], "--", "sh", "-c", f"echo '{text}' > /proc/1/fd/1")


def keep_writing(arena, pods, text):
    loop = f"while :; do echo '{text}'; sleep 0.3; done > /proc/1/fd/1 2> /dev/null &"
    for pod in pods:
        kubectl(arena, "exec", pod["metadata"]["name"], "--", "sh", "-c", loop)


def verdict(state):
    return [c["verdict"] for c in (state.status().get("live") or {}).get("checks") or ()]


def test_a_bad_line_of_green_in_its_watch_leads_back_to_blue(arena):
    first(arena, "1", part("1"))
    shown = CHECK | {"logs": CHECK["logs"] | {"showFirstLine": True}}
    state = switch_to(arena, "2", part("2", replicas=2), checks=[shown])
    arena.until(lambda s: verdict(s) == ["Passed"], "its logs are clean", 30)
    write(arena, state.pods(state.selected("backend"))[:1], "FATAL: order book lost, token=s3cr3t")
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 60)
    assert reason(state, "2") == "CheckFailed"
    said = state.status()["latched"][0]["message"]
    assert "1 bad lines in a minute, 0 allowed, 1 in all; the first: FATAL: order book lost, token=***" in said


def test_what_blue_writes_and_what_is_allowed_counts_nothing(arena):
    before = first(arena, "1", part("1"))
    keep_writing(arena, before.pods(before.selected("backend")), "PANIC: blue")
    state = switch_to(arena, "2", part("2"), checks=[CHECK], watch={"for": "8s", "deadAfter": "3s"})
    write(arena, state.pods(state.selected("backend")), "FATAL, but a drill")
    arena.until(lambda s: s.ready("2"), "version 2 is proven", 60)
    assert [s["cause"] for s in arena.switches()] == ["Promote", "Promote"]


def test_green_that_writes_bad_lines_never_gets_traffic(arena):
    before = first(arena, "1", part("1"))
    bad = {"command": ["sh", "-c", "echo PANIC at start; exec python3 app.py"]}
    arena.apply(release("2", part("2", template(version="2", **bad)), checks=[CHECK]))
    state = arena.until(lambda s: s.latched() == ["2"], "the check has failed", 60)
    assert reason(state, "2") == "CheckFailed"
    assert state.selected("backend") == before.selected("backend")
    assert "PANIC" not in state.status()["latched"][0]["message"], "not shown by default"


# --- each line once ---------------------------------------------------------------------------------------------------

WRITER = """
import os, pathlib, sys, time
state = pathlib.Path("/state/next")
at, total, crash = (int(state.read_text()) if state.exists() else 0), int(os.environ["TOTAL"]), int(os.environ["CRASH"])
filler, began, start = "x" * int(os.environ["SIZE"]), time.monotonic(), at
while at < total:
    os.write(1 if at % 3 else 2, f"{at:08} {filler} {at:08}\\n".encode())  # in one piece
    at += 1
    state.write_text(str(at))
    if at % crash == 0:
        sys.exit(1)
    time.sleep(max(began + (at - start) / float(os.environ["RATE"]) - time.monotonic(), 0))
time.sleep(3600)
"""


def writer(**env):
    """Return a pod that writes numbered lines, and goes on where it was when its container is started again."""
    box = {
        "name": "app", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-c", WRITER],
        "env": [{"name": key, "value": str(value)} for key, value in env.items()],
        "volumeMounts": [{"name": "state", "mountPath": "/state"}],
    }  # fmt: skip
    spec = {
        "containers": [box], "volumes": [{"name": "state", "emptyDir": {}}], "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "writer"}, "spec": spec}


@contextlib.asynccontextmanager
async def connected(relay, clock):
    """Return an API client whose connections the relay carries."""
    credentials = load()
    credentials.ssl_context.check_hostname = False
    credentials = replace(credentials, server=f"https://127.0.0.1:{relay.port}")
    async with session(credentials, clock, WatchAges()) as http:
        yield Api(credentials, http)


WHOLE = re.compile(r"(\d{8}) x+ \1")
CUT = re.compile(r"\d{8}(?= x)|(?<=x )\d{8}")
"""A number at the beginning or the end of a line that was cut."""


class Taken:
    """What was taken of the writer's lines: how often each, by its number, and the pieces of those that were cut."""

    def __init__(self, total):
        self.lines, self.pieces = Counter(), []
        self._written = set(range(total))

    def take(self, line):
        if WHOLE.fullmatch(line.text):
            self.lines[int(line.text[:8])] += 1
        else:
            # Behind the beginning of a cut line the kubelet puts the next line, of either stream, without a time of its own.
            self.pieces.append(WHOLE.sub("", line.text))

    def numbers(self, piece):
        """Return of which lines a piece is. One that was cut within a number tells it at its other end, in another piece."""
        return {int(number) for number in CUT.findall(piece)}

    @property
    def missing(self):
        """The numbers of lines of which nothing was taken."""
        cut = set().union(*map(self.numbers, self.pieces))
        return sorted(self._written - set(self.lines) - cut)


async def read_all(arena, relay, taken, seconds, *, breaks):
    """Follow the writer until something of each of its lines was taken."""
    where, clock = Where(arena.namespace, "writer", "app"), ServerClock()
    async with connected(relay, clock) as api:
        begin = datetime.fromtimestamp(0, UTC)
        log = Log(api, where, begin, clock.now, taken.take)
        following = asyncio.create_task(log.follow())
        deadline = time.monotonic() + seconds
        while missing := taken.missing:
            words = f"{len(missing)} lines were not taken, as {missing[:9]}; in pieces: {taken.pieces}"
            assert time.monotonic() < deadline, words
            if breaks:
                relay.set(Mode.REFUSING)
                await asyncio.sleep(0.5)
                relay.set(Mode.OPEN)
            await asyncio.sleep(2)
            with contextlib.suppress(ClusterError):
                await log.catch_up(restarts(arena))
        for _ in range(2):
            await log.catch_up(restarts(arena))
        following.cancel()


def restarts(arena):
    statuses = (arena.api.get("Pod", "writer") or {}).get("status", {}).get("containerStatuses") or ()
    return sum(status["restartCount"] for status in statuses)


def runs(state):
    return ((state.get("Pod", "writer") or {}).get("status") or {}).get("phase") == "Running"


@pytest.fixture
def relay():
    address = urlsplit(load().server)
    with Relay(address.hostname, address.port).running() as relay:
        yield relay


def test_every_line_is_taken_once_though_containers_end_and_connections_break(arena, relay):
    total = 3000
    arena.api.create(writer(TOTAL=total, CRASH=1000, SIZE=40, RATE=150))
    arena.until(runs, "it runs", 60)
    taken = Taken(total)
    asyncio.run(read_all(arena, relay, taken, 150, breaks=True))
    assert restarts(arena) >= 2
    assert taken.lines == Counter(range(total))
    assert not taken.pieces


def test_every_line_is_taken_once_though_the_log_is_rotated(arena, relay):
    """A node keeps 10 MiB in a file; what is rotated away can be read by nobody who was not there.

    The runtime copies what a busy pod wrote in blocks, and begins a new file with the block that comes next: the end of
    the line that is cut there stands in it as a line of its own. Its beginning is written to the file before, after the
    new one was made; a kubelet that follows has often turned to that by then, and tells nobody of it.
    """
    total = 20_000
    arena.api.create(writer(TOTAL=total, CRASH=total + 1, SIZE=2000, RATE=600))
    arena.until(runs, "it runs", 60)
    taken = Taken(total)
    asyncio.run(read_all(arena, relay, taken, 200, breaks=False))
    left = kubectl(arena, "logs", "writer").count("\n")
    assert left < total, "the log was rotated"
    assert set(taken.lines.values()) == {1}
    known = set(range(total))
    assert [p for p in taken.pieces if not re.fullmatch("[x0-9 ]+", p) or not taken.numbers(p) <= known] == []
    assert len(taken.pieces) <= 2 * 4, "20,000 lines of 2 kB fill four files of 10 MiB, on two streams"
    assert total - len(taken.lines) <= 2 * 4, "only what was cut is not taken as a whole"
