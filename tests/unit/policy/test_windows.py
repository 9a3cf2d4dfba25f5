"""When a freeze holds: against zoneinfo by brute force, and against exchange_calendars day by day."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tradingrelease.policy.calendars import NOT_READ, Calendar, NoCalendar, parse, write
from tradingrelease.policy.freezes import parse as parse_freeze
from tradingrelease.policy.windows import NEVER, WEEK, Between, Hours, Part, Sessions, Unreadable, Weekly, look

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ZONES = [
    "UTC", "Europe/Zurich", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns",
    "Africa/Casablanca", "Pacific/Chatham", "Asia/Tokyo",
]  # fmt: skip


def moments(first, last, step=timedelta(seconds=1)):
    """Draw moments between two, in whole steps."""
    return st.integers(0, (last - first) // step).map(lambda n: first + step * n)


instants = moments(datetime(2024, 1, 1, tzinfo=UTC), datetime(2030, 12, 31, tzinfo=UTC))
in_the_calendar = moments(datetime(2024, 1, 2, tzinfo=UTC), datetime(2026, 12, 30, tzinfo=UTC), MINUTE)
clocks = st.integers(0, 1439)
hours = st.builds(
    Hours,
    st.sets(st.sampled_from(WEEK), min_size=1).map(lambda days: tuple(d for d in WEEK if d in days)),
    clocks,
    st.integers(0, 1440),
    st.sampled_from(ZONES),
).filter(lambda h: h.begin != h.end)


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def reads_inside(found, now):
    """Tell by the wall clock alone whether a moment lies in weekly hours."""
    wall = now.astimezone(ZoneInfo(found.zone))
    minute, today, before = wall.hour * 60 + wall.minute, WEEK[wall.weekday()], WEEK[wall.weekday() - 1]
    if found.end > found.begin:
        return today in found.days and found.begin <= minute < found.end
    return (today in found.days and minute >= found.begin) or (before in found.days and minute < found.end)


def changes_near(zone, now):
    """Tell whether the clock of a zone is set within two days around a moment."""
    offsets = {(now + HOUR * n).astimezone(ZoneInfo(zone)).utcoffset() for n in range(-48, 49)}
    return len(offsets) > 1


# --- weekly -----------------------------------------------------------------------------------------------------------


@given(hours, instants)
@example(Hours(("Sunday",), 150, 210, "America/New_York"), at("2026-03-08T07:15:00Z"))
@example(Hours(("Sunday",), 90, 120, "America/New_York"), at("2026-11-01T06:45:00Z"))
@example(Hours(("Tuesday",), 1380, 60, "Europe/Zurich"), at("2028-02-29T23:30:00Z"))
def test_every_moment_whose_wall_clock_is_inside_is_frozen(found, now):
    if reads_inside(found, now):
        assert look(Weekly((found,)), now).active


@given(hours, instants)
def test_away_from_a_change_of_the_clock_nothing_else_is_frozen(found, now):
    if not changes_near(found.zone, now):
        assert look(Weekly((found,)), now).active == reads_inside(found, now)


@given(st.lists(hours, min_size=1, max_size=3), instants)
def test_the_end_that_is_said_is_the_first_moment_that_is_free(several, now):
    window = Weekly(tuple(several))
    verdict = look(window, now)
    if verdict.active and verdict.until:
        assert verdict.until > now
        assert not look(window, verdict.until).active
        step = (verdict.until - now) / 7
        assert all(look(window, now + step * n).active for n in range(7))
    elif not verdict.active:
        assert verdict.begins is not None
        assert look(window, verdict.begins).active
        assert not look(window, verdict.begins - timedelta(seconds=1)).active


def test_days_that_touch_are_one_freeze():
    weekend = Weekly((Hours(("Saturday", "Sunday"), 0, 1440, "Europe/Zurich"),))
    assert look(weekend, at("2026-11-28T12:00:00Z")).until == at("2026-11-30T00:00:00+01:00")


@pytest.mark.parametrize(
    ("sunday", "end"),
    [("2026-03-29T00:30:00Z", "2026-03-29T22:00:00Z"), ("2026-10-25T00:30:00Z", "2026-10-25T23:00:00Z")],
    ids=["a day of 23 hours", "a day of 25 hours"],
)
def test_a_day_is_as_long_as_its_clock_says(sunday, end):
    assert look(Weekly((Hours(("Sunday",), 0, 1440, "Europe/Zurich"),)), at(sunday)).until == at(end)


def test_a_time_that_the_clock_shows_twice_begins_at_the_first_and_ends_at_the_second():
    """On 2026-11-01 New York's clock shows 01:00 to 02:00 twice: from 05:00 and from 06:00 UTC."""
    window = Weekly((Hours(("Sunday",), 75, 105, "America/New_York"),))
    assert look(window, at("2026-11-01T05:00:00Z")).begins == at("2026-11-01T05:15:00Z")
    assert look(window, at("2026-11-01T05:15:00Z")).until == at("2026-11-01T06:45:00Z")


