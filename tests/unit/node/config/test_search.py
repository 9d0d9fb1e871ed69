"""Which configuration file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.config.search import find_file


def test_order_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    system, given = tmp_path / "etc" / "config.toml", Path("given.toml")
    environ = {"LUMBAR_NODE_CONFIG": "named.toml"}
    assert find_file(None, {}, system) is None
    system.parent.mkdir()
    system.write_text("")
    assert find_file(None, {}, system) == system
    assert find_file(None, {"LUMBAR_NODE_CONFIG": ""}, system) == system
    Path("config.toml").write_text("")
    assert find_file(None, {}, system) == Path("config.toml")
    assert find_file(None, environ, system) == Path("named.toml"), "it is named: need not exist"
    assert find_file(given, environ, system) == given


def test_a_file_in_a_folder_that_is_closed_to_us_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied") if path.is_absolute() else FileNotFoundError

    monkeypatch.setattr(Path, "stat", closed)
    assert find_file(None, {}, Path("/etc/x/config.toml")) == Path("/etc/x/config.toml")
