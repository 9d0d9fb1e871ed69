"""What a report is wrapped in: its evidence names everything that its content refers to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import highdicom as hd
import pytest
from pydicom.dataset import Dataset

from dicomseg.encode import sr
from dicomseg.encode.result_folder import encode_all
from tests.support.encoded import read

REPORTS = ("measurements.dcm", "volumes.dcm")


def _references(item: Dataset) -> Iterator[str]:
    for reference in item.get("ReferencedSOPSequence", []):
        yield reference.ReferencedSOPInstanceUID
    for child in item.get("ContentSequence", []):
        yield from _references(child)


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("refused", [(), ("OC", "DAA", "DIVC", "PI")], ids=["values", "refused"])
def test_every_object_that_a_report_refers_to_is_its_evidence(
    studio: Any, name: str, refused: tuple[str, ...]
) -> None:
    report = read(studio.encode(studio.slices(), refused=refused))[name]
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    listed = [
        i.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for i in series.ReferencedSOPSequence
    ]
    referenced = set(_references(report))
    assert referenced
    assert referenced <= set(listed)
    assert len(set(listed)) == len(listed)


def test_a_report_is_what_highdicom_makes_of_its_entire_content(
    studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = studio.inputs(studio.slices())
    ours = encode_all(inputs)
    seen: list[int] = []

    def entire(root: Dataset) -> Dataset:
        seen.append(len(root.ContentSequence))
        return root

    monkeypatch.setattr(sr, "without_items", entire)
    theirs = encode_all(inputs)
    assert len(seen) == 2
    for name in REPORTS:
        assert ours[name] == theirs[name]
        assert hd.sr.Comprehensive3DSR.from_dataset(read(ours)[name]).content