def test_a_time_that_the_clock_skips_is_read_so_that_the_freeze_is_longer():
    """On 2026-03-08 New York's clock goes from 02:00 (07:00 UTC) to 03:00 at once."""
    window = Weekly((Hours(("Sunday",), 135, 165, "America/New_York"),))
    assert look(window, at("2026-03-08T05:00:00Z")).begins == at("2026-03-08T06:15:00Z")
    assert look(window, at("2026-03-08T07:00:00Z")).until == at("2026-03-08T07:45:00Z")


def test_hours_that_leave_no_hour_free_have_no_end():
    verdict = look(Weekly((Hours(WEEK, 0, 1440, "Europe/Zurich"),)), at("2026-03-28T12:00:00Z"))
    assert (verdict.active, verdict.until) == (True, None)


def test_leap_day_is_a_day_like_any_other():
    window = Weekly((Hours(("Tuesday",), 540, 600, "UTC"),))
    assert look(window, at("2028-02-29T09:30:00Z")).until == at("2028-02-29T10:00:00Z")
    assert look(window, at("2028-02-28T09:30:00Z")).begins == at("2028-02-29T09:00:00Z")


# --- between ----------------------------------------------------------------------------------------------------------


@given(instants, instants, instants)
def test_a_span_holds_from_its_begin_to_right_before_its_end(begin, end, now):
    verdict = look(Between(begin, end), now)
    assert verdict.active == (begin <= now < end)
    assert verdict.until == (end if verdict.active else None)
    assert verdict.begins == (begin if now < begin < end else None)


# --- calendars --------------------------------------------------------------------------------------------------------

MARKETS = ["XNYS", "XLON", "XHKG", "XTKS", "CMES", "24/7", "24/5"]
FIRST, LAST = date(2024, 1, 1), date(2026, 12, 31)


@pytest.fixture(scope="module", params=MARKETS, ids=lambda name: name.replace("/", "-"))
def market(request):
    """Give a market twice: as exchange_calendars knows it, and as the export writes it."""
    import exchange_calendars
    from tradingrelease.calendars import export

    known = exchange_calendars.get_calendar(request.param, start="2023-12-01", end="2027-01-31")
    written = export(request.param, FIRST, LAST)
    calendar = parse(write(written))
    assert calendar == written
    return Market(known, calendar)


class Market:
    """Two views of one market."""

    def __init__(self, known, calendar):
        self.known, self.calendar = known, calendar

    def is_open(self, now):
        import pandas as pd  # comes with exchange_calendars

        return self.known.is_open_at_time(pd.Timestamp(now), side="left", ignore_breaks=True)


