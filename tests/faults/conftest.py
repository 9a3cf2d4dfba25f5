"""One lab for all tests here: a control plane of their own, with what every run shares."""

import os

import pytest

from tests.faults.lab import opened


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    plane = os.environ.get("FAULTS_PLANE", "faults") + "-tests"
    with opened(plane, tmp_path_factory.mktemp("faults")) as lab:
        yield lab
