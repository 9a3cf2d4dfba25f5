"""Which `expect` expressions are taken: those whose cost is bounded, whatever a pod answers.

They are evaluated in the event loop, and nothing interrupts them. Measured without these rules: `map` over 2,000 items
89 ms and quadratic, `response.json` named inside a macro over 1,000 items 267 ms and quadratic, one regular expression
not done after 100 s. With them cost grows with the answer at most linearly, and `LARGEST` bounds the answer.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import cel

LARGEST: Final = 2000
"""Values that the JSON of an answer may hold."""
Names = Mapping[str, frozenset[str]]
"""What an expression may name, and the fields of each."""
ANSWER: Final[Names] = {"response": frozenset({"status", "json", "body"}), "release": frozenset({"version"})}
"""Of one about an HTTP answer."""
RESULT: Final[Names] = {"result": frozenset()}
"""Of one about a query's result."""
_NOT_A_NEWLINE: Final = re.compile(r"[^\n]")
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


def problem(expression: str, names: Names = ANSWER) -> str:
    """Say what is wrong with an expression, where, and what to write instead; "" if it is taken."""
    try:
        program = cel.compile(expression)
    except ValueError as error:
        return " ".join(str(error).split())
    if "matches" in program.functions():
        return "matches() may cost too much; use contains(), startsWith(), endsWith() or =="
    bare = _TEXT_OR_COMMENT.sub(lambda text: _NOT_A_NEWLINE.sub(" ", text[0]), expression)
    macros = list(_macros(bare))
    for name, inside in macros:
        if advice := _costly(name, inside):
            return advice
    # The compiler reports the variable of a macro, the x of all(x, ...), like a name from outside.
    bound = {found[1] for _, inside in macros if (found := _VARIABLE.match(inside))}
    unknown = _unknown(bare, set(program.variables()) - bound, names)
    return f"unknown name {unknown}; use {_known(names)}" if unknown else ""


def _unknown(bare: str, used: set[str], names: Names) -> str:
    for name in sorted(used - set(names)):
        found = re.search(rf"(?<![.\w]){re.escape(name)}\b", bare)
        return f"{name!r} at {position(bare, found.start() if found else 0)}"
    for name, fields in names.items():
        for found in re.finditer(rf"(?<![.\w]){name}\s*\.\s*([A-Za-z_]\w*)", bare) if fields else ():
            if found[1] not in fields:
                what = f"{name}.{found[1]}"
                return f"{what!r} at {position(bare, found.start())}"
    return ""


def _known(names: Names) -> str:
    order = ["status", "json", "body", "version"]
    listed = [f"{n}.{f}" for n, fields in names.items() for f in sorted(fields, key=order.index)] or list(names)
    return " or ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]


def position(text: str, offset: int) -> str:
    """Return line:column, from 1, as compilers write it."""
    return f"{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


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
