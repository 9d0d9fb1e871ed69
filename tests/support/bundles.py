"""Bundles as `make wheelhouse` makes them, of one tiny program, for tests of the installation."""

from __future__ import annotations

import ensurepip
import importlib.util
import shutil
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT

PROGRAM = """
import sys
def main():
    if "--version" in sys.argv: print("lumbar-node {version}")
    elif "check-config" in sys.argv: open(sys.argv[sys.argv.index("--config") + 1]).read()
    else: print("ran", *sys.argv[1:])
"""


def bundle_module() -> ModuleType:
    """deploy/bundle.py, which is a script."""
    spec = importlib.util.spec_from_file_location("lumbar_bundle", ROOT / "deploy" / "bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write_wheel(
    folder: Path, name: str, version: str, tag: str = "py3-none-any", command: str = "lumbar-node"
) -> Path:
    """A wheel with one module and a command."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-{tag}.whl"
    files = {
        f"{module}.py": PROGRAM.format(version=version),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense-Expression: MIT\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{command} = {module}:main\n",
    }
    record = "".join(f"{n},,\n" for n in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def write_bundle(folder: Path, version: str = "9.1") -> Path:
    """A bundle of the tiny program for this interpreter."""
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        pytest.skip("this Python carries no wheel of pip (apt install python3-venv)")
    module = bundle_module()
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    shutil.copy2(bundled[-1], wheels)
    write_wheel(wheels, "lumbar-node", version)
    module.copy_files(folder)
    found = [module.Wheel.of(p) for p in sorted(wheels.glob("*.whl"))]
    extra = module.Wheel.of(
        write_wheel(wheels, "distributed", "1.0", command="distributed-command")
    )
    module.write_lists(folder, {"": found, "cluster": [extra]}, version)
    module.write_sums(folder)
    return folder


def rewrite_target(bundle: Path, **values: object) -> None:
    """Change lines of a bundle's file `target`, and its sums."""
    path = bundle / "target"
    lines = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines())
    lines |= {k: str(v) for k, v in values.items()}
    path.write_text("".join(f"{k}={v}\n" for k, v in lines.items()), encoding="utf-8")
    bundle_module().write_sums(bundle)
