"""The mid-plane bisects the faces of the disc, in any pose, grid and defect."""

from dataclasses import replace

import numpy as np
import pytest

from dicomseg.measure import midplane
from dicomseg.measure.midplane import MidPlane
from dicomseg.result import Refusal
from dicomseg.structures import BY_ID


def error(found, pose):
    """(angle in degrees, offset in mm) to the true plane."""
    assert isinstance(found, MidPlane), found
    normal = np.array(found.plane.normal)
    cosine = np.clip(normal @ pose.disc[:, 2], -1, 1)
    offset = (np.array(found.plane.point_lps) - pose.centre_lps) @ pose.disc[:, 2]
    return float(np.rad2deg(np.arccos(cosine))), abs(float(offset))


def lying(shapes, seed, **more):
    """A random oblique pose: the disc in the patient, and a grid that fits neither."""
    rng = np.random.default_rng(seed)
    disc = shapes.rotation(rng.uniform(-20, 20), np.array([1.0, 0, 0])) @ shapes.rotation(
        rng.uniform(-8, 8), np.array([0, 1.0, 0])
    )
    grid = shapes.rotation(rng.uniform(-15, 15), rng.normal(size=3)) @ disc
    return shapes.pose(
        disc=disc,
        centre_lps=tuple(rng.uniform(-30, 30, 3)),
        grid=grid,
        order=tuple(int(v) for v in rng.permutation(3)),
        flips=tuple(axis for axis in range(3) if rng.random() < 0.5),
        **{"low_mm": (-32.0, -24.0, -14.0), "high_mm": (32.0, 24.0, 14.0)} | more,
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_plane_is_found_in_any_pose(shapes, seed):
    pose = lying(shapes, seed)
    angle, offset = error(midplane.find_midplane(shapes.segmentation({}, pose)), pose)
    assert angle < 0.1
    assert offset < 0.02


def test_the_axes_of_the_plane_are_the_patients(shapes):
    pose = lying(shapes, 7)
    found = midplane.find_midplane(shapes.segmentation({}, pose))
    assert isinstance(found, MidPlane)
    left, back, normal = (
        np.array(v) for v in (found.plane.e_left, found.plane.e_back, found.plane.normal)
    )
    assert np.allclose(np.cross(normal, left), back)
    assert left[0] > 0.9
    assert back[1] > 0.8
    assert normal[2] > 0.8
    assert abs(left @ normal) < 1e-9


def test_half_resolution_scores_give_the_same_plane(shapes):
    pose = lying(shapes, 2, spacing_mm=(1.6, 1.6, 1.6))
    angle, offset = error(midplane.find_midplane(shapes.segmentation({}, pose, tau_mm=0.8)), pose)
    assert angle < 0.1
    assert offset < 0.02


def test_the_wedge_of_the_disc_is_known(shapes):
    found = midplane.find_midplane(shapes.segmentation({}, lying(shapes, 1)))
    assert isinstance(found, MidPlane)
    assert found.wedge_deg == pytest.approx(8.0, abs=0.2)


def changed(shapes, pose, change):
    """The phantom after `change(logits, local)`; local: coordinates in the disc's frame."""
    seg = shapes.segmentation({}, pose)
    volume = seg.labels.volume
    index = np.stack(np.indices(volume.shape), axis=-1)
    local = (volume.to_patient(index) - np.array(pose.centre_lps)) @ pose.disc
    logits = seg.scores.logits.copy()
    change(logits, local)
    return shapes.answer(logits, volume.affine, pose)


def herniation(logits, local):
    ball = (6.0 - np.linalg.norm(local - [3.0, 19.0, 2.0], axis=-1)) / 0.4
    logits[2] = np.maximum(logits[2], ball)


def third_unlabelled(logits, local):
    logits[2] = np.where(local[..., 0] > 9.0, -10.0, logits[2])


def layer_between(logits, local):
    """One unlabelled millimetre between disc and bone."""
    for bone, sign in ((1, 1.0), (3, -1.0)):
        height = sign * local[..., 2] + np.tan(np.deg2rad(4.0)) * local[..., 1] - 6.0
        logits[bone] = np.minimum(logits[bone], height / 0.4)


def slipped(logits, local):
    logits[1] = np.where(local[..., 1] > 12.0, -10.0, logits[1])


@pytest.mark.parametrize("change", [herniation, third_unlabelled, layer_between, slipped])
@pytest.mark.parametrize("seed", [0, 1])
def test_defects_of_the_disc_hardly_move_the_plane(shapes, change, seed):
    pose = lying(shapes, seed)
    angle, offset = error(midplane.find_midplane(changed(shapes, pose, change)), pose)
    assert angle < 0.5
    assert offset < 0.15


def test_a_missing_bone_is_refused_by_name(shapes):
    def without_l5(logits, local):
        logits[3] = -10.0

    found = midplane.find_midplane(changed(shapes, lying(shapes, 0), without_l5))
    assert found == Refusal(
        "plane_undetermined", "disc plane not determined: L5 vertebral body not found"
    )


def test_a_small_face_is_refused_with_its_area(shapes):
    def sliver(logits, local):
        logits[2] = np.where(np.abs(local[..., 0]) < 1.5, logits[2], -10.0)

    found = midplane.find_midplane(changed(shapes, lying(shapes, 0), sliver))
    assert isinstance(found, Refusal)
    assert found.code == "plane_undetermined"
    assert "mm² of the disc face" in found.text


def test_bodies_that_changed_places_are_refused(shapes):
    def upside_down(logits, local):
        logits[[1, 3]] = logits[[3, 1]]

    found = midplane.find_midplane(changed(shapes, lying(shapes, 0), upside_down))
    assert isinstance(found, Refusal)
    assert found.code == "orientation_unexpected"


def test_a_disc_whose_shape_contradicts_its_faces_is_refused(shapes):
    """Disc labels far above one corner turn the main axes away from the faces."""
    pose = lying(shapes, 0)
    seg = shapes.segmentation({}, pose)
    volume = seg.labels.volume
    local = (
        volume.to_patient(np.stack(np.indices(volume.shape), axis=-1)) - np.array(pose.centre_lps)
    ) @ pose.disc
    labels = volume.array.copy()
    labels[(local[..., 1] > 8) & (local[..., 2] > 0) & (labels == BY_ID["l4"].value)] = BY_ID[
        "ivd"
    ].value
    labels[(local[..., 1] < -8) & (local[..., 2] < 0) & (labels == BY_ID["l5"].value)] = BY_ID[
        "ivd"
    ].value
    seg = replace(seg, labels=replace(seg.labels, volume=volume.with_array(labels)))
    found = midplane.find_midplane(seg)
    assert isinstance(found, Refusal)
    assert "two methods differ" in found.text
