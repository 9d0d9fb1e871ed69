"""What an object refers to is in its folder or in the source series: wrong references are counted."""

from __future__ import annotations

import pytest

from node.verify import check_references
from node.verify.objects import ResultSet
from tests.support.result_sets import items

CHECKS = [
    check_references.references_resolve,
    check_references.evidence_is_complete,
    check_references.segments_exist,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_a_correct_result_passes(check: object, results: ResultSet) -> None:
    assert list(check(results)) == []  # type: ignore[operator]


def test_a_frame_of_the_segmentation_from_an_image_of_another_series(results: ResultSet) -> None:
    frame = results.objects["seg.dcm"].PerFrameFunctionalGroupsSequence[2]
    image = frame.DerivationImageSequence[0].SourceImageSequence[0]
    image.ReferencedSOPInstanceUID = "1.2.999"
    assert list(check_references.references_resolve(results)) == [
        ("seg.dcm", "1 references to objects outside the folder and the source series")
    ]


def test_a_line_on_an_image_that_is_not_there(results: ResultSet) -> None:
    for element in items(results.objects["measurements.dcm"], "ReferencedSOPInstanceUID"):
        if element.value == results.objects["midplane.dcm"].SOPInstanceUID:
            element.value = "1.2.999"
    (found,) = check_references.references_resolve(results)
    assert found[0] == "measurements.dcm"


def test_a_reference_with_another_class(results: ResultSet) -> None:
    for element in items(results.objects["volumes.dcm"], "ReferencedSOPClassUID"):
        if element.value == results.objects["seg.dcm"].SOPClassUID:
            element.value = "1.2.840.10008.5.1.4.1.1.4"
    ((name, text),) = check_references.references_resolve(results)
    assert name == "volumes.dcm"
    assert "another SOP class" in text


def test_evidence_without_the_source_or_without_the_image(results: ResultSet) -> None:
    (study,) = results.objects["measurements.dcm"].CurrentRequestedProcedureEvidenceSequence
    source = study.ReferencedSeriesSequence.pop()
    assert list(check_references.evidence_is_complete(results)) == [
        ("measurements.dcm", "its evidence does not list the source series")
    ]
    study.ReferencedSeriesSequence[:] = [source]
    texts = {text for _, text in check_references.evidence_is_complete(results)}
    assert texts == {"its content refers to an object that its evidence does not list"}


def test_evidence_under_another_series(results: ResultSet) -> None:
    (study,) = results.objects["volumes.dcm"].CurrentRequestedProcedureEvidenceSequence
    study.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.9"
    assert list(check_references.evidence_is_complete(results)) == [
        ("volumes.dcm", "its evidence lists an object in another series")
    ]


def test_volumes_of_another_source_series(results: ResultSet) -> None:
    for element in items(results.objects["volumes.dcm"], "UID"):
        if element.value == results.result["source"]["series"]:
            element.value = "1.2.9"
    texts = {text for _, text in check_references.evidence_is_complete(results)}
    assert texts == {"another source series than that of result.json"}


def test_fewer_instances_of_the_source_than_there_were(results: ResultSet) -> None:
    results.result["source"]["instances"] += 1
    (found,) = check_references.references_resolve(results)
    assert "instances of the source series are named" in found[1]


def test_a_segment_that_is_not_described(results: ResultSet) -> None:
    del results.objects["seg.dcm"].SegmentSequence[0]
    assert [name for name, _ in check_references.segments_exist(results)] == [
        "seg.dcm", "volumes.dcm",
    ]  # fmt: skip
    del results.objects["seg.dcm"]  # type: ignore[attr-defined]
    assert list(check_references.segments_exist(results)) == [
        ("", "no segmentation among the objects")
    ]
