"""The plans that run by default find a defect of the operator; without it they find nothing."""

import pytest

from tests.faults.catalogue import MAIN, plans
from tests.faults.faults import Held
from tests.faults.scenarios import DEFAULT
from tests.faults.stage import learn, run

SCENARIO, FAULT, AT = "rollback", "held", "PATCH services/backend switch #1"
"""The switch that is held back, lands when its target has failed and is at zero: the hazard of the write protocol."""


@pytest.fixture(scope="module")
def learned(lab):
    return learn(lab, SCENARIO)


@pytest.fixture(scope="module")
def plan(learned):
    """Return one of the plans that `python -m tests.faults` runs."""
    assert SCENARIO in DEFAULT
    assert FAULT in MAIN
    found = [plan for plan in plans(SCENARIO, FAULT, learned, 0) if plan.at == AT]
    assert {Held.lands(plan) for plan in found} == set(Held.LANDS)
    return next(plan for plan in found if Held.lands(plan) == "rest")


def test_writes_without_precondition_are_found(lab, learned, plan):
    found = run(lab, plan, learned, "no precondition at all")
    assert found.outcome == "failed", found
    assert any(line.startswith("S1") for line in found.said), found.said


def test_without_the_defect_nothing_is_found(lab, learned, plan):
    found = run(lab, plan, learned)
    assert found.outcome == "ok", "\n".join(found.said)
