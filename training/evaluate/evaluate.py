"""Evaluate the inference pipeline on prepared cases: which cases, one case, all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from dicomseg.measure.measure import measure
from dicomseg.measurement_names import MAIN_MEASUREMENTS, MeasurementName
from dicomseg.result import ModelError
from dicomseg.volume import Array
from model.bundle.load import LoadedModel
from training.data.cases import Case, list_cases, load_case
from training.errors import CaseUnreadable, SourceMissing
from training.evaluate.baselines import Baselines
from training.evaluate.case_results import CaseResult, MeasuredPair, read_result, write_result
from training.evaluate.prediction import CasePrediction, predict_case, true_window
from training.evaluate.reference import references

SCHEMA: Final = 3
"""Of the files that keep the results of single cases."""
NOT_FOUND: Final = "level_not_found"
"""Code of a measurement that is refused because there is no level."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How cases are evaluated."""

    model: Callable[[Case], LoadedModel]
    """Of one case, since the level may be given by the case."""
    unseen: Callable[[str], bool]
    """Whether the model was not trained on this case."""
    baselines: Baselines | None = None
    folder: Path | None = None
    """Where results and labels of finished cases are kept; None keeps nothing."""
    level: str = "bundle"
    """Source of the level, for the stamp of kept results."""
    fold: int | None = None
    measurements: bool = True
    """Whether OC, DAA, DIVC and PI are measured and compared as well."""


def held_out_ids(model: LoadedModel) -> frozenset[str]:
    """Return the case ids that the bundle's card names as never trained on."""
    return frozenset(str(n) for n in model.card.get("training", {}).get("held_out", ()))


def choose_cases(
    cases: Path,
    model: LoadedModel,
    ids: Sequence[str] = (),
    *,
    every: bool = False,
    foreign: bool = False,
) -> list[Path]:
    """Return the cases to evaluate: those of `ids`, all, or those that the card names as held out.

    foreign: takes a folder that holds other cases than the card's, as one of a site's own: of the card's cases those
    that are there, or all cases where none of them is.

    Raises:
        SourceMissing: one of them is not below `cases`, or there is nothing to evaluate.
    """
    paths = {p.stem: p for p in list_cases(cases)}
    wanted = sorted(paths) if every else sorted(set(ids) or held_out_ids(model))
    if foreign and not every and not ids:
        wanted = [name for name in wanted if name in paths] or sorted(paths)
    if foreign and not paths:
        raise SourceMissing(f"no prepared case below {cases}; import or prepare some first")
    if not wanted:
        raise SourceMissing(
            "nothing to evaluate: the card names no held-out cases; give --case or --all"
        )
    absent = [name for name in wanted if name not in paths]
    if absent:
        raise SourceMissing(f"case {absent[0]} is not below {cases}; check the id")
    return [paths[name] for name in wanted]


def evaluate_cases(
    paths: Iterable[Path],
    settings: EvaluationSettings,
    report: Callable[[CaseResult], None] = lambda _: None,
) -> list[CaseResult]:
    """Evaluate every case; with a folder, one file per finished case, and finished ones are read.

    Raises:
        CaseUnreadable: a case that cannot be read.
    """
    results = []
    for path in paths:
        result = _read_or_evaluate(path, settings)
        report(result)
        results.append(result)
    return results


def _read_or_evaluate(path: Path, settings: EvaluationSettings) -> CaseResult:
    case = load_case(path)
    if settings.folder is None:
        return evaluate_case(case, settings)[0]
    stamp = _stamp(path, case, settings)
    kept = read_result(settings.folder, case.case_id, stamp)
    if kept is not None:
        return kept
    result, labels = evaluate_case(case, settings)
    write_result(settings.folder, result, labels, stamp)
    return result


def evaluate_case(case: Case, settings: EvaluationSettings) -> tuple[CaseResult, Array | None]:
    """Evaluate one case; return its results and the predicted labels (uint8, the case's shape)."""
    model = settings.model(case)
    prediction = predict_case(case, model)
    baselines = settings.baselines
    segmentation = prediction.segmentation
    result = CaseResult(
        case.case_id,
        case.patient_id,
        case.source,
        _contrast(case),
        settings.unseen(case.case_id),
        prediction.level_error_mm,
        0.0 if segmentation is None else segmentation.level.confidence,
        prediction.why,
        prediction.seconds,
        prediction.scores,
        _pairs(case, prediction, model.model_errors) if settings.measurements else {},
        {} if baselines is None else baselines.scores(case, true_window(case)),
        settings.fold,
        prediction.parts,
    )
    return result, None if segmentation is None else segmentation.labels.volume.array


def _contrast(case: Case) -> str:
    contrast = case.card.get("contrast")
    if not isinstance(contrast, Mapping):
        return ""
    return "randomised" if contrast.get("randomised") else "physical"


def _pairs(
    case: Case, prediction: CasePrediction, errors: Mapping[str, ModelError]
) -> dict[MeasurementName, MeasuredPair]:
    """Return automatic and reference values; a measurement whose structures are not labelled is left out."""
    known = references(case)
    segmentation = prediction.segmentation
    lines = None if segmentation is None else measure(segmentation, errors).main
    out = {}
    for name in MAIN_MEASUREMENTS:
        reference = known[name]
        if not reference.source:
            continue
        if lines is None:
            code = prediction.why and NOT_FOUND
            out[name] = MeasuredPair(None, reference.value_mm, reference.source, code)
            continue
        line = lines[name]
        out[name] = MeasuredPair(
            line.value_mm,
            reference.value_mm,
            reference.source,
            "" if line.refusal is None else line.refusal.code,
            tuple(line.flags),
            line.uncertainty_mm,
            line.range_mm,
            line.softness_mm,
        )
    return out


def _stamp(path: Path, case: Case, settings: EvaluationSettings) -> dict[str, Any]:
    """Return what the results of a case depend on."""
    try:
        digest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError) as error:
        raise CaseUnreadable(f"{path.stem} in {path.parent}: {error}; prepare it again") from error
    info = settings.model(case).info
    return {
        "schema": SCHEMA,
        "case": digest,
        "truth": case.card.get("measurements") is not None,
        "bundle": info.digest,
        "code": code_digest(),
        "engine": info.engine,
        "precision": info.precision,
        "level": settings.level,
        "unseen": settings.unseen(case.case_id),
        "fold": settings.fold,
        "measurements": settings.measurements,
        "baselines": "" if settings.baselines is None else settings.baselines.digest(case),
    }


@cache
def code_digest() -> str:
    """Return the sha256 over the modules that predict and measure: a change of either makes other results."""
    total = hashlib.sha256()
    for package in ("dicomseg", "model"):
        root = Path(str(resources.files(package)))
        for module in sorted(root.rglob("*.py")):
            name = module.relative_to(root).as_posix()
            total.update(f"{package}/{name}\0".encode() + module.read_bytes())
    return total.hexdigest()
