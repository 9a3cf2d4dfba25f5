"""`python -m demo`: a whole day of releases, under load. Exit code 0 only if every step did what it should."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from demo import report, setup
from demo.kubectl import Kubectl, KubectlError, Seen, Watch, epoch
from demo.story import RELEASE, Release, Story, Told, Watches, WrongTurnError, component_versions, moves, step
from demo.view import BOLD, DIM, GREEN, RED, Palette, View, paint, traffic_lines
from devcluster.cluster import ClusterNotRunning, StepFailedError
from loadgen import IncompleteError, Load, Records

NAMESPACE = "trading"
LIFETIME = 40  # requests that a kept connection serves: about ten seconds
STATE = Path(__file__).resolve().parent.parent / ".devcluster"
SWITCHED = ("2.0.0", "4.0.0", "5.0.0", "6.0.0")
BAD, RESTORED = "4.0.0", "2.0.0"
EXPECTED_STEPS = 12
TROUBLE = (
    WrongTurnError,
    setup.SetupError,
    KubectlError,
    IncompleteError,
    TimeoutError,
    ClusterNotRunning,
    StepFailedError,
)


@dataclass
class Demo:
    """One run: what it works with, as far as it has come."""

    name: str
    rate: float
    view: View
    told: Told
    stack: ExitStack
    kubectl: Kubectl | None = None
    releases: Watch | None = None
    services: Watch | None = None
    load: Load | None = None
    last_word: tuple[str, str] = ("", "")

    def run(self) -> None:
        """Prepare, and tell the story."""
        kubectl = self._prepare()
        self.releases = self.stack.enter_context(kubectl.watch("tradingreleases", told=self._hear))
        self.services = self.stack.enter_context(kubectl.watch("services"))
        orders = self.stack.enter_context(kubectl.watch("releasecommands"))
        load = self._start_load(kubectl)
        story = Story(kubectl, self.view, load, Watches(self.releases, self.services, orders), self.told)
        self._step("Adopt what runs, and release 2.0.0", story.release_v2)
        self._step("Refuse 3.0.0, which crashes", story.refuse_v3)
        self._step("Switch to 4.0.0, which turns bad in production, and back again by itself", story.survive_v4)
        self._step("Release 5.0.0, which is good", story.release_v5)
        self._step("Roll back from 5.0.0 by an order", story.order_rollback)
        self._step("Release 6.0.0 by the whole checklist", story.release_v6)

    def _prepare(self) -> Kubectl:
        with step(self.told, self.view, "A cluster with nodes"):
            cluster = setup.cluster(self.name, self.view)
            self.kubectl = kubectl = Kubectl(cluster, NAMESPACE)
        self._step(
            "The images of the operator, of the example and of its stores", lambda: setup.images(cluster, self.view)
        )
        self._step("Install CRDs and operator", lambda: setup.operator(cluster, self.view))
        self._step("The trading platform as it runs today", lambda: setup.application(kubectl, self.view))
        self._step("PostgreSQL, Redis and Prometheus beside it", lambda: setup.stores(kubectl, self.view))
        return kubectl

    def _start_load(self, kubectl: Kubectl) -> Load:
        with step(self.told, self.view, "Users on all three Services"):
            load = Load(
                setup.targets(kubectl),
                STATE / "demo.jsonl",
                rate=self.rate,
                lifetime=LIFETIME,
                prefix=kubectl.argv("exec", "--stdin", "load", "--"),
                python="python3",
            )
            self.load = load.start()
            self.stack.callback(load.close)
            self.view.say(f"{self.rate:g} requests/s from a pod, on new connections and on kept ones, until the end")
        palette = Palette()
        self.view.show(lambda: self._picture(load, palette))
        return load

    def _step(self, name: str, what: Callable[[], None]) -> None:
        with step(self.told, self.view, name):
            what()

    def _hear(self, seen: Seen) -> None:
        """Tell what the operator says when it says something new."""
        release = Release(seen.object)
        ready = release.condition("Ready")
        word = (str(release.status.get("phase", "")), ready.get("reason", ""))
        if word != self.last_word and any(word):
            self.last_word = word
            self.view.say(f"  operator: {word[0]}: {ready.get('message', '')}", DIM)

    def _picture(self, load: Load, palette: Palette) -> Sequence[str]:
        """Draw the release and its traffic, as they are now."""
        seen = self.releases.latest() if self.releases else None
        release = Release(seen.object if seen else {})
        counts = load.count()
        bad = sum(count for (version, failed), count in counts.items() if failed and version == BAD)
        failed = sum(count for (_, failed), count in counts.items() if failed) - bad
        ready = release.condition("Ready")
        columns = {
            "LIVE": release.live or "-",
            "CANDIDATE": release.candidate or "-",
            "PHASE": str(release.status.get("phase", "-")),
            "READY": ready.get("status", "-"),
            "ROLLBACK-UNTIL": release.rollback_until or "-",
        }
        counted = f"{counts.total()} requests, {paint(f'{failed} failed', RED if failed else GREEN)}"
        return [
            "",
            "  " + "   ".join(f"{paint(name, DIM)} {paint(value, BOLD)}" for name, value in columns.items()),
            f"  {paint(ready.get('message', ''), DIM)}",
            *traffic_lines(load.records(epoch() - 1), setup.SERVICES, palette),
            f"  {counted}, {bad} answered badly by {BAD}",
        ]


def numbers(demo: Demo, records: Records) -> dict[str, object]:
    """Put what happened into the numbers of the summary; the docstring of `report` says what each is."""
    told = demo.told
    moved = moves(demo.services.seen()) if demo.services else []
    version_of = component_versions(demo.releases.seen()) if demo.releases else {}
    first = report.first_moves(moved)
    switch_ms = [
        ms
        for version in SWITCHED
        for ms in report.switch_ms(records, [m for m in first if version_of.get(m.to) == version], version)
    ]
    outages = report.outages(records, BAD, RESTORED)
    rollback_ms = [outage.ms for outage in outages]
    if told.ordered:
        rollback_ms += report.ordered_rollback_ms(records, setup.SERVICES, RESTORED, told.ordered)
    by_bad = len(report.excused(records, BAD, outages))
    failed = len(records.failed()) - by_bad
    whole = len(told.steps) == EXPECTED_STEPS and all(each.ok for each in told.steps)
    return {
        "requests": len(records),
        "failed": failed,
        "failed_by_bad_version": by_bad,
        "bad_version_ms": _ms(max((outage.ms for outage in outages), default=0.0)),
        "mixed_version_ms": _ms(report.mixed_version_ms(records, moved)),
        "switch_ms": [_ms(ms) for ms in switch_ms],
        "rollback_ms": [_ms(ms) for ms in rollback_ms],
        "refused_after_ms": _ms(told.refused_after_ms),
        "steps": [asdict(each) for each in told.steps],
        "ok": whole and failed == 0 and len(records) > 0,
    }


def summary(found: dict[str, object], records: Records) -> list[str]:
    """Write the numbers for people."""
    latency = f"latency p50 {records.latency_ms(0.5):.1f} ms, p99 {records.latency_ms(0.99):.1f} ms"
    bad, bad_ms = found["failed_by_bad_version"], found["bad_version_ms"]
    lines = [
        f"{found['requests']} requests at {records.rate():.0f}/s, {found['failed']} failed",
        f"{bad} answered badly by {BAD} in {bad_ms} ms, until it was rolled back",
        f"{found['mixed_version_ms']} ms of two versions on one Service",
        f"switch, per Service, until users met the new version: {found['switch_ms']} ms",
        f"rollback, per Service, from its cause until users met the old one: {found['rollback_ms']} ms",
        f"3.0.0 refused after {found['refused_after_ms']} ms",
        f"{latency}; {len(records.retried())} kept connections were closed under a request, which was sent again",
    ]
    if (lag := records.lag_ms(0.99)) > 100:
        lines.append(f"this machine is busy: the load itself was late by {lag:.0f} ms (p99), which the numbers contain")
    return lines


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser("demo", description=__doc__)
    parser.add_argument("--name", default=os.environ.get("NAME") or "dev", help="the cluster's name (NAME, dev)")
    parser.add_argument("--rate", type=float, default=150.0, help="requests per second, all together (150)")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with View() as view, ExitStack() as stack:
        demo = Demo(wanted.name, wanted.rate, view, Told(), stack)
        try:
            demo.run()
        except TROUBLE as trouble:
            view.say(f"{type(trouble).__name__}: {trouble}", RED)
            if demo.kubectl:
                view.say(setup.diagnosis(demo.kubectl, RELEASE))
        except KeyboardInterrupt:
            view.say("interrupted")
            return 130
        return _finish(demo)


def _finish(demo: Demo) -> int:
    """Stop the load, report, and say what is left."""
    records = Records()
    if demo.load:
        try:
            records = demo.load.stop()
        except IncompleteError as error:
            demo.view.say(str(error), RED)
            demo.told.steps[-1].ok = False
            records = demo.load.records()
    found = numbers(demo, records)
    STATE.mkdir(exist_ok=True)
    (STATE / "demo.json").write_text(json.dumps(found, indent=2) + "\n")
    demo.view.say("")
    for line in summary(found, records):
        demo.view.say(line, BOLD)
    outages = report.outages(records, BAD, RESTORED)
    excused = set(report.excused(records, BAD, outages))
    for record in [record for record in records.failed() if record not in excused][:10]:
        demo.view.say(f"failed: {record.to_json()}", RED)
    demo.view.say("the same numbers are in .devcluster/demo.json")
    demo.view.say(f"the cluster runs on: devcluster/exec kubectl get tr -n {NAMESPACE}   (NAME={demo.name})")
    demo.view.say(f"to remove it: make cluster-down NAME={demo.name}")
    demo.view.say("everything did what it should" if found["ok"] else "NOT everything did what it should", BOLD)
    return 0 if found["ok"] else 1


def _ms(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else round(value, 1)


if __name__ == "__main__":
    sys.exit(main())
