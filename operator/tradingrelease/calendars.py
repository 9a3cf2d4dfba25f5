"""tradingrelease calendar export: a market's calendar as the ConfigMap that a ReleaseFreeze names.

Runs on its author's machine, never in the operator: PyPI `exchange_calendars` is the optional extra `calendars`.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import yaml

from tradingrelease.clock import today
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
    """Yield the ConfigMap, and the right to read this one ConfigMap for the operator (ADR 14)."""
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


# --- the command ----------------------------------------------------------------------------------------------------


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `calendar export` to the commands of the program."""
    calendar = commands.add_parser("calendar", help="market calendars for ReleaseFreezes")
    export_ = calendar.add_subparsers(required=True, metavar="export").add_parser(
        "export", help="write a market's calendar as a ConfigMap, with the operator's right to read it, to stdout"
    )
    export_.add_argument("market", help="code of exchange_calendars, such as XNYS, CMES, 24/7 or 24/5")
    export_.add_argument(
        "--years", type=int, default=2, metavar="N", help="how far ahead, from the first day (default 2)"
    )
    export_.add_argument(
        "--from", dest="first", type=date.fromisoformat, metavar="DAY", help="first day (default yesterday)"
    )
    export_.add_argument("--name", default="", help="name of the ConfigMap (default the market's: XNYS is xnys)")
    export_.add_argument("--namespace", default="", help="namespace of the releases (default that of kubectl)")
    export_.set_defaults(perform=_export)


class _Readable(yaml.SafeDumper):
    """Texts of several lines as lines: a calendar is reviewed by people."""


def _text(dumper: _Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def _export(chosen: argparse.Namespace) -> int:
    """Write the manifests to stdout. Exit code 1: there is no such calendar."""
    first: date = chosen.first or today() - timedelta(days=1)
    last = first + timedelta(days=round(365.25 * chosen.years))
    try:
        calendar = export(chosen.market, first, last)
    except CannotExport as error:
        sys.stderr.write(f"tradingrelease: {error}\n")
        return 1
    if calendar.ends < _midnight(last):
        sys.stderr.write(f"tradingrelease: the holidays of {chosen.market} are known until {calendar.ends:%F} only\n")
    name = chosen.name or config_map_name(chosen.market)
    yaml.dump_all(manifests(calendar, name, chosen.namespace), sys.stdout, _Readable, sort_keys=False)
    return 0
