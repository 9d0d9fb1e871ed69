"""Sample for the level finder: a part of a spine, rotated, deformed and perturbed, and the heat maps of its discs.

Some samples are negatives: volumes cut above the level, and spines shrunk to half their size,
which is what a cervical spine looks like to a network. Where a case does not label all of its discs, the heat maps of the
others are NaN, not 0, wherever such a disc may be: the image shows it all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dicomseg.volume import Array, Points, Volume
from model.level.finder import GRID_MM, HEAT_SIGMA_MM, MAX_WIDTH_MM, robust_z_score, search_grid
from model.networks.disc_channels import ABOVE, DISCS, L5S1, L45
from model.networks.sizes import HEAT_FACTOR
from training.data.cases import Case, load_case
from training.errors import SourceMissing

FINE_MM: Final = (1.5, 1.5, 2.0)
MIN_HEIGHT_MM: Final = 60.0
LEAN_DEG: Final = 6.0
BOW_MM: Final = 4.0
BOW_OVER_MM: Final = 100.0
"""A slab that leans against the spine, or a spine that bends: it leaves the slab above or below, as in scoliosis."""
KNOT_MM: Final = 45.0
BEND_MM: Final = 6.0
"""Knots of the smooth displacement and its largest standard deviation: few patients, many shapes."""
JOINT_SHARE: Final = 0.4
SLIP_MM: Final = 5.0
HINGE_DEG: Final = 8.0
JOINT_SOFT_MM: Final = 2.0
"""Share of samples in which all below L5/S1, or below L4/5, has slipped and turned against the rest, with the standard
deviations of both: a vertebra that has slipped on a level or a steep sacrum is rare in patients."""
DISC_HALF_MM: Final = 12.0
"""A disc whose middle lies at most so far beside the slab is still seen in it."""
NEAR_MM: Final = 20.0
"""No further disc has its middle so near to that of a labelled one; neighbours are 25 to 45 mm apart."""
COLUMN_MM: Final = 30.0
COLUMN_LEAN: Final = 0.6
"""So far in front of and behind a labelled disc the next ones may lie, and this much more with each mm of height."""


@dataclass(frozen=True, slots=True, eq=False)
class CoarseCase:
    """One case on a fine search grid."""

    image: Tensor
    """(D, H, W), on `FINE_MM`."""
    discs: tuple[tuple[int, Points], ...]
    """Known disc centres as (channel, fractional index)."""
    name: str
    complete: bool = True
    """Whether `discs` are all that the image shows; else the others are unknown."""


def coarse_case(case: Case) -> CoarseCase:
    """Average one case to `FINE_MM`."""
    grid = search_grid(Volume(case.image, case.affine), FINE_MM)
    discs = tuple(
        (DISCS.index(n) if n in DISCS else ABOVE, grid.to_index(np.array(p)))
        for n, p in case.disc_centres.items()
    )
    array = torch.from_numpy(np.array(grid.array))
    return CoarseCase(array, discs, case.case_id, case.names_all_discs())


def load_coarse_cases(paths: Sequence[Path]) -> list[CoarseCase]:
    """Load prepared cases averaged to `FINE_MM`.

    Raises:
        SourceMissing: there are none.
    """
    if not paths:
        raise SourceMissing("no prepared cases to train on; run `lumbar-train prepare` first")
    return [coarse_case(load_case(path)) for path in paths]


def level_sample(case: CoarseCase, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw one augmented image (1, D, H, W) on the search grid and its heat maps (6, D/2, H/2, W), NaN where unknown."""
    size = np.array(case.image.shape) * np.array(FINE_MM)
    low, high = 0.0, size[0]
    if rng.random() < 0.6:
        height = rng.uniform(MIN_HEIGHT_MM, max(MIN_HEIGHT_MM + 1, size[0]))
        low = rng.uniform(0, max(0.0, size[0] - height))
        high = min(size[0], low + height)
    full_width = size[2] < 40 or rng.random() < 0.3
    width = min(size[2], MAX_WIDTH_MM) if full_width else rng.uniform(14, min(size[2], 90.0))
    middle = size[2] / 2 + (rng.uniform(-6, 6) if width < size[2] else 0.0)
    depth = size[1] * rng.uniform(0.7, 1.0)
    front = rng.uniform(0, size[1] - depth)
    negative = rng.random() < 0.08
    scale = rng.uniform(0.35, 0.55) if negative else rng.uniform(0.85, 1.18)
    extent = np.array([high - low, depth, width]) * scale
    shape = np.maximum(np.round(extent / np.array(GRID_MM)).astype(int), (8, 8, 3))
    centre = np.array([(low + high) / 2, front + depth / 2, middle])
    points = _draw_points(rng, shape, centre, float(scale))
    straight, (joint, moved) = points, _draw_joint(points, case, rng)
    grid = (moved / torch.tensor(size, dtype=torch.float32) * 2 - 1).flip(-1)[None]
    image = functional.grid_sample(
        case.image[None, None], grid, padding_mode="border", align_corners=False
    )[0]
    heat = torch.zeros(ABOVE + 1, *(int(n) for n in shape))
    for channel, index in () if negative else case.discs:
        at = torch.tensor((index + 0.5) * np.array(FINE_MM), dtype=torch.float32)
        # The disc that gave way lies halfway between both parts; seen through the joint its bump would be torn.
        seen = straight if channel == joint else moved
        bump = torch.exp(-_squares(seen, at) / (2 * HEAT_SIGMA_MM**2))
        heat[channel] = torch.maximum(heat[channel], bump)
    if not case.complete and not negative:
        heat[unknown_discs(moved, case.discs)] = torch.nan
    heat = functional.avg_pool3d(heat[None], HEAT_FACTOR, ceil_mode=True, count_include_pad=False)
    return torch.from_numpy(_perturb_intensities(image.numpy(), rng)), heat[0]


