from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicomseg.read.segments import Part, part_of
from dicomseg.structures import SEGMENTS
from tests.support.corrections import OHIF, SLICER, describe


def _described(label: str, code: str = "T-D0050", scheme: str = "SRT") -> Dataset:
    ds, concept = Dataset(), Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = code, scheme, "x"
    ds.SegmentLabel, ds.SegmentedPropertyTypeCodeSequence = label, [concept]
    return ds


@pytest.mark.parametrize("viewer", [SLICER, OHIF], ids=["by code", "by name"])
def test_every_segment_of_ours_is_known_again(viewer: object) -> None:
    for segment in SEGMENTS:
        described = describe(segment, 7, viewer)  # type: ignore[arg-type]
        assert part_of(described) == Part(segment.structure.id, segment.side)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("PSOAS MAJOR,  LEFT", Part("pm", "left")),
        ("left psoas major", Part("pm", "left")),
        ("pm.right", Part("pm", "right")),
        ("psoas_major_right", Part("pm", "right")),
        ("Psoas major", Part("pm")),
        ("l4/5 DISC", Part("ivd")),
        ("Segment 1", None),
        ("", None),
        ("l4 left", None),
    ],
)
def test_names_are_known_without_case_and_only_whole(label: str, expected: Part | None) -> None:
    assert part_of(_described(label)) == expected


def test_a_known_code_goes_before_the_name() -> None:
    assert part_of(_described("Psoas major, left", "64131007", "SCT")) == Part("ivc")
    assert part_of(_described("anything", "73634005", "SCT")) == Part("aa")
    assert part_of(Dataset()) is None
