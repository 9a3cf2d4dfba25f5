"""How the story reads what its watches saw."""

import io
import sys
import time

import pytest

from demo.kubectl import Seen, Watch
from demo.report import Move
from demo.story import Release, Told, component_versions, moves, step
from demo.view import View


def a_service(at, name, revision=None):
    selector = {"app": name} | ({"tradingplatform.io/revision": revision} if revision else {})
    return Seen(at, {"metadata": {"name": name}, "spec": {"selector": selector}}, deleted=False)


def a_release(version="2.0.0", generation=2, **status):
    return {"metadata": {"name": "x", "generation": generation}, "spec": {"version": version}, "status": status}


READY = [{"type": "Ready", "status": "True"}]


def test_a_move_is_a_change_of_the_revision_that_a_service_of_the_application_selects():
    seen = [
        a_service(1.0, "backend"),
        a_service(2.0, "backend", "aaa"),
        a_service(3.0, "backend", "aaa"),  # something else changed
        a_service(3.0, "backend-preview", "bbb"),
        a_service(4.0, "frontend", "aaa"),
        a_service(5.0, "backend", "bbb"),
    ]
    assert moves(seen) == [Move("backend", 2.0, "aaa"), Move("frontend", 4.0, "aaa"), Move("backend", 5.0, "bbb")]


def test_component_revisions_belong_to_the_version_under_which_they_were_first_seen():
    candidate = {"version": "2.0.0", "components": [{"name": "backend", "revision": "aaa"}]}
    live = {"version": "3.0.0", "components": [{"name": "backend", "revision": "aaa"}, {"name": "x", "revision": "b"}]}
    seen = [Seen(1.0, a_release(candidate=candidate), False), Seen(2.0, a_release(live=live), False)]
    assert component_versions(seen) == {"aaa": "2.0.0", "b": "3.0.0"}


@pytest.mark.parametrize(
    ("release", "ready"),
    [
        (a_release(observedGeneration=2, conditions=READY, live={"version": "2.0.0"}), True),
        (a_release(observedGeneration=1, conditions=READY, live={"version": "2.0.0"}), False),  # of the former spec
        (a_release(observedGeneration=2, conditions=READY, live={"version": "1.0.0"}), False),
        (a_release(version="3.0.0", observedGeneration=2, conditions=READY, live={"version": "3.0.0"}), False),
        (a_release(observedGeneration=2, live={"version": "2.0.0"}), False),
        ({"metadata": {"generation": 1}, "spec": {"version": "2.0.0"}}, False),
    ],
)
def test_ready_is_about_the_newest_spec_and_the_version_that_was_asked_for(release, ready):
    assert Release(release).ready("2.0.0") is ready


def test_a_step_that_fails_is_told_and_counted():
    told, out = Told(), io.StringIO()
    with pytest.raises(ZeroDivisionError), step(told, View(out), "divide"):
        _ = 1 / 0
    with step(told, View(out), "rest"):
        pass
    assert [(each.name, each.ok) for each in told.steps] == [("divide", False), ("rest", True)]
    assert "1. divide" in out.getvalue()
    assert "FAILED" in out.getvalue()


def an_event(kind, name, version):
    return f'{{"type":"{kind}","object":{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}}}'


def printing(*lines, then="import time; time.sleep(60)"):
    """Return a command that prints these lines, as a watch would, and stays."""
    return [sys.executable, "-c", f"print({chr(10).join(lines)!r}, flush=True); {then}"]


def test_a_watch_asks_of_every_state_and_misses_none_between():
    events = [an_event("ADDED", "a", 1), an_event("MODIFIED", "a", 2), an_event("MODIFIED", "a", 3)]
    with Watch(printing(*events)) as watch:
        watch.until(lambda seen: seen.object["metadata"]["resourceVersion"] == "3", 10)
        assert watch.until(lambda seen: seen.object["metadata"]["resourceVersion"] == "2", 10)


def test_a_watch_begins_anew_and_does_not_tell_twice():
    heard = []
    events = [an_event("ADDED", "a", 1), an_event("ADDED", "b", 2)]
    with Watch(printing(*events, then=""), heard.append) as watch:
        began = time.monotonic()
        watch.until(lambda seen: seen.name == "b", 10)
        with pytest.raises(TimeoutError, match="not within"):
            watch.until(lambda seen: seen.name == "c", 1.0)
        assert time.monotonic() - began >= 1.0
    assert [seen.name for seen in heard] == ["a", "b"]


def test_a_watch_stamps_what_it_sees_and_knows_what_was_deleted():
    with Watch(printing(an_event("ADDED", "a", 1), an_event("DELETED", "a", 1))) as watch:
        gone = watch.until(lambda seen: seen if seen.deleted else None, 10)
        assert watch.latest() == gone
        assert abs(gone.at - time.time()) < 10
