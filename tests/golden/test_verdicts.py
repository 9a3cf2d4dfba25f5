"""What tools make of every status of the stories: the command `wait`, and Argo CD by docs/gitops/argocd-health.lua.

verdicts.txt is what a pipeline and a GitOps dashboard show while each story happens.
"""

from pathlib import Path

import pytest
import yaml
from lupa import lua51  # Argo CD embeds a Lua 5.1
from tradingrelease.policy import names
from tradingrelease.policy.reasons import Phase
from tradingrelease.policy.result import Result, judge, target

from tests.golden.test_transcripts import STORIES

HEALTH = Path(__file__).parents[2] / "docs" / "gitops" / "argocd-health.lua"
HEALTHS = {"Healthy", "Progressing", "Degraded", "Suspended"}


class Lua:
    """Argo CD's way with a health check: `obj` is the resource, the answer a table."""

    def __init__(self, text):
        self._lua = lua51.LuaRuntime(unpack_returned_tuples=True)
        self._check = self._lua.eval(f"function(obj)\n{text}\nend")

    def health(self, release):
        answer = self._check(self._lua.table_from(release, recursive=True))
        assert answer["status"] in HEALTHS
        return answer["status"], answer["message"]


@pytest.fixture(scope="module")
def argo():
    return Lua(HEALTH.read_text())


@pytest.fixture(scope="module")
def stories():
    return {story.__name__: story() for story in STORIES}


def waits(sim):
    """Yield each object of a story with what a `wait` begun at the last apply says of it; None: it has ended."""
    wanted = ended = None
    for at, who, release in sim.records:
        if who == "author" or wanted is None:
            wanted, ended = target(release), None
        standing = None if ended else judge(release, wanted)
        ended = ended or standing.result is not None
        yield at - sim.began, who, release, standing


def told(sim, argo):
    """Tell a story as tools see it: a line where what they show changes."""
    before, lines = None, []
    for at, who, release, standing in waits(sim):
        health, _ = argo.health(release)
        if standing is None:
            wait = "(ended)"
        elif standing.result is None:
            wait = f"waits: {standing.reason}"
        else:
            wait = f"exit {standing.result:d}: {standing.reason}: {standing.message}"
        shown = (health, wait)
        if who == "author" or shown != before:
            seconds = at.total_seconds()
            clock = (
                f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:04.1f}" if seconds >= 0 else "before"
            )
            mark = "apply" if who == "author" else ""
            lines.append(f"{clock:>10}  {mark:<5}  {health:<11}  {wait}")
        before = shown
    return "\n".join(lines)


def test_every_story_is_seen_as_written(golden, argo, stories):
    golden("verdicts", "\n\n".join(f"{name}\n{told(sim, argo)}" for name, sim in stories.items()) + "\n")


def test_every_phase_is_among_what_is_told(stories):
    """A phase that is new wants a story, so that what tools make of it is looked at."""
    seen = {release["status"].get("phase") for sim in stories.values() for _, _, release in sim.records}
    assert seen - {None} == set(Phase)


def test_exit_0_and_healthy_are_said_of_the_same_statuses(argo, stories):
    """Two tools that disagree about `done` are two truths."""
    seen = set()
    for name, sim in stories.items():
        for _, _, release, _ in waits(sim):
            health, _ = argo.health(release)
            result = judge(release, target(release)).result
            assert (health == "Healthy") == (result is Result.READY), (name, release)
            assert health == "Degraded" or result not in {Result.FAILED, Result.REFUSED}, (name, release)
            seen.add((health, result))
    assert {health for health, _ in seen} == HEALTHS
    assert {result for _, result in seen} == {None, Result.READY, Result.FAILED, Result.REFUSED}


@pytest.mark.parametrize(("reason", "result"), [("JobForbidden", Result.REFUSED), ("AdmissionFailing", None)])
def test_a_refusal_that_ends_by_itself_is_waited_for(stories, reason, result):
    """A webhook that cannot be asked for a moment is no reason for a pipeline to give up."""
    _, _, release = stories["first_release"].records[-1]
    conditions = [c for c in release["status"]["conditions"] if c["type"] not in {"Accepted", "Ready"}]
    generation = release["metadata"]["generation"]
    said = {"status": "False", "reason": reason, "message": "why", "observedGeneration": generation}
    conditions += [{"type": kind} | said for kind in ("Accepted", "Ready")]
    refused = release | {"status": release["status"] | {"conditions": conditions}}
    assert judge(refused, target(refused)).result is result


