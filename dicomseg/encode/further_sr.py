"""Groups of `volumes.dcm` beside its segments: the level, values beside the four, warnings (TID 1501)."""

from __future__ import annotations

from typing import Final

import highdicom as hd

from dicomseg.encode.context import EncodeInput, coded_concept, private_code
from dicomseg.encode.further_codes import CODES, UNITS, ZONE, FurtherCode, sites, zone_code
from dicomseg.encode.measurements_sr import (
    RANGE,
    UNCERTAINTY,
    code_of_name,
    finding_site,
    grades,
    not_reported,
)
from dicomseg.encode.result_json import DIGITS
from dicomseg.encode.sr import Group, algorithm_id, comment
from dicomseg.encode.uids import tracking_uid
from dicomseg.measure.value_text import value_text
from dicomseg.measurement_names import TITLES
from dicomseg.result import FurtherValue, Measurement
from dicomseg.structures import LEFT, LEVEL_L45, RIGHT

CONFIDENCE: Final = private_code("CONFIDENCE", "Confidence of the level, 0 to 1")
WARNING: Final = private_code("WARNING", "Warning about the result")

_SIDES: Final = {"left": coded_concept(LEFT), "right": coded_concept(RIGHT)}


def level_group(inputs: EncodeInput) -> Group:
    """Return which disc was examined, by which rule, how sure that is and what puts it in doubt."""
    level = inputs.result.level
    confidence = hd.sr.Measurement(
        name=CONFIDENCE, value=round(float(level.confidence), 3), unit=UNITS["ratio"]
    )
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("level", inputs),
        finding_type=coded_concept(LEVEL_L45),
        algorithm_id=algorithm_id(inputs),
        measurements=[confidence],
    )
    for text in (f"{level.name}: {level.rule}", *level.warnings):
        comment(group, text)
    return group


def further_groups(inputs: EncodeInput) -> list[Group]:
    """Return the values beside the four, with their uncertainty or the reason of their absence."""
    found = inputs.result.measurements
    grade = _grade_group(found.main["OC"], inputs)
    lengths = [_further(_as_further(m), inputs) for m in found.extra.values()]
    return [*grade, *lengths, *(_further(m, inputs) for m in found.further.values())]


def _grade_group(oc: Measurement, inputs: EncodeInput) -> list[Group]:
    """The grade of the oblique corridor as a code; none where it was not measured."""
    graded = grades(oc)
    if graded is None:
        return []
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("corridor_grade", inputs),
        finding_type=private_code(oc.name, TITLES["OC"]),
        finding_sites=[finding_site(oc)],
        algorithm_id=algorithm_id(inputs),
        qualitative_evaluations=graded,
    )
    comment(group, f"{oc.name} {value_text(oc)}")
    return [group]


def _as_further(m: Measurement) -> FurtherValue:
    """A length in the form of the other further values."""
    return FurtherValue(
        m.name,
        m.method,
        "mm",
        m.side,
        m.value_mm,
        uncertainty=m.uncertainty_mm,
        range=m.range_mm,
        uncertainty_note=m.uncertainty_note,
        softness=m.softness_mm,
        start=m.start,
        end=m.end,
        points_lps=m.points_lps or (),
        note=m.note,
        flags=m.flags,
        refusal=m.refusal,
    )


def warning_groups(inputs: EncodeInput) -> list[Group]:
    """Return one group of all warnings, each as a code and a sentence in the same order; none without a warning."""
    findings = inputs.result.warnings
    if not findings:
        return []
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("warnings", inputs),
        finding_type=private_code("WARNINGS", "Warnings about the result"),
        algorithm_id=algorithm_id(inputs),
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(WARNING, code_of_name(f.code)) for f in findings
        ],
    )
    for finding in findings:
        comment(group, f"{finding.code}: {finding.text}")
    return [group]


def _further(m: FurtherValue, inputs: EncodeInput) -> Group:
    plain = code_of_name(m.name)
    code = CODES.get(m.name) or FurtherCode(plain.value, plain.meaning)
    evaluations = [] if m.refusal is None else [not_reported(m.refusal)]
    if m.category is not None:
        evaluations.append(hd.sr.QualitativeEvaluation(ZONE, zone_code(m.category)))
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(m.name, inputs),
        finding_type=code.concept,
        finding_sites=sites(m.name, None if m.side is None else _SIDES[m.side]),
        algorithm_id=algorithm_id(inputs),
        measurements=_numbers(m, code) or None,
        qualitative_evaluations=evaluations or None,
    )
    for text in _remarks(m, code.meaning):
        comment(group, text)
    return group


def _numbers(m: FurtherValue, code: FurtherCode) -> list[hd.sr.Measurement]:
    """The value, and its standard uncertainty or the two ends of its range, in its unit."""
    if m.value is None:
        return []
    known = [] if m.uncertainty is None else [(UNCERTAINTY, m.uncertainty)]
    known += zip(RANGE, m.range or (), strict=False)
    named = [(code.named, m.value), *(({"name": private_code(*what)}, v) for what, v in known)]
    unit = UNITS[m.unit]
    return [
        hd.sr.Measurement(value=round(float(value), DIGITS[m.unit]), unit=unit, **name)
        for name, value in named
    ]


def _remarks(m: FurtherValue, meaning: str) -> list[str]:
    side = "" if m.side is None or m.side in meaning.lower() else f", {m.side}"
    title = f"{meaning}{side}"
    if m.refusal is not None:
        return [f"{title}: not measured", m.refusal.text]
    zone = "" if m.category is None else f", zone {m.category}"
    between = f"{m.start} to {m.end}" if m.end and m.end != m.start else m.start
    texts = [f"{title}: {value_text(m)}{zone}", between, m.method, m.note, m.uncertainty_note]
    return [text for text in (*texts, ", ".join(m.flags)) if text]


def _tracking(name: str, inputs: EncodeInput) -> hd.sr.TrackingIdentifier:
    uid = tracking_uid(inputs.headers.patient_id, inputs.headers.issuer, name)
    return hd.sr.TrackingIdentifier(uid=uid, identifier=f"lumbar-node:{name}")
