"""tradingrelease: the operator, and the commands of its users beside it.

tradingrelease                          run the operator (as `python -m tradingrelease` does in its image)
tradingrelease calendar export XNYS     write a market's calendar for a ReleaseFreeze
"""

import argparse
import sys
from collections.abc import Sequence

from tradingrelease import calendars


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Without one: the operator, until SIGTERM."""
    parser = argparse.ArgumentParser("tradingrelease", description="Blue-green releases of several components at once.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    run = commands.add_parser("run", help="run the operator (also what happens without a command)")
    run.set_defaults(perform=_operate)
    calendars.add_command(commands)
    parser.set_defaults(perform=_operate)
    chosen = parser.parse_args(arguments)
    code: int = chosen.perform(chosen)
    return code


def _operate(_: argparse.Namespace) -> int:
    from tradingrelease import operate  # large: no command of a user waits for it

    return operate.main()


if __name__ == "__main__":
    sys.exit(main())
