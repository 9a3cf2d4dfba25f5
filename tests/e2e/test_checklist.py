"""The whole checklist, with a real PostgreSQL, Redis and Prometheus, under traffic of which no request may fail.

Each gate is passed, and fails, hangs and lies (it says that all is well, and it is not); and in each the operator is
killed.
"""

import subprocess
from contextlib import contextmanager, nullcontext
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e import builders
from tests.e2e.checklist import (
    CONTRACT,
    EXPAND,
    FRESH,
    HOOK,
    IMAGE,
    Shop,
    backend,
    flush,
    hook,
    hook_ended,
    hook_runs,
    migration,
    smoke,
    verdicts,
    waits_for_people,
    why,
)
from tests.e2e.faults import feel
from tests.e2e.faults import kubectl as kubectl_in
from tests.e2e.installed import logged_in
from tests.e2e.scenes import of_version, reason, revision_of, rolled_back
from tests.oracle import label
from tests.receiver import CANARY, Receiver

TOKEN = CANARY[:24]
"""As long as one of Slack."""
PROVED_SOON = {"for": "8s", "deadAfter": "3s"}


@pytest.fixture
def shop(arena):
    """Version 1 is live on stores of its own, and users come until the end."""
    shop = Shop(arena)
    shop.open()
    yield shop
    shop.nobody_was_failed()


def refused(shop, seconds=90):
    """Wait until version 2 is latched; version 1 never lost a request's worth of traffic."""
    state = shop.arena.until(lambda s: "2" in s.latched(), "version 2 is given up", seconds)
    assert state.live() == "1"
    assert len(shop.arena.switches()) == 1, "the first release"
    assert served(shop) == ("1", "cache")
    return state


def served(shop):
    """Return which version answers a user, and out of what."""
    said = shop.quote()
    return said["version"], said["source"]


def left_for_blue(shop, seconds=90):
    """Wait until version 1 is live again, by itself."""
    state = shop.arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", seconds)
    assert [move["cause"] for move in shop.arena.switches()] == ["Promote", "Promote", "Rollback"]
    return state


# --- as it should be --------------------------------------------------------------------------------------------------


@pytest.fixture
def slack(shop, access, tmp_path):
    """Let the operator tell Slack, whose plugin speaks to one host only: a proxy here passes for it."""
    receiver = Receiver()
    receiver.signs_for("hooks.slack.com", tmp_path)
    secrets, told = tmp_path / "secrets", tmp_path / "notifications.yaml"
    secrets.mkdir()
    (secrets / "team").write_text(f"slack://T1JJ3T3L2/A1BRTD4JD/{TOKEN}/?verify=no")
    often = {"batch": "100ms", "perHour": 3600}
    told.write_text(yaml.safe_dump({"targets": {"team": often}, "routes": [{"to": ["team"]}]}))
    shop.restart(
        TRADINGRELEASE_NOTIFICATIONS=str(told), TRADINGRELEASE_NOTIFICATION_SECRETS=str(secrets),
        HTTPS_PROXY=f"http://127.0.0.1:{receiver.port}", NO_PROXY=urlsplit(access.server).hostname,
    )  # fmt: skip
    yield receiver
    receiver.close()
    assert TOKEN not in shop.arena.operator.log.read_text(errors="replace") + shop.arena.operator.metrics()


def is_told(state):
    """Whether the team was told of the newest transition, and status says so."""
    status = state.status()
    return (status.get("notified") or {}).get("team") == status["transitions"][0]["number"]


def said_on_slack(slack):
    """Return the texts that Slack took, oldest first: one for each transition."""
    taken = (request.json for request in slack.got(TOKEN, took=True))
    return [attachment["text"] for message in taken for attachment in message["attachments"]]


