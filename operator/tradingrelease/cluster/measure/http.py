"""Asks a Service as its clients do: by its ClusterIP, over a new connection each time.

A connection that is kept goes on to the pods that a Service led to before, and would judge the wrong version. The
limits are those of probe.py: no redirects, no proxies, no credentials, bounded time and size.
"""

import ssl
from collections.abc import Mapping
from typing import Any, Final

from tradingrelease.cluster.probe import BODY_LIMIT, Answer, Request, as_json, forbidden, meets, send
from tradingrelease.policy.check_spec import HttpCheck
from tradingrelease.policy.measurements import Finding, HttpSubject, Measurement, Verdict

USER_AGENT: Final = "tradingrelease-check"


async def measure(measurement: Measurement, check: HttpCheck, insecure: ssl.SSLContext) -> Finding:
    """Ask once."""
    subject = measurement.subject
    if not isinstance(subject, HttpSubject):
        raise TypeError("an http check asks a Service")
    if not subject.address or not subject.port:
        return Finding(Verdict.INCONCLUSIVE, f"Service {check.service} has no ClusterIP, or no port {check.port!r}")
    if why := forbidden(subject.address, ""):
        return Finding(Verdict.INCONCLUSIVE, f"address {subject.address} is not asked: {why}")
    request = Request(
        check.method, check.scheme, subject.address, subject.port, check.path,
        measurement.check.timeout.total_seconds(),
        {h.name: h.value for h in check.headers} | {"User-Agent": USER_AGENT},
    )  # fmt: skip
    answer = await send(request, insecure)
    if isinstance(answer, Answer):
        return judge(check, subject, answer)
    # Without a connection nobody was heard: a node or the network may be at fault, and not the code.
    return Finding(Verdict.FAILED if answer.reached else Verdict.INCONCLUSIVE, answer.said)


def judge(check: HttpCheck, subject: HttpSubject, answer: Answer) -> Finding:
    """Judge an answer. What the body says stays here: only the status reaches the words of the finding."""
    if len(answer.body) > BODY_LIMIT:
        return Finding(Verdict.FAILED, f"HTTP {answer.status}, body longer than {BODY_LIMIT} bytes")
    text = answer.body.decode(errors="replace")
    parsed = as_json(text)
    if stranger := _stranger(subject, parsed):
        return Finding(Verdict.INCONCLUSIVE, f"HTTP {answer.status}, answered by {stranger}, which is not judged")
    if check.program is None:
        passed = 200 <= answer.status < 400
        return Finding(Verdict.PASSED if passed else Verdict.FAILED, f"HTTP {answer.status}")
    passed, said = meets(check.program, answer.status, text, parsed, subject.version)
    return Finding(Verdict.PASSED if passed else Verdict.FAILED, said)


def _stranger(subject: HttpSubject, parsed: Any) -> str:  # noqa: ANN401 - any JSON
    """Say who answered instead of a pod that is judged, where the answer names it."""
    if not isinstance(parsed, Mapping):
        return ""
    pod, version = parsed.get("pod"), parsed.get("version")
    if isinstance(pod, str) and pod in subject.other_pods:
        return f"pod {pod}"
    if isinstance(version, str) and version in subject.other_versions:
        return f"version {version}"
    return ""
