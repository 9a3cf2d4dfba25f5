"""Bad input that the API server itself refuses, row by row of the list in rows.py, each with advice in the refusal.

tests/crd holds the CRDs to many more values; here stand those that the list names.
"""

import pytest

from tests.crd.test_refused import COMPONENT_NAME, PATH, PORT, SERVICE_NAME, VERSION
from tests.e2e.api import Api, ApiError
from tests.e2e.builders import release
from tests.inputs.mutate import DELETED, put

PART = "spec/components/0"
GET = f"{PART}/health/httpGet"
RANGE_OF_RETENTION = "write a duration from 0s to 720h (30 days), such as 24h"

ROWS = {
    1: [
        ({"spec": DELETED}, "spec: Required value"),
        ({"spec": {}}, "spec.components: Required value"),
        ({f"{PART}/template": None}, "template: Required value"),
        ({GET: None}, "health.httpGet: Required value"),
    ],
    4: [
        ({f"{PART}/replicas": -1}, "should be greater than or equal to 0"),
        ({f"{PART}/replicas": 1.5}, "must be of type int32"),
        ({f"{PART}/replicas": "3"}, "must be of type integer"),
        ({f"{PART}/replicas": 1_000_000_000}, "should be less than or equal to 10000"),
    ],
    5: [
        ({f"{PART}/services/0": "../x"}, SERVICE_NAME),
        ({f"{PART}/services/0": "Backend"}, SERVICE_NAME),
        ({f"{PART}/services/0": "ns/name"}, SERVICE_NAME),
        ({f"{PART}/services/0": "b" * 64}, "Too long: may not be more than 63"),
        ({f"{PART}/services/0": "b" * 56}, "use a Service whose name has at most 55 characters"),
    ],
    6: [
        ({f"{PART}/namespace": "other"}, 'unknown field "spec.components[0].namespace"'),
        ({f"{GET}/namespace": "other"}, 'unknown field "spec.components[0].health.httpGet.namespace"'),
        ({f"{PART}/services/0": "backend.other.svc"}, SERVICE_NAME),
    ],
    7: [
        ({f"{GET}/path": path}, PATH)
        for path in ("http://e", "//e", "healthz", "/a\r\nHost: e", "/a\\b", "/a@e", "/a\x00", "")
    ],
    8: [
        *[({f"{GET}/port": port}, PORT) for port in (0, 65536, -1)],
        ({f"{GET}/port": "a-name-too-long-"}, "Too long: may not be more than 15"),
    ],
    9: [
        *[({f"{PART}/health/timeout": text}, "write a duration from 100ms to 30s") for text in ("0s", "-1s", "9999h")],
        *[({f"{PART}/health/interval": text}, "write a duration from 1s to 1h") for text in ("0s", "-1s", "9999h")],
        ({f"{PART}/health/successThreshold": 0}, "should be greater than or equal to 1"),
        ({f"{PART}/health/failureThreshold": -1}, "should be greater than or equal to 1"),
        ({f"{PART}/health/failureThreshold": 10**9}, "should be less than or equal to 100"),
        ({f"{PART}/health/timeout": "3s"}, "write a timeout of at most the interval"),
    ],
    # 0 is a time like any other: retained only until live is proven
    10: [({"spec/retain/for": text}, RANGE_OF_RETENTION) for text in ("-1h", "24x", "721h", "30d", "99999999h")],
    11: [
        ({"spec/checks": [{"name": "a"}] * 1000}, "must have at most 32 items"),
        ({"spec/components/1": {"name": "backend", "services": ["b"], "template": {"spec": {"containers": [{"name": "a"}]}}}}, "Duplicate value"),
        ({f"{PART}/services": [f"b{n}" for n in range(1000)]}, "must have at most 8 items"),
    ],
    12: [
        ({f"{PART}/health": {"interval": "1s"}}, "health.httpGet: Required value"),
        ({f"{PART}/health/tcpSocket": {"port": 80}}, 'unknown field "spec.components[0].health.tcpSocket"'),
    ],
    13: [
        ({"spec/retian": {}}, 'unknown field "spec.retian"'),
        ({f"{PART}/minReadySecond": 3}, 'unknown field "spec.components[0].minReadySecond"'),
        ({"metadata/lebels": {}}, 'unknown field "metadata.lebels"'),
    ],
    16: [
        ({"metadata/name": "a" * 41}, "shorten metadata.name to at most 40 characters"),
        ({"metadata/name": "a" * 40, f"{PART}/name": "b" * 12}, "to at most 51 characters together"),
    ],
    18: [({"spec/version": f"1{mark}0"}, VERSION) for mark in ("\u202e", "\u200b", "\U0001f600", "\x00")]
    + [({f"{PART}/name": f"back{mark}end"}, COMPONENT_NAME) for mark in ("\u202e", "\u200b", "\U0001f600", "\x00")],
    22: [
        ({f"{PART}/template/metadata/labels/tradingplatform.io~1release": "other"}, "remove the labels in the domain"),
        ({f"{PART}/template/metadata/labels/tradingplatform.io~1revision": "x"}, "remove the labels in the domain"),
        ({f"{PART}/template/metadata/annotations": {"tradingplatform.io/proven": "x"}}, "remove the annotations in the domain"),
    ],
    54: [({f"{GET}/port": "e.example.com"}, PORT), ({f"{GET}/host": "evil"}, "unknown field")],
    58: [({"spec/version": '"} or vector(1) #'}, VERSION), ({f"{PART}/name": '"} or vector(1) #'}, COMPONENT_NAME)],
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda number: f"row-{number:02}")
def test_the_api_server_refuses_with_advice(access, row):
    for changes, advice in ROWS[row]:
        wrong = put(release(), changes)
        with pytest.raises(ApiError) as refused:
            Api(access, "default").create(wrong, dryRun="All", fieldValidation="Strict")
        assert refused.value.status in {400, 422}, refused.value
        assert advice in str(refused.value), (changes, str(refused.value))
