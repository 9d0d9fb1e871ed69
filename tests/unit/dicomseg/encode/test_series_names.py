"""Results of one study are distinguished in a list of series, and name what they replace."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomseg.encode.series_names import series_description, series_number
from dicomseg.encode.uids import ResultKey
from dicomseg.segmentation import EngineInfo
from tests.support.encoded import FILES, changed, errors_of, read

pytestmark = pytest.mark.process  # dciodvfy judges what is written

ENGINE = EngineInfo("lumbar-l45", "0.10.0", "ab" * 32, "openvino-cpu", "float32")
WHEN = datetime(2030, 1, 2, 14, 5, 33, tzinfo=UTC)
EARLIER = ResultKey("1" * 32)
ROLES = dict(zip(FILES, ("seg", "midplane", "measurements", "volumes"), strict=True))


@pytest.mark.parametrize(
    ("own", "source", "number"),
    [
        (9001, 4, 4901),
        (9003, 401, 401903),
        (9012, 0, 912),
        (9004, None, 9004),
        (9004, -1, 9004),
        (9001, 2_147_482, 2_147_482_901),
        (9001, 2_147_483, 9001),
    ],
)
def test_the_number_follows_from_the_source(own: int, source: int | None, number: int) -> None:
    assert series_number(own, source) == number


def test_the_description_says_what_when_from_which_series_and_by_which_model() -> None:
    assert series_description("measurements", ENGINE, WHEN, 4) == (
        "L4/5 14:05:33 measurements of 4, lumbar-l45 0.10.0 (research)"
    )
    assert series_description("volumes", ENGINE, WHEN, None) == (
        "L4/5 14:05:33 volumes, lumbar-l45 0.10.0 (research)"
    )


def test_a_long_model_name_gives_way_to_its_version() -> None:
    long = replace(ENGINE, name="a-model-of-the-lumbar-spine-with-a-long-name")
    text = series_description("mid-disc plane", long, WHEN, 12345)
    assert len(text) == 64
    assert text.startswith("L4/5 14:05:33 mid-disc plane of 12345, ")
    assert text.endswith(" 0.10.0 (research)")
    odd = replace(ENGINE, name="größer", version="v" * 80)
    assert len(series_description("mid-disc plane", odd, WHEN, 2**31 - 1)) <= 64


def test_two_results_of_one_study_differ_in_a_list(studio: Any) -> None:
    def number(value: int) -> Any:
        return lambda ds: setattr(ds, "SeriesNumber", value)

    first = read(studio.encode(changed(studio, number(4))))
    other = read(studio.encode(changed(studio, number(5))))
    for name in FILES:
        assert first[name].SeriesNumber != other[name].SeriesNumber, name
        begins = {str(ds.SeriesDescription)[:22] for ds in first.values()}
        assert len(begins) == len(FILES)
    assert sorted(int(ds.SeriesNumber) for ds in first.values()) == [4901, 4902, 4903, 4904]


def _replaced(ds: Dataset) -> list[tuple[str, str]]:
    """Class and instance of what an object says that it replaces."""
    if ds.Modality == "SR":
        (study,) = ds.PredecessorDocumentsSequence
        (series,) = study.ReferencedSeriesSequence
        items = series.ReferencedSOPSequence
        assert study.StudyInstanceUID == ds.StudyInstanceUID
    else:
        items = ds.ReferencedImageSequence
        codes = [i.PurposeOfReferenceCodeSequence[0] for i in items]
        assert [(c.CodeValue, c.CodingSchemeDesignator) for c in codes] == [("PREDECESSOR", "99LUMBAR")]  # fmt: skip
        declared = [i.CodingSchemeDesignator for i in ds.CodingSchemeIdentificationSequence]
        assert declared == ["99LUMBAR"]
    return [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in items]


def test_every_object_names_its_predecessor(studio: Any, tmp_path: Path) -> None:
    files = studio.encode(studio.slices(), predecessor=EARLIER)
    objects = read(files)
    for name, role in ROLES.items():
        ds = objects[name]
        assert _replaced(ds) == [(ds.SOPClassUID, EARLIER.uid(f"{role}.instance"))], name
    source, before = objects["seg.dcm"].ReferencedSeriesSequence
    assert source.SeriesInstanceUID == "1.2.3.4"
    assert before.SeriesInstanceUID == EARLIER.uid("seg.series")
    (instance,) = before.ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == EARLIER.uid("seg.instance")
    assert errors_of(files, tmp_path) == []


def test_a_first_result_names_none(studio: Any) -> None:
    for ds in read(studio.encode(studio.slices())).values():
        assert "ReferencedImageSequence" not in ds
        assert "PredecessorDocumentsSequence" not in ds


def test_the_scanner_is_the_acquisition_equipment_of_every_object(studio: Any) -> None:
    for ds in read(studio.encode(studio.slices())).values():
        purposes = {}
        for item in ds.ContributingEquipmentSequence:
            meaning = item.PurposeOfReferenceCodeSequence[0].CodeMeaning
            purposes.setdefault(meaning, []).append(item.Manufacturer)
        assert purposes["Acquisition Equipment"] == ["Maker"]
        assert "m" in purposes["Processing Equipment"]
        assert ds.Manufacturer == "m"
