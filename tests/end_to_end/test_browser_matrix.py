"""OHIF in Chromium shows every kind of result: what is drawn, what is listed, and why a value is absent.

Every kind is opened once, a late image once at each of its delays; `LOADS=10` opens every kind ten times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicomseg.encode.context import EncodeInput
from dicomseg.encode.measurements_sr import reason
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.uids import ResultKey
from dicomseg.measure.value_text import value_text
from dicomseg.result import Measurement, Refusal
from dicomseg.segmentation import Finding
from dicomseg.structures import BY_ID, StructureId
from tests.support.browser import LOADS, Archive, Look, Seen, run_of
from tests.support.screens import count_of, crosses, keep_picture, near, overlap
from training.phantom.study import StudyOptions, write_study

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]

COLOURS = {
    "OC": (255, 214, 64),
    "DAA": (255, 110, 110),
    "DIVC": (120, 170, 255),
    "PI": (255, 160, 90),
}
AMBER = (255, 210, 77)
REFUSAL = Refusal("cut_by_image", "truncated at the image border; enlarge the field of view")
DOUBT = "second best level nearly as likely: count from the sacrum"
WARNING = Finding(
    "disc_cut", "the disc reaches the edge of the image: check the field of view", "warning"
)
LATE_S = (0.3, 0.33, 0.36, 0.39)
"""Delays of the mid-disc image at which rows of OHIF were without a value when measurements were loaded at once."""

Main = dict[str, Measurement]


def _refuse(*names: str) -> Callable[[Main], Main]:
    def change(main: Main) -> Main:
        gone = {"value_mm": None, "points_lps": None, "uncertainty_mm": None, "range_mm": None}
        return {
            n: replace(m, refusal=REFUSAL, **gone) if n in names else m for n, m in main.items()
        }  # type: ignore[arg-type]

    return change


def _touching(main: Main) -> Main:
    """The left psoas touches the artery: both ends of OC are one point."""
    oc = main["OC"]
    assert oc.points_lps is not None
    return main | {"OC": replace(oc, value_mm=0.0, points_lps=(oc.points_lps[0],) * 2)}


def _ranged(main: Main) -> Main:
    divc = main["DIVC"]
    assert divc.value_mm is not None
    ends = (divc.value_mm - 1.31, divc.value_mm + 0.62)
    return main | {"DIVC": replace(divc, uncertainty_mm=None, range_mm=ends)}


@dataclass(frozen=True)
class Case:
    """A kind of result. loads: how often it is opened where the environment does not say. is_late: the image comes late.

    One load shows what a kind looks like; what depends on the order in which things come is looked for with a late image.
    """

    change: Callable[[Main], Main] = lambda main: main
    loads: int = 1
    is_late: bool = False


CASES = {
    "four": Case(),
    "four-late": Case(loads=len(LATE_S), is_late=True),
    "one-refused": Case(_refuse("PI")),
    "first-refused": Case(_refuse("OC")),
    "all-refused": Case(_refuse("OC", "DAA", "DIVC", "PI")),
    "touching": Case(_touching),
    "range": Case(_ranged),
}


def _result(run: EncodeInput, case: str) -> EncodeInput:
    result = run.result
    main: Any = CASES[case].change(dict(result.measurements.main))
    changed = replace(
        result,
        measurements=replace(result.measurements, main=main),
        level=replace(result.level, warnings=(DOUBT,)),
        warnings=(WARNING,),
    )
    return replace(run, result=changed, key=ResultKey(case))


@pytest.mark.parametrize("case", CASES)
def test_what_is_drawn_listed_and_said(
    case: str,
    archive: Archive,
    images: None,
    shown_run: tuple[EncodeInput, list[Path]],
    look: Look,
) -> None:
    run = _result(shown_run[0], case)
    files = encode_all(run)
    midplane = pydicom.dcmread(BytesIO(files["midplane.dcm"]))
    link = archive.viewer.link(run.result.source.study)
    archive.slow.part = f"{midplane.SOPInstanceUID}/frames" if CASES[case].is_late else ""
    try:
        with archive.holding(files):
            for load in range(LOADS or CASES[case].loads):
                archive.slow.seconds = LATE_S[load % len(LATE_S)]
                seen = look(link, case if load == 0 else "")
                _check(seen, run, midplane)
    finally:
        archive.slow.part = ""


def _check(seen: Seen, run: EncodeInput, midplane: pydicom.Dataset) -> None:
    values = run.result.measurements.main.values()
    _check_listed(seen, run)
    for m in values:
        if m.refusal is None:
            _check_line(seen, m)
    _check_texts(seen, list(values))
    _check_slices(seen, run, midplane)
    assert seen.page["lit"] > 0.1
    assert seen.console == []


def _vessel(m: Measurement) -> str:
    return m.start if m.name in {"DAA", "DIVC"} else ""


def _title(m: Measurement) -> str:
    return ", ".join(filter(None, (m.name, _vessel(m))))


def _check_listed(seen: Seen, run: EncodeInput) -> None:
    """The list and the card name every value, how well it is known, its side and vessel, or why it is absent."""
    main = run.result.measurements.main.values()
    expected = [
        [_title(m), value_text(m)] if m.refusal is None else [reason(m), m.refusal.text]
        for m in main
    ]
    assert sorted(seen.page["rows"]) == sorted(expected)
    card = seen.page["card"]
    for m in main:
        here = card.split(f"\n{m.name}", 1)[1]
        if m.refusal is not None:
            assert here.split("\n", 3)[1:3] == ["not measured", m.refusal.text], m.name
        else:
            where = _vessel(m) or f"{m.start} to {m.end}"
            assert here.split("\n", 3)[1:3] == [value_text(m), where], m.name
    oc = run.result.measurements.main["OC"]
    assert ("Grade " in card) == (oc.value_mm is not None)
    assert ("Grade 0: none" in card) == (oc.value_mm == 0.0)
    assert DOUBT in card
    assert WARNING.text in card
    assert "Research use only. Not verified by a physician." in card
    assert ["Research use only" in text for text in seen.page["overlays"]] == [True, True]
    for pane in seen.page["panes"]:
        assert count_of(seen.pixels, pane, AMBER) > 20
    assert {"L4/5 disc", "Psoas major, left", "Psoas major, right"} <= set(seen.page["segments"])


def _check_line(seen: Seen, m: Measurement) -> None:
    """The line is where it was measured, and its colour is at both ends."""
    title = _title(m)
    assert m.points_lps is not None
    assert np.allclose(seen.page["points"][title], m.points_lps, atol=0.01)
    for end in seen.page["ends"][title]:
        assert near(seen.pixels, end, COLOURS[m.name]) < 50, (m.name, end)
    if (
        m.value_mm == 0.0
    ):  # a line without length is a dot, which is more than the end of the dotted line to its text
        (x, y), _ = seen.page["ends"][title]
        assert count_of(seen.pixels, (x - 4, y - 4, x + 5, y + 5), COLOURS[m.name]) > 15
    (lines,) = [t for t, _ in seen.page["texts"] if t[0].startswith(f"{m.name} ")]
    assert lines == [f"{m.name} {value_text(m)}", *filter(None, [_vessel(m)])]


def _check_texts(seen: Seen, main: list[Measurement]) -> None:
    """Every text is complete within the viewport, on no line and on no other text."""
    texts = seen.page["texts"]
    assert len(texts) == len(main)
    left, top, right, bottom = seen.page["panes"][0]
    for m in main:
        if m.refusal is not None:
            assert [reason(m)] in [t for t, _ in texts]
    for n, (text, box) in enumerate(texts):
        assert (left <= box[0], box[2] <= right) == (True, True), text
        assert (top <= box[1], box[3] <= bottom) == (True, True), text
        assert not any(overlap(box, other) for _, other in texts[:n]), text
        assert not any(crosses(box, ends) for ends in seen.page["ends"].values()), text


def _check_slices(
    seen: Seen,
    run: EncodeInput,
    midplane: pydicom.Dataset,
    names: Sequence[StructureId] = ("ivd", "pm", "ivc", "aa"),
) -> None:
    """The slices begin at the disc, with its window, and show its segments."""
    rows = (np.array(midplane.ImageOrientationPatient[3:]), midplane.Rows, midplane.PixelSpacing[0])
    columns = (
        np.array(midplane.ImageOrientationPatient[:3]),
        midplane.Columns,
        midplane.PixelSpacing[1],
    )
    centre = np.array(midplane.ImagePositionPatient, float)
    centre += sum(axis * (n - 1) / 2 * step for axis, n, step in (rows, columns))
    normal = run.source.volume.directions[:, 0]
    nearest = min(
        run.source.grid.instances,
        key=lambda i: abs(float((np.array(i.position_lps) - centre) @ normal)),
    )
    assert f"/{nearest.sop_instance_uid}/" in seen.page["slice"]
    low, high = seen.page["window"]
    assert math.isclose(high - low, midplane.WindowWidth[0], rel_tol=0.02, abs_tol=1.5)
    assert math.isclose((high + low) / 2, midplane.WindowCenter[0], rel_tol=0.02, abs_tol=1.5)
    for name in names:
        assert count_of(seen.pixels, seen.page["panes"][1], BY_ID[name].rgb) > 20, name


def test_a_study_without_a_result_opens_as_ever(
    archive: Archive, images: None, look: Look, shown_run: tuple[EncodeInput, list[Path]]
) -> None:
    drawn = """() => window.services && services.hangingProtocolService.getActiveProtocol().protocol
      && document.querySelectorAll('canvas').length > 0
      && document.querySelector('[data-cy="lumbar-card"]')"""
    study = shown_run[0].result.source.study
    with look.page(archive.viewer.link(study), ready=drawn) as page:
        page.wait_for_timeout(1500)
        active = page.evaluate(
            "() => services.hangingProtocolService.getActiveProtocol().protocol.id"
        )
        card = page.locator('[data-cy="lumbar-card"]').inner_text()
        keep_picture("no-result", page.screenshot())
    assert (active, card) == ("default", "No L4/5 result in this study")
    assert look.console == []


def test_a_sagittal_series_opens_at_the_disc_with_the_reasons(
    archive: Archive, look: Look, oracle_bundle: Path, tmp_path: Path
) -> None:
    """A sagittal slab shows no psoas, so that every value is refused, with reasons of the node's own."""
    options = StudyOptions(fov="sagittal", coded=True)
    files = sorted((write_study(tmp_path, 19, options) / "t2_space").glob("*.dcm"))
    run = run_of(files, oracle_bundle)
    results = encode_all(run)
    midplane = pydicom.dcmread(BytesIO(results["midplane.dcm"]))
    with archive.holding({file.name: file.read_bytes() for file in files}, results):
        seen = look(archive.viewer.link(run.result.source.study), "sagittal")
    main = run.result.measurements.main.values()
    assert run.result.source.orientation == "sagittal"
    assert all(m.refusal for m in main)
    assert sorted(seen.page["rows"]) == sorted(
        [reason(m), m.refusal.text] for m in main if m.refusal
    )
    _check_texts(seen, list(main))
    _check_slices(seen, run, midplane, ("ivd", "l4", "l5", "dura"))
    assert seen.page["lit"] > 0.05
    assert seen.console == []
