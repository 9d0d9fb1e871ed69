"""What `doctor` says of the audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.audit.entry import AuditEvent, Entry
from node.audit.findings import trail_findings
from node.audit.step import open_trail
from node.cli.app import run
from node.config.file import read_config
from node.config.sections import Config
from node.journal.journal import Journal


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(f'[node]\nae_title = "NODE"\nstate = "{tmp_path / "state"}"\n')
    return read_config(path)


@pytest.fixture
def kept(config: Config, clock: Any) -> Journal:
    """A journal beside a trail of nine entries."""
    journal = Journal.open(config.node.state / "journal.sqlite", clock)
    entries = [Entry(clock() + n, AuditEvent.SERIES_RECEIVED) for n in range(9)]
    open_trail(config).append(entries)
    return journal


def _segment(config: Config) -> Path:
    (path,) = open_trail(config).segments()
    return path


def test_an_intact_trail_and_none_at_all_are_in_order(config: Config, clock: Any) -> None:
    journal = Journal.open(config.node.state / "journal.sqlite", clock)
    assert trail_findings(config, journal) == []
    open_trail(config).append([Entry(clock(), AuditEvent.SERIES_RECEIVED)])
    assert trail_findings(config, journal) == []
    journal.close()


def test_edited_and_removed_lines_are_findings_by_kind(config: Config, kept: Journal) -> None:
    path = _segment(config)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2:4] = [line.replace(b"series_received", b"result_sent") for line in lines[2:4]]
    path.write_bytes(b"".join(lines[:-1]))
    found = {f.kind: f for f in trail_findings(config, kept)}
    assert {k: f.times for k, f in found.items()} == {"audit-altered": 2, "audit-truncated": 1}
    assert found["audit-altered"].place == str(path)
    assert found["audit-altered"].remedy.startswith(
        "entry 3: its hash is not that of its content; `lumbar-node"
    )
    kept.close()


def test_a_trail_that_is_gone_is_found_by_what_the_journal_noted(
    config: Config, kept: Journal
) -> None:
    head = open_trail(config).head()
    kept.changes.anchor(head.number, head.hash)
    for path in (config.node.state / "audit").iterdir():
        path.unlink()
    assert [f.kind for f in trail_findings(config, kept)] == ["audit-anchor"]
    kept.close()


def test_doctor_reports_the_trail(
    config: Config, kept: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--config", str(tmp_path / "config.toml")]) == 0
    assert capsys.readouterr().out == "journal and disk agree\n"
    path = _segment(config)
    path.write_bytes(path.read_bytes().replace(b"series_received", b"result_sent", 1))
    assert run(["doctor", "--config", str(tmp_path / "config.toml")]) == 1
    assert capsys.readouterr().out.startswith(f"audit-altered: {path}: entry 1: ")
    kept.close()
