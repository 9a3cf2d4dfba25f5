"""What the parts of a spec are made of: immutable models with the CRD's field names, and durations."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading an object raises that somebody wrote whom we do not know."""


def duration(text: object) -> timedelta:
    """Parse a Go-style duration ("1h30m", "500ms").

    Raises ValueError with advice for anything else.
    """
    if isinstance(text, timedelta):
        return text
    if isinstance(text, int | float):
        return timedelta(seconds=text)  # as a stored spec keeps it
    written = str(text)
    parts = _DURATION.findall(written)
    if not parts or "".join(n + u for n, u in parts) != written:
        raise ValueError(f"{written!r} is no duration: write a number and a unit, such as 30s, 15m or 24h")
    try:
        return timedelta(seconds=sum(float(n) * _UNIT[u] for n, u in parts))
    except OverflowError:
        raise ValueError(f"{written[:40]!r} is too long a time: write a shorter one, such as 24h") from None


Duration = Annotated[
    timedelta, BeforeValidator(duration), PlainSerializer(lambda d: d.total_seconds(), return_type=float)
]


class Part(BaseModel):
    """A part of a spec."""

    # Fields that a newer or older CRD stored are ignored: an old object must not stop a release.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


_PATH: Final = re.compile(r'/([!"$-.0-?A-\[\]-~][!"$-?A-\[\]-~]*)?')
_PORT: Final = re.compile(r"[a-z0-9-]{1,15}")


def _path(text: str) -> str:
    # It is put behind the pod's address: nothing in it may read as another host.
    if not _PATH.fullmatch(text):
        raise ValueError("write a path that begins with one '/', such as /healthz, without a host")
    return text


def _port(port: int | str) -> int | str:
    if not (1 <= port <= 65535 if isinstance(port, int) else _PORT.fullmatch(port)):
        raise ValueError("write a number from 1 to 65535, or the name of a port of the template")
    return port


Path = Annotated[str, AfterValidator(_path)]
Port = Annotated[int | str, AfterValidator(_port)]
