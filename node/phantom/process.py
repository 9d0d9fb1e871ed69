"""Take a series of files through the pipeline of the workers, with the bundle in service; no row is written anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicomseg.read import header as headers
from dicomseg.read.reconstructions import SeriesCandidate, judge_series
from dicomseg.read.series import Grid
from dicomseg.segmentation import NotInView
from model.bundle.load import LoadedModel
from node.config.sections import Config
from node.errors import PhantomRefused
from node.journal.journal import Journal
from node.store.layout import StateDirectory
from node.work.load_model import load_model
from node.work.pipeline import build_settings
from node.work.results import ResultFolder, Results


@dataclass(frozen=True, slots=True)
class Processed:
    """A result folder and the processor time that it took, in seconds."""

    folder: Path
    cpu_s: float


def load_serving_model(config: Config) -> LoadedModel:
    """Load the bundle that the workers would load now. Raises `BundleError`, `EngineError`."""
    path = StateDirectory(config.node.state).journal
    chosen = None
    if path.exists():
        journal = Journal.reading(path, time.time)
        try:
            chosen = journal.promotions.folder_in_service(None)
        finally:
            journal.close()
    return load_model(config.model, state=config.node.state, path=chosen)


def judge_files(files: Sequence[Path], config: Config) -> SeriesCandidate:
    """Judge files as one series by the rules of the configuration. Raises `Unreadable`."""
    instances = [headers.read_instance(file) for file in files]
    return judge_series(instances[0].series_uid, instances, config.rules)


def process_grid(
    grid: Grid,
    model: LoadedModel,
    config: Config,
    out: Path,
    progress: Callable[[str], None] | None = None,
) -> Processed:
    """Make the result folder of a series below `out`.

    Raises:
        PhantomRefused: the model does not find L4/5 in it. The pipeline's errors pass through.
    """
    settings = build_settings(config.node, config.results)
    began_s = time.process_time()
    result = Results(model, settings, out, _now).find_or_make(
        grid, [], forced=False, progress=progress
    )
    if isinstance(result, NotInView):
        raise PhantomRefused(f"the synthetic study was skipped: {result.reason}")
    return Processed(_with_pictures(result), time.process_time() - began_s)


def _with_pictures(result: ResultFolder) -> Path:
    if result.fault is not None:
        raise PhantomRefused(
            f"the pictures of the synthetic study were not drawn ({type(result.fault).__name__})"
        )
    return result.path


def _now() -> datetime:
    return datetime.now().astimezone()
