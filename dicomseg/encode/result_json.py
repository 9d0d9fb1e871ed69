"""`result.json`: a result as a plain dictionary, schema 1 (`docs/reference/result-json.md`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from dicomseg.result import (
    FurtherValue,
    Measurement,
    Measurements,
    Result,
    ResultObject,
    SourceSeries,
    StructureResult,
    Unit,
)
from dicomseg.segmentation import EngineInfo, Level

SCHEMA: Final = 1

DIGITS: Final[Mapping[Unit, int]] = {"mm": 3, "mm2": 2, "deg": 3, "ratio": 4}
"""Decimals of a further value."""


def _measurement_json(m: Measurement) -> dict[str, Any]:
    return {
        "value_mm": None if m.value_mm is None else round(m.value_mm, 3),
        "uncertainty_mm": None if m.uncertainty_mm is None else round(m.uncertainty_mm, 3),
        "range_mm": None if m.range_mm is None else [round(v, 3) for v in m.range_mm],
        "softness_mm": None if m.softness_mm is None else round(m.softness_mm, 3),
        "uncertainty_note": m.uncertainty_note,
        "side": m.side,
        "from": m.start,
        "to": m.end,
        "points_mm": None if m.points_lps is None else [list(p) for p in m.points_lps],
        "method": m.method,
        "note": m.note,
        "flags": list(m.flags),
        "refusal": None if m.refusal is None else {"code": m.refusal.code, "text": m.refusal.text},
    }


def _length_json(m: Measurement) -> dict[str, Any]:
    """A length beside the four: its own fields, and those that every further value has."""
    own = _measurement_json(m)
    common = {name: own[f"{name}_mm"] for name in ("value", "uncertainty", "range", "softness")}
    return {"unit": "mm", **common, "category": None, **own}


def _further_json(m: FurtherValue) -> dict[str, Any]:
    digits = DIGITS[m.unit]

    def number(value: float | None) -> float | None:
        return None if value is None else round(value, digits)

    return {
        "unit": m.unit,
        "value": number(m.value),
        "uncertainty": number(m.uncertainty),
        "range": None if m.range is None else [round(v, digits) for v in m.range],
        "softness": number(m.softness),
        "category": m.category,
        "uncertainty_note": m.uncertainty_note,
        "side": m.side,
        "from": m.start,
        "to": m.end,
        "points_mm": [[round(v, 3) for v in p] for p in m.points_lps] or None,
        "method": m.method,
        "note": m.note,
        "flags": list(m.flags),
        "refusal": None if m.refusal is None else {"code": m.refusal.code, "text": m.refusal.text},
    }


def _source_json(source: SourceSeries) -> dict[str, Any]:
    return {
        "study": source.study,
        "series": source.series,
        "frame_of_reference": source.frame_of_reference,
        "instances": source.instances,
        "description": source.description,
        "orientation": source.orientation,
        "spacing_mm": list(source.spacing_mm),
        "shape": list(source.shape),
    }


def _model_json(model: EngineInfo) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "engine": model.engine,
        "precision": model.precision,
    }


def _level_json(level: Level) -> dict[str, Any]:
    return {
        "name": level.name,
        "rule": level.rule,
        "centre_mm": list(level.centre_lps),
        "normal": list(level.normal),
        "confidence": level.confidence,
        "warnings": list(level.warnings),
    }


def _structure_json(s: StructureResult) -> dict[str, Any]:
    return {
        "present": s.present,
        "volume_ml": round(s.volume_ml, 4),
        "components": s.components,
        "touches_border": s.touches_border,
        "outside_view": s.outside_view,
        "confidence": s.confidence,
    }


def _object_json(o: ResultObject) -> dict[str, Any]:
    return {
        "file": o.file,
        "sop_class": o.sop_class,
        "sop_instance": o.sop_instance,
        "bytes": o.bytes,
        "sha256": o.sha256,
    }


def _extra_json(measurements: Measurements) -> dict[str, Any]:
    lengths = {name: _length_json(m) for name, m in measurements.extra.items()}
    return lengths | {name: _further_json(m) for name, m in measurements.further.items()}


def to_json(result: Result) -> dict[str, Any]:
    """Convert a result to the plain dictionary of `result.json` (schema 1)."""
    return {
        "schema": SCHEMA,
        "result_id": result.result_id,
        "predecessor": result.predecessor,
        "created": result.created,
        "source": _source_json(result.source),
        "model": _model_json(result.model),
        "level": _level_json(result.level),
        "structures": {key: _structure_json(s) for key, s in result.structures.items()},
        "measurements": {k: _measurement_json(m) for k, m in result.measurements.main.items()},
        "extra": _extra_json(result.measurements),
        "warnings": [
            {"code": f.code, "text": f.text, "structure": f.structure, "severity": f.severity}
            for f in result.warnings
        ],
        "timings_s": {k: round(v, 3) for k, v in result.timings_s.items()},
        "objects": [_object_json(o) for o in result.objects],
        "files": [asdict(f) for f in result.files],
    }
