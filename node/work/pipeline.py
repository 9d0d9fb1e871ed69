"""The processing pipeline for one series: slices in, result files out. Shared by the worker and `process`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from dicomseg.draw.drawing import Scene
from dicomseg.encode.context import EncodeInput, own_text
from dicomseg.encode.gather import build_result
from dicomseg.encode.pictures import reading
from dicomseg.encode.rehearsal import TrialInput, rehearse
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.sanitise import sanitised_headers
from dicomseg.encode.uids import Identity, ResultKey, result_key
from dicomseg.measure.measure import measure
from dicomseg.read.pixels import read_source
from dicomseg.read.series import Grid
from dicomseg.result import Result
from dicomseg.segmentation import EngineInfo, NotInView, Segmentation
from dicomseg.volume import Volume
from model.bundle.load import LoadedModel
from model.segment import segment
from node.cluster.dispatch import Dispatcher
from node.config.sections import NodeConfig, ResultsConfig
from node.program import program_version
from node.work.drawing import Artist, OwnHand, Pictures

Clock = Callable[[], datetime]
"""Now, with its zone."""

Computing = LoadedModel | Dispatcher
"""A model in this process, or the way to the machines that have it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What reaches the objects beside the series: the configured identity, and the result before.

    language: of the page; None where neither page nor surfaces are drawn.
    """

    identity: Identity
    predecessor: ResultKey | None = None
    language: str | None = None

    @property
    def digest(self) -> str:
        """Digest of what the configuration changes in the bytes, for the UIDs."""
        drawn = {} if self.language is None else {"language": self.language}
        content = asdict(self.identity) | drawn
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Processed:
    """The files of one result, by name, and how long each stage took in seconds.

    fault: why its pictures could not be drawn.
    """

    key: ResultKey
    files: dict[str, bytes]
    result: Result
    timings_s: dict[str, float]
    fault: Exception | None = None


def build_settings(node: NodeConfig, results: ResultsConfig) -> Settings:
    """Take from the configuration what the objects carry."""
    identity = Identity(
        manufacturer=results.manufacturer,
        model_name=results.model_name,
        software_version=program_version(),
        device_serial_number=results.device_serial_number,
        station_name=node.station,
    )
    return Settings(identity, language=results.language if results.pictures else None)


def compute_key(grid: Grid, engine: EngineInfo, settings: Settings) -> ResultKey:
    """Return the identity of the result, known before any pixel is read."""
    identity = settings.identity
    return result_key(
        grid.instances, engine, settings.digest, identity.software_version, settings.predecessor
    )


def settings_after(
    grid: Grid,
    engine: EngineInfo,
    settings: Settings,
    earlier: Sequence[ResultKey],
    *,
    forced: bool = False,
) -> Settings:
    """Return the settings with the predecessor of this input's result, which `compute_key` then finds or names.

    earlier: results of the series, oldest first. The result that this input already has among them is
    found again; another input, model or `forced` makes one whose predecessor is the latest.
    """
    latest = replace(settings, predecessor=earlier[-1] if earlier else None)
    if forced:
        return latest
    for predecessor in (*reversed(earlier), None):
        known = replace(settings, predecessor=predecessor)
        if compute_key(grid, engine, known) in earlier:
            return known
    return latest


def process_series(
    grid: Grid,
    model: Computing,
    settings: Settings,
    clock: Clock,
    progress: Callable[[str], None] | None = None,
    artist: Artist | None = None,
) -> Processed | NotInView:
    """Segment, measure, draw and encode one series. Raises `SeriesRefused` and the model's errors.

    artist: draws what `settings` want drawn; None draws here, at the end.
    """
    watch = _Watch()
    source = read_source(grid)
    headers = sanitised_headers(source, own_text(settings.identity))
    key = compute_key(grid, model.info, settings)
    rehearse(TrialInput(source, headers, key, model.info, settings.identity, clock()))
    watch.lap("load")
    segmentation = _segment(source.volume, model, progress)
    watch.lap("segment")
    if isinstance(segmentation, NotInView):
        return segmentation
    pictures = Pictures(artist or OwnHand(), settings.language)
    pictures.begin(Scene(source.volume, segmentation))
    measurements = measure(segmentation, model.model_errors or None)
    watch.lap("measure")
    created = clock()
    timings = watch.laps_s | {f"segment.{k}": v for k, v in segmentation.timings_s.items()}
    result = build_result(source, headers, segmentation, measurements, key, created, timings)
    identity, before = settings.identity, settings.predecessor
    inputs = EncodeInput(
        result, source, segmentation, key, headers, identity, created, predecessor=before
    )
    faults: list[Exception] = []
    pictures.finish(lambda language: reading(inputs, language))
    files = encode_all(inputs, pictures.drawing if pictures.wanted else None, faults.append)
    watch.lap("encode")
    return Processed(key, files, result, timings | watch.laps_s, next(iter(faults), None))


def _segment(
    volume: Volume, model: Computing, progress: Callable[[str], None] | None
) -> Segmentation | NotInView:
    if isinstance(model, Dispatcher):
        return model.segment(volume)
    return segment(volume, model, progress)


@dataclass(slots=True)
class _Watch:
    """Seconds between laps by the monotonic clock."""

    laps_s: dict[str, float] = field(default_factory=dict)
    last_s: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now_s = time.perf_counter()
        self.laps_s[stage] = now_s - self.last_s
        self.last_s = now_s
