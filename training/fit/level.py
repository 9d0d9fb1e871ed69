"""Train the level finder on prepared cases: one network, or several whose mean answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from dicomseg.volume import Volume
from model.engines.torch_engine import infer_heat
from model.level.finder import NetworkFinder
from model.networks.level_unet import LevelArchitecture, LevelNet, LevelNets, member_count
from training.data.cases import load_case
from training.errors import UsageError
from training.fit import checkpoint, loop
from training.fit.cpu.kernels import has_bfloat16
from training.fit.cpu.split_convolution import split_convolutions
from training.fit.device import mixed_precision
from training.fit.level_samples import CoarseCase, level_sample
from training.fit.loop import Step, Trainer, Training, finite_step, mean_step, train
from training.fit.schedule import one_cycle

SLAB_SHARE: Final = 0.5
"""Share of samples from real slabs alone, the rest are from all images. With 60 synthetic slabs among 22 real ones
two of 17 patients in a cross-validation were missed."""
MIN_MIXED: Final = 24
"""Slices and rows below which a sample stays in float32: on grids of few voxels torch's bfloat16 is not to be trusted."""
BATCH: Final = 2
EVERY: Final = 100
"""Steps between reports."""
SAVE_EVERY_S: Final = 30.0
"""What a kill costs at most, and a step."""
CPU: Final = torch.device("cpu")
HIGHEST_RATE: Final = 2e-3
CLIP: Final = 2.0
MIN_SHARE: Final = 0.01
"""Share of the present weights that the average takes in each step."""


def level_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Return the squared error of the heat maps where they are known.

    At a disc every channel counts, so that a wrong name costs as much as a miss. heat: NaN where nothing is known.
    """
    known = ~heat.isnan()
    there = heat.nan_to_num(0.0)
    weight = (1 + 60 * there.amax(dim=1, keepdim=True)) * known
    return (weight * (torch.sigmoid(logits) - there) ** 2).sum() / weight.sum()


def initialise_level(network: LevelNet, weights: Mapping[str, Tensor]) -> LevelNet:
    """Take over every tensor that fits; a new far context starts at zero, so that nothing is disturbed."""
    own = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **fitting})
    if "context.4.weight" not in fitting:
        nn.init.zeros_(cast("Tensor", network.context[4].weight))
    return network


def _keep_deep_in_float32(network: LevelNet, device: torch.device) -> None:
    """Keep the coarsest grids out of bfloat16: there torch's gradients of the weights are wrong by half, or not finite.

    Seen with torch 2.13 on images of 9 to 32 slices, whose coarsest grids have one to four voxels along an axis.
    """
    for block in (network.deepest, network.context):
        block.forward = _without_autocast(block.forward, device)  # type: ignore[method-assign]


def _without_autocast(
    forward: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[Tensor], Tensor]:
    def exact(x: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            return forward(x.float())

    return exact


@dataclass(frozen=True, slots=True)
class LevelRecipe:
    """How the level finder is trained."""

    steps: int = 3000
    """Of each network, batch size 2."""
    members: int = 1
    """Networks that are trained separately; the mean of their heat maps is the answer."""
    seed: int = 1
    """Of the first network; each further one adds 1."""
    mixed: bool = False
    """Convolutions in bfloat16 where the CPU has it, in a quarter of the time; the sums of such a training repeat to
    rounding only."""


def level_trainer(
    cases: Sequence[CoarseCase],
    recipe: LevelRecipe,
    number: int = 0,
    start: Mapping[str, Tensor] | None = None,
    device: torch.device = CPU,
) -> Trainer[LevelNet]:
    """Prepare the training of one network.

    number: of the network, from 0. start: weights to begin with.
    """
    seed, steps = recipe.seed + number, recipe.steps
    torch.manual_seed(seed)
    network = initialise_level(LevelNet(LevelArchitecture()), start or {})
    mixed = recipe.mixed and (has_bfloat16() if device.type == "cpu" else mixed_precision(device))
    if mixed:
        _keep_deep_in_float32(network, device)
    elif device.type == "cpu":
        split_convolutions(network)
    network.to(device)
    slabs = [c for c in cases if not c.name.startswith("phantom")] or list(cases)
    training = Training(
        network,
        LevelNet(LevelArchitecture()).to(device),
        _Source(cases, slabs, seed, mixed).step,
        one_cycle(HIGHEST_RATE, steps, 0.1),
        lambda step: max(MIN_SHARE, 1 / (step + 2)),
        steps,
        weight_decay=1e-4,
        clip=CLIP,
        norm_steps=steps,  # its norms keep no statistics
    )
    return Trainer(training)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the loss and the gradients of a step come from."""

    cases: Sequence[CoarseCase]
    slabs: Sequence[CoarseCase]
    seed: int
    mixed: bool

    def step(self, network: LevelNet, step: int) -> Step:
        """Return the mean of two samples, a function of (seed, step)."""
        rng = np.random.default_rng((self.seed, step))
        samples = []
        for _ in range(BATCH):
            pool = self.slabs if rng.random() < SLAB_SHARE else self.cases
            samples.append(level_sample(pool[int(rng.integers(len(pool)))], rng))

        def of_precision(mixed: bool) -> Step:
            return mean_step(lambda n: _step(network, *samples[n], mixed=mixed), range(BATCH))

        return finite_step(of_precision, mixed=self.mixed)