def test_a_release_goes_by_the_whole_checklist_in_its_order(shop, slack):
    arena = shop.arena
    shop.ask(watch=PROVED_SOON)
    shop.waits()
    assert shop.columns() >= {"price", "last"}
    assert served(shop) == ("1", "cache")
    own = shop.approve("anna", issuedBy="bob")
    arena.until(lambda s: s.order(own).get("reason") == "ByAuthor", "nobody approves what is her own, under any name")
    second = shop.approve("bob", reason="the smoke test is green")
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 90)
    order = [
        shop.when(lambda s: hook_ended(s, "migrate"), "the migration is done"),
        shop.when(lambda s: of_version(s, "2"), "green is deployed"),
        shop.when(lambda s: hook_ended(s, "smoke"), "the smoke test has passed"),
        shop.when(waits_for_people, "a second person is asked"),
        shop.when(lambda s: s.get("ReleaseCommand", second), "bob approves"),
        shop.when(lambda s: s.selected("backend") == state.selected("backend"), "traffic moves"),
    ]
    # The watch begins with the switch: its checks and the hook after it end in any order, and both before it is proven.
    watched = [
        shop.when(lambda s: hook_ended(s, "flush"), "the cache is empty"),
        shop.when(lambda s: verdicts(s) == {"errors": "Passed", "fatal": "Passed"}, "figures and logs are well"),
    ]
    proven = shop.when(lambda s: s.ready("2"), "it is proven")
    assert order == sorted(order)
    assert all(order[-1] < version < proven for version in watched)
    assert (shop.migrated(), shop.flushed()) == (["2"], 1)
    assert served(shop) == ("2", "database")
    (given,) = state.status()["history"][0]["approvals"]
    assert (given["by"], given["reason"]) == ("bob", "the smoke test is green")
    slack.until(lambda: any("*Proven*" in text for text in said_on_slack(slack)), "Slack is told that it is proven")
    told = "\n".join(said_on_slack(slack))
    steps = [
        "hook migrate of version 2 (BeforeGreen) succeeded", "hook smoke of version 2 (BeforeSwitch) succeeded",
        "*ApprovalWanted*", "by bob: the smoke test is green", "*Switched (Promoted)*", "version 2 is live",
        "hook flush of version 2 (AfterSwitch) succeeded", "*Proven*",
    ]  # fmt: skip
    places = [told.find(step) for step in steps]
    assert -1 not in places, dict(zip(steps, places, strict=True))
    assert places == sorted(places), told
    assert "To roll back to version 1:" in told
    assert "create -f -" in told
    arena.until(is_told, "status says that the team was told of all", 40)
    arena.settled(3)


@pytest.mark.parametrize("gate", ["migrate", "smoke", "approval", "flush", "watch"])
def test_an_operator_that_is_killed_in_the_middle_of_a_gate_does_nothing_twice_and_leaves_nothing_out(shop, gate):
    arena = shop.arena
    slow = {gate: {"slow": 5}}
    hooks = [f(**slow.get(n, {})) for n, f in (("migrate", migration), ("smoke", smoke), ("flush", flush))]
    shop.ask("2", *hooks, watch=PROVED_SOON)
    if gate in {"migrate", "smoke"}:
        arena.until(lambda s: hook_runs(s, gate), f"{gate} runs", 60)
        shop.restart()
    shop.waits()
    if gate == "approval":
        arena.operator.kill()
        shop.approve()
        shop.start()
    else:
        shop.approve()
    if gate == "flush":
        arena.until(lambda s: hook_runs(s, gate), "the cache is being emptied", 60)
        shop.restart()
    if gate == "watch":
        arena.until(lambda s: "Passed" in verdicts(s).values(), "it is watched", 60)
        shop.restart()
    state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 90)
    assert (shop.migrated(), shop.flushed()) == (["2"], 1)
    assert sorted(label(job, HOOK) for job in state.all("Job")) == ["flush", "migrate", "smoke"]
    assert sorted(label(pod, HOOK) for pod in state.all("Pod") if label(pod, HOOK)) == ["flush", "migrate", "smoke"]
    assert [move["cause"] for move in arena.switches()] == ["Promote", "Promote"]


