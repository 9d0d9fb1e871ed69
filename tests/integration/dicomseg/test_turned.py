"""The same patient on a grid with other axes has the same values; a mirrored patient has the other side's."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scipy.spatial import cKDTree

from dicomseg.encode.uids import Identity
from dicomseg.measure.measure import measure
from dicomseg.read.header import read_instance
from dicomseg.read.series import Grid, assemble
from dicomseg.result import Measurements
from dicomseg.segmentation import Labels, Scores, Segmentation
from dicomseg.structures import SEGMENTS
from dicomseg.volume import Volume
from model.bundle.load import load_bundle
from model.postprocess import split_sides
from node.work import pipeline
from tests.support.phantoms import Truth
from tests.support.shapes import Pose, Tube, rotation, segmentation, spine
from tests.support.truth import Found, read_labels

TURNS = [
    (axes, flips)
    for n, axes in enumerate(permutations(range(3)))
    for flips in product((1, -1), repeat=3)
    if (n + flips.count(-1)) % 2 == 0
]
"""24 grids: every order of axes with four flips each, right-handed and left-handed ones."""
SAME_MM = 1e-6
TRUE_MM = 0.1
"""As in `test_measure`, of smooth scores."""


def turned(array: np.ndarray, affine: np.ndarray, axes: Any, flips: Any) -> tuple[Any, np.ndarray]:
    """The same voxels at the same places; the last three axes of an array."""
    affine = affine.copy()
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis - 3] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis - 3)
    affine[:3, :3] = affine[:3, :3][:, axes]
    before = tuple(range(array.ndim - 3))
    moved = array.transpose(*before, *(len(before) + a for a in axes))
    return np.ascontiguousarray(moved), affine


@cache
def patient() -> Segmentation:
    """A disc that lies obliquely, on a grid that does otherwise; its sides split as the node does."""
    disc = rotation(14.0, np.array([1.0, 0, 0])) @ rotation(-6.0, np.array([0, 1.0, 0]))
    pose = Pose(
        disc=disc,
        centre_lps=(17.0, -24.0, 31.0),
        grid=rotation(9.0, np.array([0.4, -0.5, 1.0])) @ disc,
        spacing_mm=(1.6, 1.5, 1.7),
    )
    seg = segmentation(spine(), pose, tau_mm=0.8)
    return replace(seg, sides=split_sides(seg.labels.volume))


@cache
def measured() -> Measurements:
    return measure(patient())


def turned_patient(axes: Any, flips: Any) -> Segmentation:
    seg, volume = patient(), patient().labels.volume
    labels = Volume(*turned(volume.array, volume.affine, axes, flips))
    logits, affine = turned(seg.scores.logits, seg.scores.affine, axes, flips)
    return replace(
        seg,
        labels=Labels(labels, np.ones(labels.shape, bool)),
        sides=split_sides(labels),
        scores=Scores(logits, affine),
    )


@pytest.mark.parametrize(("axes", "flips"), TURNS)
def test_values_and_end_points_are_the_same_on_every_grid(axes: Any, flips: Any) -> None:
    seg = turned_patient(axes, flips)
    sides, _ = turned(patient().sides.array, patient().sides.affine, axes, flips)
    assert np.array_equal(seg.sides.array, sides)
    found, before = measure(seg), measured()
    assert found.findings == before.findings == ()
    assert {**found.main, **found.extra}.keys() == {**before.main, **before.extra}.keys()
    for name, m in {**before.main, **before.extra}.items():
        other = {**found.main, **found.extra}[name]
        assert (other.side, other.start, other.end) == (m.side, m.start, m.end), name
        assert other.flags == m.flags, name
        assert (other.value_mm is None) == (m.value_mm is None), name
        if m.value_mm is not None:
            assert other.value_mm == pytest.approx(m.value_mm, abs=SAME_MM), name
            assert np.abs(np.subtract(other.points_lps, m.points_lps)).max() < SAME_MM, name
            assert other.uncertainty_mm == pytest.approx(m.uncertainty_mm, abs=SAME_MM), name
    assert found.further.keys() == before.further.keys() != set()
    for name, value in before.further.items():
        now = found.further[name]
        assert (now.side, now.start, now.end, now.category, now.unit) == (
            value.side, value.start, value.end, value.category, value.unit,
        ), name  # fmt: skip
        assert now.refusal == value.refusal, name
        if value.value is None:
            continue
        assert now.value == pytest.approx(value.value, rel=1e-6, abs=SAME_MM), name
        if value.points_lps:
            away, _ = cKDTree(value.points_lps).query(now.points_lps)
            assert away.max() < 1e-4, name


def mirrored(seg: Segmentation) -> Segmentation:
    """Voxels exchanged from left to right under the same affine, as where an axis is read backwards."""
    volume = seg.labels.volume
    across = int(np.abs(volume.directions[0]).argmax())
    labels = volume.with_array(np.flip(volume.array, across))
    return replace(
        seg,
        labels=Labels(labels, np.ones(labels.shape, bool)),
        sides=split_sides(labels),
        scores=Scores(np.flip(seg.scores.logits, across + 1), seg.scores.affine),
    )


def test_a_mirrored_patient_is_refused_by_the_vessels() -> None:
    found = measure(mirrored(patient()))
    refusals = {name: m.refusal and m.refusal.code for name, m in found.main.items()}
    assert refusals == dict.fromkeys(("OC", "DAA", "DIVC", "PI"), "orientation_unexpected")


def test_a_mirrored_patient_without_a_vein_has_the_values_of_the_other_side() -> None:
    """Nothing is left that could contradict: then left is what lies left now."""
    tubes = spine() | {"aa": (Tube((2.0, -31.0, 0.0), (8.0, 7.0), 10.0, 70.0),)}
    del tubes["ivc"]
    pose = Pose(spacing_mm=(1.6, 1.6, 1.6))
    seg = segmentation(tubes, pose, tau_mm=0.8)
    other = mirrored(replace(seg, sides=split_sides(seg.labels.volume)))
    (artery,), (left, right) = ([t.polygon() for t in tubes[name]] for name in ("aa", "pm"))
    before, after = (measure(s).main["OC"] for s in (seg, other))
    assert before.value_mm == pytest.approx(left.distance(artery), abs=TRUE_MM)
    assert after.value_mm == pytest.approx(right.distance(artery), abs=TRUE_MM)
    assert abs(left.distance(artery) - right.distance(artery)) > 2
    for m in (before, after):
        assert (m.side, m.start) == ("left", "left psoas major")
        assert m.points_lps[0][0] > m.points_lps[1][0]
    for number, is_left in ((8, True), (9, False)):
        lps = other.sides.to_patient(other.sides.where(number))
        assert (lps[:, 0] > 0).all() == is_left


# ---- the pipeline --------------------------------------------------------------------------------


def write_turned(truth: Truth, folder: Path, axes: Any, flips: Any) -> list[Path]:
    """The series of a phantom sliced along other axes: the same voxels as other images."""
    sets = [pydicom.dcmread(file) for file in truth.files]
    grid = assemble([read_instance(file) for file in truth.files])
    assert isinstance(grid, Grid)
    by_uid = {str(ds.SOPInstanceUID): ds.pixel_array for ds in sets}
    stack = np.stack([by_uid[i.sop_instance_uid] for i in grid.instances])
    array, affine = turned(stack, grid.affine, axes, flips)
    step = [np.linalg.norm(affine[:3, n]) for n in range(3)]
    paths = []
    for n, values in enumerate(array):
        ds = sets[0].copy()
        ds.SOPInstanceUID = f"1.2.3.{n + 1}"
        ds.file_meta = copy.deepcopy(sets[0].file_meta)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.InstanceNumber, ds.SliceThickness = n + 1, step[0]
        ds.Rows, ds.Columns = values.shape
        ds.PixelSpacing = [f"{v:.10g}" for v in step[1:]]
        directions = (*affine[:3, 2] / step[2], *affine[:3, 1] / step[1])
        ds.ImageOrientationPatient = [f"{v:.10f}" for v in directions]
        ds.ImagePositionPatient = [f"{v:.10g}" for v in affine[:3, 3] + n * affine[:3, 0]]
        ds.PixelData = values.tobytes()
        for keyword in ("SpacingBetweenSlices", "ImagesInAcquisition"):
            if keyword in ds:
                del ds[keyword]
        paths.append(folder / f"{n:04d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def processed(files: list[Path], bundle: Path) -> pipeline.Processed:
    grid = assemble([read_instance(file) for file in files])
    assert isinstance(grid, Grid), grid
    settings = pipeline.Settings(Identity("m", "n", "1", "1", ""))
    now = datetime(2026, 1, 2, tzinfo=UTC)
    found = pipeline.process_series(grid, load_bundle(bundle), settings, lambda: now)
    assert isinstance(found, pipeline.Processed)
    return found


@pytest.fixture(scope="module")
def straight(small_coded: Truth, oracle_bundle: Path) -> pipeline.Processed:
    """The result of the phantom as it is."""
    return processed(small_coded.files, oracle_bundle)


@pytest.mark.slow
@pytest.mark.parametrize(("axes", "flips"), [TURNS[18]])
def test_a_series_sliced_along_other_axes_has_the_same_result(
    straight: pipeline.Processed,
    small_coded: Truth,
    oracle_bundle: Path,
    tmp_path: Path,
    axes: Any,
    flips: Any,
) -> None:
    before = straight
    after = processed(write_turned(small_coded, tmp_path, axes, flips), oracle_bundle)
    for name, m in before.result.measurements.main.items():
        found = after.result.measurements.main[name]
        assert found.value_mm == pytest.approx(m.value_mm, abs=0.02), name
        assert np.abs(np.subtract(found.points_lps, m.points_lps)).max() < 0.05, name
    for name, structure in before.result.structures.items():
        assert after.result.structures[name].volume_ml == pytest.approx(
            structure.volume_ml, rel=1e-6
        )
    labels = [read_labels(Found(p.files).sets["seg.dcm"]) for p in (before, after)]
    for number in range(1, len(SEGMENTS) + 1):
        places = [v.to_patient(np.argwhere(v.array == number)) for v in labels]
        assert len(places[0]) == len(places[1]) > 0
        away, _ = cKDTree(places[0]).query(places[1])
        assert away.max() < 1e-3
