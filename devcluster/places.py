"""Where things lie: state in the checkout's .devcluster/, built things in a cache that all checkouts share."""

import hashlib
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STATE = ROOT / ".devcluster"


def cache() -> Path:
    """Return the shared cache; DEVCLUSTER_CACHE moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradingrelease" / "devcluster"
    return Path(os.environ.get("DEVCLUSTER_CACHE") or default).absolute()


def state_of(name: str) -> Path:
    """Return the folder of the cluster `name`."""
    return STATE / checked(name)


def control_plane_state(name: str) -> Path:
    """Return the folder of the bare control plane `name`."""
    return STATE / "control-planes" / checked(name)


def images() -> Path:
    """Return the folder of images built here, as archives."""
    return STATE / "images"


def checked(name: str) -> str:
    """`name`, if it can be the name of a cluster and of a folder."""
    if name in {"images", "control-planes", "log"} or not name.replace("-", "").isalnum() or name != name.lower():
        raise SystemExit(f"not a usable name: {name!r} (lower-case letters, digits and dashes)")
    return name


def digest(*parts: str | bytes) -> str:
    """Eight hexadecimal digits that change when one of the parts does."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part.encode() if isinstance(part, str) else part)
        hashed.update(b"\0")
    return hashed.hexdigest()[:8]


def checkout() -> str:
    """Four digits that tell this checkout's stock clusters from those of another one."""
    return digest(str(ROOT))[:4]
