"""Augmentation: crop, rotate, deform and perturb intensities of one case.

Every sample is a function of (seed, step), so that a resumed run continues with the same samples.
Rotation and elastic deformation as in the paper (±15°), sampled by one `grid_sample`. No left–right
flip where vessels are labelled: the aorta lies left and the cava right. A sample lies in the service's
window about the level, and its grey values are scored by that window's mean and deviation, as the
service does, not by its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dicomseg.structures import BY_ID, StructureId
from dicomseg.volume import Array, Points
from model.grid import CENTRE_OFFSET_MM, MULTIPLE, PAPER_SHAPE
from model.networks.coordinates import coordinate_channels
from training.data.cases import CANONICAL_SPACING_MM, IGNORED, Case

SPACING_MM: Final = CANONICAL_SPACING_MM
SLAB_COLUMNS: Final = 64
"""A case with fewer columns is a sagittal slab: a sample is centred across it."""
LONG_SLICES: Final = 112
"""A sample of at least so many slices is centred on the level, give or take `level_mm`: the network may
use where the window ends to tell one vertebra from the next."""
LEVEL_SPREAD: Final = 0.35
"""Standard deviation of the level's error along an axis, of `level_mm`: 2.8 of 8 mm. Cross-validated finders were
1.9 mm off on average in all, up to 8 mm."""
SYMMETRIC: Final[frozenset[StructureId]] = frozenset({"l4", "ivd", "l5", "dura"})
"""Structures whose position says nothing of left and right."""
ROOTS: Final = BY_ID["n4"].value
L4, L5 = (BY_ID[name].value for name in ("l4", "l5"))
DISC_HALF_MM: Final = 4.0
"""About half a disc's height: over so much it takes up what `Strength.disc_mm` makes it lower or higher."""
DISC_MM: Final = (-1.2, 3.0)
"""Lower by 3 mm on each side at most, which leaves a third of it, or higher by 1.2 mm."""
STATISTICS_STEP: Final = (5, 5, 3)
"""Every n-th voxel of the window gives its mean and deviation."""
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Strength:
    """How much a sample may differ from its case."""

    rotation_deg: float = 15.0
    """Largest rotation about the body's long axis."""
    scale: float = 0.12
    """Largest relative change of size."""
    elastic_mm: float = 3.0
    """Standard deviation of the displacement at the knots."""
    level_mm: float = 8.0
    """Largest error of the level finder that the network has to tolerate."""
    gamma: float = 0.35
    """Largest logarithm of the exponent."""
    noise: float = 0.15
    """Largest standard deviation, of scored grey values."""
    bias: float = 0.15
    """Standard deviation of the logarithm of the bias field at its knots."""
    focus: float = 0.5
    """Share of samples that are centred on a voxel of a labelled structure, each structure as often."""
    roots: float = 0.0
    """Share of samples, before those, that are centred on the L4 roots, where they are labelled: thin, and one voxel
    in a thousand."""
    mirror: float = 0.0
    """Share of samples with left and right exchanged, of cases that label nothing with a side: not the vessels, nor
    muscles and roots beside them."""
    disc_mm: float = 0.0
    """Standard deviation of what the disc becomes lower or higher on each side: collapsed discs are few in patients."""
    slip_mm: float = 0.0
    """Standard deviation of what the body above slips to the front or to the back."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One training sample."""

    image: Tensor
    """(1, 1, D, H, W), scored."""
    labels: Tensor
    """(1, D, H, W), int64."""
    valid: Tensor
    """(1, D, H, W), 1 inside the case and 0 outside, and 0 where nothing is known of the labels."""
    coordinates: Tensor
    """`model.networks.coordinates.coordinate_channels` of the image, (1, 3, D/4, H/4, W/4)."""


def level_index(case: Case) -> Points:
    """Return the index (i, j, k) of the case's level."""
    inverse = np.linalg.inv(case.affine)
    return np.asarray(inverse[:3, :3] @ np.asarray(case.level_centre_lps) + inverse[:3, 3])


def window_box(case: Case) -> tuple[slice, slice, slice]:
    """Return the index box of the service's window about the case's level, inside the case, multiples of 4."""
    centre = level_index(case) + np.array(CENTRE_OFFSET_MM) / SPACING_MM
    start = np.clip(np.round(centre - np.array(PAPER_SHAPE) / 2), 0, None).astype(int)
    stop = np.minimum(start + np.array(PAPER_SHAPE), case.image.shape)
    size = np.maximum((stop - start) // MULTIPLE, 1) * MULTIPLE
    i, j, k = (slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))
    return i, j, k


