"""Values, refusals and ranges in the measurement report."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from pydicom.dataset import Dataset

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
            assert comments[0] == name
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
    assert [t for t in comments if "not measured" in t] == [
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
