"""The operator's own settings, from the environment. Defaults are those of production."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tradingrelease.policy import notifications, promql
from tradingrelease.policy.notifications import Notifications


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
    lease: str = ""
    """namespace/name of the Lease by which several operators agree who works. "": this one is alone, and works."""
    lease_seconds: float = 6.0
    """How long a Lease holds without renewal: what a takeover after a crash costs."""
    identity: str = ""
    """Who holds the Lease, for people: the pod's name."""
    stuck: float = 120.0
    """A look that does not end, or an event loop that does not turn, for so long is a hang."""
    silent: float = 150.0
    """A watch that says nothing for so long is dead: the API server sends a bookmark every minute."""
    webhook_hosts: frozenset[str] = frozenset()
    """Hosts (host or host:port) that webhooks of hooks may call; none: no webhook is accepted."""
    trusted_accounts: frozenset[str] = frozenset()
    """Accounts, of CI, that act for others: what they apply or order must say on whose behalf."""
    webhook_key_file: str = ""
    """File, mounted from a Secret, with the key that webhooks are signed with; "": they are not signed."""
    prometheus_url: str = ""
    """Where checks ask their queries, as http://prometheus.monitoring:9090. "": releases with queries are refused."""
    prometheus_templates: Mapping[str, str] = field(default_factory=dict)
    """Queries by name that checks may use, as a JSON object in a file."""
    notifications: Notifications = field(default_factory=Notifications)
    """Who is told what happens to releases, from a YAML file; nobody, by default."""
    notification_secrets: Path = Path("/var/run/tradingrelease/notifications")
    """Folder, mounted from a Secret, with one file a target: its URL."""
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

        def words(name: str) -> frozenset[str]:
            return frozenset(word.strip() for word in env.get(name, "").split(",") if word.strip())

        names = env.get("TRADINGRELEASE_NAMESPACES", "")
        lease = env.get("TRADINGRELEASE_LEASE", "")
        if lease and (lease.count("/") != 1 or not all(lease.split("/"))):
            raise ValueError(f"TRADINGRELEASE_LEASE={lease!r}: write namespace/name")
        return cls(
            namespaces=tuple(n.strip() for n in names.split(",") if n.strip()),
            http_host=env.get("TRADINGRELEASE_HTTP_HOST", cls.http_host),
            http_port=int(number("TRADINGRELEASE_HTTP_PORT", cls.http_port)),
            workers=int(number("TRADINGRELEASE_WORKERS", cls.workers)),
            resync=number("TRADINGRELEASE_RESYNC_SECONDS", cls.resync),
            audit=number("TRADINGRELEASE_AUDIT_SECONDS", cls.audit),
            lease=lease,
            lease_seconds=number("TRADINGRELEASE_LEASE_SECONDS", cls.lease_seconds),
            identity=env.get("TRADINGRELEASE_IDENTITY", "") or socket.gethostname(),
            stuck=number("TRADINGRELEASE_STUCK_SECONDS", cls.stuck),
            silent=number("TRADINGRELEASE_SILENT_SECONDS", cls.silent),
            webhook_hosts=frozenset(host.lower() for host in words("TRADINGRELEASE_WEBHOOK_HOSTS")),
            trusted_accounts=words("TRADINGRELEASE_TRUSTED_ACCOUNTS"),
            webhook_key_file=env.get("TRADINGRELEASE_WEBHOOK_KEY_FILE", ""),
            prometheus_url=_server("TRADINGRELEASE_PROMETHEUS_URL", env),
            prometheus_templates=_templates("TRADINGRELEASE_PROMETHEUS_TEMPLATES", env),
            notifications=_notifications("TRADINGRELEASE_NOTIFICATIONS", env),
            notification_secrets=Path(env.get("TRADINGRELEASE_NOTIFICATION_SECRETS", "") or cls.notification_secrets),
            log_level=env.get("TRADINGRELEASE_LOG_LEVEL", cls.log_level),
        )


def _server(name: str, env: Mapping[str, str]) -> str:
    """Return an address without its last slash."""
    text = env.get(name, "").rstrip("/")
    if text and (urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname):
        raise ValueError(f"{name}={text!r}: write an address such as http://prometheus.monitoring:9090")
    return text


def _templates(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the queries of a file. One that cannot be used is found out now, and not in a release."""
    if not (file := env.get(name, "")):
        return {}
    try:
        found = dict(json.loads(Path(file).read_text()))
        for query in found.values():
            promql.arguments(query)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{name}={file!r}: write a JSON object of queries by name: {error}") from error
    return found


def _notifications(name: str, env: Mapping[str, str]) -> Notifications:
    """Return who is told what, from a file."""
    if not (file := env.get(name, "")):
        return Notifications()
    try:
        return notifications.parse(yaml.safe_load(Path(file).read_text()))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{name}={file!r}: {error}") from error
