"""The history on a terminal of 80 columns."""

from __future__ import annotations

from node.selftest.trend import curve, trend_lines
from node.store.selftest_history import SelftestRow


def row(at: float, oc: float, outcome: str = "passed", reason: str = "") -> SelftestRow:
    values = {"OC": oc, "DAA": 20.0, "DIVC": 18.0, "PI": None}
    return SelftestRow(at, outcome, reason, "b", "d", "e", "v", "s", values, {}, 0.0, 0.3, 9.0)  # type: ignore[arg-type]


def test_a_curve_rises_with_the_values_and_does_not_magnify_noise() -> None:
    assert curve([1.0, 1.5, 2.0]) == "▁▅█"
    assert set(curve([1.0, 1.001, 0.999])) == {"▁"}


def test_the_table_fits_and_says_why_a_run_did_not_pass() -> None:
    rows = [row(86400.0 * n, 9.0 + n / 10) for n in range(20)]
    lines = trend_lines([*rows, row(86400.0 * 20, 12.0, "drifted", "OC +3.00 mm")])
    assert max(map(len, lines)) <= 80
    assert sum("passed" in line for line in lines) == 13
    assert any(line.startswith("OC   ▁") for line in lines)
    assert lines[-1].endswith("OC +3.00 mm")