def _draw_points(rng: np.random.Generator, shape: Array, centre: Points, scale: float) -> Tensor:
    """Draw the points (D, H, W, 3) in mm of a rotated, bowed, bent and possibly mirrored grid about `centre`."""
    a = np.deg2rad(rng.uniform(-12, 12))
    c = np.deg2rad(rng.uniform(-6, 6))
    lean, bow = np.deg2rad(rng.uniform(-LEAN_DEG, LEAN_DEG)), rng.normal(0, BOW_MM)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]]
    )
    turn[2, 0] += np.tan(lean)
    axes = [
        (torch.arange(int(n), dtype=torch.float32) - (int(n) - 1) / 2) * g
        for n, g in zip(shape, GRID_MM, strict=True)
    ]
    mm = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) / scale
    flip = float(rng.choice([-1.0, 1.0]))
    mm = mm * torch.tensor([1.0, 1.0, flip])
    moved = mm @ torch.tensor(turn.T, dtype=torch.float32) + torch.tensor(
        centre, dtype=torch.float32
    )
    moved[..., 2] += float(bow) * ((mm[..., 0] / BOW_OVER_MM) ** 2 - 1 / 3)
    moved += _draw_bend(rng, (int(shape[0]), int(shape[1]), int(shape[2])))
    return moved


def _draw_bend(rng: np.random.Generator, shape: tuple[int, int, int]) -> Tensor:
    """Draw a smooth displacement in mm, (D, H, W, 3): bodies and discs of other heights, wedges and slopes."""
    knots = tuple(2 + int(n * g / KNOT_MM) for n, g in zip(shape, GRID_MM, strict=True))
    displacements = torch.from_numpy(rng.normal(0, rng.uniform(0, BEND_MM), (1, 3, *knots))).float()
    fine = functional.interpolate(displacements, size=shape, mode="trilinear", align_corners=True)
    return fine[0].movedim(0, -1)


def _draw_joint(
    points: Tensor, case: CoarseCase, rng: np.random.Generator
) -> tuple[int | None, Tensor]:
    """Slip and turn, in some samples, what lies below one disc against what lies above it; also that disc's channel."""
    centres = {c: (index + 0.5) * np.array(FINE_MM) for c, index in case.discs if c != ABOVE}
    joint = L5S1 if rng.random() < 0.7 else L45
    if rng.random() >= JOINT_SHARE or not {joint, joint + 1} <= centres.keys():
        return None, points
    slip, turn = float(rng.normal(0, SLIP_MM)), float(rng.normal(0, HINGE_DEG))
    return joint, move_joint(points, centres[joint], centres[joint + 1], slip, turn)


