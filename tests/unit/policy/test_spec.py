"""From what an author wrote to a Spec, or to a rejection that says what to write instead."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy import names
from tradingrelease.policy.check_spec import Check, HttpCheck, LogsCheck, PodsCheck, PrometheusCheck
from tradingrelease.policy.fields import duration
from tradingrelease.policy.spec import (
    Asked,
    Component,
    FailFast,
    Health,
    Hook,
    HttpGet,
    Rejected,
    Retain,
    Spec,
    Watch,
    Webhook,
    parse,
)

from tests.builders import a_component, a_health, a_spec, a_template, parsed, rejected

CRD = Path(__file__).parents[3] / "crds" / "tradingreleases.yaml"


# --- durations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("15m", 900), ("24h", 86400), ("1h30m", 5400), ("500ms", 0.5), ("1.5h", 5400), ("0s", 0)],
)
def test_a_duration_is_read_as_go_writes_it(text, seconds):
    assert timedelta(seconds=seconds) == duration(text)


@pytest.mark.parametrize("text", ["", "30", "15 m", "1d", "-5s", "m15", "1h30", "s"])
def test_what_is_no_duration_is_refused_with_advice(text):
    with pytest.raises(ValueError, match="write a number and a unit, such as 30s, 15m or 24h"):
        duration(text)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_hours_minutes_and_seconds_add_up(hours, minutes, seconds):
    assert timedelta(hours=hours, minutes=minutes, seconds=seconds) == duration(f"{hours}h{minutes}m{seconds}s")


# --- rejections -------------------------------------------------------------------------------------------------------


def test_a_missing_version_is_named():
    assert rejected({"components": [a_component()]}).message == "spec.version: Field required"


def test_a_bad_duration_is_named_with_its_field():
    found = rejected(a_spec(components=(a_component(progressDeadline="10 minutes"),)))
    assert found.message == (
        "spec.components.0.progressDeadline: '10 minutes' is no duration: write a number and a unit, "
        "such as 30s, 15m or 24h"
    )


def test_no_component_is_refused():
    assert rejected(a_spec(components=())).reason == "InvalidSpec"


def test_two_components_of_one_name_are_refused():
    found = rejected(a_spec(components=("backend", a_component("backend", services=["other"]))))
    assert found.message == "two components are named 'backend': rename one"


def test_a_service_under_two_components_is_refused():
    found = rejected(a_spec(components=("backend", a_component("frontend", services=["frontend", "backend"]))))
    assert found.message == "Service 'backend' is listed by component 'backend' and again by 'frontend': list it once"


def test_a_name_that_would_not_fit_is_refused_with_the_room_that_there_is():
    name = "a" * 48
    found = rejected(a_spec(components=(a_component(name),)))
    assert (
        f"component name {name!r} is too long: with release 'shop' at most 47 characters fit into the name of its "
        "Deployment"
    ) == found.message


def test_the_longest_name_that_fits_is_taken():
    spec = parsed(a_spec(components=(a_component("a" * 47),)))
    assert len(names.deployment_name("shop", spec.components[0].name, spec.components[0].revision)) == 63


def test_an_expression_that_does_not_compile_is_refused_with_the_compilers_words():
    found = rejected(a_spec(components=(a_component(health=a_health(expect="response.status ==")),)))
    assert found.reason == "InvalidExpression"
    assert found.message.startswith("component 'backend', health.expect: ")
    assert "\n" not in found.message


def test_an_unknown_name_in_an_expression_is_refused_with_those_that_there_are():
    found = rejected(a_spec(components=(a_component(health=a_health(expect="respnse.status == 200")),)))
    assert found.message == (
        "component 'backend', health.expect: unknown name 'respnse' at 1:1; use response.status, response.json, "
        "response.body or release.version"
    )


def test_the_variable_of_a_macro_is_no_unknown_name():
    health = a_health(expect="response.json.parts.all(part, part.ok) && release.version != ''")
    assert health["expect"] == parsed(a_spec(components=(a_component(health=health),))).components[0].health.expect


def test_a_field_of_another_version_of_the_crd_is_no_reason_to_refuse():
    assert parsed(a_spec()).revision == parsed(a_spec(hooks=[], unheardOf=True)).revision


# --- revisions --------------------------------------------------------------------------------------------------------


def test_the_component_revision_of_this_fixture_stays_for_ever():
    """An operator upgrade must never redeploy anybody. Do not remake these words."""
    template = {
        "metadata": {"labels": {"app": "backend", "tier": "ü"}, "annotations": None},
        "spec": {
            "containers": [{"name": "backend", "image": "registry.example.com/backend:2.4.0", "args": [], "tty": False}]
        },
    }
    health = {"httpGet": {"path": "/healthz", "port": 8080}, "timeout": "1s"}
    component = {"name": "backend", "services": ["backend"], "template": template, "health": health}
    spec = parsed({"version": "2.4.0", "components": [component], "watch": {"for": "10m"}})
    assert (spec.components[0].revision, spec.revision) == ("slgh6qlltt", "5slnlc7tgj")


def test_a_component_revision_hashes_nothing_but_the_template():
    one = a_component(replicas=3, minReadySeconds=9, health=a_health(interval="1s"))
    other = a_component(health=None)
    assert len({parsed(a_spec(components=(c,))).components[0].revision for c in (one, other)}) == 1


def test_null_and_absent_are_different_templates_since_an_author_wrote_different_things():
    absent, null = a_template(), a_template()
    null["metadata"]["annotations"] = None
    assert names.digest(absent) != names.digest(null)


@pytest.mark.parametrize(
    "settings",
    [{"retain": {"for": "1h"}}, {"retain": {"revisions": 3}}, {"keepFailedFor": "1h"}, {"onDelete": "Remove"}],
    ids=str,
)
def test_settings_are_no_part_of_a_revision(settings):
    assert parsed(a_spec()).revision == parsed(a_spec(**settings)).revision


def test_replicas_are_no_part_of_a_revision():
    assert parsed(a_spec()).revision == parsed(a_spec(components=(a_component(replicas=7),))).revision


@pytest.mark.parametrize(
    "changed",
    [
        a_spec("1.0.1"),
        a_spec(watch={"for": "5m"}),
        a_spec(failFast={"restartLimit": 9}),
        a_spec(components=(a_component(minReadySeconds=6),)),
        a_spec(components=(a_component(services=["backend", "more"]),)),
        a_spec(components=(a_component(health=a_health(timeout="1s")),)),
        a_spec(components=(a_component(allowUnlistedServices=["debug"]),)),
        a_spec(components=("backend", "frontend")),
    ],
    ids=lambda raw: str(raw)[:40],
)
def test_what_names_or_judges_a_revision_changes_it(changed):
    assert parsed(a_spec()).revision != parsed(changed).revision


def test_a_default_written_out_is_the_same_revision():
    health = {"httpGet": {"path": "/", "port": 80}}
    full = health | {"interval": "5s", "timeout": "2000ms", "successThreshold": 3, "failureThreshold": 3}
    full |= {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}
    short = a_spec(components=(a_component(health=health),))
    component = a_component(health=full, minReadySeconds=5, progressDeadline="600s", allowUnlistedServices=[])
    long = a_spec(components=(component,), watch={"for": "15m", "deadAfter": "10s"}, failFast={"stuckFor": "180s"})
    assert parsed(short).revision == parsed(long).revision


@given(st.permutations(["backend", "internal", "public"]))
def test_the_order_of_services_means_nothing(order):
    sorted_one = parsed(a_spec(components=(a_component(services=["backend", "internal", "public"]),)))
    assert sorted_one.revision == parsed(a_spec(components=(a_component(services=order),))).revision


def test_the_order_of_components_is_the_order_of_the_switch():
    there, back = parsed(a_spec(components=("a", "b"))), parsed(a_spec(components=("b", "a")))
    assert there.revision != back.revision


@given(st.lists(st.sampled_from(["1.0.0", "2.0.0"]), min_size=1, max_size=3), st.integers(0, 3), st.integers(1, 100))
def test_a_stored_spec_reads_back_as_the_same_revision(versions, seconds, milliseconds):
    components = tuple(a_component(f"c{i}", v, minReadySeconds=seconds) for i, v in enumerate(versions))
    spec = parsed(a_spec(components=components, watch={"for": f"{milliseconds}ms"}))
    stored = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert spec.revision == Spec.model_validate(stored).revision


# --- the schema -------------------------------------------------------------------------------------------------------


def properties(*path):
    """Return the properties of a part of the CRD's spec."""
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    found = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for step in path:
        found = found["properties"][step]
        found = found.get("items", found)
    return found["properties"]


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (Spec, ()),
        (Component, ("components",)),
        (Health, ("components", "health")),
        (HttpGet, ("components", "health", "httpGet")),
        (Hook, ("hooks",)),
        (Webhook, ("hooks", "webhook")),
        (Asked, ("approvals",)),
        (Check, ("checks",)),
        (HttpCheck, ("checks", "http")),
        (PrometheusCheck, ("checks", "prometheus")),
        (LogsCheck, ("checks", "logs")),
        (PodsCheck, ("checks", "pods")),
        (FailFast, ("failFast",)),
        (Watch, ("watch",)),
        (Retain, ("retain",)),
    ],
    ids=lambda x: x.__name__ if isinstance(x, type) else "/".join(x),
)
def test_the_defaults_are_those_of_the_schema(part, path):
    """Else a manifest without a field and one read back from the API server would be two revisions."""

    def ours(field):
        value = field.get_default()
        if isinstance(value, FailFast | Watch | Retain):
            return {}
        return value or None

    def theirs(field):
        value = field.get("default")
        value = tuple(value) if isinstance(value, list) else value
        spans = "duration" in str(field.get("x-kubernetes-validations", "")) and isinstance(value, str)
        return (duration(value) if spans else value) or None

    schema = properties(*path)
    fields = {field.alias: ours(field) for name, field in part.model_fields.items() if not field.is_required()}
    fields = {name: None if value == {} else value for name, value in fields.items()}
    written = {name: theirs(schema[name]) for name in fields}
    assert fields == written


