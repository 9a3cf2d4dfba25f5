"""The story: what is done, what must become true of it, and by when.

Every step waits by watching. A step that does not come true by its deadline, or turns out otherwise, ends the
story; what the load saw is reported all the same.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

from demo.kubectl import Kubectl, Object, Seen, Watch, epoch
from demo.report import Move
from demo.setup import EXAMPLE, SERVICES
from demo.view import BOLD, DIM, GREEN, RED, View
from loadgen import Load, Record, Records
from loadgen.record import Mode

RELEASE = "trading-platform"
TOLD_WITHIN = 30.0
REVISION_KEY = "tradingplatform.io/revision"
COLUMNS = "select column_name from information_schema.columns where table_name = 'orders'"
T = TypeVar("T")


class WrongTurnError(Exception):
    """Something happened that should not have."""


@dataclass(frozen=True)
class Release:
    """The parts of a TradingRelease that the story is about."""

    object: Object

    @property
    def status(self) -> Object:
        """Return the status; empty before the operator's first word."""
        found: Object = self.object.get("status") or {}
        return found

    @property
    def fresh(self) -> bool:
        """Whether the status speaks of the newest spec."""
        return bool(self.status.get("observedGeneration") == self.object["metadata"]["generation"])

    @property
    def live(self) -> str:
        """Return the version that is live."""
        return str(self.part("live").get("version", ""))

    @property
    def candidate(self) -> str:
        """Return the version that is being prepared."""
        return str(self.part("candidate").get("version", ""))

    @property
    def latched(self) -> dict[str, str]:
        """Return the latched revisions, each with its message (or its reason)."""
        return {entry["revision"]: entry.get("message") or entry.get("reason", "") for entry in self._list("latched")}

    @property
    def rollback_until(self) -> str:
        """Say until when a rollback is instant."""
        return str(next((entry.get("until", "") for entry in self._list("retained")), ""))

    def part(self, name: str) -> Object:
        """Return an object of the status."""
        found: Object = self.status.get(name) or {}
        return found

    def condition(self, name: str) -> dict[str, str]:
        """Return a condition; empty while there is none."""
        found: dict[str, str] = next((c for c in self._list("conditions") if c["type"] == name), {})
        return found

    def ready(self, version: str) -> bool:
        """Whether that version is the spec, live and proven."""
        proven = self.condition("Ready").get("status") == "True"
        return self.fresh and proven and self.live == self.object["spec"]["version"] == version

    def _list(self, name: str) -> list[Any]:
        return self.status.get(name) or []


@dataclass
class Step:
    """One step as it went."""

    name: str
    ok: bool = False
    seconds: float = 0.0


@dataclass
class Told:
    """What the story leaves behind for the report."""

    steps: list[Step] = field(default_factory=list)
    refused_after_ms: float | None = None
    ordered: float | None = None  # when the order to roll back was stored, as a watch saw it


@dataclass(frozen=True)
class Watches:
    """The watches of the namespace."""

    releases: Watch
    services: Watch
    orders: Watch


