"""The operator's own settings, from the environment. Defaults are those of production."""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """How this process runs. Durations are seconds."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to serve; none named: the whole cluster."""
    http_host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from outside the pod
    http_port: int = 8080
    workers: int = 8
    resync: float = 30.0
    """Every release is looked at this often, whatever the watches say."""
    audit: float = 120.0
    """Everything is listed this often: a watch that lost an event is found out."""
    log_level: str = "INFO"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> "Config":
        """Read the settings. Raises ValueError, naming the variable, for a value that cannot be used."""

        def number(name: str, default: float) -> float:
            text = env.get(name, "")
            try:
                return float(text) if text else default
            except ValueError:
                raise ValueError(f"{name}={text!r}: write a number") from None

        names = env.get("TRADINGRELEASE_NAMESPACES", "")
        return cls(
            namespaces=tuple(n.strip() for n in names.split(",") if n.strip()),
            http_host=env.get("TRADINGRELEASE_HTTP_HOST", cls.http_host),
            http_port=int(number("TRADINGRELEASE_HTTP_PORT", cls.http_port)),
            workers=int(number("TRADINGRELEASE_WORKERS", cls.workers)),
            resync=number("TRADINGRELEASE_RESYNC_SECONDS", cls.resync),
            audit=number("TRADINGRELEASE_AUDIT_SECONDS", cls.audit),
            log_level=env.get("TRADINGRELEASE_LOG_LEVEL", cls.log_level),
        )
