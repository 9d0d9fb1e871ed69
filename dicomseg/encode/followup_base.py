"""What the objects of a follow-up have in common: input, patient and study, series, equipment, and where values come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import highdicom as hd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicomseg.compare.comparison import Comparison
from dicomseg.encode.context import BODY_PART, RESEARCH_ONLY, identify
from dicomseg.encode.sanitise import Headers
from dicomseg.encode.series_names import DESCRIPTION_LENGTH, SOURCE_STEP, series_number
from dicomseg.encode.uids import Identity, ResultKey
from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicomseg.read.charset import ascii_text

WHAT: Final = "follow-up"
_ACQUISITION: Final = codes.DCM.AcquisitionEquipment.value


@dataclass(frozen=True, slots=True, eq=False)
class FollowUpInput:
    """Everything that the encoders need; the same input gives the same bytes.

    headers: of the newest study, from an object of its result. newest: that object. sources: of each study the reports
    that hold its values, by file name, as `carrier` makes them; predecessor: the follow-up that this one replaces.
    """

    comparison: Comparison
    key: ResultKey
    headers: Headers
    newest: Dataset
    sources: Sequence[Mapping[str, Dataset]]
    identity: Identity
    created: datetime
    predecessor: ResultKey | None = None

    @property
    def local_time(self) -> datetime:
        """When it was made, in the time zone that the newest study states."""
        zone = self.headers.zone
        return self.created if zone is None else self.created.astimezone(zone)


def new_object(
    inputs: FollowUpInput, sop_class: str, role: str, modality: str, number: int
) -> Dataset:
    """Start an object of its own series in the newest study. number: 9001 to 9099, one per kind of object."""
    ds, identity = Dataset(), inputs.identity
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(inputs.key.uid(f"{role}.instance"))
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, inputs.key.uid(f"{role}.instance")
    ds.StudyInstanceUID = inputs.comparison.newest.study
    ds.SeriesInstanceUID = inputs.key.uid(f"{role}.series")
    ds.Modality, ds.InstanceNumber, ds.ContentQualification = modality, 1, "RESEARCH"
    ds.Manufacturer, ds.ManufacturerModelName = identity.manufacturer, identity.model_name
    ds.DeviceSerialNumber = identity.device_serial_number
    ds.SoftwareVersions = identity.software_version
    if modality == "OT":
        ds.BodyPartExamined = BODY_PART
    finish(ds, inputs, number)
    return ds


def finish(ds: Dataset, inputs: FollowUpInput, number: int) -> None:
    """Write patient, series, times and equipment: alike in all objects, and the same at every call."""
    local = inputs.local_time
    ds.InstanceCreationDate = ds.ContentDate = ds.SeriesDate = local.strftime("%Y%m%d")
    ds.InstanceCreationTime = ds.ContentTime = ds.SeriesTime = local.strftime("%H%M%S.%f")
    identify(ds, inputs.headers)
    source = _source_number(inputs.newest)
    ds.SeriesNumber = series_number(number, source)
    studies = len(inputs.comparison.studies)
    begin, end = f"L4/5 {local:%H:%M:%S} {WHAT}, {studies} studies, ", " (research)"
    version = inputs.identity.software_version[: DESCRIPTION_LENGTH - len(begin) - len(end)]
    ds.SeriesDescription = ascii_text(f"{begin}{version}{end}")
    if inputs.identity.station_name:
        ds.StationName = inputs.identity.station_name
    ds.ContributingEquipmentSequence = [*_scanner(inputs.newest), equipment(inputs)]
    ds.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION


def equipment(inputs: FollowUpInput) -> hd.ContributingEquipment:
    """Build the Contributing Equipment item of the program that compares."""
    identity = inputs.identity
    return hd.ContributingEquipment(
        manufacturer=identity.manufacturer,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=identity.model_name,
        device_serial_number=identity.device_serial_number,
        software_versions=identity.software_version,
        contribution_datetime=inputs.local_time.replace(tzinfo=None),
        contribution_description=f"Comparison of L4/5 measurements over studies, {RESEARCH_ONLY}",
    )


def _scanner(newest: Dataset) -> list[Dataset]:
    """The scanner of the newest study, as its result names it."""
    return [
        item
        for item in newest.get("ContributingEquipmentSequence", [])
        if any(c.CodeValue == _ACQUISITION for c in item.get("PurposeOfReferenceCodeSequence", []))
    ]


def _source_number(newest: Dataset) -> int | None:
    """Series Number of the images, from that of an object of their result: 4 of 4902; None where it is not in it."""
    number = int(newest.get("SeriesNumber") or 0)
    is_derived = number >= SOURCE_STEP and 900 < number % SOURCE_STEP < SOURCE_STEP
    return number // SOURCE_STEP if is_derived and number // SOURCE_STEP != 9 else None
