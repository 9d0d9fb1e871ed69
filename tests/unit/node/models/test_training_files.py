"""What run folders hold, read as if a stranger had written it; statistics on numbers that are known."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from node.errors import RunFileUnreadable
from node.models.case_figures import Pair, agreement, compared_case, evaluated_case
from node.models.comparison import read_comparison, worst_png
from node.models.curves import parse_curve, read_curve, thinned
from node.models.retraining import JobDirectory
from node.models.run_files import (
    count,
    number,
    numbers,
    read_bytes,
    read_json,
    tail_lines,
)
from node.models.run_folders import read_folds, read_run, run_folders, scores_by_structure
from tests.support.trainings import compared, comparison, write_folds, write_run
from training.evaluate import agreement as of_training

# ---- agreement -------------------------------------------------------------------------------------


def test_bias_and_limits_of_known_differences() -> None:
    # Differences 1, 2, 3: mean 2, SD 1.
    pairs = [Pair(11, 10), Pair(12, 10), Pair(13, 10), Pair(None, 10, "no_gap"), Pair(5, None)]
    found = agreement(pairs)
    assert (found.n, found.bias, found.mae, found.refused) == (3, 2, 2, 1)
    assert found.limits == pytest.approx((2 - 1.96, 2 + 1.96))


def test_signs_count_in_the_bias_and_not_in_the_mean_error() -> None:
    found = agreement([Pair(9, 10), Pair(11, 10)])
    assert (found.bias, found.mae) == (0, 1)


def test_one_pair_has_no_limits_and_none_has_nothing() -> None:
    assert agreement([Pair(10.5, 10)]).limits is None
    assert agreement([Pair(None, 3)]).bias is None


def test_the_figures_are_those_of_the_evaluation() -> None:
    automatic, reference = [9.2, 11.9, 21.0, 1.9, 8.8], [9.0, 12.4, 20.1, 1.95, 8.1]
    theirs = of_training.agreement(automatic, reference)
    ours = agreement([Pair(a, r) for a, r in zip(automatic, reference, strict=True)])
    assert theirs is not None
    assert ours.bias == pytest.approx(theirs.bias)
    assert ours.limits == pytest.approx(theirs.limits)
    assert ours.mae == pytest.approx(theirs.error.mean)


# ---- curves ----------------------------------------------------------------------------------------


def line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def test_a_run_that_went_on_from_its_checkpoint_is_one_curve() -> None:
    raw = b"".join(line(step=s, loss=loss) for s, loss in ((20, 9), (40, 8), (60, 7), (40, 5), (60, 4)))  # fmt: skip
    assert [(p.step, p.loss) for p in parse_curve(raw).points] == [(20, 9), (40, 5), (60, 4)]


def test_lines_that_are_none_are_counted_and_the_one_being_written_is_not() -> None:
    raw = line(step=1, loss=1) + b"[1]\n{\n" + line(step="2") + line(step=-4) + line(step=True)
    found = parse_curve(raw + line(step=3, loss=float("nan")) + b'{"step": 4, "lo')
    assert [(p.step, p.loss) for p in found.points] == [(1, 1), (3, None)]
    assert found.unread == 5


def test_dice_of_an_unknown_structure_or_beyond_one_is_left_out() -> None:
    dice = {"l4": 0.8, "n4": 0.4, "ivd": 1.2, "<b>": 0.9, "aa": "0.1", "pm": None}
    (point,) = parse_curve(line(step=1, dice=dice)).points
    assert point.dice == {"l4": 0.8, "n4": 0.4}
    assert point.mean_dice == pytest.approx(0.6)
    assert point.lowest == ("n4", 0.4)


def test_of_a_long_curve_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "curve.jsonl").write_bytes(b"".join(line(step=n, loss=1, x="y" * 90) for n in range(1, 45_000)))  # fmt: skip
    found = read_curve(tmp_path)
    assert found.cut
    assert found.unread == 0
    assert found.points[0].step > 1
    assert found.points[-1].step == 44_999


def test_thinned_values_keep_both_ends() -> None:
    assert thinned(range(100), 5) == [0, 25, 50, 74, 99]
    assert thinned([1, 2], 5) == [1, 2]


# ---- files -----------------------------------------------------------------------------------------


def test_a_pipe_or_a_link_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(RunFileUnreadable, match="log is no plain file"):
        read_bytes(tmp_path / "log", 10)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(RunFileUnreadable, match="link cannot be read"):
        read_bytes(tmp_path / "link", 10_000)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFileUnreadable, match="folder cannot be read: Is a directory"):
        read_bytes(tmp_path / "folder", 10)
    assert tail_lines(tmp_path / "log", 10) == []


def test_sizes_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    assert read_bytes(tmp_path / "f", 10) == b"0123456789"
    assert read_bytes(tmp_path / "f", 4, tail=True) == b"6789"
    with pytest.raises(RunFileUnreadable, match="f is larger than"):
        read_bytes(tmp_path / "f", 9)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"a": }', "\x00"])
def test_what_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RunFileUnreadable, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


def test_numbers_are_finite_and_of_a_plausible_size() -> None:
    assert number(0.5) == 0.5
    for value in (True, "1", None, float("nan"), float("inf"), 10**400, 1e12, [1], {}):
        assert number(value) is None
    assert count(3.0) == 3
    assert count(2.5) is count(-1) is None
    assert numbers({"l4": 1, "x": 2, "n4": "3"}, ("l4", "n4", "aa")) == {"l4": 1}
    assert numbers([1], ("l4",)) == {}


# ---- comparisons -----------------------------------------------------------------------------------


SIDE = {"name": "m", "version": "1", "digest": "d" * 64}


def place(tmp_path: Path, content: object) -> JobDirectory:
    found = JobDirectory(tmp_path)
    found.out.mkdir(exist_ok=True)
    (found.out / "comparison.json").write_text(json.dumps(content))
    return found


def test_a_comparison_is_read_with_cases_and_pictures(tmp_path: Path) -> None:
    scores = [compared("a", 0.5, {"OC": (9.0, 10.0), "PI": (None, 2.0)})]
    content = comparison({**SIDE, "scores": scores}, {**SIDE, "scores": scores}, reasons=["n4: worse"])  # fmt: skip
    found = read_comparison(place(tmp_path, content))
    assert found.reasons == ("n4: worse",)
    assert [r.structure for r in found.rows][:2] == ["l4", "ivd"]
    assert found.rows[0].difference == 0.03
    (case,) = found.candidate.cases
    assert (case.case, case.mean_dice) == ("a", 0.5)
    assert case.pairs["OC"].difference == -1.0
    assert case.pairs["PI"].refusal == "no_gap"
    assert [(p.number, p.side) for p in found.pictures] == [(1, "candidate")]


@pytest.mark.parametrize(
    "content",
    [
        {"verdict": "proposed"},
        {"verdict": "rejected", "reasons": 3, "notes": {"a": 1}, "table": "x", "in_service": [], "candidate": {"scores": {"a": 1}}},
        {"verdict": "proposed", "table": [None, 3, {"structure": ["l4"]}, {"structure": "l4", "pairs": "many", "candidate": "0.9"}]},
        {"verdict": "proposed", "candidate": {"name": 3, "scores": [None, 5, {"case": 7}, {"case": "a", "dice": 3, "measurements": {"OC": 4}}]}},
        {"verdict": "proposed", "pictures": [None, {"file": "../../secret.png", "model": "candidate"}, {"file": "worst/1-x.png", "model": "x"}]},
    ],
)  # fmt: skip
def test_wrong_types_are_left_out_and_nothing_is_raised(tmp_path: Path, content: Any) -> None:
    found = read_comparison(place(tmp_path, content))
    assert found.pictures == ()
    assert all(row.candidate is None for row in found.rows)
    assert [c for c in found.candidate.cases if c.pairs or c.dice] == []


def test_without_a_verdict_it_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(RunFileUnreadable, match="no verdict"):
        read_comparison(place(tmp_path, {"verdict": "<b>"}))
    with pytest.raises(RunFileUnreadable, match=r"comparison\.json is not there"):
        read_comparison(JobDirectory(tmp_path / "other"))


def test_values_that_no_patient_has_are_left_out() -> None:
    measured = {"OC": {"automatic_mm": -3, "reference_mm": 1e7}, "DAA": {"automatic_mm": 12, "reference_mm": 11}}  # fmt: skip
    found = compared_case({"case": "a", "dice": {"l4": 1.5, "ivd": 0.5}, "measurements": measured})
    assert found.pairs["OC"] == Pair(None, None)
    assert found.pairs["DAA"].difference == 1
    assert found.dice == {"ivd": 0.5}
    assert evaluated_case({"case_id": "b", "scores": {"l4": {"dice": 0.25}}}).dice == {"l4": 0.25}


def test_a_picture_is_a_picture_of_bounded_size(tmp_path: Path) -> None:
    found = JobDirectory(tmp_path)
    (found.out / "worst").mkdir(parents=True)
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
    file = found.out / "worst" / "1-candidate.png"
    file.write_bytes(head + (9).to_bytes(4, "big") * 2 + b"rest")
    assert worst_png(found, 1, "candidate").endswith(b"rest")
    for content in (b"<svg onload=x>", head + (60_000).to_bytes(4, "big") * 2, head):
        file.write_bytes(content)
        with pytest.raises(RunFileUnreadable, match="no picture"):
            worst_png(found, 1, "candidate")
    for n, which in ((0, "candidate"), (99, "candidate"), (1, "../x"), (1, "in_service")):
        with pytest.raises(RunFileUnreadable):
            worst_png(found, n, which)


# ---- folds -----------------------------------------------------------------------------------------


def test_scores_per_fold_and_over_all_cases(tmp_path: Path) -> None:
    folds = read_folds(write_folds(tmp_path / "cv"))
    assert [(f.number, f.finished, len(f.cases)) for f in folds] == [(1, True, 2), (2, False, 0)]
    assert (folds[0].step, folds[0].validation_dice) == (200, 0.75)
    l4, ivd = scores_by_structure(folds)
    assert l4.folds[0] == pytest.approx((0.85, 0.005**0.5))
    assert (l4.folds[1], l4.n) == (None, 2)
    assert ivd.together == (0.5, 0.0)


def test_a_damaged_fold_is_named_and_the_others_count(tmp_path: Path) -> None:
    folder = write_folds(tmp_path / "cv")
    (folder / "fold-2" / "figures.json").write_text('{"cases": [3, {}]}')
    (folder / "fold-2" / "curve.jsonl").unlink()
    (folder / "fold-0").mkdir()
    (folder / "fold-999").mkdir()
    first, second = read_folds(folder)
    assert not first.faults
    assert second.faults == ("figures.json holds no case",)
    assert second.run.faults == ("curve.jsonl is not there",)
    assert len(scores_by_structure([first, second])) == 2


def test_folders_without_a_training_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "b")
    write_folds(tmp_path / "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("")
    assert [p.name for p in run_folders(str(tmp_path))] == ["a", "b"]
    assert run_folders("") == run_folders(str(tmp_path / "nowhere")) == []
    found = read_run(tmp_path / "b")
    assert (found.step, found.steps, found.faults) == (400, 400, ())