# --- before the switch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hooks", "mood", "words"),
    [
        (
            [migration("alter table no_such_table add column last numeric;")], "well",
            ["hook migrate failed: BackoffLimitExceeded", "exit code 3", "no_such_table", "logs job/shop-migrate-"],
        ),
        ([], "broken", ["hook smoke failed", "exit code 1", "HTTP Error 500"]),
        ([], "lie", ["hook smoke failed", "exit code 1", "no prices"]),
    ],
    ids=["the migration fails", "green fails the smoke test", "green lies to the smoke test"],
)  # fmt: skip
def test_a_hook_that_fails_keeps_green_from_the_traffic(shop, hooks, mood, words):
    shop.ask("2", *hooks, mood=mood)
    told = why(refused(shop))
    assert [word for word in ["HookFailed", *words] if word not in told] == [], told
    assert shop.flushed() == 0


def test_a_migration_that_lies_keeps_green_from_the_traffic(shop):
    """Without ON_ERROR_STOP psql ends well, whatever the database said. Green does not find what it needs."""
    lie = hook("migrate", "BeforeGreen", "sh", "-c", "echo 'alter table no_such add column last numeric' | psql")
    shop.ask("2", lie, component={"progressDeadline": "15s"})
    state = refused(shop)
    assert shop.when(lambda s: hook_ended(s, "migrate"), "the Job succeeded")
    assert "HTTP 500" in why(state)
    assert not state.all("Job")[1:], "no other hook ran"


def test_a_migration_that_breaks_blue_is_found_before_anything_else_is_touched(shop):
    """Users are served from the cache. Without it, they would know already."""
    shop.ask("2", migration(f"{EXPAND}{CONTRACT}"))
    state = refused(shop)
    assert reason(state, "2") == "BlueUnhealthyAfterHook"
    assert of_version(state, "2") is None
    assert shop.columns() == {"symbol", "last"}
    shop.psql("alter table quotes add column price numeric; update quotes set price = last;")


