"""Processes that end with whoever started them, also where that one is killed and can clean up no more."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def end_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; for `preexec_fn`: one C call."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
