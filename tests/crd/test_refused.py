"""What is refused, and that the refusal says what to write instead."""

import json

import pytest

pytestmark = pytest.mark.apiserver

STATUS = ("--subresource=status", "--type=merge", "-p")
ANSWERED = {"phase": "Done", "reason": "RolledBack", "message": "back on 2.3.9", "at": "2030-01-01T00:00:00Z"}

COMPONENT = "spec/components/0"
HEALTH = f"{COMPONENT}/health"
LABELS = f"{COMPONENT}/template/metadata/labels"
CONTAINERS = f"{COMPONENT}/template/spec/containers"
ANOTHER = {"services": ["frontend"], "template": {"spec": {"containers": [{"name": "main"}]}}}

HOOK = {"name": "migrate", "at": "BeforeGreen", "job": {"template": {"spec": {"containers": [{"name": "main"}]}}}}


def asking(path="/healthz", port="http", **more):
    return {HEALTH: {"httpGet": {"path": path, "port": port}, **more}}


def checking(name="check", **fields):
    """Write one check."""
    return {"spec/checks": [{"name": name, **fields}]}


SERVICE = {"service": "backend", "path": "/", "port": "http"}
LIMITS = ("failureLimit", "successLimit", "inconclusiveLimit")
ONE_KIND = "write exactly one of prometheus, http, logs and pods"

NAME = "write metadata.name with lower-case letters, digits and '-' only"
COMPONENT_NAME = "write lower-case letters, digits and '-' only"
SERVICE_NAME = "write the bare name of a Service of this namespace, such as backend"
VERSION = "write 1 to 63 letters, digits, '.', '_', '+' and '-'"
PATH = "write a path that begins with one '/', such as /healthz"
PORT = "write a number from 1 to 65535 without quotes, such as 8080, or the name of a port"

