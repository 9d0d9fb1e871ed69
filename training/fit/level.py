"""Train the level finder on prepared cases; minutes on two cores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from dicomseg.volume import Volume
from model.level.finder import LevelArchitecture, LevelNet, LevelNets, NetworkFinder, level_members
from training.data.cases import load_case
from training.errors import UsageError
from training.fit import checkpoint
from training.fit.cpu import has_bfloat16
from training.fit.cpu.split_convolution import in_halves
from training.fit.level_samples import Small, draw
from training.fit.weight_average import move_towards

SLAB_SHARE: Final = 0.5
"""Share of draws from real slabs alone, the rest are from all images. With 60 synthetic slabs among 22 real ones
two of 17 patients in a cross-validation were missed."""
LEAST_MIXED: Final = 24
"""Slices and rows below which a draw stays in float32: on grids of few voxels torch's bfloat16 is not to be trusted."""
EVERY: Final = 100
"""Steps between reports and checkpoints: about a minute."""
HIGHEST_RATE: Final = 2e-3


def loss_of(logits: Tensor, heat: Tensor) -> Tensor:
    """Squared error of the heat maps; at a disc every channel counts, so that a wrong name costs as much as a miss."""
    weight = 1 + 60 * heat.amax(dim=1, keepdim=True).expand_as(heat)
    return (weight * (torch.sigmoid(logits) - heat) ** 2).sum() / weight.sum()


def warm(network: LevelNet, weights: Mapping[str, Tensor]) -> LevelNet:
    """Take over every tensor that fits; the far context starts silent, so that nothing is disturbed."""
    own = network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **fitting})
    if "context.4.weight" not in fitting:
        nn.init.zeros_(cast("Tensor", network.context[4].weight))
    return network


def _deep_in_float32(network: LevelNet) -> None:
    """Keep the coarsest grids out of bfloat16: there torch's gradients of the weights are wrong by half, or not finite.

    Seen with torch 2.13 on images of 9 to 32 slices, whose coarsest grids have one to four voxels along an axis.
    """
    for block in (network.deepest, network.context):
        block.forward = _without_autocast(block.forward)  # type: ignore[method-assign]


