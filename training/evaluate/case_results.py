"""The figures of one case, and where they are kept, so that an evaluation goes on where it stopped.

`<folder>/<case>.json` holds the figures with a stamp of what they depend on, `<folder>/<case>.npz` the
labels that were found, for pictures. A file with another stamp is worked out again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from dicomseg.measure.measure import measure
from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.result import ModelError
from dicomseg.segmentation import Segmentation
from dicomseg.structures import StructureId
from dicomseg.volume import Array
from model.bundle.load import LoadedModel
from training.data.cases import Case, load_case
from training.errors import CaseUnreadable
from training.evaluate.baselines import Baseline, Baselines
from training.evaluate.evaluate import Answer, answer, true_window
from training.evaluate.metrics import Score
from training.evaluate.reference import references

SCHEMA: Final = 3
NOT_FOUND: Final = "level_not_found"
"""Code of a measurement that is refused because there is no level."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One measurement of one case, mm. refusal: code, set where `automatic_mm` is None.

    uncertainty_mm, range_mm, softness_mm: what the automatic value says of itself; see `dicomseg.result.Measurement`.
    """

    automatic_mm: float | None
    reference_mm: float | None
    reference_from: str
    refusal: str = ""
    flags: tuple[str, ...] = ()
    uncertainty_mm: float | None = None
    range_mm: tuple[float, float] | None = None
    softness_mm: float | None = None


@dataclass(frozen=True, slots=True)
class CaseFigures:
    """Everything known of one case's answer.

    unseen: the model was not trained on it, as the card names it as held out or the caller vouches.
    contrast: "physical" or "randomised" for phantoms, else "". level_error_mm: None where no level was
    found, `why` says why. fold: of a cross-validation, counted from 1, else None.
    """

    case_id: str
    patient_id: str
    source: str
    contrast: str
    unseen: bool
    level_error_mm: float | None
    level_confidence: float
    why: str
    seconds: float
    scores: Mapping[StructureId, Score]
    measurements: Mapping[MeasurementName, Pair]
    baselines: Mapping[Baseline, Mapping[StructureId, float]] = field(default_factory=dict)
    fold: int | None = None

    @property
    def mean_dice(self) -> float | None:
        """Mean over the structures that count; None where none does."""
        values = [s.dice for s in self.scores.values()]
        return sum(values) / len(values) if values else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> CaseFigures:
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError: not of this form.
        """
        values = dict(told)
        values["scores"] = {k: Score(**v) for k, v in values["scores"].items()}
        values["measurements"] = {k: _pair(v) for k, v in values["measurements"].items()}
        return cls(**values)


def _pair(told: Mapping[str, Any]) -> Pair:
    within = told.get("range_mm")
    lists = {"flags": tuple(told["flags"]), "range_mm": None if within is None else tuple(within)}
    return Pair(**{**told, **lists})


@dataclass(frozen=True, slots=True)
class Task:
    """How cases are evaluated.

    model: of one case, since the level may be given by the case. baselines: None leaves them out.
    unseen: whether the model was trained on this case. level: who finds it, for the stamp. folder: where
    figures and labels are kept; None keeps nothing.
    """

    model: Callable[[Case], LoadedModel]
    unseen: Callable[[str], bool]
    baselines: Baselines | None = None
    folder: Path | None = None
    level: str = "bundle"
    fold: int | None = None


def figures_of(case: Case, task: Task) -> tuple[CaseFigures, Array | None]:
    """Run the service's path on one case; its figures and the labels found (uint8, the case's shape)."""
    model = task.model(case)
    got = answer(case, model)
    baselines = {} if task.baselines is None else task.baselines.scores(case, true_window(case))
    found = got.found
    figures = CaseFigures(
        case.case_id,
        case.patient_id,
        case.source,
        _contrast(case),
        task.unseen(case.case_id),
        got.level_error_mm,
        0.0 if found is None else found.level.confidence,
        got.why,
        got.seconds,
        got.scores,
        _pairs(case, got, found, model.model_errors),
        baselines,
        task.fold,
    )
    return figures, None if found is None else found.labels.volume.array


def _contrast(case: Case) -> str:
    contrast = case.card.get("contrast")
    if not isinstance(contrast, Mapping):
        return ""
    return "randomised" if contrast.get("randomised") else "physical"


