"""Train the segmentation network on prepared cases; stops and resumes at any step.

Needs torch and numpy only. Every draw is a function of (seed, step), so a resumed run sees the same
samples as one that was never stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from dicomseg.structures import STRUCTURES
from model.networks.deeplab import DeepLabV3Plus3D
from training.data.cases import list_cases, load_case
from training.errors import SourceMissing, UsageError
from training.fit import checkpoint
from training.fit.augment import window_sample
from training.fit.cpu import network as kernels
from training.fit.distributed import Ranks
from training.fit.initial_weights import starting_network
from training.fit.loss import marginal_loss
from training.fit.recipe import Recipe
from training.fit.sampling import sample_of
from training.fit.weight_average import move_towards

CHECKPOINT: Final = "checkpoint.pt"
RECIPE: Final = "recipe.json"
CHECKPOINT_EVERY_S: Final = 180.0
VALIDATE_EVERY: Final = 200
REPORT_EVERY: Final = 20
MILESTONE_FACTOR: Final = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the training log."""

    step: int
    loss: float
    learning_rate: float
    seconds: float
    dice: dict[str, float] | None = None


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine to zero at `recipe.steps`, or a fifth at each milestone."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    if recipe.milestones:
        return recipe.learning_rate * MILESTONE_FACTOR ** sum(step >= m for m in recipe.milestones)
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def upsampled(logits: torch.Tensor) -> torch.Tensor:
    """Half-resolution logits on the image grid."""
    return functional.interpolate(logits, scale_factor=2.0, mode="trilinear", align_corners=False)


@torch.no_grad()
def quick_dice(network: torch.nn.Module, paths: Sequence[Path]) -> dict[str, float]:
    """Dice per structure in the service's window, averaged over the cases that label it; not augmented."""
    scores: dict[str, list[float]] = {}
    network.eval()
    for path in paths:
        case = load_case(path)
        sample = window_sample(case)
        device = next(network.parameters()).device
        logits = network(sample.image.to(device), sample.place.to(device))
        found = upsampled(logits).argmax(1).cpu()
        for structure in STRUCTURES:
            if structure.id not in case.labelled:
                continue
            a, b = found == structure.value, sample.labels == structure.value
            if bool(b.any()):
                scores.setdefault(structure.id, []).append(
                    float(2 * (a & b).sum() / (a.sum() + b.sum()))
                )
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _side_by_side(recipe: Recipe) -> int:
    return max(1, min(recipe.accumulate, torch.get_num_threads()))


def _one_core() -> None:
    """Draws stand side by side, so each keeps to its core; waiting for each other costs more."""
    torch.set_num_threads(1)


