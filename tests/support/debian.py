"""A bare Debian 12 below the cache, used through an overlay, and the container that boots it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

RELEASE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,python3"

BOOT = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/all"
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --machine=lumbar-node-test \
    --bind="$3:/share" --directory="$2/all" --boot --console=pipe
"""

GUEST_UNIT = """
[Unit]
After=network.target
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'bash /share/guest.sh > /share/guest.log 2>&1; systemctl poweroff --no-block'
TimeoutStartSec=infinity
"""


def needs(*programs: str) -> None:
    """Skip where this is not wanted or not possible."""
    if os.environ.get("LUMBAR_TEST_INSTALL") != "1":
        pytest.skip("takes minutes and makes a Debian: make test-install")
    if os.geteuid() != 0:
        pytest.skip("needs root, to boot a Debian")
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        pytest.skip(
            f"needs {', '.join(missing)} (apt install debootstrap systemd-container buildah podman runc podman-compose)"
        )


def bare_root() -> Path:
    """The folder of a bare Debian, made once by debootstrap."""
    needs("debootstrap", "unshare")
    root = ROOT / ".cache" / f"debian-{RELEASE}"
    if not (root / "var/lib/dpkg/status").exists() or (root / "debootstrap").exists():
        shutil.rmtree(root, ignore_errors=True)
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(root)],
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        if made.returncode != 0:
            pytest.skip(f"debootstrap cannot make a Debian here: {made.stdout[-200:]}")
    return root


def boot(layer: Path, share: Path, timeout_s: float) -> str:
    """Boot the bare Debian with real systemd, run share/guest.sh in it; returns what it printed."""
    root = bare_root()
    needs("systemd-nspawn")
    for name in ("upper", "work", "all"):
        (layer / name).mkdir(parents=True)
    units = layer / "upper/etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (units / "guest.service").write_text(GUEST_UNIT, encoding="utf-8")
    (units / "multi-user.target.wants/guest.service").symlink_to("../guest.service")
    console = share / "console.log"
    with console.open("wb") as out:
        container = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", BOOT, "sh", str(root), str(layer), str(share)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
        try:
            container.wait(timeout_s)
        finally:
            container.terminate()  # systemd-nspawn passes it on to the container
            container.wait(60)
    log = share / "guest.log"
    if not log.exists():
        pytest.skip(f"this kernel boots no container: {console.read_text(errors='replace')[-300:]}")
    return log.read_text(encoding="utf-8", errors="replace")