def window_sample(case: Case) -> Sample:
    """Return the service's window as it is: scored, not disturbed."""
    box = window_box(case)
    image = torch.from_numpy(np.array(case.image[box], dtype=np.float32))
    labels, known = known_labels(torch.from_numpy(np.array(case.labels[box])).long())
    scored = (image - image.mean()) / image.std().clamp(min=1e-6)
    level = level_index(case) - [b.start for b in box]
    coordinates = torch.from_numpy(coordinate_channels(scored.shape, level.tolist(), SPACING_MM))
    return Sample(scored[None, None], labels[None], known.float()[None], coordinates[None])


def draw_rotation(rng: np.random.Generator, max_deg: float) -> Array:
    """Draw a rotation matrix by up to `max_deg` about the body's long axis, less about the others."""
    a, b, c = np.deg2rad(rng.uniform(-max_deg, max_deg, 3) * np.array([0.6, 0.4, 1.0]))
    about_k = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_j = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    about_i = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return np.asarray(about_k @ about_j @ about_i)


def _centre(case: Case, shape: Shape, rng: np.random.Generator, strength: Strength) -> Points:
    """Draw the index point that the sample is centred on."""
    box = window_box(case)
    start, stop = np.array([b.start for b in box]), np.array([b.stop for b in box])
    middle, half = (start + stop - 1) / 2, np.array(shape) / 2
    low, high = np.minimum(start + half, middle), np.maximum(stop - 1 - half, middle)
    centre = rng.uniform(low, high)
    coarse = case.labels[box][::2, ::2, ::2]
    present = np.unique(coarse[coarse != IGNORED])
    roots = bool(strength.roots) and rng.random() < strength.roots and ROOTS in present
    if roots or (rng.random() < strength.focus and present.any()):
        voxels = np.argwhere(coarse == (ROOTS if roots else rng.choice(present[present > 0])))
        centre = start + 2 * voxels[rng.integers(len(voxels))] + rng.uniform(-10, 10, 3)
        centre = np.clip(centre, low, high)
    if shape[0] >= LONG_SLICES:
        centre[0] = middle[0] + rng.uniform(-1, 1) * strength.level_mm / SPACING_MM[0]
    if case.image.shape[2] < SLAB_COLUMNS:
        centre[2] = (case.image.shape[2] - 1) / 2 + rng.uniform(-2, 2) * (strength.level_mm > 0)
    return np.asarray(centre, dtype=np.float64)


