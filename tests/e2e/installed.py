"""What a cluster has before an operator is started by a test: CRDs, the operator's account and its rights."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, ACCOUNT = "tradingrelease-system", "tradingrelease-operator"
FILES = (ROOT / "crds", *(ROOT / "manifests" / f"{name}.yaml" for name in ("namespace", "serviceaccount", "rbac")))


def kubectl(*arguments: str) -> str:
    """Run kubectl as this process is set up for it; a refusal fails the test with kubectl's words."""
    answer = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, f"kubectl {' '.join(arguments)}: {answer.stderr}"
    return answer.stdout
