"""Train the segmentation network on prepared cases; stops and resumes at any step.

Needs torch and numpy only. Every sample is a function of (seed, number), so a resumed run sees the same samples as one
that was never stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from dicomseg.structures import StructureId
from model.networks.deeplab import DeepLabV3Plus3D
from training.data.held_out import split_cases
from training.data.label_rules import classes_of
from training.errors import SourceMissing, UsageError
from training.fit import checkpoint, curve
from training.fit.cpu import network as kernels
from training.fit.distributed import Processes
from training.fit.initial_weights import initial_network
from training.fit.loop import Step, Trainer, Training, every_seconds, mean_step, train
from training.fit.loss import Objective, marginal_loss, upsampled
from training.fit.recipe import Recipe
from training.fit.sampling import draw_sample
from training.fit.schedule import learning_rate
from training.fit.validation import validate

CHECKPOINT: Final = "checkpoint.pt"
RECIPE: Final = "recipe.json"
CHECKPOINT_EVERY_S: Final = 180.0
VALIDATE_EVERY: Final = 200
REPORT_EVERY: Final = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the training log."""

    step: int
    loss: float
    learning_rate: float
    seconds: float
    dice: Mapping[StructureId, float] | None = None
    """Of the validation cases, where they were looked at after this step."""
    validation_loss: float | None = None


def segmentation_trainer(
    recipe: Recipe,
    phantoms: Sequence[Path],
    slabs: Sequence[Path],
    network: DeepLabV3Plus3D | None = None,
    processes: Processes | None = None,
) -> Trainer[DeepLabV3Plus3D]:
    """Prepare a training on these cases, on the GPU where there is one.

    network: trained weights to begin with, whose normalisation keeps its statistics from the first step.

    Raises:
        SourceMissing: no cases.
    """
    if not phantoms and not slabs:
        raise SourceMissing("no prepared cases to train on; run `lumbar-train prepare` first")
    torch.manual_seed(recipe.seed)
    processes = processes or Processes()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    norm_steps = recipe.norm_steps if network is None else 0
    network = network or DeepLabV3Plus3D(recipe.architecture)
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    source = _Source(recipe, list(phantoms), list(slabs), processes)
    training = Training(
        network,
        DeepLabV3Plus3D(recipe.architecture).to(device),
        source.step,
        lambda step: {"lr": learning_rate(recipe, step)},
        # The average follows quickly in the first steps.
        lambda step: 1 - min(recipe.ema, (1 + step) / (10 + step)),
        recipe.steps,
        weight_decay=recipe.weight_decay,
        clip=recipe.clip,
        norm_steps=norm_steps,
    )
    return Trainer(training, processes)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the loss and the gradients of a step come from."""

    recipe: Recipe
    phantoms: Sequence[Path]
    slabs: Sequence[Path]
    processes: Processes

    def step(self, network: DeepLabV3Plus3D, step: int) -> Step:
        """Return the mean of `recipe.accumulate` samples, of this process's share of them."""
        count = self.recipe.accumulate
        numbers = self.processes.share(range(step * count, (step + 1) * count))
        if kernels.suits(network):
            workers = max(1, min(count, torch.get_num_threads()))
            return mean_step(lambda number: self._by_kernels(network, number), numbers, workers)
        return mean_step(lambda number: self._by_torch(network, number), numbers)

    def _by_kernels(self, network: DeepLabV3Plus3D, number: int) -> Step:
        case, sample = draw_sample(self.recipe, self.phantoms, self.slabs, number)
        objective, mixed = self.recipe.objective, self.recipe.mixed
        held = classes_of(case, self.recipe.architecture.channels)
        return kernels.gradients(network, sample, held, objective, mixed=mixed)

    def _by_torch(self, network: DeepLabV3Plus3D, number: int) -> Step:
        case, sample = draw_sample(self.recipe, self.phantoms, self.slabs, number)
        device = next(network.parameters()).device
        image = sample.image.to(device, memory_format=torch.channels_last_3d)
        labels, valid = sample.labels.to(device), sample.valid.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = network.raw_logits(image, sample.coordinates.to(device))
        held = classes_of(case, self.recipe.architecture.channels)
        loss = marginal_loss(upsampled(logits.float()), labels, valid, held, self.recipe.objective)
        return float(loss.detach()), torch.autograd.grad(loss, list(network.parameters()))


