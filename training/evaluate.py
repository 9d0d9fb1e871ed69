"""Dice per structure on prepared cases by the way the service goes: level, window, network, labels.

A level that is missed counts as Dice 0 for every structure of that case, so that a network cannot hide
behind its level finder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from dicomseg.segmentation import NotInView, Segmentation
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Array, Volume
from model.bundle import LoadedModel
from model.segment import segment
from training.cases import Case, load_case


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


def dice(a: Array, b: Array) -> float:
    """Dice of two boolean arrays; 1 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def structure_dice(case: Case, found: Segmentation) -> dict[StructureId, float]:
    """Dice inside the window for each structure that the case labels and shows there."""
    seen = found.labels.looked_at
    out: dict[StructureId, float] = {}
    for name in case.labelled:
        value = BY_ID[name].value
        truth = (case.labels == value) & seen
        if truth.any():
            out[name] = dice((found.labels.volume.array == value) & seen, truth)
    return out


def evaluate_case(case: Case, model: LoadedModel) -> tuple[CaseScore, Segmentation | None]:
    """Run the service's path on one case."""
    start = time.perf_counter()
    found = segment(Volume(case.image, case.affine), model)
    seconds = time.perf_counter() - start
    if isinstance(found, NotInView):
        nothing = {name: 0.0 for name in case.labelled if (case.labels == BY_ID[name].value).any()}
        return CaseScore(case.case_id, case.source, nothing, None, 0.0, seconds), None
    error = float(np.linalg.norm(np.subtract(found.level.centre_lps, case.level_centre_lps)))
    score = CaseScore(
        case.case_id,
        case.source,
        structure_dice(case, found),
        error,
        found.level.confidence,
        seconds,
    )
    return score, found


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


def markdown(rows: Sequence[Row]) -> str:
    """The table for people."""
    lines = ["| cases | structure | n | Dice, mean | median | least |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r.source} | `{r.structure}` | {r.cases} | {r.mean:.3f} | {r.median:.3f} | {r.least:.3f} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


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
        "rule": "Dice inside the window on the service's path; a missed level counts 0",
    }
