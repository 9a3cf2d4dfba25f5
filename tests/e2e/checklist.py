"""The release checklist on real stores: PostgreSQL, Redis and Prometheus in pods, users who never stop asking.

    def test_a_release(shop):
        shop.ask()                      # anna applies version 2: migration, smoke test, approval, flush, checks
        shop.approve("bob")
        shop.arena.until(lambda s: s.ready("2"), "version 2 is live and proven")

What a gate is about is changed by the keywords of `ask`. In the end no user may have met an error.
"""

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from loadgen import Load, Target
from tests.e2e import builders
from tests.e2e.api import Json
from tests.e2e.arena import Arena
from tests.e2e.faults import kubectl
from tests.e2e.installed import ROOT
from tests.e2e.scenes import WATCH, first, part
from tests.oracle import State, states

IMAGE = "localhost/tradingrelease/stores:dev"
STORES = ROOT / "examples" / "trading-platform" / "stores.yaml"
HOOK = "tradingplatform.io/hook"

SCHEMA = """
create table quotes (symbol text primary key, price numeric not null);
insert into quotes values ('XAU', 2650.5);
create table migrations (version text not null);
"""
EXPAND = """
alter table quotes add column last numeric;
update quotes set last = price;
insert into migrations values ('2');
"""
"""What version 2 needs, and version 1 can live with."""
CONTRACT = "alter table quotes drop column price;"
"""What version 1 cannot live with."""

SMOKE = """
import json, os, sys, urllib.request
with urllib.request.urlopen(os.environ["TRADINGRELEASE_PREVIEW_URL_BACKEND"] + "/orders") as answer:
    said = json.load(answer)
if "error" in said or said["version"] != os.environ["TRADINGRELEASE_VERSION"]:
    sys.exit(f"that is no well version {os.environ['TRADINGRELEASE_VERSION']}: {said}")
"""
"""Trusts no status: what counts is what the answer says, and who says it. It has no timeout of its own."""


