"""Instances become one regular grid in patient space, or a gap that is named with its numbers."""

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomseg.errors import Unreadable
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.header import instance_from_dataset, read_instance
from dicomseg.read.series import Grid, assemble, expected_count, same_geometry, why_too_small


def instances(scan):
    return [instance_from_dataset(ds, Path(f"{n}.dcm"), "") for n, ds in enumerate(scan.datasets())]


@pytest.fixture
def whole(scan):
    return instances(scan)


def shifted(instance, by_mm):
    moved = np.array(instance.position_lps) + by_mm
    return replace(instance, position_lps=tuple(float(v) for v in moved))


def test_the_affine_is_that_of_the_images(any_scan):
    grid = assemble(instances(any_scan))
    assert isinstance(grid, Grid)
    assert grid.shape == any_scan.shape
    assert grid.spacing_mm == pytest.approx(any_scan.spacing_mm)
    i, j, k = 9, 4, 2
    expected = (
        np.array(any_scan.position(i))
        + np.array(any_scan.column) * j * any_scan.spacing_mm[1]
        + np.array(any_scan.row) * k * any_scan.spacing_mm[2]
    )
    assert (grid.affine @ [i, j, k, 1])[:3] == pytest.approx(expected, abs=1e-6)
    assert np.linalg.det(grid.affine[:3, :3] @ np.eye(3)[:, ::-1]) > 0
    normal = np.cross(any_scan.row, any_scan.column)
    assert grid.affine[:3, 0] @ normal > 0


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_the_order_of_files_means_nothing(any_scan, order):
    given = instances(any_scan)
    other = given[::-1] if order == "reversed" else random.Random(3).sample(given, len(given))
    a, b = assemble(given), assemble(other)
    assert isinstance(a, Grid)
    assert isinstance(b, Grid)
    assert np.array_equal(a.affine, b.affine)
    assert a.instances == b.instances


def test_instance_numbers_that_run_downwards_change_nothing(whole):
    count = len(whole)
    turned = [replace(i, instance_number=count + 1 - (i.instance_number or 0)) for i in whole]
    a, b = assemble(whole), assemble(turned)
    assert isinstance(a, Grid)
    assert isinstance(b, Grid)
    assert np.array_equal(a.affine, b.affine)
    assert [i.position_lps for i in a.instances] == [i.position_lps for i in b.instances]


@pytest.mark.parametrize(
    ("name", "orientation"),
    [("axial", "axial"), ("sagittal", "sagittal"), ("coronal", "coronal"), ("oblique", "oblique")],
)
def test_orientation_is_named(scan, name, orientation):
    directions = {
        "axial": ((1.0, 0.0, 0.0), (0.0, 0.906308, 0.422618)),
        "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
        "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
        "oblique": ((1.0, 0.0, 0.0), (0.0, 0.70710678, 0.70710678)),
    }
    row, column = directions[name]
    grid = assemble(instances(replace(scan, row=row, column=column)))
    assert isinstance(grid, Grid)
    assert grid.orientation == orientation


def test_missing_slices_are_named_with_place_and_neighbours(scan, whole):
    found = assemble([i for n, i in enumerate(whole) if n not in {5, 6, 10}])
    assert isinstance(found, GeometryProblem)
    assert found.code == "missing-slices"
    between = "between instances 5 and 8"
    assert found.text.startswith(
        f"3 of 14 slices missing: slice 6 at LPS (-10.0, -20.0, -25.5) mm, {between}; slice 7 at"
    )
    assert found.text.endswith("mm, between instances 10 and 12")
    assert np.allclose(found.missing_lps, [scan.position(n) for n in (5, 6, 10)])


def test_a_missing_last_slice_shows_in_the_count_only(whole):
    counted = [replace(i, images_in_acquisition=14) for i in whole]
    grid = assemble(counted[:-1])
    assert isinstance(grid, Grid)
    assert grid.shape[0] == 13
    assert expected_count(counted[:-1]) == 14


