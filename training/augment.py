"""One draw from one case: where to look, how to turn and bend it, how to disturb its grey values.

Every draw is a function of (seed, step), so that a resumed run continues with the same samples.
Rotation and elastic deformation as in the paper (±15°), sampled by one `grid_sample`. No left–right
flip: the aorta lies left and the cava right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.cases import Case

SPACING_MM = (0.8, 0.75, 0.75)


@dataclass(frozen=True, slots=True)
class Strength:
    """How much a draw may disturb: degrees, mm, relative factors."""

    rotation_deg: float = 15.0
    scale: float = 0.12
    elastic_mm: float = 3.0
    shift_mm: tuple[float, float, float] = (32.0, 14.0, 12.0)
    gamma: float = 0.35
    noise: float = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One training sample: image (1, 1, D, H, W), labels (1, D, H, W), valid (1, D, H, W)."""

    image: Tensor
    labels: Tensor
    valid: Tensor


def _rotation(rng: np.random.Generator, most_deg: float) -> np.ndarray:
    a, b, c = np.deg2rad(rng.uniform(-most_deg, most_deg, 3) * np.array([0.6, 0.4, 1.0]))
    about_k = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_j = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    about_i = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return np.asarray(about_k @ about_j @ about_i)


def _grid(
    case: Case, shape: tuple[int, int, int], rng: np.random.Generator, strength: Strength
) -> Tensor:
    """Sampling positions for `grid_sample`, (1, D, H, W, 3) in its x, y, z order."""
    inverse = np.linalg.inv(case.affine)
    level = inverse[:3, :3] @ np.asarray(case.level_centre_lps) + inverse[:3, 3]
    spacing = np.array(SPACING_MM)
    slack = np.maximum(np.array(case.image.shape) - np.array(shape), 0) / 2 * spacing
    most = np.minimum(np.array(strength.shift_mm), slack + 4.0)
    centre = level + rng.uniform(-1, 1, 3) * most / spacing
    if case.image.shape[2] < 64:
        centre[2] = (case.image.shape[2] - 1) / 2 + rng.uniform(-2, 2)
    matrix = _rotation(rng, strength.rotation_deg) * rng.uniform(
        1 - strength.scale, 1 + strength.scale
    )
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    mm = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * torch.tensor(
        spacing, dtype=torch.float32
    )
    coarse = torch.from_numpy(
        rng.normal(0, strength.elastic_mm, (1, 3, 4, 6, 6)).astype(np.float32)
    )
    bend = functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[
        0
    ].movedim(0, -1)
    moved = mm @ torch.tensor(matrix.T, dtype=torch.float32) + bend * float(rng.uniform(0, 1))
    index = moved / torch.tensor(spacing, dtype=torch.float32) + torch.tensor(
        centre, dtype=torch.float32
    )
    size = torch.tensor(case.image.shape, dtype=torch.float32)
    return ((index + 0.5) / size * 2 - 1).flip(-1)[None]


def _disturb(image: Tensor, valid: Tensor, rng: np.random.Generator, strength: Strength) -> Tensor:
    """Gamma, bias field, clipping and noise on z-scored values; result z-scored again over valid."""
    inside = valid > 0
    low, high = image[inside].min(), image[inside].max()
    unit = ((image - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    unit = unit ** float(np.exp(rng.uniform(-strength.gamma, strength.gamma)))
    coarse = torch.from_numpy(np.exp(rng.normal(0, 0.15, (1, 1, 3, 3, 3))).astype(np.float32))
    unit = unit * functional.interpolate(
        coarse, size=image.shape[2:], mode="trilinear", align_corners=True
    )
    if rng.random() < 0.3:
        unit = unit.clamp(
            max=float(np.quantile(unit[inside].numpy()[::17], rng.uniform(0.9, 0.995)))
        )
    mean, sd = unit[inside].mean(), unit[inside].std().clamp(min=1e-6)
    scored = (unit - mean) / sd
    if rng.random() < 0.5:
        seed = int(rng.integers(2**31))
        generator = torch.Generator().manual_seed(seed)
        scored = scored + torch.randn(scored.shape, generator=generator) * float(
            rng.uniform(0, strength.noise)
        )
    scored = scored * float(rng.uniform(0.85, 1.15)) + float(rng.uniform(-0.15, 0.15))
    return scored * valid


def draw(
    case: Case, shape: tuple[int, int, int], seed: tuple[int, ...], strength: Strength | None = None
) -> Sample:
    """Cut one augmented sample of `shape` (multiples of 4) from a prepared case."""
    strength = strength or Strength()
    rng = np.random.default_rng(seed)
    grid = _grid(case, shape, rng, strength)
    image = torch.from_numpy(np.ascontiguousarray(case.image, dtype=np.float32))[None, None]
    labels = torch.from_numpy(np.ascontiguousarray(case.labels)).float()[None, None]
    picture = functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    values = functional.grid_sample(
        labels, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    valid = (grid.abs() <= 1).all(-1).float()
    picture = _disturb(picture, valid[:, None], rng, strength)
    return Sample(picture, values[:, 0].round().long(), valid)