@contextmanager
def locked(shop):
    """Read quotes in a transaction that does not end: no column can be added meanwhile."""
    sql = "begin; select * from quotes; select pg_sleep(300);"
    where = ["kubectl", "--namespace", shop.arena.namespace, "exec", "deployment/postgres", "--"]
    with subprocess.Popen([*where, "psql", "-c", sql], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        shop.arena.poll(lambda: shop.psql(SLEEPS), "the lock is held", 20)
        try:
            yield
        finally:
            shop.psql("select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin;%'")


SLEEPS = "select 1 from pg_stat_activity where query like 'begin;%' and wait_event = 'PgSleep'"


@pytest.mark.parametrize("what", ["migrate waits for a lock", "migrate is never pulled", "smoke gets no answer"])
def test_a_hook_that_hangs_is_ended_in_time_though_the_operator_is_killed_meanwhile(shop, what):
    arena, name = shop.arena, what.split()[0]
    hooks = {
        "migrate waits for a lock": migration(timeout="10s"),
        "migrate is never pulled": migration(timeout="10s", image=f"{IMAGE}-of-tomorrow"),
        "smoke gets no answer": smoke(timeout="10s"),
    }
    with locked(shop) if "lock" in what else nullcontext():
        shop.ask("2", hooks[what], mood="hang" if name == "smoke" else "well")
        arena.until(lambda s: s.pods(**{HOOK: name}), f"{name} has a pod", 60)
        shop.restart()
        state = refused(shop)
    told = why(state)
    assert all(word in told for word in ("HookFailed", f"hook {name} failed", "DeadlineExceeded")), told
    assert ("last" in shop.columns()) == (name == "smoke"), "what was ended is not done later"
    assert len([job for job in state.all("Job") if label(job, HOOK) == name]) == 1


def test_nobody_approves_and_that_is_the_end_though_the_operator_is_killed_meanwhile(shop):
    shop.ask(approvals=[{"at": "BeforeSwitch", "timeout": "8s"}])
    shop.waits()
    shop.restart()
    state = refused(shop)
    assert reason(state, "2") == "ApprovalTimeout"
    assert shop.flushed() == 0


# --- right after the switch -------------------------------------------------------------------------------------------


def test_a_flush_that_fails_leads_back_to_blue(shop):
    shop.redis("ACL", "SETUSER", "default", "-flushdb")
    shop.ask()
    shop.approve()
    told = why(left_for_blue(shop))
    assert all(word in told for word in ("HookFailed", "hook flush failed", "exit code 1", "NOPERM")), told


def test_a_flush_that_hangs_leads_back_to_blue_though_the_operator_is_killed_meanwhile(shop):
    shop.redis("CLIENT", "PAUSE", "600000", "WRITE")
    shop.ask("2", flush(timeout="10s"))
    shop.approve()
    shop.arena.until(lambda s: hook_runs(s, "flush"), "it waits for Redis", 60)
    shop.restart()
    told = why(left_for_blue(shop))
    assert all(word in told for word in ("HookFailed", "hook flush failed", "DeadlineExceeded")), told


def test_a_flush_that_lies_is_found_out_by_a_check_of_what_users_see(shop):
    """Without its option -e redis-cli ends well, whatever Redis said."""
    shop.redis("ACL", "SETUSER", "default", "-flushdb")
    shop.ask("2", hook("flush", "AfterSwitch", "redis-cli", "-h", "redis", "FLUSHDB"), checks=[FRESH])
    shop.approve()
    state = left_for_blue(shop)
    assert shop.when(lambda s: hook_ended(s, "flush"), "the Job succeeded")
    assert "CheckFailed: check fresh failed 2 times: HTTP 200, expect is false" in why(state)


# --- in the watch -----------------------------------------------------------------------------------------------------


def test_errors_that_only_prometheus_sees_lead_back_to_blue(shop):
    """Its health is well and users are served; robots are not."""
    shop.ask()
    state = shop.switch()
    with shop.robots():
        shop.arena.until(lambda s: verdicts(s).get("errors") == "Passed", "figures are well", 30)
        feel(shop.arena, state.pods(state.selected("backend")), "broken")
        state = left_for_blue(shop)
    assert "CheckFailed: check errors failed 2 times: the result is 0." in why(state)


def write(shop, pods, text):
    for pod in pods:
        kubectl_in(shop.arena, "exec", pod["metadata"]["name"], "--", "sh", "-c", f"echo '{text}' > /proc/1/fd/1")


def test_a_fatal_line_in_the_log_leads_back_to_blue(shop):
    shop.ask()
    state = shop.switch()
    shop.arena.until(lambda s: verdicts(s).get("fatal") == "Passed", "its log is clean", 30)
    write(shop, state.pods(state.selected("backend")), "FATAL: order book lost")
    assert "CheckFailed: check fatal failed 2 times: 1 bad lines in a minute" in why(left_for_blue(shop))


LIAR = """
import http.server, os, socket, threading
mood = os.environ["MOOD"]
if mood == "hang":
    deaf = socket.create_server(("", 9090), backlog=1000)
    threading.Event().wait()
class Liar(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        error = b'{"status": "error", "errorType": "internal", "error": "a shard is lost"}'
        body = error if mood == "error" else b"<html>please log in</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 9090), Liar).serve_forever()
"""


@contextmanager
def instead_of_prometheus(shop, mood):
    """Let the Service of Prometheus lead to one that answers nothing useful; to nobody, for the mood `gone`."""
    box = {
        "name": "liar", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-c", LIAR],
        "env": [{"name": "MOOD", "value": mood}],
        "readinessProbe": {"tcpSocket": {"port": 9090}, "periodSeconds": 1},
    }  # fmt: skip
    pod = {"metadata": {"name": "liar", "labels": {"app": "liar"}}, "spec": {"containers": [box]}}
    pod["spec"] |= {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    arena = shop.arena
    if mood != "gone":
        arena.apply({"apiVersion": "v1", "kind": "Pod"} | pod)
    arena.api.patch("Service", "prometheus", {"spec": {"selector": {"app": "liar"}}})
    arena.until(lambda s: s.endpoints("prometheus") == (set() if mood == "gone" else {"liar"}), "it is replaced", 60)
    yield
    arena.api.patch("Service", "prometheus", {"spec": {"selector": {"app": "prometheus"}}})


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ("error", "Prometheus refused the query: a shard is lost"),
        ("page", "Prometheus answered HTTP 200 without JSON"),
        ("hang", "Prometheus gave no answer within 1 s"),
        ("gone", "Prometheus gave no answer"),
    ],
)
def test_a_prometheus_that_tells_nothing_neither_proves_nor_rolls_back_though_the_operator_is_killed_meanwhile(
    shop, mood, words
):
    arena = shop.arena
    with instead_of_prometheus(shop, mood):
        shop.ask(watch=PROVED_SOON)
        shop.switch()
        arena.until(lambda s: s.condition("Stalled")["reason"] == "CheckInconclusive", "somebody is told", 60)
        shop.restart()
        arena.poll(lambda: arena.operator.measured("prometheus", "Inconclusive") > 3, "it is asked again", 30)
        # Evidence lives in the process: the one that was started anew tells it again.
        arena.until(lambda s: words in s.condition("Stalled")["message"], "somebody is told again", 30)
        arena.never(lambda s: s.live() != "2" or s.ready("2"), "it is rolled back, or proven", 4)
    arena.until(lambda s: s.ready("2"), "version 2 is proven", 60)


