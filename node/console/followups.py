"""The follow-up of a patient on the page of a series: studies, what changed, and a picture of each of the four values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from node.console.console import Console
from node.journal.rows import SeriesKey
from node.observe.followup import FollowUp, Step
from node.observe.followup_plot import plot
from node.observe.followup_view import HEADS, Rows, step_line, step_rows
from node.observe.patients import follow_results, results_by_patient

KEPT_S: Final = 5.0
"""How long it is kept whose results are whose: all headers are looked through for it."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One step between two studies. main: rows of the four values; further: the others."""

    text: str
    main: Rows
    further: Rows


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows. studies: oldest first; steps: the one to this study first; pictures: SVG."""

    studies: tuple[dict[str, Any], ...]
    steps: tuple[Compared, ...]
    pictures: tuple[str, ...]
    heads: Sequence[str] = HEADS


def followup_of(console: Console, key: SeriesKey, file: Path | None) -> Shown | None:
    """Return the follow-up of the patient of a study; None without another study to compare.

    file: an object of the series, whose header says whose it is.
    """
    patient = None if file is None else console.examined(file).patient
    if patient is None:
        return None
    everyone = console.kept.get(
        "patients", KEPT_S, lambda: results_by_patient(console.journal, console.examined)
    )
    one = follow_results(everyone.get(patient, ()), console.examined)
    has_this = any(v.study == key.study for v in one.visits)
    return _shown(console, one, key) if has_this and len(one.visits) > 1 else None


def _shown(console: Console, one: FollowUp, key: SeriesKey) -> Shown:
    studies = tuple(
        {
            "id": console.journal.series.get(SeriesKey(v.study, v.series)).id,
            "when": v.when or "no date",
            "is_this": v.study == key.study,
            "scanner": " ".join(text for text in v.examined.scanner if text) or "scanner unknown",
            "model": " ".join(v.model[:2]),
            "doubtful": v.doubtful,
        }
        for v in one.visits
    )
    # The step that ends in this study first; the others keep their order.
    steps = sorted(one.steps, key=lambda s: s.after.study != key.study)
    pictures = tuple(plot(one, name) for name in MAIN_MEASUREMENTS)
    return Shown(studies, tuple(_compared(s) for s in steps), pictures)


def _compared(step: Step) -> Compared:
    rows = step_rows(step)
    main = [row for row in rows if row[0] in MAIN_MEASUREMENTS]
    return Compared(step_line(step), main, [row for row in rows if row not in main])
