"""The search finds every bug that can be planted into the protocol, and finds nothing where none is planted."""

import pytest

from tests.model.bugs import BUGS, planted
from tests.model.scopes import DEEP, SCOPES
from tests.model.search import Limits, search

DIRECTED = sorted({bug.scope for bug in BUGS})
BEGINNING = Limits(states=1500)
"""Of a scope that takes long to exhaust, which `make model` does."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug):
    """Shows the way there with `pytest -rP` (or `python -m tests.model --bugs`)."""
    scope = SCOPES[bug.scope]
    with planted(bug):
        found = search(scope.begin(), scope.play, bug.limits)
    print(found.violation)
    assert found.violation is not None, f"{bug.name}: {found.outcome} after {found.states} states"
    assert found.violation.text.startswith(bug.breaks), str(found.violation)


def test_no_two_worlds_have_one_name():
    assert not SCOPES.keys() & DEEP.keys()


@pytest.mark.parametrize("name", DIRECTED)
def test_without_the_bug_nothing_is_found_in_all_that_may_happen(name):
    scope = SCOPES[name]
    found = search(scope.begin(), scope.play)
    assert found.violation is None, str(found.violation)
    assert found.exhausted


@pytest.mark.parametrize("name", sorted(DEEP))
def test_nothing_is_found_where_a_large_world_begins(name):
    """Several edits, two components, crashes and old reads together."""
    scope = DEEP[name]
    found = search(scope.begin(), scope.play, BEGINNING)
    assert found.violation is None, str(found.violation)
    assert found.states >= BEGINNING.states or found.exhausted