REFUSED_RELEASES = [
    # nothing, or nothing in it
    ({"spec": ...}, "spec: Required value"),
    ({"spec": None}, "spec: Required value"),
    ({"spec": {}}, "spec.version: Required value"),
    ({"spec": {}}, "spec.components: Required value"),
    ({"spec/version": None}, "spec.version: Required value"),
    ({"spec/components": []}, "spec.components in body should have at least 1 items"),
    ({f"{COMPONENT}/name": ...}, "name: Required value"),
    ({f"{COMPONENT}/services": ...}, "services: Required value"),
    ({f"{COMPONENT}/services": []}, "services in body should have at least 1 items"),
    ({f"{COMPONENT}/template": ...}, "template: Required value"),
    ({f"{COMPONENT}/template": None}, "template: Required value"),
    ({f"{COMPONENT}/template": []}, "template in body must be of type object"),
    ({f"{COMPONENT}/template/spec": ...}, "template.spec: Required value"),
    ({CONTAINERS: ...}, "template.spec.containers: Required value"),
    ({CONTAINERS: None}, "template.spec.containers: Required value"),
    ({CONTAINERS: []}, "template.spec.containers in body should have at least 1 items"),
    ({f"{CONTAINERS}/0/name": ...}, "containers[0].name: Required value"),
    ({f"{CONTAINERS}/1": {"name": "backend"}}, 'containers[1]: Duplicate value: {"name":"backend"}'),
    ({HEALTH: {}}, "health.httpGet: Required value"),
    ({HEALTH: {"httpGet": {"port": 80}}}, "httpGet.path: Required value"),
    ({HEALTH: {"httpGet": {"path": "/"}}}, "httpGet.port: Required value"),
    # names
    ({"metadata/name": "trading.platform"}, NAME),
    ({"metadata/name": "2trading"}, NAME),
    ({"metadata/name": "a" * 41}, "shorten metadata.name to at most 40 characters"),
    (
        {"metadata/name": "a" * 40, f"{COMPONENT}/name": "b" * 12},
        "shorten metadata.name or the component's name to at most 51 characters together",
    ),
    ({f"{COMPONENT}/name": "Backend"}, COMPONENT_NAME),
    ({f"{COMPONENT}/name": "backend-"}, COMPONENT_NAME),
    ({f"{COMPONENT}/name": "back.end"}, COMPONENT_NAME),
    ({f"{COMPONENT}/name": "backend\n"}, COMPONENT_NAME),
    ({f"{COMPONENT}/name": ""}, COMPONENT_NAME),
    ({f"{COMPONENT}/name": "b" * 51}, "name: Too long: may not be more than 50"),
    ({f"{COMPONENT}/services/0": "production/backend"}, SERVICE_NAME),
    ({f"{COMPONENT}/services/0": "backend.production.svc"}, SERVICE_NAME),
    ({f"{COMPONENT}/services/0": "../backend"}, SERVICE_NAME),
    ({f"{COMPONENT}/services/0": "Backend"}, SERVICE_NAME),
    (
        {f"{COMPONENT}/services/0": "b" * 56},
        "use a Service whose name has at most 55 characters: its preview is called <name>-preview",
    ),
    ({f"{COMPONENT}/services/0": "b" * 64}, "services[0]: Too long: may not be more than 63"),
    ({f"{COMPONENT}/services/1": "backend"}, 'services[1]: Duplicate value: "backend"'),
    (
        {f"{COMPONENT}/services": [f"backend-{place}" for place in range(9)]},
        "services: Too many: 9: must have at most 8 items",
    ),
    ({f"{COMPONENT}/allowUnlistedServices": ["production/debug"]}, SERVICE_NAME),
    (
        {f"{COMPONENT}/allowUnlistedServices": ["debug", "debug"]},
        'allowUnlistedServices[1]: Duplicate value: "debug"',
    ),
    (
        {f"{COMPONENT}/allowUnlistedServices": [f"debug-{place}" for place in range(33)]},
        "must have at most 32 items",
    ),
    (
        {"spec/components/1": {"name": "backend", **ANOTHER}},
        'components[1]: Duplicate value: {"name":"backend"}',
    ),
    (
        {"spec/components/1": {"name": "frontend", **ANOTHER, "services": ["frontend", "backend"]}},
        "list each Service under one component only",
    ),
    (
        {"spec/components": [{"name": f"c{place}", **ANOTHER, "services": [f"s{place}"]} for place in range(17)]},
        "components: Too many: 17: must have at most 16 items",
    ),
    # the version
    ({"spec/version": ""}, VERSION),
    ({"spec/version": "-1"}, VERSION),
    ({"spec/version": "2.4.0\n"}, VERSION),
    ({"spec/version": "2 4"}, VERSION),
    ({"spec/version": '"} or vector(1) #'}, VERSION),
    ({"spec/version": "v" * 64}, "version: Too long: may not be more than 63"),
    ({"spec/version": 2.4}, "spec.version in body must be of type string"),
    # numbers
    *[
        ({f"{COMPONENT}/replicas": value}, advice)
        for value, advice in [
            (-1, "replicas in body should be greater than or equal to 0"),
            (1_000_000_000, "replicas in body should be less than or equal to 10000"),
            (1.5, "replicas in body must be of type int32"),
            ("3", "replicas in body must be of type integer"),
        ]
    ],
    ({f"{COMPONENT}/minReadySeconds": -1}, "minReadySeconds in body should be greater than or equal to 0"),
    ({f"{COMPONENT}/minReadySeconds": 3601}, "minReadySeconds in body should be less than or equal to 3600"),
    ({f"{COMPONENT}/minReadySeconds": 600}, "write a progressDeadline longer than minReadySeconds"),
    (asking(successThreshold=0), "successThreshold in body should be greater than or equal to 1"),
    (asking(successThreshold=101), "successThreshold in body should be less than or equal to 100"),
    (asking(failureThreshold=0), "failureThreshold in body should be greater than or equal to 1"),
    (asking(failureThreshold=101), "failureThreshold in body should be less than or equal to 100"),
    ({"spec/failFast": {"restartLimit": -1}}, "restartLimit in body should be greater than or equal to 0"),
    ({"spec/failFast": {"restartLimit": 101}}, "restartLimit in body should be less than or equal to 100"),
    ({"spec/retain": {"revisions": 0}}, "revisions in body should be greater than or equal to 1"),
    ({"spec/retain": {"revisions": 11}}, "revisions in body should be less than or equal to 10"),
    # durations: the advice, whether it cannot be read or is out of range
    *[
        (changes(value), advice)
        for changes, values, advice in [
            (
                lambda value: {f"{COMPONENT}/progressDeadline": value},
                ["999ms", "24h1s", "10"],
                "write a duration from 1s to 24h, such as 10m",
            ),
            (
                lambda value: asking(interval=value),
                ["999ms", "61m", "5 s"],
                "write a duration from 1s to 1h, such as 5s",
            ),
            (
                lambda value: asking(timeout=value),
                ["99ms", "31s", "2"],
                "write a duration from 100ms to 30s, such as 2s",
            ),
            (
                lambda value: {"spec/failFast": {"stuckFor": value}},
                ["0s", "25h", "-3m"],
                "write a duration from 1s to 24h, such as 3m",
            ),
            (
                lambda value: {"spec/watch": {"for": value}},
                ["-1s", "25h", "15min"],
                "write a duration from 0s to 24h, such as 15m",
            ),
            (
                lambda value: {"spec/watch": {"deadAfter": value}},
                ["999ms", "2h", ""],
                "write a duration from 1s to 1h, such as 10s",
            ),
            (
                lambda value: {"spec/retain": {"for": value}},
                ["-1h", "24x", "30d", "721h", "99999999h"],
                "write a duration from 0s to 720h (30 days), such as 24h",
            ),
            (
                lambda value: {"spec/keepFailedFor": value},
                ["-1h", "169h", "1d"],
                "write a duration from 0s to 168h (7 days), such as 15m",
            ),
        ]
        for value in values
    ],
    ({"spec/keepFailedFor": "1s" * 17}, "keepFailedFor: Too long: may not be more than 32"),
    ({"spec/keepFailedFor": 900}, "spec.keepFailedFor in body must be of type string"),
    (asking(interval="2s", timeout="3s"), "write a timeout of at most the interval"),
    # health
    *[
        (asking(path=path), PATH)
        for path in [
            "healthz",
            "http://evil/healthz",
            "//evil/healthz",
            "",
            "/a b",
            "/a\r\nHost: evil",
            "/a\\b",
            "/a@b",
            "/a#b",
            "/a\x00",
            "/\u00e9",
            "/\u202e",
        ]
    ],
    (asking(path="/" + "a" * 256), "path: Too long: may not be more than 256"),
    *[(asking(port=port), PORT) for port in [0, -1, 65536, "8080", "HTTP", "a--b", "-a", "a-", "web\n", ""]],
    (asking(port="a-name-too-long-"), "port: Too long: may not be more than 15"),
    (asking(port=80.5), "port in body must be of type integer,string"),
    ({HEALTH: {"httpGet": {"path": "/", "port": 80, "scheme": "http"}}}, 'supported values: "HTTP", "HTTPS"'),
    (asking(expect=""), "expect in body should be at least 1 chars long"),
    (asking(expect="e" * 1025), "expect: Too long: may not be more than 1024"),
    # the template
    ({f"{LABELS}/tradingplatform.io~1release": "x"}, "remove the labels in the domain tradingplatform.io/"),
    (
        {f"{COMPONENT}/template/metadata/annotations": {"tradingplatform.io/claims": "{}"}},
        "remove the annotations in the domain tradingplatform.io/",
    ),
    ({f"{LABELS}/replicas": 3}, "labels.replicas in body must be of type string"),
    # hooks
    *[
        ({"spec/hooks": [{key: value for key, value in (HOOK | hook).items() if value is not None}]}, advice)
        for hook, advice in [
            ({"at": None}, "at: Required value"),
            ({"at": "BeforeBlue"}, 'supported values: "BeforeGreen", "BeforeSwitch", "AfterSwitch", "AfterRollback"'),
            ({"name": "Migrate"}, COMPONENT_NAME),
            ({"name": "m" * 51}, "name: Too long: may not be more than 50"),
            ({"job": None}, "write either job or webhook: a hook does one thing"),
            ({"webhook": {"url": "https://a"}}, "write either job or webhook: a hook does one thing"),
            ({"job": {}}, "template: Required value"),
            ({"job": {"template": {"spec": {"containers": []}}}}, "containers in body should have at least 1 items"),
            ({"onFailure": "Ignore"}, 'supported values: "Fail", "Continue"'),
            ({"timeout": "25h"}, "write a duration from 1s to 24h, such as 10m"),
            ({"at": "AfterRollback", "irreversible": True}, "remove irreversible: it says what a rollback cannot undo"),
            *[
                ({"job": None, "webhook": {"url": url}}, "write a URL with http or https and a host")
                for url in ["hooks.example.com", "ftp://a/", "/a", "https://", "file:///etc/passwd"]
            ],
            ({"job": None, "webhook": {}}, "url: Required value"),
        ]
    ],
    ({"spec/hooks": [HOOK, HOOK]}, 'hooks[1]: Duplicate value: {"name":"migrate"}'),
    ({"spec/hooks": [HOOK | {"name": f"h{n}"} for n in range(17)]}, "must have at most 16 items"),
    # approvals
    *[
        ({"spec/approvals": [{"at": "BeforeSwitch"} | asked]}, advice)
        for asked, advice in [
            ({"at": "AfterSwitch"}, 'supported values: "BeforeGreen", "BeforeSwitch"'),
            ({"required": 0}, "required in body should be greater than or equal to 1"),
            ({"required": 11}, "required in body should be less than or equal to 10"),
            ({"timeout": "31d"}, "write a duration from 1s to 720h (30 days), such as 24h"),
            ({"onTimeout": "Approve"}, 'supported values: "Abort", "Continue"'),
        ]
    ],
    ({"spec/approvals": [{"at": "BeforeSwitch"}] * 2}, 'approvals[1]: Duplicate value: {"at":"BeforeSwitch"}'),
    # words
    ({"spec/onDelete": "Delete"}, 'supported values: "Keep", "Remove"'),
    # checks
    (checking(), ONE_KIND),
    (checking(http=SERVICE, pods={}), ONE_KIND),
    (checking(http=None), ONE_KIND),
    (checking(name="Orders", pods={}), "write lower-case letters, digits and '-' only"),
    (checking(name="o" * 51, pods={}), "name: Too long: may not be more than 50"),
    (
        {"spec/checks": [{"name": "a", "pods": {}}, {"name": "a", "pods": {}}]},
        'checks[1]: Duplicate value: {"name":"a"}',
    ),
    ({"spec/checks": [{"pods": {}}]}, "checks[0].name: Required value"),
    (
        {"spec/checks": [{"name": f"c{place}", "pods": {}} for place in range(33)]},
        "checks: Too many: 33: must have at most 32 items",
    ),
    (checking(pods={}, during=[]), "during in body should have at least 1 items"),
    (checking(pods={}, during=["Deploy"]), 'supported values: "Verify", "Watch"'),
    (checking(pods={}, interval="999ms"), "write a duration from 1s to 1h, such as 10s"),
    (checking(pods={}, timeout="31s", interval="1m"), "write a duration from 100ms to 30s, such as 5s"),
    (checking(pods={}, interval="2s"), "write a timeout of at most the interval"),
    (checking(pods={}, initialDelay="25h"), "write a duration from 0s to 24h, such as 30s"),
    *[(checking(pods={}, **{limit: 0}), f"{limit} in body should be greater than or equal to 1") for limit in LIMITS],
    *[(checking(pods={}, **{limit: 101}), f"{limit} in body should be less than or equal to 100") for limit in LIMITS],
    (checking(http={**SERVICE, "service": "other/backend"}), "write the bare name of a Service of this release"),
    (checking(http={**SERVICE, "service": "backend.other.svc"}), "write the bare name of a Service of this release"),
    (checking(http={**SERVICE, "path": "http://evil/"}), "write a path that begins with one '/', such as /orders"),
    (checking(http={**SERVICE, "path": "//evil/"}), "write a path that begins with one '/', such as /orders"),
    (checking(http={**SERVICE, "path": "/a\r\nHost: evil"}), "write a path that begins with one '/', such as /orders"),
    (checking(http={**SERVICE, "port": 0}), "write a number from 1 to 65535 without quotes, such as 80"),
    (checking(http={**SERVICE, "method": "DELETE"}), 'supported values: "GET", "HEAD", "POST"'),
    (checking(http={**SERVICE, "host": "evil"}), 'unknown field "spec.checks[0].http.host"'),
    *[
        (
            checking(http={**SERVICE, "headers": [{"name": name, "value": "x"}]}),
            "leave out Host, User-Agent, Authorization",
        )
        for name in ("Host", "hOsT", "Authorization", "Cookie", "Transfer-Encoding", "Content-Length", "Connection")
    ],
    (checking(http={**SERVICE, "headers": [{"name": "A:b", "value": "x"}]}), "write letters, digits and '-' only"),
    (
        checking(http={**SERVICE, "headers": [{"name": "A", "value": "x\r\nHost: evil"}]}),
        "write printable ASCII characters only",
    ),
    (checking(prometheus={"expect": "result < 1.0"}), "write either a query or a template"),
    (
        checking(prometheus={"expect": "result < 1.0", "query": "up", "template": "up"}),
        "write either a query or a template",
    ),
    (checking(prometheus={"query": "up"}), "prometheus.expect: Required value"),
    (
        checking(prometheus={"query": "up", "expect": "result > 0.0", "server": "http://evil"}),
        'unknown field "spec.checks[0].prometheus.server"',
    ),
    (checking(logs={"component": "backend"}), "logs.pattern: Required value"),
    (checking(pods={"restarts": -1}), "restarts in body should be greater than or equal to 0"),
    (checking(pods={"component": "Back"}), "write the name of a component of this release, such as backend"),
    # misspelt, and what there is not
    ({"spec/retian": {}}, 'unknown field "spec.retian"'),
    ({f"{COMPONENT}/minReadySecond": 3}, 'unknown field "spec.components[0].minReadySecond"'),
    ({f"{COMPONENT}/namespace": "other"}, 'unknown field "spec.components[0].namespace"'),
    (
        {HEALTH: {"httpGet": {"path": "/", "port": 80, "host": "evil"}}},
        'unknown field "spec.components[0].health.httpGet.host"',
    ),
]

