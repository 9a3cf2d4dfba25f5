"""A secret that stands where secrets do stand is told nowhere: every source at once, every sink in the end."""

import json

import pytest
import yaml

from tests.e2e.builders import HEALTH, IMAGE, release, service, template
from tests.e2e.scenes import first, part, reason, rolled_back
from tests.receiver import CANARY, Answer, Receiver, write_urls

PLANTED = "canary-7f3a91c0ffee"
WORDS = f"password={PLANTED} for postgres://trader:{PLANTED}@db/x, Authorization: Bearer {PLANTED}"
MARKED = {"example.com/token": PLANTED}
ANSWERS = f"""
import app, asyncio
from http import HTTPStatus
route = app.Platform._route
def answer(platform, request):
    return platform._say(HTTPStatus.OK, status="bad", error={WORDS!r}) if request.path == "/healthz" else route(platform, request)
app.Platform._route = answer
asyncio.run(app.main())
"""


@pytest.fixture
def receiver(arena, tmp_path):
    """Let the operator tell a chat room and a sink, whose URLs are secrets, too, and ask webhooks."""
    receiver, secrets, told = Receiver(), tmp_path / "secrets", tmp_path / "notifications.yaml"
    write_urls(secrets, receiver, "team")
    often = {"batch": "100ms", "perHour": 3600}
    told.write_text(yaml.safe_dump({"targets": {"team": often}, "routes": [{"to": ["team"]}], "cloudEvents": {}}))
    arena.operator.stop()
    arena.operator.start(
        TRADINGRELEASE_NOTIFICATIONS=str(told), TRADINGRELEASE_NOTIFICATION_SECRETS=str(secrets),
        TRADINGRELEASE_WEBHOOK_HOSTS="127.0.0.1", TRADINGRELEASE_LOG_LEVEL="DEBUG",
    )  # fmt: skip
    yield receiver
    receiver.close()


def pods(version, **container):
    """Return a template with a secret in its environment and in an annotation of its pods."""
    made = template(version=version, env={"API_TOKEN": PLANTED}, **container)
    made["metadata"]["annotations"] = MARKED
    return made


def given_up(arena, version, why):
    """Wait until a version is latched, for this reason."""
    state = arena.until(lambda s: version in s.latched(), f"version {version} is given up", 60)
    assert reason(state, version) == why
    return state


def sinks(arena, receiver):
    """Return what anybody is told, by where."""
    history = arena.recorder.history()
    ours = {"TradingRelease", "ReleaseCommand", "ReleaseFreeze"}
    return {
        "log": arena.operator.log.read_text(errors="replace"),
        "metrics": arena.operator.metrics(),
        "Events": json.dumps([found.body for found in history if found.kind == "Event"]),
        "status": json.dumps([found.body.get("status") for found in history if found.kind in ours]),
        "messages": "\n".join(request.body.decode() for request in receiver.requests),
    }


def test_a_secret_planted_everywhere_is_told_nowhere(arena, receiver, operator_kubeconfig):
    backend = service()
    backend["metadata"]["annotations"] = MARKED
    arena.apply(backend)
    first(arena, "1", part("1", pods("1")))

    def apply(version, made, **spec):
        body = release(version, made, **spec)
        body["metadata"]["annotations"] = MARKED
        arena.apply(body)

    # The last words of a container that dies.
    cries = ["sh", "-c", f"echo '{WORDS}' >&2; exit 1"]
    apply("2", part("2", pods("2", command=cries)), failFast={"restartLimit": 0})
    given_up(arena, "2", "CrashLoop")
    # The body of an answer, and what an expression makes of it.
    health = HEALTH | {"expect": "response.json.status == 'ok'"}
    apply("3", part("3", pods("3", command=["python3", "-c", ANSWERS]), health=health, progressDeadline="10s"))
    given_up(arena, "3", "DeadlineExceeded")
    # The body of a webhook that says no.
    receiver.answers("/smoke", Answer(status=500, body=WORDS.encode()))
    url = f"http://127.0.0.1:{receiver.port}/smoke"
    apply("4", part("4", pods("4")), hooks=[{"name": "smoke", "at": "BeforeSwitch", "webhook": {"url": url}}])
    given_up(arena, "4", "HookFailed")
    # The last words of a Job, and a line of a log that status is to show.
    container = {"name": "main", "image": IMAGE, "command": cries, "terminationMessagePolicy": "FallbackToLogsOnError"}
    job = {"backoffLimit": 0, "template": {"spec": {"containers": [container]}}}
    apply("5", part("5", pods("5")), hooks=[{"name": "migrate", "at": "BeforeGreen", "job": job}])
    given_up(arena, "5", "HookFailed")
    check = {
        "name": "fatal", "interval": "1s", "timeout": "1s", "failureLimit": 1,
        "logs": {"component": "backend", "pattern": "FATAL", "showFirstLine": True},
    }  # fmt: skip
    loud = ["sh", "-c", f"(sleep 6; echo 'FATAL {WORDS}') & exec python3 app.py"]
    apply("6", part("6", pods("6", command=loud)), checks=[check], watch={"for": "30s", "deadAfter": "3s"})
    arena.until(lambda s: "6" in s.latched() or rolled_back(s, "6", to="1"), "version 6 is given up", 60)

    receiver.until(lambda: "FATAL" in sinks(arena, receiver)["messages"], "the room is told of the line of the log")
    arena.until(lambda s: "FATAL" in json.dumps(s.all("Event")), "an Event tells of it, too", 20)
    told = sinks(arena, receiver)
    for sink in ("status", "Events", "messages", "log"):
        for words in ("password=***", "FATAL"):
            assert words in told[sink], f"what is blanked out is told at all in {sink}"
    token = yaml.safe_load(operator_kubeconfig.read_text())["users"][0]["user"]["token"]
    for secret in (PLANTED, CANARY, token):
        assert [where for where, text in told.items() if secret in text] == []
