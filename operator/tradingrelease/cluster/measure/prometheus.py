"""Asks Prometheus for one number. Its server comes from the operator's configuration and from nowhere else."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from tradingrelease.cluster import outward
from tradingrelease.cluster.probe import evaluated
from tradingrelease.policy.check_spec import PrometheusCheck
from tradingrelease.policy.measurements import Finding, Measurement, QuerySubject, Verdict
from tradingrelease.policy.redaction import redacted

BODY_LIMIT: Final = 256 * 1024
"""One number needs some hundred bytes; a query that gives so much more has no single result anyway."""
LONGEST_WORDS: Final = 200


async def measure(measurement: Measurement, check: PrometheusCheck, server: str) -> Finding:
    """Ask once."""
    subject = measurement.subject
    if not isinstance(subject, QuerySubject):
        raise TypeError("a prometheus check asks a query")
    if not server:
        return _unknown("the operator knows no Prometheus (TRADINGRELEASE_PROMETHEUS_URL)")
    if not subject.query:
        return _unknown(f"the operator's configuration has no template {check.template!r}")
    seconds = measurement.check.timeout.total_seconds()
    form = {"query": subject.query, "timeout": f"{seconds:g}s"}
    try:
        async with (
            outward.session(seconds, decompress=True) as session,
            session.post(f"{server}/api/v1/query", data=form, allow_redirects=False) as response,
        ):
            return judge(check, response.status, await outward.read(response, BODY_LIMIT))
    except TimeoutError:
        return _unknown(f"Prometheus gave no answer within {seconds:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _unknown(f"Prometheus gave no answer ({type(error).__name__})")


def judge(check: PrometheusCheck, status: int, body: bytes) -> Finding:
    """Judge an answer: passed or failed only where it is exactly one finite number."""
    if len(body) > BODY_LIMIT:
        return _unknown("Prometheus answered more than one number")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _unknown(f"Prometheus answered HTTP {status} without JSON")
    if not isinstance(answer, Mapping) or status != 200 or answer.get("status") != "success":
        said = redacted(str(answer.get("error") or "")) if isinstance(answer, Mapping) else ""
        return _unknown(f"Prometheus refused the query: {said or f'HTTP {status}'}")
    if answer.get("warnings"):
        return _unknown(f"Prometheus warns: {answer['warnings']}")
    value = number(answer.get("data"))
    if isinstance(value, str):
        return _unknown(value)
    holds, said = evaluated(check.program, {"result": value})
    if holds is None:
        return Finding(Verdict.INCONCLUSIVE, f"the result is {value:g}, {said}", value)
    return Finding(Verdict.PASSED if holds else Verdict.FAILED, f"the result is {value:g}, {said}", value)


def number(data: Any) -> float | str:  # noqa: ANN401 - any JSON
    """Return the one finite number of an instant query's answer, or say why there is none."""
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, Mapping) else (None, None)
    if kind == "vector" and isinstance(result, list):
        if len(result) != 1:
            what = f"{len(result)} series" if result else "nothing"
            return f"the query gives {what} and not one number"
        result = result[0].get("value") if isinstance(result[0], Mapping) else None
    elif kind != "scalar":
        return f"the query gives a {kind if kind in ('matrix', 'string') else 'thing'} and not one number"
    if not isinstance(result, list) or len(result) != 2 or not isinstance(result[1], str):
        return "the query gives no number"
    try:
        value = float(result[1])
    except ValueError:
        return "the query gives no number"
    return value if math.isfinite(value) else f"the query gives {result[1][:8]}"


def _unknown(said: str) -> Finding:
    return Finding(Verdict.INCONCLUSIVE, " ".join(said.split())[:LONGEST_WORDS])
