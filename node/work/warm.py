"""Everything that the first series would wait for: each network once, and a trial series from files to files."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from dicomseg.volume import AXIAL, Volume, build_affine
from model.bundle.load import LoadedModel
from model.grid import PAPER_SHAPE, SPACING_MM
from model.patch import Patch
from node.work.drawing import Artist
from node.work.pipeline import Processed, Settings, process_series
from node.work.trial import trial_model, write_trial

_MADE: Final = datetime(2026, 1, 1, tzinfo=UTC)


def warm_networks(model: LoadedModel) -> None:
    """Run every network once, on noise. Raises `EngineError`."""
    noise = np.random.default_rng(1).standard_normal(PAPER_SHAPE, dtype=np.float32)
    affine = build_affine(AXIAL, SPACING_MM, (0.0, 0.0, 0.0))
    model.finder.locate(Volume(noise, affine))
    model.engine.warm(PAPER_SHAPE)
    if model.roots is not None:
        model.roots.warm()
    model.predict(Patch(noise, np.ones(PAPER_SHAPE, bool), affine, 0.0, 1.0))


def try_out(settings: Settings, artist: Artist | None) -> None:
    """Take the complete path but for the networks on a trial series, whose result is thrown away.

    Raises:
        OSError: the trial series cannot be written into the machine's folder of temporary files.
        DrawingFailed, or whatever else the drawing raised.
    """
    with tempfile.TemporaryDirectory(prefix="lumbar-node-trial-") as folder:
        grid = write_trial(Path(folder))
        done = process_series(grid, trial_model(), settings, lambda: _MADE, artist=artist)
    if isinstance(done, Processed) and done.fault is not None:
        raise done.fault
