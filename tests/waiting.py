"""Waiting for what no watch tells: RBAC and policies that reach the API server's caches, a process that answers."""

import time


def eventually(holds, words=lambda: "", seconds=60):
    """Wait until it holds; else fail with these words."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s {words()}"
        time.sleep(0.1)
