"""The state folder of `bench commands` holds what the timed commands show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.bench.commands import CommandTime, make_state
from node.cli.app import run


def test_every_timed_command_shows_the_synthetic_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_state(tmp_path, 7)
    monkeypatch.chdir(tmp_path)
    assert run(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 7
    assert {row["description"] for row in rows} == {"t2_space"}
    assert {row["state"] for row in rows} == {"receiving", "complete", "incomplete"}
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["instance.stored"] == 28


def test_median_is_of_the_cpu_seconds() -> None:
    times = CommandTime("list", (0.3, 0.1, 0.2), (9.0, 9.0, 9.0))
    assert times.as_json()["median_cpu_s"] == 0.2
