"""One request and what became of it: the line that the generator writes and everybody else reads."""

import json
from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """How a stream of requests uses connections."""

    NEW = "new"
    KEEPALIVE = "keepalive"


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times are seconds since the epoch; durations are milliseconds."""

    due: float  # when it should have been sent; latency counts from here
    target: str
    mode: Mode
    lag_ms: float  # how late it was sent: the generator's own fault, never the server's
    latency_ms: float  # from `due` to the last byte of the answer, or to the error
    status: int  # 0: no answer
    error: str  # why there is no answer: "connect: ...", "reset: ...", "closed: ...", "timeout: ..."
    version: str  # who answered; without an answer: who answered last on this connection
    pod: str
    reused: bool  # sent on a connection that had served before
    retried: str  # why it had to be sent again, on a new connection; then it was not lost

    @property
    def failed(self) -> bool:
        """Whether a user would have seen an error."""
        return not 200 <= self.status < 400

    @property
    def sent(self) -> float:
        """When it was really sent: for a new connection, when kube-proxy chose a pod."""
        return self.due + self.lag_ms / 1000

    @property
    def done(self) -> float:
        """When its answer was complete."""
        return self.due + self.latency_ms / 1000

    def to_json(self) -> str:
        """Write one compact line: short keys, and only what is not the common case."""
        line: dict[str, object] = {
            "t": round(self.due, 6),
            "n": self.target,
            "m": self.mode.value,
            "g": round(self.lag_ms, 2),
            "l": round(self.latency_ms, 2),
            "s": self.status,
        }
        rare = {"v": self.version, "p": self.pod, "u": self.reused, "r": self.retried, "e": self.error}
        return json.dumps(line | {key: value for key, value in rare.items() if value}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> "Record":
        """Read what `to_json` wrote."""
        raw = json.loads(line)
        return cls(
            due=raw["t"],
            target=raw["n"],
            mode=Mode(raw["m"]),
            lag_ms=raw["g"],
            latency_ms=raw["l"],
            status=raw["s"],
            error=raw.get("e", ""),
            version=raw.get("v", ""),
            pod=raw.get("p", ""),
            reused=raw.get("u", False),
            retried=raw.get("r", ""),
        )
