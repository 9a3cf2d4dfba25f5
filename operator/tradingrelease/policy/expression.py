"""Which `health.expect` expressions are taken: those whose cost is bounded, whatever a pod answers.

They are evaluated in the event loop, and nothing interrupts them. Measured without these rules: `map` over 2,000 items
89 ms and quadratic, `response.json` named inside a macro over 1,000 items 267 ms and quadratic, one regular expression
not done after 100 s. With them cost grows with the answer at most linearly, and `LARGEST` bounds the answer.
"""

import re
from collections.abc import Iterator
from typing import Final

import cel

LARGEST: Final = 2000
"""Values that the JSON of an answer may hold."""
_NAMES: Final = frozenset({"response", "release"})
_TEXT_OR_COMMENT: Final = re.compile(
    r'''
    (?: [rR][bB]? | [bB][rR] ) (?: """ .*? """ | \'\'\' .*? \'\'\' | "[^"]*" | '[^']*' )
    | """ (?: \\. | . )*? """ | \'\'\' (?: \\. | . )*? \'\'\'
    | " (?: \\. | [^"\\] )* " | ' (?: \\. | [^'\\] )* '
    | // [^\n]*
    ''',
    re.VERBOSE | re.DOTALL,
)
_MACRO: Final = re.compile(r"\.\s*(all|exists|exists_one|existsOne|map|filter)\s*\(")
_VARIABLE: Final = re.compile(r"\s*([A-Za-z_]\w*)\s*,")


def problem(expression: str) -> str:
    """Say what is wrong with an expression and what to write instead; "" if it is taken."""
    try:
        program = cel.compile(expression)
    except ValueError as error:
        return " ".join(str(error).split())
    if "matches" in program.functions():
        return "matches() may cost too much; use contains(), startsWith(), endsWith() or =="
    macros = list(_macros(_TEXT_OR_COMMENT.sub('""', expression)))
    for name, inside in macros:
        if advice := _costly(name, inside):
            return advice
    # The compiler reports the variable of a macro, the x of all(x, ...), like a name from outside.
    bound = {found[1] for _, inside in macros if (found := _VARIABLE.match(inside))}
    unknown = sorted(set(program.variables()) - _NAMES - bound)
    if unknown:
        return f"unknown name {unknown[0]!r}; use response.status, response.json, response.body or release.version"
    return ""


def _macros(text: str) -> Iterator[tuple[str, str]]:
    """Yield each macro, also one inside another, with what stands between its parentheses."""
    for found in _MACRO.finditer(text):
        depth, end = 1, found.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield found[1], text[found.end() : end - 1]


def _costly(name: str, inside: str) -> str:
    if name in {"map", "filter"}:
        return f"{name}() may cost too much; use all(), exists() or exists_one()"
    if _MACRO.search(inside):
        return f"a macro inside {name}() may cost too much; write one after the other, joined by && or ||"
    if re.search(r"\bresponse\b|\+", inside):
        return (
            f"inside {name}() compare the item with values and with release.version; 'response' and '+' cost too much"
        )
    return ""
