"""Outlines run between the voxels, touch where structures touch, and know where the image ends."""

from dataclasses import replace

import numpy as np
import pytest
from shapely.geometry import Polygon

from dicomseg.measure import contours, lengths
from dicomseg.measure.contours import outline_sections
from dicomseg.measure.midplane import plane_at
from dicomseg.measure.plane import Raster, move_plane, to_lps, to_plane
from dicomseg.measure.score_field import ScoreField
from dicomseg.segmentation import Scores
from dicomseg.structures import BY_ID
from dicomseg.volume import Volume

RASTER = Raster(-60.0, -50.0, contours.FINE_MM, (401, 321))
FLAT = plane_at(np.zeros(3), np.array([0.0, 0.0, 1.0]))


def drawn(seg, structures=("aa", "ivc", "pm"), plane=FLAT):
    corners = to_lps(plane, RASTER.corners_ab)
    return outline_sections(ScoreField.around(seg, corners, 5.0), plane, RASTER, structures)


def flat(shapes, **more):
    return shapes.pose(low_mm=(-62.0, -48.0, -8.0), high_mm=(62.0, 44.0, 8.0), **more)


def test_an_outline_covers_the_true_ellipse(shapes):
    tubes = shapes.spine()
    found = drawn(shapes.segmentation(tubes, flat(shapes)))
    for name in ("aa", "ivc", "pm"):
        truth = sorted((t.polygon() for t in tubes[name]), key=lambda p: -p.area)
        for section, true in zip(found.sections[name], truth, strict=True):
            assert section.polygon.hausdorff_distance(true) < 0.06
            assert section.polygon.area == pytest.approx(true.area, rel=0.005)
            assert not section.is_truncated


def test_touching_structures_share_their_outline(shapes):
    """Two half-overlapping tubes: each ends where the other begins, without the false gap of p = 0.5."""
    tubes = {"aa": (shapes.tube((5.0, -30.0, 0.0), (7.0, 7.0)),), "ivc": (shapes.tube((-6.0, -30.0, 0.0), (7.0, 7.0)),)}  # fmt: skip
    found = drawn(shapes.segmentation(tubes, flat(shapes)), ("aa", "ivc"))
    gap = lengths.gap(found.sections["aa"][0].polygon, found.sections["ivc"][0].polygon)
    assert gap.length_mm == 0.0


@pytest.mark.parametrize("true_mm", [0.2, 0.4, 0.8, 2.0])
def test_narrow_gaps_keep_their_width(shapes, true_mm):
    tubes = {"aa": (shapes.tube((7.0 + true_mm, -30.0, 0.0), (7.0, 7.0)),), "ivc": (shapes.tube((-7.0, -30.0, 0.0), (7.0, 7.0)),)}  # fmt: skip
    found = drawn(shapes.segmentation(tubes, flat(shapes)), ("aa", "ivc"))
    gap = lengths.gap(found.sections["aa"][0].polygon, found.sections["ivc"][0].polygon)
    assert gap.length_mm == pytest.approx(true_mm, abs=0.15)


def test_small_sections_are_counted_and_ignored(shapes):
    tubes = {"aa": (shapes.tube((14.0, -30.0, 0.0), (6.0, 6.0)), shapes.tube((-10.0, -30.0, 0.0), (1.4, 1.4)))}  # fmt: skip
    found = drawn(shapes.segmentation(tubes, flat(shapes)), ("aa",))
    assert len(found.sections["aa"]) == 1
    assert found.ignored["aa"] == 1


@pytest.mark.parametrize(("structure", "neck", "sections"), [("aa", 0.8, 2), ("aa", 2.5, 1), ("ivc", 0.8, 1)])  # fmt: skip
def test_arteries_that_hardly_join_are_two_branches(shapes, structure, neck, sections):
    """Two circles of 8 mm, 9 mm apart, joined by a bridge of a margin that the network is sure of or not."""
    tubes = {structure: (shapes.tube((9.5, -30.0, 0.0), (4.0, 4.0)), shapes.tube((0.5, -30.0, 0.0), (4.0, 4.0)))}  # fmt: skip
    seg = shapes.segmentation(tubes, flat(shapes))
    volume = Volume(seg.scores.logits[0], seg.scores.affine)
    lps = volume.to_patient(np.stack(np.indices(volume.shape), -1).reshape(-1, 3))
    bridge = (np.abs(lps[:, 0] - 5.0) < 3.0) & (np.abs(lps[:, 1] + 30.0) < 1.5)
    bridge = bridge.reshape(volume.shape)
    logits, value = seg.scores.logits.copy(), BY_ID[structure].value
    best = np.delete(logits, value, axis=0).max(0)
    logits[value] = np.where(bridge, np.maximum(logits[value], best + neck), logits[value])
    labels = seg.labels.volume
    joined = labels.with_array(np.where(labels.array == 0, value, labels.array).astype(np.uint8))
    seg = replace(
        seg, scores=Scores(logits, seg.scores.affine), labels=replace(seg.labels, volume=joined)
    )
    found = drawn(seg, (structure,)).sections[structure]
    assert len(found) == sections
    if sections == 2:
        assert [lengths.max_feret(s.polygon).length_mm for s in found] == pytest.approx([8.3, 8.3], abs=0.7)  # fmt: skip
        assert lengths.gap(found[0].polygon, found[1].polygon).length_mm < 0.4
    else:
        assert lengths.max_feret(found[0].polygon).length_mm == pytest.approx(17.0, abs=0.3)


