"""`result.json`: a result as a plain dictionary, schema 1 (`docs/reference/result-json.md`)."""

from __future__ import annotations

from typing import Any, Final

from dicomseg.result import Measurement, Result

SCHEMA: Final = 1


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


def to_json(result: Result) -> dict[str, Any]:
    """`result.json` as a plain dictionary (schema 1)."""
    level, model, source = result.level, result.model, result.source
    return {
        "schema": SCHEMA,
        "result_id": result.result_id,
        "predecessor": result.predecessor,
        "created": result.created,
        "source": {
            "study": source.study,
            "series": source.series,
            "frame_of_reference": source.frame_of_reference,
            "instances": source.instances,
            "description": source.description,
            "orientation": source.orientation,
            "spacing_mm": list(source.spacing_mm),
            "shape": list(source.shape),
        },
        "model": {
            "name": model.name,
            "version": model.version,
            "digest": model.digest,
            "engine": model.engine,
            "precision": model.precision,
        },
        "level": {
            "name": level.name,
            "rule": level.rule,
            "centre_mm": list(level.centre_lps),
            "normal": list(level.normal),
            "confidence": level.confidence,
            "warnings": list(level.warnings),
        },
        "structures": {
            key: {
                "present": s.present,
                "volume_ml": round(s.volume_ml, 4),
                "components": s.components,
                "touches_border": s.touches_border,
                "outside_view": s.outside_view,
                "confidence": s.confidence,
            }
            for key, s in result.structures.items()
        },
        "measurements": {
            name: _measurement_json(m) for name, m in result.measurements.main.items()
        },
        "extra": {name: _measurement_json(m) for name, m in result.measurements.extra.items()},
        "warnings": [
            {"code": f.code, "text": f.text, "structure": f.structure, "severity": f.severity}
            for f in result.warnings
        ],
        "timings_s": {k: round(v, 3) for k, v in result.timings_s.items()},
        "objects": [
            {
                "file": o.file,
                "sop_class": o.sop_class,
                "sop_instance": o.sop_instance,
                "bytes": o.bytes,
                "sha256": o.sha256,
            }
            for o in result.objects
        ],
    }
