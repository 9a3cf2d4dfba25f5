"""What the API server refused is asked again in time, and not before."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tradingrelease.cluster.act import taken
from tradingrelease.cluster.notebook import Notebook
from tradingrelease.policy.decide import decide
from tradingrelease.policy.model import ConfirmGone, DryRun, Refusal, Rest

from tests.builders import KEY, NOW, a_hook, a_release, a_service, parsed
from tests.unit.cluster import raw
from tests.unit.policy.test_hooks import a_job, begun, revision_of, running

REVISION = parsed().components[0].revision


def noted(refusal, *, cured_by_others):
    """Return the notebook after a refused dry run."""
    asked_at = {REVISION: NOW} if cured_by_others else {}
    return Notebook(dry_runs={REVISION: refusal}, dry_run_at=asked_at)


def looked(notebook, at):
    """Look at the release as the reconciler does."""
    notebook.forget_refusals(at)
    world = a_release().having(services={"backend": a_service()}, dry_runs=dict(notebook.dry_runs)).world()
    return decide(world, at)


@pytest.mark.parametrize("reason", ["DeploymentForbidden", "DeploymentNameTaken"])
def test_what_others_can_cure_is_asked_again_at_the_next_look_by_time(reason):
    notebook = noted(Refusal(reason, "no", terminal=False), cured_by_others=True)

    first = looked(notebook, NOW)
    soon = looked(notebook, NOW + timedelta(seconds=5))
    due = looked(notebook, NOW + first.look_again)

    assert (first.refused, first.look_again) == ((reason, "component backend: no"), timedelta(seconds=10))
    assert soon.refused == first.refused
    assert isinstance(due.step, DryRun)


def test_a_template_that_is_invalid_stays_so():
    notebook = noted(Refusal("InvalidTemplate", "no", terminal=True), cured_by_others=False)

    assert looked(notebook, NOW + timedelta(hours=1)).refused == ("InvalidTemplate", "component backend: no")


def test_a_deployment_that_is_not_ours_takes_the_name():
    refusal = taken(KEY, raw.deployment("shop-backend-abc", ours=False))

    assert refusal.reason == "DeploymentNameTaken"
    assert refusal.message == (
        "Deployment shop-backend-abc exists and is not of this release: rename it, or the component"
    )


def test_a_deployment_of_ours_was_made_before():
    assert taken(KEY, raw.deployment("shop-backend-abc")) is None


def test_a_job_that_lost_its_label_is_known_from_its_last_read_and_read_again_in_time():
    """No watch tells of it any more; to look for it without end would let nothing else of the release happen."""
    revision = revision_of(a_hook())
    world, _ = begun(a_hook(), run=running(revision))
    job = a_job(revision, suspended=False, labelled=False)
    notebook = Notebook(job_read=(job, NOW))

    def looked(at):
        return decide(replace(world, jobs=notebook.jobs({}, at)), at)

    first = looked(NOW)
    assert (type(first.step), first.reason, "lost its label" in first.because) == (Rest, "HookRunning", True)
    assert first.look_again <= timedelta(seconds=5.1)
    assert isinstance(looked(NOW + timedelta(seconds=4)).step, Rest)
    assert isinstance(looked(NOW + first.look_again).step, ConfirmGone)
    listed = {job.name: replace(job, version=8)}
    assert notebook.jobs(listed, NOW) == listed
