"""The training loop of all three networks: steps, averaged weights, checkpoints, reports, stopping.

Every step is a function of the state before it and of its number alone, so that a resumed training ends with the
weights of one that was never stopped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from training.fit.distributed import Processes
from training.fit.schedule import Schedule
from training.fit.weight_average import move_towards

Network = TypeVar("Network", bound=nn.Module)
Gradients = Sequence[Tensor]
"""One tensor per parameter of the network, in its order."""
Step = tuple[float, Gradients]
"""Mean loss and mean gradients."""
Due = Callable[[int], bool]
"""Whether something is to be done after this step, counted from 1."""

RECENT: Final = 20
"""Steps whose losses are kept for a report."""
EARLIER, PRESENT = 0.98, 0.02
"""Shares of the earlier losses and of the present one in the smoothed loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Training(Generic[Network]):
    """What one training has of its own."""

    network: Network
    """With its initial weights, on its device and in its memory format."""
    average: Network
    """A second one of the same architecture, for the exponential moving average of the weights."""
    gradients: Callable[[Network, int], Step]
    """Takes the network and the number of the step, from 0."""
    schedule: Schedule
    average_share: Callable[[int], float]
    """Of the present weights in the average after this step, 0…1."""
    steps: int
    weight_decay: float
    clip: float
    """Largest norm of all gradients together."""
    norm_steps: int
    """First steps in training mode; later ones leave the statistics of batch normalisation as they are."""
    settle: Callable[[Network, int], None] = lambda _average, _step: None
    """Takes the averaged network and the number of steps done, after each; may change its statistics."""


class Trainer(Generic[Network]):
    """One training in progress: network, averaged weights, optimiser and step."""

    def __init__(self, training: Training[Network], processes: Processes | None = None) -> None:
        self.training, self.processes = training, processes or Processes()
        self.network, self.average = training.network, training.average
        self.average.load_state_dict(self.network.state_dict())
        self.step, self.loss, self.norm_steps = 0, 0.0, training.norm_steps
        self.recent_losses: deque[float] = deque(maxlen=RECENT)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), weight_decay=training.weight_decay
        )

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed training needs."""
        return {
            "step": self.step,
            "loss": self.loss,
            "norm_steps": self.norm_steps,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, which may lack the loss or the steps of the norms, as older ones do."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.loss = int(state["step"]), float(state.get("loss", 0.0))
        self.norm_steps = int(state.get("norm_steps", self.norm_steps))

    def advance(self) -> float:
        """Take one step; returns its mean loss."""
        self.network.train(self.step < self.norm_steps)
        for group in self.optimizer.param_groups:
            group.update(self.training.schedule(self.step))
        loss, gradients = self.training.gradients(self.network, self.step)
        for parameter, gradient in zip(self.network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.processes.mean_(gradients)
        if self.network.training:
            self.processes.mean_(self.network.buffers())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.training.clip)
        self.optimizer.step()
        move_towards(self.average, self.network, self.training.average_share(self.step))
        self.loss = EARLIER * self.loss + PRESENT * loss if self.step else loss
        self.recent_losses.append(loss)
        self.step += 1
        self.training.settle(self.average, self.step)
        return loss


def train(
    trainer: Trainer[Network],
    *,
    report: Callable[[], None] = lambda: None,
    report_due: Due,
    save: Callable[[], None] = lambda: None,
    save_due: Due,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Take the steps that are left; True when the last one is done, False when `stop` asked for an end.

    report, save: called after each step that is due, the checkpoint first, so that whoever reads the report can stop
    the process without losing a step.
    """
    while trainer.step < trainer.training.steps:
        if stop():
            return False
        trainer.advance()
        if save_due(trainer.step):
            save()
        if report_due(trainer.step):
            report()
    return True


def every_steps(count: int) -> Due:
    """Be due after each `count` steps."""
    return lambda step: step % count == 0


def every_seconds(seconds: float, clock: Callable[[], float] = time.monotonic) -> Due:
    """Be due when so much time has passed since it was last due, or since this call."""
    last = clock()

    def due(_: int) -> bool:
        nonlocal last
        if clock() - last <= seconds:
            return False
        last = clock()
        return True

    return due


def mean_step(
    of_sample: Callable[[int], Step], numbers: Sequence[int], workers: int | None = None
) -> Step:
    """Return mean loss and mean gradients of the samples with these numbers.

    workers: threads that take a sample each, on one core each: waiting for each other within a sample costs more.
    None takes one sample after the other in this thread, as it must be while statistics are gathered. The sums are
    the same.
    """
    if workers is None:
        done = [of_sample(number) for number in numbers]
    else:
        with ThreadPoolExecutor(workers, initializer=_use_one_core) as pool:
            done = list(pool.map(of_sample, numbers))
    parts = zip(*(gradients for _, gradients in done), strict=True)
    return float(np.mean([loss for loss, _ in done])), [torch.stack(p).mean(0) for p in parts]


def _use_one_core() -> None:
    torch.set_num_threads(1)


def finite_step(of_precision: Callable[[bool], Step], *, mixed: bool) -> Step:
    """Return a step computed in bfloat16 where `mixed`, in float32 where a gradient of that is not finite.

    of_precision: computes it; its argument is whether convolutions take bfloat16.
    """
    loss, gradients = of_precision(mixed)
    if mixed and not all(bool(gradient.isfinite().all()) for gradient in gradients):
        loss, gradients = of_precision(False)
    return loss, gradients
