"""Arguments of a query: `$(revision)` and others, put into PromQL as label values and never as text.

An argument may stand within a quoted string only, so that whatever its value is, it ends where the string ends. Where
the string is matched as a regular expression (`=~`, `!~`), the value is escaped for that too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tradingrelease.policy.expression import position

ARGUMENTS: Final = ("release", "component", "revision", "version", "namespace")
"""What a query may ask for."""

_ARGUMENT: Final = re.compile(r"\$\(([^)]*)\)")
_REGEX_MEANING: Final = re.compile(r"([\\.+*?()|\[\]{}^$])")


@dataclass(frozen=True, slots=True)
class Argument:
    """One place in a query where a value belongs."""

    name: str
    start: int
    end: int
    quote: str
    regex: bool


def arguments(query: str) -> list[Argument]:
    """Return the places of a query where values belong.

    Raises ValueError with the position and what to write instead.
    """
    found = list(_arguments(query))
    for argument in found:
        where = f"at {position(query, argument.start)}"
        if argument.name not in ARGUMENTS:
            known = ", ".join(f"$({name})" for name in ARGUMENTS)
            raise ValueError(f"unknown argument $({argument.name}) {where}; use {known}")
        if argument.quote not in {'"', "'"}:
            what = "within backquotes, where nothing can be escaped" if argument.quote else "outside of a string"
            raise ValueError(
                f'$({argument.name}) {where} stands {what}: write it as a label value, "$({argument.name})"'
            )
    return found


def rendered(query: str, values: Mapping[str, str]) -> str:
    """Return a query with its arguments filled in."""
    parts, last = [], 0
    for argument in arguments(query):
        value = values[argument.name]
        if argument.regex:
            value = _REGEX_MEANING.sub(r"\\\1", value)
        parts += [query[last : argument.start], _escaped(value, argument.quote)]
        last = argument.end
    return "".join([*parts, query[last:]])


def _arguments(query: str) -> Iterator[Argument]:
    at = 0
    while at < len(query):
        char = query[at]
        if char == "#":
            at = (query.find("\n", at) + 1) or len(query)
        elif char in "\"'`":
            end = _end_of_string(query, at)
            regex = query[:at].rstrip().endswith(("=~", "!~"))
            for found in _ARGUMENT.finditer(query, at, end):
                yield Argument(found[1], found.start(), found.end(), char, regex)
            at = end
        elif outside := _ARGUMENT.match(query, at):
            yield Argument(outside[1], outside.start(), outside.end(), "", regex=False)
            at = outside.end()
        else:
            at += 1


def _end_of_string(query: str, start: int) -> int:
    quote, at = query[start], start + 1
    while at < len(query):
        if query[at] == quote:
            return at + 1
        at += 2 if query[at] == "\\" and quote != "`" else 1
    raise ValueError(f"the string that begins at {position(query, start)} does not end")


def _escaped(value: str, quote: str) -> str:
    def written(char: str) -> str:
        if char in {quote, "\\"}:
            return "\\" + char
        return char if char.isprintable() else f"\\U{ord(char):08x}"

    return "".join(written(char) for char in value)
