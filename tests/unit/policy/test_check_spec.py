"""What may be written under `checks`: refused with its position and what to write instead."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy import promql
from tradingrelease.policy.spec import Spec

from tests.builders import a_check, a_component, a_spec, parsed, rejected

HTTP = {"service": "backend", "path": "/", "port": "http"}
TWO = (a_component("backend"), a_component("frontend"))


def with_check(components=("backend",), **fields):
    return a_spec(components=components, checks=[a_check(**fields)])


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"http": {**HTTP, "expect": "response.status =="}}, "check 'check', http.expect: Failed to parse expression"),
        ({"http": {**HTTP, "expect": "response.status ==\n"}}, "ERROR: <input>:2:1"),
        (
            {"http": {**HTTP, "expect": "true &&\n  respnse.status == 200"}},
            "unknown name 'respnse' at 2:3; use response.status, response.json, response.body or release.version",
        ),
        ({"http": {**HTTP, "expect": "'a.b' != response.stats"}}, "unknown name 'response.stats' at 1:10; use"),
        ({"prometheus": {"query": "up", "expect": "value < 1.0"}}, "unknown name 'value' at 1:1; use result"),
        (
            {"prometheus": {"query": "up{\n r='$(revisio)'}", "expect": "result < 1.0"}},
            "prometheus.query: unknown argument $(revisio) at 2:5; use $(release), $(component), $(revision)",
        ),
        (
            {"prometheus": {"query": "up{pod=~`$(revision).*`}", "expect": "result < 1.0"}},
            "$(revision) at 1:10 stands within backquotes, where nothing can be escaped",
        ),
        (
            {"prometheus": {"query": "$(component)_up", "expect": "result < 1.0"}},
            '$(component) at 1:1 stands outside of a string: write it as a label value, "$(component)"',
        ),
        ({"logs": {"component": "backend", "pattern": "fatal|(oops"}}, "logs.pattern: missing ): fatal|(oops at 1:1"),
        ({"logs": {"component": "backend", "pattern": "a", "allow": "b(?=c)"}}, "invalid perl operator: (?= at 1:2"),
        ({"prometheus": {"query": 'up{a="b}', "expect": "result < 1.0"}}, "the string that begins at 1:6 does not end"),
    ],
)  # fmt: skip
def test_an_expression_is_refused_with_its_position(fields, advice):
    found = rejected(with_check(**fields))
    assert found.reason == "InvalidExpression"
    assert advice in found.message


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"http": {**HTTP, "service": "fronted"}}, "no component lists Service 'fronted': write one of backend, frontend"),
        ({"pods": {"component": "back"}}, "there is no component 'back': write one of backend, frontend"),
        ({"prometheus": {"component": "ml", "query": "up", "expect": "result > 0.0"}}, "there is no component 'ml'"),
        ({"prometheus": {"expect": "result > 0.0"}}, "write either a query or a template"),
        (
            {"prometheus": {"query": "up", "template": "up", "expect": "result > 0.0"}},
            "write either a query or a template",
        ),
    ],
)  # fmt: skip
def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(fields, advice):
    found = rejected(with_check(TWO, **fields))
    assert found.reason == "InvalidCheck"
    assert advice in found.message


@pytest.mark.parametrize("fields", [{}, {"http": HTTP, "pods": {}}])
def test_a_check_is_of_exactly_one_kind(fields):
    fields = {"http": None} | fields
    assert "write exactly one of prometheus, http, logs and pods" in rejected(with_check(**fields)).message


def test_two_checks_of_one_name_are_refused():
    found = rejected(a_spec(checks=[a_check(), a_check(pods={}, http=None)]))
    assert found.message == "two checks are named 'check': rename one"


# --- revisions --------------------------------------------------------------------------------------------------------


def test_a_release_without_checks_keeps_the_revision_that_it_had_before_there_were_any():
    assert parsed(a_spec()).revision == parsed(a_spec(checks=[])).revision


def test_a_check_judges_a_revision_so_it_is_part_of_it():
    revisions = {
        parsed(a_spec()).revision,
        parsed(with_check()).revision,
        parsed(with_check(failureLimit=1)).revision,
        parsed(with_check(dryRun=True)).revision,
    }
    assert len(revisions) == 4


def test_the_order_of_checks_means_nothing():
    one, other = a_check("one"), a_check("other")
    assert parsed(a_spec(checks=[one, other])).revision == parsed(a_spec(checks=[other, one])).revision


def test_a_stored_spec_reads_back_as_the_same_revision():
    spec = parsed(with_check(interval="1m30s", http={**HTTP, "headers": [{"name": "A", "value": "b"}]}))
    stored = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert Spec.model_validate(stored).revision == spec.revision


# --- arguments of a query ---------------------------------------------------------------------------------------------


def values(value):
    return dict.fromkeys(promql.ARGUMENTS, value)


def test_arguments_are_filled_in():
    query = 'rate(http{revision="$(revision)", ns=\'$(namespace)\', job="a-$(release)-z"}[1m]) # "$(no)'
    given_ = values("") | {"revision": "k3v9", "namespace": "prod", "release": "shop"}
    assert promql.rendered(query, given_) == 'rate(http{revision="k3v9", ns=\'prod\', job="a-shop-z"}[1m]) # "$(no)'


def unescaped(text):
    """Read a PromQL string as Prometheus does (Go's rules)."""
    return re.sub(
        r"\\(U[0-9a-f]{8}|.)", lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else m[1], text, flags=re.DOTALL
    )


@given(st.text(), st.sampled_from(["'", '"']))
def test_whatever_a_value_is_it_ends_where_its_string_ends(value, quote):
    query = promql.rendered(f"up{{a={quote}$(version){quote}}} or b", values(value))
    assert query.startswith(f"up{{a={quote}")
    assert query.endswith(f"{quote}}} or b")
    inner = query.removeprefix(f"up{{a={quote}").removesuffix(f"{quote}}} or b")
    assert unescaped(inner) == value
    assert not re.search(rf"(?<!\\)(?:\\\\)*{quote}", inner), "no quote that is not escaped"
    assert "\n" not in inner


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\n")))
def test_a_value_that_is_matched_as_a_regular_expression_matches_itself_only(value):
    query = promql.rendered('up{a=~"$(version)"}', values(value))
    pattern = unescaped(query.removeprefix('up{a=~"').removesuffix('"}'))
    assert re.fullmatch(pattern, value)
    assert not re.fullmatch(pattern, value + "x")


def test_a_version_cannot_add_to_a_query():
    query = promql.rendered('errors{v="$(version)"}', values('"} or vector(0) #'))
    assert query == 'errors{v="\\"} or vector(0) #"}'
