"""Every field of every kind, changed in every way that its schema suggests: refused with words, or judged in the cluster.

Acto's oracles. What the API server takes is applied to a release that is live: it is reported invalid, and nothing
moves; or it shows. Then a good spec goes live from there (recovery). Nobody crashes, and writes and log lines are few.
"""

import functools
import json
import os
import time
from pathlib import Path

import pytest
import yaml
from tradingrelease.policy.fields import duration
from tradingrelease.policy.spec import parse

from tests.e2e.api import Api, ApiError
from tests.e2e.builders import HEALTH, order, service
from tests.inputs.mutate import applied, fields, mutations
from tests.inputs.place import release

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
MOST_WRITES = 80
"""Of one release that fails and one that goes live, with their dry runs, Events and status; measured: at most 39."""
MOST_LINES = 150
"""Of the log, for the same; measured: at most 31."""
AT_REST = 20
"""Writes of a second in which it waits: what was judged may still be told and tidied."""
RELEASE = release(
    "1", health=HEALTH, allowUnlistedServices=["debug"], replicas=1, progressDeadline="4s", minReadySeconds=0
)


def examples(name, kind):
    """Return the manifests of a kind in examples/, as they would be applied to any namespace."""
    found = yaml.safe_load_all((ROOT / "examples" / name).read_text())
    return [m | {"metadata": {"name": m["metadata"]["name"]}} for m in found if m["kind"] == kind]


def with_each(manifest):
    """Yield the manifest with one hook and one check at a time: of a list the first item is mutated."""
    for part in ("hooks", "checks"):
        yield from (manifest | {"spec": manifest["spec"] | {part: [item]}} for item in manifest["spec"][part])


FREEZES = examples("freezes.yaml", "ReleaseFreeze")
CHOOSING = {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["trading"]}]}
MANIFESTS = {
    "tradingreleases": [RELEASE, *with_each(*examples("full.yaml", "TradingRelease"))],
    "releasecommands": [order("Pause", "pause", reason="lunch", revision="abc", force=False)],
    "releasefreezes": [*FREEZES, FREEZES[0] | {"spec": FREEZES[0]["spec"] | {"selector": CHOOSING}}],
}
"""The first of a kind is what is applied; the others have the fields that it lacks."""


@functools.cache
def schema_of(plural):
    crd = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return list(fields(schema, "spec"))


@functools.cache
def generated(plural):
    """Return every mutated manifest of a kind: each made from the first manifest that has its place."""
    made = []
    for mutation in (mutation for path, below in schema_of(plural) for mutation in mutations(path, below)):
        bodies = (applied(manifest, mutation) for manifest in MANIFESTS[plural])
        made += [(mutation, body) for body in bodies if body is not None][:1]
    return made


@pytest.fixture(scope="module")
def taken(access):
    """Ask the API server about each; by kind, those that it takes, one for each spec that it would store."""
    return {plural: _taken(Api(access, "default"), plural) for plural in MANIFESTS}


def _taken(api, plural):
    found = {}
    for mutation, body in generated(plural):
        try:
            stored = api.create(body, dryRun="All")
        except ApiError as error:
            if error.status not in {400, 422} or "spec" not in str(error):
                raise AssertionError(f"{mutation}: {error}") from error
        else:
            found.setdefault(json.dumps(stored["spec"], sort_keys=True), (mutation, body))
    return list(found.values())


@pytest.mark.parametrize("plural", MANIFESTS)
def test_a_mutation_is_refused_with_the_place_or_taken(taken, plural):
    print(f"{plural}: {len(generated(plural))} mutations, {len(taken[plural])} different specs taken")
    mutated = {mutation.path for mutation, _ in generated(plural)}
    assert [path for path, _ in schema_of(plural) if path not in mutated] == [], "fields that no manifest here has"
    assert 0 < len(taken[plural]) < len(generated(plural)) / 2


def settled(state):
    """Tell whether a release is judged: ready, or a person is told what to do, or it waits as it should."""
    ready, why = state.is_true("Ready"), state.condition("Ready")["reason"]
    waits = why in {"ZeroReplicas", "Watching"}
    return state.seen_generation() and (ready or state.is_true("Stalled") or waits)