def test_expected_count_is_unknown_when_headers_disagree(whole):
    assert expected_count(whole) is None
    assert (
        expected_count([replace(i, images_in_acquisition=n) for n, i in enumerate(whole)]) is None
    )
    assert expected_count([]) is None
    assert expected_count([replace(whole[0], frames=128)]) == 128


CASES = {
    "no instance": (lambda w: w[:0], "no-instances", "no instance"),
    "frame of reference": (
        lambda w: [*w[:4], replace(w[4], frame_of_reference_uid="9.9"), *w[5:]],
        "mixed-frames-of-reference",
        "instance 5",
    ),
    "rows": (lambda w: [*w[:4], replace(w[4], rows=7), *w[5:]], "mixed-sizes", "instance 5"),
    "series": (lambda w: [*w[:4], replace(w[4], series_uid="9.9"), *w[5:]], "mixed-series", "instance 5"),
    "orientation": (
        lambda w: [*w[:4], replace(w[4], row_lps=(0.0, 1.0, 0.0), column_lps=(0.0, 0.0, -1.0)), *w[5:]],
        "mixed-orientations",
        "instance 5",
    ),
    "pixel spacing": (
        lambda w: [*w[:4], replace(w[4], spacing_mm=(0.7, 0.61)), *w[5:]],
        "mixed-spacing",
        r"instance 5: pixel spacing differs from 0\.7 × 0\.6 mm",
    ),
    "no position": (lambda w: [*w[:4], replace(w[4], position_lps=None), *w[5:]], "no-geometry", "instance 5"),
    "skew directions": (
        lambda w: [replace(i, column_lps=(0.6, 0.8, 0.0)) for i in w],
        "no-geometry",
        "instance 1",
    ),
    "doubled": (
        lambda w: [*w, replace(w[4], sop_instance_uid="9.9", instance_number=15)],
        "doubled-positions",
        "instances 5 and 15",
    ),
    "one slice moved by 0.2 mm": (
        lambda w: [*w[:4], shifted(w[4], [0, 0, 0.2]), *w[5:]],
        "uneven-spacing",
        r"1\.100 mm between instances 4 and 5; the usual spacing is 0\.900 mm",
    ),
    "one slice moved sideways by 0.2 mm": (
        lambda w: [*w[:4], shifted(w[4], [0.2, 0, 0]), *w[5:]],
        "uneven-spacing",
        r"instance 5 is 0\.1\d mm off the grid of the other slices",
    ),
    "every third slice moved by 0.25 mm": (
        lambda w: [shifted(i, [0, 0, 0.25 * (n % 3 == 1)]) for n, i in enumerate(w)],
        "uneven-spacing",
        "0.9",
    ),
    "a jump between two stacks": (
        lambda w: [*w[:7], *(shifted(i, [0, 0, 0.3]) for i in w[7:])],
        "uneven-spacing",
        r"1\.200 mm between instances 7 and 8",
    ),
    "spacing that grows": (
        lambda w: [shifted(i, [0, 0, 0.006 * n * n]) for n, i in enumerate(w)],
        "uneven-spacing",
        "mm",
    ),
    "one slice tilted by 0.2°": (
        lambda w: [
            replace(i, row_lps=(1.0, a, 0.0), column_lps=(-a, 1.0, 0.0), rows=320, columns=320)
            for n, i in enumerate(w) for a in [0.0035 * (n == 4)]
        ],
        "mixed-orientations",
        "instance 5: image orientation differs",
    ),
    "a slice at the moon": (
        lambda w: [*w[:4], shifted(w[4], [0, 0, 4e11]), *w[5:]],
        "no-geometry",
        "instance 5",
    ),
    "slices too close and too far": (
        lambda w: [shifted(w[0], [0, 0, -9000]), w[1], shifted(w[1], [0, 0, 0.07])],
        "uneven-spacing",
        "mm between",
    ),
    "shear": (
        lambda w: [shifted(i, [0.06 * n, 0, 0]) for n, i in enumerate(w)],
        "shear",
        r"0\.060 mm per 0\.900 mm",
    ),
    "frames without positions": (lambda w: [replace(w[0], frames=9)], "no-geometry", "9 frames: position"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_flaw_is_named(whole, case):
    change, code, text = CASES[case]
    found = assemble(change(whole))
    assert isinstance(found, GeometryProblem)
    assert found.code == code
    assert re.search(text, found.text), found.text


TOLERATED = {
    "orientation rounded": lambda w: [
        replace(i, row_lps=(1.0, 5e-5 * (n % 2), 0.0)) for n, i in enumerate(w)
    ],
    "slices moved by 0.1 mm": lambda w: [
        shifted(i, [0, 0, 0.1 * (n % 2)]) for n, i in enumerate(w)
    ],
    "one slice moved by 0.1 mm": lambda w: [*w[:4], shifted(w[4], [0, 0, 0.1]), *w[5:]],
    "shear of 0.03 mm per slice": lambda w: [shifted(i, [0.03 * n, 0, 0]) for n, i in enumerate(w)],
    "no instance numbers": lambda w: [replace(i, instance_number=None) for i in w],
    "echo times that jitter": lambda w: [replace(i, echo_time_ms=120 + 0.01 * n) for n, i in enumerate(w)],
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(TOLERATED))
def test_rounding_is_tolerated(whole, case):
    changed = TOLERATED[case](whole)
    grid = assemble(changed)
    assert isinstance(grid, Grid), grid
    for n, instance in enumerate(grid.instances):
        assert (grid.affine @ [n, 0, 0, 1])[:3] == pytest.approx(instance.position_lps, abs=0.1)


def test_a_single_slice_is_as_deep_as_its_thickness(whole):
    grid = assemble(whole[:1])
    assert isinstance(grid, Grid)
    assert grid.spacing_mm[0] == pytest.approx(0.9)


def test_too_small_volumes_are_refused_with_the_number(whole):
    few = assemble(whole[:11])
    assert isinstance(few, Grid)
    assert why_too_small(few) == "11 slices; at least 12 are needed"
    enough = assemble(whole)
    assert isinstance(enough, Grid)
    assert why_too_small(enough) is None
    thin = assemble([shifted(i, [0, 0, -0.5 * n]) for n, i in enumerate(whole)])
    assert isinstance(thin, Grid)
    assert why_too_small(thin) == "5.6 mm along the slices; at least 10 mm are needed"


def test_twins_share_their_geometry(whole):
    a = assemble(whole)
    b = assemble([replace(i, series_uid="7.7") for i in whole])
    c = assemble([shifted(i, [0, 0.5, 0]) for i in whole])
    assert isinstance(a, Grid)
    assert isinstance(b, Grid)
    assert isinstance(c, Grid)
    assert same_geometry(a, b)
    assert not same_geometry(a, c)


EXPECTED = {
    "ge-epi-axial": "doubled-positions",
    "pydicom-emri-small": "no-geometry",
    "siemens-epi-sag-mosaic": "sagittal",
    "siemens-phoenix-report": "no-geometry",
    "siemens-scout-mpr-cor": "mixed-orientations",
    "siemens-t1-fl2d-sag-decubitus": "sagittal",
    "siemens-gre-field-map-sag": "sagittal",
    "siemens-xa30-enhanced-dwi": "axial",
}


@pytest.mark.shared
def test_real_series_become_a_grid_or_a_named_gap(shared):
    found = {}
    for folder in sorted((shared / "data/dicom").glob("*/")):
        try:
            grid = assemble([read_instance(p) for p in sorted(folder.glob("*"))])
        except Unreadable:
            continue
        found[folder.name] = grid.orientation if isinstance(grid, Grid) else grid.code
    assert len(found) == 18
    assert EXPECTED.items() <= found.items()


def rounded(instance, digits):
    return replace(instance, position_lps=tuple(round(v, digits) for v in instance.position_lps))


def noisy(instance, rng, scale):
    row, column = (
        tuple(float(v) for v in np.array(axis) + rng.normal(0, scale, 3))
        for axis in (instance.row_lps, instance.column_lps)
    )
    return replace(instance, row_lps=row, column_lps=column)


@pytest.fixture
def tilted(scan):
    """60 slices of 300 mm, 0.8 mm apart, tilted by 17°: every coordinate has many digits."""
    c, s = np.cos(np.deg2rad(17)), np.sin(np.deg2rad(17))
    made = replace(
        scan,
        column=(0.0, float(c), float(-s)),
        first_lps=(-150.0, -140.0, -24.0),
        spacing_mm=(0.8, 0.75, 0.75),
        shape=(60, 6, 5),
    )
    return [replace(i, rows=400, columns=400) for i in instances(made)]


def corners(grid):
    ends = np.array([[0, 0, 0, 1], [59, 0, 0, 1], [0, 399, 399, 1], [59, 399, 399, 1]], dtype=float)
    return ends @ grid.affine[:3].T


@pytest.mark.parametrize("digits", [9, 2, 1])
@pytest.mark.parametrize("noise", [0.0, 5e-5, 2e-4])
def test_rounded_and_noisy_headers_give_the_true_grid(tilted, digits, noise):
    rng = np.random.default_rng(2)
    true = assemble(tilted)
    found = assemble([noisy(rounded(i, digits), rng, noise) for i in tilted])
    assert isinstance(true, Grid)
    assert isinstance(found, Grid), found
    off = np.linalg.norm(corners(found) - corners(true), axis=1)
    assert off.max() < 0.05 + 0.1 * (noise == 2e-4)
    assert np.allclose(found.affine[:3, :3].T @ found.affine[:3, :3], np.diag(np.square(found.spacing_mm)), atol=1e-9)  # fmt: skip


@pytest.mark.parametrize("missing", [1, 30, 58])
@pytest.mark.parametrize("noise", [0.0, 2e-4])
def test_one_missing_slice_of_a_rounded_series_is_found(tilted, missing, noise):
    rng = np.random.default_rng(3)
    given = [noisy(rounded(i, 1), rng, noise) for i in tilted]
    found = assemble([*given[:missing], *given[missing + 1 :]])
    assert isinstance(found, GeometryProblem)
    assert found.code == "missing-slices"
    assert "1 of 60 slices missing" in found.text
    assert np.allclose(found.missing_lps[0], tilted[missing].position_lps, atol=0.15)


@pytest.mark.parametrize("spacing", [0.4, 0.5, 0.8, 1.0, 3.3])
def test_rounding_is_no_gap_whatever_the_spacing(scan, spacing):
    c, s = np.cos(np.deg2rad(23)), np.sin(np.deg2rad(23))
    made = replace(scan, row=(float(c), 0.0, float(s)), spacing_mm=(spacing, 0.7, 0.6), shape=(40, 6, 5))  # fmt: skip
    given = [rounded(i, 1) for i in instances(made)]
    assert isinstance(assemble(given), Grid)
    assert isinstance(assemble([*given[:20], *given[21:]]), GeometryProblem)


@pytest.mark.parametrize("degrees", [3.5, 10, 20])
def test_a_tilted_gantry_is_refused_rounded_or_not(tilted, degrees):
    way = np.array([0.8 * np.tan(np.deg2rad(degrees)), 0, 0])
    for digits in (9, 1):
        found = assemble([rounded(shifted(i, way * n), digits) for n, i in enumerate(tilted)])
        assert isinstance(found, GeometryProblem)
        assert found.code == "shear"


def test_directions_that_are_not_square_are_refused_by_what_they_mean_in_mm(tilted):
    found = assemble([replace(i, row_lps=(1.0, 0.004, 0.004)) for i in tilted])
    assert isinstance(found, GeometryProblem)
    assert found.code == "mixed-orientations"
