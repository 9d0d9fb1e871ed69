"""What of a verified report has to be there is missed when it is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.encode.verified_sr import Verification, encode
from node.verify.check_verified import verified_reports
from node.verify.objects import ResultSet
from tests.support.sent_results import write_small_result

WHO = Verification("r1", "meier", "Klinik", datetime(2026, 12, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def verified(studio: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder, _ = write_small_result(studio, tmp_path_factory.mktemp("results"))
    return encode(dcmread(folder / "measurements.dcm"), WHO)


def _complaints(ds: Dataset) -> list[str]:
    return [s for _, s in verified_reports(ResultSet(Path(), {}, {"verified.dcm": ds}))]


def _without_values(ds: Dataset) -> None:
    for part in ds.ContentSequence:
        for group in part.get("ContentSequence", ()):
            group.ContentSequence = [i for i in group.ContentSequence if i.ValueType != "NUM"]


CHANGES: dict[str, tuple[Callable[[Dataset], Any], str]] = {
    "no observer": (lambda ds: delattr(ds, "VerifyingObserverSequence"), "one verifying observer"),
    "nameless": (lambda ds: setattr(ds.VerifyingObserverSequence[0], "VerifyingObserverName", "^^"), "no VerifyingObserverName"),
    "homeless": (lambda ds: delattr(ds.VerifyingObserverSequence[0], "VerifyingOrganization"), "no VerifyingOrganization"),
    "timeless": (lambda ds: setattr(ds.VerifyingObserverSequence[0], "VerificationDateTime", "2026"), "not a moment"),
    "no predecessor": (lambda ds: delattr(ds, "PredecessorDocumentsSequence"), "the one report"),
    "its own predecessor": (lambda ds: setattr(ds, "SOPInstanceUID", ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID), "the one report"),
    "another study": (lambda ds: setattr(ds, "StudyInstanceUID", "1.2"), "another study"),
    "preliminary": (lambda ds: setattr(ds, "PreliminaryFlag", "PRELIMINARY"), "not FINAL"),
    "partial": (lambda ds: setattr(ds, "CompletionFlag", "PARTIAL"), "not COMPLETE"),
    "emptied": (_without_values, "neither a value nor why"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_missing_is_found(verified: bytes, name: str) -> None:
    change, sentence = CHANGES[name]
    ds = dcmread(BytesIO(verified))
    assert _complaints(ds) == []
    change(ds)
    found = _complaints(ds)
    assert found
    assert all(sentence in s for s in found)


def test_an_unverified_report_is_not_judged_by_it(verified: bytes) -> None:
    ds = dcmread(BytesIO(verified))
    ds.VerificationFlag = "UNVERIFIED"
    del ds.VerifyingObserverSequence
    assert _complaints(ds) == []
