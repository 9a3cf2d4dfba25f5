"""Writes a container image of one layer as a docker-archive, without any engine."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write(archive: Path, name: str, root: Path, entrypoint: Sequence[str]) -> None:
    """Write the folder `root` as the image `name`; equal folders give equal images."""
    layer = archive.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        for entry in sorted(root.iterdir()):
            tar.add(entry, arcname=entry.name, filter=_anonymous)
    with layer.open("rb") as content:
        layer_digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": [_PATH]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created_by": "devcluster"}],
    }).encode()  # fmt: skip
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{layer_digest}/layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, config_name, config)
        tar.add(layer, arcname=f"{layer_digest}/layer.tar")
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    layer.unlink()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Forget who owned a file here and when it was made."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    return entry


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
