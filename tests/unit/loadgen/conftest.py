"""The example application as a real process, for tests of what it and the load say to each other."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[3] / "examples" / "trading-platform" / "app.py"


class Pod:
    """One running example application."""

    def __init__(self, **behaviour: object) -> None:
        env = {name: str(value) for name, value in ({"PORT": 0, "VERSION": "1", "DRAIN": 0.5} | behaviour).items()}
        self.process = subprocess.Popen(
            [sys.executable, str(APP)],
            env={**os.environ, **env, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        found = re.search(r"listening on port (\d+)", self.process.stdout.readline())
        self.port = int(found[1]) if found else 0
        self.url = f"http://127.0.0.1:{self.port}/"

    def remove(self) -> int:
        """Ask it to end, wait, return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.closing(self.process.stdout), contextlib.closing(self.process.stderr):
            return self.process.wait(10)


@pytest.fixture
def start():
    """Start example applications that end with the test."""
    pods: list[Pod] = []

    def start_one(**behaviour: object) -> Pod:
        pods.append(Pod(**behaviour))
        return pods[-1]

    yield start_one
    for pod in pods:
        pod.remove()
