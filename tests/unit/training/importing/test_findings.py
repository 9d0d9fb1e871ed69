"""What of a set of labels is reported, and what may not be taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from dicomseg.structures import BY_ID, StructureId
from tests.support.labelled_volumes import (
    LPS,
    NAMES,
    TABLE,
    filled,
    grid,
    imported,
    only,
    painted,
    pair,
    write,
)
from training.data.cases import IGNORED
from training.importing.label_table import Target

WIDE = (60, 56, 60)
"""Voxels of a grid that shows 105 mm along the body, more than the labels reach."""


def redrawn(change: Callable[[np.ndarray], None], size: Any = (50, 46, 36)) -> Any:
    """Return image and labels after a change of the label array (z, y, x)."""
    image, labels = painted(grid(LPS, size))
    array = SimpleITK.GetArrayFromImage(labels)
    change(array)
    return image, filled(labels, array)


def test_one_line_tells_the_volume_of_every_structure(tmp_path: Path) -> None:
    write(tmp_path, "p", *painted(grid()))
    _, notes = imported(tmp_path)
    line = next(n for n in notes if n.endswith(" ml"))
    told = dict(re.findall(r"(\w+) ([\d.]+)", line.partition(": ")[2]))
    assert set(told) == {"l4", "ivd", "l5", "dura", "aa", "pm"}
    assert float(told["ivd"]) == pytest.approx(34 * 24 * 10 / 1000, rel=0.15)


@pytest.mark.parametrize(
    ("lost", "name", "why"),
    [(17, "pm", "drawn on one side only, not on the right"), (15, "aa", "has no voxel")],
)
def test_what_was_not_drawn_is_not_taught_as_background(
    tmp_path: Path, lost: int, name: StructureId, why: str
) -> None:
    def change(array: np.ndarray) -> None:
        array[array == lost] = 0

    write(tmp_path, "p", *redrawn(change))
    _, notes = imported(tmp_path)
    case = only(tmp_path)
    assert name not in case.labelled
    assert not (case.labels == BY_ID[name].value).any()
    assert any(why in n and n.startswith(f"p.nii.gz: {name} ") for n in notes)


def test_one_side_of_a_structure_without_sides_is_seen_by_its_place(tmp_path: Path) -> None:
    table = {k: Target("pm") if k in {"16", "17"} else t for k, t in TABLE.items()}
    write(tmp_path / "both", "p", *painted(grid()))
    imported(tmp_path / "both", table)
    assert "pm" in only(tmp_path / "both").labelled

    def change(array: np.ndarray) -> None:
        array[array == 16] = 0

    write(tmp_path / "one", "p", *redrawn(change))
    _, notes = imported(tmp_path / "one", table)
    assert "pm" not in only(tmp_path / "one").labelled
    assert any("not on the left" in n for n in notes)


def test_arteries_to_the_right_of_veins_are_refused_unless_the_person_is_so(
    tmp_path: Path,
) -> None:
    def change(array: np.ndarray) -> None:
        artery = array == 15
        array[artery] = 18
        array[np.roll(artery, -12, axis=2) & (array == 0)] = 15  # 24 mm to the right

    write(tmp_path, "p", *redrawn(change))
    table = {**TABLE, "18": Target("ivc")}
    done, _ = imported(tmp_path, table)
    assert re.search(
        r"rule sides: at the disc the arteries lie 2\d mm to the right", done.refused[0]
    )
    done, _ = imported(tmp_path, table, mirrored_vessels=True)
    assert len(done.imported) == 1


def test_structures_drawn_over_each_other_are_told_and_too_much_is_refused(
    tmp_path: Path,
) -> None:
    image, labels = painted(grid())
    array = SimpleITK.GetArrayFromImage(labels)
    for n, (depth, refused) in enumerate(((1, False), (4, True))):
        both = np.stack([array, np.zeros_like(array)], axis=-1).astype(np.uint8)
        top = int(np.argwhere(array == 12)[:, 0].max())
        inside = (array == 12).any(axis=0)
        both[top - depth + 1 : top + 1, inside, 1] = 1  # L4 over the uppermost slices of the disc
        made = SimpleITK.GetImageFromArray(both, isVector=True)
        made.CopyInformation(labels)
        for m, (value, name) in enumerate([*NAMES.items(), (1, "L4 vertebral body")]):
            made.SetMetaData(f"Segment{m}_Name", name)
            made.SetMetaData(f"Segment{m}_LabelValue", str(value))
            made.SetMetaData(f"Segment{m}_Layer", str(int(value == 1)))
        folder = tmp_path / str(n)
        pair(image, made, folder, "p.nrrd", "p.seg.nrrd")
        done, notes = imported(folder, {})
        text = " ".join([*done.refused, *notes])
        assert bool(done.refused) == refused, text
        share = re.search(
            r"l4 and ivd are drawn over each other in ([\d.]+) ml, (\d+)% of ivd", text
        )
        assert share is not None, text
        assert int(share[2]) == pytest.approx(100 * depth / 6, abs=7)


def test_slices_that_nobody_labelled_count_as_unknown(tmp_path: Path) -> None:
    """The image continues for more than 30 mm above what was labelled; the labels below reach the end."""
    image, labels = painted(grid(LPS, WIDE))
    write(tmp_path, "p", image, labels)
    _, notes = imported(tmp_path)
    case = only(tmp_path)
    assert any(re.search(r"continues for \d+ mm beyond the labelled slices", n) for n in notes)
    unknown = (case.labels == IGNORED).all(axis=(1, 2))
    known = np.flatnonzero(~unknown)
    z = case.affine[2, 3] + np.array([known[0], known[-1]]) * case.affine[2, 0] - 400
    assert z == pytest.approx([-23, 25], abs=1.5)  # of the lowest and the highest label
    assert case.image[unknown].std() > 1  # the image is kept


def test_a_thin_slab_of_labels_is_no_case(tmp_path: Path) -> None:
    def change(array: np.ndarray) -> None:
        middle = int(np.argwhere(array == 12)[:, 0].mean())
        array[: middle - 8] = array[middle + 8 :] = 0

    write(tmp_path, "p", *redrawn(change, WIDE))
    done, _ = imported(tmp_path)
    assert re.search(r"rule coverage: only 2\d mm along the body are labelled", done.refused[0])
