"""Train the roots network, two draws a step side by side; stops and resumes at any step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.roots import RootsArchitecture, RootsNet
from training.errors import SourceMissing, UsageError
from training.fit import checkpoint
from training.fit.augment import Shape
from training.fit.cpu import has_bfloat16
from training.fit.roots_samples import Known, RootsSample, draw
from training.fit.weight_average import move_towards

CROP: Final[Shape] = (56, 48, 48)
"""Multiples of 8; one side's root from the foramen down is about as long as this is high."""
DICE: Final = 0.5
ENTROPY: Final = 10.0
"""Nearly all voxels are plainly no root; without the factor they leave nothing of the cross entropy."""
CLIP: Final = 2.0
BATCH: Final = 2
EVERY: Final = 100
LEAST_SHARE: Final = 0.004
"""Share of the present weights that the running mean takes in each step."""


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
    mixed: convolutions in bfloat16 where the CPU has it, in a quarter of the time. beside: digest of the bundle whose
    answers it looks at. cases: ids of those that are drawn from, each `variants` times.
    """

    steps: int = 5000
    learning_rate: float = 3e-3
    norm_steps: int = 200
    crop: Shape = CROP
    architecture: RootsArchitecture = field(default_factory=lambda: RootsArchitecture(places=True))
    seed: int = 1
    mixed: bool = False
    beside: str = ""
    cases: tuple[str, ...] = ()
    variants: int = 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which tell one training from another."""
        told = {**asdict(self), "architecture": self.architecture.to_dict()}
        return {**told, "crop": list(self.crop), "cases": list(self.cases)}


class RootsFit:
    """One training: network, averaged weights, optimizer and step.

    start: network to go on from, whose sizes count and whose norms keep their statistics; one that was not told
    places goes on as it was and learns them.
    """

    def __init__(
        self, items: Sequence[Known], recipe: RootsRecipe, start: RootsNet | None = None
    ) -> None:
        """Get ready for the first step.

        Raises:
            SourceMissing: no case labels a root.
        """
        if not items:
            raise SourceMissing(
                "no prepared case labels the L4 roots; run `lumbar-train prepare --phantoms`"
            )
        torch.manual_seed(recipe.seed)
        self.items, self.recipe, self.step, self.loss = items, recipe, 0, 0.0
        self.norm_steps = recipe.norm_steps if start is None else 0
        self.mixed = recipe.mixed and has_bfloat16()
        self._build(
            RootsNet(recipe.architecture) if start is None else begun(start, recipe.architecture)
        )

    def _build(self, network: RootsNet) -> None:
        rate, steps = self.recipe.learning_rate, self.recipe.steps
        self.network = network
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = RootsNet(network.architecture)
        self.average.load_state_dict(network.state_dict())
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=steps, pct_start=min(0.1, 100 / steps)
        )

    def state(self) -> dict[str, Any]:
        """Everything a resumed training needs, its averaged weights as `export --roots` reads them."""
        return {
            "architecture": self.network.architecture.to_dict(),
            "network": self.average.state_dict(),
            "training": {
                "recipe": self.recipe.to_dict(),
                "step": self.step,
                "loss": self.loss,
                "norm_steps": self.norm_steps,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, of the same recipe."""
        kept = state["training"]
        self._build(RootsNet(RootsArchitecture.from_dict(state["architecture"])))
        self.network.load_state_dict(kept["network"])
        self.average.load_state_dict(state["network"])
        self.schedule.load_state_dict(kept["schedule"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.step, self.loss = int(kept["step"]), float(kept["loss"])
        self.norm_steps = int(kept["norm_steps"])

    def advance(self, pool: Executor) -> None:
        """Take one step; the same step of the same training gives the same weights."""
        self.network.train(self.step < self.norm_steps)
        numbers = range(self.step * BATCH, (self.step + 1) * BATCH)
        # Statistics are gathered one draw after the other, or their sums would meet.
        side_by_side = not self.network.training
        done = list((pool.map if side_by_side else map)(self._gradients, numbers))
        for parameter, *parts in zip(
            self.network.parameters(), *(gradients for _, gradients in done), strict=True
        ):
            parameter.grad = torch.stack(parts).mean(0)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.schedule.step()
        move_towards(self.average, self.network, max(LEAST_SHARE, 1 / (self.step + 2)))
        mean = float(np.mean([loss for loss, _ in done]))
        self.loss = 0.98 * self.loss + 0.02 * mean if self.step else mean
        self.step += 1

    def _gradients(self, number: int) -> tuple[float, tuple[Tensor, ...]]:
        seed, places = self.recipe.seed, self.network.architecture.places
        rng = np.random.default_rng((seed, number))
        item = self.items[int(rng.integers(len(self.items)))]
        sample = draw(item, self.recipe.crop, (seed, number, 7), places=places)
        loss, parts = _gradients(self.network, sample, mixed=self.mixed)
        if self.mixed and not all(bool(part.isfinite().all()) for part in parts):
            loss, parts = _gradients(self.network, sample, mixed=False)
        return loss, parts


def fit_roots(fit: RootsFit, report: Callable[[RootsFit], None] = lambda _: None) -> RootsNet:
    """Take the steps that are left; the averaged network is returned. report: called every 100 steps."""
    with ThreadPoolExecutor(BATCH, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while fit.step < fit.recipe.steps:
            fit.advance(pool)
            if fit.step % EVERY == 0:
                report(fit)
    return fit.average.eval()


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


def kept_of(file: Path, recipe: RootsRecipe) -> dict[str, Any]:
    """Read the state of a training that is to go on.

    Raises:
        CheckpointUnreadable: the file cannot be read.
        UsageError: it holds weights alone, or a training with other options, which would be lost.
    """
    state = checkpoint.load(file)
    told = state.get("training", {}).get("recipe")
    if told != recipe.to_dict():
        what = "no training to go on from" if told is None else "a training with other options"
        raise UsageError(f"{file} holds {what}; name another --out or add --no-resume")
    return state
