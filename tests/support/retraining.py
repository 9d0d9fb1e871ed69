"""A retraining of a few steps: its recipe, a model in service, and scores instead of those of untrained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from model.bundle.write import write_bundle
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet

RECIPE: Final = """
crops = [[8, 16, 16]]
narrow = [8, 16, 8]
accumulate = 1
steps = 3
warm_up = 1
norm_steps = 0
[architecture]
width = 4
decoder = 2
dilations = [1]
"""
ARCHITECTURE: Final = Architecture(width=4, decoder=2, dilations=(1,))
_SCORED: Final = """
import sys
if "retrain" in sys.orig_argv:
    from training.evaluate.case_results import CaseResult
    from training.evaluate.metrics import Score
    from training.data.cases import ALL_STRUCTURES
    from training.retrain import retrain
    def evaluator(*_, **__):
        def evaluate(paths, folder):
            dice = 0.75 if folder.name.startswith("candidate") else 0.70
            scores = dict.fromkeys(ALL_STRUCTURES, Score("scored", dice, 1.0, 1.0))
            return [CaseResult(p.stem, p.stem, "phantom", "", True, 1.0, 0.9, "", 0.1, scores, {}) for p in paths]
        return evaluate
    retrain.evaluator = evaluator
"""


def tiny_bundle(folder: Path) -> Path:
    """A model in service that was never trained."""
    torch.manual_seed(3)
    level = LevelArchitecture(width=4)
    card: dict[str, Any] = {
        "name": "tiny",
        "version": "0.3.0+203001010000",
        "architecture": ARCHITECTURE.to_dict(),
        "level_architecture": level.to_dict(),
        "licence": "Apache-2.0",
        "outline_shifts": {"ivc": -0.5},
        "training": {"held_out": ["phantom-000001"]},
    }
    return write_bundle(folder, card, DeepLabV3Plus3D(ARCHITECTURE), LevelNet(level))


def better_by_decree(folder: Path) -> str:
    """Write what every Python process on this path runs first; there a candidate is always the better one.

    Networks of three steps find no level, so their scores decide nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SCORED, encoding="utf-8")
    return str(folder)
