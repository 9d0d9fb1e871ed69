"""Pictures of the cases that a candidate does worst, by it and by the model in service.

Files are numbered, never named by a case: `worst/1-candidate.png`, `worst/1-in_service.png`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.data.cases import load_case
from training.evaluate.case_results import CaseResult, read_labels
from training.report import pictures
from training.report.report import png

FOLDER: Final = "worst"
MOST: Final = 3


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models: its results, and the folder of its labels."""

    name: str
    results: Sequence[CaseResult]
    labels: Path


def worst_cases(candidate: Sequence[CaseResult], most: int = MOST) -> list[CaseResult]:
    """Return the cases with the lowest mean Dice, the lowest first; those without a score are left out."""
    scored = [c for c in candidate if c.mean_dice is not None]
    return sorted(scored, key=lambda c: (c.mean_dice, c.case_id))[:most]


def draw_worst(
    out: Path, paths: Mapping[str, Path], candidate: Side, in_service: Side
) -> list[dict[str, str]]:
    """Draw the candidate's worst cases by both models below `out`; returns file, case, model and caption of each.

    paths: of the prepared cases by id. Pictures of an earlier comparison are removed. A level that was missed leaves
    the reference alone on the picture.
    """
    folder = out / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = []
    for number, worst in enumerate(worst_cases(candidate.results), start=1):
        case = load_case(paths[worst.case_id])
        for side in (candidate, in_service):
            result = next((r for r in side.results if r.case_id == worst.case_id), None)
            if result is None:
                continue
            labels = (
                read_labels(side.labels, worst.case_id)
                if result.level_error_mm is not None
                else None
            )
            file = folder / f"{number}-{side.name}.png"
            _write(file, png(pictures.outlines(case, labels)))
            mean = 0.0 if result.mean_dice is None else result.mean_dice
            why = f", {result.why}" if result.why else ""
            made.append({
                "file": f"{FOLDER}/{file.name}", "case": worst.case_id, "model": side.name,
                "caption": f"mean Dice {mean:.3f}{why}",
            })  # fmt: skip
    return made


def _write(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    part.replace(file)
