"""Logging takes no time from who logs, and loses nothing that there is room for."""

import io
import json
import logging
import threading
import time

from tradingrelease.logs import AsideHandler, JsonFormatter


class Stuck(io.StringIO):
    """A pipe that nobody reads until `go` is set."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def write(self, text):
        self.go.wait(10)
        return super().write(text)


def logger_on(stream):
    handler = AsideHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("tests.logs")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = []
    logger.addHandler(handler)
    return logger, handler


def test_lines_come_in_order_and_a_flush_waits_for_them():
    stream = io.StringIO()
    logger, handler = logger_on(stream)
    for number in range(1000):
        logger.info("line %d", number)
    handler.flush()
    lines = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert lines == [f"line {number}" for number in range(1000)]


def test_who_logs_does_not_wait_for_a_stuck_pipe():
    stream = Stuck()
    logger, handler = logger_on(stream)
    began = time.monotonic()
    for _ in range(100):
        logger.info("x")
    assert time.monotonic() - began < 1
    stream.go.set()
    handler.flush()
    assert len(stream.getvalue().splitlines()) == 100


def test_what_there_is_no_room_for_is_counted():
    stream = Stuck()
    logger, handler = logger_on(stream)
    for number in range(handler.ROOM + 50):
        logger.info("x%d", number)
    stream.go.set()
    handler.flush()
    logger.info("last")
    handler.flush()
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages[-1] == "last"
    assert messages[-2].endswith("lines were dropped")


def test_no_text_forges_a_line_or_colours_a_terminal():
    """Messages, extra fields and the text of exceptions come from the cluster; a line is one object, and ASCII."""
    evil = 'a\r\n{"level": "error"}\x1b[31m\x85\u2028\u202e\x00\x9b"'
    stream = io.StringIO()
    logger, handler = logger_on(stream)

    def fail():
        raise ValueError(evil)

    try:
        fail()
    except ValueError:
        logger.exception("%s", evil, extra={"release": evil, evil: "as a key", "deep": {"answer": [evil]}})
    handler.flush()
    text = stream.getvalue()
    assert text.endswith("}\n")
    line = text[:-1]
    assert all(" " <= letter <= "~" for letter in line)
    said = json.loads(line)
    assert (said["message"], said["release"], said[evil]) == (evil, evil, "as a key")
    assert evil in said["exception"]
