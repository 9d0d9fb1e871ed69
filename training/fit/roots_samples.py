"""Sample what the roots network learns from: a case beside the segmentation network's probabilities.

Only phantoms label the L4 roots. The probabilities of a case are computed once, with a level that is off as a
finder's is, and rotated and deformed with every sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional

from dicomseg.volume import Array, Points
from model.engines.port import Engine
from model.networks.coordinates import COORDINATE_UNIT_MM
from model.networks.roots_unet import RootsNet
from model.patch import Patch
from model.roots import BOX, ROOTS, box_about, disc_middle, guidance_channels
from training.data.cases import Case, load_case
from training.fit.augment import (
    SPACING_MM,
    Shape,
    Strength,
    draw_level_error,
    draw_points,
    draw_rotation,
    known_labels,
    level_index,
    perturb_intensities,
    sample_image,
    sample_labels,
    window_box,
)

STRENGTH: Final = Strength(focus=0.0, roots=1.0)
ANYWHERE: Final = 0.3
"""Share of samples that are centred anywhere in the box and not about a root: there lie the roots of L3 and L5."""
MARGIN: Final = 24
"""Voxels kept about the box, for samples that are rotated and deformed."""
COORDINATE_TURN_DEG: Final = 4.0
COORDINATE_SCALE: Final = 0.05
COORDINATE_SD_MM: Final = 1.0
"""Errors of the coordinate channels: largest angle, largest relative size, SD of the middle along an axis."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedCase:
    """One case and the segmentation network's probabilities."""

    case: Case
    probabilities: Array
    """(9, D/2, H/2, W/2) uint8, 255 for 1, on a box that begins at index `start` of the case."""
    start: Points
    middle: Points
    """Of the disc in these probabilities, an index of the case."""


