"""A real Prometheus that scrapes the pods of one namespace every second.

Debian builds it without the discovery of Kubernetes, so the pods that the recorder's watch tells of are written into a
file of targets, with the labels that people give them by relabelling.
"""

import json
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from devcluster import debian
from devcluster.orphans import end_with_parent
from tests.e2e.recorder import Recorder
from tests.oracle import State, label
from tests.waiting import eventually

STARTS_WITHIN = 60.0


class Prometheus:
    """One Prometheus for one namespace. Its address is known before it runs."""

    def __init__(self, recorder: Recorder, namespace: str, folder: Path):
        self._recorder, self._namespace, self._folder = recorder, namespace, folder
        self._targets = folder / "targets.json"
        self._ending = threading.Event()
        self._telling = threading.Thread(target=self._tell, daemon=True)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self._port = int(taken.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.labels: dict[str, str] = {}
        """Labels that every target has besides; set before there are any."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it; return when it answers queries."""
        if not self._telling.is_alive():
            self._telling.start()
        config = self._folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        program = shutil.which("prometheus") or debian.unpacked("prometheus") / "usr/bin/prometheus"
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program, f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self._port}", "--query.lookback-delta=5s",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent,  # noqa: PLW1509
            )  # fmt: skip
        eventually(self._answers, self._last_words, STARTS_WITHIN)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._last_words()
        return self._ready()

    def _last_words(self) -> str:
        return (self._folder / "prometheus.log").read_text()[-2000:]

    def value(self, query: str) -> float | None:
        """Return the one number that a query gives; None where it gives none."""
        url = f"{self.url}/api/v1/query?{urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            found = json.load(answer)["data"]["result"]
        return float(found[0]["value"][1]) if len(found) == 1 else None

    def end(self) -> None:
        """End it, by its id."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it, and tell it of no more pods."""
        self.end()
        self._ending.set()

    def _tell(self) -> None:
        """Write the targets whenever the watch tells of others."""
        written: list[dict[str, Any]] | None = None
        while not self._ending.is_set():
            if self._recorder.until(lambda s, last=written: self._found(s) != last, 1.0) is not None:
                written = self._found(self._recorder.state())
                half = self._targets.with_suffix(".half")
                half.write_text(json.dumps(written))
                half.rename(self._targets)

    def _found(self, state: State) -> list[dict[str, Any]]:
        pods = [
            p for p in state.pods() if (p.get("status") or {}).get("phase") == "Running" and p["status"].get("podIP")
        ]
        return [
            {
                "targets": [f"{pod['status']['podIP']}:8080"],
                "labels": {"namespace": self._namespace, "pod": pod["metadata"]["name"]}
                | {name: label(pod, f"tradingplatform.io/{name}") for name in ("release", "component", "revision")}
                | self.labels,
            }
            for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))
        ]

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:  # noqa: S310 - our own address
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _config(self) -> dict[str, Any]:
        job = {
            "job_name": "pods",
            "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "1s"}],
        }
        return {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