REFUSED_ORDERS = [
    ({"spec": ...}, "spec: Required value"),
    ({"spec/release": ...}, "spec.release: Required value"),
    ({"spec/action": ...}, "spec.action: Required value"),
    (
        {"spec/action": "Promote"},
        'supported values: "Approve", "Rollback", "Abort", "Retry", "Pause", "Resume", "Override"',
    ),
    (
        {"spec/release": "production/trading-platform"},
        "write the name of a TradingRelease of this namespace, such as trading-platform",
    ),
    ({"spec/release": "a" * 41}, "release: Too long: may not be more than 40"),
    ({"spec/revision": ...}, "name the revision that the order is for"),
    ({"spec/revision": ..., "spec/action": "Abort"}, "name the revision that the order is for"),
    ({"spec/revision": ..., "spec/action": "Retry"}, "name the revision that the order is for"),
    ({"spec/action": "Approve", "spec/revision": ..., "spec/attempt": 1}, "name the revision that the order is for"),
    ({"spec/action": "Approve"}, "name the attempt that you approve"),
    ({"spec/action": "Approve", "spec/attempt": -1}, "attempt in body should be greater than or equal to 0"),
    ({"spec/revision": "2.4.0"}, "copy the revision from the status of the TradingRelease"),
    ({"spec/revision": ""}, "copy the revision from the status of the TradingRelease"),
    ({"spec/revision": "a" * 64}, "revision: Too long: may not be more than 63"),
    ({"spec/force": True}, "write a reason, since force is true"),
    ({"spec/force": True, "spec/reason": " \n"}, "write a reason, since force is true"),
    ({"spec/reason": ""}, "reason in body should be at least 1 chars long"),
    ({"spec/reason": "r" * 1025}, "reason: Too long: may not be more than 1024"),
    ({"spec/namespace": "other"}, 'unknown field "spec.namespace"'),
    ({"spec/action": "Override", "spec/reason": "the fix"}, "name the ReleaseFreeze that the Override is for"),
    ({"spec/action": "Override", "spec/freeze": "close"}, "write a reason for the Override"),
    ({"spec/action": "Override", "spec/freeze": "close", "spec/reason": " "}, "write a reason for the Override"),
    (
        {"spec/action": "Override", "spec/freeze": "close", "spec/reason": "x", "spec/revision": ...},
        "name the revision",
    ),
    ({"spec/attempt": -1}, "attempt in body should be greater than or equal to 0"),
    ({"spec/issuedBy": ""}, "issuedBy in body should be at least 1 chars long"),
]

