"""The results of one case, and the files that keep them, so that an interrupted evaluation resumes.

`<folder>/<case>.json` holds the results with a stamp of what they depend on, `<folder>/<case>.npz` the
predicted labels, for pictures. A file with another stamp does not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from dicomseg.measurement_names import MeasurementName
from dicomseg.structures import StructureId
from dicomseg.volume import Array
from training.evaluate.baselines import Baseline
from training.evaluate.metrics import Score
from training.evaluate.parts import Part


@dataclass(frozen=True, slots=True)
class MeasuredPair:
    """One measurement of one case, automatic and reference, mm.

    uncertainty_mm, range_mm, softness_mm: those of the automatic value; see `dicomseg.result.Measurement`.
    """

    automatic_mm: float | None
    reference_mm: float | None
    reference_from: str
    refusal: str = ""
    """Code; set where `automatic_mm` is None."""
    flags: tuple[str, ...] = ()
    uncertainty_mm: float | None = None
    range_mm: tuple[float, float] | None = None
    softness_mm: float | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Everything known of one evaluated case; the one form in which training passes it on."""

    case_id: str
    patient_id: str
    source: str
    contrast: str
    """"physical" or "randomised" for phantoms, else ""."""
    unseen: bool
    """The model was not trained on it: its card names it as held out, or the caller vouches."""
    level_error_mm: float | None
    """None where the level was missed; `why` names the reason."""
    level_confidence: float
    why: str
    seconds: float
    scores: Mapping[StructureId, Score]
    measurements: Mapping[MeasurementName, MeasuredPair]
    baselines: Mapping[Baseline, Mapping[StructureId, float]] = field(default_factory=dict)
    fold: int | None = None
    """Of a cross-validation, from 1."""
    parts: Mapping[Part, Score] = field(default_factory=dict)
    """Scores of parts of structures, which enter no mean."""

    @property
    def dice(self) -> dict[StructureId, float]:
        """Dice by structure."""
        return {name: score.dice for name, score in self.scores.items()}

    @property
    def mean_dice(self) -> float | None:
        """Mean over the structures that count; None where none does."""
        values = [s.dice for s in self.scores.values()]
        return sum(values) / len(values) if values else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> CaseResult:
        """Return the inverse of `to_dict`.

        Raises:
            KeyError, TypeError: not of this form.
        """
        values = dict(plain)
        values["scores"] = {k: Score(**v) for k, v in values["scores"].items()}
        values["parts"] = {k: Score(**v) for k, v in values.get("parts", {}).items()}
        values["measurements"] = {k: _pair(v) for k, v in values["measurements"].items()}
        return cls(**values)


def _pair(plain: Mapping[str, Any]) -> MeasuredPair:
    within = plain.get("range_mm")
    lists = {"flags": tuple(plain["flags"]), "range_mm": None if within is None else tuple(within)}
    return MeasuredPair(**{**plain, **lists})


def read_result(folder: Path, case_id: str, stamp: Mapping[str, Any]) -> CaseResult | None:
    """Read the results of one case; None where there are none, or with another stamp."""
    try:
        content = json.loads((folder / f"{case_id}.json").read_text(encoding="utf-8"))
        return CaseResult.from_dict(content["figures"]) if content["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_result(
    folder: Path, result: CaseResult, labels: Array | None, stamp: Mapping[str, Any]
) -> None:
    """Keep the results of one case and its predicted labels (uint8, the case's shape; None without prediction)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_labels(folder, result.case_id, labels)
    # last: with this file the case is complete
    write_json(folder / f"{result.case_id}.json", {"stamp": stamp, "figures": result.to_dict()})


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, complete or not at all.

    Raises:
        ValueError: a value that is not finite, which JSON cannot hold.
    """
    part = file.with_suffix(".part")
    text = json.dumps(values, indent=1, allow_nan=False)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(file)


def write_labels(folder: Path, case_id: str, labels: Array | None) -> None:
    """Keep the predicted labels of one case, or remove those of an earlier prediction."""
    file = folder / f"{case_id}.npz"
    if labels is None:
        file.unlink(missing_ok=True)
        return
    part = file.with_suffix(".npz.part")
    with part.open("wb") as out:
        np.savez_compressed(out, labels=labels)
    part.replace(file)


def read_labels(folder: Path, case_id: str) -> Array | None:
    """Read the predicted labels of one case; None where none are kept."""
    try:
        with np.load(folder / f"{case_id}.npz") as arrays:
            return cast("Array", arrays["labels"])
    except (OSError, ValueError, KeyError):
        return None
