"""Expressions of bounded cost are taken; others are refused with what to write instead."""

import json
import time

import pytest
from tradingrelease.cluster.probe import BODY_LIMIT, judge
from tradingrelease.policy.expression import LARGEST, problem
from tradingrelease.policy.model import Target
from tradingrelease.policy.spec import Health

LONGEST = 1024
"""Characters that the CRD takes."""
MOST_SECONDS = 0.25
"""Of CPU."""


@pytest.mark.parametrize(
    "expression",
    [
        "response.status == 200 && response.json.version == release.version",
        "response.json.checks.all(check, check.status == 'pass')",
        "response.json.parts.exists (part, part.ok) || response.json.parts.exists_one(p, p.version == release.version)",
        "response.json.map == 1 && response.json['a.map(x, x)'] != ''",
        'response.body.contains(") && x.all(y, response.json.map(z, z + 1))")',
        r"response.body == r'\' || response.json.parts.all(part, part != r'\')",
        "response.status == 200 // .map(x, x)",
        "has(response.json.ok) && response.status in [200, 204]",
    ],
)
def test_what_costs_little_is_taken(expression):
    assert problem(expression) == ""


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("response.json.map(x, x + 1).size() > 0", "use all(), exists() or exists_one()"),
        ("response.json.filter (x, x == 1).size() > 0", "use all(), exists() or exists_one()"),
        ("response.json.all(x, x.all(y, y == 1))", "one after the other, joined by && or ||"),
        ("response.json.all(x, [')'].exists(y, y == x))", "one after the other, joined by && or ||"),
        ("response.json.all(x, response.json[0] == x)", "compare the item with values"),
        ("response.json.all(x, x + x != '')", "compare the item with values"),
        ("response.body.matches('ok')", "use contains(), startsWith(), endsWith() or =="),
        ("matches(response.body, response.body)", "use contains(), startsWith(), endsWith() or =="),
        ("response.json.all(x, y == 1)", "unknown name 'y' at 1:22; use response.status"),
        ("response.status ==", "rror"),
    ],
)
def test_what_may_cost_much_is_refused_with_what_to_write_instead(expression, advice):
    assert advice in problem(expression)


def repeated(part, joint):
    """Return as many of a part as an expression may be long."""
    return joint.join([part] * ((LONGEST + len(joint)) // (len(part) + len(joint))))


NUMBERS = [1] * (LARGEST - 1)
WORST = [
    ("response.json[0] == 1", " && ", NUMBERS),
    ("response.json.all(x, x == 1)", " && ", NUMBERS),
    ("response.json.exists_one(x, x == 2)", " || ", NUMBERS),
    ("response.json.all(x, " + "x==1&&" * 160 + "x==1)", "", NUMBERS),
    ("response.json == response.json", " && ", NUMBERS),
    ("response.body + response.body == ''", " || ", "x" * (BODY_LIMIT - 2)),
    ("response.body+" * 72 + "''==''", "", "x" * (BODY_LIMIT - 2)),
    ("response.json.all(x, x != '')", " && ", {"x" * 20 + str(number): 1 for number in range(LARGEST - 1)}),
]


@pytest.mark.parametrize(("part", "joint", "answer"), WORST, ids=[part[:30] for part, _, _ in WORST])
def test_the_worst_that_is_taken_does_not_hold_up_the_event_loop(part, joint, answer):
    expression = repeated(part, joint) if joint else part
    body = json.dumps(answer, separators=(",", ":")).encode()
    assert (problem(expression), len(expression) <= LONGEST, len(body) <= BODY_LIMIT) == ("", True, True)
    health = Health.model_validate({"httpGet": {"path": "/", "port": 80}, "expect": expression})
    target = Target("scope", "uid", "pod", "10.0.0.1", "192.168.0.1", 80, health, "1")

    began = time.thread_time()
    verdict = judge(target, 200, body)

    assert "expect is " in verdict.said
    assert time.thread_time() - began < MOST_SECONDS


def test_an_answer_of_too_many_values_is_not_evaluated():
    health = Health.model_validate({"httpGet": {"path": "/", "port": 80}, "expect": "response.status == 200"})
    target = Target("scope", "uid", "pod", "10.0.0.1", "192.168.0.1", 80, health, "1")

    many = judge(target, 200, json.dumps({"values": [1] * LARGEST}).encode())
    most = judge(target, 200, json.dumps({"values": [1] * (LARGEST - 2)}).encode())

    assert many.said == f"HTTP 200, JSON of more than {LARGEST} values is not given to expect"
    assert most.passed
