"""Groups of `volumes.dcm` beside its segments: the level, values beside the four, warnings (TID 1501)."""

from __future__ import annotations

from typing import Any, Final

import highdicom as hd
from pydicom.sr.codedict import codes

from dicomseg.encode.context import EncodeInput, coded_concept, private_code
from dicomseg.encode.measurements_sr import (
    MILLIMETRE,
    code_of_name,
    doubts,
    finding_site,
    not_reported,
    remarks,
)
from dicomseg.encode.sr import Group, algorithm_id, comment
from dicomseg.encode.uids import tracking_uid
from dicomseg.measure.value_text import value_text
from dicomseg.result import Measurement
from dicomseg.structures import LEVEL_L45

NO_UNIT: Final = hd.sr.CodedConcept("1", "UCUM", "no units")
CONFIDENCE: Final = private_code("CONFIDENCE", "Confidence of the level, 0 to 1")
WARNING: Final = private_code("WARNING", "Warning about the result")

_MINIMUM: Final = {"derivation": coded_concept(codes.SCT.Minimum)}
_DISTANCE: Final[dict[str, Any]] = {"name": coded_concept(codes.DCM.Distance), **_MINIMUM}
_WIDTH: Final[dict[str, Any]] = {"name": coded_concept(codes.SCT.Diameter), **_MINIMUM}
_HEIGHT: Final[dict[str, Any]] = {"name": coded_concept(codes.DCM.Height)}
_FURTHER: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "OC_any": ("OCANY", "Left psoas to nearest artery or vein", _DISTANCE),
    "OC_right": ("OCRIGHT", "Right psoas to nearest artery or vein", _DISTANCE),
    "psoas_vein_left": ("PSOASVEINLEFT", "Left psoas to vein", _DISTANCE),
    "DAA_min": ("DAAMIN", "Aorta (or common iliac artery), minimum diameter", _WIDTH),
    "DIVC_min": ("DIVCMIN", "IVC (or common iliac vein), minimum diameter", _WIDTH),
    "dural_sac_ap": ("DURALSACAP", "Dural sac, front to back", {"name": _WIDTH["name"]}),
    "disc_height_anterior": ("DISCHEIGHTANT", "Disc height, anterior", _HEIGHT),
    "disc_height_middle": ("DISCHEIGHTMID", "Disc height, middle", _HEIGHT),
    "disc_height_posterior": ("DISCHEIGHTPOST", "Disc height, posterior", _HEIGHT),
}
"""Name of a further value to its private code, the code's meaning, and how its number is called."""


def level_group(inputs: EncodeInput) -> Group:
    """Return which disc was examined, by which rule, how sure that is and what puts it in doubt."""
    level = inputs.result.level
    confidence = hd.sr.Measurement(
        name=CONFIDENCE, value=round(float(level.confidence), 3), unit=NO_UNIT
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
    return [_further(m, inputs) for m in inputs.result.measurements.extra.values()]


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


def _further(m: Measurement, inputs: EncodeInput) -> Group:
    plain = code_of_name(m.name)
    value, meaning, number = _FURTHER.get(m.name, (plain.value, plain.meaning, _DISTANCE))
    numbers = []
    if m.value_mm is not None:
        length = hd.sr.Measurement(value=round(float(m.value_mm), 3), unit=MILLIMETRE, **number)
        numbers = [length, *doubts(m)]
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(m.name, inputs),
        finding_type=private_code(value, meaning),
        finding_sites=[finding_site(m)],
        algorithm_id=algorithm_id(inputs),
        measurements=numbers or None,
        qualitative_evaluations=None if m.refusal is None else [not_reported(m.refusal)],
    )
    for text in remarks(m, f"{meaning}: {value_text(m)}"):
        comment(group, text)
    return group


def _tracking(name: str, inputs: EncodeInput) -> hd.sr.TrackingIdentifier:
    uid = tracking_uid(inputs.headers.patient_id, inputs.headers.issuer, name)
    return hd.sr.TrackingIdentifier(uid=uid, identifier=f"lumbar-node:{name}")
