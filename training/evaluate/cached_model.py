"""A model that keeps its networks' answers on disk, so that a change of rules is measured in seconds.

Kept are the logits of the segmentation network and of the roots network, by model digest, engine, precision and the
bytes of the patch; level finder, labels, findings and measurements are worked out at every call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dicomseg.volume import Array
from model.bundle.load import LoadedModel
from model.engines.choose import Engine
from model.roots import RootsFinder
from model.window import Patch


def remembering(model: LoadedModel, folder: Path) -> LoadedModel:
    """Return the model with its answers kept below `folder`; another digest or engine has another folder."""
    info = model.info
    kept = folder / f"{info.digest[:16]}-{info.engine}-{info.precision}"
    kept.mkdir(parents=True, exist_ok=True)
    roots = None if model.roots is None else _Roots(model.roots, kept)
    return replace(model, engine=_Engine(model.engine, kept), roots=roots)


def _kept(file: Path, make: Callable[[], Array]) -> Array:
    """Read the array of a file; where there is none, make it and write it whole or not at all."""
    if file.exists():
        return np.asarray(np.load(file))
    made = make()
    part = file.with_suffix(".part")
    with part.open("wb") as opened:
        np.save(opened, made)
    part.replace(file)
    return made


def _digest(*arrays: Array) -> str:
    made = hashlib.sha256()
    for array in arrays:
        made.update(str(array.shape).encode())
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()[:24]


class _Engine:
    """Answers a patch that it has seen from its file."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self.name, self.precision = engine.name, engine.precision
        self.interpolation = engine.interpolation

    def warm(self, shape: Sequence[int]) -> None:
        self._engine.warm(shape)

    def run(self, patch: Patch) -> Array:
        # the level tells the network where each voxel lies, so it belongs to the question
        key = _digest(patch.values, np.array(patch.centre or ()))
        return _kept(self._folder / f"{key}.npy", lambda: self._engine.run(patch))


class _Roots(RootsFinder):
    """Answers a patch and its logits that it has seen from their file."""

    def __init__(self, roots: RootsFinder, folder: Path) -> None:
        self._roots, self._folder = roots, folder

    def warm(self) -> None:
        self._roots.warm()

    def logits(self, patch: Patch, logits: Array) -> Array:
        key = _digest(patch.values, np.array(patch.centre or ()), logits)
        return _kept(self._folder / f"{key}.roots.npy", lambda: self._roots.logits(patch, logits))