def train_segmentation(
    trainer: Trainer[DeepLabV3Plus3D],
    out: Path,
    *,
    max_minutes: float = math.inf,
    validation: Sequence[Path] = (),
    objective: Objective | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> bool:
    """Train until the recipe's last step or the time is over; True when the recipe is finished.

    A checkpoint is written every few minutes and at the end; a run that is killed loses no more. Every report is also
    a line of `curve.jsonl`. validation: cases looked at now and then, with `objective`'s loss; they change nothing.
    """
    start, main = time.monotonic(), trainer.processes.is_main

    def save() -> None:
        if main:
            checkpoint.save(out / CHECKPOINT, trainer.state())

    def report_progress() -> None:
        last = trainer.step == trainer.training.steps
        due = main and bool(validation) and (trainer.step % VALIDATE_EVERY == 0 or last)
        seen = validate(trainer.average, validation, objective) if due else None
        loss, rate = np.mean(trainer.recent_losses), trainer.training.schedule(trainer.step)["lr"]
        now = Progress(
            trainer.step,
            float(loss),
            rate,
            time.monotonic() - start,
            None if seen is None else seen.dice,
            None if seen is None else seen.loss,
        )
        if main:
            curve.append(out / curve.CURVE, _line(now))
        report(now)

    finished = train(
        trainer,
        report=report_progress,
        report_due=lambda step: step % REPORT_EVERY == 0 or step in {1, trainer.training.steps},
        save=save,
        save_due=every_seconds(CHECKPOINT_EVERY_S),
        stop=lambda: trainer.processes.any_stops(stop=time.monotonic() - start >= max_minutes * 60),
    )
    save()
    return finished


def _line(now: Progress) -> dict[str, object]:
    """Return a report as a line of the curve; without a validation its values are left out."""
    values: dict[str, object] = {
        "step": now.step,
        "loss": now.loss,
        "learning_rate": now.learning_rate,
        "seconds": now.seconds,
    }
    if now.dice is None:
        return values
    return {**values, "validation_loss": now.validation_loss, "dice": now.dice}


def prepare_run(
    cases: Path,
    out: Path,
    recipe: Recipe,
    *,
    resume: bool,
    start: Path | None = None,
    processes: Processes | None = None,
) -> tuple[Trainer[DeepLabV3Plus3D], list[Path]]:
    """Prepare a run in `out`, resumed where its checkpoint ends; also the held-out cases.

    start: bundle whose weights a new run begins with. processes: this one among several.

    Raises:
        SourceMissing: no cases to train on, or a held-out id that is not among them.
        UsageError: the run to resume has another recipe.
        CheckpointUnreadable: its checkpoint is truncated.
        BundleError, UsageError: the bundle to start from is damaged, or of another architecture.
    """
    phantoms, slabs, held = split_cases(cases, recipe.held_out)
    resumed = resume and (out / CHECKPOINT).exists()
    network = None
    if start is not None and not resumed:
        network = initial_network(start, recipe.architecture, [*phantoms, *slabs])
    trainer = segmentation_trainer(recipe, phantoms, slabs, network, processes)
    if trainer.processes.is_main:
        _claim(out, recipe, resume=resume)
    if resumed:
        trainer.restore(checkpoint.load(out / CHECKPOINT))
    return trainer, held


def _claim(out: Path, recipe: Recipe, *, resume: bool) -> None:
    """Write `recipe.json`; refuse to resume a run with another recipe, remove one not to resume.

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
        (out / curve.CURVE).unlink(missing_ok=True)
    file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
