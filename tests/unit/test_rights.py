"""What the operator may do and what it did are compared both ways."""

import json

import pytest

from tests import rights
from tests.rights import ACCOUNT, differences, granted

ROLE = {
    "kind": "Role",
    "rules": [
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]},
    ],
}
MAY = granted([ROLE, {"kind": "RoleBinding"}])
DONE = [
    ("get", "", "pods", 200),
    ("get", "", "services", 404),
    ("get", "", "services", 200),
    ("patch", "apps", "deployments", 200),
]


def test_what_is_used_and_granted_differs_in_nothing():
    assert len(MAY) == 3
    assert differences(MAY, DONE) == []


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        (DONE[:3], "granted, and never used: patch deployments.apps"),
        ([*DONE[:3], ("patch", "apps", "deployments", 403)], "granted, and never used: patch deployments.apps"),
        ([*DONE, ("list", "", "secrets", 403)], "asked for, and not granted: list secrets"),
        ([*DONE, ("create", "", "pods/exec", 201)], "asked for, and not granted: create pods/exec"),
    ],
)
def test_a_difference_is_said(requests, said):
    assert differences(MAY, requests) == [said]


def test_what_a_role_of_its_own_grants_is_none():
    assert differences(MAY, [*DONE, ("get", "", "configmaps", 200)]) == []


def test_what_was_done_elsewhere_is_no_difference(tmp_path, monkeypatch):
    def event(verb, code, user=ACCOUNT, **target):
        return json.dumps(
            {"verb": verb, "user": {"username": user}, "objectRef": target, "responseStatus": {"code": code}}
        )

    log = tmp_path / "audit.log"
    log.write_text(
        "\n".join([
            event("patch", 200, resource="deployments", apiGroup="apps"),
            event("get", 403, resource="pods"),
            event("get", 200, user="anna", resource="services"),
        ])
    )  # fmt: skip
    monkeypatch.setattr(rights, "NOTED", tmp_path / "rights.json")
    rights.note(log)
    rights.note(log)
    assert differences(MAY, DONE[:3], rights._noted()) == []
    assert differences(MAY, DONE[1:], rights._noted()) == ["granted, and never used: get pods"]
