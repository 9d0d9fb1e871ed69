"""Train the network of the L4 roots, with a batch of two samples; stops and resumes at any step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.networks.roots_unet import RootsNet
from model.networks.sizes import RootsArchitecture
from training.errors import SourceMissing, UsageError
from training.fit import checkpoint
from training.fit.augment import Shape
from training.fit.cpu.kernels import has_bfloat16
from training.fit.device import mixed_precision
from training.fit.loop import (
    Step,
    Trainer,
    Training,
    every_seconds,
    every_steps,
    finite_step,
    mean_step,
    train,
)
from training.fit.roots_samples import RootsSample, SegmentedCase, roots_sample
from training.fit.schedule import one_cycle

CROP: Final[Shape] = (56, 48, 48)
"""Multiples of 8; one side's root from the foramen down is about as long as this is high."""
DICE: Final = 0.5
ENTROPY: Final = 10.0
"""Nearly all voxels are plainly no root; without the factor they leave nothing of the cross entropy."""
CLIP: Final = 2.0
BATCH: Final = 2
EVERY: Final = 100
"""Steps between reports."""
SAVE_EVERY_S: Final = 30.0
"""Between files: what a kill costs at most, and a step."""
CHECK_EVERY: Final = 500
"""Steps between scores of the held-out cases."""
CPU: Final = torch.device("cpu")
MIN_SHARE: Final = 0.004
"""Share of the present weights that the average takes in each step."""


def roots_loss(logit: Tensor, root: Tensor, valid: Tensor) -> Tensor:
    """Return cross entropy and soft Dice loss of the roots."""
    entropy = functional.binary_cross_entropy_with_logits(logit, root, weight=valid)
    p = torch.sigmoid(logit) * valid
    dice = (2 * (p * root).sum() + 1) / (p.sum() + root.sum() + 1)
    return ENTROPY * entropy + DICE * (1 - dice)


@dataclass(frozen=True, slots=True)
class RootsRecipe:
    """How the roots network is trained."""

    steps: int = 5000
    """Of two samples."""
    learning_rate: float = 3e-3
    """The highest, after a warm-up and before a cosine to nothing."""
    norm_steps: int = 200
    """First steps, after which the norms keep their statistics."""
    crop: Shape = CROP
    """Sample shape (slices, rows, columns), multiples of 8."""
    architecture: RootsArchitecture = field(default_factory=lambda: RootsArchitecture(places=True))
    seed: int = 1
    mixed: bool = False
    """Convolutions in bfloat16 where the CPU has it, in a quarter of the time."""
    beside: str = ""
    """Digest of the bundle whose probabilities guide the network."""
    cases: tuple[str, ...] = ()
    """Ids of the cases that are sampled."""
    variants: int = 2
    """How often each case is sampled, with another error of its level."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which distinguish one training from another."""
        values = {**asdict(self), "architecture": self.architecture.to_dict()}
        return {**values, "crop": list(self.crop), "cases": list(self.cases)}