def _step(network: LevelNet, image: Tensor, heat: Tensor, *, mixed: bool) -> Step:
    large = min(image.shape[1:3]) >= MIN_MIXED
    device = next(network.parameters()).device
    image, heat = image.to(device), heat.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed and large):
        logits = network(image[None])
    loss = level_loss(logits.float(), heat[None])
    return float(loss.detach()), torch.autograd.grad(loss, list(network.parameters()))


Report = Callable[[int, float], None]
"""Called every `EVERY` steps with step, counted through all networks, and loss."""


def train_level(
    cases: Sequence[CoarseCase],
    recipe: LevelRecipe,
    *,
    start: Mapping[str, Tensor] | None = None,
    keep: Path | None = None,
    report: Report = lambda _step, _loss: None,
    device: torch.device = CPU,
) -> LevelNet | LevelNets:
    """Train the networks of a finder one after the other; returns their averaged weights.

    start: of one network, which all begin with, or of as many. keep: file of the unfinished training, written every
    `SAVE_EVERY_S`; where there is one, the training continues from it. Whoever has saved the result removes it.

    Raises:
        UsageError: `start` holds another number of networks, or `keep` another training.
        CheckpointUnreadable: `keep` is truncated.
    """
    begun = member_count(start or {})
    if begun not in {1, recipe.members}:
        raise UsageError(
            f"the finder to start from has {begun} networks, {recipe.members} are to be trained; give --members {begun}"
        )
    settings = {**asdict(recipe), "cases and start": _digest(cases, start or {})}
    finished, kept = _read_kept(keep, settings)
    for n in range(len(finished), recipe.members):
        own = f"members.{n}."
        weights = {k.removeprefix(own): v for k, v in (start or {}).items() if k.startswith(own)}
        trainer = level_trainer(cases, recipe, n, weights or start, device)
        if kept is not None:
            trainer.restore(kept)
            kept = None
        _train_member(trainer, n * recipe.steps, _Keep(keep, settings, finished), report)
        finished.append(trainer.average.cpu())
    return finished[0] if recipe.members == 1 else LevelNets(finished)


@dataclass(frozen=True, slots=True)
class _Keep:
    """The file of an unfinished training, None for none, and what goes into it beside the trainer's state."""

    file: Path | None
    settings: Mapping[str, Any]
    finished: Sequence[LevelNet]

    def write(self, trainer: Trainer[LevelNet]) -> None:
        """Write the file, if there is to be one."""
        if self.file is not None:
            finished = [network.state_dict() for network in self.finished]
            state = {"settings": dict(self.settings), "done": finished, "fit": trainer.state()}
            checkpoint.save(self.file, state)


def _train_member(trainer: Trainer[LevelNet], before: int, keep: _Keep, report: Report) -> None:
    train(
        trainer,
        report=lambda: report(before + trainer.step, trainer.loss),
        report_due=loop.every_steps(EVERY),
        save=lambda: keep.write(trainer),
        save_due=loop.every_seconds(SAVE_EVERY_S),
    )


def _read_kept(
    keep: Path | None, settings: Mapping[str, Any]
) -> tuple[list[LevelNet], dict[str, Any] | None]:
    """Return finished networks and the state of the next one in an unfinished training."""
    if keep is None or not keep.exists():
        return [], None
    state = checkpoint.load(keep)
    # Files of version 0.1.0 name the settings by another key.
    before = state.get("settings", state.get("told", {}))
    other = sorted(k for k in settings if before.get(k) != settings[k])
    if other:
        raise UsageError(
            f"{keep} holds an unfinished training with other {', '.join(other)}; give --no-resume or remove it"
        )
    finished = []
    for weights in state["done"]:
        network = LevelNet(LevelArchitecture())
        network.load_state_dict(weights)
        finished.append(network)
    return finished, state["fit"]


def _digest(cases: Sequence[CoarseCase], start: Mapping[str, Tensor]) -> str:
    """Return the sha256 of what is trained on and of the weights to begin with."""
    total = hashlib.sha256()
    for case in cases:
        total.update(case.name.encode() + case.image.numpy().tobytes())
        for channel, index in case.discs:
            total.update(bytes([channel]) + np.asarray(index, np.float64).tobytes())
        if not case.complete:
            total.update(b"incomplete")
    for name in sorted(start):
        total.update(name.encode() + start[name].float().numpy().tobytes())
    return total.hexdigest()


def unfinished_file(weights: Path) -> Path:
    """Return the file in which the training of these weights is kept until it is finished."""
    return weights.with_name(f"{weights.name}.unfinished")


def save_level(network: LevelNet | LevelNets, file: Path) -> None:
    """Write the weights; `file` never holds a part of them."""
    checkpoint.save(file, network.state_dict())


def errors_mm(network: LevelNet | LevelNets, cases: Sequence[Path]) -> dict[str, float]:
    """Return the distance of the L4/5 centre from the true one per case, in mm; NaN where it was not found."""
    finder = NetworkFinder(infer_heat(network))
    out = {}
    for path in cases:
        case = load_case(path)
        level = finder.locate(Volume(case.image, case.affine))
        centre = getattr(level, "centre_lps", None)
        out[case.case_id] = (
            float("nan")
            if centre is None
            else float(np.linalg.norm(np.array(centre) - case.level_centre_lps))
        )
    return out
