"""tradingrelease: the operator, and the commands of its users beside it.

tradingrelease                          run the operator (as `python -m tradingrelease` does in its image)
tradingrelease calendar export XNYS     write a market's calendar for a ReleaseFreeze
tradingrelease wait --file FILE         apply a TradingRelease and wait: is it live and proven?
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
    _add_wait(commands)
    parser.set_defaults(perform=_operate)
    chosen = parser.parse_args(arguments)
    code: int = chosen.perform(chosen)
    return code


def _add_wait(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    wait = commands.add_parser(
        "wait",
        help="apply a TradingRelease, if asked to, and wait until it is live and proven",
        description="Exit codes: 0 live and proven; 1 failed, rolled back or replaced; 2 refused; 3 timeout.",
    )
    wait.add_argument("name", nargs="?", help="name of the TradingRelease (default: the one of --file)")
    wait.add_argument("-f", "--file", metavar="FILE", help="apply this manifest first, server-side; - is stdin")
    wait.add_argument("-n", "--namespace", help="namespace of the release (default: the file's, then kubectl's)")
    wait.add_argument("--timeout", default="1h", metavar="SPAN", help="how long to wait, such as 90m (default 1h)")
    wait.add_argument("--kubeconfig", metavar="FILE", help="default: KUBECONFIG, ~/.kube/config, then the pod's own")
    wait.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    wait.add_argument(
        "--field-manager", default="tradingrelease-wait", metavar="NAME", help="who owns the fields of the manifest"
    )
    wait.add_argument("--force-conflicts", action="store_true", help="take over fields that another manager owns")
    wait.set_defaults(perform=_wait)


def _wait(chosen: argparse.Namespace) -> int:
    from tradingrelease import wait  # loads the `kubernetes` client, which takes longer than other commands run

    return wait.perform(chosen)


def _operate(_: argparse.Namespace) -> int:
    from tradingrelease import operate  # large: no command of a user waits for it

    return operate.main()


if __name__ == "__main__":
    sys.exit(main())
