"""The result of an input, found by its key or made: shared by the worker and by offline runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomseg.encode.uids import ResultKey
from dicomseg.read.series import Grid
from dicomseg.segmentation import NotInView
from node.durable import publish
from node.work.drawing import Artist
from node.work.pipeline import (
    Clock,
    Computing,
    Settings,
    compute_key,
    process_series,
    settings_after,
)


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """A complete result folder on disk; made: by this call, not found. fault: why it was made without pictures."""

    key: ResultKey
    path: Path
    made: bool
    fault: Exception | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """The results below one folder, of one model and one configuration.

    root: folder of result folders, each named by its key. clock: the time that the objects carry.
    artist: draws page and surfaces; None: this process does.
    """

    model: Computing
    settings: Settings
    root: Path
    clock: Clock
    artist: Artist | None = None

    def find_or_make(
        self,
        grid: Grid,
        earlier: Sequence[ResultKey],
        *,
        forced: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> ResultFolder | NotInView:
        """Return the folder of this input's result; the same input keeps its earlier one.

        earlier: results of the series, oldest first. forced: make another result with new UIDs.
        progress: receives the name of each stage.

        Raises:
            InputRefused: the series cannot be processed. The model's errors pass through, and OSError.
        """
        settings = settings_after(grid, self.model.info, self.settings, earlier, forced=forced)
        key = compute_key(grid, self.model.info, settings)
        path = self.root / key.result_id
        if path.exists():
            return ResultFolder(key, path, made=False)
        processed = process_series(grid, self.model, settings, self.clock, progress, self.artist)
        if isinstance(processed, NotInView):
            return processed
        folder = publish(self.root, path.name, processed.files)
        return ResultFolder(key, folder, made=True, fault=processed.fault)
