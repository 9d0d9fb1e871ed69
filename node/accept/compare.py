"""An object as it was sent beside its copy that came back: elements, pixels, encapsulated documents (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicomseg.volume import Array

Kind = Literal["removed", "added", "changed"]
Weight = Literal["grave", "coerced", "private"]

_CONTENT: Final = frozenset({"PixelData", "FloatPixelData", "EncapsulatedDocument"})
"""Compared by themselves, decoded."""
_OF_ARCHIVE: Final = frozenset(
    {
        "SpecificCharacterSet", "TimezoneOffsetFromUTC", "InstanceCreationDate", "InstanceCreationTime",
        "InstanceCreatorUID", "OriginalAttributesSequence", "RetrieveAETitle", "InstanceAvailability",
        "StorageMediaFileSetUID", "StorageMediaFileSetID", "DataSetTrailingPadding", "QualityControlImage",
        "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "InstitutionCodeSequence",
        "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "PerformedProcedureStepID",
        "PerformedProcedureStepDescription", "RequestAttributesSequence", "RequestedProcedureDescription",
        "RequestedProcedureID", "RequestingPhysician", "ReferencedPatientSequence", "ReferencedStudySequence",
        "OperatorsName", "PerformingPhysicianName", "ProcedureCodeSequence", "SmallestImagePixelValue",
        "LargestImagePixelValue",
    }
)  # fmt: skip
"""What an archive may set without touching image, geometry or values."""
_OF_STUDY: Final = frozenset(
    {
        "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
        "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "IssuerOfAccessionNumberSequence",
    }
)  # fmt: skip
"""Of the request: archives set them from their worklist."""
_GRAVE_IF_ADDED: Final = frozenset(
    {
        "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
        "ModalityLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit", "FrameOfReferenceUID",
    }
)  # fmt: skip
"""Additions that say that the image is another one, or make it one."""


@dataclass(frozen=True, slots=True)
class Change:
    """One element that is not as it was sent. path: keyword, in sequences with its items.

    weight: grave where image, geometry, references or values are concerned. by: largest difference of numbers.
    """

    path: str
    kind: Kind
    weight: Weight
    by: float | None = None

    @property
    def text(self) -> str:
        """The change in words, without any value."""
        return f"{self.path} {self.kind}" + (f" by up to {self.by:.2g}" if self.by else "")


@dataclass(frozen=True, slots=True)
class PixelDifference:
    """How pixels differ. different: how many values; of: all. largest: difference. mirrored: "rows" or "columns", or both."""

    different: int
    of: int
    largest: float
    mirrored: str = ""

    @property
    def text(self) -> str:
        """The difference in words."""
        if self.mirrored:
            return f"{self.mirrored} in reverse order"
        return f"{self.different} of {self.of} values, by up to {self.largest:g}"


# ---- elements ------------------------------------------------------------------------------------


def compare_elements(sent: Dataset, got: Dataset) -> tuple[Change, ...]:
    """Return every element that was removed, added or changed; trailing spaces and the form of numbers are none."""
    before, after = dict(_flat(sent)), dict(_flat(got))
    changes = []
    for path in (*before, *(p for p in after if p not in before)):
        change = _change(path, before.get(path), after.get(path))
        if change is not None:
            changes.append(change)
    return tuple(changes)


def _flat(ds: Dataset, prefix: str = "", root: str = "") -> Iterator[tuple[str, DataElement]]:
    """Yield every element by its path; an item of a sequence has its number, from 1."""
    for element in ds:
        keyword = element.keyword or f"({element.tag.group:04x},{element.tag.element:04x})"
        if element.tag.element == 0 or (not prefix and keyword in _CONTENT):
            continue
        path = f"{prefix}{keyword}"
        if element.VR == "SQ":
            for number, item in enumerate(element.value, 1):
                yield from _flat(item, f"{path}[{number}].", root or keyword)
        else:
            yield path, element


def _change(path: str, sent: DataElement | None, got: DataElement | None) -> Change | None:
    before = () if sent is None else _values(sent)
    after = () if got is None else _values(got)
    if before == after or _same_bytes(before, after):
        return None
    if not after:
        return Change(path, "removed", _weight(path, sent, "removed"))
    if not before:
        return Change(path, "added", _weight(path, got, "added"))
    return Change(path, "changed", _weight(path, sent, "changed"), _distance(before, after))


def _values(element: DataElement) -> tuple[Any, ...]:
    """Values in a form that does not depend on padding or on how a number is written."""
    value = element.value
    if value is None or value == "":
        return ()
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    return tuple(_plain(v) for v in values)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ")
    if isinstance(value, int | float):
        return float(value)
    return str(value).rstrip("\0 ^=") or ""


def _same_bytes(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    """Return whether text came back as bytes: a private element whose type Implicit VR does not carry."""
    if (
        len(before) != 1
        or len(after) != 1
        or isinstance(before[0], bytes) == isinstance(after[0], bytes)
    ):
        return False  # fmt: skip
    texts = {v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in (*before, *after)}
    return len(texts) == 1


def _distance(before: tuple[Any, ...], after: tuple[Any, ...]) -> float | None:
    if len(before) != len(after) or not all(isinstance(v, float) for v in (*before, *after)):
        return None
    return max(float(abs(a - b)) for a, b in zip(before, after, strict=True))


def _weight(path: str, element: DataElement | None, kind: Kind) -> Weight:
    """Return what a change means for the results."""
    root = path.partition("[")[0].partition(".")[0]
    if element is not None and (element.tag.is_private or root.startswith("(")):
        return "private"
    if root in _OF_ARCHIVE or root in _OF_STUDY or _is_of_patient(path, element):
        return "coerced"
    if kind == "added" and root not in _GRAVE_IF_ADDED:
        return "coerced"
    return "grave"


def _is_of_patient(path: str, element: DataElement | None) -> bool:
    return "." not in path and element is not None and element.tag.group == 0x0010


# ---- pixels and documents ------------------------------------------------------------------------


def compare_pixels(sent: Array, got: Array) -> PixelDifference | None:
    """Compare decoded pixels (frame, row, column) or (row, column); None where all are equal.

    Values are compared as stored. Another shape counts as different everywhere.
    """
    if sent.shape != got.shape:
        return PixelDifference(int(sent.size), int(sent.size), float("inf"))
    if np.array_equal(sent, got):
        return None
    for name, axes in (("columns", (-1,)), ("rows", (-2,)), ("rows and columns", (-2, -1))):
        if sent.ndim == 2 and np.array_equal(np.flip(sent, axes), got):
            return PixelDifference(int(np.sum(sent != got)), int(sent.size), 0.0, name)
    apart = np.abs(sent.astype(np.int64) - got.astype(np.int64))
    return PixelDifference(int(np.sum(apart != 0)), int(sent.size), float(apart.max()))


def document(ds: Dataset) -> bytes:
    """Return an encapsulated document without the byte that makes its length even; b"" where there is none."""
    if "EncapsulatedDocument" not in ds:
        return b""
    content = bytes(ds.EncapsulatedDocument)
    return content[: int(ds.get("EncapsulatedDocumentLength", len(content)))]
