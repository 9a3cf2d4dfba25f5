"""A stand-in for the nodes of a bare control plane: binds pods, says that they are Ready, and lets them go.

Everything else is real: API server, Deployment and EndpointSlice controllers, garbage collector, and the operator.
Pods answer health checks at ADDRESS, where one HTTP server of the test says 200 to every path. An image whose tag is
`unready` never becomes Ready.
"""

import contextlib
import http.server
import threading
from datetime import UTC, datetime

import urllib3

from tests.e2e.api import Api, ApiError, Json

ADDRESS = "10.200.0.1"
"""The address of every pod: that of the control plane's own network, where the test listens."""
PORT = 8080
NODE = "stand-in"
_HOST = "10.200.0.77"
_SINCE = "2020-01-01T00:00:00Z"
_HEARTBEAT = 10.0


class Nodes:
    """Does a kubelet's and a scheduler's work for every pod of the cluster, until stopped."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._stopped = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("", PORT), _Healthy)
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._keep_pods, self._keep_alive, self._server.serve_forever)
        ]

    def start(self) -> None:
        """Begin."""
        self._api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def _keep_alive(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(urllib3.exceptions.HTTPError, ApiError):
                self._beat()
            self._stopped.wait(_HEARTBEAT)

    def _beat(self) -> None:
        beat = {"lastHeartbeatTime": _now()}
        self._api.patch("Node", NODE, {"status": {"conditions": [_condition("Ready", ready=True) | beat]}}, "status")

    def _keep_pods(self) -> None:
        while not self._stopped.is_set():
            # The connection ends with the API server, which tests stop and start: begin anew.
            with contextlib.suppress(urllib3.exceptions.HTTPError, ApiError):
                self._follow()
            self._stopped.wait(0.2)

    def _follow(self) -> None:
        listed = self._api.list("Pod")
        for pod in listed["items"]:
            self._keep(pod)
        for change, pod in self._api.watch("Pod", listed["metadata"]["resourceVersion"], 60):
            if change in {"ADDED", "MODIFIED"}:
                self._keep(pod)
            if change == "ERROR" or self._stopped.is_set():
                return

    def _keep(self, pod: Json) -> None:
        here = Api(self._api.access, pod["metadata"]["namespace"])
        name = pod["metadata"]["name"]
        try:
            if "deletionTimestamp" in pod["metadata"]:
                here.delete("Pod", name, grace=0)
            elif not pod["spec"].get("nodeName"):
                target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
                body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
                here._call("POST", here.path("Pod", name) + "/binding", body)
            elif not (pod.get("status") or {}).get("podIP"):
                here.patch("Pod", name, {"status": _status(pod)}, "status")
        except ApiError as error:
            if error.status not in {404, 409}:  # it is gone, or was bound before
                raise


def _status(pod: Json) -> Json:
    image = str(pod["spec"]["containers"][0].get("image"))
    ready = not image.endswith(":unready")
    containers = [
        {
            "name": container["name"], "image": image, "imageID": "", "restartCount": 0, "ready": ready, "started": True,
            "state": {"running": {"startedAt": _SINCE}},
        }
        for container in pod["spec"]["containers"]
    ]  # fmt: skip
    conditions = [_condition(kind, ready=ready) for kind in ("Ready", "ContainersReady")]
    return {
        "phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}], "hostIP": _HOST,
        "conditions": [*conditions, _condition("PodScheduled", ready=True)], "containerStatuses": containers,
    }  # fmt: skip


def _condition(kind: str, *, ready: bool) -> Json:
    return {"type": kind, "status": str(ready), "lastTransitionTime": _now()}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Say that all is well."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""
