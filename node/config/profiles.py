"""What a destination gets: which objects of a result, in which form, compressed or not; one profile per kind of reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

ObjectFile = Literal[
    "seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm", "summary.dcm", "report.dcm", "surface.dcm"
]  # fmt: skip
OBJECT_FILES: Final[tuple[ObjectFile, ...]] = (
    "seg.dcm",
    "midplane.dcm",
    "measurements.dcm",
    "volumes.dcm",
    "summary.dcm",
    "report.dcm",
    "surface.dcm",
)
PICTURES: Final = frozenset[ObjectFile]({"summary.dcm", "report.dcm", "surface.dcm"})
"""Objects that a result may be without: not wanted, not drawn, or nothing to draw."""

FOLLOWUP_FILES: Final[Mapping[ObjectFile, str]] = MappingProxyType(
    {
        "measurements.dcm": "followup.dcm",
        "summary.dcm": "followup_page.dcm",
        "report.dcm": "followup_report.dcm",
    }
)
"""Objects of a follow-up, by the object of a result of the same SOP class: who gets this gets that."""
FOLLOWUP_PICTURES: Final = frozenset({"followup_page.dcm", "followup_report.dcm"})
"""Objects that a follow-up may be without: not wanted."""

ProfileName = Literal["dicom-viewer", "weasis", "archive-only", "images-only"]
SegForm = Literal["default", "binary", "fractional", "labelmap"]
"""Forms of `seg.dcm`; `default` is that of the result folder."""
Compression = Literal["none", "rle"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What is sent to one destination.

    reader: who shows or keeps it, in a sentence for the documentation.
    """

    objects: tuple[ObjectFile, ...]
    seg_form: SegForm
    compress: Compression
    reader: str = ""


PROFILES: Final[Mapping[ProfileName, Profile]] = MappingProxyType(
    {
        "dicom-viewer": Profile(
            OBJECT_FILES, "default", "none",
            "Viewers that show segmentations and reports, such as OHIF, 3D Slicer or MITK.",
        ),
        "weasis": Profile(
            ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm", "summary.dcm", "report.dcm"),
            "labelmap", "rle",
            "Weasis 4.7 and later: the segmentation with a frame per slice; no surface, which it hands to another program.",
        ),
        "archive-only": Profile(
            ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm", "report.dcm"), "default", "rle",
            "Archives that keep: every value and outline once, compressed; the page as PDF, no picture of it, no surface.",
        ),
        "images-only": Profile(
            ("midplane.dcm", "summary.dcm", "report.dcm"), "default", "none",
            "PACS viewers that show neither segmentations nor reports.",
        ),
    }
)  # fmt: skip
"""The shipped profiles, by the name that a destination gives."""


def followup_files(profile: Profile) -> tuple[str, ...]:
    """Return the objects of a follow-up that a destination gets; () where it takes none of their kinds."""
    return tuple(FOLLOWUP_FILES[name] for name in profile.objects if name in FOLLOWUP_FILES)


def resolve(
    profile: ProfileName,
    objects: tuple[ObjectFile, ...] = (),
    seg_form: Literal["", SegForm] = "",
    compress: Literal["", Compression] = "",
) -> Profile:
    """Return the profile of that name with what a destination says otherwise; an empty value says nothing."""
    chosen = PROFILES[profile]
    return replace(
        chosen,
        objects=objects or chosen.objects,
        seg_form=seg_form or chosen.seg_form,
        compress=compress or chosen.compress,
    )
