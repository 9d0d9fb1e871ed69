"""What of the self-test needs attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.config.file import default_config
from node.config.sections import Config
from node.config.selftest import SelftestConfig
from node.observe.selftest import SILENT_S, selftest_matters
from node.store.selftest_history import SelftestRow, append_row


def config(state: Path, at: str = "") -> Config:
    base = default_config(environ={})
    node = base.node.model_copy(update={"state": state})
    return base.model_copy(update={"node": node, "selftest": SelftestConfig(at=at)})


def row(**values: Any) -> SelftestRow:
    fields = {"at": 1000.0, "outcome": "passed", "reason": "", **values}
    return SelftestRow(**fields, bundle="b", digest="d", engine="e", software="v", study="s")


def test_without_a_run_there_is_nothing(tmp_path: Path) -> None:
    assert selftest_matters(config(tmp_path, "04:00"), 9e9) == []


@pytest.mark.parametrize("outcome", ["failed", "drifted"])
def test_a_run_that_did_not_pass_needs_attention(tmp_path: Path, outcome: str) -> None:
    append_row(tmp_path, row(outcome=outcome, reason="OC +3.00 mm"))
    (matter,) = selftest_matters(config(tmp_path), 2000.0)
    assert (matter.kind, matter.state, matter.reason) == ("selftest", outcome, "OC +3.00 mm")
    append_row(tmp_path, row(at=1500.0))
    assert selftest_matters(config(tmp_path), 2000.0) == []


def test_a_daily_run_that_has_stopped_needs_attention(tmp_path: Path) -> None:
    append_row(tmp_path, row())
    later = 1000.0 + SILENT_S + 1
    assert selftest_matters(config(tmp_path), later) == []
    (matter,) = selftest_matters(config(tmp_path, "04:00"), later)
    assert matter.state == "overdue"
