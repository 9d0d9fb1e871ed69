"""Images and containers by buildah and podman, as far as a machine lets them run."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.debian import bare_root, needs
from tests.support.paths import ROOT

BUNDLE: Final = ROOT / "dist" / "bundle"
BASE: Final = "localhost/lumbar-node-test-base"
IMAGE: Final = "localhost/lumbar-node:latest"
PODMAN_ARGUMENTS: Final = ("--cgroup-manager", "cgroupfs", "--runtime", "runc")
PODMAN: Final = ("podman", *PODMAN_ARGUMENTS)
LIMITS: Final = ("--no-healthcheck", "--ulimit", "nofile=8192:8192", "--ulimit", "nproc=4096:4096")
"""A container without CAP_SYS_RESOURCE or systemd, as this may be, can raise no limit and start no timer."""


@functools.cache
def storage() -> str:
    """Podman's storage: overlay where the kernel lets it, else vfs, which copies every layer and takes minutes."""
    asked = subprocess.run(
        [*PODMAN, "info", "--format", "{{.Store.GraphDriverName}}"],
        env={**os.environ, "STORAGE_DRIVER": "overlay"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return asked.stdout.strip() if asked.returncode == 0 else "vfs"


def call(*command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a storage that this machine has."""
    env = {**os.environ, "STORAGE_DRIVER": storage(), **environment}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=1500
    )
    assert not check or done.returncode == 0, (command, done.stdout[-500:], done.stderr[-1500:])
    return done


def build_base(folder: Path) -> str:
    """Make an image of the bare Debian with python3."""
    archive = folder / "base.tar"
    call("tar", "-C", str(bare_root()), "--one-file-system", "-cf", str(archive), ".")
    container = call("buildah", "from", "scratch").stdout.strip()
    call("buildah", "add", "-q", container, str(archive), "/")
    call("buildah", "commit", "-q", container, BASE)
    call("buildah", "rm", container)
    archive.unlink()
    return BASE


def build_image(folder: Path) -> str:
    """Make the image of lumbar-node from the bundle, without a network."""
    needs("buildah", "podman", "runc", "unshare")
    if not BUNDLE.is_dir():
        pytest.skip("needs dist/bundle (make wheelhouse)")
    build = ("unshare", "--net", "sh", str(ROOT / "deploy/image/build.sh"), str(BUNDLE))
    call(*build, build_base(folder), BUILD_OPTIONS="--isolation chroot --layers=false")
    return IMAGE
