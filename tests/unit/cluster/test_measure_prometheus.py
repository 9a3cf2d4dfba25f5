"""Only exactly one finite number is judged. Whatever else a Prometheus answers is Inconclusive, never Passed."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.cluster.measure.prometheus import BODY_LIMIT, judge, number
from tradingrelease.policy.check_spec import PrometheusCheck
from tradingrelease.policy.measurements import Verdict

ALWAYS = PrometheusCheck(query="up", expect="result == result || result != result")
"""Passes whatever number there is."""


def series(value):
    return {"metric": {"pod": "a"}, "value": [1700000000.1, value]}


def vector(*values):
    return {"resultType": "vector", "result": [series(value) for value in values]}


def answer(data, **more):
    return json.dumps({"status": "success", "data": data, **more}).encode()


def found(data, check=ALWAYS, status=200, **more):
    return judge(check, status, answer(data, **more))


@pytest.mark.parametrize("data", [vector("0.04"), {"resultType": "scalar", "result": [1, "0.04"]}])
def test_one_number_is_judged_by_its_expression(data):
    check = PrometheusCheck(query="up", expect="result < 0.05")
    assert found(data, check).verdict is Verdict.PASSED
    assert found(data, check).value == 0.04
    assert found(data, PrometheusCheck(query="up", expect="result < 0.01")).verdict is Verdict.FAILED
    assert found(data, check).said == "the result is 0.04, expect is true"


LIES = [
    (vector("NaN"), "NaN"),
    (vector("+Inf"), "+Inf"),
    (vector("-Inf"), "-Inf"),
    (vector("1e999"), "1e999"),
    (vector(), "nothing"),
    (vector("0", "0"), "2 series"),
    ({"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "0"]]}]}, "a matrix"),
    ({"resultType": "string", "result": [1, "0"]}, "a string"),
    ({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {"sum": "0"}]}]}, "no number"),
    (vector(0), "no number"),
    (vector("zero"), "no number"),
    (vector(""), "no number"),
    (vector(None), "no number"),
    ({"resultType": "vector", "result": {}}, "a thing"),
    ({"resultType": "vector", "result": [0]}, "no number"),
    ({"resultType": "scalar", "result": "0"}, "no number"),
    ([], "a thing"),
    (None, "a thing"),
]


@pytest.mark.parametrize(("data", "said"), LIES, ids=lambda value: ascii(value)[:60])
def test_what_is_not_one_finite_number_is_inconclusive(data, said):
    finding = found(data)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert said in finding.said


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"", "without JSON"),
        (200, b"<html>ok</html>", "without JSON"),
        (200, b"[" * 100_000, "without JSON"),
        (200, b"null", "refused the query: HTTP 200"),
        (200, b'{"status": "error", "error": "1:4: parse error: no"}', "refused the query: 1:4: parse error: no"),
        (400, b'{"status": "error", "error": "1:4: parse error: no"}', "1:4: parse error: no"),
        (422, b'{"status": "error", "error": "no token=canary-7f3a91 here"}', "refused the query: no token=*** here"),
        (503, answer(vector("0")), "HTTP 503"),
        (302, answer(vector("0")), "HTTP 302"),
        (200, answer(vector("0"), warnings=["a store is down"]), "a store is down"),
        (200, answer(vector("0")) + b" " * BODY_LIMIT, "more than one number"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_answer_that_lies_is_inconclusive(status, body, said):
    finding = judge(ALWAYS, status, body)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert said in finding.said


@pytest.mark.parametrize("expect", ["result", "result + 1.0", "'yes'", "result / 0 == 1", "int(result) / 0 == 1"])
def test_an_expression_that_gives_no_truth_is_inconclusive(expect):
    assert found(vector("1"), PrometheusCheck(query="up", expect=expect)).verdict is Verdict.INCONCLUSIVE


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.sampled_from(["resultType", "result", "value", "vector", "scalar"]) | st.text(), s)))  # fmt: skip
def test_no_json_whatever_makes_a_number_that_is_not_finite(data):
    value = number(data)
    assert isinstance(value, str) or math.isfinite(value)


@given(st.text() | st.floats().map(str))
def test_a_text_is_a_number_only_if_it_is_one(text):
    value = number(vector(text))
    assert isinstance(value, str) or value == float(text)


def test_words_are_few_whatever_prometheus_says():
    finding = judge(ALWAYS, 400, json.dumps({"status": "error", "error": "x\n" * 9000}).encode())
    assert len(finding.said) <= 200
    assert "\n" not in finding.said
