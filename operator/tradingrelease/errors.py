"""What the API server may answer instead of yes.

ClusterError
├── NotFound       the object is not there
├── Conflict       somebody wrote first, or it exists already: their word is newer than ours
├── Forbidden      RBAC, a quota or an admission webhook says no
│   └── AdmissionFails  a webhook that has to be asked gives no usable answer: the API server itself is well
├── Invalid        the object itself is refused
├── NotLeading     not sent: another operator may be leading by now
└── Unreachable    no usable answer: refused, timed out, 429, 5xx; carries how long to wait
"""


class ClusterError(Exception):
    """An answer of the API server that is no success."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFound(ClusterError):  # noqa: N818 - named as the API names it
    """404."""


class Conflict(ClusterError):  # noqa: N818
    """409, or a failed test of a JSON patch."""


class Forbidden(ClusterError):  # noqa: N818
    """403."""


class AdmissionFails(Forbidden):
    """What the API server has to ask before it takes an object does not answer, and may answer again."""


class Invalid(ClusterError):  # noqa: N818
    """400 or 422."""


class NotLeading(ClusterError):  # noqa: N818
    """Nothing was sent, since the lease is lost."""


class Unreachable(ClusterError):  # noqa: N818
    """No usable answer."""

    def __init__(self, message: str, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message, status)
        self.retry_after = retry_after


def wait_after(error: Exception) -> float:
    """Return how many seconds the API server asked to wait after an error; 0: it did not say."""
    return error.retry_after if isinstance(error, Unreachable) else 0.0


def seconds_of(retry_after: str | None, otherwise: float = 0.0) -> float:
    """Return the seconds of a Retry-After header; its other form, a date, is not read."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else otherwise