def move_joint(
    points: Tensor, joint: Points, above: Points, slip_mm: float, turn_deg: float
) -> Tensor:
    """Return where points (…, 3) in mm (to the head, to the back, to the left) come from once a joint has moved.

    joint, above: middles of the disc that gives way and of the next one above, between which the spine's axis runs.
    What lies below the joint comes from `slip_mm` further back along the disc, turned by `turn_deg` about its middle in
    the sagittal plane; what lies above stays, and within some millimetres one passes into the other.
    """
    axis = torch.tensor((above - joint)[:2], dtype=torch.float32)
    up = axis / torch.linalg.vector_norm(axis)
    back = torch.stack([-up[1], up[0]])
    away = points[..., :2] - torch.tensor(joint[:2], dtype=torch.float32)
    below = torch.sigmoid(-(away @ up) / JOINT_SOFT_MM)
    angle = below * float(np.deg2rad(turn_deg))
    cos, sin = torch.cos(angle), torch.sin(angle)
    high, deep = away[..., 0], away[..., 1]
    turned = torch.stack([cos * high - sin * deep, sin * high + cos * deep], -1)
    moved = turned - away + below[..., None] * slip_mm * back
    return torch.cat([points[..., :2] + moved, points[..., 2:]], -1)


def _squares(points: Tensor, at: Tensor) -> Tensor:
    """Return the squared distance of points (…, 3) to a disc, mm². Of a disc beside the slab its part in the slab counts."""
    square = (points - at) ** 2
    along = square[..., :2].sum(-1)
    near = along < HEAT_SIGMA_MM**2
    beside = square[..., 2][near].min() if bool(near.any()) else torch.tensor(torch.inf)
    if float(beside) <= DISC_HALF_MM**2:
        return along + (square[..., 2].sqrt() - beside.sqrt()) ** 2
    return square.sum(-1)


def unknown_discs(points: Tensor, discs: Sequence[tuple[int, Points]]) -> Tensor:
    """Return where a disc that is not labelled may be, (6, …) bool by channel.

    points: (…, 3), mm from the lower front right corner of the case, to the head, to the back, to the left. discs: the
    labelled ones, as in `CoarseCase`. The order of the discs is known, so that each of the others is sought only beyond
    the labelled ones below and above it, in a column along the spine.
    """
    centres = [(channel, (index + 0.5) * np.array(FINE_MM)) for channel, index in discs]
    labelled = {channel for channel, _ in centres} - {ABOVE}  # of which there may be several
    unknown = torch.zeros(ABOVE + 1, *points.shape[:-1], dtype=torch.bool)
    height, depth = points[..., 0], points[..., 1]
    column = torch.zeros(points.shape[:-1], dtype=torch.bool)
    for _, (z, y, _x) in centres:
        column |= (depth - y).abs() <= COLUMN_MM + COLUMN_LEAN * (height - z).abs()
    for channel in set(range(ABOVE + 1)) - labelled:
        low = max((at[0] for c, at in centres if c <= channel), default=-np.inf)
        high = min((at[0] for c, at in centres if c > channel), default=np.inf)
        unknown[channel] = column & (height > low + NEAR_MM) & (height < high - NEAR_MM)
    return unknown


def _perturb_intensities(image: Array, rng: np.random.Generator) -> Array:
    low, high = image.min(), image.max()
    unit = ((image - low) / max(float(high - low), 1e-6)) ** float(np.exp(rng.uniform(-0.6, 0.6)))
    if rng.random() < 0.4:
        unit = np.minimum(unit, np.quantile(unit, rng.uniform(0.85, 0.99)))
    ramp = np.linspace(-1, 1, unit.shape[2], dtype=np.float32)[None, None, :, None]
    unit = unit * np.exp(ramp * rng.uniform(-0.8, 0.8))
    unit = unit + rng.normal(0, rng.uniform(0, 0.06), unit.shape)
    return robust_z_score(unit)
