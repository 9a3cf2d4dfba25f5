"""The real operator tells people and programs, and never waits for them: hung receivers, restarts, two operators."""

import re
import subprocess
from collections import Counter

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat

from tests.e2e import builders
from tests.e2e.process import Operator
from tests.inputs.place import release
from tests.receiver import CANARY, Answer

NEVER = Answer(hangs=True)
TEAM, PAGER, SINK = f"team/hooks/{CANARY}", f"pager/hooks/{CANARY}", f"token={CANARY}"
MOST_WRITES = 15
"""Of one release, as issue 3 has it: with Events and status, without dry run, adoption and retirement."""


def go_live(arena, version, seconds=60):
    """Apply a version and wait until it is live and proven."""
    if arena.api.get("Service", "backend") is None:
        arena.apply(builders.service())
    arena.apply(release(version))
    return arena.until(lambda s: s.ready(version), f"version {version} is live and proven", seconds)


def happened(arena):
    """Return every transition that any recorded status told of, by number."""
    found = {}
    for event in arena.recorder.history():
        if event.kind == "TradingRelease":
            found |= {t["number"]: t for t in (event.body.get("status") or {}).get("transitions") or ()}
    return found


def told(arena, *names):
    """Tell whether status says that everybody was told everything."""
    status = arena.now.status()
    newest = status["transitions"][0]["number"]
    return all((status.get("notified") or {}).get(name) == newest for name in names)


def everybody_is_told(arena, *names, seconds=90):
    return arena.until(lambda _: told(arena, *names), f"{names} are told everything", seconds)


def words(request):
    """Return the transitions of a message, as reason and version."""
    return re.findall(
        r"^\*\*(\w+)(?: \(\w+\))?\*\* [^\s,]+(?:, version (\S+))?", request.json["text"].replace("\r", ""), re.MULTILINE
    )


def told_to(receiver, path):
    """Return how often each transition was told in a message that its sender knows to have arrived."""
    return Counter(line for request in receiver.got(path, took=True) for line in words(request))


def nothing_is_lost(arena, receiver):
    """Assert that the team was told everything, and nothing more than twice: a message may outlive who sent it."""
    wanted, found = expected(arena), told_to(receiver, TEAM)
    assert set(found) == set(wanted)
    assert not found - wanted - wanted


def expected(arena):
    return Counter((t["reason"], t.get("version", "")) for t in happened(arena).values())


def events(receiver):
    taken = receiver.got(SINK, took=True)
    return [
        from_http_event(HTTPMessage({k.lower(): v for k, v in r.headers.items()}, r.body), JSONFormat()) for r in taken
    ]


def test_everything_that_happens_is_told_once_and_costs_few_writes(arena, receiver):
    go_live(arena, "1")
    everybody_is_told(arena, "team", "pager", "cloudevents")
    arena.settled()
    before = arena.operator.writes()
    go_live(arena, "2")
    everybody_is_told(arena, "team", "pager", "cloudevents")
    arena.settled()
    # One dry run is among them; on a busy machine what one status says is told in two.
    written = arena.operator.writes() - before
    assert written <= MOST_WRITES + 1 + 2, "with all that is told, and that status says so"

    assert {"CandidateStarted", "Switched", "Proven"} <= {reason for reason, _ in told_to(receiver, TEAM)}
    assert told_to(receiver, TEAM) == expected(arena)
    assert told_to(receiver, PAGER) == Counter()
    assert [event.get_data()["number"] for event in events(receiver)] == sorted(happened(arena))
    assert len({event.get_id() for event in events(receiver)}) == len(happened(arena))


