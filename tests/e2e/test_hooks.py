"""Hooks with real Jobs and a real receiver: done once, whatever is killed, and what their failure means."""

import base64
import hashlib
import hmac
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.e2e.builders import IMAGE, release
from tests.e2e.faults import breakable, spoil
from tests.e2e.scenes import WATCH, first, of_version, part, reason, revision_of, rolled_back, switch_to
from tests.oracle import label

HOOK = "tradingplatform.io/hook"


def job(script, **spec):
    container = {
        "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}}, "terminationMessagePolicy": "FallbackToLogsOnError",
    }  # fmt: skip
    pod = {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, "containers": [container]}
    return {"backoffLimit": 0, "template": {"spec": pod}, **spec}


def hook(name, at, script="true", **fields):
    return {"name": name, "at": at, "job": job(script), "timeout": "2m", **fields}


def hooks_of(state, role="candidate"):
    return {run["name"]: run for run in (state.status().get(role) or {}).get("hooks") or ()}


def pods_of(state, name):
    return state.pods(**{HOOK: name})


def test_after_an_abort_a_retry_waits_until_the_pod_of_the_aborted_migration_has_ended(arena):
    """It does not hear SIGTERM. Two migrations at once are worse than none."""
    first(arena, "1")
    slow = hook("migrate", "BeforeGreen", "sleep 300")
    slow["job"]["template"]["spec"]["terminationGracePeriodSeconds"] = 8
    arena.apply(release("2", part("2"), hooks=[slow], watch=WATCH))
    state = arena.until(lambda s: under_way(s, "migrate"), "the migration runs")
    (aborted,) = under_way(state, "migrate")
    revision = state.status()["candidate"]["revision"]
    arena.order("Abort", revision)
    arena.until(lambda s: "2" in s.latched(), "the attempt is over")
    arena.order("Retry", revision)
    state = arena.until(
        lambda s: under_way(s, "migrate") and aborted not in under_way(s, "migrate"), "it runs anew", 60
    )
    assert hooks_of(state)["migrate"]["phase"] == "Running"
    assert state.status()["candidate"]["attempt"] == 2
    assert not arena.ever(lambda s: len(under_way(s, "migrate")) > 1), "two migrations at once"


def under_way(state, name):
    """Return the names of a hook's pods that have not ended."""
    return {p["metadata"]["name"] for p in pods_of(state, name) if p["status"].get("phase") in {"Pending", "Running"}}


def test_a_migration_is_done_once_before_green_though_the_operator_is_killed_in_the_middle(arena):
    first(arena, "1")
    script = (
        'echo "$TRADINGRELEASE_VERSION after $TRADINGRELEASE_LIVE_VERSION at $TRADINGRELEASE_LIVE_URL_BACKEND"; sleep 6'
    )
    arena.apply(release("2", part("2"), hooks=[hook("migrate", "BeforeGreen", script)], watch=WATCH))
    arena.until(
        lambda s: hooks_of(s).get("migrate", {}).get("phase") == "Running" and pods_of(s, "migrate"),
        "the migration runs",
    )
    arena.operator.kill()
    assert of_version(arena.now, "2") is None
    arena.operator.start()
    state = arena.until(lambda s: s.live() == "2", "version 2 is live", 120)
    run = hooks_of(state, "live")["migrate"]
    assert run["phase"] == "Succeeded"
    assert run["bluePassedAt"] >= run["finishedAt"]
    assert len(pods_of(state, "migrate")) == 1
    green = of_version(state, "2")
    done = state.get("Job", run["job"])["status"]["completionTime"]
    assert green["metadata"]["creationTimestamp"] >= done
    log = arena.log(pods_of(state, "migrate")[0])
    assert log == f"2 after 1 at http://backend.{arena.namespace}.svc:80\n"


def test_a_hook_that_fails_before_green_says_why_and_nothing_is_deployed(arena):
    first(arena, "1")
    arena.apply(release("2", part("2"), hooks=[hook("migrate", "BeforeGreen", "echo no such table; exit 3")]))
    state = arena.until(lambda s: "2" in s.latched(), "version 2 has failed")
    assert reason(state, "2") == "HookFailed"
    message = state.condition("Ready")["message"]
    for words in (
        "BackoffLimitExceeded",
        "exit code 3",
        "no such table",
        f"kubectl -n {arena.namespace} logs job/shop-migrate-",
    ):
        assert words in message
    assert of_version(state, "2") is None
    assert state.live() == "1"
    assert arena.said("HookFailed")
    arena.settled(3)


def test_a_job_that_the_api_server_does_not_take_is_refused_with_its_words(arena):
    first(arena, "1")
    arena.apply(release("2", part("2"), hooks=[hook("migrate", "BeforeGreen") | {"job": job("true", completions=-1)}]))
    state = arena.until(lambda s: s.condition("Accepted")["status"] == "False", "it is refused")
    assert state.condition("Accepted")["reason"] == "InvalidJob"
    assert "hook migrate" in state.condition("Accepted")["message"]
    assert "completions" in state.condition("Accepted")["message"]


def test_a_hook_that_hangs_is_ended_with_its_timeout_and_the_next_revision_waits_for_that(arena):
    first(arena, "1")
    arena.apply(release("2", part("2"), hooks=[hook("migrate", "BeforeGreen", "sleep 600", timeout="8s")]))
    arena.until(lambda s: pods_of(s, "migrate"), "the migration runs")
    arena.apply(release("3", part("3")))
    state = arena.until(
        lambda s: s.condition("Ready")["reason"] == "HookRunning" and s.seen_generation(), "version 3 waits"
    )
    assert state.candidate() == "2"
    state = arena.until(lambda s: s.ready("3"), "version 3 is live and proven", 120)
    ended = [j for j in state.all("Job") if label(j, HOOK) == "migrate"]
    assert [c["reason"] for c in ended[0]["status"]["conditions"] if c["type"] == "Failed"] == ["DeadlineExceeded"]
    assert of_version(state, "2") is None


