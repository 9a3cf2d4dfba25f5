"""Notifications sent for real: Apprise in its own process, and CloudEvents, to receivers that hang, fail and ask for time."""

import asyncio
import contextlib
import logging
import time
from datetime import timedelta

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from tradingrelease import telemetry
from tradingrelease.cluster import notifier as module
from tradingrelease.cluster.ledger import LAZY
from tradingrelease.cluster.notifier import Notifier, judge
from tradingrelease.cluster.webhook import signature
from tradingrelease.policy.notifications import parse
from tradingrelease.policy.reasons import Severity

from tests.builders import NOW
from tests.receiver import CANARY, Answer, Receiver, write_urls
from tests.unit.cluster.test_ledger import Store, things

SOON = {"batch": "0s", "perHour": 3600}
NEVER = Answer(hangs=True)


def a_config(*targets, sink=None, **fields):
    given = {"targets": dict.fromkeys(targets, SOON), "routes": [{"to": list(targets)}] if targets else []}
    return parse(given | ({"cloudEvents": sink} if sink is not None else {}) | fields)


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def secrets(tmp_path, receiver):
    """Write the files of the Secret: each target is a hook of its own, each URL holds what must not be told."""
    folder = tmp_path / "secrets"
    write_urls(folder, receiver, "team", "pager", "ops")
    return folder


def at(target):
    """Return the path that a target's messages come to: Mattermost puts `hooks` before its token."""
    return f"{target}/hooks/{CANARY}"