def _without_autocast(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def exact(x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    return exact


class LevelFit:
    """One training of one network: network, averaged weights, optimizer and step.

    start: weights to begin with. mixed: convolutions in bfloat16 where the CPU has it, in a quarter of the time;
    the sums of such a run repeat to rounding only.
    """

    def __init__(
        self,
        smalls: Sequence[Small],
        steps: int,
        *,
        seed: int = 1,
        start: Mapping[str, Tensor] | None = None,
        mixed: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        self.smalls, self.steps, self.seed, self.step, self.loss = smalls, steps, seed, 0, 0.0
        self.slabs = [s for s in smalls if not s.name.startswith("phantom")] or list(smalls)
        self.network = warm(LevelNet(LevelArchitecture()), start or {})
        self.mixed = mixed and has_bfloat16()
        if self.mixed:
            _deep_in_float32(self.network)
        else:
            in_halves(self.network)
        self.average = LevelNet(LevelArchitecture())
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=HIGHEST_RATE, weight_decay=1e-4
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, HIGHEST_RATE, total_steps=steps, pct_start=0.1
        )

    def state(self) -> dict[str, Any]:
        """Everything a resumed training needs."""
        return {
            "step": self.step,
            "loss": self.loss,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, of the same training."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.schedule.load_state_dict(state["schedule"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.loss = int(state["step"]), float(state["loss"])

    def advance(self) -> None:
        """Take one step of two draws; the same step of the same training gives the same weights."""
        rng = np.random.default_rng((self.seed, self.step))
        draws = []
        for _ in range(2):
            pool = self.slabs if rng.random() < SLAB_SHARE else self.smalls
            draws.append(draw(pool[int(rng.integers(len(pool)))], rng))
        loss = _gradients(self.network, draws, mixed=self.mixed)
        if self.mixed and not _finite(self.network):
            loss = _gradients(self.network, draws, mixed=False)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        self.schedule.step()
        move_towards(self.average, self.network, max(0.01, 1 / (self.step + 2)))
        self.loss = 0.98 * self.loss + 0.02 * loss if self.step else loss
        self.step += 1


Report = Callable[[int, float, LevelNet], None]
"""Called every `EVERY` steps with step, loss and averaged network."""


def fit_level(
    smalls: Sequence[Small],
    steps: int,
    *,
    seed: int = 1,
    start: Mapping[str, Tensor] | None = None,
    mixed: bool = False,
) -> LevelNet:
    """Train one network on `smalls`; the averaged weights are returned. Arguments as in `LevelFit`."""
    fit = LevelFit(smalls, steps, seed=seed, start=start, mixed=mixed)
    while fit.step < steps:
        fit.advance()
    return fit.average


def fit_levels(  # noqa: PLR0913 - one argument per option of the command line
    smalls: Sequence[Small],
    steps: int,
    members: int,
    *,
    seed: int = 1,
    start: Mapping[str, Tensor] | None = None,
    mixed: bool = False,
    keep: Path | None = None,
    report: Report = lambda _n, _l, _w: None,
) -> LevelNet | LevelNets:
    """Train so many networks apart, `steps` each, with other draws; other arguments as in `LevelFit`.

    start: of one network, which all begin with, or of as many. keep: file of the unfinished training, written
    every `EVERY` steps; where it stands, the training goes on from it. Whoever has saved the result removes it.
    report: its steps are counted on.

    Raises:
        UsageError: `start` holds another number of networks, or `keep` another training.
        CheckpointUnreadable: `keep` is not a whole checkpoint.
    """
    begun = level_members(start or {})
    if begun not in {1, members}:
        raise UsageError(
            f"the finder to start from has {begun} networks, {members} are to be trained; give --members {begun}"
        )
    told: dict[str, Any] = {"steps": steps, "members": members, "seed": seed, "mixed": mixed}
    told["cases and start"] = _digest(smalls, start or {})
    done, kept = _kept(keep, told)
    for n in range(len(done), members):
        own = f"members.{n}."
        begin = {k.removeprefix(own): v for k, v in (start or {}).items() if k.startswith(own)}
        fit = LevelFit(smalls, steps, seed=seed + n, start=begin or start, mixed=mixed)
        if kept is not None:
            fit.restore(kept)
            kept = None
        while fit.step < steps:
            fit.advance()
            if fit.step % EVERY == 0:
                if keep is not None:
                    checkpoint.save(
                        keep,
                        {"told": told, "done": [d.state_dict() for d in done], "fit": fit.state()},
                    )
                report(n * steps + fit.step, fit.loss, fit.average)
        done.append(fit.average)
    return done[0] if members == 1 else LevelNets(done)


def _kept(
    keep: Path | None, told: Mapping[str, Any]
) -> tuple[list[LevelNet], dict[str, Any] | None]:
    """Finished networks and the state of the next one in an unfinished training."""
    if keep is None or not keep.exists():
        return [], None
    state = checkpoint.load(keep)
    before = state.get("told", {})
    other = sorted(k for k in told if before.get(k) != told[k])
    if other:
        raise UsageError(
            f"{keep} holds an unfinished training with other {', '.join(other)}; give --no-resume or remove it"
        )
    done = []
    for weights in state["done"]:
        network = LevelNet(LevelArchitecture())
        network.load_state_dict(weights)
        done.append(network)
    return done, state["fit"]


def _digest(smalls: Sequence[Small], start: Mapping[str, Tensor]) -> str:
    """sha256 of what is trained on and of the weights to begin with."""
    total = hashlib.sha256()
    for small in smalls:
        total.update(small.name.encode() + small.image.numpy().tobytes())
        for channel, index in small.discs:
            total.update(bytes([channel]) + np.asarray(index, np.float64).tobytes())
    for name in sorted(start):
        total.update(name.encode() + start[name].float().numpy().tobytes())
    return total.hexdigest()


def _gradients(network: LevelNet, draws: Sequence[tuple[Tensor, Tensor]], *, mixed: bool) -> float:
    """Mean loss of these draws (image, heat maps); leaves its gradients in the network."""
    network.zero_grad(set_to_none=True)
    total = 0.0
    for image, heat in draws:
        large = min(image.shape[1:3]) >= LEAST_MIXED
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed and large):
            logits = network(image[None])
        loss = loss_of(logits.float(), heat[None]) / len(draws)
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def _finite(network: LevelNet) -> bool:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return bool(torch.isfinite(torch.stack([g.sum() for g in gradients])).all())


def unfinished(weights: Path) -> Path:
    """Where the training of these weights is kept until it is done."""
    return weights.with_name(f"{weights.name}.unfinished")


def save_level(network: LevelNet | LevelNets, file: Path) -> None:
    """Write the weights; `file` appears whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    torch.save(network.state_dict(), part)
    part.replace(file)


def errors_mm(network: LevelNet | LevelNets, cases: Sequence[Path]) -> dict[str, float]:
    """Distance of the found L4/5 centre from the true one per case; NaN when it was not found."""
    finder = NetworkFinder(network)
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
