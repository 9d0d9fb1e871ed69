"""Texts lie beside the measured lines, apart from each other and inside the picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from shapely.geometry import LineString, box

from dicomseg.encode.text_places import text_places
from tests.support.encoded import errors_of, read

pytestmark = pytest.mark.process  # dciodvfy judges what is written

SIZE = (320, 320)
LETTERS = (90.0, 7.0)
"""Width and height of a text in image pixels of 0.5 mm: fifteen letters."""
OFFSETS = (0.0, 8.0, 14.0)
"""A viewer writes 25 screen pixels right of and below the point, whatever the zoom."""


@pytest.mark.parametrize("seed", range(40))
def test_texts_lie_on_no_line_and_on_no_other_text(seed: int) -> None:
    draw = np.random.default_rng(seed)
    lines = {
        name: draw.uniform((120, 90), (190, 190), (2, 2)).astype(np.float32)
        for name in ("OC", "DAA", "DIVC", "PI")
    }
    places = text_places(lines, SIZE, 0.5)
    assert set(places) == set(lines)
    for offset in OFFSETS:
        boxes = {}
        for name, ((column, row),) in places.items():
            left, top = column + offset, row + offset
            boxes[name] = box(left, top, left + LETTERS[0], top + LETTERS[1])
            assert left > 0
            assert left + LETTERS[0] < SIZE[1] + offset
            assert 0 < top < SIZE[0]
        for name, letters in boxes.items():
            assert not any(letters.intersects(LineString(ends)) for ends in lines.values())
            assert not any(letters.intersects(o) for n, o in boxes.items() if n != name)


def test_the_report_says_where_every_text_is(studio: Any, tmp_path: Path) -> None:
    files = studio.encode(studio.slices(), refused=["PI"])
    report = read(files)["measurements.dcm"]
    found = []
    for container in report.ContentSequence:
        for group in container.get("ContentSequence", []):
            held = {
                i.ConceptNameCodeSequence[0].CodeValue: i for i in group.get("ContentSequence", [])
            }
            if "TextPosition" in held:
                found.append(held["112039"].TextValue.rsplit(":", 1)[-1])
                assert held["TextPosition"].GraphicType == "POINT"
    assert found == ["OC", "DAA", "DIVC"]
    assert errors_of(files, tmp_path, ["measurements.dcm"]) == []
    assert hd.sr.srread(BytesIO(files["measurements.dcm"])).content.get_image_measurement_groups()


def test_no_lines_have_no_texts() -> None:
    assert text_places({}, SIZE, 0.5) == {}
