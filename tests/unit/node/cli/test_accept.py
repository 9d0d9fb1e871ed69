"""The lines of an acceptance test on a terminal of 80 columns."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.accept import command
from node.accept.checks import Check
from node.accept.record import Record
from node.audit.show import Wanted, entries
from node.audit.step import unkeyed_trail
from node.cli.accept import check_lines
from node.cli.app import app
from node.config.file import read_config


def test_a_passed_check_is_one_thing_and_a_failed_one_says_what_to_do() -> None:
    passed = Check("g", "Pixels", "equal", "equal in all 128", "passed", details=("x",))
    assert check_lines(passed) == ["  ok     Pixels: equal in all 128"]
    failed = Check("g", "Pixels", "equal", "128 of 128 differ " * 8, "failed", "turn that off")
    lines = check_lines(failed)
    assert lines[0] == "  FAILED Pixels"
    assert lines[1].strip() == "expected: equal"
    assert lines[-1].strip() == "to do:    turn that off"
    assert max(map(len, lines)) <= 80


def test_a_tool_that_is_absent_is_one_line_and_what_is_needed_is_not() -> None:
    absent = Check("g", "dcmqi", "no errors", "not installed", "not possible", "pip install dcmqi")
    assert check_lines(absent) == ["  -      dcmqi: not installed; pip install dcmqi"]
    needed = Check("g", "Back", "135", "no C-GET", "not possible", "allow it", needed=True)
    assert len(check_lines(needed)) == 4


def test_who_tested_which_destination_is_in_the_audit_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    failed = Check("g", "Pixels", "equal", "other", "failed", "turn that off")
    record = Record("Acceptance test", "1.2.1", at, at, "failed", (), (failed,), ())
    monkeypatch.setattr(command, "run_test", lambda *_, **__: (record, tmp_path / "page.html"))
    config = tmp_path / "config.toml"
    config.write_text(
        f'[node]\nae_title = "NODE"\nstate = "{tmp_path / "state"}"\n[[node.destination]]\n'
        f'name = "pacs"\nkind = "folder"\npath = "{tmp_path / "out"}"\n'
    )
    ended = CliRunner().invoke(app, ["accept", "--through", "pacs", "--config", str(config)])
    assert ended.exit_code == 4, ended.output
    (entry,) = list(entries(unkeyed_trail(read_config(config)), Wanted(0.0, "", "")))
    assert entry["event"] == "destination_tested"
    assert (entry["what"]["destination"], entry["what"]["study"]) == ("pacs", "1.2.1")
    assert entry["what"]["verdict"] == "failed"
    assert entry["who"][0]["user"]
