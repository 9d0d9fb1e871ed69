"""The history of the self-test on disk."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

from node.store.selftest_history import (
    SelftestRow,
    append_row,
    history_path,
    read_history,
    reference_of,
)

ROW = SelftestRow(1.0, "passed", "", "b", "d", "e", "v", "s", {"OC": 9.0}, {"ivc": 1.0}, reference=True)  # fmt: skip


def test_rows_come_back_private_and_in_order(tmp_path: Path) -> None:
    assert read_history(tmp_path) == ()
    append_row(tmp_path, ROW)
    append_row(tmp_path, replace(ROW, at=2.0, drift_mm=0.0, reference=False))
    assert [r.at for r in read_history(tmp_path)] == [1.0, 2.0]
    assert read_history(tmp_path)[0] == ROW
    assert stat.S_IMODE(history_path(tmp_path).stat().st_mode) == 0o600


def test_a_line_that_a_kill_cut_off_costs_no_other(tmp_path: Path) -> None:
    append_row(tmp_path, ROW)
    with history_path(tmp_path).open("a") as file:
        file.write('{"at": 3')
    append_row(tmp_path, replace(ROW, at=4.0))
    assert [r.at for r in read_history(tmp_path)] == [1.0, 4.0]


def test_the_reference_is_the_newest_of_the_same_bundle_engine_and_study() -> None:
    rows = (ROW, replace(ROW, at=2.0), replace(ROW, at=3.0, digest="other"), replace(ROW, at=4.0, reference=False))  # fmt: skip
    assert reference_of(rows, ROW) == rows[1]
    assert reference_of(rows, replace(ROW, engine="torch")) is None
