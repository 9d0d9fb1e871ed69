"""Options of `lumbar-train crossval` that are refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli.app import app
from training.cli.crossval import build_plan
from training.errors import UsageError
from training.fit.recipe import Recipe


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        ("fold", (0, 0)),
        ("case", (0, 5)),
        ("bundle", (0, 5)),
        ("nowhere.pt", (0, 0)),
        ("case", (5, 0)),
    ],
)
def test_options_of_the_level_that_contradict_each_other_are_refused(
    level: str, steps: tuple[int, int]
) -> None:
    with pytest.raises(UsageError, match=level):
        build_plan(Recipe(), level, steps, "auto", 0)


def test_a_common_finder_without_cases_for_it_is_refused_before_anything_is_trained(
    tiny_cases: Path, tmp_path: Path
) -> None:
    call = ["crossval", "--cases", str(tiny_cases), "--out", str(tmp_path / "cv"), "--folds", "2"]
    done = CliRunner().invoke(app, [*call, "--level-steps", "7", "--level-first", "9"])
    assert isinstance(done.exception, UsageError)
    assert "every patient" in str(done.exception)
    assert not list((tmp_path / "cv").glob("fold-*"))
