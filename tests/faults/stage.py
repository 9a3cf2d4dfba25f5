"""One run: a namespace, an operator behind a proxy, a scenario, a fault. And what all runs share: the lab."""

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml
from urllib3.exceptions import HTTPError

from devcluster.cluster import ControlPlane
from tests.e2e.api import Access, Api, ApiError
from tests.e2e.installed import ACCOUNT, SYSTEM
from tests.e2e.recorder import Recorder
from tests.faults import clock, normal
from tests.faults.catalogue import FAULTS
from tests.faults.faults import Hands, Nothing
from tests.faults.keeper import Keeper
from tests.faults.node import Node
from tests.faults.nursery import DEFECT, Nursery
from tests.faults.plan import Learned, Names, Plan
from tests.faults.proxy import Proxy, Upstream
from tests.faults.scenarios import SCENARIOS
from tests.oracle import State, check

Json = dict[str, Any]

FOUND_WITHIN = 40.0
"""Seconds in which a run with a planted defect either ends as a clean one or has shown that it does not."""
STAYS = 0.4
"""Seconds for which it must stay there."""
REST = 6.0
"""Seconds without a write after which a run is at rest: what is superseded or rolled back goes after 5 s."""
WORDS = 4.0
"""Seconds after which a status that changes only words has been written: it waits 3 s."""


class NotSo(AssertionError):  # noqa: N818 - it reads as it is reported
    """Something did not come about."""


