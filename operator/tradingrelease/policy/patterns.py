"""Regular expressions of authors (RE2): matched in linear time whatever they are, and refused with their position."""

from functools import lru_cache
from typing import Any

import re2

from tradingrelease.policy.expression import position

_MOST_MEMORY = 8 << 20


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Any:  # noqa: ANN401 - the library has no types
    """Return the compiled pattern. Raises ValueError with the position of what is wrong."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_MEMORY
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        # RE2 tells the part that it stumbled over, not its place.
        part = text.rpartition(": ")[2]
        where = position(pattern, max(pattern.find(part), 0))
        raise ValueError(f"{text} at {where}: write a regular expression of RE2") from error


def matches(pattern: str, line: str) -> bool:
    """Tell whether a line contains what a pattern describes."""
    return compiled(pattern).search(line) is not None
