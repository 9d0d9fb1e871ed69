"""Scores on prepared cases by the way the service goes: level, window, network, labels.

Counted are the voxels of the window that was looked at and of the one about the true level, on the
case's own grid, so that what a displaced window misses counts as missed. A level that is missed counts
as Dice 0 for every structure of that case, so that a network cannot hide behind its level finder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from dicomseg.segmentation import Labels, Level, NotInView, Segmentation
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Array, Volume
from model import window
from model.bundle.load import LoadedModel
from model.errors import WindowRefused
from model.segment import segment
from training.data.cases import Case, list_cases, load_case
from training.errors import SourceMissing
from training.evaluate import metrics
from training.evaluate.metrics import MISSED, Score


@dataclass(frozen=True, slots=True)
class CaseScore:
    """One case: Dice of each labelled structure in the window, level error (None: not found), seconds."""

    case_id: str
    source: str
    dice: Mapping[StructureId, float]
    level_error_mm: float | None
    level_confidence: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: cases of one source and one structure."""

    source: str
    structure: StructureId
    cases: int
    mean: float
    median: float
    least: float


def true_window(case: Case) -> Array:
    """Where the service would look at the true level: bool, the case's shape."""
    volume = Volume(case.image, case.affine)
    place = window.place(volume, Level(case.level_centre_lps, case.level_normal, 1.0))
    grid = Volume(np.zeros(place.shape, np.uint8), place.affine)
    seen = np.zeros(volume.shape, bool)
    for i in range(volume.shape[0]):
        index = np.stack(
            np.meshgrid([i], *(np.arange(n) for n in volume.shape[1:]), indexing="ij"), -1
        )
        at = grid.to_index(volume.to_patient(index))
        seen[i] = np.all((at >= -0.5) & (at <= np.array(place.shape) - 0.5), axis=-1)[0]
    return seen


def structure_scores(case: Case, found: Labels) -> dict[StructureId, Score]:
    """Score each structure that the case labels, in both windows; see `Score` for what is missing."""
    counted = found.analysed_mask | true_window(case)
    spacing = found.volume.spacing_mm
    out: dict[StructureId, Score] = {}
    for name in case.labelled:
        value = BY_ID[name].value
        truth = (case.labels == value) & counted
        got = metrics.score((found.volume.array == value) & counted, truth, spacing)
        if got is not None:
            out[name] = got
    return out


def missed_scores(case: Case) -> dict[StructureId, Score]:
    """Scores of a case whose level was not found: every structure that it labels and shows is missed."""
    return {name: MISSED for name in case.labelled if (case.labels == BY_ID[name].value).any()}


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the service's path says of one case. found: None with `why` when there is no answer."""

    scores: Mapping[StructureId, Score]
    found: Segmentation | None
    why: str
    level_error_mm: float | None
    seconds: float


def answer(case: Case, model: LoadedModel) -> Answer:
    """Run the service's path on one case; a refused image counts as a missed level."""
    start = time.perf_counter()
    try:
        found = segment(Volume(case.image, case.affine), model)
    except WindowRefused as refused:
        found = NotInView(refused.code)
    seconds = time.perf_counter() - start
    if isinstance(found, NotInView):
        return Answer(missed_scores(case), None, found.reason, None, seconds)
    error = float(np.linalg.norm(np.subtract(found.level.centre_lps, case.level_centre_lps)))
    return Answer(structure_scores(case, found.labels), found, "", error, seconds)


def evaluate_case(case: Case, model: LoadedModel) -> tuple[CaseScore, Segmentation | None]:
    """Run the service's path on one case; Dice only."""
    got = answer(case, model)
    sure = 0.0 if got.found is None else got.found.level.confidence
    dice = {name: score.dice for name, score in got.scores.items()}
    return CaseScore(
        case.case_id, case.source, dice, got.level_error_mm, sure, got.seconds
    ), got.found


def evaluate(
    paths: Iterable[Path], model: LoadedModel, report: Callable[[CaseScore], None] = lambda _: None
) -> list[CaseScore]:
    """Score every case."""
    scores = []
    for path in paths:
        score, _ = evaluate_case(load_case(path), model)
        report(score)
        scores.append(score)
    return scores


def table(scores: Sequence[CaseScore]) -> list[Row]:
    """Mean, median and least Dice per source and structure, in the order of the structures."""
    rows = []
    for source in sorted({s.source for s in scores}):
        for structure in STRUCTURES:
            values = [
                s.dice[structure.id]
                for s in scores
                if s.source == source and structure.id in s.dice
            ]
            if values:
                rows.append(
                    Row(
                        source,
                        structure.id,
                        len(values),
                        fmean(values),
                        median(values),
                        min(values),
                    )
                )
    return rows


def summary(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """What goes into a bundle's card: Dice per source and structure, level errors, case ids."""
    return {
        "dice": [
            {
                "cases": r.source,
                "structure": r.structure,
                "n": r.cases,
                "mean": round(r.mean, 3),
                "median": round(r.median, 3),
                "least": round(r.least, 3),
            }
            for r in table(scores)
        ],
        "level": [
            {
                "case": s.case_id,
                "error_mm": None if s.level_error_mm is None else round(s.level_error_mm, 1),
                "confidence": round(s.level_confidence, 2),
            }
            for s in scores
        ],
        "rule": "Dice inside the found and the true window on the service's path; a missed level counts 0",
    }


def held_out(model: LoadedModel) -> frozenset[str]:
    """Case ids that the bundle's card names as never trained on."""
    return frozenset(str(n) for n in model.card.get("training", {}).get("held_out", ()))


def chosen(
    cases: Path, model: LoadedModel, ids: Sequence[str] = (), *, every: bool = False
) -> list[Path]:
    """Cases to evaluate: the named ones, all, or those that the card names as held out.

    Raises:
        SourceMissing: one of them is not below `cases`, or there is nothing to evaluate.
    """
    paths = {p.stem: p for p in list_cases(cases)}
    wanted = sorted(paths) if every else sorted(set(ids) or held_out(model))
    if not wanted:
        raise SourceMissing(
            "nothing to evaluate: the card names no held-out cases; give --case or --all"
        )
    absent = [name for name in wanted if name not in paths]
    if absent:
        raise SourceMissing(f"case {absent[0]} is not below {cases}; check the id")
    return [paths[name] for name in wanted]
