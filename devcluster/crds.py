"""CRDs that were just applied."""

import time
from collections.abc import Callable

HELPLESS = "accessor error"
"""What kubectl 1.37 says of a CRD whose conditions nobody has written yet (`conditions: null`), instead of waiting."""
WITHIN = 60.0
"""Seconds until such a CRD has conditions: the API server writes them as soon as it has heard of it."""


def wait_until_established(kubectl: Callable[..., object], *crds: str) -> None:
    """Wait until the API server serves CRDs: those that are named as kubectl names them, or all.

    Raises what `kubectl` raises, unless that is only that there is nothing to see yet.
    """
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            kubectl("wait", "--for=condition=Established", f"--timeout={WITHIN:g}s", *(crds or ("crd", "--all")))
        except Exception as error:
            if HELPLESS not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