def segment_case(case: Case, engine: Engine, seed: tuple[int, ...] | None = None) -> SegmentedCase:
    """Run the network on the service's window about the level; seed: of the level's error, None for none."""
    box = window_box(case)
    start = np.array([b.start for b in box])
    image = np.array(case.image[box], dtype=np.float32)
    mean, sd = float(image.mean()), max(float(image.std()), 1e-6)
    level = level_index(case) - start
    off = (
        0.0
        if seed is None
        else draw_level_error(np.random.default_rng(seed), STRENGTH) / SPACING_MM
    )
    i, j, k = (float(v) for v in level + off)
    patch = Patch((image - mean) / sd, np.ones(image.shape, bool), case.affine, mean, sd, (i, j, k))
    logits = engine.run(patch)
    p = softmax(logits, axis=0)
    middle = disc_middle(logits, level + off)
    kept = box_about(image.shape, middle, MARGIN)
    half = tuple(slice(s.start // 2, s.stop // 2) for s in kept)
    quantised = np.round(p[(slice(None), *half)] * 255).astype(np.uint8)
    return SegmentedCase(case, quantised, start + [s.start for s in kept], start + middle)


@dataclass(frozen=True, slots=True, eq=False)
class RootsSample:
    """One training sample."""

    image: Tensor
    """(1, 1, D, H, W), scored."""
    guidance: Tensor
    """(1, 9 or 12, D/2, H/2, W/2): probabilities, and coordinates where the network takes them."""
    root: Tensor
    """(1, 1, D, H, W), 1 in a root."""
    valid: Tensor
    """(1, 1, D, H, W), 1 inside the case."""


def roots_sample(
    item: SegmentedCase, shape: Shape, seed: tuple[int, ...], *, places: bool = False
) -> RootsSample:
    """Cut one augmented sample about a root or in the box; every second one mirrored, for roots have no side.

    places: add channels with each voxel's coordinates from the middle of the disc, along the body's axes, not the
    sample's: two courses differ by some millimetres, and a patient in a scanner is rotated by a few degrees, not by 15.
    """
    rng = np.random.default_rng(seed)
    about = None
    if rng.random() < ANYWHERE:
        anywhere = item.middle + [rng.uniform(low, low + length) for low, length in BOX]
        about = np.clip(anywhere, 0, np.array(item.case.image.shape) - 1)
    points, _ = draw_points(item.case, shape, rng, STRENGTH, about)
    mirrored = rng.random() < 0.5
    if mirrored:
        points = points.flip(2)
    labels, inside = sample_labels(item.case.labels, points)
    image = (
        perturb_intensities(sample_image(item.case.image, points), item.case, rng, STRENGTH)
        * inside
    )
    inside = inside & known_labels(labels)[1]
    at = functional.avg_pool3d(points.movedim(-1, 0)[None], 2)[0].movedim(0, -1)
    coarse = (at - torch.from_numpy(item.start).float() - 0.5) / 2
    size = torch.tensor(item.probabilities.shape[1:], dtype=torch.float32)
    grid = ((coarse + 0.5) / size * 2 - 1).flip(-1)[None]
    source = torch.from_numpy(item.probabilities)[None].float() / 255
    guidance = functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
    if places:
        guidance = torch.cat(
            [guidance, _draw_coordinates(at, item, rng, mirrored=mirrored)[None]], 1
        )
    return RootsSample(
        image[None, None],
        guidance,
        (labels == ROOTS).float()[None, None],
        inside.float()[None, None],
    )


def _draw_coordinates(
    at: Tensor, item: SegmentedCase, rng: np.random.Generator, *, mirrored: bool
) -> Tensor:
    """Draw coordinate channels (3, d, h, w) at index points (d, h, w, 3) of the case, with a small error."""
    turn = draw_rotation(rng, COORDINATE_TURN_DEG) * rng.uniform(
        1 - COORDINATE_SCALE, 1 + COORDINATE_SCALE
    )
    mm = (at - torch.from_numpy(item.middle).float()) * torch.tensor(SPACING_MM)
    mm = mm @ torch.from_numpy(turn.T).float()
    mm = mm + torch.from_numpy(rng.normal(0, COORDINATE_SD_MM, 3)).float()
    if mirrored:
        mm = mm * torch.tensor([1.0, 1.0, -1.0])
    return mm.movedim(-1, 0) / COORDINATE_UNIT_MM


def segment_cases(
    paths: Sequence[Path], engine: Engine, variants: int = 2, seed: int = 1
) -> list[SegmentedCase]:
    """Segment each case that labels roots, `variants` times with another error of its level."""
    out = []
    for number, path in enumerate(paths):
        case = load_case(path)
        if "n4" in case.labelled:
            out += [segment_case(case, engine, (seed, number, v)) for v in range(variants)]
    return out


@torch.inference_mode()
def roots_dice(network: RootsNet, item: SegmentedCase) -> float:
    """Return the Dice of the roots in the box about the disc, not augmented."""
    case = item.case
    window = np.array(case.image[window_box(case)], dtype=np.float32)
    shape = tuple(2 * n for n in item.probabilities.shape[1:])
    middle = item.middle - item.start
    box = box_about(shape, middle)
    half = tuple(slice(b.start // 2, b.stop // 2) for b in box)
    probabilities = item.probabilities[(slice(None), *half)].astype(np.float32) / 255
    guidance = guidance_channels(
        network.architecture, probabilities, middle - [b.start for b in box]
    )
    at = tuple(
        slice(b.start + int(s), b.stop + int(s)) for b, s in zip(box, item.start, strict=True)
    )
    image = (case.image[at].astype(np.float32) - window.mean()) / max(float(window.std()), 1e-6)
    device = next(network.parameters()).device
    inputs = torch.from_numpy(image)[None, None], torch.from_numpy(guidance)[None]
    predicted = network(*(tensor.to(device) for tensor in inputs))[0, 0].cpu().numpy() > 0
    true = case.labels == ROOTS
    total = int(predicted.sum() + true[window_box(case)].sum())
    return float(2 * (predicted & true[at]).sum() / total) if total else 1.0
