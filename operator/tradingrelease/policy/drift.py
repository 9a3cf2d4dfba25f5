"""Tells whether somebody edited a template of ours.

The API server fills defaults into what we wrote, and a newer server may fill in more. So equality is asked only of
what the author wrote, plus of fields that no server ever defaults: a default must never look like an edit, since
restoring would then redeploy live pods.
"""

from collections.abc import Mapping
from typing import Any, Final

_NEVER_DEFAULTED: Final = frozenset(
    {
        "activeDeadlineSeconds", "affinity", "args", "command", "env", "envFrom", "ephemeralContainers", "hostAliases",
        "hostIPC", "hostNetwork", "hostPID", "hostUsers", "imagePullSecrets", "initContainers", "lifecycle", "limits",
        "livenessProbe", "nodeName", "nodeSelector", "ports", "priorityClassName", "readinessProbe", "requests",
        "runtimeClassName", "startupProbe", "subdomain", "hostname", "tolerations", "topologySpreadConstraints",
        "volumeDevices", "volumeMounts", "volumes", "workingDir",
    }
)  # fmt: skip


def edited(written: Any, found: Any, path: str = "template") -> str:  # noqa: ANN401 - JSON
    """Return the path of the first thing in `found` that differs from what was written; "" where nothing does."""
    if isinstance(written, Mapping) and isinstance(found, Mapping):
        return _edited_map(written, found, path)
    if isinstance(written, list) and isinstance(found, list):
        if len(written) != len(found):
            return path
        pairs = enumerate(zip(written, found, strict=True))
        return next((where for i, (w, f) in pairs if (where := edited(w, f, f"{path}[{i}]"))), "")
    if _empty(written) and _empty(found):
        return ""
    return "" if _same_scalar(written, found) else path


def _edited_map(written: Mapping[str, Any], found: Mapping[str, Any], path: str) -> str:
    for key, value in written.items():
        if where := edited(value, found.get(key), f"{path}.{key}"):
            return where
    added = set(found) - set(written)
    if path.endswith("metadata.labels"):
        return f"{path}.{min(added)}" if added else ""
    suspicious = sorted(key for key in added & _NEVER_DEFAULTED if not _empty(found[key]))
    # A request is defaulted from a limit of the same name.
    if path.endswith("resources"):
        suspicious = [key for key in suspicious if key != "requests"]
    return f"{path}.{suspicious[0]}" if suspicious else ""


def _empty(value: Any) -> bool:  # noqa: ANN401 - JSON
    return value is None or value in ("", False, 0, {}, [])


def _same_scalar(written: Any, found: Any) -> bool:  # noqa: ANN401 - JSON
    # Quantities come back in canonical form ("1000m" as "1"); numbers written as strings come back as strings.
    return bool(written == found) or _quantity(written) == _quantity(found) is not None


_SUFFIX: Final = {
    "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "": 1.0,
}  # fmt: skip


def _quantity(value: Any) -> float | None:  # noqa: ANN401 - JSON
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    number = text.rstrip("mkKMGTi")
    try:
        return float(number) * _SUFFIX[text[len(number) :]]
    except (ValueError, KeyError):
        return None
