"""The best weights of a run beside it."""

from __future__ import annotations

from pathlib import Path

from training.evaluate.best_weights import BestWeights
from training.fit.recipe import read_recipe
from training.fit.segmentation import prepare_run

RECIPE = """
crops = [[8, 16, 16]]
narrow = [8, 16, 8]
accumulate = 1
steps = 2
warm_up = 1
norm_steps = 1
[architecture]
width = 4
decoder = 2
dilations = [1]
"""


def test_the_best_weights_are_kept_and_forgotten_by_a_run_begun_again(
    tiny_cases: Path, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    ready, _ = prepare_run(tiny_cases, tmp_path, read_recipe(path), resume=True)
    best = BestWeights(ready, tmp_path)
    assert best.run == tmp_path
    ready.step = 1
    best.offer(0.5)
    ready.step = 2
    best.offer(0.4)
    assert (best.step, best.run) == (1, tmp_path / "best")
    assert BestWeights(ready, tmp_path).dice == 0.5
    ready.step = 0
    assert BestWeights(ready, tmp_path).dice is None