def test_a_hook_that_fails_after_the_switch_rolls_back_and_what_follows_a_rollback_is_done(arena):
    first(arena, "1")
    hooks = [hook("flush", "AfterSwitch", "exit 1"), hook("warm", "AfterRollback")]
    arena.apply(release("2", part("2"), hooks=hooks, watch=WATCH))
    state = arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again", 90)
    assert reason(state, "2") == "HookFailed"
    state = arena.until(lambda s: hooks_of(s, "live").get("warm", {}).get("phase") == "Succeeded", "the cache is warm")
    assert state.status()["live"]["rolledBackFrom"]["version"] == "2"


def test_a_hook_that_may_fail_holds_nothing_up_and_is_told_of(arena):
    first(arena, "1")
    state = switch_to(arena, "2", part("2"), hooks=[hook("warm", "BeforeSwitch", "exit 3", onFailure="Continue")])
    assert hooks_of(state, "live")["warm"]["phase"] == "Failed"
    assert arena.said("HookFailed")
    assert state.latched() == []


def test_nobody_goes_back_across_an_irreversible_hook_but_by_a_forced_order(arena):
    first(arena, "1")
    state = switch_to(
        arena, "2", part("2", breakable(version="2")), hooks=[hook("contract", "BeforeGreen", irreversible=True)]
    )
    spoil(state.pods(state.selected("backend")))
    state = arena.until(lambda s: s.condition("Stalled")["reason"] == "RollbackUnsafe", "it halts and pages")
    assert state.condition("RollbackReady")["reason"] == "RollbackUnsafe"
    refused = arena.order("Rollback", revision_of(state, "2"))
    arena.until(
        lambda s: s.order(refused).get("reason") == "RollbackUnsafe",
        "an order without force is refused",
    )
    assert arena.now.live() == "2"
    arena.order("Rollback", revision_of(state, "2"), force=True, reason="it reads the new table, I looked")
    arena.until(lambda s: rolled_back(s, "2", to="1"), "version 1 is live again")


@contextmanager
def receiver(*statuses, until=None):
    """Receive webhooks; answer one status after the other, the last for ever, or until it is over with 200."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((dict(self.headers), body))
            over = until is not None and until.is_set()
            status = 200 if over else statuses[min(len(received), len(statuses)) - 1]
            self.send_response(status)
            if status == 202:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/smoke", received
        server.shutdown()


def test_a_webhook_is_signed_waited_for_and_told_where_green_answers(arena):
    key = arena.folder / "key"
    key.write_text("a key for tests\n")
    arena.operator.stop()
    arena.operator.start(TRADINGRELEASE_WEBHOOK_HOSTS="127.0.0.1", TRADINGRELEASE_WEBHOOK_KEY_FILE=str(key))
    first(arena, "1")
    with receiver(202, 202, 200) as (url, received):
        smoke = {"name": "smoke", "at": "BeforeSwitch", "webhook": {"url": url}}
        state = switch_to(arena, "2", part("2"), hooks=[smoke])
    assert hooks_of(state, "live")["smoke"]["phase"] == "Succeeded"
    assert len(received) == 3
    assert len({(headers["Webhook-Id"], body) for headers, body in received}) == 1
    headers, body = received[-1]
    event = json.loads(body)
    assert (event["id"], event["specversion"]) == (headers["Webhook-Id"], "1.0")
    assert event["data"]["preview_url_backend"] == f"http://backend-preview.{arena.namespace}.svc:80"
    signed = f"{headers['Webhook-Id']}.{headers['Webhook-Timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(b"a key for tests", signed, hashlib.sha256).digest()).decode()
    assert headers["Webhook-Signature"] == f"v1,{wanted}"


def test_a_webhook_in_progress_goes_on_with_the_same_words_when_the_operator_is_killed(arena):
    arena.operator.stop()
    arena.operator.start(TRADINGRELEASE_WEBHOOK_HOSTS="127.0.0.1")
    first(arena, "1")
    go_on = threading.Event()
    with receiver(202, until=go_on) as (url, received):
        arena.apply(release("2", part("2"), hooks=[{"name": "smoke", "at": "BeforeSwitch", "webhook": {"url": url}}]))
        arena.poll(lambda: len(received) > 1, "it is in progress", 60)
        arena.operator.kill()
        asked = len(received)
        arena.operator.start(TRADINGRELEASE_WEBHOOK_HOSTS="127.0.0.1")
        arena.poll(lambda: len(received) > asked, "it is asked again", 60)
        go_on.set()
        arena.until(lambda s: s.live() == "2", "version 2 is live", 60)
    assert len({(headers["Webhook-Id"], body) for headers, body in received}) == 1


def test_a_webhook_that_says_no_keeps_the_candidate_from_the_traffic(arena):
    arena.operator.stop()
    arena.operator.start(TRADINGRELEASE_WEBHOOK_HOSTS="127.0.0.1")
    first(arena, "1")
    with receiver(500) as (url, received):
        arena.apply(release("2", part("2"), hooks=[{"name": "smoke", "at": "BeforeSwitch", "webhook": {"url": url}}]))
        state = arena.until(lambda s: "2" in s.latched(), "version 2 has failed")
    assert (reason(state, "2"), len(received), state.live()) == ("HookFailed", 1, "1")