@contextmanager
def blind_operator(shop):
    """Let an operator work that may do all but read logs."""
    arena, name = shop.arena, shop.arena.namespace
    role = arena.api.get("ClusterRole", "tradingrelease-operator")
    rules = [rule for rule in role["rules"] if rule.get("resources") != ["pods/log"]]
    assert len(rules) == len(role["rules"]) - 1, "one rule is about logs"
    rbac = "rbac.authorization.k8s.io"
    bound = {"roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name}}
    bound["subjects"] = [{"kind": "ServiceAccount", "name": "blind", "namespace": name}]
    for kind in ("ClusterRoleBinding", "ClusterRole"):
        arena.finally_(lambda kind=kind: arena.api.delete(kind, name))
    arena.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "blind"}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name}} | bound,
    )
    file = arena.folder / "blind"
    file.write_text(logged_in("blind", name))
    shop.restart(KUBECONFIG=str(file))
    yield
    shop.restart()


def test_logs_that_cannot_be_read_neither_prove_nor_roll_back(shop):
    arena = shop.arena
    shop.ask(watch={"for": "12s", "deadAfter": "3s"})
    shop.switch()
    with blind_operator(shop):
        state = arena.until(lambda s: s.condition("Stalled")["reason"] == "CheckInconclusive", "somebody is told", 60)
        assert "check fatal could not be judged" in state.condition("Stalled")["message"]
        arena.never(lambda s: s.live() != "2" or s.ready("2"), "it is rolled back, or proven", 12)
    arena.until(lambda s: s.ready("2"), "version 2 is proven", 60)


def test_after_a_contract_migration_nobody_goes_back_and_the_next_version_mends_it(shop):
    arena = shop.arena
    contract = migration(CONTRACT, name="contract", at="AfterSwitch", irreversible=True)
    calm = hook("flush", "AfterSwitch", "true")
    shop.ask("2", contract, calm)
    state = shop.switch()
    arena.until(lambda s: hook_ended(s, "contract") and verdicts(s).get("fatal") == "Passed", "it is watched", 60)
    assert shop.columns() == {"symbol", "last"}
    write(shop, state.pods(state.selected("backend")), "FATAL: order book lost")
    state = arena.until(lambda s: s.condition("Stalled")["reason"] == "RollbackUnsafe", "it halts, and says so", 60)
    assert state.condition("RollbackReady")["reason"] == "RollbackUnsafe"
    back = arena.order_as("bob", "Rollback", revision_of(state, "2"), reason="the log")
    arena.until(lambda s: s.order(back).get("reason") == "RollbackUnsafe", "not without force")
    shop.restart()
    arena.never(lambda s: s.live() != "2", "it goes back", 5)
    arena.apply_as("anna", builders.release("3", backend("3", "last"), watch=PROVED_SOON))
    arena.until(lambda s: s.ready("3"), "version 3 is live and proven", 90)
    assert [move["cause"] for move in arena.switches()] == ["Promote"] * 3
