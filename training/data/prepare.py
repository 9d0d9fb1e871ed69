"""Turn phantoms and labelled NIfTI volumes into prepared cases on the canonical axial grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

import numpy as np
import SimpleITK

from dicomseg.structures import StructureId
from dicomseg.volume import Array, Points, Volume
from training.data.cases import (
    ALL_STRUCTURES,
    CANONICAL_SPACING_MM,
    DISC_NAMES,
    Case,
    Point,
    crop_to_window,
    save_case,
)
from training.errors import SourceMissing
from training.phantom import phantom, truth
from training.phantom.person import VesselKind

SPIDER_STRUCTURES: Final[tuple[StructureId, ...]] = ("l4", "ivd", "l5", "dura")
"""What SPIDER labels at L4/5; its canal represents the dural sac."""
SPIDER_LICENCE: Final = "CC BY 4.0, SPIDER, doi 10.5281/zenodo.10159290"

_SPIDER_TO_VALUE: Final = {1: 1, 2: 2, 3: 3, 4: 4}
_SPINE: Final = {
    n: n for n in (*range(1, len(DISC_NAMES) + 1), 100, *range(201, 201 + len(DISC_NAMES)))
}
"""SPIDER's bodies from L5 upwards, canal, and discs from L5/S1 upwards."""


def build_axial_grid(image: SimpleITK.Image) -> SimpleITK.Image:
    """Return an empty canonical grid that covers the volume: x to the left, y to the back, z to the head."""
    size = image.GetSize()  # type: ignore[no-untyped-call]
    ends = [(-0.5, n - 0.5) for n in size]
    corners = np.array(
        [
            image.TransformContinuousIndexToPhysicalPoint((x, y, z))  # type: ignore[no-untyped-call]
            for x in ends[0]
            for y in ends[1]
            for z in ends[2]
        ]
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    spacing = np.array(CANONICAL_SPACING_MM[::-1])
    count = np.maximum(1, np.floor((high - low) / spacing + 1e-3)).astype(int)
    origin = (low + high) / 2 - spacing * (count - 1) / 2
    grid = SimpleITK.Image([int(n) for n in count], SimpleITK.sitkUInt8)  # type: ignore[no-untyped-call]
    grid.SetSpacing(spacing.tolist())  # type: ignore[no-untyped-call]
    grid.SetOrigin(origin.tolist())  # type: ignore[no-untyped-call]
    return grid


def to_sitk_image(array: Array, affine: Points) -> SimpleITK.Image:
    """Return an array (i, j, k) with its affine to LPS mm as a SimpleITK image, whose x is k."""
    volume = Volume(array, affine)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(volume.spacing_mm[::-1])  # type: ignore[no-untyped-call]
    image.SetDirection(volume.directions[:, ::-1].ravel().tolist())  # type: ignore[no-untyped-call]
    image.SetOrigin(volume.affine[:3, 3].tolist())  # type: ignore[no-untyped-call]
    return image


def resample(image: SimpleITK.Image, grid: SimpleITK.Image) -> Array:
    """Resample linearly to (slice, row, column), float32."""
    identity = SimpleITK.Transform()  # type: ignore[no-untyped-call]
    moved = SimpleITK.Resample(
        image, grid, identity, SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )
    return np.asarray(SimpleITK.GetArrayFromImage(moved))


def _resampled_labels(
    labels: SimpleITK.Image, grid: SimpleITK.Image, values: dict[int, int]
) -> Array:
    """Resample each label as a soft mask; the strongest wins where it exceeds one half in sum."""
    masks = []
    for old in values:
        mask = SimpleITK.Cast(labels == old, SimpleITK.sitkFloat32)  # type: ignore[no-untyped-call]
        masks.append(resample(mask, grid))
    soft = np.stack([1.0 - np.sum(masks, axis=0), *masks])
    table = np.array([0, *values.values()], dtype=np.uint8)
    return np.asarray(table[np.argmax(soft, axis=0)])


def grid_affine(grid: SimpleITK.Image) -> Points:
    """Return the affine from index (i, j, k) of the array to LPS mm, (4, 4)."""
    affine = np.eye(4)
    x, y, z = grid.GetSpacing()  # type: ignore[no-untyped-call]
    affine[:3, :3] = np.array([[0, 0, x], [0, y, 0], [z, 0, 0]])
    affine[:3, 3] = grid.GetOrigin()  # type: ignore[no-untyped-call]
    return affine


def centroid(mask: Array, affine: Points) -> Point:
    """Return the centroid of a mask in LPS mm."""
    ijk = np.argwhere(mask).mean(axis=0)
    x, y, z = affine[:3, :3] @ ijk + affine[:3, 3]
    return float(x), float(y), float(z)


def fit_disc_normal(labels: Array, affine: Points) -> Point:
    """Return the normal of the L4/5 disc: least-variance axis of its voxels, or the line L5–L4 if that is off."""
    points = np.argwhere(labels == 2) @ affine[:3, :3].T
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][2]
    up = np.subtract(centroid(labels == 1, affine), centroid(labels == 3, affine))
    up /= np.linalg.norm(up)
    axis = axis if axis @ up > 0 else -axis
    axis[0] = 0.0  # a slab of 14 to 24 mm says nothing about the sideways tilt
    axis /= np.linalg.norm(axis)
    chosen = axis if axis @ up > np.cos(np.deg2rad(25)) else up
    return float(chosen[0]), float(chosen[1]), float(chosen[2])


