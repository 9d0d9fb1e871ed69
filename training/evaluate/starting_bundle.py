"""The bundle that a training starts from: the recipe that fits it, and which tested patients it may have seen."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.bundle.card import CARD, read_card
from model.networks.deeplab import Architecture
from training.data.cases import list_cases
from training.data.persons import read_persons
from training.errors import UsageError
from training.evaluate.crossval_plan import START, Cohort, Start
from training.fit.recipe import Recipe, read_recipe


@dataclass(frozen=True, slots=True)
class Starting:
    """A bundle to start from and its card."""

    bundle: Path
    card: Mapping[str, Any]

    @classmethod
    def read(cls, bundle: Path) -> Starting:
        """Read and verify the card. Raises `BundleError`."""
        return cls(bundle, read_card(bundle))

    def recipe(self, file: Path | None) -> Recipe:
        """Return the recipe of a file, or the built-in one; without an architecture of its own, with the bundle's.

        Weights that are converted for another normalisation start far behind.

        Raises:
            RecipeError: the recipe cannot be read.
            UsageError: neither recipe nor bundle names an architecture of this version.
        """
        chosen = Recipe() if file is None else read_recipe(file)
        if file is not None and "architecture" in tomllib.loads(file.read_text("utf-8")):
            return chosen
        found = self.card["architecture"]
        if found.get("name") != chosen.architecture.to_dict()["name"]:
            raise UsageError(
                f"{self.bundle} holds no network of this version to start from; choose another bundle, or train from"
                " random weights by a recipe with [architecture]"
            )
        return replace(chosen, architecture=Architecture.from_dict(dict(found)))

    def of_folds(self, cohort: Cohort) -> Start:
        """Return what a cross-validation says of its start: name, digest, and how many tested patients it never saw.

        Only the cases that the card names as held out are known; a patient of whom none is may have been trained on.

        Raises:
            CaseUnreadable: a case without a readable card or a patient.
        """
        held = set(map(str, self.card.get("training", {}).get("held_out", ())))
        persons = read_persons(list_cases(cohort.cases)).by_path
        unseen = {person for path, person in persons.items() if path.stem in held}
        tested = {persons[path] for path in cohort.paths.values()}
        named = {key: str(self.card[key]) for key in ("name", "version", "digest")}
        return Start(
            named["name"], named["version"], named["digest"], len(tested), len(tested & unseen)
        )

    def copy_to(self, out: Path) -> None:
        """Copy the bundle into a cross-validation's folder, complete or not at all, where it is not there already."""
        there, part = out / START, out / f"{START}.part"
        if (there / CARD).exists() and read_card(there)["digest"] == self.card["digest"]:
            return
        for folder in (there, part):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.bundle, part)
        part.rename(there)