def test_what_is_taken_is_judged_and_a_good_spec_goes_live_after_it(place, taken):
    """One after the other on one release: each begins where the last one ended."""
    place.apply(service())
    place.api.create(RELEASE)
    place.until(lambda s: s.ready("1"), "version 1 is live", 30)
    for number, (mutation, body) in enumerate(chosen(taken["tradingreleases"])):
        began, writes, lines = time.monotonic(), place.operator.writes(), len(place.log_lines())
        replaced(place, body)
        state = place.until(settled, f"{mutation} is judged", 40)
        said = state.condition("Ready")
        assert said["message"], mutation
        if state.is_true("Ready"):
            assert state.status()["live"]["revision"] == parse(state.release()["spec"], "shop").revision, mutation
            state = place.until(lambda s: shown(s) == asked(s), f"{mutation} shows in the cluster", 10)
        at_rest = place.operator.writes()
        place.never(lambda s, g=state: not settled(s) or s.live() != g.live(), f"{mutation} is judged anew", 1)
        at_rest = place.operator.writes() - at_rest
        good = release(f"good-{number}", health=HEALTH, replicas=1, minReadySeconds=0)
        replaced(place, good)
        place.until(lambda s, v=f"good-{number}": s.ready(v), f"a good spec is live after {mutation}", 40)
        writes, lines = place.operator.writes() - writes, len(place.log_lines()) - lines
        spent = f"{time.monotonic() - began:4.1f} s {writes:3} writes {at_rest} at rest {lines:3} lines"
        print(f"{spent} {said['reason']:20} {mutation}")
        assert (writes <= MOST_WRITES, at_rest <= AT_REST, lines <= MOST_LINES) == (True, True, True), spent


def asked(state):
    """Return what the stored spec asks of what runs; what it leaves open is as it is."""
    (part,) = state.release()["spec"]["components"]
    (box,) = part["template"]["spec"]["containers"]
    standing, spec = shown(state), state.release()["spec"]
    told = {key: part.get(key, standing[key]) for key in ("replicas", "minReadySeconds")}
    kept = {
        "onDelete": spec["onDelete"], "retainRevisions": spec["retain"]["revisions"],
        "retainFor": duration(spec["retain"]["for"]), "keepFailedFor": duration(spec["keepFailedFor"]),
    }  # fmt: skip
    return told | {"image": box["image"], "labels": part["template"]["metadata"]["labels"]} | kept


def shown(state):
    """Return the same of the Deployment that serves, and of what status remembers."""
    spec = state.deployment("backend", state.selected("backend"))["spec"]
    pods = spec["template"]
    labels = {k: v for k, v in pods["metadata"]["labels"].items() if not k.startswith("tradingplatform.io/")}
    told = {"replicas": spec["replicas"], "minReadySeconds": spec.get("minReadySeconds", 0)}
    kept = {key: state.status()["settings"][key] for key in ("onDelete", "retainRevisions")}
    kept |= {key: duration(state.status()["settings"][key]) for key in ("retainFor", "keepFailedFor")}
    return told | {"image": pods["spec"]["containers"][0]["image"], "labels": labels} | kept


def replaced(place, body):
    """Replace the release; the operator may write its status between our read and our write."""
    while True:
        version = place.api.get("TradingRelease", "shop")["metadata"]["resourceVersion"]
        try:
            stored = place.api.replace(body | {"metadata": body["metadata"] | {"resourceVersion": version}})
        except ApiError as error:
            if error.status != 409:
                raise
        else:
            place._hear([stored])
            return


def chosen(found):
    """Return the last of each field of the first manifest, which is the oddest; with MUTATIONS=all every one.

    10,000 pods are too many here.
    """
    found = [
        (mutation, body)
        for mutation, body in found
        if applied(RELEASE, mutation) is not None and (mutation.path[-8:], mutation.kind) != ("replicas", "highest")
    ]
    return (
        found
        if os.environ.get("MUTATIONS") == "all"
        else list({mutation.path: (mutation, body) for mutation, body in found}.values())
    )