class RootsTraining:
    """One training in progress: a trainer, its recipe, and the file format that `export --roots` reads."""

    def __init__(
        self,
        items: Sequence[SegmentedCase],
        recipe: RootsRecipe,
        start: RootsNet | None = None,
        device: torch.device = CPU,
    ) -> None:
        """Prepare the first step.

        start: trained network to begin with, whose sizes count and whose norms keep their statistics; one without
        position channels begins as the same function and learns them.

        Raises:
            SourceMissing: no case labels a root.
        """
        if not items:
            raise SourceMissing(
                "no prepared case labels the L4 roots; run `lumbar-train prepare --phantoms`"
            )
        torch.manual_seed(recipe.seed)
        self.items, self.recipe, self.device = items, recipe, device
        if start is None:
            self.trainer = self._new_trainer(RootsNet(recipe.architecture), recipe.norm_steps)
        else:
            self.trainer = self._new_trainer(initial_roots_network(start, recipe.architecture), 0)

    def _new_trainer(self, network: RootsNet, norm_steps: int) -> Trainer[RootsNet]:
        recipe, device = self.recipe, self.device
        network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        bfloat16 = has_bfloat16() if device.type == "cpu" else mixed_precision(device)
        training = Training(
            network,
            RootsNet(network.architecture).to(device),
            _Source(self.items, recipe, recipe.mixed and bfloat16, device).step,
            one_cycle(recipe.learning_rate, recipe.steps, min(0.1, 100 / recipe.steps)),
            lambda step: max(MIN_SHARE, 1 / (step + 2)),
            recipe.steps,
            weight_decay=1e-4,
            clip=CLIP,
            norm_steps=norm_steps,
        )
        return Trainer(training)

    def state(self) -> dict[str, Any]:
        """Return everything a resumed training needs, the averaged weights as `export --roots` reads them."""
        state = self.trainer.state()
        average = state.pop("average")
        return {
            "architecture": self.trainer.network.architecture.to_dict(),
            "network": average,
            "training": {"recipe": self.recipe.to_dict(), **state},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, of the same recipe."""
        architecture = RootsArchitecture.from_dict(state["architecture"])
        self.trainer = self._new_trainer(RootsNet(architecture), self.recipe.norm_steps)
        self.trainer.restore({**state["training"], "average": state["network"]})

    def run(
        self,
        report: Callable[[], None] = lambda: None,
        save: Callable[[], None] = lambda: None,
    ) -> RootsNet:
        """Take the steps that are left; returns the averaged network.

        report: called every 100 steps. save: called every half minute, before the report.
        """
        train(
            self.trainer,
            report=report,
            report_due=every_steps(EVERY),
            save=save,
            save_due=every_seconds(SAVE_EVERY_S),
        )
        return self.trainer.average.eval()


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the loss and the gradients of a step come from."""

    items: Sequence[SegmentedCase]
    recipe: RootsRecipe
    mixed: bool
    device: torch.device

    def step(self, network: RootsNet, step: int) -> Step:
        """Return the mean of two samples, each a function of (seed, number)."""
        numbers = range(step * BATCH, (step + 1) * BATCH)
        # Statistics are gathered one sample after the other, or their sums would meet.
        workers = None if network.training or self.device.type != "cpu" else BATCH
        return mean_step(lambda number: self._of_sample(network, number), numbers, workers)

    def _of_sample(self, network: RootsNet, number: int) -> Step:
        seed, places = self.recipe.seed, network.architecture.places
        rng = np.random.default_rng((seed, number))
        item = self.items[int(rng.integers(len(self.items)))]
        sample = roots_sample(item, self.recipe.crop, (seed, number, 7), places=places)
        tensors = (sample.image, sample.guidance, sample.root, sample.valid)
        placed = RootsSample(*(tensor.to(self.device) for tensor in tensors))
        return finite_step(lambda mixed: _gradients(network, placed, mixed=mixed), mixed=self.mixed)


def _gradients(network: RootsNet, sample: RootsSample, *, mixed: bool) -> Step:
    with torch.autocast(sample.image.device.type, torch.bfloat16, enabled=mixed):
        logit = network(
            sample.image.contiguous(memory_format=torch.channels_last_3d),
            sample.guidance.contiguous(memory_format=torch.channels_last_3d),
        )
    loss = roots_loss(logit.float(), sample.root, sample.valid)
    return float(loss.detach()), torch.autograd.grad(loss, list(network.parameters()))


def initial_roots_network(start: RootsNet, architecture: RootsArchitecture) -> RootsNet:
    """Return the network to begin with, of the sizes of `start`; new position channels have weights of zero."""
    sizes = replace(start.architecture, places=architecture.places or start.architecture.places)
    network, weights = RootsNet(sizes), start.state_dict()
    entry = weights["mid.0.weight"]
    added = sizes.guidance_count - start.architecture.guidance_count
    weights["mid.0.weight"] = functional.pad(entry, (0, 0) * 3 + (0, added))
    network.load_state_dict(weights)
    return network


def read_roots_checkpoint(file: Path, recipe: RootsRecipe) -> dict[str, Any]:
    """Read the state of a training to resume.

    Raises:
        CheckpointUnreadable: the file cannot be read.
        UsageError: it holds weights alone, or a training with other options, which would be lost.
    """
    state = checkpoint.load(file)
    values = state.get("training", {}).get("recipe")
    if values != recipe.to_dict():
        content = "no training to resume" if values is None else "a training with other options"
        raise UsageError(f"{file} holds {content}; name another --out or add --no-resume")
    return state
