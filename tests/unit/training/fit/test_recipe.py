"""Recipes as data: there and back, partly given, wrongly spelt."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from model.networks.deeplab import Architecture
from tests.support.paths import ROOT
from training.errors import RecipeError
from training.fit.augment import Strength
from training.fit.loss import Objective
from training.fit.recipe import Recipe, read_recipe
from training.fit.schedule import learning_rate

RECIPES = ROOT / "training/recipes"
RELEASED = ROOT / "docs/model/released"
UNUSUAL = Recipe(
    architecture=Architecture(width=12, dilations=(1, 5), decoder=3, norm="instance"),
    strength=Strength(rotation_deg=7.5, focus=0.25),
    crops=((16, 24, 32), (32, 24, 16)),
    narrow=(8, 12, 16),
    norm_steps=3,
    milestones=(5, 11),
    objective=Objective(dice=0.25, class_weights=(2.0,) * 9),
    accumulate=3,
    steps=17,
    learning_rate=1e-5,
    held_out=("phantom-000001", "spider-001"),
)


def toml(values: Mapping[str, Any]) -> str:
    """Numbers, strings and lists are the same in JSON and in TOML; tables come last."""
    tables = {k: v for k, v in values.items() if isinstance(v, dict)}
    lines = [f"{k} = {json.dumps(v)}" for k, v in values.items() if k not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    return "\n".join(lines)


@pytest.mark.parametrize("recipe", [Recipe(), UNUSUAL])
def test_a_recipe_comes_back_from_toml_and_json(tmp_path: Path, recipe: Recipe) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(toml(recipe.to_dict()))
    assert read_recipe(path) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("steps = 5\n[architecture]\nwidth = 4\n[strength]\nnoise = 0.5\n")
    read_back = read_recipe(path)
    assert read_back.steps == 5
    assert read_back.architecture == Architecture(width=4)
    assert read_back.strength == Strength(noise=0.5)
    assert read_back.crops == Recipe().crops


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("learning_rat = 1.0", r"'learning_rat' of Recipe.*learning_rate"),
        ("[architecture]\nwidht = 4", r"'widht' of Architecture.*width"),
        ("[strength]\nflip = 1", r"'flip' of Strength"),
        ("[objective]\nfocal = 1", r"'focal' of Objective.*dice"),
        ("steps = = 5", "Invalid value"),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=named) as refusal:
        read_recipe(path)
    assert "mine.toml" in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "path",
    sorted([*RECIPES.glob("*.toml"), *RELEASED.rglob("*.toml")]),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_every_recipe_of_the_project_is_one(path: Path) -> None:
    assert read_recipe(path).steps > 0


def test_the_paper_s_learning_rate_is_divided_by_five_twice() -> None:
    paper = read_recipe(RECIPES / "paper.toml")
    rates = [learning_rate(paper, 16 * epoch) for epoch in (0, 65, 66, 132, 133, 199)]
    assert rates == pytest.approx([5e-3, 5e-3, 1e-3, 1e-3, 2e-4, 2e-4])


def test_the_default_recipe_names_every_key_with_its_default() -> None:
    path = RECIPES / "default.toml"
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    values = Recipe().to_dict()
    assert written.keys() == values.keys()
    for table in ("strength", "objective"):
        assert written[table].keys() == values[table].keys()
    keys = {f.name for f in fields(Architecture)}  # those of a card leave out what it does not use
    assert written["architecture"].keys() == keys
    assert read_recipe(path) == Recipe()


def test_the_last_released_recipe_is_that_of_the_shipped_bundle() -> None:
    card = json.loads((ROOT / "model/bundles/lumbar-l45/card.json").read_text(encoding="utf-8"))
    versions = [p.name for p in RELEASED.iterdir()]
    last = max(versions, key=lambda version: tuple(map(int, version.split("."))))
    assert card["version"].startswith(last.rpartition(".")[0])  # a patch packs the same weights
    recipe = read_recipe(RELEASED / last / "3.toml")
    assert json.loads(json.dumps(recipe.to_dict())) == card["training"]["recipe"]
