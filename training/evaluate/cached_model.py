"""A model that keeps its networks' logits on disk, so that a change of rules is measured in seconds.

Kept are the logits of the segmentation network and of the roots network, by model digest, engine, precision and the
bytes of the patch; level finder, labels, findings and measurements are computed at every call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dicomseg.volume import Array
from model.bundle.load import LoadedModel
from model.engines.port import Engine
from model.patch import Patch
from model.roots import RootsRefiner


def cached(model: LoadedModel, folder: Path) -> LoadedModel:
    """Return the model with its logits kept below `folder`; another digest or engine has another folder."""
    info = model.info
    cache = folder / f"{info.digest[:16]}-{info.engine}-{info.precision}"
    cache.mkdir(parents=True, exist_ok=True)
    roots = None if model.roots is None else _CachedRoots(model.roots, cache)
    return replace(model, engine=_CachedEngine(model.engine, cache), roots=roots)


def _read_or_compute(file: Path, compute: Callable[[], Array]) -> Array:
    """Read the array of a file; if there is none, compute it and write it, complete or not at all."""
    if file.exists():
        return np.asarray(np.load(file))
    array = compute()
    part = file.with_suffix(".part")
    with part.open("wb") as opened:
        np.save(opened, array)
    part.replace(file)
    return array


def _digest(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]


class _CachedEngine:
    """Reads the logits of a known patch from their file."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self.name, self.precision = engine.name, engine.precision
        self.interpolation = engine.interpolation

    def warm(self, shape: Sequence[int]) -> None:
        self._engine.warm(shape)

    def run(self, patch: Patch) -> Array:
        # the network knows where each voxel lies from the level, so it is part of the key
        key = _digest(patch.values, np.array(patch.centre or ()))
        return _read_or_compute(self._folder / f"{key}.npy", lambda: self._engine.run(patch))


class _CachedRoots(RootsRefiner):
    """Reads the refined logits of a known patch and its logits from their file."""

    def __init__(self, roots: RootsRefiner, folder: Path) -> None:
        self._roots, self._folder = roots, folder

    def warm(self) -> None:
        self._roots.warm()

    def logits(self, patch: Patch, logits: Array) -> Array:
        key = _digest(patch.values, np.array(patch.centre or ()), logits)
        return _read_or_compute(
            self._folder / f"{key}.roots.npy", lambda: self._roots.logits(patch, logits)
        )