def spider_case(folder: Path, subject: str) -> Case:
    """Convert one SPIDER patient to a case: the complete slab, four structures labelled.

    Raises:
        SourceMissing: one of the three files is not there.
    """
    names = [folder / f"{subject}.{kind}.nii.gz" for kind in ("image", "l45_labels", "labels")]
    absent = [p.name for p in names if not p.exists()]
    if absent:
        raise SourceMissing(
            f"{folder}: {', '.join(absent)} missing; give the folder of SPIDER volumes"
        )
    image, l45, discs = (SimpleITK.ReadImage(str(p)) for p in names)  # SimpleITK turns RAS into LPS
    grid = build_axial_grid(image)
    affine = grid_affine(grid)
    labels = _resampled_labels(l45, grid, _SPIDER_TO_VALUE)
    levels = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(discs, grid, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)  # type: ignore[no-untyped-call]
    )
    centres = {
        name: centroid(levels == 201 + n, affine)
        for n, name in enumerate(DISC_NAMES)
        if (levels == 201 + n).any()
    }
    return Case(
        f"spider-{int(subject):03d}",
        f"SPIDER-{int(subject):03d}",
        "spider",
        resample(image, grid),
        labels,
        affine,
        SPIDER_STRUCTURES,
        centroid(labels == 2, affine),
        fit_disc_normal(labels, affine),
        centres,
        {"licence": SPIDER_LICENCE, "left_right_known": False, "interpolation": "linear"},
        _resampled_labels(discs, grid, _SPINE),
    )


def spider_subjects(folder: Path) -> list[str]:
    """List the ids of the SPIDER patients in a folder, in numerical order."""
    return sorted((p.name.split(".")[0] for p in folder.glob("*.image.nii.gz")), key=int)


def prepare_spider(
    folder: Path, out: Path, report: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Prepare every SPIDER patient of a folder that is not prepared yet.

    Raises:
        SourceMissing: no volume there.
    """
    subjects = spider_subjects(folder)
    if not subjects and (folder / "masks").is_dir():
        raise SourceMissing(
            f"{folder}: SPIDER as published; run `lumbar-train import --volumes {folder / 'images'} {folder / 'masks'}"
            " --labels spider`"
        )
    if not subjects:
        raise SourceMissing(f"{folder}: no *.image.nii.gz; give the folder of SPIDER volumes")
    written = []
    for subject in subjects:
        path = out / f"spider-{int(subject):03d}.npz"
        if not path.with_suffix(".json").exists():
            save_case(spider_case(folder, subject), out)
        report(path.stem)
        written.append(path)
    return written


def phantom_name(seed: int, fov: Literal["axial", "lumbar"], vessels: VesselKind) -> str:
    """Return the id of a phantom's case."""
    kind = "-lumbar" if fov == "lumbar" else "-varied" if vessels == "varied" else ""
    return f"phantom{kind}-{seed:06d}"


def phantom_case(
    seed: int,
    *,
    randomised: bool | None = None,
    slices: int | None = None,
    matrix: int | None = None,
    full_field: bool = False,
    fov: Literal["axial", "lumbar"] = "axial",
    vessels: VesselKind = "usual",
) -> Case:
    """Draw one phantom as a prepared case, about 8 s of one core at full size.

    fov: axial is the paper's field about L4/5; lumbar is a 21 mm wide, 294 mm high slab of the
    lumbar spine on the canonical spacing, as SPIDER's cases are.

    randomised: random contrast per tissue; None means every second seed. slices, matrix: a smaller
    grid over the same field. full_field: keep all 240 mm instead of window and margin. vessels: `varied` ones make
    another case of the same patient.
    """
    chosen = bool(seed % 2) if randomised is None else randomised
    drawn = phantom.build(
        seed, fov=fov, slices=slices, matrix=matrix, randomised=chosen, vessels=vessels
    )
    plane = truth.disc_plane(drawn.anatomy)
    values = truth.measure_truth(drawn.anatomy, plane)
    truths = {
        "generator": phantom.GENERATOR_VERSION,
        "measurements": {name: asdict(value) for name, value in values.items()},
    }
    case = Case(
        phantom_name(seed, fov, vessels),
        f"PHANTOM-{seed:06d}",
        "phantom",
        drawn.image,
        drawn.labels,
        drawn.affine,
        ALL_STRUCTURES,
        plane.point_lps,
        plane.normal,
        truth.disc_centres(drawn.anatomy),
        dict(drawn.card) | truths,
    )
    return case if full_field or fov == "lumbar" else crop_to_window(case)


def prepare_phantoms(  # noqa: PLR0913 - one argument per option of the command line
    first_seed: int,
    count: int,
    out: Path,
    report: Callable[[str], None] = lambda _: None,
    *,
    slices: int | None = None,
    matrix: int | None = None,
    fov: Literal["axial", "lumbar"] = "axial",
    vessels: VesselKind = "usual",
) -> list[Path]:
    """Draw and prepare phantoms that are not prepared yet; `fov` and `vessels` as in `phantom_case`."""
    written = []
    for seed in range(first_seed, first_seed + count):
        path = out / f"{phantom_name(seed, fov, vessels)}.npz"
        if not path.with_suffix(".json").exists():
            case = phantom_case(seed, slices=slices, matrix=matrix, fov=fov, vessels=vessels)
            save_case(case, out)
        report(path.stem)
        written.append(path)
    return written
