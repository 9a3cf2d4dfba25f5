"""Who is yet to be told of what, taken from statuses as they are stored: across restarts, new targets and full queues."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tradingrelease import telemetry
from tradingrelease.cluster.api import RELEASES
from tradingrelease.cluster.cache import Cache
from tradingrelease.cluster.ledger import LAZY, ROOM, Ledger
from tradingrelease.policy import transitions
from tradingrelease.policy.model import Key
from tradingrelease.policy.notifications import parse
from tradingrelease.policy.reasons import Severity

from tests.builders import a_spec
from tests.unit.cluster import raw
from tests.unit.policy.test_transitions import a_transition

CONFIG = parse(
    {
        "targets": {"team": {}, "pager": {}},
        "routes": [{"to": ["team"]}, {"to": ["pager"], "severity": "Critical"}],
    }
)
SHOP = Key("production", "shop")


class Store:
    """A release as the API server keeps it, and an operator that writes its status as the real one does."""

    def __init__(self, config=CONFIG, name="shop"):
        self.config, self.key, self.uid = config, Key("production", name), f"uid-{name}"
        self.status, self.version = {}, 0
        self.starts()

    def starts(self, config=None):
        """Begin anew with nothing but what is stored."""
        self.config = config or self.config
        self.cache = Cache()
        self.ledger = Ledger(self.config, self.cache)
        self.write()
        self.ledger.take_in(self.key)

    def happens(self, *happened):
        """Record in one write, with the marks of now; then take it in."""
        stored = self.status.get("transitions")
        told = transitions.marks(self.status.get("notified"))
        newest = transitions.newest(stored)
        self.status["transitions"] = transitions.recorded(stored, happened, told)
        self.status["notified"] = self.ledger.marks(self.uid, told, newest)
        self.write()
        self.ledger.take_in(self.key)

    def says_who_was_told(self):
        told = transitions.marks(self.status.get("notified"))
        if self.ledger.due_in(self.uid, told, 0.0) == 0:
            self.status["notified"] = self.ledger.marks(self.uid, told, transitions.newest(self.status["transitions"]))
            self.write()

    def write(self):
        self.version += 1
        body = {"metadata": raw.metadata(self.key.name, self.version), "spec": a_spec(), "status": dict(self.status)}
        self.cache.store(RELEASES, body)

    def waiting(self, target="team"):
        return [w.news.what.id for w in self.ledger.queues[target]]

    def sends(self, target="team", count=100):
        batch = list(self.ledger.queues[target])[:count]
        self.ledger.sent(target, batch)
        return [w.news.what.id for w in batch]


def things(*ids, **fields):
    return [a_transition(id=identity, **fields) for identity in ids]


def dropped(target, cause):
    return telemetry.NOTIFICATIONS_DROPPED.labels(target, cause)._value.get()


def test_what_happens_waits_for_whom_it_concerns_in_its_order():
    store = Store()
    store.happens(*things("a", "b"))
    store.happens(*things("c", severity=Severity.CRITICAL))
    assert store.waiting("team") == ["a", "b", "c"]
    assert store.waiting("pager") == ["c"]


def test_it_is_taken_in_once_however_often_it_is_read():
    store = Store()
    store.happens(*things("a"))
    store.write()
    store.ledger.take_in(SHOP)
    assert store.waiting() == ["a"]
    assert store.sends() == ["a"]
    store.ledger.take_in(SHOP)
    assert store.waiting() == []


def test_after_a_restart_everything_is_told_that_no_status_says_was():
    store = Store()
    store.happens(*things("a", "b", "c"))
    assert store.sends(count=1) == ["a"]
    store.starts()  # before status said so: told again
    assert store.waiting() == ["a", "b", "c"]
    assert store.sends(count=2) == ["a", "b"]
    store.says_who_was_told()
    store.starts()
    assert store.waiting() == ["c"]


def test_a_target_that_is_new_is_told_what_happens_from_now_on():
    store = Store(parse({"targets": {"team": {}}, "routes": [{"to": ["team"]}]}))
    store.happens(*things("a", severity=Severity.CRITICAL))
    store.starts(CONFIG)
    assert store.waiting("pager") == []
    store.happens(*things("b", severity=Severity.CRITICAL))
    assert store.waiting("pager") == ["b"]
    assert store.waiting("team") == ["a", "b"]
    store.starts(CONFIG)
    assert store.waiting("pager") == ["b"]


def test_what_no_route_leads_to_is_done_with_when_the_next_is_written():
    store = Store()
    store.happens(*things("a"))
    assert store.status["notified"] == {"pager": 0, "team": 0}
    store.sends()
    assert store.ledger.due_in(store.uid, {"pager": 0}, 0.0) is None, "nothing was sent to it: no write for its sake"
    store.says_who_was_told()
    assert store.status["notified"] == {"pager": 1, "team": 1}


def test_a_write_is_due_some_time_after_something_was_sent():
    store = Store()
    store.happens(*things("a"))
    assert store.ledger.due_in(store.uid, store.status["notified"], LAZY) is None
    store.sends()
    assert LAZY - 5 < store.ledger.due_in(store.uid, store.status["notified"], LAZY) <= LAZY
    assert store.ledger.due_in(store.uid, store.status["notified"], 0.0) == 0
    store.says_who_was_told()
    assert store.ledger.due_in(store.uid, store.status["notified"], LAZY) is None
    store.happens(*things("b"))
    store.sends()
    assert store.ledger.due_in(store.uid, store.status["notified"], LAZY) > LAZY - 5, "counted anew"


def test_a_target_that_is_told_no_more_is_forgotten():
    store = Store()
    store.happens(*things("a"))
    store.starts(parse({"targets": {"team": {}}, "routes": [{"to": ["team"]}]}))
    store.happens(*things("b"))
    assert set(store.status["notified"]) == {"team"}


def test_a_full_queue_drops_the_oldest_and_counts_it():
    store, before = Store(), dropped("team", "full")
    for n in range(ROOM + 3):
        store.happens(*things(f"n{n}"))
    assert len(store.waiting()) == ROOM
    assert store.waiting()[0] == "n3"
    assert dropped("team", "full") - before == 3
    store.happens(*things("last"))
    assert store.status["notified"]["team"] >= 3, "what is dropped is done with"


def test_what_status_could_not_keep_is_counted():
    store = Store()
    for n in range(transitions.KEPT_UNTOLD + 5):
        store.happens(*things(f"n{n}"))
    before = dropped("team", "forgotten")
    store.starts()
    assert len(store.waiting()) == transitions.KEPT_UNTOLD
    assert dropped("team", "forgotten") - before == 5


def test_a_release_of_the_same_name_is_another_one():
    store = Store()
    store.happens(*things("a"))
    body = {"metadata": raw.metadata("shop", store.version + 1, uid="uid-new"), "spec": a_spec(), "status": {}}
    body["status"] = {"transitions": transitions.recorded(None, things("z"), {}), "notified": {"team": 0}}
    store.cache.store(RELEASES, body)
    store.ledger.take_in(SHOP)
    assert store.waiting() == ["a", "z"]


def test_a_release_that_is_gone_is_told_of_to_the_end():
    store = Store()
    store.happens(*things("a"))
    store.cache.forget(RELEASES, "production", "shop")
    store.ledger.take_in(SHOP)
    assert store.sends() == ["a"]


@pytest.mark.parametrize("seed", range(3))
@given(st.lists(st.sampled_from(["happens", "sends", "says", "restarts", "critical"]), max_size=40))
def test_nothing_is_lost_and_nothing_told_again_but_what_no_status_said(seed, story):
    """Whatever comes between: each is sent, in order; and again only after a restart, from what status said on."""
    store, happened, sent, marked, restarted = Store(), [], [], 0, False
    for number, act in enumerate(story):
        match act:
            case "happens" | "critical":
                severity = Severity.CRITICAL if act == "critical" else Severity.INFO
                store.happens(*things(f"n{number}", severity=severity))
                happened.append(f"n{number}")
            case "sends":
                batch = store.sends(count=1 + seed)
                again = set(batch) & set(sent)
                assert not again or restarted
                assert all(happened.index(one) >= marked for one in batch)
                sent += [one for one in batch if one not in again]
            case "says":
                store.says_who_was_told()
                marked = store.status.get("notified", {}).get("team", 0)
            case "restarts":
                store.starts()
                restarted = True
    while batch := store.sends():
        sent += [one for one in batch if one not in sent]
    assert sent == happened