@pytest.mark.parametrize("part", ["conditions", "revision", "proof"])
def test_a_status_about_something_else_is_never_ready(argo, stories, part):
    """A status of an older generation, a live revision that is not the one asked for, a watch that is not over."""
    _, _, release = stories["first_release"].records[-1]
    wanted = target(release)
    assert judge(release, wanted).result is Result.READY
    stale = release | {"status": dict(release["status"])}
    if part == "conditions":
        stale["metadata"] = release["metadata"] | {"generation": release["metadata"]["generation"] + 1}
        assert argo.health(stale)[0] == "Progressing"
    elif part == "revision":
        stale["status"]["live"] = release["status"]["live"] | {"revision": "bbbbbbbbbb"}
    else:
        stale["status"]["live"] = {k: v for k, v in release["status"]["live"].items() if k != "provenAt"}
    assert judge(stale, wanted).result is None


def test_a_size_is_no_other_spec_and_every_other_change_is(stories):
    """An autoscaler that writes replicas raises the generation: the pipeline goes on waiting for its revision."""
    _, _, release = stories["first_release"].records[-1]
    wanted, spec = target(release), release["spec"]
    components = [component | {"replicas": 7} for component in spec["components"]]
    metadata = release["metadata"] | {"generation": release["metadata"]["generation"] + 1}
    scaled = release | {"metadata": metadata, "spec": spec | {"components": components}}
    assert judge(scaled, wanted).reason == "Unseen"
    renamed = release | {"metadata": metadata, "spec": spec | {"version": "9"}}
    assert (judge(renamed, wanted).reason, judge(renamed, wanted).result) == ("Superseded", Result.FAILED)


def test_a_release_made_anew_is_not_the_one_that_was_waited_for(stories):
    _, _, release = stories["first_release"].records[-1]
    anew = release | {"metadata": release["metadata"] | {"uid": "another"}}
    assert (judge(anew, target(release)).reason, judge(anew, target(release)).result) == ("Deleted", Result.FAILED)


def test_an_object_that_nobody_looked_at_is_waited_for(argo, stories):
    _, _, release = stories["first_release"].records[-1]
    bare = {key: value for key, value in release.items() if key != "status"}
    assert judge(bare, target(bare)).reason == "Unseen"
    assert argo.health(bare)[0] == "Progressing"


@pytest.mark.parametrize("reason", ["ServiceMissing", "AdoptionAmbiguous"])
def test_a_refusal_that_may_end_by_itself_is_waited_out(stories, reason):
    release = refused(stories, reason)
    standing = judge(release, target(release))
    assert (standing.reason, standing.result) == (reason, None)


@pytest.mark.parametrize("reason", ["InvalidSpec", "ServiceTaken", "DeploymentForbidden"])
def test_any_other_refusal_ends_the_waiting(stories, reason):
    release = refused(stories, reason)
    standing = judge(release, target(release))
    assert (standing.reason, standing.result) == (reason, Result.REFUSED)


def refused(stories, reason):
    """Return the refused release of a story, refused for another reason."""
    _, _, release = stories["typo_during_the_watch"].records[-1]
    conditions = [
        condition | ({"reason": reason} if condition["type"] in {"Accepted", "Ready"} else {})
        for condition in release["status"]["conditions"]
    ]
    return release | {"status": release["status"] | {"conditions": conditions}}


def test_argo_ignores_the_keys_that_the_operator_writes_onto_a_service():
    application = yaml.safe_load((HEALTH.parent / "argocd-application.yaml").read_text())
    paths = set(application["spec"]["ignoreDifferences"][0]["jqPathExpressions"])
    written = {f'.spec.selector."{names.REVISION}"', f'.metadata.labels."{names.RELEASE}"'}
    written |= {f'.metadata.annotations."{key}"' for key in (names.RELEASE_UID, names.SWITCH, names.FENCE)}
    assert paths == written