@settings(max_examples=300)
@given(in_the_calendar)
def test_a_session_is_frozen_exactly_while_the_market_is_open(market, now):
    opened, calendar = market.is_open(now), market.calendar
    assert look(Sessions("c", Part.OPEN, timedelta(0), timedelta(0), calendar), now).active == opened
    assert look(Sessions("c", Part.CLOSED, timedelta(0), timedelta(0), calendar), now).active == (not opened)


def test_opens_closes_holidays_and_early_closes_are_those_of_the_market(market):
    known, calendar = market.known, market.calendar
    listed = {(o.to_pydatetime(), c.to_pydatetime()) for o, c in zip(known.opens, known.closes, strict=True)}
    assert set(calendar.sessions) <= listed
    inside = {(o, c) for o, c in listed if c > calendar.begins and o < calendar.ends}
    assert inside == set(calendar.sessions)


@settings(max_examples=100)
@given(in_the_calendar, st.integers(0, 90), st.integers(0, 90), st.sampled_from(Part))
def test_before_and_after_make_a_frozen_time_longer_and_never_shorter(market, now, before, after, part):
    calendar = market.calendar
    plain = Sessions("c", part, timedelta(0), timedelta(0), calendar)
    longer = Sessions("c", part, MINUTE * before, MINUTE * after, calendar)
    if look(plain, now).active:
        assert look(longer, now).active
    if look(longer, now).active and part is not Part.EDGES:
        near = [now + MINUTE * n for n in range(-after, before + 1)]
        assert any(look(plain, moment).active for moment in near)


def a_calendar(*sessions, begins="2026-11-01T00:00:00Z", ends="2026-12-01T00:00:00Z"):
    return Calendar("XNYS", at(begins), at(ends), tuple((at(o), at(c)) for o, c in sessions))


THANKSGIVING = a_calendar(
    ("2026-11-25T14:30:00Z", "2026-11-25T21:00:00Z"),
    ("2026-11-27T14:30:00Z", "2026-11-27T18:00:00Z"),  # the day after: an early close
    ("2026-11-30T14:30:00Z", "2026-11-30T21:00:00Z"),
)


def sessions(part=Part.OPEN, before=0, after=0, calendar=THANKSGIVING):
    return Sessions("xnys", part, MINUTE * before, MINUTE * after, calendar)


def test_an_early_close_ends_the_freeze_early():
    assert look(sessions(after=30), at("2026-11-27T17:00:00Z")).until == at("2026-11-27T18:30:00Z")


def test_a_holiday_is_free():
    verdict = look(sessions(before=60), at("2026-11-26T15:00:00Z"))
    assert (verdict.active, verdict.begins) == (False, at("2026-11-27T13:30:00Z"))


def test_closed_hours_go_over_a_holiday():
    assert look(sessions(Part.CLOSED, 5, 10), at("2026-11-25T20:55:00Z")).until == at("2026-11-27T14:40:00Z")


def test_edges_are_frozen_around_each_open_and_each_close():
    edges = sessions(Part.EDGES, 10, 20)
    frozen = [
        look(edges, at(f"2026-11-25T{clock}:00Z")).active
        for clock in ("14:19", "14:20", "14:49", "14:50", "20:50", "21:20")
    ]
    assert frozen == [False, True, True, False, True, False]


@pytest.mark.parametrize("part", Part)
def test_a_calendar_that_ran_out_is_frozen_and_says_so(part):
    verdict = look(sessions(part, 1, 1), at("2026-12-01T00:00:00Z"))
    assert (verdict.active, verdict.until) == (True, None)
    assert "ran out at 2026-12-01T00:00:00Z" in verdict.why


@pytest.mark.parametrize("part", Part)
def test_what_lies_before_a_calendar_is_frozen(part):
    assert look(sessions(part, 1, 1), at("2026-10-01T00:00:00Z")).active


def test_the_last_free_moment_of_a_calendar_is_before_its_end():
    assert look(sessions(), at("2026-11-30T22:00:00Z")).begins == at("2026-12-01T00:00:00Z")


