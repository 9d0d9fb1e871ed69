"""Answers that look like a spine pass; others carry a finding with the right code."""

from __future__ import annotations

import numpy as np
import pytest

from dicomseg.segmentation import Finding, Labels, Level
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import AXIAL, Volume, build_affine
from model.plausibility import EXPECTED_LPS, cut_structures, outside_view, plausibility_findings

SPACING = 2.0
Box = tuple[float, float, float, float, float, float]
BOXES: dict[StructureId, tuple[Box, ...]] = {
    "l4": ((-20, 20, -16, 16, 6, 32),),
    "ivd": ((-20, 20, -16, 16, -5, 5),),
    "l5": ((-20, 20, -16, 16, -32, -6),),
    "dura": ((-8, 8, 20, 32, -30, 30),),
    "n4": ((18, 24, 16, 24, 0, 12), (-24, -18, 16, 24, 0, 12)),
    "aa": ((2, 18, -38, -20, -30, 30),),
    "pm": ((30, 56, -14, 18, -34, 34), (-56, -30, -14, 18, -34, 34)),
    "ivc": ((-24, -6, -38, -20, -30, 30),),
}
"""x, y and z limits in mm from the disc centre."""
CENTRE = (5.0, -12.0, 430.0)
LEVEL = Level(CENTRE, (0.0, 0.0, 1.0), 1.0)


def anatomy(
    width: int = 70, swap: tuple[StructureId, StructureId] | None = None, absent: str = ""
) -> Labels:
    """A full-width block of anatomy about the disc, `width` columns of 2 mm."""
    shape = (50, 70, width)
    origin = np.array(CENTRE) - np.array([width - 1, 69, 49]) * SPACING / 2
    grid = build_affine(AXIAL, (SPACING,) * 3, tuple(origin))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    at = Volume(np.zeros(shape, np.uint8), grid).to_patient(index) - CENTRE
    array = np.zeros(shape, np.uint8)
    for name, boxes in BOXES.items():
        painted: StructureId = name
        if swap and name in swap:
            painted = swap[1] if name == swap[0] else swap[0]
        for x0, x1, y0, y1, z0, z1 in boxes if name != absent else ():
            low, high = np.array([x0, y0, z0]), np.array([x1, y1, z1])
            array[np.all((at >= low) & (at <= high), axis=-1)] = BY_ID[painted].value
    return Labels(Volume(array, grid), np.ones(shape, bool))


def findings(labels: Labels) -> tuple[Finding, ...]:
    return plausibility_findings(labels, LEVEL, outside_view(labels, LEVEL))


def test_a_usual_anatomy_has_no_finding() -> None:
    assert outside_view(anatomy(), LEVEL) == frozenset()
    assert findings(anatomy()) == ()


def test_the_drawn_anatomy_covers_every_expected_place() -> None:
    labels = anatomy().volume
    for name, offsets in EXPECTED_LPS.items():
        for offset in offsets:
            index = np.round(labels.to_index(np.array(CENTRE) + offset)).astype(int)
            assert labels.array[tuple(index)] in {0, BY_ID[name].value}


def test_a_narrow_slab_leaves_psoas_and_roots_outside_and_that_is_no_refusal() -> None:
    labels = anatomy(width=14)  # 28 mm, ±14
    outside = outside_view(labels, LEVEL)
    assert {"pm", "n4"} <= outside
    assert not {"l4", "ivd", "l5", "dura"} & outside
    found = {f.structure: f for f in plausibility_findings(labels, LEVEL, outside)}
    assert found["pm"].code == "outside_image"
    assert found["pm"].severity == "warning"
    assert all(f.severity == "warning" for f in found.values())


def test_what_was_not_analysed_mask_is_outside_even_where_the_image_goes_on() -> None:
    labels = anatomy()
    seen = labels.analysed_mask.copy()
    seen[:, :, 50:] = False  # the left psoas
    assert outside_view(Labels(labels.volume, seen), LEVEL) == {"pm"}


@pytest.mark.parametrize("name", [s.id for s in STRUCTURES])
def test_a_structure_in_view_that_is_missing_is_refused(name: StructureId) -> None:
    found = [f for f in findings(anatomy(absent=name)) if f.code == "missing"]
    assert [(f.structure, f.severity) for f in found] == [(name, "refusal")]
    assert BY_ID[name].label in found[0].text


def test_a_mirrored_anatomy_is_refused_for_both_vessels() -> None:
    labels = anatomy()
    mirrored = Labels(
        labels.volume.with_array(labels.volume.array[:, :, ::-1]), labels.analysed_mask
    )
    found = [f for f in findings(mirrored) if f.severity == "refusal"]
    assert {f.code for f in found} == {"orientation_unexpected"}
    assert {f.structure for f in found} == {"aa", "ivc"}


