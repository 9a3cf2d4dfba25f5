"""The certificates and kubeconfigs of a bare control plane, made with openssl."""

from pathlib import Path

from devcluster.progress import run

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650"]
_SERVER_NAMES = (
    "IP:127.0.0.1,IP:10.200.0.1,IP:10.96.0.1,DNS:localhost,"
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
)


def make(folder: Path, server: str) -> None:
    """Write the authority, the server's and the clients' certificates, the tokens' key and the kubeconfigs."""
    log = folder / "certificates.log"
    files = ["-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt"]
    run(["openssl", "req", "-x509", *_KEY, "-subj", "/CN=devcluster", *files], log)
    _signed(folder, log, "apiserver", "/CN=kube-apiserver", "-addext", f"subjectAltName={_SERVER_NAMES}")
    _signed(folder, log, "admin", "/O=system:masters/CN=admin")
    _signed(folder, log, "controller-manager", "/CN=system:kube-controller-manager")
    key = folder / "service-account.key"
    run(["openssl", "genrsa", "-out", key, "2048"], log)
    run(["openssl", "rsa", "-in", key, "-pubout", "-out", folder / "service-account.pub"], log)
    (folder / "kubeconfig").write_text(_kubeconfig(folder, server, "admin"))
    (folder / "controller-manager.kubeconfig").write_text(_kubeconfig(folder, server, "controller-manager"))


def curl_flags(folder: Path) -> list[str]:
    """Tell what curl needs to be the administrator."""
    return ["--cacert", f"{folder}/ca.crt", "--cert", f"{folder}/admin.crt", "--key", f"{folder}/admin.key"]


def _signed(folder: Path, log: Path, name: str, subject: str, *more: str) -> None:
    run(
        ["openssl", "req", "-x509", *_KEY, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-subj", subject,
         "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth,clientAuth", *more,
         "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"],
        log,
    )  # fmt: skip


def _kubeconfig(folder: Path, server: str, user: str) -> str:
    return f"""apiVersion: v1
kind: Config
clusters:
- name: devcluster
  cluster: {{server: "{server}", certificate-authority: "{folder}/ca.crt"}}
users:
- name: {user}
  user: {{client-certificate: "{folder}/{user}.crt", client-key: "{folder}/{user}.key"}}
contexts:
- name: devcluster
  context: {{cluster: devcluster, user: {user}}}
current-context: devcluster
"""
