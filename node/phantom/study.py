"""The synthetic study: made by the generator that the package brings, and read back.

The generator belongs to the training, which the node does not import: it runs as a program.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicomseg.volume import Volume
from node.errors import PhantomNotMade

SEED: Final = 12
"""A young adult without disease: all four measurements have a value, none near a limit."""
OPTIONS: Final = ("--oblique",)
"""Tilted slices: positions and directions have digits that rounding would change."""
_TIMEOUT_S: Final = 900.0
"""A quarter of a minute on an idle core."""


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A synthetic study on disk; truth: content of `truth.json`."""

    folder: Path
    truth: dict[str, Any]

    @property
    def files(self) -> tuple[Path, ...]:
        """The slices of the T2 SPACE series."""
        return tuple(sorted((self.folder / "t2_space").glob("*.dcm")))

    @property
    def generator(self) -> str:
        """Version of the generator."""
        return str(self.truth["generator"])

    def labels(self) -> Volume:
        """Read the true label of every voxel of the grid, in the patient's space."""
        with np.load(self.folder / str(self.truth["labels"]), allow_pickle=False) as arrays:
            return Volume(arrays["labels"], arrays["affine"])

    def digest(self) -> str:
        """Return the SHA-256 of all slices together, whatever their names."""
        digests = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in self.files)
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def make_phantom(root: Path, options: tuple[str, ...] = OPTIONS, seed: int = SEED) -> Phantom:
    """Write the study below `root`, or read what is there.

    Raises:
        PhantomNotMade: the generator failed.
    """
    folder = root / f"phantom-{seed:06d}"
    if not (folder / "truth.json").exists():  # written last
        shutil.rmtree(folder, ignore_errors=True)
        _generate(root, options, seed)
    return read_phantom(folder)


def read_phantom(folder: Path) -> Phantom:
    """Read a study that was made. Raises `PhantomNotMade` for one that cannot be read."""
    try:
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PhantomNotMade(f"{folder}: no readable truth.json; remove the folder") from error
    return Phantom(folder, truth)


def _generate(root: Path, options: tuple[str, ...], seed: int) -> None:
    arguments = ["phantom", "--out", str(root), "--cases", "1", "--seed", str(seed), *options]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "training", *arguments],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PhantomNotMade(f"the generator did not end within {_TIMEOUT_S:.0f} s") from error
    if ended.returncode:
        lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        raise PhantomNotMade(f"the generator failed: {lines[-1] if lines else 'no message'}")