def nested(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("levels", [100, 5000])
def test_a_spec_nested_without_sense_is_refused_before_anything_recurses(levels):
    found = parse(a_spec() | {"beside": nested(levels)}, "shop")
    assert isinstance(found, Rejected)
    assert "nested more than 100 levels deep" in found.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"watch": {"for": "9" * 400 + "h"}}, "too long a time"),
        ({"onDelete": "Perhaps"}, "spec.onDelete: Input should be 'Keep' or 'Remove'"),
        ({"components": [a_component() | {"template": {"metadata": "x"}}]}, "write metadata with labels"),
        (
            {"components": [a_component() | {"template": {"metadata": {"labels": []}}}]},
            "write metadata.labels as names",
        ),
        *[
            ({"components": [a_component(health={"httpGet": {"path": path, "port": 80}})]}, "begins with one '/'")
            for path in ("@169.254.169.254/", "//e", "http://e/", "/a@e", "")
        ],
        *[
            ({"components": [a_component(health={"httpGet": {"path": "/", "port": port}})]}, "from 1 to 65535")
            for port in (0, 65536, "e.example.com")
        ],
    ],
    ids=str,
)
def test_what_the_crd_refuses_is_refused_here_too(changes, words):
    """Stored specs and objects of an older CRD never passed the CRD of now."""
    found = parse(a_spec() | changes, "shop")
    assert isinstance(found, Rejected)
    assert words in found.message