def test_the_command_of_a_message_goes_back_and_says_who_did_it(arena, receiver):
    go_live(arena, "1")
    go_live(arena, "2")
    receiver.until(lambda: ("Proven", "2") in told_to(receiver, TEAM), "version 2 is told to be proven")
    text = next(r for r in receiver.got(TEAM) if ("Proven", "2") in words(r)).json["text"]
    assert "To roll back to version 1:" in text
    line = text.partition("To roll back to version 1:")[2].partition("echo ")[2].partition("\n")[0]
    answer = subprocess.run(["sh", "-c", f"echo {line}"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    arena.until(lambda s: s.live() == "1" or s.status()["live"]["version"] == "1", "it is rolled back")
    receiver.until(lambda: ("RolledBack", "2") in told_to(receiver, PAGER), "the pager is told")
    (request,) = receiver.got(PAGER)
    text = request.json["text"]
    assert text.startswith(f"prod-eu: {arena.namespace}/shop 2: RolledBack")
    order = arena.now.all("ReleaseCommand")[0]["spec"]
    assert f"Who: {order['issuedBy']}, because: as a notification said" in text.replace("\\", "")
    assert re.search(r"How long: \d+ s, from \S+Z to \S+Z", text)
    everybody_is_told(arena, "team", "pager", "cloudevents")
    (event,) = [e for e in events(receiver) if e.get_type() == "tradingplatform.io.release.RolledBack"]
    assert (event.get_data()["outcome"], event.get_data()["by"]) == ("RolledBack", order["issuedBy"])


def test_hung_receivers_delay_no_release_and_are_told_all_after_a_restart(arena, receiver, settings):
    for path in (TEAM, PAGER, SINK):
        receiver.answers(path, NEVER)
    go_live(arena, "1")
    receiver.until(lambda: receiver.got(TEAM) and receiver.got(SINK), "both are tried")
    for version in ("2", "3"):
        go_live(arena, version)
    # Counted, not timed: whole releases, while not one message was taken by anybody.
    assert not [r for r in receiver.requests if r.took]
    waiting = arena.operator.samples("tradingrelease_notifications_waiting")
    assert {labels["target"] for labels, number in waiting if number > 0} == {"team", "cloudevents"}
    arena.operator.kill()

    for path in (TEAM, PAGER, SINK):
        receiver.answers(path, Answer())
    arena.operator.start(**settings)
    everybody_is_told(arena, "team", "pager", "cloudevents")
    nothing_is_lost(arena, receiver)
    assert [event.get_data()["number"] for event in events(receiver)] == sorted(happened(arena))


def test_a_crash_repeats_no_more_than_what_was_on_its_way_or_not_yet_said(arena, receiver, settings):
    """At least once: what was sent and is not in status when the process dies is sent again, under the same id."""
    go_live(arena, "1")
    everybody_is_told(arena, "team", "pager", "cloudevents")
    receiver.answers(TEAM, Answer(after=2.0))
    receiver.answers(SINK, Answer(after=0.5))
    began = len(receiver.requests)
    arena.apply(release("2"))
    receiver.until(lambda: len(receiver.requests) > began + 1, "something is on its way")
    arena.operator.kill()
    marks = arena.now.status()["notified"]
    arena.operator.start(**settings)
    arena.until(lambda s: s.ready("2"), "version 2 is live and proven")
    everybody_is_told(arena, "team", "pager", "cloudevents")

    wanted, found = expected(arena), told_to(receiver, TEAM)
    assert set(found) == set(wanted), "nothing is lost"
    unsaid = Counter((t["reason"], t.get("version", "")) for n, t in happened(arena).items() if n > marks["team"])
    assert not found - wanted - unsaid, "nothing is repeated that status had said"
    again = Counter(event.get_id() for event in events(receiver))
    assert set(again) == {t["id"] for t in happened(arena).values()}
    said = {t["id"] for n, t in happened(arena).items() if n <= marks["cloudevents"]}
    assert all(again[identity] == 1 for identity in said)
    assert max(again.values()) <= 2


def test_refused_specs_and_outages_are_told_and_their_end(arena, receiver):
    arena.apply(release("1"))  # its Service is missing
    receiver.until(lambda: any(reason == "ServiceMissing" for reason, _ in told_to(receiver, TEAM)), "it is told")
    go_live(arena, "1")
    receiver.until(lambda: any(reason == "Recovered" for reason, _ in told_to(receiver, TEAM)), "its end, too")
    severities = {t["reason"]: t["severity"] for t in happened(arena).values()}
    assert severities["Recovered"] == "Info"


@pytest.fixture
def lease(arena):
    """Let the operator keep a Lease in the namespace of the test."""
    return arena.leased()


def test_a_repair_is_told_once(arena, receiver):
    state = go_live(arena, "1")
    (name,) = [d["metadata"]["name"] for d in state.deployments()]
    edited = {"spec": {"template": {"metadata": {"labels": {"edited": "by-hand"}}}}}
    arena.api.patch("Deployment", name, edited)
    receiver.until(lambda: ("EditRestored", "1") in told_to(receiver, TEAM), "the repair is told")
    everybody_is_told(arena, "team", "pager", "cloudevents")
    arena.settled()
    assert told_to(receiver, TEAM)["EditRestored", "1"] == 1


def test_only_who_leads_tells_and_the_next_one_goes_on(arena, receiver, settings, lease, operator_kubeconfig, tmp_path):
    arena.operator.stop()
    peers = [arena.operator, Operator(arena.namespace, operator_kubeconfig, tmp_path / "peer.log", arena.recorder.note)]
    try:
        for number, peer in enumerate(peers):
            peer.start(**settings, **lease, TRADINGRELEASE_IDENTITY=f"peer-{number}")
        arena.until(lambda _: any(peer.leads for peer in peers), "one of them leads")
        go_live(arena, "1")
        everybody_is_told(arena, "team", "pager", "cloudevents")
        assert told_to(receiver, TEAM) == expected(arena), "each once, of two operators"
        receiver.answers(TEAM, NEVER)
        arena.apply(release("2"))
        arena.until(lambda s: s.ready("2"), "version 2 is live and proven")
        assert receiver.got(TEAM)
        next(peer for peer in peers if peer.leads).kill()
        receiver.answers(TEAM, Answer())
        everybody_is_told(arena, "team", "pager", "cloudevents")
        nothing_is_lost(arena, receiver)
    finally:
        for peer in peers:
            if peer.runs and peer is not arena.operator:
                peer.kill()
        if not arena.operator.runs:
            arena.operator.start(**settings)


def test_nobody_is_told_where_nothing_is_configured_but_it_is_recorded(arena, receiver):
    arena.operator.stop()
    arena.operator.start()
    go_live(arena, "1")
    arena.settled()
    assert [what["reason"] for _, what in sorted(happened(arena).items())][-1] == "Proven"
    assert "notified" not in arena.now.status()
    assert not receiver.requests
