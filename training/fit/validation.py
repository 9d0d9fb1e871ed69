"""Loss and Dice of cases that are not trained on, while a network is being trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dicomseg.structures import STRUCTURES, StructureId
from training.data.cases import load_case
from training.fit.augment import window_sample
from training.fit.loss import Objective, marginal_loss, upsampled


@dataclass(frozen=True, slots=True)
class Validation:
    """Mean loss over the cases, and Dice per structure over the cases that show it."""

    loss: float
    dice: Mapping[StructureId, float]


@torch.no_grad()
def validate(
    network: torch.nn.Module, paths: Sequence[Path], objective: Objective | None = None
) -> Validation:
    """Return loss and Dice in the service's window about the true level, not augmented; at least one case.

    Dice counts a structure in the cases that label and show it. Takes the network to evaluation mode.
    """
    losses: list[float] = []
    scores: dict[StructureId, list[float]] = {}
    network.eval()
    device = next(network.parameters()).device
    for path in paths:
        case = load_case(path)
        sample = window_sample(case)
        logits = upsampled(network(sample.image.to(device), sample.coordinates.to(device)).float())
        labels, valid = sample.labels.to(device), sample.valid.to(device)
        losses.append(float(marginal_loss(logits, labels, valid, case.labelled, objective)))
        predicted = logits.argmax(1) * (valid > 0)
        for structure in STRUCTURES:
            a, b = predicted == structure.value, labels == structure.value
            if structure.id in case.labelled and bool(b.any()):
                both = float(2 * (a & b).sum() / (a.sum() + b.sum()))
                scores.setdefault(structure.id, []).append(both)
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    return Validation(float(np.mean(losses)), means)
