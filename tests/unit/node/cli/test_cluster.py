from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster import extra
from node.cli.app import run


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    path = tmp_path / "config.toml"
    path.write_text('[node]\nae_title = "N"\n')
    return ["--config", str(path)]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["scheduler"], "no address; give --listen, or set [cluster] scheduler"),
        (["worker"], "no address; give --scheduler, or set [cluster] scheduler"),
        (["scheduler", "--listen", "tcp://0.0.0.0:8786"], "is open to everyone who reaches it"),
        (["worker", "--scheduler", "tcp://10.1.2.3:8786"], "is open to everyone who reaches it"),
        (["scheduler", "--listen", "tls://0.0.0.0:8786"], "needs [cluster] certificate, private_key and trusted"),
        (["scheduler", "--listen", "8786"], "is not an address; write"),
    ],
)  # fmt: skip
def test_nothing_is_opened_that_strangers_could_reach(
    command: list[str], said: str, config: list[str], capsys: Any
) -> None:
    assert run([*command, *config]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_package_is_named(
    config: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda _: None)
    assert run(["scheduler", "--listen", "tcp://127.0.0.1:1", *config]) == 2
    assert "pip's extra cluster" in capsys.readouterr().err