def _pairs(
    case: Case, got: Answer, found: Segmentation | None, errors: Mapping[str, ModelError]
) -> dict[MeasurementName, Pair]:
    """Automatic and reference values; a measurement whose structures are not labelled is left out."""
    known = references(case)
    lines = None if found is None else measure(found, errors).main
    out = {}
    for name in MAIN_MEASUREMENTS:
        reference = known[name]
        if not reference.source:
            continue
        if lines is None:
            out[name] = Pair(None, reference.value_mm, reference.source, got.why and NOT_FOUND)
            continue
        line = lines[name]
        code = "" if line.refusal is None else line.refusal.code
        out[name] = Pair(
            line.value_mm,
            reference.value_mm,
            reference.source,
            code,
            tuple(line.flags),
            line.uncertainty_mm,
            line.range_mm,
            line.softness_mm,
        )
    return out


def evaluated(
    paths: Iterable[Path], task: Task, report: Callable[[CaseFigures], None] = lambda _: None
) -> list[CaseFigures]:
    """Figures of every case, one file per finished case; finished ones are read.

    Raises:
        CaseUnreadable: a case that cannot be read.
    """
    out = []
    for path in paths:
        figures = _one(path, task)
        report(figures)
        out.append(figures)
    return out


def _one(path: Path, task: Task) -> CaseFigures:
    case = load_case(path)
    stamp = _stamp(path, case, task)
    if task.folder is None:
        return figures_of(case, task)[0]
    file = task.folder / f"{case.case_id}.json"
    before = _read(file, stamp)
    if before is not None:
        return before
    figures, labels = figures_of(case, task)
    task.folder.mkdir(parents=True, exist_ok=True)
    write_labels(task.folder, case.case_id, labels)
    write_json(
        file, {"stamp": stamp, "figures": figures.to_dict()}
    )  # last: with it the case is done
    return figures


def _stamp(path: Path, case: Case, task: Task) -> dict[str, Any]:
    """What the figures depend on."""
    try:
        digest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError) as error:
        raise CaseUnreadable(f"{path.stem} in {path.parent}: {error}; prepare it again") from error
    info = task.model(case).info
    return {
        "schema": SCHEMA,
        "case": digest,
        "truth": case.card.get("measurements") is not None,
        "bundle": info.digest,
        "code": code_digest(),
        "engine": info.engine,
        "precision": info.precision,
        "level": task.level,
        "unseen": task.unseen(case.case_id),
        "fold": task.fold,
        "baselines": "" if task.baselines is None else task.baselines.digest(case),
    }


@cache
def code_digest() -> str:
    """sha256 over the modules that answer and measure: a change of either makes other figures."""
    total = hashlib.sha256()
    for package in ("dicomseg", "model"):
        root = Path(str(resources.files(package)))
        for module in sorted(root.rglob("*.py")):
            name = module.relative_to(root).as_posix()
            total.update(f"{package}/{name}\0".encode() + module.read_bytes())
    return total.hexdigest()


def _read(file: Path, stamp: Mapping[str, Any]) -> CaseFigures | None:
    """Figures of a finished case; None when there are none, or of another stamp."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return CaseFigures.from_dict(told["figures"]) if told["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file that is whole or not there.

    Raises:
        ValueError: a value that is not finite, which JSON cannot hold.
    """
    part = file.with_suffix(".part")
    text = json.dumps(values, indent=1, allow_nan=False)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(file)


def write_labels(folder: Path, case_id: str, labels: Array | None) -> None:
    """Keep the labels found for one case, or remove those of an earlier answer."""
    file = folder / f"{case_id}.npz"
    if labels is None:
        file.unlink(missing_ok=True)
        return
    part = file.with_suffix(".npz.part")
    with part.open("wb") as out:
        np.savez_compressed(out, labels=labels)
    part.replace(file)


def read_labels(folder: Path, case_id: str) -> Array | None:
    """Labels found for one case; None where none are kept."""
    try:
        with np.load(folder / f"{case_id}.npz") as arrays:
            return cast("Array", arrays["labels"])
    except (OSError, ValueError, KeyError):
        return None
