"""What people read, wherever it is shown; and what a shell and a program read of it."""

import json
import shlex
import string
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease.policy import messages
from tradingrelease.policy.messages import News, commonmark, markup, plain
from tradingrelease.policy.model import Key
from tradingrelease.policy.reasons import Severity

from tests.builders import KEY, NOW
from tests.unit.policy.test_transitions import a_transition

HOSTILE = (
    "*bold* _it_ ~no~ `rm` <!channel> <http://evil.example|good> [a](b) & @here @U123 a_b \\ \x1b[31m \u202ertl\nnext"
)


def rolled_back(**fields):
    given = {
        "reason": "RolledBack", "message": "HealthFailed: HTTP 503 on 2 pods", "severity": Severity.WARNING, "outcome": "RolledBack",
        "revision": "bcdfghjklm", "version": "2.4.0", "attempt": 2, "by": "anna (by ci)", "since": NOW - timedelta(seconds=250),
        "live": "zxwvtsrqpn", "target": "2.3.8",
    }  # fmt: skip
    return News(KEY, a_transition(**{**given, **fields}))


def text(news, style="text"):
    return messages.body([news], messages.STYLES[style])


def test_it_says_what_why_who_how_long_and_how_to_go_back():
    assert text(rolled_back(why="wrong prices")) == (
        "RolledBack production/shop, version 2.4.0 (bcdfghjklm, attempt 2)\n"
        "Warning: HealthFailed: HTTP 503 on 2 pods\n"
        "Who: anna (by ci), because: wrong prices\n"
        "How long: 4 min 10 s, from 2026-03-02T11:55:50.000Z to 2026-03-02T12:00:00.000Z\n"
        "To roll back to version 2.3.8:\n"
        '  echo \'{"apiVersion":"tradingplatform.io/v1alpha1","kind":"ReleaseCommand","metadata":{"generateName":"rollback-"},'
        '"spec":{"release":"shop","action":"Rollback","revision":"zxwvtsrqpn","reason":"as a notification said"}}\''
        " | kubectl -n production create -f -"
    )


def test_what_is_not_known_is_not_said():
    said = text(News(KEY, a_transition(reason="Retired", message="old")))
    assert said == "Retired production/shop\nInfo: old\nWhen: 2026-03-02T12:00:00.000Z"


def test_what_is_on_its_way_can_be_ended():
    orders = dict(messages.commands(rolled_back(candidate="cccccccccc/3")))
    assert [json.loads(shlex.split(line)[1])["spec"]["action"] for line in orders.values()] == ["Rollback", "Abort"]
    assert '"revision":"cccccccccc"' in orders["To end attempt 3 of cccccccccc:"]


def test_an_unsafe_way_back_is_no_command():
    said = text(rolled_back(unsafe="hook migrate cannot be undone"))
    assert "No way back but a Rollback with force: true and a reason: hook migrate cannot be undone" in said
    assert "kubectl" not in said


@given(st.text(), st.text(), st.text())
def test_no_name_breaks_out_of_a_command(namespace, release, revision):
    line = messages.command(Key(namespace, release), "Rollback", revision)
    if line:
        echo, order, pipe, *rest = shlex.split(line)
        assert (echo, pipe, *rest) == ("echo", "|", "kubectl", "-n", namespace, "create", "-f", "-")
        assert json.loads(order)["spec"]["release"] == release
        assert not set(line) & set("`$;&<>\n\\")


@given(st.text(alphabet=string.printable + "\u200b\u202e\u2028äö"))
def test_what_others_wrote_stays_on_its_line_and_calls_nobody(written):
    for escape in (plain, commonmark, markup):
        said = escape(written)
        assert len(said.splitlines()) <= 1
        assert "\x1b" not in said
        assert not [word for word in said.split() if word.startswith("@") and word[1:2].isalnum()]


class Shown(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.seen = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))

    def handle_data(self, data):
        self.seen += data


@given(st.text())
def test_html_shows_what_was_written_and_nothing_of_it_is_markup(written):
    page = Shown()
    page.feed(text(rolled_back(message=written, by=written, why=written, version=written), "html"))
    page.close()
    assert {tag for tag, _ in page.tags} <= {"b", "br", "pre"}
    assert not any(attributes for _, attributes in page.tags)
    assert plain(written) in page.seen


def test_markdown_shows_what_was_written():
    assert commonmark(HOSTILE) == (
        r"\*bold\* \_it\_ \~no\~ \`rm\` \<!channel\> \<http://evil.example|good\> \[a\](b) & @" "\u200bhere @\u200bU123 a_b "
        r"\\ \[31m rtl next"
    )  # fmt: skip


def test_a_command_is_shown_as_code():
    assert "\n```\necho '" in text(rolled_back(), "markdown")
    assert "<pre>echo &#x27;" in text(rolled_back(), "html")


def test_several_are_told_together_oldest_first():
    batch = [rolled_back(version="1"), rolled_back(version="2", severity=Severity.CRITICAL)]
    assert messages.title("prod-eu", batch) == "prod-eu: production/shop: 2 transitions, the gravest Critical"
    said = messages.body(batch, messages.STYLES["text"])
    assert said.index("version 1") < said.index("version 2")
    others = [*batch, News(Key("production", "desk"), a_transition())]
    assert messages.title("", others) == "2 releases: 3 transitions, the gravest Critical"
    assert messages.title("prod-eu", batch[:1]) == "prod-eu: production/shop 1: RolledBack"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (9, "9 s"),
        (60, "1 min 0 s"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (86400 + 7200, "1 d 2 h"),
        (-5, "0 s"),
    ],
)
def test_how_long(seconds, said):
    assert messages.span(timedelta(seconds=seconds)) == said


def test_programs_read_back_what_was_told():
    news = rolled_back(candidate="cccccccccc/3")
    told = json.loads(json.dumps(messages.data(news, "prod-eu")))
    assert messages.from_data(told) == news
    assert (told["cluster"], told["seconds"], told["outcome"]) == ("prod-eu", 250, "RolledBack")
