"""What an answer of the API server means that is no success."""

import json

import pytest
from tradingrelease.cluster.act import reason_of
from tradingrelease.cluster.api import error_of
from tradingrelease.errors import AdmissionFails, Conflict, Forbidden, Invalid, NotFound, Unreachable

CALLING = (
    'Internal error occurred: failed calling webhook "jobs.example.com": failed to call webhook: connection refused'
)
DENIED = 'admission webhook "jobs.example.com" denied the request: no Jobs today'
QUOTA = 'jobs.batch "x" is forbidden: exceeded quota: few'


def of(status, message, retry_after=None):
    return error_of(status, json.dumps({"message": message}).encode(), retry_after, "POST /apis/batch/v1/jobs")


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (500, CALLING, AdmissionFails),
        (500, "Internal error occurred: etcdserver: leader changed", Unreachable),
        (503, "the server is shutting down", Unreachable),
        (403, QUOTA, Forbidden),
        (403, DENIED, Forbidden),
        (503, DENIED, Forbidden),
        (409, DENIED, Forbidden),
        (404, DENIED, Forbidden),
        (429, DENIED, Forbidden),
        (400, DENIED, Invalid),
        (422, 'Job "x" is invalid: spec.template', Invalid),
        (409, 'jobs.batch "x" already exists', Conflict),
        (404, 'jobs.batch "x" not found', NotFound),
    ],
)
def test_what_an_answer_means(status, message, kind):
    """A webhook that says no, or nothing, is none of the API server's own troubles: those are waited out."""
    error = of(status, message)
    assert (type(error), error.status, str(error)) == (kind, status, message)


def test_an_answer_without_words_is_told_by_what_was_asked():
    assert str(error_of(502, b"<html>", None, "GET /x")) == "GET /x: HTTP 502"
    assert of(429, "slow down", "7").retry_after == 7


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (AdmissionFails(CALLING), "Job", "AdmissionFailing"),
        (Forbidden(QUOTA), "Job", "JobForbidden"),
        (Forbidden(QUOTA), "Deployment", "DeploymentForbidden"),
        (Invalid("no image"), "Job", "InvalidJob"),
        (Invalid("no image"), "Deployment", "InvalidTemplate"),
    ],
)
def test_the_reason_that_people_read(error, kind, reason):
    assert reason_of(error, kind) == reason
