"""What counts against a pod: a late or wrong answer does, a node that does not answer at all does not."""

import asyncio
import socket
import ssl
from datetime import timedelta

import pytest
from tradingrelease.cluster import probe
from tradingrelease.policy.model import Target
from tradingrelease.policy.spec import Health


@pytest.fixture(autouse=True)
def _loopback_may_be_asked(monkeypatch):
    monkeypatch.setattr(probe, "forbidden", lambda *_: "")


def ask(port):
    health = Health.model_validate({"httpGet": {"path": "/healthz", "port": port}, "timeout": timedelta(seconds=0.3)})
    target = Target("here", "uid", "pod", "127.0.0.1", "10.0.0.1", port, health, "1")
    return asyncio.run(probe.probe(target, ssl.create_default_context()))


def test_a_pod_that_accepts_and_does_not_answer_has_failed():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        verdict = ask(silent.getsockname()[1])
    assert not verdict.passed
    assert verdict.reached
    assert verdict.said == "no answer within 0.3 s"


def test_an_address_that_does_not_even_accept_says_nothing_about_the_code():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:  # a full backlog drops connections without a word, as a lost node does
            each.setblocking(False)
            each.connect_ex(address)
        verdict = ask(address[1])
        for each in waiting:
            each.close()
    assert not verdict.passed
    assert not verdict.reached
    assert verdict.said == "no connection within 0.3 s"


def test_a_refused_connection_is_a_failure():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    verdict = ask(port)
    assert not verdict.passed
    assert verdict.reached
    assert verdict.said == "connection refused"
