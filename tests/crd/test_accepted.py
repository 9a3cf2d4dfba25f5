"""What authors write is taken: as they wrote it, with every default, in every way of applying it."""

import json
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.apiserver

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

DEFAULTS_OF_A_RELEASE = {
    "failFast": {"restartLimit": 2, "stuckFor": "3m"},
    "watch": {"for": "15m", "deadAfter": "10s"},
    "retain": {"for": "24h", "revisions": 1},
    "keepFailedFor": "15m",
    "onDelete": "Keep",
}
POD = {"spec": {"containers": [{"name": "main", "image": "migrate:1"}]}}
DEFAULTS_OF_A_COMPONENT = {"minReadySeconds": 5, "progressDeadline": "10m"}
DEFAULTS_OF_A_CHECK = {
    "during": ["Verify", "Watch"],
    "interval": "10s",
    "timeout": "5s",
    "failureLimit": 3,
    "successLimit": 3,
    "inconclusiveLimit": 3,
    "initialDelay": "0s",
    "dryRun": False,
}
DEFAULTS_OF_HEALTH = {"interval": "5s", "timeout": "2s", "successThreshold": 3, "failureThreshold": 3}

# What a typed schema would drop, reorder or fill in.
AWKWARD_TEMPLATE = {
    "metadata": {
        "labels": {"app": "backend", "empty": "", "none": None},
        "annotations": None,
        "creationTimestamp": None,
        "unknown": {"deep": [{"er": None}]},
    },
    "spec": {
        "containers": [
            {
                "name": "backend",
                "image": "registry.example.com/backend:2.4.0",
                "ports": None,
                "env": [
                    {"name": "B", "value": "2"},
                    {"name": "A", "value": "1\n\t\u00e9\u2028"},
                    {"name": "A", "value": ""},
                ],
                "resources": {"limits": {"cpu": 1.5, "memory": "1Gi"}, "requests": {}},
                "misspelt": True,
            },
            {"name": "a-sidecar-that-sorts-first"},
        ],
        "initContainers": [],
        "serviceAccountName": "",
        "number": 9007199254740993,
    },
    "beside": [1, [2, None]],
}


def canonical(value):
    return json.dumps(value, sort_keys=True)


def test_the_smallest_release_gets_every_default(server, release):
    spec = server.accepted(release)["spec"]

    written = release["spec"]["components"][0]
    assert spec == {
        "version": "2.4.0",
        "components": [written | DEFAULTS_OF_A_COMPONENT],
        **DEFAULTS_OF_A_RELEASE,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "spec/selector": {
                "matchLabels": {"tier": "trading"},
                "matchExpressions": [{"key": "lab", "operator": "DoesNotExist"}],
            }
        },
        {
            "spec/between": ...,
            "spec/weekly": [{"days": ["Saturday", "Sunday"], "from": "00:00", "to": "24:00", "timeZone": "Etc/GMT+5"}],
        },
        {"spec/between": ..., "spec/calendar": {"name": "24-5", "sessions": "Edges", "before": "30m"}},
    ],
)
def test_a_freeze_is_taken_and_gets_its_defaults(server, freeze, changed, changes):
    written = changed(freeze, changes)["spec"]
    if "calendar" in written:
        written["calendar"]["after"] = "0s"
    assert server.accepted(changed(freeze, changes))["spec"] == written | {"overrideRequires": 1}


def test_an_override_is_taken_as_written(server, order, changed):
    spec = {"action": "Override", "freeze": "quarter-close", "reason": "the fix", "issuedBy": "jane", "attempt": 2}
    written = changed(order, {f"spec/{key}": value for key, value in spec.items()})
    assert server.accepted(written)["spec"] == written["spec"] | {"force": False}


@pytest.mark.parametrize("block", ["failFast", "watch", "retain"])
@pytest.mark.parametrize("written", [{}, None], ids=["empty", "null"])
def test_an_empty_block_gets_its_defaults_too(server, release, changed, block, written):
    assert DEFAULTS_OF_A_RELEASE[block] == server.accepted(changed(release, {f"spec/{block}": written}))["spec"][block]


def test_one_field_of_a_block_leaves_the_others_their_defaults(server, release, changed):
    spec = server.accepted(changed(release, {"spec/watch": {"for": "1h"}, "spec/retain": {"revisions": 2}}))["spec"]

    assert spec["watch"] == {"for": "1h", "deadAfter": "10s"}
    assert spec["retain"] == {"for": "24h", "revisions": 2}


def test_health_has_defaults_but_is_not_one(server, release, changed):
    asked = {"httpGet": {"path": "/healthz", "port": "http"}}
    health = server.accepted(changed(release, {"spec/components/0/health": asked}))["spec"]["components"][0]["health"]

    assert health == {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, **DEFAULTS_OF_HEALTH}
    assert "health" not in server.accepted(release)["spec"]["components"][0]


