"""What the terminal shows."""

import io

from demo.view import Palette, View, cut, paint, traffic_lines
from loadgen import Records
from loadgen.record import Mode
from tests.unit.demo.test_report import at


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_where_there_is_no_terminal_there_are_plain_lines_only():
    out = io.StringIO()
    with View(out) as view:
        view.show(lambda: ["now"])
        view.say("first\nsecond", 31)
    lines = out.getvalue().splitlines()
    assert [line.split("] ")[1] for line in lines] == ["first", "second"]
    assert "\x1b" not in out.getvalue()


def test_in_a_terminal_the_picture_stays_below_the_story():
    out = Terminal()
    with View(out) as view:
        view.show(lambda: ["now", "and here"])
        view.say("first")
        view.say("second")
    drawn = out.getvalue()
    assert drawn.index("first") < drawn.index("now") < drawn.index("\x1b[2A\x1b[J") < drawn.index("second")
    assert drawn.endswith("\x1b[?25h")


def test_a_long_line_is_cut_where_one_sees_its_end_and_not_in_a_colour():
    line = paint("abcdef", 31) + "ghi"
    assert cut(line, 9) == line
    assert cut(line, 5).startswith("\x1b[31mabcd\x1b[0m")
    assert cut(line, 5).endswith("…\x1b[0m")


def test_traffic_shows_who_answers_and_what_fails():
    records = Records((at(1.0), at(1.0, version="4.0.0", status=500), at(1.0, mode=Mode.KEEPALIVE)))
    backend, frontend = traffic_lines(records, ["backend", "frontend"], Palette())
    assert "2.0.0" in backend
    assert "4.0.0 failing" in backend
    assert "·" in frontend


def test_a_version_keeps_its_colour():
    palette = Palette()
    first, second = palette.colour("1"), palette.colour("2")
    assert first != second
    assert (palette.colour("1"), palette.colour("2")) == (first, second)
