"""Train the level finder on prepared cases; minutes on two cores.

Negatives are part of the draw: volumes cut above the level, and spines shrunk to half their size,
which is what a cervical spine looks like to a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dicomseg.volume import Volume
from model.level import DISCS, GRID_MM, HEAT_SIGMA_MM, LevelArchitecture, LevelNet, NetworkFinder, coarse, scored
from training.cases import Case, load_case

FINE_MM: Final = (1.5, 1.5, 2.0)
LEAST_HEIGHT_MM: Final = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Small:
    """One case on a fine search grid: image, affine and known disc centres in fractional indices."""

    image: Tensor
    discs: dict[str, np.ndarray]
    name: str


def small_of(case: Case) -> Small:
    """Average one case to `FINE_MM`."""
    grid = coarse(Volume(case.image, case.affine), FINE_MM)
    discs = {n: grid.to_index(np.array(p)) for n, p in case.disc_centres.items() if n in DISCS}
    return Small(torch.from_numpy(np.array(grid.array)), discs, case.case_id)


def draw(small: Small, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One augmented image (1, D, H, W) on the search grid and its heat maps (5, D, H, W)."""
    size = np.array(small.image.shape) * np.array(FINE_MM)
    low, high = 0.0, size[0]
    if rng.random() < 0.6:
        height = rng.uniform(LEAST_HEIGHT_MM, max(LEAST_HEIGHT_MM + 1, size[0]))
        low = rng.uniform(0, max(0.0, size[0] - height))
        high = min(size[0], low + height)
    width = size[2] if size[2] < 40 or rng.random() < 0.15 else rng.uniform(14, min(size[2], 90.0))
    middle = size[2] / 2 + (rng.uniform(-6, 6) if width < size[2] else 0.0)
    depth = size[1] * rng.uniform(0.7, 1.0)
    front = rng.uniform(0, size[1] - depth)
    negative = rng.random() < 0.08
    scale = rng.uniform(0.35, 0.55) if negative else rng.uniform(0.85, 1.18)
    extent = np.array([high - low, depth, width]) * scale
    shape = np.maximum(np.round(extent / np.array(GRID_MM)).astype(int), (8, 8, 3))
    centre = np.array([(low + high) / 2, front + depth / 2, middle])
    a = np.deg2rad(rng.uniform(-12, 12))
    c = np.deg2rad(rng.uniform(-6, 6))
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]]
    )
    axes = [(torch.arange(int(n), dtype=torch.float32) - (int(n) - 1) / 2) * g for n, g in zip(shape, GRID_MM, strict=True)]
    mm = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) / float(scale)
    flip = float(rng.choice([-1.0, 1.0]))
    mm = mm * torch.tensor([1.0, 1.0, flip])
    moved = mm @ torch.tensor(turn.T, dtype=torch.float32) + torch.tensor(centre, dtype=torch.float32)
    grid = (moved / torch.tensor(size, dtype=torch.float32) * 2 - 1).flip(-1)[None]
    image = functional.grid_sample(small.image[None, None], grid, padding_mode="border", align_corners=False)[0]
    heat = torch.zeros(len(DISCS), *(int(n) for n in shape))
    if not negative:
        for n, name in enumerate(DISCS):
            if name in small.discs:
                at = torch.tensor((small.discs[name] + 0.5) * np.array(FINE_MM), dtype=torch.float32)
                heat[n] = torch.exp(-((moved - at) ** 2).sum(-1) / (2 * HEAT_SIGMA_MM**2))
    return torch.from_numpy(_disturb(image.numpy(), rng)), heat


def _disturb(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    low, high = image.min(), image.max()
    unit = ((image - low) / max(float(high - low), 1e-6)) ** float(np.exp(rng.uniform(-0.6, 0.6)))
    if rng.random() < 0.4:
        unit = np.minimum(unit, np.quantile(unit, rng.uniform(0.85, 0.99)))
    ramp = np.linspace(-1, 1, unit.shape[2], dtype=np.float32)[None, None, :, None]
    unit = unit * np.exp(ramp * rng.uniform(-0.8, 0.8))
    unit = unit + rng.normal(0, rng.uniform(0, 0.06), unit.shape)
    return scored(unit)


def loss_of(logits: Tensor, heat: Tensor) -> Tensor:
    """Squared error of the heat maps, peaks weighted up."""
    weight = 1 + 60 * heat
    return (weight * (torch.sigmoid(logits) - heat) ** 2).sum() / weight.sum()


def fit_level(
    cases: Sequence[Path], steps: int, seed: int = 1, report: Callable[[int, float], None] = lambda _n, _l: None
) -> LevelNet:
    """Train from scratch; the averaged weights are returned."""
    torch.manual_seed(seed)
    smalls = [small_of(load_case(p)) for p in cases]
    slabs = [s for s in smalls if not s.name.startswith("phantom")] or smalls
    network = LevelNet(LevelArchitecture()).to(memory_format=torch.channels_last_3d)
    average = LevelNet(LevelArchitecture())
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    running = 0.0
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        loss = torch.zeros(())
        for _ in range(2):
            pool = slabs if rng.random() < 0.7 else smalls
            image, heat = draw(pool[int(rng.integers(len(pool)))], rng)
            loss = loss + loss_of(network(image[None].to(memory_format=torch.channels_last_3d)), heat[None]) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                mean.lerp_(now, 0.01)
        running = 0.98 * running + 0.02 * float(loss.detach())
        if step % 100 == 0:
            report(step, running)
    return average


def errors_mm(network: LevelNet, cases: Sequence[Path]) -> dict[str, float]:
    """Distance of the found L4/5 centre from the true one per case; NaN when it was not found."""
    finder = NetworkFinder(network)
    out = {}
    for path in cases:
        case = load_case(path)
        level = finder.locate(Volume(case.image, case.affine))
        centre = getattr(level, "centre_lps", None)
        out[case.case_id] = float("nan") if centre is None else float(np.linalg.norm(np.array(centre) - case.level_centre_lps))
    return out
