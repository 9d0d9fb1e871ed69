"""Make the bundle: wheels of the service, a lock of exactly these files, install.sh, units, licences.

`python deploy/bundle.py [--out DIR] [--gpu]` needs a package index; what it makes installs without one, on
machines with the same processor and the same minor version of Python, and a glibc not older than `target`
says. Every package comes by the hash of `requirements/*.lock`; `lock.txt` then names the hash of each file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
COPIED = ("deploy/install.sh", "deploy/config.toml", "deploy/systemd", "deploy/image", "LICENSE")
"""Files and folders of the repository that lie in the bundle under their last name."""

SPARE = 1.25
"""Installed size is that of the wheels' files, and byte code, times this."""

GPL = "pylibjpeg-libjpeg"


@dataclass(frozen=True)
class Wheel:
    """A wheel file: its name and version as its metadata says, and what it unpacks to."""

    path: Path
    metadata: Message
    unpacked: int

    @classmethod
    def of(cls, path: Path) -> Wheel:
        """Read the metadata of a wheel."""
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            text = archive.read(name).decode("utf-8")
            size = sum(
                i.file_size * (2 if i.filename.endswith(".py") else 1) for i in archive.infolist()
            )
        return cls(path, Parser().parsestr(text), size)

    @property
    def name(self) -> str:
        """Return the name of the distribution."""
        return str(self.metadata["Name"])

    @property
    def locked(self) -> str:
        """Return the line of a lock file for exactly this file."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return f"{self.name}=={self.metadata['Version']} --hash=sha256:{digest}"

    @property
    def licence(self) -> str:
        """Return what the package says of its licence, in one line."""
        classifiers = self.metadata.get_all("Classifier") or []
        named = [c.rsplit(" :: ", 1)[1] for c in classifiers if c.startswith("License ::")]
        said = self.metadata["License-Expression"] or ", ".join(named) or self.metadata["License"]
        return " ".join(str(said or "see the wheel").split())[:80]

    @property
    def glibc(self) -> tuple[int, int]:
        """Return the oldest glibc that the file's name allows."""
        found = re.findall(r"manylinux_(\d+)_(\d+)", self.path.name)
        return min(((int(a), int(b)) for a, b in found), default=(2, 17))


def say(text: str) -> None:
    """Write one line of progress."""
    sys.stdout.write(f"== {text}\n")
    sys.stdout.flush()


def pip(*arguments: str, packages: Path | None = None) -> None:
    """Run pip of this interpreter; `packages` is a folder that its modules may be imported from."""
    environment = dict(os.environ)
    if packages is not None:
        environment["PYTHONPATH"] = str(packages)
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True, env=environment)


def download(lock: Path, wheels: Path) -> None:
    """Fetch the wheels of a lock file, each by its hash."""
    exact = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
    pip("download", *exact, "-r", str(lock), "-d", str(wheels))


def download_gpu(wheels: Path, requirements: list[str]) -> None:
    """Fetch torch in its CUDA build and what it needs. PyPI's files: torch has builds, so no hash of its own."""
    download(REQUIREMENTS / "gpu.lock", wheels)
    torch = next(r for r in requirements if r.startswith("torch=="))
    held = ("--no-deps", "--only-binary", ":all:", "-r", str(REQUIREMENTS / "accelerators.txt"))
    pip("download", *held, torch, "-d", str(wheels))