def test_a_market_that_never_closes_is_frozen_always_or_never():
    days = [at("2026-11-01T00:00:00Z") + DAY * n for n in range(31)]
    always = Calendar("24/7", days[0], days[-1], tuple(itertools.pairwise(days)))
    noon = at("2026-11-11T12:00:00Z")
    assert look(sessions(calendar=always), noon).until is None
    assert look(sessions(Part.CLOSED, 30, 30, always), noon).begins == at("2026-11-30T23:30:00Z")
    assert look(sessions(Part.EDGES, 30, 30, always), noon).begins == at("2026-11-11T23:30:00Z")


def test_no_calendar_is_frozen():
    verdict = look(sessions(calendar=NOT_READ), at("2026-11-26T15:00:00Z"))
    assert (verdict.active, verdict.until, verdict.why) == (True, None, "its calendar is not read yet")


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sessions": ...}, "no key 'sessions'"),
        ({"ends": "soon"}, "soon"),
        ({"ends": "2026-12-01T00:00:00"}, "names no time zone"),
        ({"ends": "2020-12-01T00:00:00Z"}, "ends before it begins"),
        ({"sessions": "2026-11-25T14:30:00Z"}, "write its open and its close"),
        ({"sessions": "2026-11-25T14:30:00Z 2026-11-25T14:30:00Z"}, "does not follow"),
        (
            {"sessions": "2026-11-25T14:30:00Z 2026-11-25T21:00:00Z\n2026-11-25T20:30:00Z 2026-11-25T22:00:00Z"},
            "session 2",
        ),
    ],
)
def test_a_calendar_that_is_not_as_it_should_be_is_none(change, said):
    found = parse({key: value for key, value in (write(THANKSGIVING) | change).items() if value is not ...})
    assert isinstance(found, NoCalendar)
    assert said in found.message


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"weekly": [{"days": ["Monday"], "from": "09:00", "to": "10:00", "timeZone": "Europe/Atlantis"}]},
        {"weekly": [{"days": ["Someday"], "from": "09:00", "to": "10:00", "timeZone": "UTC"}]},
        {"weekly": [{"days": ["Monday"], "from": "09:00", "to": "99:00", "timeZone": "UTC"}]},
        {"weekly": [{"days": ["Monday"], "from": "09:00", "timeZone": "../../etc/passwd", "to": "10:00"}]},
        {"between": {"from": "2026-11-25T14:30:00Z"}},
        {"calendar": {"name": "xnys", "sessions": "Sometimes"}},
        {"selector": {"matchExpressions": [{"key": "a"}]}, "between": {"from": "x", "to": "y"}},
        {"between": "yes"},
    ],
)
def test_a_freeze_that_cannot_be_read_holds_and_says_why(spec):
    freeze = parse_freeze("odd", "uid", spec)
    assert isinstance(freeze.window, Unreadable)
    assert freeze.look(at("2026-11-25T14:30:00Z")).active
    assert freeze.holds({"any": "label"})


def test_a_selector_is_read_as_everywhere_in_kubernetes():
    selector = {
        "matchLabels": {"tier": "trading"},
        "matchExpressions": [
            {"key": "env", "operator": "In", "values": ["prod", "dr"]},
            {"key": "team", "operator": "NotIn", "values": ["risk"]},
            {"key": "canary", "operator": "DoesNotExist"},
            {"key": "app", "operator": "Exists"},
        ],
    }
    freeze = parse_freeze("some", "uid", {"selector": selector})
    labels = {"tier": "trading", "env": "prod", "app": "shop"}
    assert freeze.holds(labels)
    for changed in ({"tier": "lab"}, {"env": "test"}, {"team": "risk"}, {"canary": ""}):
        assert not freeze.holds(labels | changed), changed
    assert not freeze.holds({"tier": "trading", "env": "prod"})


def test_a_horizon_is_no_end():
    assert look(Unreadable("odd"), NEVER - DAY).until is None
