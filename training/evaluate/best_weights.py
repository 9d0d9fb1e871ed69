"""The weights of a run with the highest validation Dice, kept on disk beside it."""

from __future__ import annotations

import json
from pathlib import Path

from model.networks.deeplab import DeepLabV3Plus3D
from training.evaluate.case_results import write_json
from training.fit import checkpoint
from training.fit import segmentation as fitting
from training.fit.loop import Trainer
from training.fit.segmentation import BEST


class BestWeights:
    """The weights with the highest mean validation Dice so far, kept on disk.

    run: the folder to export: the best weights, or the run itself when nothing was validated. offered: step of the
    weights that were offered last by this process.
    """

    def __init__(self, ready: Trainer[DeepLabV3Plus3D], out: Path) -> None:
        self._ready, self._out = ready, out
        self.step: int | None = None
        self.dice: float | None = None
        self.offered: int | None = None
        file = out / BEST / "best.json"
        if file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.step, self.dice = kept["step"], kept["dice"]
            if self.step > ready.step:  # of a run that has been restarted
                self.step = self.dice = None

    @property
    def run(self) -> Path:
        """Folder with `checkpoint.pt` and `recipe.json`."""
        return self._out if self.dice is None else self._out / BEST

    def offer(self, dice: float) -> None:
        """Keep the present weights if they are better; of equals the later ones."""
        self.offered = self._ready.step
        if self.dice is not None and dice < self.dice:
            return
        folder = self._out / BEST
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(folder / fitting.CHECKPOINT, self._ready.state())
        recipe = (self._out / fitting.RECIPE).read_text(encoding="utf-8")
        (folder / fitting.RECIPE).write_text(recipe, encoding="utf-8")
        self.step, self.dice = self._ready.step, dice
        write_json(folder / "best.json", {"step": self.step, "dice": dice})
