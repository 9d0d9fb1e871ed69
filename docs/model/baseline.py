"""Train MONAI's SegResNet on the folds of a cross-validation, on the same samples and for as long as ours.

`python docs/model/baseline.py --cases CASES --folds CV/folds.json --out OUT --fold 2 --recipe RECIPE --minutes 30`

It sees what our network sees, image and coordinates, at full resolution. Its time is CPU seconds of the training, both
for itself and (`fit`'s curve at one thread) for ours. Results are `figures.json` in the form of `lumbar-train crossval`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import click
import numpy as np
import torch
from monai.networks.nets.segresnet import SegResNet
from torch import Tensor, nn
from torch.nn import functional

from dicomseg.structures import CHANNELS
from dicomseg.volume import Array
from model.bundle.load import LoadedModel, load_bundle
from model.grid import SPACING_MM
from model.networks.coordinates import coordinate_channels
from model.patch import Interpolation, Patch
from training.data.cases import Case, list_cases, read_patient
from training.data.folds import read_or_draw_folds
from training.data.held_out import split_cases
from training.evaluate.crossval_level import KnownLevel
from training.evaluate.evaluate import EvaluationSettings, evaluate_cases
from training.fit.loss import marginal_loss
from training.fit.recipe import Recipe, read_recipe
from training.fit.sampling import draw_sample
from training.fit.weight_average import move_towards

BUNDLE: Final = Path("model/bundles/lumbar-l45")
MULTIPLE: Final = 8
"""Its encoder halves three times."""


class WithCoordinates(nn.Module):
    """A SegResNet of image and coordinates: (N, 1, D, H, W) and (N, 3, D/4, H/4, W/4) to (N, CHANNELS, D, H, W)."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.network = SegResNet(
            spatial_dims=3, init_filters=filters, in_channels=4, out_channels=CHANNELS,
            norm=("GROUP", {"num_groups": min(8, filters)}),
        )  # fmt: skip

    def forward(self, image: Tensor, coordinates: Tensor) -> Tensor:
        """Pad to what the encoder divides, and cut the answer back."""
        places = functional.interpolate(coordinates, image.shape[2:], mode="trilinear")
        x = torch.cat([image, places], 1)
        beyond = [p for n in reversed(image.shape[2:]) for p in (0, -n % MULTIPLE)]
        d, h, w = image.shape[2:]
        return cast("Tensor", self.network(functional.pad(x, beyond)))[:, :, :d, :h, :w]


class Engine:
    """`model.engines.port.Engine` of the baseline, at full resolution."""

    name, precision = "monai-segresnet", "float32"
    interpolation: Interpolation = "linear"

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()

    def warm(self, shape: Sequence[int]) -> None:
        """Nothing has to be prepared on a CPU."""

    def run(self, patch: Patch) -> Array:
        """Return logits (CHANNELS, d, h, w)."""
        places = coordinate_channels(patch.values.shape, patch.centre, SPACING_MM)
        with torch.inference_mode():
            logits = self.network(
                torch.from_numpy(np.ascontiguousarray(patch.values))[None, None],
                torch.from_numpy(places)[None],
            )
        return np.ascontiguousarray(logits[0].float().numpy())


def train(recipe: Recipe, phantoms: list[Path], slabs: list[Path], minutes: float, filters: int) -> tuple[nn.Module, int]:  # fmt: skip
    """Return the averaged network after so many CPU minutes of steps, and their number."""
    torch.manual_seed(recipe.seed)
    network, average = WithCoordinates(filters), WithCoordinates(filters)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
    began, step, losses = time.process_time(), 0, []
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        rate = recipe.learning_rate * min(1.0, (step + 1) / recipe.warm_up) * (1 + np.cos(np.pi * share)) / 2  # fmt: skip
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        for n in range(recipe.accumulate):
            case, sample = draw_sample(recipe, phantoms, slabs, step * recipe.accumulate + n)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.mixed):
                logits = network(sample.image, sample.coordinates)
            loss = marginal_loss(logits.float(), sample.labels, sample.valid, case.labelled, recipe.objective)  # fmt: skip
            torch.autograd.backward(loss / recipe.accumulate)
            losses.append(float(loss.detach()))
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        step += 1
        move_towards(average, network, 1 - min(recipe.ema, step / (9 + step)))
        if step % 20 == 0:
            click.echo(f"step {step}, {share:.0%}, loss {np.mean(losses[-40:]):.3f}")
    return average, step


@click.command()
@click.option("--cases", type=click.Path(path_type=Path), required=True)
@click.option("--folds", type=click.Path(path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--fold", type=int, required=True)
@click.option("--recipe", "recipe_file", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", type=float, default=30.0)
@click.option("--filters", type=int, default=8)
def main(cases: Path, folds: Path, out: Path, fold: int, recipe_file: Path, minutes: float, filters: int) -> None:  # fmt: skip
    """Train and test one fold; the true level is given, and the last step is tested."""
    paths = {p.stem: p for p in list_cases(cases) if p.stem.startswith("spider-")}
    drawn = read_or_draw_folds(folds, list(paths.values()), 5)[fold - 1]
    tested = {read_patient(paths[name]) for name in drawn.test}
    held = tuple(p.stem for p in list_cases(cases) if read_patient(p) in tested)
    phantoms, slabs, _ = split_cases(cases, held)
    network, steps = train(read_recipe(recipe_file), phantoms, slabs, minutes, filters)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), out / "weights.pt")
    shipped = replace(load_bundle(BUNDLE), roots=None, outline_shifts={})

    def model(case: Case) -> LoadedModel:
        return replace(shipped, engine=Engine(network), finder=KnownLevel(case))

    settings = EvaluationSettings(model=model, unseen=lambda _: True, level="case", fold=fold)
    results = evaluate_cases([paths[name] for name in drawn.test], settings)
    values = {
        "steps": steps,
        "cpu_minutes": minutes,
        "parameters": sum(p.numel() for p in network.parameters()),
        "cases": [r.to_dict() for r in results],
    }
    (out / "figures.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
