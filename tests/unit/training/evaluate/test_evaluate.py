"""The inference pipeline on coded volumes whose answer is known; results kept per case and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomseg.structures import StructureId
from dicomseg.volume import build_affine
from model.bundle.load import LoadedModel, load_bundle
from model.bundle.write import write_coded_bundle
from model.engines.coded import encode_labels
from training.data.cases import Case, save_case
from training.evaluate import evaluate as evaluating
from training.evaluate.case_results import CaseResult, read_labels, write_json
from training.evaluate.evaluate import EvaluationSettings, evaluate_cases
from training.evaluate.metrics import Score

SHAPE = (40, 64, 48)


def blocks() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[26:36, 20:44, 12:36] = 1
    labels[16:26, 20:44, 12:36] = 2
    labels[6:16, 20:44, 12:36] = 3
    labels[4:36, 46:56, 18:30] = 4
    return labels


def case_of(name: str, painted: np.ndarray) -> Case:
    """A case whose grey values spell `painted` while the truth is `blocks`."""
    coded = encode_labels(painted, np.zeros_like(painted), np.full(SHAPE, 4.0))
    affine = build_affine(np.eye(3)[:, ::-1], (0.8, 0.75, 0.75), (0.0, 0.0, 0.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ np.array([20.5, 31.5, 23.5]))
    labelled: tuple[StructureId, ...] = ("l4", "ivd", "l5", "dura")
    card = {"measurements": {"OC": {"value_mm": 4.0, "note": ""}}}
    image = coded.astype(np.float32)
    return Case(name, name, "spider", image, blocks(), affine, labelled, (x, y, z), (0.0, 0.0, 1.0), {}, card)  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return load_bundle(write_coded_bundle(tmp_path / "oracle"))


def settings_of(model: LoadedModel, folder: Path | None = None) -> EvaluationSettings:
    return EvaluationSettings(model=lambda _: model, unseen=lambda name: name == "a", folder=folder)


def test_a_perfect_prediction_scores_one_and_a_missed_level_zero(
    tmp_path: Path, model: LoadedModel
) -> None:
    blind = np.where(blocks() == 2, 0, blocks())
    paths = [save_case(case_of(n, p), tmp_path) for n, p in (("a", blocks()), ("b", blind))]
    seen: list[CaseResult] = []
    first, second = evaluate_cases(paths, settings_of(model), seen.append)
    assert seen == [first, second]
    assert first.dice == dict.fromkeys(("l4", "ivd", "l5", "dura"), 1.0)
    assert first.level_error_mm == pytest.approx(0.0, abs=1e-6)
    assert first.level_confidence > 0
    assert set(second.dice.values()) == {0.0}
    assert (second.level_error_mm, second.level_confidence) == (None, 0.0)


def test_without_measurements_the_scores_are_the_same(tmp_path: Path, model: LoadedModel) -> None:
    path = save_case(case_of("a", blocks()), tmp_path)
    settings = settings_of(model)
    (measured,) = evaluate_cases([path], settings)
    (plain,) = evaluate_cases([path], replace(settings, measurements=False))
    assert measured.measurements
    assert plain == replace(measured, measurements={}, seconds=plain.seconds)


def test_scores_level_and_measurements_of_one_case(tmp_path: Path, model: LoadedModel) -> None:  # fmt: skip
    painted = blocks()
    painted[23:26, 20:44, 12:36] = 1  # the disc's upper three of ten slices are called L4
    path = save_case(case_of("a", painted), tmp_path)
    (got,) = evaluate_cases([path], settings_of(model))
    assert got.scores["dura"] == Score("scored", 1.0, 1.0, 1.0, 0.0, 0.0)
    assert (got.scores["l4"].recall, got.scores["ivd"].precision) == (1.0, 1.0)
    assert got.scores["l4"].precision == pytest.approx(10 / 13)
    assert got.scores["ivd"].recall == pytest.approx(0.7)
    assert got.scores["ivd"].hd95_mm == pytest.approx(3 * 0.8)
    assert (got.unseen, got.why) == (True, "")
    assert got.measurements["OC"].automatic_mm is None
    assert got.measurements["OC"].refusal
    assert got.measurements["OC"].reference_mm == 4.0


def test_a_missed_level_is_counted_as_missed(tmp_path: Path, model: LoadedModel) -> None:
    blind = blocks()
    blind[blind == 2] = 0
    path = save_case(case_of("b", blind), tmp_path)
    (got,) = evaluate_cases([path], settings_of(model))
    assert {s.state for s in got.scores.values()} == {"missed"}
    assert (got.mean_dice, got.level_error_mm, got.unseen) == (0.0, None, False)
    assert got.measurements["OC"].refusal == evaluating.NOT_FOUND


def test_constant_grey_values_do_not_end_an_evaluation(tmp_path: Path, model: LoadedModel) -> None:  # fmt: skip
    flat = replace(case_of("c", blocks()), image=np.full(SHAPE, np.nan, np.float32))
    (got,) = evaluate_cases([save_case(flat, tmp_path)], settings_of(model))
    assert (got.mean_dice, got.why) == (0.0, "window-refused")


def test_finished_cases_are_read_until_something_they_rest_on_changes(
    tmp_path: Path, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    path = save_case(case_of("a", blocks()), tmp_path / "cases")
    first = evaluate_cases([path], settings_of(model, kept))
    found = read_labels(kept, "a")
    assert found is not None
    assert np.array_equal(found, blocks())

    def forbidden(*_: object) -> None:
        raise AssertionError("worked out again")

    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "evaluate_case", forbidden)
        assert evaluate_cases([path], settings_of(model, kept)) == first
        changed = replace(settings_of(model, kept), fold=2)
        with pytest.raises(AssertionError, match="again"):
            evaluate_cases([path], changed)
        with patched.context() as other:
            other.setattr(evaluating, "code_digest", lambda: "another measuring")
            with pytest.raises(AssertionError, match="again"):
                evaluate_cases([path], settings_of(model, kept))
        (kept / "a.json").write_text("{", encoding="utf-8")
        with pytest.raises(AssertionError, match="again"):
            evaluate_cases([path], settings_of(model, kept))
    assert evaluate_cases([path], settings_of(model, kept))[0].scores == first[0].scores


def test_code_digest_changes_with_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("dicomseg", "model"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "one.py").write_text("a = 1", encoding="utf-8")
    monkeypatch.setattr(evaluating.resources, "files", lambda name: tmp_path / name)
    before = evaluating.code_digest.__wrapped__()
    (tmp_path / "dicomseg" / "notes.md").write_text("no module", encoding="utf-8")
    assert evaluating.code_digest.__wrapped__() == before
    (tmp_path / "dicomseg" / "one.py").write_text("a = 2", encoding="utf-8")
    assert evaluating.code_digest.__wrapped__() != before


def test_results_survive_json_and_refuse_what_json_cannot_hold(tmp_path: Path, model: LoadedModel) -> None:  # fmt: skip
    (got,) = evaluate_cases([save_case(case_of("a", blocks()), tmp_path)], settings_of(model))
    assert CaseResult.from_dict(json.loads(json.dumps(got.to_dict()))) == got
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"x": float("nan")})