@pytest.mark.parametrize(("radius_mm", "branches"), [(2.2, 1), (3.2, 2)])
def test_a_vessel_section_far_smaller_than_the_largest_is_no_branch(shapes, radius_mm, branches):
    """An eighth of the aorta's area is a false piece, more than a quarter a branch."""
    tubes = {"aa": (shapes.tube((14.0, -30.0, 0.0), (6.0, 6.0)), shapes.tube((-10.0, -30.0, 0.0), (radius_mm, radius_mm)))}  # fmt: skip
    found = drawn(shapes.segmentation(tubes, flat(shapes)), ("aa",))
    assert len(found.sections["aa"]) == branches
    assert [p.section.centre_ab[0] < 0 for p in found.pieces] == [True] * (2 - branches)
    assert found.ignored["aa"] == 0


def test_a_small_vessel_section_that_the_image_cuts_stays(shapes):
    pose = shapes.pose(low_mm=(-12.0, -48.0, -8.0), high_mm=(62.0, 44.0, 8.0))
    tubes = {"aa": (shapes.tube((14.0, -30.0, 0.0), (6.0, 6.0)), shapes.tube((-11.5, -30.0, 0.0), (2.4, 2.4)))}  # fmt: skip
    found = drawn(shapes.segmentation(tubes, pose), ("aa",))
    assert [s.is_truncated for s in found.sections["aa"]] == [False, True]
    assert found.pieces == ()


def test_what_the_labels_lack_is_not_outlined(shapes):
    seg = shapes.segmentation(shapes.spine(), flat(shapes))
    volume = seg.labels.volume
    labels = np.where(volume.array == 6, 0, volume.array).astype(np.uint8)
    seg = replace(seg, labels=replace(seg.labels, volume=volume.with_array(labels)))
    found = drawn(seg)
    assert found.sections["aa"] == ()
    assert found.ignored["aa"] == 2


def test_a_section_at_the_end_of_the_image_is_cut(shapes):
    pose = shapes.pose(low_mm=(-62.0, -48.0, -8.0), high_mm=(36.0, 44.0, 8.0))
    found = drawn(shapes.segmentation(shapes.spine(), pose))
    left, right = sorted(found.sections["pm"], key=lambda s: -s.centre_ab[0])
    assert left.is_truncated
    assert np.all(left.truncation_ab[:, 0] > 34.0)
    assert not right.is_truncated


def test_a_section_where_nobody_looked_is_cut(shapes):
    seg = shapes.segmentation(shapes.spine(), flat(shapes))
    looked = seg.labels.analysed_mask.copy()
    x = seg.labels.volume.to_patient(np.stack(np.indices(looked.shape), axis=-1))[..., 0]
    looked[x < -40.0] = False
    seg = replace(seg, labels=replace(seg.labels, analysed_mask=looked))
    cut = [s.is_truncated for s in sorted(drawn(seg).sections["pm"], key=lambda s: s.centre_ab[0])]
    assert cut == [True, False]


def test_a_moved_plane_keeps_its_axes_square(shapes):
    plane = move_plane(FLAT, 3.0, 5.0, -4.0)
    axes = np.array([plane.e_left, plane.e_back, plane.normal])
    assert np.allclose(axes @ axes.T, np.eye(3))
    assert np.allclose(np.cross(axes[2], axes[0]), axes[1])
    assert plane.point_lps == pytest.approx((0.0, 0.0, 3.0))


def test_in_plane_points_go_to_the_patient_and_back():
    plane = move_plane(FLAT, 3.0, 5.0, -4.0)
    points = np.array([[1.0, 2.0], [-30.0, 7.5]])
    assert np.allclose(to_plane(plane, to_lps(plane, points)), points)


def test_lengths_of_a_known_polygon():
    box = Polygon([(0, 0), (4, 0), (4, 3), (0, 3)])
    assert lengths.max_feret(box).length_mm == pytest.approx(5.0)
    assert lengths.min_feret(box).length_mm == pytest.approx(3.0)
    assert lengths.extent_back(box).length_mm == pytest.approx(3.0)
    assert lengths.gap(box, Polygon([(7, 7), (9, 7), (9, 9)])).length_mm == pytest.approx(5.0)
    assert lengths.gap(box, Polygon([(4.03, 0), (9, 0), (9, 9)])).length_mm == 0.0
    assert lengths.gap(box, Polygon([(2, 1), (9, 0), (9, 9)])).length_mm == 0.0
    assert lengths.solidity(box) == pytest.approx(1.0)
    assert lengths.nearest_mm(box, np.empty((0, 2))) == float("inf")
