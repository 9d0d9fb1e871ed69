"""Paint CT label maps as T2 SPACE: real shapes with synthetic contrast.

The generator's vessels, muscles and bones are formulas; these are a person's, from CT label
maps in which left and right are known. What the map does not label (bowel, fat, dural sac) comes from the
generator and stays unlabelled. For testing what a model learned from formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import nibabel
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import AXIAL, Array, Points, build_affine
from training.data.cases import CANONICAL_SPACING_MM, Case, crop_to_window, save_case
from training.data.prepare import fit_disc_normal
from training.data.uncut_vertebrae import DISC, complete
from training.errors import SourceMissing
from training.phantom.mri import TissueTexture, acquire, draw_contrast, draw_scan
from training.phantom.person import VesselKind, stream
from training.phantom.rasterise import Coat, Raster, Stroke, paint
from training.phantom.scene import build_anatomy
from training.phantom.solids import Bounds, Tube
from training.phantom.surroundings import (
    back_strokes,
    bowel_strokes,
    retroperitoneal_strokes,
    torso_strokes,
)

SUFFIX: Final = ".labels.nii.gz"
SLICES: Final = 128
SMOOTH_VOXELS: Final = 0.6
"""Takes the steps of a binary mask off its surface."""
MAX_GAP_MM: Final = 10.0
"""Of height without a label: a longer gap in a vessel or muscle was left by the source, not by nature."""

_Paint = tuple[tuple[int, ...], StructureId | None, tuple[tuple[float, str], ...]]
_PAINT: Final[tuple[_Paint, ...]] = (
    ((15,), None, ((0.0, "fascia"), (0.9, "erector"))),
    ((16,), None, ((0.0, "fascia"), (0.9, "erector"))),
    ((11,), "pm", ((0.0, "fascia"), (0.5, "psoas"))),
    ((12,), "pm", ((0.0, "fascia"), (0.5, "psoas"))),
    ((51, 53), None, ((0.0, "cortex"), (1.1, "marrow"))),
    ((13,), None, ((0.0, "cortex"), (0.85, "marrow"))),
    ((14,), None, ((0.0, "cortex"), (0.85, "marrow"))),
    (
        (DISC,),
        "ivd",
        ((0.0, "annulus"), (1.6, "annulus_inner"), (4.0, "nucleus_3_rim"), (5.5, "nucleus_3")),
    ),
    ((1,), "l4", ((0.0, "cortex"), (0.85, "marrow"))),
    ((3,), "l5", ((0.0, "cortex"), (0.85, "marrow"))),
    ((8, 9, 10), "ivc", ((0.0, "vessel_wall"), (0.6, "vein"))),
    ((5, 6, 7), "aa", ((0.0, "vessel_wall"), (0.9, "artery"))),
)
"""Values of the label map, the structure they are, and coats from the outside in; painted in order."""
BOUNDED: Final = ("l4", "ivd", "l5")
COLUMN: Final = (1, DISC, 3, 13, 14)


@dataclass(frozen=True, slots=True, eq=False)
class VoxelSolid:
    """A solid given by voxels: its smoothed signed distance, linear between them."""

    distance: Array
    """mm, negative inside, (i, j, k)."""
    to_index: Points
    """Anatomy mm to index, (4, 4)."""
    box: Bounds
    """Lowest and highest (x, y, z), anatomy mm."""

    def bounds(self) -> Bounds:
        """Return the lowest and the highest (x, y, z) of the solid, mm."""
        return self.box

    def field(self, x: Array, y: Array, z: Array, /) -> Array:
        """Return the signed distance in mm; beyond the voxels that of the nearest one."""
        at = [
            self.to_index[n, 0] * x
            + self.to_index[n, 1] * y
            + self.to_index[n, 2] * z
            + self.to_index[n, 3]
            for n in range(3)
        ]
        distance = map_coordinates(self.distance, np.broadcast_arrays(*at), order=1, mode="nearest")
        return np.asarray(distance, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Labels on a grid in anatomy space: origin at the disc's centre, axes as LPS."""

    labels: Array
    """(i, j, k), uint8."""
    affine: Points
    """Index to anatomy mm, (4, 4)."""

    @property
    def spacing_mm(self) -> Points:
        """Voxel edges."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def ends(self) -> tuple[Points, Points]:
        """Return the lowest and the highest anatomy point of the field, mm."""
        corners = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in self.labels.shape))).reshape(
            3, -1
        )
        points = self.affine[:3, :3] @ corners + self.affine[:3, 3:]
        return points.min(axis=1), points.max(axis=1)

    def points(self, values: Sequence[int]) -> Points:
        """Return the anatomy points, mm, of the voxels that hold one of these values, (n, 3)."""
        index = np.argwhere(np.isin(self.labels, values))
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def solid(self, values: Sequence[int]) -> VoxelSolid | None:
        """Return the voxels of these values as a solid, None where there are none."""
        mask = np.isin(self.labels, values)
        if not mask.any():
            return None
        half = 0.5 * float(self.spacing_mm.mean())
        outside = distance_transform_edt(~mask, sampling=self.spacing_mm) - half
        inside = distance_transform_edt(mask, sampling=self.spacing_mm) - half
        distance = gaussian_filter(np.where(mask, -inside, outside), SMOOTH_VOXELS)
        points, reach = self.points(values), 2 * half
        low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
        box = (low[0], low[1], low[2]), (high[0], high[1], high[2])
        inverse = np.asarray(np.linalg.inv(self.affine))
        return VoxelSolid(distance.astype(np.float32), inverse, box)


def read_label_map(file: Path) -> LabelMap:
    """Read a NIfTI label map with an L4/5 disc, or with uncut vertebrae between which it can be derived.

    Raises:
        SourceMissing: no such file, or no disc in it.
    """
    if not file.is_file():
        raise SourceMissing(f"{file}: no such label map; give a folder of *{SUFFIX}")
    image = cast("Any", nibabel.load(file))
    labels = np.asarray(image.dataobj).astype(np.uint8)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    if not (labels == DISC).any():
        derived = complete(labels, affine)
        labels = labels if derived is None else derived
    disc = np.argwhere(labels == DISC)
    if not len(disc):
        raise SourceMissing(f"{file}: no voxel of the L4/5 disc (value {DISC}); leave it out")
    affine[:3, 3] -= affine[:3, :3] @ disc.mean(axis=0) + affine[:3, 3]
    return LabelMap(labels, affine)


def labelled_structures(label_map: LabelMap, half_height_mm: float) -> tuple[StructureId, ...]:
    """Return the structures that the map labels along its full height; the others are unknown, not absent."""
    low, high = (float(end[2]) for end in label_map.ends())
    low, high = max(low, -half_height_mm), min(high, half_height_mm)
    out: list[StructureId] = []
    for values, name, _ in _PAINT:
        if name is None or name in out:
            continue
        z = np.unique(label_map.points(values)[:, 2])
        z = z[(z > low) & (z < high)]
        gap = float(np.diff([low, *z, high]).max())
        if len(z) and (name in BOUNDED or gap <= MAX_GAP_MM):
            out.append(name)
    return tuple(out)


def _sac(label_map: LabelMap) -> list[Stroke]:
    """Paint a dural sac behind the real column, unlabelled: no map labels one."""
    points = label_map.points(COLUMN)
    points = points[np.abs(points[:, 0] - np.median(points[:, 0])) < 6.0]
    rows = []
    for z in np.arange(points[:, 2].min(), points[:, 2].max(), 6.0):
        near = points[np.abs(points[:, 2] - z) < 4.0]
        if len(near):
            rows.append((z, near[:, 0].mean(), near[:, 1].max() + 9.0, 8.5, 6.5, 0.0))
    knots = np.array(rows)
    knots[:, 2] = gaussian_filter(knots[:, 2], 1.0, mode="nearest")
    wide = knots + np.array([0, 0, 1.0, 3.0, 2.5, 0.0])
    return [
        Stroke(Tube(wide, 0.4, 0.35), (Coat(0, "epidural_fat"),)),
        Stroke(Tube(knots, 0.2, 0.2), (Coat(0, "dura"), Coat(0.55, "csf"))),
    ]


def build_strokes(label_map: LabelMap, seed: int) -> list[Stroke]:
    """Return the generator's surroundings and, over them, the map's solids."""
    anatomy = build_anatomy(seed, still=True)
    person, column = anatomy.person, anatomy.column
    out = [
        *torso_strokes(seed, person),
        *retroperitoneal_strokes(seed, person, column),
        *bowel_strokes(seed, person, (-60.0, 60.0)),
        *back_strokes(seed, person, column),
        *_sac(label_map),
    ]
    slow = "vein_slow" if stream(seed, "blood").random() < 0.15 else "vein"
    for values, name, coats in _PAINT:
        solid = label_map.solid(values)
        if solid is not None:
            value = BY_ID[name].value if name else 0
            named = ((mm, slow if tissue == "vein" else tissue) for mm, tissue in coats)
            out.append(Stroke(solid, tuple(Coat(mm, tissue, value) for mm, tissue in named)))
    return out


def painted_ct_case(
    file: Path, seed: int = 1, *, randomised: bool = False, vessels: VesselKind = "usual"
) -> Case:
    """Convert one label map to a prepared case; the same file and seed give the same case.

    vessels: whose blood fills the map's vessels.

    Raises:
        SourceMissing: no such file, or no L4/5 disc in it.
    """
    label_map = read_label_map(file)
    low, high = label_map.ends()
    spacing = np.array(CANONICAL_SPACING_MM)
    half = SLICES * spacing[0] / 2
    low[2], high[2] = max(low[2], -half), min(high[2], half)
    extent = (high - low)[::-1]
    shape = np.floor(extent / spacing).astype(int)
    affine = build_affine(np.asarray(AXIAL), spacing.tolist(), (low + spacing[::-1] / 2).tolist())
    raster = Raster((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    contrast = draw_contrast(seed, randomised=randomised, vessels=vessels)
    texture = TissueTexture(seed, contrast, build_anatomy(seed, still=True).person, raster)
    painted = paint(build_strokes(label_map, seed), raster, lambda lps: lps, texture)
    image = acquire(painted.image, affine, draw_scan(seed), np.zeros(3), seed)
    name = file.name.removesuffix(SUFFIX)
    case = Case(
        f"shapes-{name.replace('_', '-')}-{seed}",
        f"SHAPES-{name}",
        "shapes",
        image,
        painted.labels,
        affine,
        labelled_structures(label_map, half),
        (0.0, 0.0, 0.0),
        fit_disc_normal(painted.labels, affine),
        {"l45": (0.0, 0.0, 0.0)},
        {"shapes": name, "seed": seed, "blood": vessels, "contrast": {"randomised": randomised}},
    )
    return crop_to_window(case)


def list_label_maps(folder: Path) -> list[Path]:
    """List the label maps of a folder, by name.

    Raises:
        SourceMissing: none there.
    """
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise SourceMissing(f"{folder}: no *{SUFFIX}; give a folder of label maps")
    return files


def prepare_painted_ct(
    folder: Path,
    out: Path,
    seed: int = 1,
    report: Callable[[str], None] = lambda _: None,
    vessels: VesselKind = "usual",
) -> list[Path]:
    """Paint and prepare every label map of a folder; `vessels` as in `painted_ct_case`.

    Raises:
        SourceMissing: no label map there, or one without the L4/5 disc.
    """
    written = []
    for file in list_label_maps(folder):
        written.append(save_case(painted_ct_case(file, seed, vessels=vessels), out))
        report(written[-1].stem)
    return written
