"""A bare control plane: etcd, kube-apiserver and kube-controller-manager as processes in a sandbox, up in 3 s.

For tests that need no pods: faults, scale, admission. Each has a network of its own, so any number run side by side.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from devcluster import binaries, certificates, host, pins
from devcluster.places import HERE, STATE, control_plane_state
from devcluster.progress import StepFailedError, failure, locked
from devcluster.sandbox import Sandbox, has_ended, keep

PARTS = ("etcd", "apiserver", "controller-manager")
_PROGRAMS = {"etcd": "etcd", "apiserver": "kube-apiserver", "controller-manager": "kube-controller-manager"}
_SERVER = "https://127.0.0.1:6443"
_PATIENCE = 60.0


class ControlPlaneNotRunning(RuntimeError):  # noqa: N818 - named for what the reader finds, as ClusterNotRunning is
    """There is no such control plane; the text says how to start one."""


class ControlPlane:
    """A running control plane. `start` makes one that ends with this process, kill -9 included, unless it is kept."""

    def __init__(self, name: str, sandbox: Sandbox) -> None:
        self.name = name
        self.sandbox = sandbox
        self.folder = control_plane_state(name)
        self._holder: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    @classmethod
    def start(
        cls,
        name: str,
        *,
        controller_manager: bool = True,
        fsync: bool = False,
        extra_apiserver_flags: Sequence[str] = (),
        kubernetes: str | None = None,
    ) -> Self:
        """Start a control plane and wait until /readyz answers ok; one of the same name must not run."""
        host.need(host.NAMESPACE_TOOLS)
        version = pins.kubernetes(kubernetes or os.environ.get("K8S"))
        programs = binaries.control_plane(version)
        folder = control_plane_state(name)
        with locked(STATE / "locks" / f"control-plane-{name}"):
            if Sandbox.load(folder / "sandbox.json"):
                raise StepFailedError(
                    f"a control plane {name!r} runs already; end it: devcluster/control-plane down --name={name}"
                )
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            sandbox, holder = Sandbox.start(folder / "sandbox.log")
            plane = cls(name, sandbox)
            plane._holder = holder
            try:
                sandbox.save(folder / "sandbox.json")
                plane._prepare(
                    programs, fsync=fsync, controller_manager=controller_manager, extra=extra_apiserver_flags
                )
                plane._start_parts()
            except BaseException:
                plane.close()
                raise
        return plane

    @classmethod
    def open(cls, name: str = "dev") -> Self:
        """Return the control plane that another process started and kept."""
        sandbox = Sandbox.load(control_plane_state(name) / "sandbox.json")
        if sandbox is None:
            raise ControlPlaneNotRunning(
                f"no control plane {name!r} runs here; start it: devcluster/control-plane up --name={name}"
            )
        return cls(name, sandbox)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of its administrator; the address in it answers inside its network only."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Where the API server writes each request (level Metadata)."""
        return self.folder / "audit.log"

    def log(self, part: str) -> Path:
        """Return the log of one part."""
        return self.folder / f"{_checked(part)}.log"

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` wrapped to run in its network with its kubeconfig; signals reach the command itself."""
        return self.sandbox.in_network(argv, self.environment())

    def environment(self) -> dict[str, str]:
        """Tell what a command in its network needs."""
        path = f"{self._parts()['folder']}:{os.environ['PATH']}"
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": path, "KUBECACHEDIR": str(self.folder / "kubecache")}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread, and threads and processes that it starts, into its network for a while."""
        with self.sandbox.entered():
            yield

    def pid(self, part: str) -> int | None:
        """Return the process id of a running part."""
        program = _PROGRAMS[_checked(part)]
        for pid in self.sandbox.processes():
            with contextlib.suppress(OSError):
                executable = Path(f"/proc/{pid}/exe").readlink().name
                if executable == program and not has_ended(pid):
                    return pid
        return None

    def ready(self) -> bool:
        """Whether /readyz answers ok."""
        asked = self.command(["curl", "-sS", "-m", "2", *certificates.curl_flags(self.folder), f"{_SERVER}/readyz"])
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "ok"

    def kill(self, part: str) -> None:
        """End a part with SIGKILL, as a crash does."""
        self._signal(part, signal.SIGKILL)

    def stop(self, part: str) -> None:
        """End a part with SIGTERM, in good order; after a while with SIGKILL."""
        self._signal(part, signal.SIGTERM)

    def restart(self, part: str) -> None:
        """Stop a part if it runs, start it, and wait until the API server is ready where it can be."""
        self.stop(part)
        others = {"etcd", "apiserver"} - {part}
        self._start(part)
        if all(self.pid(other) for other in others):
            self._wait_ready()

    def keep(self) -> None:
        """Let it outlive this process."""
        if self._holder:
            keep(self._holder)
            self._holder = None

    def close(self) -> None:
        """End it and remove what it left."""
        self.sandbox.end()
        for process in (*self._started, *([self._holder] if self._holder else [])):
            with contextlib.suppress(BrokenPipeError):
                process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _parts(self) -> dict[str, str | list[str]]:
        return json.loads((self.folder / "parts.json").read_text())  # type: ignore[no-any-return]

    def _prepare(self, programs: Path, *, fsync: bool, controller_manager: bool, extra: Sequence[str]) -> None:
        certificates.make(self.folder, _SERVER)
        parts: dict[str, str | list[str]] = {
            "folder": str(programs),
            "etcd": _etcd(self.folder, fsync=fsync),
            "apiserver": _apiserver(self.folder, extra),
        }
        if controller_manager:
            parts["controller-manager"] = _controller_manager(self.folder)
        (self.folder / "parts.json").write_text(json.dumps(parts))

    def _start_parts(self) -> None:
        for part in PARTS:
            if part in self._parts():
                self._start(part)
        self._wait_ready()

    def _start(self, part: str) -> None:
        parts = self._parts()
        if part not in parts:
            raise StepFailedError(f"this control plane was started without {part}")
        argv = [f"{parts['folder']}/{_PROGRAMS[part]}", *parts[part]]
        with self.log(part).open("ab") as log:
            process = subprocess.Popen(
                self.sandbox.in_full(argv, {}), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=self.folder,
            )  # fmt: skip
        self._started.append(process)
        while self.pid(part) is None and process.poll() is None:
            time.sleep(0.01)

    def _signal(self, part: str, number: int) -> None:
        pid = self.pid(part)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + 15
        while not has_ended(pid):
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.ready():
            ended = [part for part in ("etcd", "apiserver") if self.pid(part) is None]
            if ended or time.monotonic() > deadline:
                part = ended[0] if ended else "apiserver"
                raise StepFailedError(failure(f"{part} did not become ready", self.log(part)))
            time.sleep(0.05)


def _etcd(folder: Path, *, fsync: bool) -> list[str]:
    return [
        f"--data-dir={folder}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        *([] if fsync else ["--unsafe-no-fsync"]),
    ]  # fmt: skip


def _apiserver(folder: Path, extra: Sequence[str]) -> list[str]:
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        "--advertise-address=10.200.0.1", "--secure-port=6443", "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC", f"--client-ca-file={folder}/ca.crt",
        f"--tls-cert-file={folder}/apiserver.crt", f"--tls-private-key-file={folder}/apiserver.key",
        f"--service-account-key-file={folder}/service-account.pub",
        f"--service-account-signing-key-file={folder}/service-account.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--audit-policy-file={HERE}/audit-policy.yaml", f"--audit-log-path={folder}/audit.log",
        *extra,
    ]  # fmt: skip


def _controller_manager(folder: Path) -> list[str]:
    return [
        f"--kubeconfig={folder}/controller-manager.kubeconfig", "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--kube-api-qps=500", "--kube-api-burst=1000",  # at the usual 20 a second it takes 6 s to start
        f"--service-account-private-key-file={folder}/service-account.key", f"--root-ca-file={folder}/ca.crt",
        f"--cluster-signing-cert-file={folder}/ca.crt", f"--cluster-signing-key-file={folder}/ca.key",
    ]  # fmt: skip


def _checked(part: str) -> str:
    if part not in PARTS:
        raise StepFailedError(f"no part {part!r}; the parts are {', '.join(PARTS)}")
    return part
