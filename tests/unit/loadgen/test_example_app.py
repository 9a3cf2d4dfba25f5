"""The example application behaves, and misbehaves, as its docstring says."""

import http.client
import json

from loadgen import Load, Target
from loadgen.record import Mode


def ask(pod, path="/", **headers):
    """Ask once, on a new connection; return status, headers and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", pod.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def test_it_says_who_it_is(start):
    pod = start(COMPONENT="ml-engine", VERSION="2.4.0", REVISION="abc", HOSTNAME="ml-engine-x")
    for path in ("/", "/healthz", "/readyz"):
        status, _, who = ask(pod, path)
        assert status == 200
        assert (who["component"], who["version"], who["revision"]) == ("ml-engine", "2.4.0", "abc")
        assert who["pod"] == "ml-engine-x"


def test_it_counts_its_answers_by_code(start):
    pod = start()
    ask(pod)
    assert ask(pod, "/nowhere")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", pod.port, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    assert 'http_requests_total{component="backend",version="1",path="/",code="200"} 1\n' in text
    assert 'path="other",code="404"} 1\n' in text


def test_it_turns_bad_for_users_and_probes_but_stays_ready(start):
    pod = start(FAIL_AFTER_SWITCH=0)
    assert ask(pod, "/healthz")[0] == 200
    assert ask(pod, "/", **{"X-Load": "1"})[0] == 500
    assert ask(pod, "/healthz")[0] == 500
    assert ask(pod, "/readyz")[0] == 200


def test_a_broken_pod_sends_its_clients_away(start):
    """kube-proxy never moves an established connection: who keeps one to a broken pod would stay broken."""
    assert ask(start(FAIL_AFTER_SWITCH=0), "/", **{"X-Load": "1"})[1]["Connection"] == "close"


def test_it_turns_bad_only_after_the_first_user(start, tmp_path):
    pod = start(FAIL_AFTER_SWITCH=0.5)
    with Load([Target("backend", pod.url)], tmp_path / "load.jsonl") as load:
        bad = load.wait_for(lambda records: next(iter(records.failed()), None), 10)
    first = load.records().first_answer()
    assert first.status == 200
    assert bad.done - first.sent >= 0.5


def test_it_crashes_with_its_last_words(start):
    pod = start(CRASH_AFTER=0.1)
    assert pod.process.wait(5) == 1
    assert "fatal: order book schema" in pod.process.stderr.read()


def test_it_drains_without_losing_a_request(start, tmp_path):
    """Until its drain is over it answers everybody, and no client stays on a kept connection."""
    pod = start(DRAIN=2)
    with Load([Target("backend", pod.url)], tmp_path / "load.jsonl", rate=200) as load:
        load.wait_for(lambda records: any(record.reused for record in records), 10)
        pod.process.terminate()
        assert pod.process.stdout.readline().endswith("draining for 2 s\n")
        told = load.wait_for(lambda records: records.last_answer(), 5)
        load.wait_for(lambda records: len(records.between(told.sent + 1)) > 10, 5)
        served = load.records().between(told.sent + 0.5, told.sent + 1)
    assert not served.failed().all
    assert not any(record.reused for record in served.of(mode=Mode.KEEPALIVE))
    assert pod.process.wait(5) == 0
