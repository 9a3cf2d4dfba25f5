"""The API server's clock, carried on by the monotonic clock. The one place where time is read."""

import time
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime


class ServerClock:
    """Tells the API server's time from the `Date` of its answers.

    A `Date` has whole seconds: an answer received at monotonic time r, asked at s, says that the server's time minus
    the monotonic time lies between Date - r and Date + 1 - s. The largest lower bound is the estimate.
    """

    def __init__(self) -> None:
        self._offset: float | None = None

    @property
    def known(self) -> bool:
        """Whether the server has answered yet."""
        return self._offset is not None

    def heard(self, date: str, sent: float, received: float) -> None:
        """Learn from one answer: its Date header, and when it was asked and received (monotonic seconds)."""
        try:
            stamp = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        low, high = stamp - received, stamp + 1 - sent
        if self._offset is None or low > self._offset or high < self._offset:
            # Above the upper bound: the server's clock was set back, and it is the one that counts.
            self._offset = low

    def now(self) -> datetime:
        """Return the API server's time. Raises RuntimeError before its first answer."""
        if self._offset is None:
            raise RuntimeError("the API server has not answered yet")
        return datetime.fromtimestamp(self._offset + time.monotonic(), UTC)


def monotonic() -> float:
    """Return seconds that only grow."""
    return time.monotonic()


def today() -> date:
    """Return the day of this machine's clock: for commands that people run, never for the operator."""
    return datetime.now(UTC).date()  # noqa: TID251 - here is clock.py
