"""Train the segmentation network on prepared cases; stops and resumes at any step.

Needs torch and numpy only. Every draw is a function of (seed, step), so a resumed run sees the same
samples as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from dicomseg.structures import STRUCTURES
from model.network import DeepLabV3Plus3D
from training import checkpoint
from training.augment import Sample, Strength, draw
from training.cases import Case, cases_in, load_case
from training.errors import SourceMissing
from training.loss import marginal_loss
from training.recipe import Recipe

CHECKPOINT_EVERY_S = 180.0
VALIDATE_EVERY = 200
VALIDATION_SHAPE = (64, 160, 160)


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the training log."""

    step: int
    loss: float
    learning_rate: float
    seconds: float
    dice: dict[str, float] | None = None


@lru_cache(maxsize=96)
def _cached(path: Path) -> Case:
    return load_case(path)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine to zero at `recipe.steps`."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def sample_of(
    recipe: Recipe, phantoms: Sequence[Path], slabs: Sequence[Path], step: int
) -> tuple[Case, Sample]:
    """Draw the sample of one step."""
    rng = np.random.default_rng((recipe.seed, step))
    from_phantom = bool(phantoms) and (not slabs or rng.random() < recipe.phantom_share)
    case = _cached(_pick(phantoms if from_phantom else slabs, rng))
    narrow = not from_phantom or rng.random() < 0.12
    shape = recipe.narrow if narrow else recipe.crops[int(rng.integers(len(recipe.crops)))]
    if (
        from_phantom and narrow
    ):  # a phantom seen as a sagittal slab, or the domain gap is also a gap of shape
        middle = case.image.shape[2] // 2 + int(rng.integers(-6, 7))
        half = int(rng.integers(10, 17))
        case = case.cropped(
            (0, 0, middle - half), (case.image.shape[0], case.image.shape[1], middle + half)
        )
    return case, draw(case, shape, (recipe.seed, step, 7), recipe.strength)


def _pick(paths: Sequence[Path], rng: np.random.Generator) -> Path:
    return paths[int(rng.integers(len(paths)))]


def upsampled(logits: torch.Tensor) -> torch.Tensor:
    """Half-resolution logits on the image grid."""
    return functional.interpolate(logits, scale_factor=2.0, mode="trilinear", align_corners=False)


@torch.no_grad()
def quick_dice(network: torch.nn.Module, paths: Sequence[Path]) -> dict[str, float]:
    """Dice per structure about the level, averaged over the cases that label it; not augmented."""
    still = Strength(0.0, 0.0, 0.0, (0.0, 0.0, 0.0), 0.0, 0.0)
    scores: dict[str, list[float]] = {}
    network.eval()
    for path in paths:
        case = _cached(path)
        shape = VALIDATION_SHAPE if case.image.shape[2] >= 64 else (64, 160, 32)
        sample = draw(case, shape, (0,), still)
        found = upsampled(network(sample.image)).argmax(1)
        for structure in STRUCTURES:
            if structure.id not in case.labelled:
                continue
            a, b = (found == structure.value) & (sample.valid > 0), sample.labels == structure.value
            if bool(b.any()):
                scores.setdefault(structure.id, []).append(
                    float(2 * (a & b).sum() / (a.sum() + b.sum()))
                )
    network.train()
    return {name: float(np.mean(values)) for name, values in scores.items()}


class Fit:
    """One run: network, averaged weights, optimizer and step; `advance` does one step."""

    def __init__(self, recipe: Recipe, phantoms: Sequence[Path], slabs: Sequence[Path]) -> None:
        if not phantoms and not slabs:
            raise SourceMissing("no prepared cases to train on; run `lumbar-train prepare` first")
        torch.manual_seed(recipe.seed)
        self.recipe, self.phantoms, self.slabs, self.step = recipe, list(phantoms), list(slabs), 0
        self.network = DeepLabV3Plus3D(recipe.architecture).to(memory_format=torch.channels_last_3d)
        self.average = DeepLabV3Plus3D(recipe.architecture)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.step = int(state["step"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def advance(self) -> float:
        """Take one step; returns the loss."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, self.step)
        case, sample = sample_of(recipe, self.phantoms, self.slabs, self.step)
        logits = self.network(sample.image.to(memory_format=torch.channels_last_3d))
        loss = marginal_loss(upsampled(logits), sample.labels, sample.valid, case.labelled)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        decay = min(recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(
                self.average.state_dict().values(), self.network.state_dict().values(), strict=True
            ):
                mean.lerp_(now, 1 - decay)
        self.step += 1
        return float(loss.detach())


def run(
    fit: Fit,
    out: Path,
    *,
    max_minutes: float = math.inf,
    validation: Sequence[Path] = (),
    report: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train until the recipe's last step or the time is over; True when the recipe is finished."""
    file = out / "checkpoint.pt"
    start = saved = time.monotonic()
    losses: list[float] = []
    while fit.step < fit.recipe.steps and time.monotonic() - start < max_minutes * 60:
        losses.append(fit.advance())
        if fit.step % 20 == 0 or fit.step == 1:
            dice = (
                quick_dice(fit.average, validation)
                if validation and fit.step % VALIDATE_EVERY == 0
                else None
            )
            report(
                Progress(
                    fit.step,
                    float(np.mean(losses[-20:])),
                    learning_rate(fit.recipe, fit.step),
                    time.monotonic() - start,
                    dice,
                )
            )
        if time.monotonic() - saved > CHECKPOINT_EVERY_S:
            checkpoint.save(file, fit.state())
            saved = time.monotonic()
    checkpoint.save(file, fit.state())
    return fit.step >= fit.recipe.steps


def split(cases: Path, recipe: Recipe) -> tuple[list[Path], list[Path], list[Path]]:
    """Phantoms, slabs and held-out cases below a folder of prepared cases, by file name."""
    phantoms, slabs, held = [], [], []
    for path in sorted(
        {*cases_in(cases), *(p for d in cases.iterdir() if d.is_dir() for p in cases_in(d))}
    ):
        if path.stem in recipe.held_out:
            held.append(path)
        elif path.stem.startswith("phantom"):
            phantoms.append(path)
        else:
            slabs.append(path)
    return phantoms, slabs, held
