"""`followup.dcm`: values of one patient over studies, each change, and whether it exceeds the uncertainty (TID 1500).

One group for each value of each study, with its time point and the report that it comes from, and one for each change up
to the newest study. Nothing has coordinates, so that the document has a title of its own: OHIF shows nothing at all of
a measurement report without coordinates, and the text of any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from dicomseg.compare.change import Change, Reading
from dicomseg.compare.comparison import NOTES, ComparedStep
from dicomseg.compare.text import change_text, quantity, reading_text, verdict
from dicomseg.encode.context import (
    carrier,
    coded_concept,
    declare_private_scheme,
    private_code,
)
from dicomseg.encode.followup_base import FollowUpInput, equipment, finish
from dicomseg.encode.further_codes import CODES, UNITS, sites
from dicomseg.encode.measurements_sr import (
    _NAMES,
    NOT_REPORTED,
    RANGE,
    UNCERTAINTY,
    code_of_name,
)
from dicomseg.encode.result_json import DIGITS
from dicomseg.encode.sr import Group, comment, report_root, without_items
from dicomseg.encode.uids import make_uid, tracking_uid
from dicomseg.measurement_names import MAIN_MEASUREMENTS, TITLES
from dicomseg.structures import LEFT, RIGHT

ROLE: Final = "followup"
SERIES_NUMBER: Final = 9011
TITLE: Final = private_code("FOLLOWUPREPORT", "L4/5 Follow-up Report")
CHANGE: Final = private_code("CHANGE", "Change since an earlier study")
LIMIT: Final = private_code("CHANGELIMIT", "What the change has to exceed (k = 2)")
VERDICT: Final = private_code("CHANGEVERDICT", "Change against both uncertainties")
EXCEEDS: Final = private_code("EXCEEDS", "Exceeds the uncertainty of both values")
WITHIN: Final = private_code("WITHIN", "Within the uncertainty of both values")
OTHERWISE: Final = private_code("STUDIESDIFFER", "What differs between both studies")
_SIDES: Final = {"left": coded_concept(LEFT), "right": coded_concept(RIGHT)}
_DAY: Final = coded_concept(codes.UCUM.Day)
_INFERRED: Final = hd.sr.RelationshipTypeValues.INFERRED_FROM


def encode(inputs: FollowUpInput) -> Dataset:
    """Encode the report; a value without a code is left out."""
    names = [n for n in inputs.comparison.names if n in TITLES or n in CODES]
    groups = [g for name in names for g in _groups(name, inputs)]
    identity = inputs.identity
    content = report_root(
        groups, TITLE, identity, make_uid("device", identity.device_serial_number, ROLE)
    )
    sr = hd.sr.Comprehensive3DSR(
        evidence=list(inputs.sources[-1].values()),
        content=without_items(content[0]),
        series_instance_uid=inputs.key.uid(f"{ROLE}.series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=inputs.key.uid(f"{ROLE}.instance"),
        instance_number=1,
        manufacturer=identity.manufacturer,
        manufacturer_model_name=identity.model_name,
        software_versions=identity.software_version,
        device_serial_number=identity.device_serial_number,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=[equipment(inputs)],
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=_predecessor(inputs),
    )
    sr.ContentSequence = content[0].ContentSequence
    finish(sr, inputs, SERIES_NUMBER)
    _list_evidence(sr, inputs)
    declare_private_scheme(sr)
    return sr


def _groups(name: str, inputs: FollowUpInput) -> Iterator[Group]:
    for n in range(len(inputs.comparison.studies)):
        if (reading := inputs.comparison.studies[n].values.get(name)) is not None:
            yield _value_group(name, n, reading, inputs)
    for step in inputs.comparison.steps:
        if (change := step.changes.get(name)) is not None:
            yield _change_group(name, step, change, inputs)


def _value_group(name: str, n: int, reading: Reading, inputs: FollowUpInput) -> Group:
    """One value of one study, or the reason of its absence."""
    refused = hd.sr.QualitativeEvaluation(NOT_REPORTED, code_of_name(reading.refusal or "missing"))
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(name, inputs),
        time_point_context=_time_point(n, inputs),
        finding_type=_finding(name),
        finding_sites=_sites(name, reading),
        measurements=_numbers(name, n, reading, inputs) or None,
        qualitative_evaluations=None if reading.value is not None else [refused],
    )
    study = inputs.comparison.studies[n]
    comment(group, f"{name} {study.when}: {reading_text(reading)}")
    method, _, start, end = reading.measured
    between = f"{start} to {end}" if end and end != start else start
    for text in (between, method, f"{study.scanner}; {study.model}; level {study.level}"):
        if text:
            comment(group, text)
    return group


def _change_group(name: str, step: ComparedStep, change: Change, inputs: FollowUpInput) -> Group:
    """One change with what it has to exceed, and the verdict or why there is none."""
    studies, last = inputs.comparison.studies, len(inputs.comparison.studies) - 1
    reading = studies[-1].values.get(name) or studies[step.before].values[name]
    numbers = []
    if change.change is not None:
        numbers.append(
            _number(
                {"name": CHANGE}, change.change, reading.unit, name, (step.before, last), inputs
            )
        )
    if change.limit is not None:
        numbers.append(_number({"name": LIMIT}, change.limit, reading.unit, name, (), inputs))
    coded = code_of_name(change.reason) if change.reason else EXCEEDS if change.exceeds else WITHIN
    evaluations = [hd.sr.QualitativeEvaluation(VERDICT, coded)]
    evaluations += [
        hd.sr.QualitativeEvaluation(OTHERWISE, private_code(code.replace("_", "").upper(), NOTES[code]))
        for code in step.notes
    ]  # fmt: skip
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(f"change:{name}", inputs),
        time_point_context=_time_point(last, inputs),
        finding_type=_finding(name),
        finding_sites=_sites(name, reading),
        measurements=numbers or None,
        qualitative_evaluations=evaluations,
    )
    dates = f"{studies[step.before].when} to {studies[-1].when}, {step.days} days"
    limit = "" if change.limit is None else f", must exceed {quantity(change.limit, reading.unit, finer=True)}"  # fmt: skip
    moved = change_text(change, reading.unit) if change.change is not None else "no change given"
    comment(group, f"{name} change {dates}: {moved}{limit}: {verdict(change)}")
    return group


def _numbers(name: str, n: int, reading: Reading, inputs: FollowUpInput) -> list[hd.sr.Measurement]:
    """A value with its standard uncertainty, or the two ends of its range."""
    if reading.value is None:
        return []
    known = [] if reading.uncertainty is None else [(UNCERTAINTY, reading.uncertainty)]
    known += zip(RANGE, reading.limits or (), strict=False)
    named = dict(CODES[name].named) if name in CODES else _main(name)
    value = _number(named, reading.value, reading.unit, name, (n,), inputs)
    return [
        value,
        *(_number({"name": private_code(*w)}, v, reading.unit, name, (), inputs) for w, v in known),
    ]


def _main(name: str) -> dict[str, Any]:
    what, derivation = _NAMES[name]
    return {"name": coded_concept(what), "derivation": coded_concept(derivation)}


def _number(
    named: dict[str, Any],
    value: float,
    unit: str,
    name: str,
    sources: tuple[int, ...],
    inputs: FollowUpInput,
) -> hd.sr.Measurement:
    """A number with the reports that it is inferred from. sources: indices of their studies."""
    known = unit if unit in UNITS else "ratio"
    digits, coded = next((DIGITS[u], UNITS[u]) for u in UNITS if u == known)
    measurement = hd.sr.Measurement(value=round(float(value), digits), unit=coded, **named)
    item = measurement[0]
    for n in sources:
        held = inputs.sources[n].get(source_file(name))
        if held is not None:
            source = hd.sr.CompositeContentItem(
                coded_concept(codes.DCM.SourceOfMeasurement), held.SOPClassUID, held.SOPInstanceUID, _INFERRED
            )  # fmt: skip
            item.ContentSequence = [*item.get("ContentSequence", []), source]
    return measurement


def source_file(name: str) -> str:
    """Return the report of a result that holds a value."""
    return "measurements.dcm" if name in MAIN_MEASUREMENTS else "volumes.dcm"


def _finding(name: str) -> hd.sr.CodedConcept:
    return CODES[name].concept if name in CODES else private_code(name, TITLES[name])


def _sites(name: str, reading: Reading) -> list[hd.sr.FindingSite]:
    return sites(name, _SIDES.get(reading.measured[1]))


def _tracking(name: str, inputs: FollowUpInput) -> hd.sr.TrackingIdentifier:
    """The tracking UID of a value is that in the reports of its studies."""
    uid = tracking_uid(inputs.headers.patient_id, inputs.headers.issuer, name)
    return hd.sr.TrackingIdentifier(uid=uid, identifier=f"lumbar-node:{name}")


def _time_point(n: int, inputs: FollowUpInput) -> hd.sr.TimePointContext:
    """Date and order of a study, and its days since the first."""
    when, first = (date.fromisoformat(inputs.comparison.studies[m].when) for m in (n, 0))
    since = hd.sr.LongitudinalTemporalOffsetFromEvent(
        float((when - first).days), _DAY, coded_concept(codes.DCM.Baseline)
    )
    return hd.sr.TimePointContext(
        when.isoformat(), time_point_order=n + 1, temporal_offset_from_event=since
    )


def _list_evidence(sr: Dataset, inputs: FollowUpInput) -> None:
    """List the reports of the newest study as evidence of its procedure, those of earlier ones as other evidence."""
    sr.CurrentRequestedProcedureEvidenceSequence = [_study(inputs, -1)]
    earlier = [_study(inputs, n) for n in range(len(inputs.sources) - 1)]
    sr.PertinentOtherEvidenceSequence = earlier


def _study(inputs: FollowUpInput, n: int) -> Dataset:
    item = Dataset()
    item.StudyInstanceUID = inputs.comparison.studies[n].study
    item.ReferencedSeriesSequence = []
    for held in inputs.sources[n].values():
        reference, series = Dataset(), Dataset()
        reference.ReferencedSOPClassUID = held.SOPClassUID
        reference.ReferencedSOPInstanceUID = held.SOPInstanceUID
        series.SeriesInstanceUID = held.SeriesInstanceUID
        series.ReferencedSOPSequence = [reference]
        item.ReferencedSeriesSequence.append(series)
    return item


def _predecessor(inputs: FollowUpInput) -> list[Dataset] | None:
    before = inputs.predecessor
    if before is None:
        return None
    study = inputs.comparison.newest.study
    uids = (before.uid(f"{ROLE}.{part}") for part in ("series", "instance"))
    series, instance = uids
    return [carrier(study, series, str(Comprehensive3DSRStorage), instance)]
