"""Several objects of one series: one per structure, one side alone, in any order, and what stays of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomseg.read.correction import Correction, Rejected
from dicomseg.structures import BY_ID, SEGMENTS, STRUCTURES, StructureId
from dicomseg.volume import Volume
from model.postprocess import split_sides
from tests.support.corrections import SLICER, Desk, describe, only, shifted, store
from tests.support.seg_objects import save_seg

pytestmark = pytest.mark.slow  # none of them alone, all of them together


def _stored(desk: Desk, structure: StructureId, labels: Volume, name: str = "") -> Path:
    file = desk.folder / f"{name or structure}.dcm"
    return store(file, desk.images, labels, left_out=only(structure))


def test_one_structure_alone_is_drawn_over_the_result(desk: Desk) -> None:
    drawn = desk.corrected()
    found = desk.judge(_stored(desk, "aa", drawn))
    assert isinstance(found, Correction), found
    assert (found.drawn, len(found.unchanged)) == (("aa",), 7)
    assert np.array_equal(found.volume.array, drawn.array)


def test_one_object_per_structure_makes_one_correction_in_any_order(desk: Desk) -> None:
    drawn = shifted(desk.corrected(), BY_ID["ivc"].value, 1, -1)
    files = {s.id: _stored(desk, s.id, drawn) for s in STRUCTURES}
    same = desk.judge(files["l4"])
    assert isinstance(same, Rejected)
    assert (same.code, same.is_correction) == ("unchanged-part", False)
    names: list[StructureId] = ["pm", "aa", "l5", "ivd", "l4", "n4", "dura", "ivc"]
    for order in (names, names[::-1]):
        *earlier, last = (files[name] for name in order)
        found = desk.judge(last, earlier=earlier)
        assert isinstance(found, Correction), found
        assert np.array_equal(found.volume.array, drawn.array)
        assert (found.drawn, found.unchanged) == (tuple(files), ())
        assert found.kept == tuple(range(len(earlier)))


def test_the_last_object_that_describes_a_structure_counts(desk: Desk) -> None:
    first, second = (shifted(desk.ours, BY_ID["aa"].value, 1, by) for by in (1, 2))
    vein = shifted(desk.ours, BY_ID["ivc"].value, 1, 1)
    earlier = [_stored(desk, "aa", first, "first"), _stored(desk, "ivc", vein)]
    found = desk.judge(_stored(desk, "aa", second, "second"), earlier=earlier)
    assert isinstance(found, Correction), found
    assert found.kept == (1,)
    for structure, labels in (("aa", second), ("ivc", vein)):
        value = BY_ID[structure].value  # type: ignore[index]
        assert np.array_equal(found.volume.array == value, labels.array == value)


def test_a_structure_goes_back_to_the_result_by_an_object_of_its_own(desk: Desk) -> None:
    changed, back = _stored(desk, "aa", desk.corrected(), "changed"), _stored(desk, "aa", desk.ours)
    found = desk.judge(back, earlier=[changed])
    assert isinstance(found, Correction), found
    assert (found.kept, found.changes["aa"].dice) == ((), 1.0)
    whole = store(desk.folder / "whole.dcm", desk.images, desk.ours)
    returned = desk.judge(whole, earlier=[changed])
    assert isinstance(returned, Rejected)
    assert returned.code == "unchanged-copy"


def test_one_side_is_drawn_and_is_no_label_without_the_other(desk: Desk) -> None:
    sides = split_sides(desk.ours).array
    left, right = (s.number for s in SEGMENTS if s.structure.id == "pm")
    smaller = {n: (sides == n) & (np.indices(sides.shape)[1] % 5 > 0) for n in (left, right)}

    def alone(number: int) -> Path:
        segment = next(s for s in SEGMENTS if s.number == number)
        made = [describe(segment, 1, SLICER)]
        file = desk.folder / f"{number}.dcm"
        return save_seg(file, desk.images, [smaller[number]], desk.grid.affine, made)

    one = desk.judge(alone(left))
    assert isinstance(one, Correction), one
    assert (one.drawn, "pm" in one.unchanged) == ((), True)
    expected = np.count_nonzero(smaller[left]) + np.count_nonzero(sides == right)
    assert np.count_nonzero(one.volume.array == BY_ID["pm"].value) == expected
    both = desk.judge(alone(right), earlier=[alone(left)])
    assert isinstance(both, Correction), both
    assert (both.drawn, both.kept) == (("pm",), (0,))


def test_a_drawing_wins_over_what_the_result_has_there(desk: Desk) -> None:
    vein = desk.ours.array == BY_ID["ivc"].value
    wide = desk.ours.with_array(np.where(vein, BY_ID["aa"].value, desk.ours.array).astype(np.uint8))
    found = desk.judge(_stored(desk, "aa", wide))
    assert isinstance(found, Correction), found
    assert found.changes["ivc"].after_ml == 0.0
    assert "ivc" not in found.unchanged
