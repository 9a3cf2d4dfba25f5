"""Our CRDs on the control plane that all runs share."""

import subprocess
from pathlib import Path

import yaml

from devcluster.cluster import ControlPlane

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "crds"


def names() -> list[str]:
    """Return what kubectl calls them."""
    bodies = [yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("*.yaml"))]
    return [f"crd/{b['metadata']['name']}" for b in bodies if b.get("kind") == "CustomResourceDefinition"]


def kubectl(plane: ControlPlane, *arguments: str) -> None:
    """Do something as the administrator."""
    done = subprocess.run(plane.command(["kubectl", *arguments]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
