"""Pods that answer a health check badly: each answer is a failure in its time, and costs the operator no more than that."""

import asyncio
import contextlib
import gzip
import ssl
import subprocess
import time

import pytest
from tradingrelease.cluster.probe import probe
from tradingrelease.policy.model import Target
from tradingrelease.policy.spec import Health

from tests.inputs.nodes import ADDRESS

pytestmark = pytest.mark.usefixtures("plane")  # its network has that address

HEADERS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ENDLESS = b"x" * 65536
DEEP = b'{"a":' * 20000 + b"1" + b"}" * 20000


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _ask(answer, expect, context):
    """Let a server, on an address that a pod could have, answer one probe."""

    async def served(_, writer):
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            for piece in answer:
                if piece is None:
                    await asyncio.sleep(30)
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(served, ADDRESS, 0, ssl=context)
    health = {"httpGet": {"path": "/", "port": 80, "scheme": "HTTPS" if context else "HTTP"}, "timeout": "1s"}
    health |= {"expect": expect} if expect else {}
    target = Target(
        "s", "uid", "pod", ADDRESS, "", server.sockets[0].getsockname()[1], Health.model_validate(health), "2"
    )
    try:
        return await probe(target, insecure())
    finally:
        server.close()


def asked(*answer, expect="", context=None):
    began = time.monotonic()
    verdict = asyncio.run(_ask(answer, expect, context))
    assert time.monotonic() - began < 10
    return verdict


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((None,), id="silence"),
        pytest.param((HEADERS, None), id="headers without an end"),
        pytest.param((HEADERS + b"Content-Length: 10000000000\r\n\r\n", *[ENDLESS] * 64), id="10 GB"),
        pytest.param((HEADERS + b"\r\n", *[ENDLESS] * 64), id="endless"),
        pytest.param((HEADERS + b"X: " + ENDLESS + b"\r\n\r\n",), id="one large header"),
        pytest.param((HEADERS + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)) + b"\r\n",), id="many headers"),
        pytest.param((b"nonsense\r\n\r\n",), id="no HTTP"),
        pytest.param((), id="nothing"),
    ],
)
def test_row_51_an_answer_without_an_end(answer):
    verdict = asked(*answer)

    assert not verdict.passed
    assert len(verdict.said) < 200


def test_row_51_a_bomb_stays_packed():
    bomb = gzip.compress(b"0" * 100_000_000)
    verdict = asked(HEADERS + b"Content-Encoding: gzip\r\n\r\n", bomb[:60_000], expect="response.body.size() > 1000000")

    assert (verdict.passed, verdict.said) == (False, "HTTP 200, expect is false")  # unpacked it would be too long


def test_row_52_a_redirect_is_not_followed():
    """302 passes, as for the kubelet; where it leads to is asked for nothing."""
    where = b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: http://169.254.169.254/\r\n\r\n"

    assert asked(where).said == "HTTP 302"


@pytest.mark.parametrize(
    ("body", "passes"),
    [
        (b'{"status": "error"}', False),
        (b'{"status": "ok"', False),
        (b"\xff\xfe\x00\x00", False),
        ('{"status": "ok"}'.encode("utf-16"), False),
        (DEEP[:60_000], False),
        (b"[" * 60_000, False),
        (b"NaN", False),
        (b"9" * 60_000, False),
        (b"", False),
        (b'{"status": "ok"}', True),
    ],
    ids=["error", "half", "binary", "charset", "deep", "deeper", "nan", "digits", "empty", "good"],
)
def test_row_55_a_body_that_says_otherwise(body, passes):
    verdict = asked(
        HEADERS + b"Content-Type: application/json; charset=klingon\r\n\r\n" + body,
        expect='response.json.status == "ok"',
    )

    assert verdict.passed is passes


CA = """
[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = anything
[anything]
commonName = supplied
"""


@pytest.mark.parametrize("end", ["20200102000000Z", "20990101000000Z"], ids=["expired", "self-signed"])
def test_row_56_a_certificate_that_nobody_would_trust(tmp_path, end):
    """Judged is the pod at this address, as by the kubelet: pods serve certificates of their own."""
    for name, text in {"ca.conf": CA, "index": "", "serial": "01"}.items():
        (tmp_path / name).write_text(text)
    for command in (
        "req -new -newkey rsa:2048 -nodes -subj /CN=elsewhere -keyout key -out csr",
        f"ca -config ca.conf -batch -selfsign -keyfile key -in csr -out crt -startdate 20200101000000Z -enddate {end}",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    assert asked(HEADERS + b"Content-Length: 0\r\n\r\n", context=context).passed