def hook(name: str, at: str, *command: str, image: str = IMAGE, slow: int = 0, **fields: Any) -> Json:
    """Return a hook that runs a command in the image of the stores; `slow`: after so many seconds."""
    late = ["sh", "-c", 'sleep "$0"; exec "$@"', str(slow)] if slow else []
    container = {
        "name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": [*late, *command],
        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}}, "terminationMessagePolicy": "FallbackToLogsOnError",
    }  # fmt: skip
    # With 0 seconds a pod would be forgotten, and its Job would have failed, before its container has ended.
    pod = {"terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False, "containers": [container]}
    return {
        "name": name, "at": at, "job": {"backoffLimit": 0, "template": {"spec": pod}}, "timeout": "2m",
    } | fields  # fmt: skip


def migration(sql: str = EXPAND, *, name: str = "migrate", at: str = "BeforeGreen", **fields: Any) -> Json:
    """Return a hook that runs SQL in one transaction, statement by statement, and ends at the first error."""
    script = f"exec psql --single-transaction --set=ON_ERROR_STOP=1 --file=- <<'END'\n{sql}\nEND"
    return hook(name, at, "sh", "-c", script, **fields)


def smoke(**fields: Any) -> Json:
    """Return a hook that asks green for orders."""
    return hook("smoke", "BeforeSwitch", "python3", "-c", SMOKE, **fields)


def flush(**fields: Any) -> Json:
    """Return a hook that empties the cache. Without its option -e, redis-cli ends well whatever Redis answers."""
    return hook("flush", "AfterSwitch", "redis-cli", "-h", "redis", "-e", "FLUSHDB", **fields)


_QUICK = {"interval": "1s", "timeout": "1s", "successLimit": 2, "failureLimit": 2, "inconclusiveLimit": 3}
_MINE = 'component="$(component)", version="$(version)"'
ERRORS: Json = {
    "name": "errors", "during": ["Watch"], "initialDelay": "3s",
    "prometheus": {
        "component": "backend",
        "query": f'(sum(rate(http_requests_total{{{_MINE}, code=~"5.."}}[5s])) or vector(0))'
        f" / sum(rate(http_requests_total{{{_MINE}}}[5s]))",
        "expect": "result < 0.05",
    },
} | _QUICK  # fmt: skip
FATAL: Json = {"name": "fatal", "logs": {"component": "backend", "pattern": r"\b(FATAL|PANIC)\b"}} | _QUICK
FRESH: Json = {
    "name": "fresh", "during": ["Watch"], "initialDelay": "6s",
    "http": {
        "service": "backend", "path": "/", "port": "http",
        "expect": "response.status == 200 && response.json.source == 'database'",
    },
} | _QUICK  # fmt: skip
"""Nothing that blue left in the cache is served, once there was time to empty it."""


def quotes(version: str, column: str, mood: str = "well") -> Json:
    """Return the template of a backend that reads prices from a column."""
    program = (Path(__file__).parent / "quotes.py").read_text()
    env = {"COLUMN": column, "MOOD": mood}
    return builders.template(
        version=version, drain=True, env=env, image=IMAGE, command=["python3", "-c", program],
    )  # fmt: skip


def backend(version: str, column: str, mood: str = "well", **fields: Any) -> Json:
    """Return the backend of a version. Prometheus may ask its pods for figures, verified or not."""
    return part(version, quotes(version, column, mood), allowUnlistedServices=["backend-metrics"], **fields)


class Shop:
    """An arena with stores, version 1 live on them, and users."""

    def __init__(self, arena: Arena):
        self.arena = arena
        self.users: Load | None = None
        self._env: dict[str, str] = {}

    # --- life ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the stores, fill them, bring version 1 live, and let users come."""
        self.arena.apply(*yaml.safe_load_all(STORES.read_text()))
        self.arena.until(lambda s: all(runs(s, n) for n in ("postgres", "redis", "prometheus")), "the stores run", 120)
        self.psql(SCHEMA)
        self.redis("SET", "quote", "2650.5")
        prometheus = self.arena.api.get("Service", "prometheus") or {}
        self._env = {"TRADINGRELEASE_PROMETHEUS_URL": f"http://{prometheus['spec']['clusterIP']}:9090"}
        self.arena.operator.stop()
        self.arena.operator.start(**self._env)
        first(self.arena, "1", backend("1", "price"))
        self.users = self.arena.load("backend", rate=30, lifetime=20).start()
        self.arena.finally_(self.users.close)

    def nobody_was_failed(self) -> None:
        """Assert that every request of every user was answered well, on new and on kept connections."""
        assert self.users is not None
        records = self.users.stop()
        assert len(records) > 100
        assert not records.failed(), [record.to_json() for record in records.failed()][:10]

    def restart(self, **env: str) -> None:
        """End the operator as a lost node does, and start it anew."""
        self.arena.operator.kill()
        self.start(**env)

    def start(self, **env: str) -> None:
        """Start the operator, with the address of Prometheus."""
        self.arena.operator.start(**self._env | env)

    # --- acting --------------------------------------------------------------------------------------------------

    def ask(
        self, version: str = "2", *hooks: Json, mood: str = "well", component: Json | None = None, **spec: Any
    ) -> None:
        """Let anna apply a version. `hooks` replace those of the same names."""
        changed = {h["name"]: h for h in hooks}
        usual = {h["name"]: h for h in (migration(), smoke(), flush())}
        spec = {
            "hooks": list((usual | changed).values()), "approvals": [{"at": "BeforeSwitch"}],
            "checks": [ERRORS, FATAL], "watch": WATCH,
        } | spec  # fmt: skip
        pods = backend(version, "last", mood, **(component or {}))
        self.arena.apply_as("anna", builders.release(version, pods, **spec))

    def waits(self, version: str = "2") -> State:
        """Wait until a version is verified and waits for a person."""
        return self.arena.until(lambda s: waits_for_people(s) and s.candidate() == version, "it waits for approval", 90)

    def approve(self, who: str = "bob", **spec: Any) -> str:
        """Let somebody approve what waits; the name of the order."""
        candidate = self.waits().status()["candidate"]
        return self.arena.order_as(who, "Approve", candidate["revision"], attempt=candidate["attempt"], **spec)

    def switch(self) -> State:
        """Let bob approve, and wait until version 2 has the traffic."""
        self.approve()
        return self.arena.until(lambda s: s.live() == "2" and s.is_true("Promoted"), "version 2 is live", 60)

    def psql(self, sql: str) -> str:
        """Run SQL; what it answers, without decoration."""
        return self._in("postgres", "psql", "-qAt", "--set=ON_ERROR_STOP=1", "-c", sql)

    def redis(self, *words: str) -> str:
        """Tell Redis something; its answer."""
        return self._in("redis", "redis-cli", "-e", *words)

    def robots(self) -> Load:
        """Return a load of robots, who ask for orders: nobody minds if they fail."""
        target = Target("orders", f"{self._url()}orders")
        return Load([target], self.arena.folder / "robots.jsonl", rate=20, mode="new")

    def _in(self, store: str, *command: str) -> str:
        return kubectl(self.arena, "exec", f"deployment/{store}", "--", *command).strip()

    def _url(self) -> str:
        service = self.arena.api.get("Service", "backend") or {}
        return f"http://{service['spec']['clusterIP']}:80/"

    # --- looking -------------------------------------------------------------------------------------------------

    def quote(self) -> Json:
        """Ask as a user does; the answer."""
        address = self._url().split("/")[2]
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            return dict(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def columns(self) -> set[str]:
        """Return the columns of quotes."""
        return set(self.psql("select column_name from information_schema.columns where table_name = 'quotes'").split())

    def migrated(self) -> list[str]:
        """Return each migration that was committed, as often as it was."""
        return self.psql("select version from migrations").split()

    def flushed(self) -> int:
        """Return how often the cache was emptied, as Redis has counted."""
        told = [line for line in self.redis("INFO", "commandstats").splitlines() if line.startswith("cmdstat_flushdb:")]
        counts = dict(pair.split("=") for pair in told[0].partition(":")[2].strip().split(",")) if told else {}
        return int(counts.get("calls", 0)) - int(counts.get("failed_calls", 0))

    def when(self, holds: Callable[[State], object], what: str) -> int:
        """Return the version of the first recorded state in which something held."""
        self.arena.catch_up()
        found = next((state.version for state in states(self.arena.recorder.history()) if holds(state)), None)
        assert found is not None, f"never was it so that {what}"
        return found


def runs(state: State, name: str) -> bool:
    """Tell whether a Deployment of one pod is available."""
    status = (state.get("Deployment", name) or {}).get("status") or {}
    return bool(status.get("availableReplicas"))


def waits_for_people(state: State) -> bool:
    """Tell whether all but an approval is there."""
    return bool(state.condition("Ready")["reason"] == "ApprovalPending")


def hook_runs(state: State, name: str) -> bool:
    """Tell whether a hook runs, in a pod that has started."""
    status = state.status()
    known = [*((status.get("candidate") or {}).get("hooks") or ()), *((status.get("live") or {}).get("hooks") or ())]
    going = any(run["name"] == name and run["phase"] == "Running" for run in known)
    return going and any((pod.get("status") or {}).get("phase") == "Running" for pod in state.pods(**{HOOK: name}))


def hook_ended(state: State, name: str) -> bool:
    """Tell whether the Job of a hook is done."""
    return any(
        job["metadata"]["labels"].get(HOOK) == name and (job.get("status") or {}).get("succeeded")
        for job in state.all("Job")
    )


def verdicts(state: State) -> dict[str, str]:
    """Return the verdicts of live's checks."""
    return {c["name"]: c["verdict"] for c in (state.status().get("live") or {}).get("checks") or ()}


def why(state: State) -> str:
    """Return why version 2 is latched, in full."""
    found = next(entry for entry in state.status()["latched"] if entry["version"] == "2")
    return f"{found['reason']}: {found['message']}"
