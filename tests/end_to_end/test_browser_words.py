"""The viewer's scripts and the encoders agree: names of series, codes of reports, texts of values. No viewer runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicomseg.encode import measurements_sr, midplane_image
from dicomseg.encode.context import EncodeInput
from dicomseg.encode.pictures import encode_pictures
from dicomseg.encode.result_folder import encode_all
from dicomseg.measure.value_text import value_text
from dicomseg.result import Measurement, Refusal
from dicomseg.segmentation import Finding
from node.demo import ohif

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROLES = {
    "seg.dcm": "segments",
    "midplane.dcm": "plane",
    "measurements.dcm": "measurements",
    "volumes.dcm": "volumes",
    "summary.dcm": "page",
    "report.dcm": "report",
    "surface.dcm": "surfaces",
}
Run = tuple[EncodeInput, list[Path]]


@pytest.fixture(scope="module")
def scripts(chromium: Any) -> Iterator[Any]:
    """An empty page with our scripts."""
    page = chromium.new_page()
    page.add_script_tag(content=ohif.app_config(ohif.SCRIPTS))
    yield page
    page.close()


def _natural(ds: Dataset) -> dict[str, Any]:
    """A data set as OHIF's library has it: by keyword, sequences of one item as that item."""
    out: dict[str, Any] = {}
    for element in ds:
        if element.keyword in {"", "PixelData", "EncapsulatedDocument"}:
            continue
        value = element.value
        if element.VR == "SQ":
            items = [_natural(item) for item in value]
            out[element.keyword] = items[0] if len(items) == 1 else items
        elif isinstance(value, MultiValue):
            out[element.keyword] = [str(v) for v in value]
        else:
            out[element.keyword] = None if value is None else str(value)
    if out.get("RelationshipType") and "UID" in out:
        out["UID"] = str(ds.UID)
    return out


def _values(scripts: Any, report: Dataset) -> dict[str, dict[str, Any]]:
    found = scripts.evaluate(
        "(r) => lumbar.values({ measurements: { instance: r } })", _natural(report)
    )
    return {value["name"]: value for value in found}


@pytest.fixture(scope="module")
def report(shown_run: Run) -> Callable[..., Dataset]:
    """Encode a report with other measurements; they lie on one image."""
    run = shown_run[0]
    image = midplane_image.encode(run)

    def encode(*measured: Measurement) -> Dataset:
        main: Any = {**run.result.measurements.main, **{m.name: m for m in measured}}
        result = replace(run.result, measurements=replace(run.result.measurements, main=main))
        return measurements_sr.encode(replace(run, result=result), {"midplane.dcm": image})

    return encode


def _of(files: Mapping[str, bytes]) -> dict[str, Dataset]:
    return {n: pydicom.dcmread(BytesIO(c)) for n, c in files.items() if n.endswith(".dcm")}


AWKWARD = "volumes of surfaces, measurements, of 3, " * 3


@pytest.mark.parametrize(
    ("number", "model", "is_drawn"),
    [(4, "lumbar-l45", True), (None, AWKWARD, False), (12345, AWKWARD, False)],
)
def test_every_object_is_known_by_its_series_description(
    scripts: Any, shown_run: Run, number: int | None, model: str, is_drawn: bool
) -> None:
    run = shown_run[0]
    instances = tuple(replace(i, series_number=number) for i in run.source.grid.instances)
    grid = replace(run.source.grid, instances=instances)
    engine = replace(run.segmentation.engine, name=model)
    run = replace(
        run,
        source=replace(run.source, grid=grid),
        segmentation=replace(run.segmentation, engine=engine),
    )
    files = encode_all(run) | (encode_pictures(run) if is_drawn else {})
    found = {
        name: scripts.evaluate(
            "([m, d]) => lumbar.roleOf({ Modality: m, SeriesDescription: d })",
            [ds.Modality, ds.SeriesDescription],
        )
        for name, ds in _of(files).items()
    }
    assert found == {name: role for name, role in ROLES.items() if name in files}
    assert len(found) == (len(ROLES) if is_drawn else 4)
    assert scripts.evaluate("lumbar.roleOf({ Modality: 'SR', SeriesDescription: 'L4/5 t2' })") == ""


@pytest.mark.parametrize(
    ("value", "sd", "ends"),
    [
        (6.05, 0.6, None), (8.25, 0.35, None), (8.75, 0.95, None), (12.5, 2.5, None), (0.04, 0.01, None),
        (7.0, None, None), (7.25, 0.99, None), (23.94, None, (22.61, 24.52)), (11.2, None, (9.98, 15.01)),
        (16.25, None, (16.15, 16.35)),
    ],
)  # fmt: skip
def test_a_value_has_the_same_text_everywhere(
    scripts: Any, shown_run: Run, report: Callable[..., Dataset], value: float, sd: float | None,
    ends: tuple[float, float] | None,
) -> None:  # fmt: skip
    oc = shown_run[0].result.measurements.main["OC"]
    assert oc.points_lps is not None
    start = oc.points_lps[0]
    left = shown_run[0].result.measurements.plane
    assert left is not None
    end = tuple(s + value * e for s, e in zip(start, left.e_left, strict=True))
    m = replace(oc, value_mm=value, uncertainty_mm=sd, range_mm=ends, points_lps=(start, end))
    encoded = report(m)
    assert _values(scripts, encoded)["OC"]["text"] == value_text(m)
    for group in encoded.ContentSequence[-1].ContentSequence:  # a report without our comments
        group.ContentSequence = [
            i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue != "121106"
        ]
    without = _values(scripts, encoded)["OC"]["text"]
    assert without.split(" ")[1:] == value_text(m).split(" ")[1:]
    assert abs(float(without.split()[0]) - value) <= 0.51


def test_vessels_grades_and_reasons_are_read(
    scripts: Any, shown_run: Run, report: Callable[..., Dataset]
) -> None:
    main = shown_run[0].result.measurements.main
    refused = replace(
        main["PI"], value_mm=None, points_lps=None, uncertainty_mm=None, refusal=Refusal("cut", "cut off; look")
    )  # fmt: skip
    found = _values(scripts, report(refused))
    assert list(found) == ["OC", "DAA", "DIVC", "PI"]
    for name in ("DAA", "DIVC"):
        assert found[name]["vessel"] == found[name]["where"] == main[name].start
    assert found["OC"]["where"] == f"{main['OC'].start} to {main['OC'].end}"
    assert found["OC"]["grade"].startswith("Grade 1: ")
    assert (found["PI"]["text"], found["PI"]["refusal"]) == ("", "cut off; look")
    assert found["PI"]["short"] == "PI not measured: cut off"
    assert len({value["uid"] for value in found.values()} - {None}) == 4


def test_doubts_are_read(scripts: Any, shown_run: Run) -> None:
    run = shown_run[0]
    result = replace(
        run.result,
        level=replace(run.result.level, warnings=("count from the sacrum",)),
        warnings=(Finding("a_b", "first: of all", "warning"), Finding("c", "second", "warning")),
    )
    volumes = _of(encode_all(replace(run, result=result)))["volumes.dcm"]
    found = scripts.evaluate(
        "(r) => lumbar.doubts({ volumes: { instance: r } })", _natural(volumes)
    )
    assert found == ["count from the sacrum", "first: of all", "second"]
