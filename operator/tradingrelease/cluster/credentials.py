"""How to reach the API server and as whom: the `kubernetes` client's own loading of kubeconfig or pod credentials."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API server's address, the TLS context for it, and the headers that say who asks."""

    server: str
    ssl_context: ssl.SSLContext | None
    headers: Callable[[], dict[str, str]]
    """Asked at every request: a projected token is renewed while we run."""


def load() -> Credentials:
    """Load the pod's own credentials, else the kubeconfig.

    Raises kubernetes.config.ConfigException where there is neither.
    """
    found = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call] # its package is untyped
    except config.ConfigException:
        config.load_kube_config(client_configuration=found)  # type: ignore[no-untyped-call] # its package is untyped
    return Credentials(found.host.rstrip("/"), _tls(found), lambda: _headers(found))


def _headers(found: client.Configuration) -> dict[str, str]:
    settings: Mapping[str, Any] = found.auth_settings()
    return {
        setting["key"]: setting["value"]
        for setting in settings.values()
        if setting["in"] == "header" and setting["value"]
    }


def _tls(found: client.Configuration) -> ssl.SSLContext | None:
    if found.host.startswith("http://"):
        return None
    context = ssl.create_default_context(cafile=found.ssl_ca_cert)
    if found.cert_file:
        context.load_cert_chain(found.cert_file, found.key_file)
    if not found.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
