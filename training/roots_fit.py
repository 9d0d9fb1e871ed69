"""Train the roots network on phantoms, beside the probabilities of a trained segmentation network.

Only phantoms label the L4 roots. What the segmentation network says of a case is computed once, with a level that
is off as a finder's is, and turned and bent with every draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional

from dicomseg.volume import Array, Points
from model.engines import Engine
from model.network import PLACE_UNIT_MM
from model.roots import BOX, ROOTS, RootsArchitecture, RootsNet, box_about, middle_of, places_of
from model.window import Patch
from training.augment import (
    SPACING_MM,
    Shape,
    Strength,
    disturbed,
    level_of,
    linear,
    miss,
    nearest,
    rotation,
    taken_by,
    window_of,
)
from training.averaged import move_towards
from training.cases import Case, load_case
from training.cpu import has_bfloat16
from training.errors import SourceMissing

CROP: Final[Shape] = (56, 48, 48)
"""Multiples of 8; one side's root from the foramen down is about as long as this is high."""
STRENGTH: Final = Strength(focus=0.0, roots=1.0)
ANYWHERE: Final = 0.3
"""Share of draws that are centred anywhere in the box and not about a root: there lie the roots of L3 and L5."""
MARGIN: Final = 24
"""Voxels kept about the box, for draws that are turned and bent."""
DICE: Final = 0.5
ENTROPY: Final = 10.0
"""Nearly all voxels are plainly no root; without the factor they leave nothing of the cross entropy."""
PLACE_TURN_DEG: Final = 4.0
PLACE_SCALE: Final = 0.05
PLACE_OFF_MM: Final = 1.0
"""By how much the places that are told are off: most angle, most relative size, SD of the middle along an axis."""
CLIP: Final = 2.0
BATCH: Final = 2
EVERY: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """One case and what the segmentation network says of it.

    probabilities: (9, D/2, H/2, W/2) uint8, 255 for 1, on a box that begins at index `start` of the case. middle: of
    the disc that it drew, an index of the case.
    """

    case: Case
    probabilities: Array
    start: Points
    middle: Points


