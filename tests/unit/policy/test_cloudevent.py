"""Events as the SDK of CloudEvents reads them."""

import json

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy import cloudevent

from tests.builders import KEY

TIME = "2026-03-02T12:00:00.000Z"


def an_event(**fields):
    given = {"kind": "release.Proven", "identity": "0123", "subject": "abc", "time": TIME, "data": {"version": "2.0.0"}}
    return cloudevent.event(KEY, **{**given, **fields})


@pytest.mark.parametrize("encode", [cloudevent.structured, cloudevent.binary])
@given(st.text(min_size=1).filter(lambda t: t.isprintable()), st.dictionaries(st.text(), st.text()))
def test_any_event_is_read_as_it_was_written(encode, subject, data):
    headers, body = encode(an_event(subject=subject, data=data))
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    read = from_http_event(HTTPMessage(headers, body.encode()), JSONFormat())
    assert (read.get_id(), read.get_type(), read.get_specversion()) == (
        "0123",
        "tradingplatform.io.release.Proven",
        "1.0",
    )
    assert read.get_source() == "/namespaces/production/tradingreleases/shop"
    assert (read.get_subject(), read.get_data()) == (subject, data)
    assert read.get_time().isoformat() == "2026-03-02T12:00:00+00:00"


def test_the_same_event_is_the_same_bytes():
    assert cloudevent.structured(an_event(data={"a": 1, "b": 2})) == cloudevent.structured(
        an_event(data={"b": 2, "a": 1})
    )
    assert json.loads(cloudevent.structured(an_event())[1])["data"] == {"version": "2.0.0"}
