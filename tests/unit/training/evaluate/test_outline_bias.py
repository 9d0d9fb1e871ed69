"""Shifts of outlines found from errors that are known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.result import Measurement, Measurements
from dicomseg.segmentation import Scores
from dicomseg.structures import BY_ID
from model.bundle.write import write_coded_bundle
from training.cli.app import app
from training.errors import SourceMissing, UsageError
from training.evaluate import outline_bias
from training.evaluate.outline_bias import LADDER, OutlineBias, balancing_shift
from training.evaluate.prediction import CasePrediction
from training.evaluate.reference import Reference

TRUE_MM = {"OC": 10.0, "DAA": 15.0, "DIVC": 20.0, "PI": 3.0}


def ladder_of(*zeros: float) -> np.ndarray:
    """Errors that rise with the shift and are zero at these ones."""
    return np.array([[0.4 * (shift - zero) for shift in LADDER] for zero in zeros])


def test_the_median_of_the_errors_is_balanced_between_two_shifts() -> None:
    errors = ladder_of(*[-0.7] * 9, 40.0, -40.0)  # two are wrong throughout
    assert balancing_shift(errors, "DAA") == pytest.approx(-0.7)
    assert balancing_shift(ladder_of(*[0.0] * 10), "DAA") == 0.0
    assert balancing_shift(-ladder_of(*[0.35] * 11), "OC") == pytest.approx(0.35)


def test_values_that_are_not_there_do_not_count() -> None:
    errors = ladder_of(*[-0.5] * 10, 0.9, 0.9, 0.9, 0.9)
    errors[10:] = np.nan
    assert balancing_shift(errors, "DAA") == pytest.approx(-0.5)
    with pytest.raises(SourceMissing, match="9 values of DAA"):
        balancing_shift(errors[1:], "DAA")
    with pytest.raises(SourceMissing, match="0 values of DAA"):
        balancing_shift(np.empty((0, len(LADDER))), "DAA")


def test_what_no_shift_balances_is_refused() -> None:
    with pytest.raises(UsageError, match=r"DIVC stays between \+0.40 and \+1.60 mm"):
        balancing_shift(ladder_of(*[-3.0] * 10), "DIVC")


@dataclass(frozen=True)
class Outlined:
    """An answer that holds nothing but its scores."""

    scores: Scores = field(
        default_factory=lambda: Scores(np.zeros((9, 1, 1, 1), np.float32), np.eye(4))
    )


@dataclass(frozen=True)
class Net:
    """A model whose own shifts must not count."""

    outline_shifts: Mapping[str, float]


def measured(seg: Outlined) -> Measurements:
    """Outlines 1.0 (artery), 0.5 (vein) and 0.75 (psoas) too far out."""
    artery, vein, psoas = (
        float(seg.scores.logits[BY_ID[name].value].item()) + out
        for name, out in (("aa", 1.0), ("ivc", 0.5), ("pm", 0.75))
    )
    values = {
        "OC": 10 - 0.2 * artery - 0.3 * psoas,
        "DAA": 15 + 0.4 * artery,
        "DIVC": 20 + 0.5 * vein,
        "PI": 3 - 0.25 * vein - 0.3 * psoas,
    }
    lines = {n: Measurement(n, "", None, value_mm=values[n]) for n in MAIN_MEASUREMENTS}
    return Measurements(None, lines, {})


@pytest.fixture
def path_of_service(monkeypatch: pytest.MonkeyPatch) -> list[Net]:
    """The service's way with `measured`; case 3 has no answer. Returns the models that were asked."""
    asked: list[Net] = []

    @dataclass(frozen=True)
    class Known:
        case_id: str

    def predict(case: Known, model: Net) -> CasePrediction:
        asked.append(model)
        found = None if case.case_id == "3" else Outlined()
        return CasePrediction({}, found, "", 0.0, 0.0)  # type: ignore[arg-type]

    monkeypatch.setattr(outline_bias, "load_case", lambda path: Known(path.stem))
    monkeypatch.setattr(outline_bias, "predict_case", predict)
    monkeypatch.setattr(outline_bias, "measure", measured)
    monkeypatch.setattr(
        outline_bias,
        "references",
        lambda _: {n: Reference(v, "truth") for n, v in TRUE_MM.items()},
    )
    return asked


def test_the_psoas_is_found_with_the_vessels_where_they_belong(path_of_service: list[Net]) -> None:
    paths = [Path(f"{n}.npz") for n in range(12)]
    reported: list[str] = []
    found = outline_bias.estimate(paths, Net({"aa": -9.0}), reported.append)  # type: ignore[arg-type]
    assert found.shifts == pytest.approx({"aa": -1.0, "ivc": -0.5, "pm": -0.75})
    assert found.medians_mm["DAA"][LADDER.index(0.0)] == pytest.approx(0.4)
    assert found.medians_mm["OC"][LADDER.index(-0.5)] == pytest.approx(-0.075)
    assert not any(m.outline_shifts for m in path_of_service)
    assert reported == [p.stem for p in paths] * 2


def test_too_few_answers_are_refused(path_of_service: list[Net]) -> None:
    paths = [Path(f"{n}.npz") for n in range(10)]
    with pytest.raises(SourceMissing, match="9 values of DAA"):
        outline_bias.estimate(paths, Net({}))  # type: ignore[arg-type]
    assert len(path_of_service) == 10


def test_a_value_that_carries_a_range_or_is_refused_does_not_count() -> None:
    error = outline_bias._error
    assert error(12.0, None, 10.0) == 2.0
    assert np.isnan([error(12.0, (9.0, 15.0), 10.0), error(None, None, 10.0), error(1.0, None, None)]).all()  # fmt: skip


def test_the_command_writes_what_export_takes(
    tmp_path: Path, tiny_cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_coded_bundle(tmp_path / "oracle")
    out = tmp_path / "shifts.json"
    call = ["shifts", "--cases", str(tiny_cases), "--all", "--bundle", str(bundle)]
    refused = CliRunner().invoke(app, [*call, "--out", str(out)])
    assert isinstance(refused.exception, SourceMissing)
    assert "values of DAA" in str(refused.exception)
    assert not out.exists()
    found = OutlineBias({"aa": -1.0, "pm": 0.25}, {"DAA": tuple(LADDER)})
    monkeypatch.setattr(outline_bias, "estimate", lambda *_: found)
    done = CliRunner().invoke(app, [*call, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text(encoding="utf-8")) == {
        "outline_shifts": {"aa": -1.0, "pm": 0.25}
    }
    assert "pm +0.25" in done.output