HOURS = {"days": ["Monday"], "from": "09:30", "to": "16:00", "timeZone": "America/New_York"}


def weekly(**changes):
    return {"spec/between": ..., "spec/weekly": [HOURS | changes]}


def by_calendar(**changes):
    return {"spec/between": ..., "spec/calendar": {"name": "xnys"} | changes}


REFUSED_FREEZES = [
    ({"spec/between": ...}, "write exactly one of between, weekly and calendar"),
    ({"spec/weekly": [HOURS]}, "write exactly one of between, weekly and calendar"),
    ({"spec/calendar": {"name": "xnys"}}, "write exactly one of between, weekly and calendar"),
    ({"spec/reason": ...}, "spec.reason: Required value"),
    ({"spec/reason": " "}, "write a reason"),
    ({"spec/author": ...}, "spec.author: Required value"),
    ({"spec/author": " "}, "write who declared the freeze"),
    ({"spec/overrideRequires": 0}, "greater than or equal to 1"),
    ({"spec/overrideRequires": 6}, "less than or equal to 5"),
    ({"spec/selector": {}}, "write matchLabels or matchExpressions"),
    ({"spec/selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "write values for In and NotIn"),
    (
        {"spec/selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
        "write values for In and NotIn",
    ),
    ({"spec/between": {"from": "2026-12-18T18:00:00Z"}}, "spec.between.to: Required value"),
    ({"spec/between": {"from": "2026-12-18T18:00:00Z", "to": "2026-12-18T18:00:00Z"}}, "later than `from`"),
    ({"spec/between": {"from": "2026-12-18T18:00:00Z", "to": "2026-12-18T19:00:00+02:00"}}, "later than `from`"),
    (
        {"spec/between": {"from": "tomorrow", "to": "2026-12-18T19:00:00Z"}},
        "spec.between.from in body must be of type date-time",
    ),
    ({"spec/between": ..., "spec/weekly": []}, "should have at least 1 items"),
    *[
        (weekly(days=days), said)
        for days, said in [([], "at least 1 items"), (["Mon"], "supported values"), (["Monday"] * 2, "Duplicate value")]
    ],
    *[
        (weekly(**{"from": clock}), "write hours and minutes from")
        for clock in ["9:30", "24:00", "09:60", "09.30", "noon!"]
    ],
    *[(weekly(to=clock), "write hours and minutes from") for clock in ["24:01", "25:00", "16h00"]],
    (weekly(to="09:30"), "write a `to` that differs from `from`"),
    *[
        (weekly(timeZone=zone), "write the name of a time zone")
        for zone in ["../etc/passwd", "Europe/", "+02:00", "a b"]
    ],
    (by_calendar(name="XNYS"), "write the name of a ConfigMap"),
    (by_calendar(name="other/xnys"), "write the name of a ConfigMap"),
    (by_calendar(sessions="open"), 'supported values: "Open", "Closed", "Edges"'),
    (by_calendar(sessions="Edges"), "write before or after"),
    (by_calendar(before="-5m"), "write a duration from 0s to 168h"),
    (by_calendar(after="169h"), "write a duration from 0s to 168h"),
    ({"spec/namespace": "other"}, 'unknown field "spec.namespace"'),
]


def named(value):
    return ascii(value)[:90]


@pytest.mark.parametrize(("changes", "advice"), REFUSED_RELEASES, ids=named)
def test_a_release_is_refused_with_advice(server, release, changed, changes, advice):
    assert advice in server.refusal(changed(release, changes))


@pytest.mark.parametrize(("changes", "advice"), REFUSED_ORDERS, ids=named)
def test_an_order_is_refused_with_advice(server, order, changed, changes, advice):
    assert advice in server.refusal(changed(order, changes))


@pytest.mark.parametrize(("changes", "advice"), REFUSED_FREEZES, ids=named)
def test_a_freeze_is_refused_with_advice(server, freeze, changed, changes, advice):
    assert advice in server.refusal(changed(freeze, changes))


@pytest.mark.parametrize(
    "patch", ['{"action": "Abort"}', '{"reason": "other"}', '{"revision": null, "action": "Pause"}']
)
def test_an_order_cannot_be_changed(server, namespace, order, patch):
    server.create(namespace, order)
    answer = server.run("patch", "trc", "back", "-n", namespace, "--type=merge", "-p", f'{{"spec": {patch}}}')

    assert "an order cannot be changed: create a new ReleaseCommand" in answer.stderr


def test_a_label_and_an_answer_do_not_change_an_order(server, namespace, order):
    server.create(namespace, order)
    server.kubectl("label", "trc", "back", "-n", namespace, "team=sre")
    server.kubectl("patch", "trc", "back", "-n", namespace, *STATUS, json.dumps({"status": ANSWERED}))


@pytest.mark.parametrize("phase", ["Done", "Refused"])
@pytest.mark.parametrize(
    "later",
    [
        {"phase": "Pending", "reason": "Seen"},
        {"reason": "Other"},
        {"message": "x"},
        {"at": "2030-01-02T00:00:00Z"},
        None,
    ],
    ids=["held up on its way", "another reason", "other words", "another time", "none"],
)
def test_an_answer_stays_as_it_is(server, namespace, order, phase, later):
    server.create(namespace, order)
    waits = {"phase": "Pending", "reason": "Seen", "message": "seen; waits for its turn", "at": ANSWERED["at"]}
    for status in (waits, ANSWERED | {"phase": phase}):
        server.kubectl("patch", "trc", "back", "-n", namespace, *STATUS, json.dumps({"status": status}))
    answer = server.run("patch", "trc", "back", "-n", namespace, *STATUS, json.dumps({"status": later}))
    assert "an order is answered once, and its answer stays: create a new ReleaseCommand" in answer.stderr
    server.kubectl("label", "trc", "back", "-n", namespace, "team=sre")
    assert server.read("get", "trc", "back", "-n", namespace)["status"]["phase"] == phase
