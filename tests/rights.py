"""What the operator may do beside what it did, by the API server's own log: nothing more, and nothing less.

    python -m tests.rights          after the end-to-end tests, on their cluster (NAME); exit 1 where the two differ

A request that was refused counts as asked for. What tests grant by Roles of their own is named here, with its reason.
Some rights are for what no end-to-end test brings about: those the fault runs, whose planes note here what was done.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from devcluster.cluster import Cluster
from devcluster.places import STATE

ROOT = Path(__file__).resolve().parents[1]
ACCOUNT = "system:serviceaccount:tradingrelease-system:tradingrelease-operator"
OTHER_ROLES = {("get", "", "configmaps"): "calendars: each has a Role of its own, which its exporter writes"}

NOTED = STATE / "rights.json"
"""What operators did on the planes of fault runs of this checkout."""
ELSEWHERE = {
    ("get", "apps", "controllerrevisions"): "what was made by a write whose answer was lost: fault `lost-reply`",
    ("get", "tradingplatform.io", "releasecommands"): "what somebody else wrote meanwhile: fault `conflict`",
    ("delete", "tradingplatform.io", "releasecommands"): "orders of 90 days ago: tests/faults/test_time.py",
}
"""Taken on trust where no fault run of this checkout did it: the stage e2e alone, and a conflict that only `make faults` makes."""

Right = tuple[str, str, str]
"""Verb, API group, resource/subresource."""


def granted(manifests: Iterable[dict[str, Any]]) -> set[Right]:
    """Return what the Roles of the operator allow."""
    roles = [m for m in manifests if m["kind"] in {"ClusterRole", "Role"}]
    rules = [rule for role in roles for rule in role["rules"]]
    return {(v, g, r) for rule in rules for v in rule["verbs"] for g in rule["apiGroups"] for r in rule["resources"]}


def differences(
    may: set[Right], requests: Iterable[tuple[str, str, str, int]], elsewhere: Iterable[Right] = ()
) -> list[str]:
    """Say what is granted and was never done, here or `elsewhere`, and what was asked for and is not granted."""
    seen = list(requests)
    asked = {(verb, group, resource) for verb, group, resource, _ in seen}
    done = {(verb, group, resource) for verb, group, resource, code in seen if code < 400}
    unused = [f"granted, and never used: {_said(right)}" for right in sorted(may - done - set(elsewhere))]
    lacking = [f"asked for, and not granted: {_said(right)}" for right in sorted(asked - may - set(OTHER_ROLES))]
    return unused + lacking


def note(log: Path) -> None:
    """Add what an API server's audit log (level Metadata) says that the operator was let do."""
    done = set()
    for line in log.read_text().splitlines():
        event = json.loads(line) if ACCOUNT in line else {}
        target = event.get("objectRef") or {}
        if target.get("resource") and event["user"]["username"] == ACCOUNT and event["responseStatus"]["code"] < 400:
            sub = f"/{target['subresource']}" if target.get("subresource") else ""
            done.add((event["verb"], target.get("apiGroup", ""), target["resource"] + sub))
    with NOTED.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two planes may end at once
        NOTED.write_text(json.dumps(sorted(done | set(_noted()))))


def _noted() -> list[Right]:
    return (
        [(verb, group, resource) for verb, group, resource in json.loads(NOTED.read_text())] if NOTED.exists() else []
    )


def _said(right: Right) -> str:
    verb, group, resource = right
    return f"{verb} {resource}" + (f".{group}" if group else "")


def main() -> int:
    """Compare, and say how they differ."""
    may = granted(yaml.safe_load_all((ROOT / "manifests" / "rbac.yaml").read_text()))
    requests = Cluster.open(os.environ.get("NAME", "dev")).requests_of(ACCOUNT)
    noted = set(_noted())
    trusted = {right: why for right, why in ELSEWHERE.items() if right not in noted}
    print("\n".join(f"taken on trust: {_said(right)}: {why}" for right, why in trusted.items()))
    elsewhere = noted | set(trusted)
    found = differences(may, requests, elsewhere)
    print(f"rights of the operator: {len(may)} granted, {len(may) - sum('never' in line for line in found)} used")
    print("\n".join(found))
    return 1 if found or not requests else 0


if __name__ == "__main__":
    sys.exit(main())
