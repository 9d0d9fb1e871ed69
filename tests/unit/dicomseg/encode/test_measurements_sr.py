"""Values, refusals and ranges in the measurement report."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from pydicom.dataset import Dataset

from dicomseg.measure.value_text import value_text
from dicomseg.result import Measurement, Refusal
from tests.support.encoded import errors_of, read

pytestmark = pytest.mark.process  # dciodvfy judges what is written


# ---- refused values ------------------------------------------------------------------------------

FOUR = ("OC", "DAA", "DIVC", "PI")


def groups_of(report: Dataset) -> list[dict[str, Any]]:
    """Every measurement group of a report: what its items say, by concept."""
    found = []
    for container in report.ContentSequence:
        for group in container.get("ContentSequence", []):
            held: dict[str, list[Dataset]] = {}
            for item in group.get("ContentSequence", []):
                held.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(item)
            if "Tracking Identifier" in held:
                found.append(held)
    return found


@pytest.mark.parametrize("refused", [(), ("OC",), ("PI",), ("DAA", "DIVC"), FOUR], ids="+".join)
def test_a_refused_value_is_a_point_with_its_reason(
    studio: Any, tmp_path: Path, refused: tuple[str, ...]
) -> None:
    files = studio.encode(studio.slices(), refused=refused)
    objects = read(files)
    report, image = objects["measurements.dcm"], objects["midplane.dcm"]
    groups = groups_of(report)
    assert len(groups) == 4
    points = []
    for held in groups:
        name = held["Tracking Identifier"][0].TextValue.rsplit(":", 1)[-1]
        tool, comments = (
            held["Tracking Identifier"][0].TextValue,
            [c.TextValue for c in held["Comment"]],
        )
        numbers = [i for items in held.values() for i in items if i.ValueType == "NUM"]
        assert (
            tool
            == f"Cornerstone3DTools@^0.1.0:{'ArrowAnnotate' if name in refused else 'Length'}:{name}"
        )
        if name not in refused:
            assert comments[0].startswith(f"{name} ")
            assert "POLYLINE" in [i.get("GraphicType") for i in numbers[0].ContentSequence]
            continue
        assert numbers == []
        assert comments[0] == f"{name} not measured: cut +/-1 mm2"
        assert comments[-1] == "cut +/-1 mm2"
        (point,) = held["Image Region"]
        assert (point.ValueType, point.GraphicType) == ("SCOORD", "POINT")
        column, row = point.GraphicData
        assert 0 < column < image.Columns
        assert 0 < row < image.Rows
        (selected,) = point.ContentSequence
        assert selected.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
        points.append((column, row))
    assert len(set(points)) == len(refused)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [s.SeriesInstanceUID for s in evidence] == [image.SeriesInstanceUID, "1.2.3.4"]
    source = [i.ReferencedSOPInstanceUID for i in evidence[1].ReferencedSOPSequence]
    assert source == [str(ds.SOPInstanceUID) for ds in studio.slices()]
    comments = [c.TextValue for held in groups_of(objects["volumes.dcm"]) for c in held["Comment"]]
    assert [t for t in comments if t.startswith(FOUR) and "not measured" in t] == [
        f"{n} not measured: cut +/-1 mm2" for n in FOUR if n in refused
    ]
    assert hd.sr.srread(BytesIO(files["measurements.dcm"])).content.get_image_measurement_groups()
    assert errors_of(files, tmp_path) == []


def test_a_range_is_two_numbers(studio: Any) -> None:
    ranged = replace(studio.measured.main["DAA"], uncertainty_mm=None, range_mm=(10.0, 14.5))
    measured = replace(studio.measured, main={**studio.measured.main, "DAA": ranged})
    files = replace(studio, measured=measured).encode(studio.slices())
    (held,) = [
        g
        for g in groups_of(read(files)["measurements.dcm"])
        if g["Tracking Identifier"][0].TextValue.endswith("DAA")
    ]
    ends = [
        float(held[n][0].MeasuredValueSequence[0].NumericValue)
        for n in ("Minimum value near the plane", "Maximum value near the plane")
    ]
    assert ends == [10.0, 14.5]
    value = round(ranged.value_mm)
    assert held["Comment"][0].TextValue == f"DAA {value} (10 to 15) mm, {ranged.start}"


def _measurement(value: float | None, **more: Any) -> Measurement:
    refusal = Refusal("missing", "aorta: not found") if value is None else None
    return Measurement("DAA", "", value_mm=value, refusal=refusal, **more)


@pytest.mark.parametrize(
    ("m", "text"),
    [
        (_measurement(8.0952, uncertainty_mm=0.66), "8.1 ± 0.7 mm"),
        (_measurement(0.0952, uncertainty_mm=0.56), "0.1 ± 0.6 mm"),
        (_measurement(0.0, uncertainty_mm=0.56), "0.0 ± 0.6 mm"),
        (_measurement(12.34, uncertainty_mm=0.01), "12.3 ± 0.1 mm"),
        (_measurement(12.34, uncertainty_mm=0.99), "12.3 ± 1.0 mm"),
        (_measurement(12.34, uncertainty_mm=1.0), "12 ± 1 mm"),
        (_measurement(12.34, uncertainty_mm=2.6), "12 ± 3 mm"),
        (_measurement(12.34), "12.3 mm"),
        (_measurement(12.34, range_mm=(11.91, 12.52)), "12.3 (11.9 to 12.6) mm"),
        (_measurement(12.3, range_mm=(11.9, 12.6)), "12.3 (11.9 to 12.6) mm"),
        (_measurement(12.34, range_mm=(9.6, 14.2)), "12 (9 to 15) mm"),
        (_measurement(None), ""),
    ],
)
def test_a_value_is_never_finer_than_its_uncertainty(m: Measurement, text: str) -> None:
    assert value_text(m) == text


@pytest.mark.parametrize(
    ("name", "start", "codes"),
    [
        ("DAA", "abdominal aorta", [("7832008", "")]),
        ("DAA", "left common iliac artery", [("73634005", "7771000")]),
        ("DIVC", "inferior vena cava", [("64131007", "")]),
        ("DIVC", "right common iliac vein", [("46027005", "24028007")]),
        ("DIVC", "", []),
        ("OC", "left psoas major", []),
    ],
)
def test_a_diameter_says_of_which_vessel_it_is(
    studio: Any, tmp_path: Path, name: str, start: str, codes: list[tuple[str, str]]
) -> None:
    named = replace(studio.measured.main[name], start=start, uncertainty_mm=0.52)
    measured = replace(studio.measured, main={**studio.measured.main, name: named})
    files = replace(studio, measured=measured).encode(studio.slices())
    (held,) = [
        g
        for g in groups_of(read(files)["measurements.dcm"])
        if g["Tracking Identifier"][0].TextValue.endswith(f":{name}")
    ]
    sites = []
    for item in held["Finding Site"]:
        side = [c.ConceptCodeSequence[0].CodeValue for c in item.get("ContentSequence", [])]
        sites.append((item.ConceptCodeSequence[0].CodeValue, "".join(side)))
    assert sites[:-1] == codes
    assert sites[-1][0] == "243923001"  # the level comes last
    vessel = f", {start}" if codes else ""
    assert held["Comment"][0].TextValue == f"{name} {named.value_mm:.1f} +/- 0.5 mm{vessel}"
    assert errors_of(files, tmp_path) == []