def test_a_hook_has_defaults_and_its_job_is_kept_as_written(server, release, changed):
    written = {
        "name": "migrate",
        "at": "BeforeGreen",
        "job": {"template": AWKWARD_TEMPLATE, "unknown": {"deep": [None]}},
    }
    (hook,) = server.accepted(changed(release, {"spec/hooks": [written]}))["spec"]["hooks"]

    defaults = {"timeout": "10m", "onFailure": "Fail", "irreversible": False}
    assert canonical(hook) == canonical(written | defaults)


def test_an_approval_has_defaults(server, release, changed):
    asked = {"spec/approvals": [{"at": "BeforeGreen"}, {"at": "BeforeSwitch", "required": 10, "timeout": "720h"}]}
    first, second = server.accepted(changed(release, asked))["spec"]["approvals"]

    assert first == {"at": "BeforeGreen", "required": 1, "notByAuthor": True, "timeout": "24h", "onTimeout": "Abort"}
    assert (second["required"], second["timeout"]) == (10, "720h")


def test_replicas_have_no_default(server, release):
    assert "replicas" not in server.accepted(release)["spec"]["components"][0]


@pytest.mark.parametrize(
    "kind",
    [
        {"http": {"service": "backend", "path": "/orders?limit=1", "port": 80}},
        {
            "http": {
                "service": "backend",
                "path": "/",
                "port": "http",
                "headers": [{"name": "Accept", "value": "a/b;q=1"}],
            }
        },
        {"prometheus": {"query": 'up{revision="$(revision)"}', "expect": "result == 1.0"}},
        {"prometheus": {"template": "error-rate", "component": "backend", "expect": "result < 0.05"}},
        {"logs": {"component": "backend", "pattern": "(?i)error", "allow": "retrying", "maxPerMinute": 3}},
        {"pods": {}},
        {"pods": {"component": "backend", "restarts": 1, "readinessFlaps": 2}},
    ],
    ids=lambda kind: next(iter(kind)),
)
def test_a_check_gets_its_defaults(server, release, changed, kind):
    stored = server.accepted(changed(release, {"spec/checks": [{"name": "orders", **kind}]}))["spec"]["checks"]

    assert len(stored) == 1
    assert _within({"name": "orders", **DEFAULTS_OF_A_CHECK, **kind}, stored[0])


@pytest.mark.parametrize("name", ["minimal.yaml", "full.yaml"])
def test_an_example_is_accepted_and_loses_nothing(server, name):
    example = yaml.safe_load((EXAMPLES / name).read_text())
    stored = server.read("create", "--dry-run=server", "--validate=strict", "-f", "-", manifest=_anywhere(example))

    assert _within(example["spec"], stored["spec"])
    for hook, written in zip(stored["spec"].get("hooks", ()), example["spec"].get("hooks", ()), strict=True):
        assert canonical(hook.get("job")) == canonical(written.get("job"))
    for component, written in zip(stored["spec"]["components"], example["spec"]["components"], strict=True):
        assert canonical(component["template"]) == canonical(written["template"])


def test_the_full_example_shows_every_field():
    example = yaml.safe_load((EXAMPLES / "full.yaml").read_text())
    crd = yaml.safe_load((EXAMPLES.parent / "crds" / "tradingreleases.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    assert _fields_of_the_schema(schema["properties"]["spec"]) == _fields_of_the_value(example["spec"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec/version", "7"),
        ("spec/version", "2.4.0-rc.1+build_7"),
        ("spec/version", "v" * 63),
        ("spec/components/0/replicas", 0),
        ("spec/components/0/progressDeadline", "1h30m"),
        ("spec/components/0/progressDeadline", "90.5s"),
        ("spec/watch", {"for": "0s"}),
        ("spec/watch", {"for": "24h"}),
        ("spec/retain", {"for": "720h"}),
        ("spec/retain", {"for": "0s"}),
        ("spec/keepFailedFor", "168h"),
        ("spec/onDelete", "Remove"),
        (
            "spec/components/0/health",
            {"httpGet": {"path": "/", "port": 65535}, "interval": "2s", "timeout": "2s"},
        ),
        (
            "spec/components/0/health",
            {"httpGet": {"path": "/a//b?c=%20&d=http://e", "port": "web-8080"}, "timeout": "100ms"},
        ),
        ("spec/components/0/template/metadata/labels/example.com~1tradingplatform.io", "a"),
        ("spec/components/0/template/metadata/annotations", {"tradingplatform.io": "not in the domain"}),
        ("spec/components/0/services", ["a" * 55]),
        ("metadata/name", "a" * 40),
        (
            "spec/hooks",
            [{"name": "h" * 50, "at": "AfterRollback", "webhook": {"url": "https://h:8443/a?b=c"}, "timeout": "24h"}],
        ),
        ("spec/hooks", [{"name": "migrate", "at": "BeforeGreen", "irreversible": True, "job": {"template": POD}}]),
    ],
    ids=str,
)
def test_what_is_at_the_limit_is_accepted(server, release, changed, path, value):
    server.accepted(changed(release, {path: value}))


