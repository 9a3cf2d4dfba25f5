"""tradingrelease calendar export: a market's calendar as the ConfigMap that a ReleaseFreeze names.

Runs on its author's machine, never in the operator: PyPI `exchange_calendars` is the optional extra `calendars`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from tradingrelease.policy import names
from tradingrelease.policy.calendars import Calendar, write

OPERATOR: Final = ("tradingrelease-operator", "tradingrelease-system")
"""ServiceAccount of the operator, as manifests/ installs it: name and namespace."""
_MARGIN: Final = timedelta(days=10)
"""Sessions are looked for so far around the wanted days: some open on the evening before."""


class CannotExport(Exception):  # noqa: N818 - it is what the command says
    """There is no such calendar, or it does not reach so far."""


def export(market: str, first: date, last: date) -> Calendar:
    """Return a market's sessions from a day to the end of another, as exchange_calendars knows them."""
    try:
        import exchange_calendars  # large, and only wanted here
        from exchange_calendars.errors import CalendarError
    except ImportError as error:
        raise CannotExport("exchange_calendars is missing: pip install 'tradingrelease[calendars]'") from error
    begins, ends = _midnight(first), _midnight(last + timedelta(days=1))
    try:
        bounds = exchange_calendars.get_calendar(market)
        low, high = _bounds(bounds, first - _MARGIN, last + _MARGIN)
        known = exchange_calendars.get_calendar(market, start=low.isoformat(), end=high.isoformat())
    except (CalendarError, ValueError) as error:
        raise CannotExport(f"{market}: {error}") from error
    if high <= last:
        ends = _midnight(high + timedelta(days=1))
    pairs = zip(known.opens, known.closes, strict=True)
    sessions = ((o.to_pydatetime().astimezone(UTC), c.to_pydatetime().astimezone(UTC)) for o, c in pairs)
    return Calendar(market, begins, ends, tuple((o, c) for o, c in sessions if c > begins and o < ends))


def _bounds(known: Any, first: date, last: date) -> tuple[date, date]:  # noqa: ANN401 - it has no types
    """Return the wanted days, as far as the market's holidays are known at all."""
    low, high = known.bound_min(), known.bound_max()
    return max(first, low.date()) if low is not None else first, min(last, high.date()) if high is not None else last


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def config_map_name(market: str) -> str:
    """Return the name of a market's ConfigMap: 24/7 is 24-7."""
    return re.sub(r"[^a-z0-9]+", "-", market.lower()).strip("-")


def manifests(calendar: Calendar, name: str, namespace: str) -> Iterator[dict[str, Any]]:
    """Yield the ConfigMap, and the right to read this one ConfigMap for the operator (ADR 12)."""
    metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata | {"labels": {f"{names.GROUP}/calendar": config_map_name(calendar.market)}},
        "data": write(calendar),
    }
    reader = metadata | {"name": f"tradingrelease-calendar-{name}"}
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": reader,
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"]}],
    }
    account, system = OPERATOR
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": reader,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": reader["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": system}],
    }
