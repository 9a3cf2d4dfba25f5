"""Run the operator: settings and credentials, then the process until a signal ends it."""

import logging
import os
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
        uvloop.run(_run(config))
    except (ValueError, ConfigException) as error:
        print(f"tradingrelease: {error}", file=sys.stderr)  # noqa: T201 - before there is a log
        return 2
    return 0


async def _run(config: Config) -> None:
    code = await run(config)
    logging.shutdown()
    # Nothing is left to clean up, and tasks of a kopf that gave up never end: the interpreter would wait for them.
    os._exit(code)