def test_the_largest_release_stays_within_the_cost_that_rules_may_have(server, release, changed):
    """The static estimate passed when the CRD was applied; this is the cost at run time."""
    component = release["spec"]["components"][0]
    components = [
        component
        | {
            "name": f"component-{number:02}-{'n' * 13}",
            "services": [f"service-{number:02}-{place}-{'s' * 42}" for place in range(8)],
            "allowUnlistedServices": [f"peer-{place:02}-{'p' * 54}" for place in range(32)],
            "health": {"httpGet": {"path": "/" + "p" * 255, "port": "name-of-15-char"}, "expect": "e" * 1024},
        }
        for number in range(16)
    ]
    largest = changed(release, {"spec/components": components, "metadata/name": "r" * 25})

    assert len(server.accepted(largest)["spec"]["components"]) == 16


@pytest.mark.parametrize("way", [["create"], ["apply", "--server-side"]], ids=["create", "server-side-apply"])
def test_a_template_is_stored_exactly_as_written(server, namespace, release, changed, way):
    awkward = changed(release, {"spec/components/0/template": AWKWARD_TEMPLATE})
    server.kubectl(*way, "-n", namespace, "--validate=strict", "-f", "-", manifest=awkward)
    server.kubectl(
        "patch",
        "tr",
        "trading-platform",
        "-n",
        namespace,
        "--type=merge",
        "-p",
        '{"spec": {"onDelete": "Remove"}}',
    )

    stored = server.read("get", "tr", "trading-platform", "-n", namespace)["spec"]["components"][0]["template"]
    assert canonical(stored) == canonical(AWKWARD_TEMPLATE)


def test_two_managers_apply_their_own_components(server, namespace, release, changed):
    """A team that applies its component leaves the others' alone, and takes only its own away again."""
    frontend = {
        "name": "frontend",
        "services": ["frontend"],
        "template": {"spec": {"containers": [{"name": "frontend", "image": "registry.example.com/frontend:1"}]}},
    }
    other_team = changed(release, {"spec/version": ..., "spec/components": [frontend]})
    apply = ["apply", "--server-side", "-n", namespace, "-f", "-"]

    server.kubectl(*apply, "--field-manager=backend-team", manifest=release)
    server.kubectl(*apply, "--field-manager=frontend-team", manifest=other_team)
    assert _components(server, namespace) == ["backend", "frontend"]

    more = changed(release, {"spec/components/0/services/1": "backend-public"})
    server.kubectl(*apply, "--field-manager=backend-team", manifest=more)
    assert _components(server, namespace) == ["backend", "frontend"]

    server.kubectl(*apply, "--field-manager=frontend-team", manifest=changed(other_team, {"spec/components": []}))
    assert _components(server, namespace) == ["backend"]


def test_a_status_that_the_author_writes_is_dropped(server, release, changed):
    """What stands there then is the default: nobody has looked."""
    stored = server.accepted(changed(release, {"status": {"phase": "Live"}}))
    assert stored["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize("action", ["Approve", "Rollback", "Abort", "Retry", "Pause", "Resume"])
def test_every_action_can_be_ordered(server, order, changed, action):
    changes = {"spec/action": action} | ({"spec/attempt": 1} if action == "Approve" else {})
    changes |= {"spec/revision": ...} if action in {"Pause", "Resume"} else {}

    assert server.accepted(changed(order, changes))["spec"]["force"] is False


def _anywhere(example):
    """Take the namespace of an example away: it is not there."""
    return example | {"metadata": {"name": example["metadata"]["name"]}}


def _within(written, stored):
    """Tell whether everything that was written is there, defaults beside it."""
    if isinstance(written, dict):
        return all(key in stored and _within(value, stored[key]) for key, value in written.items())
    if isinstance(written, list):
        return all(_within(value, there) for value, there in zip(written, stored, strict=True))
    return written == stored


def _components(server, namespace):
    return [
        component["name"]
        for component in server.read("get", "tr", "trading-platform", "-n", namespace)["spec"]["components"]
    ]


def _fields_of_the_schema(schema, path=""):
    if path.endswith("/template"):
        return {path}
    below = schema.get("items", schema).get("properties", {})
    return {path}.union(*(_fields_of_the_schema(field, f"{path}/{name}") for name, field in below.items()))


def _fields_of_the_value(value, path=""):
    if path.endswith("/template"):
        return {path}
    if isinstance(value, dict):
        return {path}.union(*(_fields_of_the_value(below, f"{path}/{name}") for name, below in value.items()))
    if isinstance(value, list):
        return {path}.union(*(_fields_of_the_value(below, path) for below in value))
    return {path}