@dataclass
class Lab:
    """What all runs share: a control plane, a node, a nursery, and the loop in which all wires are."""

    plane: ControlPlane
    folder: Path
    token: str
    loop: asyncio.AbstractEventLoop
    upstream: Upstream
    node: Node
    nursery: Nursery
    clocked: Nursery
    """Starts operators whose own clock can be set."""
    access: Access
    people: Access
    """As `access`, for whoever tries again."""
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    def wait(self, work: Coroutine[Any, Any, Any], seconds: float = 60) -> Any:
        """Do something in the loop, from another thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)


@dataclass(frozen=True)
class Result:
    """What became of a plan."""

    plan: Plan
    outcome: str
    """ok, failed, or missed: the write that it names was not made in this run."""
    said: tuple[str, ...] = ()
    seconds: float = 0.0


class Stage:
    """One run."""

    def __init__(self, lab: Lab, plan: Plan, defect: str = "") -> None:
        self.lab, self.plan = lab, plan
        self.namespace = f"flt-{next(lab.numbers)}"
        self.api = Api(lab.people, self.namespace)
        self.recorder = Recorder(lab.access, self.namespace, gaps=FAULTS[plan.fault].alone)
        self.names = Names()
        self.proxy = Proxy(lab.upstream, self.names, self.namespace)
        self.folder = lab.folder / self.namespace
        self.folder.mkdir(parents=True)
        self.scenario = SCENARIOS[plan.scenario]
        self.patience = self.scenario.patience + FAULTS[plan.fault].lasts
        self._began = 0
        """The version at which the part began that faults strike."""
        log = self.folder / "operator.log"
        if FAULTS[plan.fault].clocked:
            more, nursery = clock.settings(self.folder), lab.clocked
        else:
            more, nursery = dict(FAULTS[plan.fault].settings), lab.nursery
        if defect:
            more |= {DEFECT: defect}
            self.patience = FOUND_WITHIN
        self.keeper = Keeper.of(nursery, self.namespace, self._kubeconfig(), log, self._told, more)
        hands = Hands(
            self.keeper.kill, lambda: self._began, self._way, self.namespace, self.folder, self.keeper.clock, lab.upstream,
            self.proxy, lab.node, lab.plane,
        )  # fmt: skip
        self.fault: Nothing = FAULTS[plan.fault](plan, hands)

    # --- life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.api.apply({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": self.namespace}})
        with suppress(ApiError):  # made here, no pod has to wait for a controller to make it
            self.api.create({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}})
        self.lab.wait(self._give_rights())
        self.recorder.start()
        self.lab.wait(self.proxy.start())
        self._kubeconfig()
        self.keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.release()
        self.recorder.stop()
        self.lab.wait(self.proxy.stop())
        with suppress(ApiError, HTTPError):  # among the addresses of thousands it takes ever longer to find a free one
            for service in self.api.list("Service")["items"]:
                self.api.delete("Service", service["metadata"]["name"])

    def _kubeconfig(self) -> Path:
        file = self.folder / "kubeconfig"
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{self.proxy.port}"}}],
            "users": [{"name": "it", "user": {"token": self.lab.token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }  # fmt: skip
        file.write_text(yaml.safe_dump(config))
        return file

    async def _give_rights(self) -> None:
        """Bind the operator's role in this namespace only: so a run can lose its rights alone."""
        api = "rbac.authorization.k8s.io"
        body = {
            "apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": {"name": "operator"},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM}],
        }  # fmt: skip
        path = f"/apis/{api}/v1/namespaces/{self.namespace}/rolebindings"
        answer = await self.lab.upstream.ask("POST", path, body)
        assert answer.succeeded, answer.body

    def _told(self, change: str) -> None:
        self.recorder.note(change)

    def _way(self, is_open: bool) -> None:
        self.recorder.note("OPEN" if is_open else "BLOCKED")

    # --- going through it ----------------------------------------------------------------------------------------

    def until(self, holds: Callable[[State], object], what: str, seconds: float = 0) -> State:
        """Wait until something holds."""
        seconds = seconds or self.patience
        state = self.recorder.until(holds, seconds)
        if state is None:
            raise NotSo(f"after {seconds:.0f} s it is not so that {what}")
        return state

    def normal(self, state: State) -> Json:
        """Return a state in its normal form."""
        return normal.end_state(state, self.names)

    def prepare(self, wanted: Json | None) -> None:
        """Set the stage, up to the state in which a clean run was at rest."""
        self.scenario.prepare(self)
        if wanted is None:
            self.rest()
        else:
            self._reach(wanted, "the stage is set")

    def act(self) -> None:
        """Let the fault loose, and do what people do."""
        self.recorder.catch_up(self.patience)
        self._began = self.recorder.version
        self.lab.loop.call_soon_threadsafe(self.proxy.arm, self.fault)
        self.scenario.act(self)

    def rest(self) -> None:
        """Wait until the operator has written nothing for a while."""
        deadline = time.monotonic() + self.patience
        while (quiet := time.monotonic() - self.proxy.last_write) < REST:
            if time.monotonic() > deadline:
                raise NotSo(f"the operator does not come to rest within {self.patience:.0f} s")
            time.sleep(REST - quiet + 0.01)
        self.recorder.catch_up(self.patience)

    def _reach(self, wanted: Json, what: str) -> None:
        phase = wanted.get("TradingRelease shop", {}).get("phase")

        def there(state: State) -> bool:
            return state.status().get("phase") == phase and self.normal(state) == wanted

        try:
            self.until(there, what)
        except NotSo as error:
            found = normal.differences(wanted, self.normal(self.recorder.state()))
            raise NotSo("\n".join([str(error), *found])) from None

    def end(self, learned: Learned) -> None:
        """Wait for the end of the clean run, let the fault finish, and see that the end is one."""
        if self.fault.compares == "ends":
            self._end_somehow()
            return
        self._reach(learned.end, "the run ends as a clean one")
        self.fault.struck.wait(WORDS)  # what it waits for may be a word that is written late
        self._finish_fault()
        deadline = time.monotonic() + self.patience
        while True:
            self._reach(learned.end, "the run ends as a clean one once the fault is over")
            if self.recorder.until(lambda s: self.normal(s) != learned.end, STAYS) is None:
                return
            if time.monotonic() > deadline:
                raise NotSo("the run does not stay at its end")

    def _end_somehow(self) -> None:
        """Wait for the end of the scenario where the fault leaves traces: ended, and at rest."""
        if not self.fault.ends:
            self.until(self.scenario.ends, "the scenario ends")
        self.fault.struck.wait(WORDS)  # what it waits for may come after what the scenario ends by
        self._finish_fault()
        ends = self.fault.ends or self.scenario.ends
        self.until(ends, "the scenario ends once the fault is over")
        self.rest()
        self.until(ends, "the scenario has ended, and stays so", 1)

    def _finish_fault(self) -> None:
        if self.fault.struck.is_set():
            self.lab.wait(self.fault.at_rest(), self.patience)
        self.recorder.catch_up(self.patience)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return what was created and deleted."""
        return normal.created_and_deleted(self.recorder.history(), self.names)

    def violations(self) -> list[str]:
        """Return the invariants that did not hold, but for those that the fault itself breaks."""
        allowed = self.fault.allows
        found = check(self.recorder.history())
        return [str(v) for v in found if not any(v.rule == rule and words in v.text for rule, words in allowed)]

    def _counted(self, learned: Learned) -> list[str]:
        """Say what was created or deleted more or less often than in a clean run, and than the fault explains."""
        wanted, found = _listed(learned.counts), _listed(self.counts())
        brought = {self.names.plain(name) for name in self.fault.brought}
        for key, clean in wanted.items():
            room = self.fault.blind + (key.partition(" ")[2] in brought)
            if found.get(key) in ([count + more for count in clean] for more in range(1, room + 1)):
                wanted[key] = found[key]
        return normal.differences(wanted, found)

    def judge(self, learned: Learned) -> list[str]:
        """Return what does not hold of a run that came to its end."""
        said = self.violations() + self.fault.verdict(self.recorder.state(), learned)
        if self.fault.compares == "same":
            said += [f"created, deleted: {line}" for line in self._counted(learned)]
            told = normal.said(self.recorder.state())
            said += [f"Events: {line}" for line in normal.differences(self.fault.expects(learned.said, told), told)]
        most = 3 * learned.reconciles + 60
        if (looks := self.keeper.reconciles()) > most:
            said.append(f"{looks} reconciles, {most} are enough (a clean run takes {learned.reconciles})")
        more = 2 * len(learned.writes) + 20
        if len(self.proxy.writes) > more:
            said.append(f"{len(self.proxy.writes)} writes, {more} are enough (a clean run makes {len(learned.writes)})")
        said += [f"the operator ended by itself: {crash}" for crash in self.keeper.crashes]
        return said + [f"S7: {path} is not the release's" for path in sorted(self.proxy.strays)]


def _listed(counts: dict[str, tuple[int, int]]) -> Json:
    return {name: list(pair) for name, pair in counts.items()}


def learn(lab: Lab, scenario: str) -> Learned:
    """Go through a scenario without any fault, twice as patiently, and remember everything."""
    with Stage(lab, Plan(scenario, "clean")) as stage:
        stage.prepare(None)
        setup = stage.normal(stage.recorder.state())
        began = time.monotonic()
        stage.act()
        stage.until(stage.scenario.ends, "the scenario ends")
        stage.rest()
        seconds = stage.proxy.last_write - began
        broken = check(stage.recorder.history())
        if broken or stage.keeper.exits:
            raise NotSo("\n".join(["a clean run is not clean:", *map(str, broken), f"exits {stage.keeper.exits}"]))
        state = stage.recorder.state()
        return Learned(
            setup, stage.normal(state), stage.counts(), normal.said(state), tuple(stage.proxy.writes), tuple(stage.proxy.events),
            stage.keeper.reconciles(), seconds,
        )  # fmt: skip


def run(lab: Lab, plan: Plan, learned: Learned, defect: str = "") -> Result:
    """Go through a plan; with a defect of tests/model/bugs.py planted into the operator, to see that it is found."""
    began = time.monotonic()
    with Stage(lab, plan, defect) as stage:
        try:
            stage.prepare(learned.setup)
            stage.act()
            stage.end(learned)
            said = stage.judge(learned)
        except (NotSo, AssertionError, ApiError, HTTPError, TimeoutError) as error:
            said = [str(error) or repr(error)]
            with suppress(AssertionError):  # the recorder itself may have said so
                said += stage.violations()
        if said:
            said += [f"writes: {', '.join(map(str, stage.proxy.writes[-40:]))}", f"exits: {stage.keeper.exits}"]
            said += ["the operator's last words:", *stage.keeper.words(), f"(all of them: {stage.keeper.log})"]
        seconds = time.monotonic() - began
        if said:
            return Result(plan, "failed", tuple(said), seconds)
        return Result(plan, "ok" if stage.fault.struck.is_set() else "missed", (), seconds)
