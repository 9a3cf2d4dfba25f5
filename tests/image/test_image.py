"""The operator's image: small, the same whoever builds it, nobody's root."""

import json
import subprocess
import tarfile

import pytest

from devcluster.places import ROOT, images

LIMIT = 150_000_000
"""Bytes above the base, uncompressed."""
OURS = 2
"""Layers of the Dockerfile's last stage: what it installs, and the operator."""


class Image:
    """What an archive (docker-archive) says of an image."""

    def __init__(self, tag, *options):
        subprocess.run([ROOT / "tools" / "operator-image", tag, *options], check=True, stdout=subprocess.DEVNULL)
        path = images() / (tag.replace("/", "_").replace(":", "_") + ".tar")
        with tarfile.open(path) as archive:
            (manifest,) = json.load(archive.extractfile("manifest.json"))
            self.config = json.load(archive.extractfile(manifest["Config"]))
            self.sizes = [archive.getmember(layer).size for layer in manifest["Layers"]]
        self.layers = self.config["rootfs"]["diff_ids"]


@pytest.fixture(scope="module")
def image():
    return Image("localhost/tradingrelease/operator:dev")


def test_it_is_small_above_its_base(image, capsys):
    above = sum(image.sizes[-OURS:])
    with capsys.disabled():
        print(f"\nthe image: {above / 1e6:.0f} MB above its base, of which the operator {image.sizes[-1] / 1e6:.1f} MB")
    assert 1_000_000 < above < LIMIT


def test_two_builds_give_the_same_layers(image):
    again = Image("localhost/tradingrelease/operator:again", "--no-cache")
    assert again.layers == image.layers
    assert (again.config["created"], again.config["config"]) == (image.config["created"], image.config["config"])


def test_it_is_nobody_in_particular_and_needs_no_shell(image):
    config = image.config["config"]
    assert int(config["User"].split(":")[0]) >= 10_000
    assert (config["Entrypoint"], config.get("Cmd")) == (["python3", "-m", "tradingrelease"], None)


def test_it_says_what_it_is(image):
    labels = image.config["config"]["Labels"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert labels["org.opencontainers.image.revision"] == (head.strip() or "unknown")
    for key in ("title", "description", "licenses", "version", "created"):
        assert labels[f"org.opencontainers.image.{key}"], key