def draw_points(
    case: Case,
    shape: Shape,
    rng: np.random.Generator,
    strength: Strength,
    about: Points | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw the index points (D, H, W, 3) of the case for the sample's voxels, and the sample's index of the level (3,).

    about: index of the case that the sample is centred on; None leaves it to `strength`.
    """
    spacing = torch.tensor(SPACING_MM)
    chosen = _centre(case, shape, rng, strength) if about is None else about
    centre = torch.from_numpy(chosen.astype(np.float32))
    turn = draw_rotation(rng, strength.rotation_deg) * rng.uniform(
        1 - strength.scale, 1 + strength.scale
    )
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    mm = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * spacing
    bend = _smooth(rng.normal(0, strength.elastic_mm, (1, 3, 4, 6, 6)), shape)[0].movedim(0, -1)
    moved = mm @ torch.from_numpy(turn.T.astype(np.float32)) + bend * float(rng.uniform(0, 1))
    middle = (torch.tensor(shape) - 1) / 2
    away = (torch.from_numpy(level_index(case)) - centre) * spacing
    level = middle + torch.linalg.inv(torch.from_numpy(turn)) @ away / spacing
    points = moved / spacing + centre
    if strength.disc_mm or strength.slip_mm:
        points = _draw_deformed_disc(points, case, rng, strength)
    if strength.mirror and rng.random() < strength.mirror and SYMMETRIC.issuperset(case.labelled):
        return points.flip(2), torch.where(torch.arange(3) == 2, 2 * middle - level, level)
    return points, level


def _draw_deformed_disc(
    points: Tensor, case: Case, rng: np.random.Generator, strength: Strength
) -> Tensor:
    """Draw how much lower or higher the disc at the level becomes and how the body above slips."""
    few = case.labels[::4, ::4, ::4]
    above, below = np.argwhere(few == L4), np.argwhere(few == L5)
    lower = float(np.clip(rng.normal(0, strength.disc_mm), *DISC_MM))
    slip = float(rng.normal(0, strength.slip_mm))
    if not len(above) or not len(below):
        return points
    axis = (above.mean(0) - below.mean(0)) * SPACING_MM
    return deform_disc(points, level_index(case), axis, lower, slip)


def deform_disc(
    points: Tensor, middle: Points, axis: Points, lower_mm: float, slip_mm: float
) -> Tensor:
    """Return the index points (…, 3) of a case that a sample comes from once its disc is deformed.

    middle: of the disc, an index of the case. axis: from the body below to the body above, any length, in mm. The
    disc becomes lower by `lower_mm` on each side, and what lies above it comes from `slip_mm` further back than what
    lies below.
    """
    spacing = torch.tensor(SPACING_MM)
    up = torch.from_numpy(np.asarray(axis, np.float32))
    up = up / torch.linalg.vector_norm(up)
    back = torch.tensor([0.0, 1.0, 0.0]) - up[1] * up
    back = back / torch.linalg.vector_norm(back)
    height = ((points - torch.from_numpy(np.asarray(middle, np.float32))) * spacing) @ up
    side = torch.tanh(height / DISC_HALF_MM)[..., None]
    moved: Tensor = points + side * (lower_mm * up + slip_mm / 2 * back) / spacing
    return moved


def _smooth(coarse: Array, shape: Shape) -> Tensor:
    values = torch.from_numpy(coarse.astype(np.float32))
    return functional.interpolate(values, size=shape, mode="trilinear", align_corners=True)


def sample_labels(labels: Array, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the labels at index points, 0 outside the case, and whether a point lies inside."""
    size = torch.tensor(labels.shape)
    index = (points + 0.5).floor().long()
    inside = ((index >= 0) & (index < size)).all(-1)
    i, j, k = torch.minimum(index.clamp(min=0), size - 1).unbind(-1)
    flat = (i * labels.shape[1] + j) * labels.shape[2] + k
    values = torch.from_numpy(labels).reshape(-1)[flat.reshape(-1)].view(flat.shape)
    return torch.where(inside, values, 0).long(), inside


def known_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels with background where nothing is known, and where something is."""
    known = labels != IGNORED
    return torch.where(known, labels, 0), known


def sample_image(image: Array, points: Tensor) -> Tensor:
    """Return the grey values at index points, linear; the border is repeated outside."""
    size = torch.tensor(image.shape, dtype=torch.float32)
    grid = ((points + 0.5) / size * 2 - 1).flip(-1)[None]
    source = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None]
    return functional.grid_sample(source, grid, padding_mode="border", align_corners=False)[0, 0]


def perturb_intensities(
    image: Tensor, case: Case, rng: np.random.Generator, strength: Strength
) -> Tensor:
    """Apply gamma, bias field, clipping and noise; scored by the window's values under the same map."""
    window = torch.from_numpy(np.array(case.image[window_box(case)], dtype=np.float32))
    a, b, c = STATISTICS_STEP
    few = window[::a, ::b, ::c].reshape(-1)
    low, high = float(few.min()), float(few.max())
    gamma = float(np.exp(rng.uniform(-strength.gamma, strength.gamma)))

    def mapped(values: Tensor) -> Tensor:
        unit = (values - low) / max(high - low, 1e-6)
        return unit.clamp(0, 1.3) ** gamma

    top = float("inf")
    if strength.gamma > 0 and rng.random() < 0.3:
        top = float(np.quantile(mapped(few).numpy(), rng.uniform(0.9, 0.995)))
    few = mapped(few).clamp(max=top)
    shape: Shape = (image.shape[0], image.shape[1], image.shape[2])
    bias = _smooth(np.exp(rng.normal(0, strength.bias, (1, 1, 3, 3, 3))), shape)[0, 0]
    scored = ((mapped(image) * bias).clamp(max=top) - few.mean()) / few.std().clamp(min=1e-6)
    if rng.random() < 0.5:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        noise = torch.randn(scored.shape, generator=generator)
        scored = scored + noise * float(rng.uniform(0, strength.noise))
    if strength.gamma > 0:
        scored = scored * float(rng.uniform(0.85, 1.15)) + float(rng.uniform(-0.15, 0.15))
    return scored


def augmented_sample(
    case: Case, shape: Shape, seed: tuple[int, ...], strength: Strength | None = None
) -> Sample:
    """Cut one augmented sample of `shape` (multiples of 4) from a prepared case."""
    strength = strength or Strength()
    rng = np.random.default_rng(seed)
    points, level = draw_points(case, shape, rng, strength)
    labels, inside = sample_labels(case.labels, points)
    image = perturb_intensities(sample_image(case.image, points), case, rng, strength) * inside
    labels, known = known_labels(labels)
    inside = inside & known
    assumed = level + torch.from_numpy(draw_level_error(rng, strength) / SPACING_MM)
    coordinates = torch.from_numpy(coordinate_channels(shape, assumed.tolist(), SPACING_MM))
    return Sample(image[None, None], labels[None], inside.float()[None], coordinates[None])


def draw_level_error(rng: np.random.Generator, strength: Strength) -> Points:
    """Draw an error of the level finder, mm: mostly small, `level_mm` at most along each axis."""
    spread = rng.normal(0, LEVEL_SPREAD * strength.level_mm, 3)
    return np.asarray(np.clip(spread, -strength.level_mm, strength.level_mm))
