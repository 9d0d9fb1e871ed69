"""The lock files, docs/dependencies.md and pyproject.toml say the same."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("base", "gpu", "train", "dev")
GPU = PROJECT["project"]["optional-dependencies"]["gpu"]
ACCELERATOR = re.compile(r"(nvidia|cuda|triton)", re.IGNORECASE)


def bare(requirement: str) -> str:
    return re.split(r"[<>=!~;\s\[]", requirement, maxsplit=1)[0].lower()


def plain(requirement: str) -> str:
    return re.sub(r"\s", "", requirement).lower()


def declared(lock: str) -> set[str]:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = list(PROJECT["project"]["dependencies"])
    for extra in LOCKS[1 : LOCKS.index(lock) + 1]:
        wanted += extras[extra]
    return {bare(name) for name in wanted} - {"torch", "lumbar-node"}


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_declared_package_is_locked(lock: str) -> None:
    assert declared(lock) <= set(pins(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    assert "://" not in text
    assert "file:" not in text
    assert " @ " not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_no_accelerator_and_no_torch_is_locked(lock: str) -> None:
    assert not [name for name in pins(lock) if ACCELERATOR.match(name) or name == "torch"]


def test_one_package_has_one_version_in_all_lock_files() -> None:
    base, gpu, train, dev = (pins(lock) for lock in LOCKS)
    assert base.items() <= gpu.items() <= train.items() <= dev.items()
    assert base.items() <= pins("cluster").items() <= dev.items()


def test_the_cluster_needs_no_torch() -> None:
    assert not {"filelock", "sympy", "safetensors"} & pins("cluster").keys()


def test_the_training_needs_what_the_gpu_needs() -> None:
    assert "lumbar-node[gpu]" in PROJECT["project"]["optional-dependencies"]["train"]


def test_the_service_locks_no_package_that_only_torch_needs() -> None:
    helpers = {"filelock", "fsspec", "mpmath", "setuptools", "sympy"}
    assert set(pins("gpu")) - set(pins("base")) == helpers | {"safetensors"}


def test_accelerators_are_constraints_of_packages_that_only_torch_needs() -> None:
    text = (ROOT / "requirements/accelerators.txt").read_text(encoding="utf-8")
    names = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    assert len(names) >= 15
    assert all(ACCELERATOR.match(name) for name in names)


def test_torch_override_lists_what_the_installed_torch_declares() -> None:
    (override,) = PROJECT["tool"]["uv"]["dependency-metadata"]
    assert f"torch=={override['version']}" in GPU
    said = [r for r in requires("torch") or [] if "extra ==" not in r and not ACCELERATOR.match(r)]
    assert {plain(r.split(";")[0]) for r in said} == {plain(r) for r in override["requires-dist"]}


def test_the_install_script_names_the_same_torch() -> None:
    script = (ROOT / "requirements/torch.sh").read_text(encoding="utf-8")
    assert f"torch=={version_in(script)}" in GPU


PIP = """#!/bin/sh
case "$*" in
  "-c "*) exit 1 ;;                        # torch is not installed
  *--dry-run*--find-links*) exit 0 ;;      # the wheel lies in the folder that is named
  *--dry-run*) exit 1 ;;
  *--index-url*) exit 1 ;;                 # the index cannot be reached
esac
echo "$@" >> "$(dirname "$0")/installed"
"""


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="an NVIDIA driver is here")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the default build is for the CPU")
def test_without_a_gpu_the_large_build_of_torch_is_never_taken(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(PIP, encoding="utf-8")
    python.chmod(0o755)

    def install(**given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", ROOT / "requirements/torch.sh", python],
            env={"PATH": "/usr/bin:/bin", **given},
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip

    refused = install(TORCH_INDEX="https://localhost/none")
    assert refused.returncode == 2
    assert "TORCH_WHEELS=FOLDER" in refused.stderr
    assert "make install-service" in refused.stderr
    assert not (tmp_path / "installed").exists()
    assert install(TORCH_WHEELS="/media/wheels").returncode == 0
    said = (tmp_path / "installed").read_text(encoding="utf-8")
    assert "--find-links /media/wheels torch==" in said
    assert "+cpu" in said


def version_in(script: str) -> str:
    found = re.search(r"^version=([0-9.]+)$", script, re.MULTILINE)
    assert found
    return found.group(1)


def test_every_dependency_earns_its_line() -> None:
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    rows = {m.lower() for m in re.findall(r"^\| ([A-Za-z0-9-]+) \|", text, re.MULTILINE)}
    assert sorted((declared("dev") | {"torch"}) - rows) == []


IMPORT_NAMES = {
    "scikit-image": "skimage",
    "simpleitk": "SimpleITK",
    "dicomweb-client": "dicomweb_client",
    "dicom-anonymizer": "dicomanonymizer",
    "sse-starlette": "sse_starlette",
    "argon2-cffi": "argon2",
}
"""Name that is imported, where it differs from the package's."""

LOADED_BY_OTHERS = {
    "pylibjpeg": "pydicom, as its decoder",
    "pylibjpeg-openjpeg": "pylibjpeg",
    "pylibjpeg-rle": "pylibjpeg",
    "pylibjpeg-libjpeg": "pylibjpeg",
    "tensorboard": "torch.utils.tensorboard",
    "python-multipart": "starlette, for forms",
}
"""Packages that our files do not import, and what loads them."""

WHERE_INSTALLED = {
    "dicomweb_client": "node/verify/read_dicomweb.py, one of the readers of `verify`"
}
"""Packages of the training that the service uses where they are, and where."""


def imported(*packages: str) -> set[str]:
    """Top-level names that the files of these packages import, also late and by `import_module`."""
    names: set[str] = set()
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add((node.module or "").split(".")[0])
                elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                    "import_module"
                ):
                    names |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return names


def unused(requirements: list[str], *packages: str) -> list[str]:
    wanted = {bare(r) for r in requirements} - set(LOADED_BY_OTHERS)
    names = imported(*packages)
    return sorted(name for name in wanted if IMPORT_NAMES.get(name, name) not in names)


def test_every_base_requirement_is_imported_by_the_service_or_its_core() -> None:
    assert unused(PROJECT["project"]["dependencies"], "node", "model", "dicomseg") == []


def test_every_requirement_of_the_training_is_imported_by_the_training_alone() -> None:
    train = PROJECT["project"]["optional-dependencies"]["train"]
    train = [r for r in train if bare(r) != "lumbar-node"]
    assert unused(train, "training") == []
    assert unused(GPU, "model") == []
    names = {IMPORT_NAMES.get(bare(r), bare(r)) for r in train}
    assert names & imported("node", "model", "dicomseg") == set(WHERE_INSTALLED)


@pytest.mark.parametrize(
    ("heading", "extra"),
    [
        ("The service", None),
        ("The service on a GPU", "gpu"),
        ("Training", "train"),
        ("Tests and tools", "dev"),
    ],
)
def test_each_section_of_the_document_lists_the_packages_of_its_extra(
    heading: str, extra: str | None
) -> None:
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading} (", 1)[1].split("\n## ", 1)[0]
    rows = {m.lower() for m in re.findall(r"^\| ([A-Za-z0-9-]+) \|", section, re.MULTILINE)}
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    assert rows - {"package"} == {bare(name) for name in wanted} - {"lumbar-node"}


def test_the_viewer_in_the_documents_is_the_one_that_is_fetched() -> None:
    script = (ROOT / "orthanc/ohif.sh").read_text(encoding="utf-8")
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    assert f"`@ohif/app` {version_in(script)}" in text
