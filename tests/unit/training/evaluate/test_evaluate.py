"""Scores by the service's path, on coded volumes whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomseg.structures import StructureId
from dicomseg.volume import affine_of
from model.bundle import load as bundle
from model.engines import coded as oracle
from training.data.cases import ALL_STRUCTURES, Case, save_case
from training.evaluate.evaluate import CaseScore, evaluate, summary, table

SHAPE = (40, 64, 48)


def blocks() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[26:36, 20:44, 12:36] = 1
    labels[16:26, 20:44, 12:36] = 2
    labels[6:16, 20:44, 12:36] = 3
    labels[4:36, 46:56, 18:30] = 4
    return labels


def case_of(name: str, labels: np.ndarray, painted: np.ndarray) -> Case:
    """A case whose grey values spell `painted` while `labels` is the truth."""
    coded = oracle.code(painted, np.zeros_like(painted), np.full(SHAPE, 4.0))
    affine = affine_of(np.eye(3)[:, ::-1], (0.8, 0.75, 0.75), (0.0, 0.0, 0.0))
    centre = affine[:3, :3] @ np.array([20.5, 31.5, 23.5])
    x, y, z = (float(v) for v in centre)
    labelled: tuple[StructureId, ...] = ("l4", "ivd", "l5", "dura")
    return Case(
        name,
        name,
        "spider",
        coded.astype(np.float32),
        labels,
        affine,
        labelled,
        (x, y, z),
        (0.0, 0.0, 1.0),
        {"l45": (x, y, z)},
    )


@pytest.fixture
def model(tmp_path: Path) -> bundle.LoadedModel:
    return bundle.load(oracle.write_bundle(tmp_path / "oracle"))


def test_a_perfect_answer_scores_one_and_a_missed_level_zero(
    tmp_path: Path, model: bundle.LoadedModel
) -> None:
    truth = blocks()
    good = save_case(case_of("spider-good", truth, truth), tmp_path)
    blind = save_case(case_of("spider-blind", truth, np.where(truth == 2, 0, truth)), tmp_path)
    seen: list[CaseScore] = []
    first, second = evaluate([good, blind], model, seen.append)
    assert seen == [first, second]
    assert set(first.dice) == {"l4", "ivd", "l5", "dura"}
    assert min(first.dice.values()) == 1.0
    assert first.level_error_mm == pytest.approx(0.0, abs=1e-6)
    assert set(second.dice.values()) == {0.0}
    assert second.level_error_mm is None


def test_the_table_counts_every_case_of_a_source() -> None:
    scores = [
        CaseScore("a", "phantom", dict.fromkeys(ALL_STRUCTURES, 0.9), 1.0, 0.8, 2.0),
        CaseScore("b", "phantom", dict.fromkeys(ALL_STRUCTURES, 0.5), None, 0.0, 2.0),
        CaseScore("c", "spider", {"l4": 0.8}, 2.0, 0.7, 2.0),
    ]
    rows = table(scores)
    assert [(r.source, r.structure, r.cases) for r in rows][-1] == ("spider", "l4", 1)
    assert rows[0].mean == pytest.approx(0.7)
    assert rows[0].least == 0.5
    assert len(rows) == 9
    assert summary(scores)["level"][1]["error_mm"] is None
