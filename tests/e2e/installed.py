"""What a cluster has before an operator is started by a test: CRDs, the operator's account and its rights."""

import functools
import json
import os
import subprocess
from pathlib import Path

import yaml

from devcluster.crds import wait_until_established
from tests.e2e import builders
from tests.e2e.api import Json
from tests.oracle import APPLIED_BY
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, ACCOUNT = "tradingrelease-system", "tradingrelease-operator"
FILES = (ROOT / "crds", *(ROOT / "manifests" / f"{name}.yaml" for name in ("namespace", "serviceaccount", "rbac")))


def kubectl(*arguments: str) -> str:
    """Run kubectl as this process is set up for it; a refusal fails the test with kubectl's words."""
    answer = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stderr}"
    return answer.stdout


def logged_in(account: str, namespace: str) -> str:
    """Return a kubeconfig with which somebody is a ServiceAccount of the cluster that KUBECONFIG leads to."""
    token = kubectl("create", "token", account, f"--namespace={namespace}", "--duration=8h")
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    current = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c for c in config["clusters"] if c["name"] == current["cluster"])
    return str(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "users": [{"name": account, "user": {"token": token}}],
                "contexts": [{"name": account, "context": {"cluster": cluster["name"], "user": account}}],
                "current-context": account,
            }
        )
    )


def install(*, admission: bool = False) -> None:
    """Install CRDs and rights, and who-is-who by admission, and wait until the API server really takes our objects."""
    kubectl("apply", "--server-side", "--force-conflicts", *(f"--filename={file}" for file in FILES))
    crds = [f"crd/{yaml.safe_load(file.read_text())['metadata']['name']}" for file in (ROOT / "crds").glob("*.yaml")]
    wait_until_established(kubectl, *crds)
    wait_until_served()
    if admission:
        folder = ROOT / "manifests" / "admission"
        given = folder if names_people() else folder / "validating"
        kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={given}")
        # A policy that is in force answers 503 until it knows the schema of what it changes.
        minimal = yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())
        minimal["metadata"]["annotations"] = {APPLIED_BY: "bob"}
        for body in (minimal, builders.order("Pause", "probe", issuedBy="bob")):
            eventually(lambda body=body: _knows_anna(body), lambda body=body: _tried(body).stderr)


@functools.cache
def names_people() -> bool:
    """Tell whether the API server writes who asks; before Kubernetes 1.36 it only refuses who names somebody else."""
    told = json.loads(kubectl("get", "--raw=/version"))
    return (int(told["major"]), int(told["minor"].rstrip("+"))) >= (1, 36)


def _knows_anna(body: Json) -> bool:
    """Tell whether what anna says in bob's name is corrected, or refused."""
    answer = _tried(body)
    return '"anna"' in answer.stdout if names_people() else "names somebody else" in answer.stderr


def wait_until_served() -> None:
    """Wait until the API server takes our objects: what it calls established may be unknown to it for another moment."""
    for kind in ("TradingRelease", "ReleaseCommand", "ReleaseFreeze"):
        eventually(lambda kind=kind: "is invalid" in _refusal(kind), lambda kind=kind: _refusal(kind))


def _refusal(kind: str) -> str:
    return _tried({"apiVersion": "tradingplatform.io/v1alpha1", "kind": kind, "metadata": {"name": "probe"}}).stderr


def _tried(body: Json) -> subprocess.CompletedProcess[str]:
    """Let anna create something that is not kept."""
    argv = ["kubectl", "create", "--dry-run=server", "--validate=false", "--filename=-", "--output=json"]
    argv += ["--as=anna", "--as-group=system:masters"]
    return subprocess.run(argv, input=json.dumps(body), capture_output=True, text=True, check=False, timeout=60)
