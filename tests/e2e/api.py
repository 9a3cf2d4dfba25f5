"""The API server as tests speak to it: plain objects in and out, and watches that lose nothing.

Credentials and TLS come from the `kubernetes` client; its models stay out, since tests assert what is stored.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config

Json = dict[str, Any]

PATHS = {
    "Namespace": ("api/v1", "namespaces"),
    "Node": ("api/v1", "nodes"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "Pod": ("api/v1", "pods"),
    "ConfigMap": ("api/v1", "configmaps"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "Event": ("api/v1", "events"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Job": ("apis/batch/v1", "jobs"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "ControllerRevision": ("apis/apps/v1", "controllerrevisions"),
    "TradingRelease": ("apis/tradingplatform.io/v1alpha1", "tradingreleases"),
    "ReleaseCommand": ("apis/tradingplatform.io/v1alpha1", "releasecommands"),
    "ReleaseFreeze": ("apis/tradingplatform.io/v1alpha1", "releasefreezes"),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "ValidatingAdmissionPolicy": ("apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": ("apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings"),
    "ValidatingWebhookConfiguration": ("apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
    "FlowSchema": ("apis/flowcontrol.apiserver.k8s.io/v1", "flowschemas"),
    "PriorityLevelConfiguration": ("apis/flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations"),
    "MutatingAdmissionPolicy": ("apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicies"),
    "MutatingAdmissionPolicyBinding": ("apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings"),
}
CLUSTER_WIDE = {
    "Namespace", "Node", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding", "FlowSchema", "PriorityLevelConfiguration", "ClusterRole", "ClusterRoleBinding",
    "ValidatingWebhookConfiguration",
}  # fmt: skip
AS_A_PERSON = "e2e"
"""Field manager of what tests write: the oracle tells it from the operator's."""


class ApiError(Exception):
    """The API server said no; in its own words."""

    def __init__(self, status: int, message: str):
        super().__init__(f"HTTP {status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Access:
    """Where the API server is, and as whom it is spoken to."""

    server: str
    pool: urllib3.PoolManager
    headers: dict[str, str]

    @classmethod
    def load(cls, kubeconfig: Path | None = None, tries: urllib3.Retry | None = None) -> "Access":
        """Read a kubeconfig, KUBECONFIG by default. Without `tries` a request is made once."""
        found = client.Configuration()
        file = str(kubeconfig) if kubeconfig else os.environ["KUBECONFIG"]
        config.load_kube_config(file, client_configuration=found)
        pool = urllib3.PoolManager(
            num_pools=4, maxsize=32, ca_certs=found.ssl_ca_cert, cert_file=found.cert_file, key_file=found.key_file,
            cert_reqs="REQUIRED" if found.verify_ssl else "NONE", retries=tries or False,
        )  # fmt: skip
        headers = {s["key"]: s["value"] for s in found.auth_settings().values() if s["in"] == "header" and s["value"]}
        return cls(found.host.rstrip("/"), pool, headers)


class Api:
    """One namespace of a cluster, and what has no namespace. An empty namespace: all of them, to list and watch."""

    def __init__(self, access: Access, namespace: str):
        self.access, self.namespace = access, namespace

    def as_user(self, who: str, group: str = "system:masters") -> "Api":
        """Return the same, spoken to as somebody else: who may do everything, or is of another group."""
        headers = self.access.headers | {"Impersonate-User": who, "Impersonate-Group": group}
        return Api(replace(self.access, headers=headers), self.namespace)

    def get(self, kind: str, name: str) -> Json | None:
        """Return an object, None where there is none."""
        try:
            return self._call("GET", self.path(kind, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, **query: str) -> Json:
        """Return all objects of a kind."""
        return self._call("GET", self.path(kind), query=query)

    def create(self, body: Json, **query: str) -> Json:
        """Create an object."""
        return self._call("POST", self.path(body["kind"]), body, query={"fieldManager": AS_A_PERSON} | query)

    def apply(self, body: Json, *, force: bool = True, **query: str) -> Json:
        """Apply an object, server-side, as GitOps and CI do."""
        query = {"fieldManager": AS_A_PERSON, "force": str(force).lower()} | query
        path = self.path(body["kind"], body["metadata"]["name"])
        return self._call("PATCH", path, body, query=query, content_type="application/apply-patch+yaml")

    def replace(self, body: Json, **query: str) -> Json:
        """Replace an object as a whole, as `kubectl replace` does."""
        path = self.path(body["kind"], body["metadata"]["name"])
        return self._call("PUT", path, body, query={"fieldManager": AS_A_PERSON} | query)

    def patch(self, kind: str, name: str, body: Json, subresource: str = "") -> Json:
        """Merge into an object, as `kubectl patch --type=merge` does."""
        path = self.path(kind, name) + (f"/{subresource}" if subresource else "")
        query = {"fieldManager": AS_A_PERSON}
        return self._call("PATCH", path, body, query=query, content_type="application/merge-patch+json")

    def delete(self, kind: str, name: str, *, grace: int | None = None) -> None:
        """Delete an object, if it is there."""
        body: Json = {"propagationPolicy": "Background"} | ({} if grace is None else {"gracePeriodSeconds": grace})
        try:
            self._call("DELETE", self.path(kind, name), body)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, kind: str, version: str, seconds: int) -> Iterator[tuple[str, Json]]:
        """Yield every change of a kind after a version, for so many seconds."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        query["allowWatchBookmarks"] = "true"
        url = f"{self.access.server}{self.path(kind)}?{urlencode(query)}"
        timeout = urllib3.Timeout(connect=10, read=seconds + 10)
        response = self.access.pool.request(
            "GET", url, headers=self.access.headers, preload_content=False, timeout=timeout
        )
        try:
            if response.status != 200:
                raise ApiError(response.status, response.read().decode(errors="replace")[:500])
            rest = b""
            for chunk in response.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        event = json.loads(line)
                        yield event["type"], event["object"]
        finally:
            response.close()

    def text(self, path: str) -> str:
        """Return what the API server answers where it is no JSON, as a log."""
        response = self.access.pool.request("GET", self.access.server + path, headers=self.access.headers, timeout=30)
        if response.status != 200:
            raise ApiError(response.status, response.data.decode(errors="replace")[:500])
        return str(response.data.decode())

    def path(self, kind: str, name: str = "") -> str:
        """Return the path of a collection or an object."""
        group, plural = PATHS[kind]
        everywhere = kind in CLUSTER_WIDE or not self.namespace
        place = plural if everywhere else f"namespaces/{self.namespace}/{plural}"
        return f"/{group}/{place}" + (f"/{name}" if name else "")

    def _call(
        self, verb: str, path: str, body: Json | None = None, *, query: Json | None = None, content_type: str = ""
    ) -> Json:
        url = self.access.server + path + (f"?{urlencode(query)}" if query else "")
        headers = self.access.headers | {"Content-Type": content_type or "application/json"}
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        response = self.access.pool.request(verb, url, body=data, headers=headers, timeout=30)
        if response.status >= 300:
            try:
                message = response.json()["message"]
            except (ValueError, KeyError, TypeError):
                message = response.data.decode(errors="replace")[:500]
            raise ApiError(response.status, message)
        return response.json()
