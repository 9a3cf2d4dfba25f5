"""`make model`: search every scope, deep ones for as long as they are given; ends with a table."""

import argparse
import sys
from collections.abc import Callable
from time import monotonic

from tests.model.bugs import BUGS, planted
from tests.model.scopes import DEEP, SCOPES, Scope
from tests.model.search import Limits, Search, search, walk

EVERY = 5.0
"""Seconds between two lines of progress."""


def main() -> int:
    """Search, and say what was found."""
    asked = arguments()
    if asked.bugs:
        return bugs(asked)
    rows, failed = [], False
    for scope in chosen(asked.scope):
        limits = Limits(asked.states, asked.seconds, asked.depth)
        print(f"=== {scope.name}: {scope.about}", flush=True)
        start = scope.begin()
        found = search(start, scope.play, limits, reporting(), seed=asked.seed)
        ways = ""
        if not found.exhausted and not found.violation:
            walked = walk(start, scope.play, asked.seconds / 2, asked.length, asked.seed, reporting())
            found.violation, ways = walked.violation, f" + {walked.states} on walks"
        if found.violation:
            failed = True
            print(found.violation)
        rows.append((scope.name, found, ways))
    table(rows)
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "scope", nargs="*", help=f"scopes to search; all of them by default: {', '.join({**SCOPES, **DEEP})}"
    )
    parser.add_argument("--seconds", type=float, default=120, help="for each scope (and half of it for walks)")
    parser.add_argument("--depth", type=int, default=1000, help="moves from the beginning")
    parser.add_argument("--states", type=int, default=3_000_000, help="states of a scope; memory ends before that")
    parser.add_argument("--length", type=int, default=80, help="moves of a random walk")
    parser.add_argument("--seed", type=int, default=0, help="order in which what may happen is tried")
    parser.add_argument("--bugs", action="store_true", help="show how each planted bug is found")
    return parser.parse_args()


def chosen(names: list[str]) -> list[Scope]:
    """Return the scopes that were asked for."""
    known = {**SCOPES, **DEEP}
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no scope {unknown[0]!r}; there are: {', '.join(known)}")
    return [known[name] for name in names or known]


def reporting() -> Callable[[Search], None]:
    """Return what prints a line of progress now and then."""
    last = monotonic()

    def report(found: Search) -> None:
        nonlocal last
        if monotonic() - last < EVERY:
            return
        last = monotonic()
        rate = found.states / max(found.seconds, 0.001)
        print(
            f"    {found.seconds:6.0f} s  {found.states:8} states  {rate:6.0f}/s  depth {found.depth:3}  frontier {found.frontier}",
            flush=True,
        )

    return report


def bugs(asked: argparse.Namespace) -> int:
    """Show how each planted bug is found."""
    missed = 0
    for bug in BUGS:
        scope = SCOPES[bug.scope]
        with planted(bug):
            found = search(scope.begin(), scope.play, bug.limits)
        print(f"=== {bug.name} (in {scope.name}: {scope.about})\n{found.violation or 'NOT FOUND'}\n")
        missed += found.violation is None
    print(f"{len(BUGS) - missed} of {len(BUGS)} found")
    return 1 if missed else 0


def table(rows: list[tuple[str, Search, str]]) -> None:
    """Print what was searched."""
    print(f"=== {'scope':24} {'outcome':22} {'states':>9} {'moves':>9} {'depth':>5} {'s':>6} {'states/s':>8}  ends")
    for name, found, ways in rows:
        rate = found.states / max(found.seconds, 0.001)
        ends = ", ".join(sorted(found.ends))
        print(
            f"    {name:24} {found.outcome + ways:22} {found.states:9} {found.moves:9} {found.depth:5} {found.seconds:6.1f} "
            f"{rate:8.0f}  {ends}"
        )


if __name__ == "__main__":
    sys.exit(main())