class Stage:
    """A notifier at work over a store."""

    def __init__(self, store, secrets, now=lambda: NOW, leads=lambda: True):
        self.store, self.woken = store, []
        self.notifier = Notifier(
            store.ledger,
            store.cache,
            store.config,
            secrets,
            now,
            lambda key, after: self.woken.append((key, after)),
            leads,
        )

    def happens(self, *ids, **fields):
        self.store.happens(*things(*ids, **fields))
        self.notifier.changed(self.store.key)

    async def until(self, holds, what, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, what
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def at_work(config, secrets, store=None, **fields):
    stage = Stage(store or Store(config), secrets, **fields)
    task = asyncio.create_task(stage.notifier.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait([task])


def played(story):
    """Run a story to its end."""
    asyncio.run(story())


def count(metric, *labels):
    return metric.labels(*labels)._value.get()


# --- messages -----------------------------------------------------------------------------------------------------------


def test_what_happened_is_told_in_words(receiver, secrets):
    async def story():
        async with at_work(a_config("team"), secrets) as stage:
            stage.happens("a", version="2.4.0", message="its watch ended <well>", target="2.3.8", live="abcdefghij")
            await stage.until(lambda: receiver.got(at("team"), took=True), "it is told")
            (request,) = receiver.got(CANARY)
            text = request.json["text"]
            assert "**Proven** production/shop, version 2.4.0" in text
            assert r"Info: its watch ended \<well\>" in text
            assert "kubectl -n production create -f -" in text
            await stage.until(lambda: stage.woken, "status is to say so")
            assert stage.woken == [(stage.store.key, LAZY)], "one write for many"

    played(story)


def test_slack_gets_its_own_markup(receiver, secrets, tmp_path, monkeypatch):
    """The plugin of Slack speaks to one host only: a proxy of ours passes for it."""
    receiver.signs_for("hooks.slack.com", tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{receiver.port}")
    (secrets / "team").write_text(f"slack://T1JJ3T3L2/A1BRTD4JD/{CANARY[:24]}/?verify=no\n")

    async def story():
        async with at_work(a_config("team"), secrets) as stage:
            stage.happens("a", message="*not* bold <!channel> <http://evil|good> & co", severity=Severity.CRITICAL)
            await stage.until(lambda: receiver.got(CANARY[:24], took=True), "Slack took it")
            (request,) = receiver.got(CANARY[:24])
            assert request.json["mrkdwn"] is True
            (attachment,) = request.json["attachments"]
            assert attachment["text"].startswith("*Proven* production/shop\nCritical: ")
            assert r"\*not\* bold &lt;!channel&gt; &lt;http://evil|good&gt; &amp; co" in attachment["text"]

    played(story)


def test_a_receiver_that_says_no_with_http_200_was_not_told(receiver, secrets, tmp_path, monkeypatch):
    """Slack answers `ok`; whatever else it says in a success is none."""
    receiver.signs_for("hooks.slack.com", tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{receiver.port}")
    (secrets / "team").write_text(f"slack://T1JJ3T3L2/A1BRTD4JD/{CANARY[:24]}/?verify=no\n")
    receiver.answers(CANARY[:24], Answer(body=b"channel_is_archived"), Answer())

    async def story():
        async with at_work(a_config("team"), secrets) as stage:
            stage.happens("a")
            await stage.until(lambda: stage.woken, "it is told in the end")
            assert [request.answer.body for request in receiver.got(CANARY[:24])] == [b"channel_is_archived", b"ok"]

    played(story)


def test_a_target_is_told_no_more_often_than_it_may_be(receiver, secrets):
    """Ten an hour is one at once, and the next after six minutes; nobody else waits for that."""

    async def story():
        rarely = {"batch": "0s", "perHour": 10}
        config = parse({"targets": {"team": SOON, "pager": rarely}, "routes": [{"to": ["team", "pager"]}]})
        async with at_work(config, secrets) as stage:
            stage.happens("a")
            await stage.until(lambda: receiver.got(at("pager"), took=True), "both are told of the first")
            for number, name in enumerate("bcd", 2):
                stage.happens(name, severity=Severity.CRITICAL)
                await stage.until(lambda n=number: len(receiver.got(at("team"), took=True)) == n, "the team is told")
            assert len(receiver.got(at("pager"))) == 1

    played(story)


def test_what_comes_together_is_one_message(receiver, secrets):
    async def story():
        config = parse({"targets": {"team": {"batch": "500ms"}}, "routes": [{"to": ["team"]}]})
        async with at_work(config, secrets) as stage:
            stage.happens("a")
            await asyncio.sleep(0)
            stage.happens("b")
            stage.happens("c")
            await stage.until(lambda: len(stage.woken) == 1, "they are told")
            (request,) = receiver.got(CANARY)
            assert "3 transitions" in request.json["text"]

    played(story)


def test_what_is_critical_does_not_wait_for_others(receiver, secrets):
    async def story():
        config = parse({"targets": {"team": {"batch": "1h"}}, "routes": [{"to": ["team"]}]})
        async with at_work(config, secrets) as stage:
            stage.happens("a")
            stage.happens("b", severity=Severity.CRITICAL)
            await stage.until(lambda: receiver.got(CANARY, took=True), "it is told at once")
            assert "2 transitions, the gravest Critical" in receiver.got(CANARY)[0].json["text"]

    played(story)


def test_more_than_fits_into_a_message_comes_in_the_next(receiver, secrets):
    async def story():
        async with at_work(a_config("team"), secrets) as stage:
            stage.happens(*[f"n{n}" for n in range(12)])
            await stage.until(lambda: not stage.store.waiting(), "all are told")
            assert ["10 transitions" in r.json["text"] for r in receiver.got(CANARY)] == [True, False]
            assert "2 transitions" in receiver.got(CANARY)[1].json["text"]

    played(story)


def test_one_that_hangs_delays_no_other_and_is_killed_and_told_again(receiver, secrets, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 30.0)
    receiver.answers(at("team"), NEVER, Answer())
    receiver.answers(at("ops"), Answer(drip=True), Answer())

    async def story():
        async with at_work(a_config("team", "pager", "ops"), secrets) as stage:
            stage.happens("a")
            await stage.until(lambda: receiver.got(at("pager"), took=True), "pager is told")
            assert not receiver.got(at("team"), took=True)
            assert not receiver.got(at("ops"), took=True)
            await stage.until(
                lambda: not any(map(stage.store.waiting, ("team", "ops"))), "the others in the end, too", 120
            )
            assert [r.took for r in receiver.got(at("team"))] == [False, True]
            assert [r.took for r in receiver.got(at("ops"))] == [False, True]
            assert len(receiver.got(at("pager"))) == 1

    played(story)


@pytest.mark.parametrize("status", [500, 503, 404, 301])
def test_what_fails_is_tried_again_and_lost_never(receiver, secrets, status):
    before = count(telemetry.NOTIFICATIONS_FAILED, "team")
    receiver.answers(CANARY, Answer(status, {"Location": "/elsewhere"}), Answer())

    async def story():
        async with at_work(a_config("team"), secrets) as stage:
            stage.happens("a", "b")
            await stage.until(lambda: not stage.store.waiting(), "it is told in the end")
            assert [(r.answer.status, "2 transitions" in r.json["text"]) for r in receiver.got("")] == [
                (status, True), (200, True),
            ]  # fmt: skip
            assert count(telemetry.NOTIFICATIONS_FAILED, "team") - before == 1

    played(story)


def test_a_receiver_that_asks_for_time_gets_it(receiver, secrets):
    receiver.answers(CANARY, Answer(429, {"Retry-After": "4"}), Answer())

    async def story():
        async with at_work(a_config("team"), secrets) as stage:
            stage.happens("a")
            await stage.until(lambda: not stage.store.waiting(), "it is told in the end")
            first, second = receiver.got(CANARY)
            assert second.at - first.at >= 4

    played(story)


def test_what_is_too_old_to_matter_is_dropped_and_counted(receiver, secrets):
    before = count(telemetry.NOTIFICATIONS_DROPPED, "team", "old")
    (secrets / "team").unlink()
    clock = [NOW]

    async def story():
        async with at_work(a_config("team", keepFor="1h"), secrets, now=lambda: clock[0]) as stage:
            stage.happens("a")
            failed = count(telemetry.NOTIFICATIONS_FAILED, "team")
            await stage.until(lambda: count(telemetry.NOTIFICATIONS_FAILED, "team") > failed, "it fails")
            stage.notifier.measure()
            assert count(telemetry.NOTIFICATIONS_WAITING, "team") == 1
            clock[0] += timedelta(hours=1, seconds=1)
            stage.notifier.measure()
            assert count(telemetry.NOTIFICATIONS_OLDEST, "team") == 3601
            await stage.until(lambda: not stage.store.waiting(), "it is given up")
            assert count(telemetry.NOTIFICATIONS_DROPPED, "team", "old") - before == 1
            assert not receiver.requests

    played(story)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "file team of the Secret cannot be read (FileNotFoundError)"),
        ("", "file team of the Secret holds 0 URLs: write one, and one target for each"),
        (f"json://a/{CANARY} json://b/{CANARY}", "file team of the Secret holds 2 URLs"),
        (f"nonsense://{CANARY}", "file team of the Secret holds no URL that Apprise understands"),
        (f"json://127.0.0.1:1/{CANARY}", "no answer"),
    ],
)
def test_a_bad_secret_is_said_without_what_it_holds(secrets, caplog, capfd, written, said):
    if written is None:
        (secrets / "team").unlink()
    else:
        (secrets / "team").write_text(written)

    async def story():
        with caplog.at_level(logging.DEBUG):
            async with at_work(a_config("team"), secrets) as stage:
                stage.happens("a")
                await stage.until(lambda: said in caplog.text, said)
                assert stage.store.waiting() == ["a"], "it is mended, then told"

    played(story)
    out, err = capfd.readouterr()
    assert CANARY not in caplog.text + out + err
    assert CANARY not in str(telemetry.NOTIFICATIONS_FAILED.collect())


def test_a_secret_that_is_mended_is_read_anew(receiver, secrets):
    url = (secrets / "team").read_text()
    (secrets / "team").unlink()

    async def story():
        async with at_work(a_config("team"), secrets) as stage:
            stage.happens("a")
            failed = count(telemetry.NOTIFICATIONS_FAILED, "team")
            await stage.until(lambda: count(telemetry.NOTIFICATIONS_FAILED, "team") > failed, "it fails")
            (secrets / "team").write_text(url)
            await stage.until(lambda: receiver.got(CANARY, took=True), "it is told")

    played(story)


def test_who_does_not_lead_tells_nobody(receiver, secrets):
    leads = [False]

    async def story():
        async with at_work(a_config("team"), secrets, leads=lambda: leads[0]) as stage:
            stage.happens("a")
            await asyncio.sleep(1.5)
            assert not receiver.requests
            leads[0] = True
            await stage.until(lambda: receiver.got(CANARY, took=True), "it is told by whom leads")

    played(story)


def test_a_restart_while_one_hangs_loses_nothing_and_repeats_only_what_was_under_way(receiver, secrets):
    receiver.answers(CANARY, Answer(), NEVER, Answer())
    store = Store(a_config("team"))

    async def story():
        async with at_work(None, secrets, store) as stage:
            stage.happens("a", version="one")
            await stage.until(lambda: stage.woken, "the first is told")
            store.says_who_was_told()
            stage.happens("b", version="two")
            await stage.until(lambda: len(receiver.got(CANARY)) == 2, "the second hangs")
            stage.happens("c", version="three")
        store.starts()
        async with at_work(None, secrets, store) as stage:
            await stage.until(lambda: not store.waiting() and stage.woken, "the rest is told")
        texts = [r.json["text"] for r in receiver.got(CANARY, took=True)]
        assert [("one" in t, "two" in t, "three" in t) for t in texts] == [(True, False, False), (False, True, True)]

    played(story)


# --- CloudEvents --------------------------------------------------------------------------------------------------------


def events(receiver):
    """Return what a sink took, as the SDK of CloudEvents reads it."""
    taken = receiver.got(f"token={CANARY}", took=True)
    return [
        from_http_event(HTTPMessage({k.lower(): v for k, v in r.headers.items()}, r.body), JSONFormat()) for r in taken
    ]


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_every_transition_is_an_event(receiver, secrets, mode):
    async def story():
        async with at_work(a_config(sink={"mode": mode}, cluster="prod-eu"), secrets) as stage:
            stage.happens("a", version="2.4.0", revision="abcdefghij")
            stage.happens("b", reason="RolledBack", outcome="RolledBack")
            await stage.until(lambda: len(stage.woken) == 2, "both are sent")
            first, second = events(receiver)
            assert (first.get_id(), first.get_type(), first.get_subject()) == (
                "a", "tradingplatform.io.release.Proven", "abcdefghij",
            )  # fmt: skip
            assert first.get_source() == "/namespaces/production/tradingreleases/shop"
            assert first.get_time() == NOW
            told = first.get_data()
            assert (told["number"], told["version"], told["cluster"]) == (1, "2.4.0", "prod-eu")
            assert second.get_data()["outcome"] == "RolledBack"

    played(story)


def test_events_are_signed_as_webhooks_are(receiver, secrets):
    (secrets / "cloudevents-key").write_bytes(b"shared\n")

    async def story():
        async with at_work(a_config(sink={}), secrets) as stage:
            stage.happens("a")
            await stage.until(lambda: stage.woken, "it is sent")
            (request,) = receiver.requests
            signed = signature(b"shared", "a", request.headers["Webhook-Timestamp"], request.body.decode())
            assert request.headers["Webhook-Signature"] == signed

    played(story)


def test_with_a_key_that_is_empty_nothing_is_sent_until_there_is_one(receiver, secrets, caplog):
    (secrets / "cloudevents-key").write_bytes(b"\n")

    async def story():
        async with at_work(a_config(sink={}), secrets) as stage:
            stage.happens("a")
            await stage.until(lambda: "cloudevents-key of the Secret is empty" in caplog.text, "it is said")
            assert receiver.requests == []
            (secrets / "cloudevents-key").write_bytes(b"shared\n")
            await stage.until(lambda: stage.woken, "it is sent")
            assert all("Webhook-Signature" in request.headers for request in receiver.requests)

    played(story)


def test_a_sink_that_fails_gets_everything_later_in_order(receiver, secrets):
    receiver.answers(f"token={CANARY}", Answer(500), Answer(429, {"Retry-After": "3"}), Answer(after=0.5))

    async def story():
        async with at_work(a_config(sink={}), secrets) as stage:
            stage.happens("a", "b", "c")
            await stage.until(lambda: len(stage.woken) == 3, "all are sent")
            assert [event.get_id() for event in events(receiver)] == ["a", "b", "c"]
            assert [r.answer.status for r in receiver.requests] == [500, 429, 200, 200, 200]
            assert receiver.requests[2].at - receiver.requests[1].at >= 3

    played(story)


def test_a_sink_that_hangs_is_given_up_and_asked_again(receiver, secrets, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 1.0)
    receiver.answers(f"token={CANARY}", NEVER, Answer())

    async def story():
        async with at_work(a_config(sink={}), secrets) as stage:
            stage.happens("a")
            await stage.until(lambda: stage.woken, "it is sent")
            assert [r.took for r in receiver.requests] == [False, True]

    played(story)


def test_an_event_that_a_sink_refuses_does_not_hold_up_the_others(receiver, secrets):
    before = count(telemetry.NOTIFICATIONS_DROPPED, "cloudevents", "refused")
    receiver.answers(f"token={CANARY}", Answer(400), Answer())

    async def story():
        async with at_work(a_config(sink={}), secrets) as stage:
            stage.happens("a", "b")
            await stage.until(lambda: stage.woken, "the second is sent")
            assert [event.get_id() for event in events(receiver)] == ["b"]
            assert count(telemetry.NOTIFICATIONS_DROPPED, "cloudevents", "refused") - before == 1

    played(story)


@pytest.mark.parametrize(
    ("status", "sent", "refused"),
    [(200, True, False), (202, True, False), (302, False, False), (400, False, True), (401, False, False), (404, False, False),
     (413, False, True), (422, False, True), (429, False, False), (500, False, False)],
)  # fmt: skip
def test_only_what_is_wrong_for_ever_is_given_up(status, sent, refused):
    answer = judge(status, "")
    assert (answer.sent, answer.refused) == (sent, refused)