@dataclass
class Story:
    """The steps that need the cluster, the operator, the application and the load."""

    kubectl: Kubectl
    view: View
    load: Load
    watches: Watches
    told: Told

    def release_v2(self) -> None:
        """Adopt what runs today, and release version 2."""
        applied = self._apply("release-v2.yaml")
        self._becomes_ready("2.0.0", 240, applied)
        self._all_answered_by("2.0.0", applied)
        self.view.say("2.0.0 is live and proven; today's Deployments no longer serve, and are yours to remove")

    def refuse_v3(self) -> None:
        """Refuse version 3, which crashes, while version 2 goes on serving."""
        before = self._now().latched
        applied = self._apply("release-v3.yaml")
        refused = self._release("3.0.0 is refused", _newly_latched(before), 120, applied)
        self.told.refused_after_ms = (refused.at - applied) * 1000
        self.view.say(f"refused: {refused.why}")
        self._insist(refused.release.live == "2.0.0", "2.0.0 is no longer live")
        self._insist(
            not [move for move in moves(self.watches.services.seen()) if move.at >= applied], "a Service was moved"
        )
        self._insist(not self.load.records().of(version="3.0.0").all, "3.0.0 answered a user")

    def survive_v4(self) -> None:
        """Switch to version 4, which turns bad in production, and see it rolled back by itself."""
        before = self._now().latched
        applied = self._apply("release-v4.yaml")
        self._release("4.0.0 is live", lambda seen: Release(seen.object).live == "4.0.0", 120, applied)
        self.view.say("4.0.0 passed every test and is live; under real traffic its backend is about to fail")
        bad = self._traffic("4.0.0 turns bad", lambda seen: _first(seen.of(version="4.0.0").failed()), 30, applied)
        self.view.say(f"the first bad answer, from {bad.target}", 31)
        back = self._release("4.0.0 is latched", _newly_latched(before), 60, applied)
        self._release("2.0.0 is live", lambda seen: Release(seen.object).live == "2.0.0", 30, back.at)
        self._all_answered_by("2.0.0", bad.sent)
        self.view.say(f"rolled back by itself: {back.why}")
        self._nobody_meets("4.0.0")

    def release_v5(self) -> None:
        """Release version 5, which is good."""
        applied = self._apply("release-v5.yaml")
        self._becomes_ready("5.0.0", 240, applied)
        self._all_answered_by("5.0.0", applied)

    def order_rollback(self) -> None:
        """Roll back by an order, as a person would."""
        order: Object = yaml.safe_load((EXAMPLE / "rollback.yaml").read_text())
        order["spec"]["revision"] = self._now().part("live")["revision"]
        made = self.kubectl("create", "--filename=-", "--output=name", stdin=yaml.safe_dump(order)).strip()
        self.told.ordered = self.watches.orders.until(lambda seen: seen.at, 10)
        self.view.say(f"ordered: {made}")
        self._all_answered_by("2.0.0", self.told.ordered)
        answer = self._answer(made)
        self._insist(answer["phase"] == "Done", f"the order was {answer['phase']}: {answer.get('message', '')}")
        self.view.say(f"done: {answer.get('message', '')}")
        self._release("2.0.0 is live", lambda seen: Release(seen.object).live == "2.0.0", 30, self.told.ordered)
        self._nobody_meets("5.0.0")

    def release_v6(self) -> None:
        """Release version 6 by the checklist: migration, smoke test, a second person, cache flush, error rate, logs."""
        applied = self._apply("release-v6.yaml", who="anna")
        waiting = self._on_its_way("6.0.0 waits for a second person", _asks_for_people, 120, applied)
        self._insist("venue" in self._in("postgres", "psql", "-qAtc", COLUMNS), "the migration has not been done")
        self.view.say("the database is migrated, live was found well after it, and the smoke test of green is green")
        own = self._approve("anna", waiting)
        self._insist(own["phase"] == "Refused", f"anna's own approval was {own['phase']}")
        self.view.say(f"anna may not approve it herself: {own.get('message', '')}")
        given = self._approve("bob", waiting)
        self._insist(given["phase"] == "Done", f"bob's approval was {given['phase']}: {given.get('message', '')}")
        self.view.say(f"bob may: {given.get('message', '')}")
        watched = self._on_its_way("the checks of 6.0.0 pass", _checks_pass, 120, applied)
        self.view.say(f"hooks: {_each(watched, 'hooks', 'phase')}; checks: {_each(watched, 'checks', 'verdict')}")
        self._insist(self._in("redis", "redis-cli", "-e", "DBSIZE").strip() == "0", "the cache is not empty")
        self._becomes_ready("6.0.0", 120, applied)
        self._all_answered_by("6.0.0", applied)
        self._team_is_told(["ApprovalWanted", "Approved", "Switched (Promoted)", "Proven"])

    # What the steps are made of

    def _apply(self, manifest: str, who: str = "") -> float:
        as_whom = f" --as={who}" if who else ""
        self.view.say(f"$ kubectl apply -f {EXAMPLE.parent.name}/{EXAMPLE.name}/{manifest}{as_whom}")
        at = epoch()
        self.kubectl("apply", "--filename", str(EXAMPLE / manifest), *_as(who))
        return at

    def _approve(self, who: str, waiting: Release) -> Object:
        """Let somebody approve what waits; the answer."""
        order: Object = yaml.safe_load((EXAMPLE / "approve.yaml").read_text())
        candidate = waiting.part("candidate")
        order["spec"] |= {"revision": candidate["revision"], "attempt": candidate["attempt"]}
        made = self.kubectl("create", "--filename=-", "--output=name", *_as(who), stdin=yaml.safe_dump(order)).strip()
        return self._answer(made)

    def _answer(self, order: str) -> Object:
        self.kubectl("wait", order, "--for=jsonpath={.status.phase}", "--timeout=30s")
        answer: Object = self.kubectl.get(order)["status"]
        return answer

    def _team_is_told(self, reasons: Sequence[str]) -> None:
        """Wait until the team's chat room has heard of each of these about version 6, in this order."""
        deadline = time.monotonic() + TOLD_WITHIN
        heard: list[str] = []
        while [line.partition(" trading/")[0] for line in heard] != list(reasons):
            self._insist(time.monotonic() < deadline, f"the team was not told of {', '.join(reasons)}, but: {heard}")
            time.sleep(0.5)
            lines = self.kubectl("logs", "team-chat").splitlines()
            heard = [line for line in lines if "version 6.0.0" in line and line.startswith(tuple(reasons))]
        for line in heard:
            self.view.say(f"  in the team's chat room: {line}", DIM)

    def _in(self, store: str, *command: str) -> str:
        return self.kubectl("exec", f"deployment/{store}", "--", *command)

    def _becomes_ready(self, version: str, seconds: float, since: float) -> None:
        """Wait as CI does, for the condition Ready, but do not wait on when it has failed."""
        self._on_its_way(f"{version} is live and proven", lambda release: release.ready(version), seconds, since)

    def _on_its_way(self, what: str, holds: Callable[[Release], bool], seconds: float, since: float) -> Release:
        """Wait for something to be true of a release that must not be given up meanwhile."""
        refused = _newly_latched(self._now().latched)

        def come(seen: Seen) -> Release | None:
            if failed := refused(seen):
                raise WrongTurnError(f"{what}: it was given up: {failed.why}")
            release = Release(seen.object)
            return release if holds(release) else None

        return self._release(what, come, seconds, since)

    def _all_answered_by(self, version: str, since: float) -> None:
        """Wait until every Service answers new connections with that version."""
        for service in SERVICES:

            def answered(seen: Records, service: str = service) -> bool:
                newest = seen.of(target=service, mode=Mode.NEW).last_answer()
                return newest is not None and newest.version == version and newest.sent >= since

            self._traffic(f"{service} answers new connections with {version}", answered, 30, epoch() - 5)

    def _nobody_meets(self, version: str) -> None:
        """Wait until nobody has met that version for two seconds, on connections kept since before neither."""

        def gone(_: Records) -> bool:
            recent = self.load.records(epoch() - 2)
            return len(recent) > 50 and not recent.of(version=version).all

        self._traffic(f"nobody meets {version}", gone, 60, epoch())
        self.view.say(f"the last connections to {version} have ended, drained")

    def _release(self, what: str, question: Callable[[Seen], T | None], seconds: float, since: float) -> T:
        """Wait for something to be true of the release."""
        try:
            return self.watches.releases.until(question, seconds, since)
        except TimeoutError as error:
            ready = self._now().condition("Ready")
            raise WrongTurnError(f"{what}: {error}; it says {ready.get('reason')}: {ready.get('message')}") from error

    def _traffic(self, what: str, question: Callable[[Records], T | None], seconds: float, since: float) -> T:
        """Wait for something to be true of what users meet."""
        try:
            return self.load.wait_for(question, seconds, since)
        except TimeoutError as error:
            raise WrongTurnError(f"{what}: {error}") from error

    def _now(self) -> Release:
        seen = self.watches.releases.latest()
        return Release(seen.object if seen else {})

    def _insist(self, so: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion that stays with -O
        if not so:
            raise WrongTurnError(otherwise)


@dataclass(frozen=True)
class Latched:
    """A revision that was just latched."""

    at: float
    release: Release
    why: str


@contextmanager
def step(told: Told, view: View, name: str) -> Iterator[None]:
    """Tell a step, time it, and note whether it did what it should."""
    this, began = Step(name), time.monotonic()
    told.steps.append(this)
    view.say("")
    view.say(f"{len(told.steps)}. {name}", BOLD)
    try:
        yield
        this.ok = True
    finally:
        this.seconds = round(time.monotonic() - began, 1)
        view.say(f"   {'done' if this.ok else 'FAILED'} in {this.seconds:g} s", GREEN if this.ok else RED)


def moves(seen: list[Seen]) -> list[Move]:
    """Find the moves of the application's Services among all states of Services."""
    found, last = [], dict[str, str]()
    for state in seen:
        key = (state.object["spec"].get("selector") or {}).get(REVISION_KEY, "")
        if state.name in SERVICES and key != last.get(state.name, ""):
            found.append(Move(state.name, state.at, key))
            last[state.name] = key
    return found


def component_versions(seen: list[Seen]) -> dict[str, str]:
    """Learn from the states of the release which version each component revision belongs to."""
    found: dict[str, str] = {}
    for state in seen:
        release = Release(state.object)
        for part in (release.part("candidate"), release.part("live")):
            for component in part.get("components") or []:
                found.setdefault(component.get("revision", ""), part.get("version", ""))
    return found


def _as(who: str) -> list[str]:
    """Return the flags with which kubectl is somebody else, who may do everything."""
    return [f"--as={who}", "--as-group=system:masters"] if who else []


def _asks_for_people(release: Release) -> bool:
    return release.fresh and release.condition("Ready").get("reason") == "ApprovalPending"


def _checks_pass(release: Release) -> bool:
    checks = release.part("live").get("checks") or []
    return release.live == "6.0.0" and bool(checks) and all(check["verdict"] == "Passed" for check in checks)


def _each(release: Release, kind: str, said: str) -> str:
    """Say what became of each of live's hooks, or checks."""
    return ", ".join(f"{each['name']} {each[said]}" for each in release.part("live").get(kind) or [])


def _newly_latched(before: dict[str, str]) -> Callable[[Seen], Latched | None]:
    """Ask whether a revision is latched that was not before."""

    def question(seen: Seen) -> Latched | None:
        release = Release(seen.object)
        new = release.latched.keys() - before.keys()
        return Latched(seen.at, release, release.latched[new.pop()]) if new else None

    return question


def _first(records: Records) -> Record | None:
    return min(records, key=lambda record: record.done, default=None)
