"""What both structured reports share: observer, algorithm, title, document, comments (TID 1500)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import highdicom as hd
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from dicomseg.encode.context import (
    EncodeInput,
    algorithm,
    carrier,
    equipment,
    make_reproducible,
    name_series,
)
from dicomseg.encode.seg_groups import source_images
from dicomseg.encode.uids import Identity, device_uid
from dicomseg.read.charset import ascii_text
from dicomseg.read.series import Grid

Group = (
    hd.sr.MeasurementsAndQualitativeEvaluations
    | hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)
COMMENT = hd.sr.CodedConcept("121106", "DCM", "Comment")


def comment(group: Group, text: str) -> None:
    """Append a comment to a measurement group; viewers show the first as the row's title."""
    item = hd.sr.TextContentItem(
        name=COMMENT,
        value=ascii_text(text),
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )
    group[0].ContentSequence.append(item)


def algorithm_id(inputs: EncodeInput) -> hd.sr.AlgorithmIdentification:
    """Return name, version and parameters of the algorithm as TID 4019 items."""
    identification = algorithm(inputs)
    joined = ", ".join(f"{k} {v}" for k, v in identification["parameters"].items())
    return hd.sr.AlgorithmIdentification(
        name=identification["name"], version=identification["version"], parameters=[joined]
    )


def report(
    groups: Sequence[Group], title: hd.sr.CodedConcept, inputs: EncodeInput
) -> hd.sr.MeasurementReport:
    """Build a TID 1500 root around the groups, observed by this device."""
    identity = inputs.identity
    device = device_uid(identity.device_serial_number, inputs.segmentation.engine)
    return report_root(groups, title, identity, device)


def report_root(
    groups: Sequence[Group], title: hd.sr.CodedConcept, identity: Identity, device: str
) -> hd.sr.MeasurementReport:
    """Build a TID 1500 root around the groups. device: UID of the device that observes."""
    observed_by = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=device,
        name=identity.station_name or identity.model_name,
        manufacturer_name=identity.manufacturer,
        model_name=identity.model_name,
        serial_number=identity.device_serial_number or None,
    )
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=observed_by
    )
    return hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=list(groups),
        title=title,
    )


def document(
    inputs: EncodeInput,
    role: str,
    content: hd.sr.MeasurementReport,
    evidence: Sequence[Dataset],
    number: int,
    what: str,
) -> Dataset:
    """Wrap a report into an unverified, preliminary Comprehensive 3D SR in a series of its own.

    evidence: every object that its content refers to; the source series is listed after them. number, what: of the series,
    as `name_series` takes them.
    """
    sr = hd.sr.Comprehensive3DSR(
        evidence=[_evidence(inputs, ds) for ds in evidence],
        content=without_items(content[0]),
        series_instance_uid=inputs.key.uid(f"{role}.series"),
        series_number=number,
        sop_instance_uid=inputs.key.uid(f"{role}.instance"),
        instance_number=1,
        manufacturer=inputs.identity.manufacturer,
        manufacturer_model_name=inputs.identity.model_name,
        software_versions=inputs.identity.software_version,
        device_serial_number=inputs.identity.device_serial_number,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=[equipment(inputs)],
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=_predecessor(inputs, role),
    )
    sr.ContentSequence = content[0].ContentSequence
    make_reproducible(sr, inputs, role)
    name_series(sr, inputs, number, what)
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    study.ReferencedSeriesSequence.append(_source_series(inputs.source.grid))
    return sr


def without_items(root: Dataset) -> Dataset:
    """Return the root alone: highdicom copies what it is given twice and looks through it, half of the time of a report."""
    bare = Dataset()
    bare.update({tag: element for tag, element in root.items() if tag != _CONTENT})
    bare.ContentSequence = []
    return bare


_CONTENT: Final = tag_for_keyword("ContentSequence")


def _source_series(grid: Grid) -> Dataset:
    """The source as evidence, instance by instance."""
    item = Dataset()
    item.SeriesInstanceUID = grid.instances[0].series_uid
    references = source_images(grid, "ReferencedSOPSequence")
    item[references.tag] = references
    return item


def _evidence(inputs: EncodeInput, ds: Dataset) -> Dataset:
    study = inputs.source.grid.instances[0].study_uid
    return carrier(study, ds.SeriesInstanceUID, ds.SOPClassUID, ds.SOPInstanceUID)


def _predecessor(inputs: EncodeInput, role: str) -> list[Dataset] | None:
    if inputs.predecessor is None:
        return None
    old = Dataset()
    old.SOPClassUID, old.SOPInstanceUID = (
        Comprehensive3DSRStorage,
        inputs.predecessor.uid(f"{role}.instance"),
    )
    old.StudyInstanceUID = inputs.source.grid.instances[0].study_uid
    old.SeriesInstanceUID = inputs.predecessor.uid(f"{role}.series")
    return [old]