@pytest.mark.parametrize(
    ("axis", "blamed"), [(0, {"l4", "ivd"}), (1, {"dura", "aa", "ivc"})], ids=["head", "front"]
)
def test_an_anatomy_turned_upside_down_or_back_to_front_is_refused(
    axis: int, blamed: set[StructureId]
) -> None:
    labels = anatomy()
    turned = Labels(
        labels.volume.with_array(np.flip(labels.volume.array, axis)), labels.analysed_mask
    )
    found = [f for f in findings(turned) if f.code == "orientation_unexpected"]
    assert {f.structure for f in found} == blamed
    assert all(f.severity == "refusal" for f in found)


def test_swapped_vertebrae_are_refused() -> None:
    found = [f for f in findings(anatomy(swap=("l4", "l5"))) if f.severity == "refusal"]
    assert {f.structure for f in found} >= {"l4"}
    assert all(f.code == "orientation_unexpected" for f in found)


def test_the_axis_order_of_the_source_does_not_matter() -> None:
    labels = anatomy()
    for towards in (np.eye(3), -AXIAL, AXIAL[:, [2, 0, 1]]):
        volume = labels.volume.oriented(towards)
        assert findings(Labels(volume, np.ones(volume.shape, bool))) == ()


def test_a_volume_beyond_the_limits_is_told_with_its_millilitres() -> None:
    labels = anatomy()
    array = labels.volume.array.copy()
    array[array == BY_ID["ivd"].value] = 0
    array[24:26, 34:36, 34:36] = BY_ID["ivd"].value  # 8 voxels of 8 µl
    found = findings(Labels(labels.volume.with_array(array), labels.analysed_mask))
    assert [(f.code, f.severity, f.structure) for f in found] == [
        ("volume_unexpected", "warning", "ivd")
    ]
    assert "0.1 ml" in found[0].text


@pytest.mark.parametrize(("side", "keeps"), [("left", -1), ("right", 1)])
@pytest.mark.parametrize("name", ["pm", "n4"])
def test_a_side_that_is_missing_is_named(name: StructureId, side: str, keeps: int) -> None:
    labels = anatomy()
    x = labels.volume.to_patient(
        np.stack(np.meshgrid(*(np.arange(n) for n in labels.volume.shape), indexing="ij"), -1)
    )[..., 0]
    gone = (labels.volume.array == BY_ID[name].value) & (keeps * (x - CENTRE[0]) < 0)
    array = np.where(gone, 0, labels.volume.array).astype(np.uint8)
    found = findings(Labels(labels.volume.with_array(array), labels.analysed_mask))
    assert [(f.code, f.severity, f.structure) for f in found] == [("side_missing", "warning", name)]
    assert f"{BY_ID[name].label}, {side} " in found[0].text


def test_a_slab_cuts_the_bodies_and_their_volume_is_not_judged() -> None:
    labels = anatomy(width=14)
    found = plausibility_findings(labels, LEVEL, outside_view(labels, LEVEL))
    assert {f.structure for f in found if f.code == "cut_by_image"} >= {"l4", "ivd", "l5"}
    assert "dura" not in {f.structure for f in found if f.code == "cut_by_image"}
    assert not [f for f in found if f.code == "volume_unexpected"]


@pytest.mark.parametrize("towards", [AXIAL, np.eye(3), -AXIAL])
def test_tubes_may_leave_at_both_ends_and_a_body_may_not(towards: np.ndarray) -> None:
    """The window ends 22 mm above and below the disc: inside the bodies and all that runs along them."""
    whole = anatomy()
    seen = np.zeros(whole.analysed_mask.shape, bool)
    seen[14:36] = True
    array = np.where(seen, whole.volume.array, 0).astype(np.uint8)
    volume = whole.volume.with_array(array)
    turned = volume.oriented(towards)
    mask = Volume(seen.astype(np.uint8), volume.affine).oriented(towards)
    assert cut_structures(Labels(turned, mask.array.astype(bool))) == {"l4", "l5"}


def test_nothing_is_cut_in_a_window_that_holds_everything() -> None:
    assert cut_structures(anatomy()) == frozenset()


def test_warnings_of_the_level_are_passed_on() -> None:
    doubtful = Level(CENTRE, (0.0, 0.0, 1.0), 0.4, ("check the counting",))
    labels = anatomy()
    found = plausibility_findings(labels, doubtful, outside_view(labels, doubtful))
    assert [(f.code, f.text) for f in found] == [("level", "check the counting")]