class Fit:
    """One run: network, averaged weights, optimizer and step; `advance` does one step."""

    def __init__(
        self,
        recipe: Recipe,
        phantoms: Sequence[Path],
        slabs: Sequence[Path],
        network: DeepLabV3Plus3D | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        if not phantoms and not slabs:
            raise SourceMissing("no prepared cases to train on; run `lumbar-train prepare` first")
        torch.manual_seed(recipe.seed)
        self.recipe, self.phantoms, self.slabs, self.step = recipe, list(phantoms), list(slabs), 0
        self.ranks = ranks or Ranks()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # A trained network keeps its statistics from the first step.
        self.norm_steps = recipe.norm_steps if network is None else 0
        self.network = network or DeepLabV3Plus3D(recipe.architecture)
        self.network.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = DeepLabV3Plus3D(recipe.architecture).to(self.device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {
            "step": self.step,
            "norm_steps": self.norm_steps,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.step, self.norm_steps = int(state["step"]), int(state["norm_steps"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def advance(self) -> float:
        """Take one step of `recipe.accumulate` draws; returns their mean loss.

        Draws side by side give the same sums as one after the other.
        """
        recipe = self.recipe
        self.network.train(self.step < self.norm_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, self.step)
        first = self.step * recipe.accumulate
        numbers = self.ranks.share(range(first, first + recipe.accumulate))
        if kernels.suits(self.network):
            with ThreadPoolExecutor(_side_by_side(recipe), initializer=_one_core) as pool:
                done = list(pool.map(self._by_kernels, numbers))
        else:
            done = [self._by_torch(number) for number in numbers]
        for parameter, *parts in zip(
            self.network.parameters(), *(gradients for _, gradients in done), strict=True
        ):
            parameter.grad = torch.stack(parts).mean(0)
        self.ranks.mean_(p.grad for p in self.network.parameters() if p.grad is not None)
        if self.network.training:
            self.ranks.mean_(self.network.buffers())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        self._average()
        self.step += 1
        return float(np.mean([loss for loss, _ in done]))

    def _by_kernels(self, number: int) -> tuple[float, tuple[torch.Tensor, ...]]:
        case, sample = sample_of(self.recipe, self.phantoms, self.slabs, number)
        return kernels.gradients(
            self.network, sample, case.labelled, self.recipe.objective, mixed=self.recipe.mixed
        )

    def _by_torch(self, number: int) -> tuple[float, tuple[torch.Tensor, ...]]:
        case, sample = sample_of(self.recipe, self.phantoms, self.slabs, number)
        image = sample.image.to(self.device, memory_format=torch.channels_last_3d)
        labels, valid = sample.labels.to(self.device), sample.valid.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logits = self.network(image, sample.place.to(self.device))
        loss = marginal_loss(
            upsampled(logits.float()), labels, valid, case.labelled, self.recipe.objective
        )
        return float(loss.detach()), torch.autograd.grad(loss, list(self.network.parameters()))

    def _average(self) -> None:
        """Move the averaged weights towards the present ones; quickly in the first steps."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        move_towards(self.average, self.network, 1 - decay)


def run(
    fit: Fit,
    out: Path,
    *,
    max_minutes: float = math.inf,
    validation: Sequence[Path] = (),
    report: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train until the recipe's last step or the time is over; True when the recipe is finished.

    A checkpoint is written every few minutes and at the end; a run that is killed loses no more.
    """
    file = out / CHECKPOINT
    start = saved = time.monotonic()
    losses: list[float] = []
    while fit.step < fit.recipe.steps:
        if fit.ranks.agree(stop=time.monotonic() - start >= max_minutes * 60):
            break
        losses = [*losses[1 - REPORT_EVERY :], fit.advance()]
        if fit.step % REPORT_EVERY == 0 or fit.step == 1:
            due = fit.ranks.first and bool(validation) and fit.step % VALIDATE_EVERY == 0
            dice = quick_dice(fit.average, validation) if due else None
            seconds = time.monotonic() - start
            rate = learning_rate(fit.recipe, fit.step)
            report(Progress(fit.step, float(np.mean(losses)), rate, seconds, dice))
        if fit.ranks.first and time.monotonic() - saved > CHECKPOINT_EVERY_S:
            checkpoint.save(file, fit.state())
            saved = time.monotonic()
    if fit.ranks.first:
        checkpoint.save(file, fit.state())
    return fit.step >= fit.recipe.steps


def split(cases: Path, recipe: Recipe) -> tuple[list[Path], list[Path], list[Path]]:
    """Phantoms, slabs and held-out cases below a folder of prepared cases, by file name.

    Raises:
        SourceMissing: no such folder, or a held-out id that is not among them.
    """
    phantoms, slabs, held = [], [], []
    for path in list_cases(cases):
        if path.stem in recipe.held_out:
            held.append(path)
        elif path.stem.startswith("phantom"):
            phantoms.append(path)
        else:
            slabs.append(path)
    absent = sorted(set(recipe.held_out) - {p.stem for p in held})
    if absent:
        raise SourceMissing(f"held-out case {absent[0]} is not below {cases}; check the id")
    return phantoms, slabs, held


def _claim(out: Path, recipe: Recipe, *, resume: bool) -> None:
    """Write `recipe.json`; make sure that a run to resume has the same recipe, remove one not to resume.

    A resumed run with fewer held-out cases would train on what it is tested with.
    """
    values = json.loads(json.dumps(recipe.to_dict()))
    file = out / RECIPE
    if resume and (out / CHECKPOINT).exists() and file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        other = sorted(k for k in {*before, *values} if before.get(k) != values.get(k))
        if other:
            raise UsageError(
                f"{out} holds a run with another recipe ({', '.join(other)}); use --no-resume or another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        (out / CHECKPOINT).unlink(missing_ok=True)
    file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def prepare_fit(
    cases: Path,
    out: Path,
    recipe: Recipe,
    *,
    resume: bool,
    start: Path | None = None,
    ranks: Ranks | None = None,
) -> tuple[Fit, list[Path]]:
    """Make a run ready in `out`, resumed where its checkpoint stands; also the held-out cases.

    start: bundle whose weights a new run begins with. ranks: this process's place among several.

    Raises:
        SourceMissing: no cases to train on, or a held-out id that is not among them.
        UsageError: the run to resume has another recipe.
        CheckpointUnreadable: its checkpoint is truncated.
        BundleError, UsageError: the bundle to start from is damaged, or of another architecture.
    """
    phantoms, slabs, held = split(cases, recipe)
    resumed = resume and (out / CHECKPOINT).exists()
    begin = None
    if start is not None and not resumed:
        begin = starting_network(start, recipe.architecture, [*phantoms, *slabs])
    fit = Fit(recipe, phantoms, slabs, begin, ranks)
    if fit.ranks.first:
        _claim(out, recipe, resume=resume)
    if resumed:
        fit.restore(checkpoint.load(out / CHECKPOINT))
    return fit, held
