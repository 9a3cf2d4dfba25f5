"""python -m tradingrelease: run the operator."""

import sys

import uvloop
from kubernetes.config import ConfigException

from tradingrelease import logs
from tradingrelease.app import main as run
from tradingrelease.config import Config


def main() -> int:
    """Run until SIGTERM. Exit code 2: the settings or credentials cannot be used."""
    try:
        config = Config.from_environment()
        logs.configure(config.log_level)
        uvloop.run(run(config))
    except (ValueError, ConfigException) as error:
        print(f"tradingrelease: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
