"""Process series without a server: result folders, and sending them on request."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dicomseg.encode.uids import ResultKey
from dicomseg.errors import InputRefused
from dicomseg.segmentation import NotInView
from model.bundle.load import LoadedModel
from node.config.destinations import DestinationConfig
from node.deliver.forms import prepare, sent_names
from node.deliver.port import Destination, Outcome
from node.errors import DamagedResult
from node.faults import describe_error
from node.offline.gather import Judged
from node.store.results import RESULT_FILE, read_result
from node.work.pipeline import Clock, Settings
from node.work.results import Results

OutcomeKind = Literal[
    "written", "already there", "not in view", "refused", "failed", "skipped", "incomplete"
]


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """What became of one series; `result` is the content of its `result.json`. text: why there is none, or not all."""

    study: str
    series: str
    name: str
    outcome: OutcomeKind
    text: str = ""
    folder: Path | None = None
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class OfflineRun:
    """What processing needs: the model, the attributes of the objects, the output folder, the clock.

    force: make a new result even if the folder holds one of the same input.
    """

    model: LoadedModel
    settings: Settings
    out: Path
    clock: Clock
    force: bool = False


def skipped_row(judged: Judged) -> SeriesOutcome:
    """Return the outcome of a series that is not processed, with the reasons of its verdict."""
    kind: OutcomeKind = "skipped" if judged.status == "eligible" else judged.status
    text = "; ".join(judged.verdict.reasons)
    return SeriesOutcome(judged.study, judged.candidate.series, judged.candidate.name, kind, text)


def failed(judged: Judged, text: str) -> SeriesOutcome:
    """Return the outcome of a series whose processing raised an error."""
    return SeriesOutcome(
        judged.study, judged.candidate.series, judged.candidate.name, "failed", text
    )


def process_one(judged: Judged, run: OfflineRun, progress: Callable[[str], None]) -> SeriesOutcome:
    """Process one eligible series into its result folder; the same input keeps its earlier result.

    progress: receives the name of each stage.
    """
    started_s = time.perf_counter()
    candidate = judged.candidate

    def outcome(kind: OutcomeKind, text: str = "", folder: Path | None = None) -> SeriesOutcome:
        result = json.loads((folder / RESULT_FILE).read_text("utf-8")) if folder else {}
        seconds = time.perf_counter() - started_s
        return SeriesOutcome(
            judged.study, candidate.series, candidate.name, kind, text, folder, seconds, result
        )

    earlier = results_in(run.out, candidate.series)
    results = Results(run.model, run.settings, run.out, run.clock)
    try:
        result = results.find_or_make(judged.grid, earlier, forced=run.force, progress=progress)
    except InputRefused as error:
        return outcome("refused", str(error))
    if isinstance(result, NotInView):
        return outcome("not in view", result.reason)
    if result.fault is not None:
        text = f"written without page and surfaces: {describe_error(result.fault)}"
        return outcome("written", text, result.path)
    return outcome("written" if result.made else "already there", folder=result.path)


def results_in(out: Path, series: str) -> list[ResultKey]:
    """Return the results of a series below a folder of result folders, oldest first."""
    every = {p.parent.name: read_result(p.parent) for p in out.glob(f"*/{RESULT_FILE}")}
    results = {name: r for name, r in every.items() if _source_series(r) == series}

    def age(name: str) -> tuple[int, str]:
        predecessor = results[name].get("predecessor")
        depth = age(predecessor)[0] + 1 if predecessor in results else 0
        return depth, str(results[name].get("created", ""))

    return [ResultKey(name) for name in sorted(results, key=age)]


def _source_series(result: Mapping[str, Any]) -> str | None:
    """Return the series of a result; None if another program wrote the file."""
    source = result.get("source")
    return source.get("series") if isinstance(source, dict) else None


@dataclass(frozen=True, slots=True)
class SentResult:
    """Response of one destination to one result; storage: value of its `StorageCheck`."""

    destination: str
    folder: Path
    outcomes: tuple[Outcome, ...]
    storage: str

    @property
    def accepted(self) -> bool:
        """Whether every object was accepted."""
        return all(o.disposition == "accepted" for o in self.outcomes)


def send_all(
    folders: Sequence[Path], destinations: Sequence[tuple[DestinationConfig, Destination]]
) -> Iterator[SentResult]:
    """Send every result to every destination, once, and verify that it is stored."""
    for folder in folders:
        for config, destination in destinations:
            with tempfile.TemporaryDirectory(prefix="lumbar-node-") as outgoing:
                yield _send(folder, config, destination, Path(outgoing) / config.name)


def _send(
    folder: Path, config: DestinationConfig, destination: Destination, outgoing: Path
) -> SentResult:
    sends = config.sends
    names = sent_names(folder, sends)
    try:
        files = prepare(folder, names, outgoing, compress=sends.compress == "rle")
    except (DamagedResult, OSError) as error:
        outcomes = tuple(Outcome(name, "permanent", str(error)) for name in names)
        return SentResult(destination.name, folder, outcomes, "unknown")
    outcomes = destination.send(files)
    accepted = all(o.disposition == "accepted" for o in outcomes)
    storage = destination.verify_stored(files).value if accepted else "unknown"
    return SentResult(destination.name, folder, outcomes, storage)


def exit_code(rows: Sequence[SeriesOutcome]) -> int:
    """Return 0 if there are results, 4 if a series was refused or failed, 3 if none was eligible."""
    if any(row.outcome in {"refused", "failed", "incomplete"} for row in rows):
        return 4
    return 0 if any(row.folder is not None for row in rows) else 3
