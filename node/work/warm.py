"""Everything that the first series would wait for: each network once, and a trial series from files to files."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from dicomseg.errors import InputRefused
from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import AXIAL, Volume, build_affine
from model.bundle.load import LoadedModel
from model.grid import PAPER_SHAPE, SPACING_MM
from model.segment import segment
from node.work.drawing import Artist
from node.work.pipeline import Processed, Settings, process_series
from node.work.trial import trial_model, write_trial

SOURCE_SHAPE: Final = (128, 320, 320)
"""Slices, rows, columns of the paper's scans."""
_MADE: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Middle:
    """A finder that takes the middle of every volume for the level."""

    def locate(self, volume: Volume) -> Level | NotInView:
        """Return the middle, without a doubt."""
        x, y, z = (float(v) for v in volume.to_patient((np.array(volume.shape) - 1) / 2))
        return Level((x, y, z), (0.0, 0.0, 1.0), 1.0)


def warm_networks(model: LoadedModel) -> None:
    """Find and segment once in noise of the usual size: networks, and the memory that a series takes.

    Raises:
        EngineError: a network does not run.
    """
    grey = np.random.default_rng(1).integers(1, 1000, SOURCE_SHAPE, np.uint16)
    noise = Volume(grey, build_affine(AXIAL, SPACING_MM, (0.0, 0.0, 0.0)))
    model.engine.warm(PAPER_SHAPE)
    if model.roots is not None:
        model.roots.warm()
    model.finder.locate(noise)
    with suppress(InputRefused):  # whatever noise may look like
        segment(noise, replace(model, finder=_Middle()))


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
