"""Run the operator: settings and credentials, then the process until a signal ends it."""

import logging
import os
import sys
from typing import Final

import uvloop
from kubernetes.config import ConfigException

from tradingrelease import logs
from tradingrelease.app import main as run
from tradingrelease.config import Config

DEEPEST: Final = 12_000
"""Python's own limit of 1000 is less than the 10,000 levels of JSON that an API server stores in a pod template.

Without this, one such template ends every LIST and watch, and so the releases of everybody.
"""


def main() -> int:
    """Run until SIGTERM. Exit code 2: the settings or credentials cannot be used."""
    sys.setrecursionlimit(DEEPEST)
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
