"""Builds images of this project, also where nothing can be pulled, and saves them as archives."""

from collections.abc import Sequence
from pathlib import Path

from devcluster import host, kind, node_image, pins, podman
from devcluster.places import cache, images
from devcluster.progress import locked, run, step
from devcluster.sandbox import Sandbox


def build(tag: str, context: Path, dockerfile: Path | None, settings: Sequence[str], *, afresh: bool = False) -> Path:
    """Build `tag`; the archive. Where no registry answers, BASE is Debian with Python and RUN has no network.

    `settings`: --build-arg and --label, as every engine takes them. `afresh`: no layer of an earlier build is used.
    """
    archive = images() / (tag.replace("/", "_").replace(":", "_") + ".tar")
    archive.parent.mkdir(parents=True, exist_ok=True)
    log = archive.with_suffix(".log")
    file = (dockerfile or context / "Dockerfile").absolute()
    cache_use = ["--no-cache"] if afresh else []
    options = [f"--file={file}", f"--tag={tag}", *settings, *cache_use, str(context.absolute())]
    engine = _engine()
    with locked(images() / "lock"), step(f"building the image {tag}"):
        archive.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        if engine:
            run([engine, "build", *options], log)
            run([engine, "save", "--output", archive, tag], log)
        else:
            _build_here(options, tag, archive, log)
    return archive


def _engine() -> str | None:
    """Choose a stock engine, unless images were made here before or no registry answers."""
    version = pins.kubernetes()
    return None if kind.made_here(version) or any((cache() / "stores").glob("base-*")) else kind.choose_engine(version)


def _build_here(options: Sequence[str], tag: str, archive: Path, log: Path) -> None:
    host.need(host.NAMESPACE_TOOLS, host.PODMAN_TOOLS)
    base, store = node_image.base()
    folder = images() / "podman"
    env = podman.settings(folder, [store])
    sandbox, holder = Sandbox.start(log)
    try:
        # One time for all files and layers: two builds of one commit are one image.
        building = ["podman", "build", "--pull=never", "--isolation=chroot", "--timestamp=0"]
        building += ["--build-arg", f"BASE={base}", *options]
        run(sandbox.in_full(building, env), log)
        saving = ["podman", "save", "--quiet", "--format=docker-archive", f"--output={archive}", tag]
        run(sandbox.in_full(saving, env), log)
        run(sandbox.in_full(["podman", "image", "prune", "--force"], env), log)
    finally:
        sandbox.end()
        holder.communicate()
