"""Our CRDs on the control plane that all runs share."""

import yaml

from tests.e2e.installed import ROOT

FOLDER = ROOT / "crds"


def names() -> list[str]:
    """Return what kubectl calls them."""
    bodies = [yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("*.yaml"))]
    return [f"crd/{b['metadata']['name']}" for b in bodies if b.get("kind") == "CustomResourceDefinition"]
