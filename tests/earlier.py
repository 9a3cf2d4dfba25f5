"""The version of the operator that is upgraded from: an earlier state of this repository, kept beside this file.

    python -m tests.earlier          builds its image, as tools/operator-image does that of now, and brings it into the cluster NAME
    python -m tests.earlier pack     takes the files of another COMMIT out of the history, after a release for instance

It is kept as an archive since no clone is sure to have the history: a shallow one has not, and CI may have none at all.
"""

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from devcluster.places import ROOT, STATE

COMMIT = "e88bb7b8754147d4a4148f7e2199b0057bc31ccf"
"""The version upgraded from: the last tag, once there is one."""

TAG = "earlier"
IMAGE = f"localhost/tradingrelease/operator:{TAG}"
_ARCHIVE = Path(__file__).with_name("earlier.tar.gz")
_FILES = (
    "operator", "charts", "examples", "Dockerfile", ".dockerignore", "requirements/operator.lock", "tests/crd/test_status.py",
)  # fmt: skip
"""What its image and its chart are made of, and what it would store: examples, and a status with all that it may write."""


class OtherVersionError(Exception):
    """The archive is of another commit; the text says what to do."""


def tree() -> Path:
    """Return the folder with the files of that version; they are not to be written to. Raises OtherVersionError."""
    folder = STATE / "earlier" / COMMIT
    with tarfile.open(_ARCHIVE) as packed:
        found = packed.pax_headers.get("comment")  # `git archive` writes the commit there
        if found != COMMIT:
            raise OtherVersionError(
                f"{_ARCHIVE.name} is of commit {found}, not of {COMMIT}: python -m tests.earlier pack"
            )
        if not folder.exists():
            half = folder.with_name(f"{COMMIT}.{os.getpid()}")
            shutil.rmtree(half, ignore_errors=True)
            packed.extractall(half, filter="data")
            half.rename(folder)
    return folder


def chart() -> Path:
    """Return its chart."""
    return tree() / "charts" / "tradingrelease-operator"


def main(argv: list[str]) -> int:
    """Build its image, or pack its files."""
    if argv == ["pack"]:
        packed = subprocess.run(
            ["git", "archive", "--format=tar", COMMIT, *_FILES], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        _ARCHIVE.write_bytes(gzip.compress(packed.stdout, mtime=0))
        return 0
    folder = tree()
    subprocess.run([ROOT / "tools" / "wheels", folder], check=True)
    label = f"REVISION={COMMIT}"
    return subprocess.run([ROOT / "devcluster" / "image", IMAGE, folder, "--build-arg", label], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
