"""The container image: built without a network by the same script, run read-only without capabilities."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.demo import servers
from tests.support.debian import bare_root, needs
from tests.support.paths import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(2400)]

BUNDLE = ROOT / "dist" / "bundle"
NAME = "lumbar-node-test"
PODMAN = ("podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc")
RUN = (
    "run", "--detach", "--replace", "--name", NAME, "--network", "host", "--no-healthcheck", "--read-only", "--cap-drop", "all",
    "--security-opt", "no-new-privileges", "--tmpfs=/tmp", "--ulimit", "nofile=8192:8192", "--ulimit", "nproc=4096:4096",
)  # fmt: skip


def call(*command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "STORAGE_DRIVER": "vfs", **environment}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=1500
    )
    assert not check or done.returncode == 0, (command, done.stdout[-500:], done.stderr[-1500:])
    return done


def until(true: object, seconds: float) -> None:
    assert callable(true)
    ends_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, on a base that is a bare Debian with python3."""
    needs("buildah", "podman", "runc", "unshare")
    if not BUNDLE.is_dir():
        pytest.skip("needs dist/bundle (make wheelhouse)")
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    call("tar", "-C", str(bare_root()), "--one-file-system", "-cf", str(archive), ".")
    container = call("buildah", "from", "scratch").stdout.strip()
    call("buildah", "add", "-q", container, str(archive), "/")
    call("buildah", "commit", "-q", container, "lumbar-node-test-base")
    call("buildah", "rm", container)
    archive.unlink()
    build = ["sh", str(ROOT / "deploy/image/build.sh"), str(BUNDLE)]
    call("unshare", "--net", *build, "localhost/lumbar-node-test-base",
         BUILD_OPTIONS="--isolation chroot --layers=false")  # fmt: skip
    return "localhost/lumbar-node:latest"


def test_study_goes_through_a_container_without_rights(image: str, site_study: list[Path]) -> None:
    (port,) = servers.free_ports(1)
    settings = (f"LUMBAR_NODE__NODE__PORT={port}", "LUMBAR_NODE__NODE__HOST=127.0.0.1")
    call(*PODMAN, *RUN, *(a for s in settings for a in ("--env", s)), image)
    inside = (*PODMAN, "exec", NAME)
    try:
        until(lambda: call(*inside, "lumbar-node", "health", check=False).returncode == 0, 240)
        send = ["storescu", "-aec", "LUMBARNODE", "127.0.0.1", str(port), *map(str, site_study)]
        call(*send)
        listed = (*inside, "lumbar-node", "list", "--json")
        until(lambda: '"delivered"' in call(*listed).stdout, 240)
        assert "CapEff:\t0000000000000000" in call(*inside, "cat", "/proc/1/status").stdout
        call(*PODMAN, "stop", "--time", "60", NAME)
        assert call(*PODMAN, "inspect", "-f", "{{.State.ExitCode}}", NAME).stdout.strip() == "0"
    finally:
        call(*PODMAN, "rm", "--force", NAME, check=False)


@pytest.fixture(scope="module")
def site_study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The images of a synthetic patient."""
    needs("storescu")
    folder = tmp_path_factory.mktemp("study")
    phantom = [
        "phantom",
        "--out",
        str(folder),
        "--cases",
        "1",
        "--seed",
        "5",
        "--slices",
        "64",
        "--matrix",
        "160",
    ]
    subprocess.run([sys.executable, "-m", "training", *phantom], check=True, cwd=ROOT)
    return sorted(folder.rglob("*.dcm"))