def known(case: Case, engine: Engine, seed: tuple[int, ...] | None = None) -> Known:
    """Run the network on the service's window about the level; seed: of the level's error, None for none."""
    box = window_of(case)
    start = np.array([b.start for b in box])
    image = np.array(case.image[box], dtype=np.float32)
    mean, sd = float(image.mean()), max(float(image.std()), 1e-6)
    level = level_of(case) - start
    off = 0.0 if seed is None else miss(np.random.default_rng(seed), STRENGTH) / SPACING_MM
    i, j, k = (float(v) for v in level + off)
    patch = Patch((image - mean) / sd, np.ones(image.shape, bool), case.affine, mean, sd, (i, j, k))
    logits = engine.run(patch)
    p = softmax(logits, axis=0)
    kept = box_about(image.shape, level, MARGIN)
    half = tuple(slice(s.start // 2, s.stop // 2) for s in kept)
    small = np.round(p[(slice(None), *half)] * 255).astype(np.uint8)
    middle = start + middle_of(logits, level + off)
    return Known(case, small, start + [s.start for s in kept], middle)


@dataclass(frozen=True, slots=True, eq=False)
class RootsSample:
    """image (1, 1, D, H, W), told (1, 9 or 12, D/2, H/2, W/2), root and valid (1, 1, D, H, W) float."""

    image: Tensor
    told: Tensor
    root: Tensor
    valid: Tensor


def draw(item: Known, shape: Shape, seed: tuple[int, ...], *, places: bool = False) -> RootsSample:
    """Cut one augmented sample about a root or in the box; every second one mirrored, for roots have no side.

    places: tell also where it lies from the middle of the disc. The body's axes count, not the draw's: a course is
    told apart from the next by some millimetres, and who lies in a scanner is turned by a few degrees, not by 15.
    """
    rng = np.random.default_rng(seed)
    about = None
    if rng.random() < ANYWHERE:
        anywhere = item.middle + [rng.uniform(low, low + length) for low, length in BOX]
        about = np.clip(anywhere, 0, np.array(item.case.image.shape) - 1)
    taken, _ = taken_by(item.case, shape, rng, STRENGTH, about)
    mirrored = rng.random() < 0.5
    if mirrored:
        taken = taken.flip(2)
    labels, inside = nearest(item.case.labels, taken)
    image = disturbed(linear(item.case.image, taken), item.case, rng, STRENGTH) * inside
    at = functional.avg_pool3d(taken.movedim(-1, 0)[None], 2)[0].movedim(0, -1)
    coarse = (at - torch.from_numpy(item.start).float() - 0.5) / 2
    size = torch.tensor(item.probabilities.shape[1:], dtype=torch.float32)
    grid = ((coarse + 0.5) / size * 2 - 1).flip(-1)[None]
    source = torch.from_numpy(item.probabilities)[None].float() / 255
    told = functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
    if places:
        told = torch.cat([told, _places(at, item, rng, mirrored=mirrored)[None]], 1)
    return RootsSample(
        image[None, None],
        told,
        (labels == ROOTS).float()[None, None],
        inside.float()[None, None],
    )


def _places(at: Tensor, item: Known, rng: np.random.Generator, *, mirrored: bool) -> Tensor:
    """`model.roots.places_of` at index points (d, h, w, 3) of the case, a little off: (3, d, h, w)."""
    turn = rotation(rng, PLACE_TURN_DEG) * rng.uniform(1 - PLACE_SCALE, 1 + PLACE_SCALE)
    mm = (at - torch.from_numpy(item.middle).float()) * torch.tensor(SPACING_MM)
    mm = mm @ torch.from_numpy(turn.T).float()
    mm = mm + torch.from_numpy(rng.normal(0, PLACE_OFF_MM, 3)).float()
    if mirrored:
        mm = mm * torch.tensor([1.0, 1.0, -1.0])
    return mm.movedim(-1, 0) / PLACE_UNIT_MM


def loss_of(logit: Tensor, root: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy and soft Dice of the roots."""
    entropy = functional.binary_cross_entropy_with_logits(logit, root, weight=valid)
    p = torch.sigmoid(logit) * valid
    dice = (2 * (p * root).sum() + 1) / (p.sum() + root.sum() + 1)
    return ENTROPY * entropy + DICE * (1 - dice)


@dataclass(frozen=True, slots=True)
class RootsRecipe:
    """How the roots network is trained.

    steps: of two draws. learning_rate: the highest, after a warm-up and before a cosine to nothing. norm_steps: first
    steps, after which the norms keep their statistics. crop: sample shape (slices, rows, columns), multiples of 8.
    mixed: convolutions in bfloat16 where the CPU has it, in a quarter of the time.
    """

    steps: int = 5000
    learning_rate: float = 3e-3
    norm_steps: int = 200
    crop: Shape = CROP
    architecture: RootsArchitecture = field(default_factory=lambda: RootsArchitecture(places=True))
    seed: int = 1
    mixed: bool = False


def fit_roots(
    items: Sequence[Known],
    recipe: RootsRecipe,
    report: Callable[[int, float, RootsNet], None] = lambda _n, _l, _w: None,
    start: RootsNet | None = None,
) -> RootsNet:
    """Train on `items`, two draws a step side by side; the averaged weights are returned.

    report: called every 100 steps with step, loss and averaged network. start: network to go on from, whose sizes
    count and whose norms keep their statistics; one that was not told places goes on as it was and learns them.

    Raises:
        SourceMissing: no case labels a root.
    """
    if not items:
        raise SourceMissing(
            "no prepared case labels the L4 roots; run `lumbar-train prepare --phantoms`"
        )
    seed, steps, rate = recipe.seed, recipe.steps, recipe.learning_rate
    torch.manual_seed(seed)
    network = RootsNet(recipe.architecture) if start is None else begun(start, recipe.architecture)
    sizes = network.architecture
    average = RootsNet(sizes)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=min(0.1, 100 / steps)
    )
    running, mixed = 0.0, recipe.mixed and has_bfloat16()

    def gradients(number: int) -> tuple[float, tuple[Tensor, ...]]:
        rng = np.random.default_rng((seed, number))
        item = items[int(rng.integers(len(items)))]
        sample = draw(item, recipe.crop, (seed, number, 7), places=sizes.places)
        loss, parts = _gradients(network, sample, mixed=mixed)
        if mixed and not all(bool(part.isfinite().all()) for part in parts):
            loss, parts = _gradients(network, sample, mixed=False)
        return loss, parts

    with ThreadPoolExecutor(BATCH, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for step in range(steps):
            network.train(start is None and step < recipe.norm_steps)
            numbers = range(step * BATCH, (step + 1) * BATCH)
            # Statistics are gathered one draw after the other, or their sums would meet.
            todo = map(gradients, numbers) if network.training else pool.map(gradients, numbers)
            done = list(todo)
            for parameter, *parts in zip(network.parameters(), *(g for _, g in done), strict=True):
                parameter.grad = torch.stack(parts).mean(0)
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            move_towards(average, network, max(0.004, 1 / (step + 2)))
            mean = float(np.mean([loss for loss, _ in done]))
            running = 0.98 * running + 0.02 * mean if step else mean
            if step % EVERY == EVERY - 1:
                report(step + 1, running, average)
    return average.eval()


def _gradients(
    network: RootsNet, sample: RootsSample, *, mixed: bool
) -> tuple[float, tuple[Tensor, ...]]:
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logit = network(
            sample.image.contiguous(memory_format=torch.channels_last_3d),
            sample.told.contiguous(memory_format=torch.channels_last_3d),
        )
    loss = loss_of(logit.float(), sample.root, sample.valid)
    return float(loss.detach()), torch.autograd.grad(loss, list(network.parameters()))


def begun(start: RootsNet, architecture: RootsArchitecture) -> RootsNet:
    """The network to go on from, of its own sizes; places that it is told from now on are silent at first."""
    sizes = replace(start.architecture, places=architecture.places or start.architecture.places)
    network, weights = RootsNet(sizes), start.state_dict()
    first = weights["mid.0.weight"]
    more = sizes.told - start.architecture.told
    weights["mid.0.weight"] = functional.pad(first, (0, 0) * 3 + (0, more))
    network.load_state_dict(weights)
    return network


def items_of(
    paths: Sequence[Path], engine: Engine, variants: int = 2, seed: int = 1
) -> list[Known]:
    """What training draws from: each case that labels roots, `variants` times with another error of its level."""
    out = []
    for number, path in enumerate(paths):
        case = load_case(path)
        if "n4" in case.labelled:
            out += [known(case, engine, (seed, number, v)) for v in range(variants)]
    return out


@torch.inference_mode()
def dice_of(network: RootsNet, item: Known) -> float:
    """Dice of the roots in the box about the disc; the image as it is."""
    case, window = item.case, window_of(item.case)
    origin = np.array([b.start for b in window])
    values = np.array(case.image[window], dtype=np.float32)
    middle = item.middle - origin
    box = box_about(values.shape, middle)
    image = (values[box] - values.mean()) / max(float(values.std()), 1e-6)
    first = (origin + [b.start for b in box] - item.start).astype(int) // 2
    half = tuple(slice(f, f + n // 2) for f, n in zip(first, image.shape, strict=True))
    told = torch.from_numpy(item.probabilities[(slice(None), *half)]).float() / 255
    if network.architecture.places:
        places = places_of(values[box].shape, middle - [b.start for b in box])
        told = torch.cat([told, torch.from_numpy(places)])
    given = torch.from_numpy(image.astype(np.float32))[None, None]
    found = network(given, told[None])[0, 0].numpy() > 0
    true = case.labels[window] == ROOTS
    total = int(found.sum() + true.sum())
    return float(2 * (found & true[box]).sum() / total) if total else 1.0
