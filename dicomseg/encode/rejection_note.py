"""The note that takes a result back: a Key Object Selection that rejects its objects (IHE RAD TF-3 4.66, PS3.16 TID 2010).

An archive that knows the profile (IOCM) then hides the objects; any other keeps the note beside them. A Document Title
Modifier (CID 7011) is optional with 113001 and left out: its terms are faults of an image, and a later result is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from dicomseg.encode.context import RESEARCH_ONLY, carrier, identify, to_bytes
from dicomseg.encode.sanitise import headers_from
from dicomseg.encode.uids import NAMESPACE, ResultKey
from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION

RejectionReason = Literal[
    "corrected_identity", "newer_input", "withdrawn", "newer_comparison", "input_changed"
]
"""Why a result is superseded: its images came again with another identity, a later result was made, or a person
takes it back. Of a follow-up also: a later one compares more, or a result that it compares does not count any more."""

SERIES_NUMBER: Final = 9009
_EQUIPMENT: Final = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber")
_TITLES: Final = MappingProxyType[RejectionReason, Code](
    {
        # IOCM: objects that were made under the wrong patient or order.
        "corrected_identity": codes.DCM.IncorrectModalityWorklistEntry,
        "newer_input": codes.DCM.RejectedForQualityReasons,
        "withdrawn": codes.DCM.RejectedForQualityReasons,
        "newer_comparison": codes.DCM.RejectedForQualityReasons,
        "input_changed": codes.DCM.RejectedForQualityReasons,
    }
)
_TEXTS: Final = MappingProxyType[RejectionReason, str](
    {
        "corrected_identity": "The images were corrected to another patient, study or order; do not use these results.",
        "newer_input": "Superseded by a later result of the same series.",
        "withdrawn": "Taken back by a person at the site; do not use these results.",
        "newer_comparison": "Superseded by a later comparison of this patient's studies.",
        "input_changed": "A result that is compared here was replaced or taken back; do not use this comparison.",
    }
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """What is taken back and why; the same objects and reason give the same UIDs.

    objects: headers of the objects as they were sent, at least one.
    """

    result_id: str
    because: RejectionReason
    objects: Sequence[Dataset]

    @property
    def key(self) -> ResultKey:
        """Identity of the note."""
        instances = sorted(str(ds.SOPInstanceUID) for ds in self.objects)
        name = "\\".join(("rejection", self.result_id, self.because, *instances))
        return ResultKey(uuid.uuid5(NAMESPACE, name).hex)


def encode(rejection: Rejection, created: datetime) -> bytes:
    """Encode the note with the patient and study of the objects that it rejects, as a DICOM file."""
    first = rejection.objects[0]
    own = [str(first.get(keyword, "")) for keyword in _EQUIPMENT]
    headers = headers_from(first, own)
    rejected = [_reference(ds) for ds in rejection.objects]
    title = hd.sr.CodedConcept.from_code(_TITLES[rejection.because])
    note = hd.ko.KeyObjectSelectionDocument(
        evidence=rejected,
        content=hd.ko.KeyObjectSelection(
            title, rejected, description=f"{_TEXTS[rejection.because]} ({RESEARCH_ONLY})"
        ),
        series_instance_uid=rejection.key.uid("rejection.series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=rejection.key.uid("rejection.instance"),
        instance_number=1,
        manufacturer=str(first.get("Manufacturer", "")),
        manufacturer_model_name=str(first.get("ManufacturerModelName", "")) or None,
        device_serial_number=str(first.get("DeviceSerialNumber", "")) or None,
        software_versions=first.get("SoftwareVersions") or None,
    )
    # PS3.3 C.12.1: an archive that keeps research apart keeps the note with what it rejects.
    note.ContentQualification = "RESEARCH"
    note.SeriesDescription = f"Withdrawn results ({RESEARCH_ONLY})"
    _stamp(note, created)
    identify(note, headers)
    note.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    note.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    return to_bytes(note)


def _reference(ds: Dataset) -> Dataset:
    out = carrier(ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPClassUID, ds.SOPInstanceUID)
    if "Rows" in ds and "Columns" in ds:  # highdicom tells an image by these
        out.Rows, out.Columns = ds.Rows, ds.Columns
    return out


def _stamp(note: Dataset, created: datetime) -> None:
    """Write one time wherever the note says when it was made, so that equal notes have equal bytes."""
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S.%f")
    note.InstanceCreationDate = note.ContentDate = note.SeriesDate = date
    note.InstanceCreationTime = note.ContentTime = note.SeriesTime = time
    for item in note.ContributingEquipmentSequence:
        item.ContributionDateTime = created.replace(tzinfo=None)
