"""What the operator writes is kept whole, and one line of kubectl tells the story."""

import pytest

pytestmark = pytest.mark.apiserver

COMPONENTS = [{"name": "backend", "revision": "b3v9d0q1zm", "services": ["backend"]}]
NOON = "2030-01-01T12:00:00Z"
GIVEN = [
    {"at": "BeforeSwitch", "by": "anna", "account": "ci", "time": NOON, "reason": "I looked", "order": "approve-1"}
]
GATES = [{"at": "BeforeSwitch", "required": 2, "phase": "Waiting", "since": NOON, "given": GIVEN}]
WHO = {"appliedBy": "system:serviceaccount:ci:deployer", "onBehalfOf": "bob"}
HOOKS = [
    {
        "name": "migrate", "at": "BeforeGreen", "phase": "Succeeded", "message": "m", "startedAt": NOON, "finishedAt": NOON,
        "job": "trading-platform-migrate-k3v9d0q1zm-1", "jobUid": "1b4e28ba", "bluePassedAt": NOON,
    },
]  # fmt: skip
STATUS = {
    "observedGeneration": 3,
    "phase": "Verifying",
    "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": NOON, "observedGeneration": 3},
        {"type": "Ready", "status": "False", "reason": "AwaitingVerification", "message": "m" * 32768, "lastTransitionTime": NOON},
    ],
    "live": {
        "revision": "k3v9d0q1zm", "version": "2.3.9", "since": NOON, "watchSince": NOON, "provenAt": NOON, "act": 1 << 40, "components": COMPONENTS,
        "attempt": 2, "hooks": HOOKS, **WHO, "unsafe": "hook migrate cannot be undone",
        "rolledBackFrom": {"revision": "h1t7b8n9xk", "version": "2.3.7", "attempt": 1},
    },
    "candidate": {
        "revision": "m4w0e1r2an", "version": "2.4.0", "attempt": 2, "startedAt": NOON, "failedAt": NOON, "components": COMPONENTS, "hooks": HOOKS,
        "approvals": GATES, **WHO,
    },
    "retained": [{"revision": "j2u8c9p0yl", "version": "2.3.8", "until": "2030-01-02T12:00:00Z", "components": COMPONENTS, "unsafe": "x"}],
    "latched": [{"revision": "h1t7b8n9xk", "reason": "HealthFailed", "message": "503", "at": NOON, **WHO}],
    "history": [
        {
            "revision": "k3v9d0q1zm", "version": "2.3.9", "outcome": "Live", "started": NOON, "switched": NOON, "finished": NOON,
            "reason": "Proven", "by": "operator", "attempt": 3, "approvals": GIVEN,
            "checks": [
                {"name": "c" * 50, "during": "Verify", "verdict": "Inconclusive", "passed": 1 << 40, "failed": 0, "inconclusive": 9,
                 "value": 0.37, "dryRun": True},
            ] * 64,
            "hooks": [{"name": "migrate", "phase": "Succeeded", "seconds": 12.5}] * 16,
        },
    ] * 10,
    "paused": {"at": NOON, "reason": "exchange maintenance", "order": "pause-1"},
    "webhookLeft": {"hook": "migrate", "version": "2.4.0", "until": NOON},
    "overrides": [
        {
            "freeze": "quarter-close", "freezeUid": "1b4e28ba", "revision": "k3v9d0q1zm", "attempt": 0,
            "people": [{"by": "jane", "order": "override-1", "reason": "the fix", "at": NOON}],
        },
    ],
    "orders": [{"uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "phase": "Pending", "message": "waits"}],
    "transitions": [
        {
            "number": 1 << 40, "id": "0123456789abcdef", "at": NOON, "reason": "RolledBack", "message": "503", "severity": "Warning",
            "outcome": "RolledBack", "revision": "k3v9d0q1zm", "version": "2.3.9", "attempt": 2, "by": "bob", "why": "prices", "since": NOON,
            "live": "j2u8c9p0yl", "candidate": "m4w0e1r2an/2", "target": "2.3.8", "unsafe": "x",
        },
    ] * 60,
    "notified": {"team": 1 << 40, "cloudevents": 0},
    "settings": {"replicas": {"backend": 3}, "retainFor": "24h", "retainRevisions": 1, "keepFailedFor": "15m", "onDelete": "Keep"},
}  # fmt: skip


def write_status(server, namespace, kind, name, status):
    body = {"status": status}
    path = f"/apis/tradingplatform.io/v1alpha1/namespaces/{namespace}/{kind}/{name}"
    stored = server.read("get", kind, name, "-n", namespace)
    server.kubectl("replace", "--raw", f"{path}/status", "-f", "-", manifest=stored | body)


def cells(table):
    """Split the rows of kubectl's table where its columns begin."""
    header, *rows = table.splitlines()
    starts = [
        place for place, letter in enumerate(header) if letter != " " and (place == 0 or header[place - 1] == " ")
    ]
    bounds = list(zip(starts, [*starts[1:], None], strict=True))
    return [[line[start:end].strip() for start, end in bounds] for line in (header, *rows)]


def test_a_new_release_says_that_nobody_has_looked_at_it_yet(server, namespace, release):
    """Else Flux takes it for done in the moment before the operator sees it."""
    server.create(namespace, release | {"status": {"observedGeneration": 7}})
    assert server.read("get", "tr", "trading-platform", "-n", namespace)["status"] == {"observedGeneration": -1}


def test_a_whole_status_is_kept_as_written(server, namespace, release):
    server.create(namespace, release)
    write_status(server, namespace, "tradingreleases", "trading-platform", STATUS)

    assert server.read("get", "tr", "trading-platform", "-n", namespace)["status"] == STATUS


def test_one_line_tells_what_is_live_what_comes_and_until_when_a_rollback_is_instant(server, namespace, release):
    server.create(namespace, release)
    write_status(server, namespace, "tradingreleases", "trading-platform", STATUS)

    header, row = cells(server.kubectl("get", "tr", "-n", namespace))
    assert header == ["NAME", "LIVE", "CANDIDATE", "PHASE", "READY", "ROLLBACK-UNTIL", "AGE"]
    assert row[:-1] == ["trading-platform", "2.3.9", "2.4.0", "Verifying", "False", "2030-01-02T12:00:00Z"]

    header, row = cells(server.kubectl("get", "tr", "-n", namespace, "-o", "wide"))
    assert header == [
        "NAME",
        "LIVE",
        "CANDIDATE",
        "PHASE",
        "READY",
        "ROLLBACK-UNTIL",
        "AGE",
        "REASON",
        "REVISION",
    ]
    assert row[-2:] == ["AwaitingVerification", "k3v9d0q1zm"]


def test_one_line_tells_whether_a_freeze_holds_until_when_and_why(server, namespace, freeze):
    server.create(namespace, freeze)
    person = {"by": "jane", "order": "override-1", "reason": "the fix", "at": NOON}
    condition = {"status": "True", "message": "m", "lastTransitionTime": NOON, "observedGeneration": 1}
    status = {
        "observedGeneration": 1, "active": True, "until": NOON, "begins": NOON, "calendarEnds": NOON,
        "overrides": [{"release": "shop", "revision": "k3v9d0q1zm", "attempt": 1, "people": [person]}],
        "conditions": [
            {"type": "Active", "reason": "Frozen", **condition},
            {"type": "CalendarCurrent", "reason": "Current", **condition},
        ],
    }  # fmt: skip
    write_status(server, namespace, "releasefreezes", "quarter-close", status)

    assert server.read("get", "trf", "quarter-close", "-n", namespace)["status"] == status
    header, row = cells(server.kubectl("get", "trf", "-n", namespace))
    assert header == ["NAME", "ACTIVE", "UNTIL", "REASON", "AGE"]
    assert row[:-1] == ["quarter-close", "true", NOON, "quarter close"]
    header, row = cells(server.kubectl("get", "trf", "-n", namespace, "-o", "wide"))
    assert header == ["NAME", "ACTIVE", "UNTIL", "REASON", "AGE", "BEGINS", "AUTHOR", "CALENDAR"]
    assert row[-3:] == [NOON, "risk", "Current"]


def test_one_line_tells_what_was_ordered_and_what_came_of_it(server, namespace, order):
    server.create(namespace, order)
    answer = {"phase": "Refused", "reason": "Expired", "message": "order it anew", "at": NOON}
    write_status(server, namespace, "releasecommands", "back", answer)

    header, row = cells(server.kubectl("get", "trc", "-n", namespace))
    assert header == ["NAME", "RELEASE", "ACTION", "PHASE", "MESSAGE", "AGE"]
    assert row[:-1] == ["back", "trading-platform", "Rollback", "Refused", "order it anew"]
    assert server.read("get", "trc", "back", "-n", namespace)["status"] == answer


@pytest.mark.parametrize(
    "name",
    [
        "trf",
        "releasefreeze",
        "releasefreezes",
        "tr",
        "trel",
        "tradingrelease",
        "tradingreleases",
        "trc",
        "releasecommand",
        "releasecommands",
    ],
)
def test_every_name_of_a_kind_is_understood(server, name):
    server.kubectl("get", name, "-A")


def test_the_server_finds_nothing_wrong_with_the_crds(server, crd):
    conditions = server.read("get", "crd", crd["metadata"]["name"])["status"]["conditions"]

    assert {condition["type"]: condition["status"] for condition in conditions} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


def test_a_wait_for_ready_ends_when_it_is_ready(server, namespace, release):
    """CI learns by exit code."""
    server.create(namespace, release)
    ready = {"type": "Ready", "status": "True", "reason": "Proven", "message": "", "lastTransitionTime": NOON}
    write_status(
        server,
        namespace,
        "tradingreleases",
        "trading-platform",
        {"observedGeneration": 1, "conditions": [ready]},
    )

    server.kubectl("wait", "--for=condition=Ready", "tr/trading-platform", "-n", namespace, "--timeout=30s")
