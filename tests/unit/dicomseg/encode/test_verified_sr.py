"""A verified report has the content of the unverified one, names it, and says who verified it, when and where."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.encode.verified_sr import Verification, encode, person_name
from node.verify.facts import facts_of
from tests.support.sent_results import write_small_result

AT = datetime(2026, 12, 1, 9, 30, 15, 250_000, tzinfo=timezone(timedelta(hours=1)))
WHO = Verification("r1", "meier", "Klinik Süd", AT)


@pytest.fixture(scope="module")
def folder(studio: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_result(studio, tmp_path_factory.mktemp("results"))[0]


def _report(folder: Path) -> Dataset:
    return dcmread(folder / "measurements.dcm")


def _verified(folder: Path, who: Verification = WHO) -> Dataset:
    return dcmread(BytesIO(encode(_report(folder), who)))


def test_it_names_observer_organisation_moment_and_predecessor(folder: Path) -> None:
    before, after = _report(folder), _verified(folder)
    assert (after.CompletionFlag, after.VerificationFlag, after.PreliminaryFlag) == (
        "COMPLETE", "VERIFIED", "FINAL",
    )  # fmt: skip
    (observer,) = after.VerifyingObserverSequence
    assert str(observer.VerifyingObserverName) == "meier^"
    assert observer.VerifyingOrganization in {"Klinik Süd", "Klinik Sud"}
    assert observer.VerificationDateTime.startswith("20261201093015.25")
    assert len(observer.VerifyingObserverIdentificationCodeSequence) == 0
    (study,) = after.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (item,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == before.StudyInstanceUID == after.StudyInstanceUID
    assert series.SeriesInstanceUID == before.SeriesInstanceUID != after.SeriesInstanceUID
    assert item.ReferencedSOPClassUID == before.SOPClassUID == after.SOPClassUID
    assert item.ReferencedSOPInstanceUID == before.SOPInstanceUID != after.SOPInstanceUID
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    assert int(after.SeriesNumber) == int(before.SeriesNumber) + 7
    assert " verified" in after.SeriesDescription
    assert "measurements" not in after.SeriesDescription
    assert (after.ContentDate, after.SeriesTime) == ("20261201", before.SeriesTime)


def test_content_patient_and_evidence_are_those_of_the_unverified_report(folder: Path) -> None:
    before, after = _report(folder), _verified(folder)
    assert facts_of(after).to_json() == facts_of(before).to_json()
    new = {
        "PredecessorDocumentsSequence", "VerificationFlag", "PreliminaryFlag", "VerifyingObserverSequence",
        "InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "SeriesInstanceUID",
        "SOPInstanceUID", "SeriesNumber", "SeriesDescription",
    }  # fmt: skip
    for element in before:
        if element.keyword not in new:
            assert after[element.tag] == element, element.keyword
    assert {e.keyword for e in after} - {e.keyword for e in before} <= new


def test_the_same_decision_has_the_same_bytes_and_another_has_other_uids(folder: Path) -> None:
    first = encode(_report(folder), WHO)
    assert first == encode(_report(folder), WHO)
    same_moment = Verification("r1", "meier", "Klinik Süd", AT.astimezone(UTC))
    assert same_moment.uid("instance") == WHO.uid("instance")
    others = [
        Verification("r2", "meier", "Klinik Süd", AT), Verification("r1", "otto", "Klinik Süd", AT),
        Verification("r1", "meier", "Klinik Nord", AT),
        Verification("r1", "meier", "Klinik Süd", AT + timedelta(seconds=1)),
    ]  # fmt: skip
    assert len({w.uid("instance") for w in (WHO, *others)}) == 5
    assert WHO.uid("series") != WHO.uid("instance")


def test_a_verified_report_is_not_verified_again_and_nothing_without_an_organisation(
    folder: Path,
) -> None:
    with pytest.raises(ValueError, match="unverified"):
        encode(_verified(folder), WHO)
    with pytest.raises(ValueError, match="organisation"):
        encode(_report(folder), Verification("r1", "meier", "  ", AT))


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("a.meier@spital", "a.meier@spital^"),
        ("a^b=c\\d\n", "a_b_c/d_^"),
        ("x" * 99, "x" * 63 + "^"),
    ],
)
def test_a_login_is_one_family_name(login: str, name: str) -> None:
    assert person_name(login) == name


def test_the_moment_is_in_the_time_zone_of_the_report(folder: Path) -> None:
    report = _report(folder)
    report.TimezoneOffsetFromUTC = "-0230"
    after = dcmread(BytesIO(encode(report, WHO)))
    assert after.VerifyingObserverSequence[0].VerificationDateTime.startswith("20261201060015")


@pytest.mark.process
def test_dciodvfy_finds_nothing(folder: Path, tmp_path: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("needs dciodvfy (dicom3tools)")
    path = tmp_path / "verified.dcm"
    path.write_bytes(encode(_report(folder), WHO))
    said = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert [line for line in said.stderr.splitlines() if line.startswith("Error")] == []
