"""Train the segmentation network on prepared cases; stops and resumes at any step.

Needs torch and numpy only. Every sample is a function of (seed, number), so a resumed run sees the same samples as one
that was never stopped.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from dicomseg.structures import StructureId
from model.networks.deeplab import DeepLabV3Plus3D
from training.data.held_out import split_cases
from training.errors import SourceMissing, UsageError
from training.fit import checkpoint, curve
from training.fit.cpu import network as kernels
from training.fit.device import choose_device, mixed_precision, worker_count
from training.fit.distributed import Processes
from training.fit.draws import Cohort, Draw, Draws
from training.fit.initial_weights import initial_network
from training.fit.loop import (
    Step,
    Trainer,
    Training,
    every_seconds,
    finite_step,
    mean_step,
    train,
)
from training.fit.loss import Objective, marginal_loss, upsampled
from training.fit.norms import retake_statistics
from training.fit.recipe import Recipe
from training.fit.schedule import learning_rate
from training.fit.validation import validate

CHECKPOINT: Final = "checkpoint.pt"
RECIPE: Final = "recipe.json"
BEST: Final = "best"
"""Folder of a run's best weights."""
CHECKPOINT_EVERY_S: Final = 30.0
"""What a kill costs at most, and a step."""
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


@dataclass(frozen=True, slots=True)
class Running:
    """Where a training runs; it decides no sample."""

    device: str = "auto"
    """As in `training.fit.device.choose_device`."""
    workers: int | None = None
    """Processes that draw samples ahead; None is none on a CPU, some beside a GPU."""


def segmentation_trainer(
    recipe: Recipe,
    phantoms: Sequence[Path],
    slabs: Sequence[Path],
    network: DeepLabV3Plus3D | None = None,
    processes: Processes | None = None,
    running: Running | None = None,
) -> Trainer[DeepLabV3Plus3D]:
    """Prepare a training on these cases.

    network: trained weights to begin with, whose normalisation keeps its statistics from the first step. running: where
    it is trained; None is the GPU where there is one.

    Raises:
        SourceMissing: no cases.
        UsageError: no such device.
    """
    if not phantoms and not slabs:
        raise SourceMissing("no prepared cases to train on; run `lumbar-train prepare` first")
    torch.manual_seed(recipe.seed)
    processes = processes or Processes()
    running = running or Running()
    device = choose_device(running.device)
    norm_steps = recipe.norm_steps if network is None else 0
    network = network or DeepLabV3Plus3D(recipe.architecture)
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    cohort = Cohort(recipe, list(phantoms), list(slabs))
    workers, on_gpu = worker_count(running.workers, device), device.type == "cuda"
    draws = Draws(cohort, processes, workers, pinned=on_gpu)
    source = _Source(recipe, draws, device, recipe.mixed and mixed_precision(device))
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
        settle=source.settle,
    )
    return Trainer(training, processes)


class _Source:
    """Where the loss and the gradients of a step come from, and the statistics of the averaged weights."""

    def __init__(self, recipe: Recipe, draws: Draws, device: torch.device, autocast: bool) -> None:
        self._recipe, self._draws = recipe, draws
        self._device, self._autocast = device, autocast
        self._images: list[tuple[Tensor, Tensor]] = []

    def step(self, network: DeepLabV3Plus3D, step: int) -> Step:
        """Return the mean of `recipe.accumulate` samples, of this process's share of them."""
        numbers, draw = self._draws.of_step(step)
        if kernels.suits(network):
            workers = max(1, min(self._recipe.accumulate, torch.get_num_threads()))
            return mean_step(
                lambda number: self._by_kernels(network, draw(number)), numbers, workers
            )
        return mean_step(lambda number: self._by_torch(network, draw(number)), numbers)

    def settle(self, average: DeepLabV3Plus3D, step: int) -> None:
        """Take the statistics of the averaged weights again where they are validated, over the first samples."""
        recipe = self._recipe
        due = step % VALIDATE_EVERY == 0 or step == recipe.steps
        if not recipe.norm_samples or not due:
            return
        if not self._images:
            samples = (self._draws.cohort.draw(n).sample for n in range(recipe.norm_samples))
            self._images = [(sample.image, sample.coordinates) for sample in samples]
        retake_statistics(average, self._images, autocast=self._autocast)

    def _by_kernels(self, network: DeepLabV3Plus3D, drawn: Draw) -> Step:
        objective, mixed = self._recipe.objective, self._recipe.mixed
        return kernels.gradients(network, drawn.sample, drawn.labelled, objective, mixed=mixed)

    def _by_torch(self, network: DeepLabV3Plus3D, drawn: Draw) -> Step:
        placed = drawn.to(self._device)
        parameters = list(network.parameters())

        def of_precision(mixed: bool) -> Step:
            sample = placed.sample
            with torch.autocast(self._device.type, torch.bfloat16, enabled=mixed):
                logits = network(sample.image, sample.coordinates)
            fine, objective = upsampled(logits.float()), self._recipe.objective
            loss = marginal_loss(fine, sample.labels, sample.valid, drawn.labelled, objective)
            return float(loss.detach()), torch.autograd.grad(loss, parameters)

        return finite_step(of_precision, mixed=self._autocast)


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

    A checkpoint is written every half minute and at the end; a run that is killed loses no more. Every report is also
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
    running: Running | None = None,
) -> tuple[Trainer[DeepLabV3Plus3D], list[Path]]:
    """Prepare a run in `out`, resumed where its checkpoint ends; also the held-out cases.

    start: bundle whose weights a new run begins with. processes: this one among several.
    running: its device and workers.

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
    trainer = segmentation_trainer(recipe, phantoms, slabs, network, processes, running)
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
        shutil.rmtree(out / BEST, ignore_errors=True)
    file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