def build_own_wheel(wheels: Path) -> None:
    """Build the wheel of this repository with locked build tools, and put pip's own beside it."""
    lock = REQUIREMENTS / "build.lock"
    with tempfile.TemporaryDirectory() as tools:
        pip("install", "--require-hashes", "--no-deps", "-r", str(lock), "--target", tools)
        pip(
            "wheel",
            "--no-build-isolation",
            "--no-deps",
            str(ROOT),
            "-w",
            str(wheels),
            packages=Path(tools),
        )
    entry = re.search(
        r"^pip==.*?(?=^\S|\Z)", lock.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    if entry is None:
        raise SystemExit(f"{lock} names no pip; run: make lock")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_pip:
        only_pip.write(entry.group())
        only_pip.flush()
        download(Path(only_pip.name), wheels)


def copy_files(folder: Path) -> None:
    """Put what is no package beside the wheels."""
    for path in map(ROOT.joinpath, COPIED):
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(path, folder)
    shutil.copy2(ROOT / "orthanc/routing.lua", folder / "image")  # for compose.yaml


def write_lock(path: Path, wheels: list[Wheel]) -> int:
    """Write the lock of these files; returns the disk space in MB that they need, with their byte code."""
    installed = [w for w in wheels if w.name != "pip"]
    path.write_text("".join(f"{w.locked}\n" for w in installed), encoding="utf-8")
    return int(sum(w.unpacked for w in installed) / 1e6 * SPARE) + 1


def write_lists(folder: Path, parts: dict[str, list[Wheel]], version: str) -> None:
    """Write lock.txt, a lock of what each further part adds, target and LICENCES.txt.

    parts: wheels of the service under "", and what "cluster" and, where there are packages for one, "gpu" add.
    """
    wheels = list({w.path: w for part in parts.values() for w in part}.values())
    sizes = ""
    for part, added in parts.items():
        needed_mb = write_lock(folder / (f"lock-{part}.txt" if part else "lock.txt"), added)
        sizes += f"installed_{part}_mb={needed_mb}\n" if part else f"installed_mb={needed_mb}\n"
    major, minor = max(w.glibc for w in wheels)
    (folder / "target").write_text(
        f"version={version}\npython={sys.version_info[0]}.{sys.version_info[1]}\n"
        f"machine={platform.machine()}\nglibc={major}.{minor}\n{sizes}",
        encoding="utf-8",
    )
    rows = "".join(f"{w.name} {w.metadata['Version']}: {w.licence}\n" for w in wheels)
    head = "Packages of this bundle; the text of each licence lies in its wheel.\n"
    if any(w.name == GPL for w in wheels):
        head += (
            f"{GPL} is under the GPL, version 3: who hands this bundle on hands on a program under that\n"
            "licence. docs/dependencies.md says how to do without it.\n"
        )
    (folder / "LICENCES.txt").write_text(f"{head}\n{rows}", encoding="utf-8")


def add_part(wheels: Path, fetch: Callable[[Path], None], service: list[Wheel]) -> list[Wheel]:
    """Fetch a part's wheels into the folder of all; returns those that the service does not have."""
    with tempfile.TemporaryDirectory(dir=wheels.parent) as here:
        fetch(Path(here))
        names = {p.name for p in Path(here).glob("*.whl")} - {w.path.name for w in service}
        for name in names:
            (Path(here) / name).replace(wheels / name)
    return [Wheel.of(wheels / name) for name in sorted(names)]


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS of every file: the one to sign."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder)}\n" for p in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Make folder and tar file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--gpu", action="store_true", help="with torch for an NVIDIA GPU")
    parser.add_argument("--no-tar", action="store_true", help="make the folder only")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = f"lumbar-node-{project['version']}-python{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}"
    folder = options.out / name
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    say(f"wheels for {name}")
    download(REQUIREMENTS / "base.lock", wheels)
    build_own_wheel(wheels)
    service = [Wheel.of(p) for p in sorted(wheels.glob("*.whl"))]
    parts = {"": service}
    parts["cluster"] = add_part(wheels, partial(download, REQUIREMENTS / "cluster.lock"), service)
    if options.gpu:
        say("packages for an NVIDIA GPU (gigabytes)")
        needed = project["optional-dependencies"]["gpu"]
        parts["gpu"] = add_part(wheels, partial(download_gpu, requirements=needed), service)
    copy_files(folder)
    write_lists(folder, parts, project["version"])
    write_sums(folder)
    latest = options.out / "bundle"
    latest.unlink(missing_ok=True)
    latest.symlink_to(name)
    say(f"{folder}, {sum(p.stat().st_size for p in wheels.iterdir()) / 1e6:.0f} MB")
    if not options.no_tar:
        with tarfile.open(f"{folder}.tar", "w") as archive:
            archive.add(folder, name)
        say(f"{folder}.tar")


if __name__ == "__main__":
    main()
