"""The Debian package under a real systemd: installed, started, killed, stopped, upgraded, purged."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.debian import boot, needs
from tests.support.paths import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(2400)]

BUNDLE = ROOT / "dist" / "bundle"


def newer(package: Path, folder: Path) -> Path:
    """The same package under a higher version: another control archive, the same data."""
    subprocess.run(["ar", "x", str(package)], cwd=folder, check=True)
    for control in folder.glob("control.tar.*"):
        control.unlink()
    subprocess.run(["dpkg-deb", "--control", str(package), "control"], cwd=folder, check=True)
    text = (folder / "control/control").read_text(encoding="utf-8")
    (folder / "control/control").write_text(
        text.replace("\nArch", "+upgrade\nArch", 1), encoding="utf-8"
    )
    with tarfile.open(folder / "control.tar.gz", "w:gz") as archive:
        archive.add(folder / "control", ".")
    (data,) = folder.glob("data.tar.*")
    made = folder / "second.deb"
    parts = ["debian-binary", "control.tar.gz", data.name]
    subprocess.run(["ar", "rc", str(made), *parts], cwd=folder, check=True)
    return made


def test_life_of_the_package(tmp_path: Path) -> None:
    needs("dpkg-deb", "ar", "systemd-nspawn", "debootstrap")
    if not BUNDLE.is_dir():
        pytest.skip("needs dist/bundle (make wheelhouse)")
    share, parts = tmp_path / "share", tmp_path / "parts"
    share.mkdir()
    parts.mkdir()
    subprocess.run(
        ["sh", str(ROOT / "deploy/deb/build.sh"), str(BUNDLE), str(parts), "--cluster"], check=True
    )
    (first,) = parts.glob("*.deb")
    second = newer(first, parts)
    first.rename(share / "first.deb")
    second.rename(share / "second.deb")
    shutil.copy2(ROOT / "tests/install/guest.sh", share)
    phantom = ["phantom", "--out", str(share / "study"), "--cases", "1", "--seed", "5"]
    phantom += ["--slices", "64", "--matrix", "160"]
    subprocess.run([sys.executable, "-m", "training", *phantom], check=True, cwd=ROOT)
    log = boot(tmp_path / "layer", share, 2000)
    sys.stdout.write(log)
    lines = log.splitlines()
    assert [line for line in lines if line.startswith("not ok")] == []
    assert lines[-1] == "== end"
    assert sum(line.startswith("ok ") for line in lines) > 30
