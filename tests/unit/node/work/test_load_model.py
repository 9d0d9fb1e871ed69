from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.config.sections import ModelConfig
from node.work import load_model as loading
from node.work.load_model import load_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the arguments of every load."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        loading, "load_bundle", lambda path, **keys: seen.append({"path": path, **keys})
    )
    return seen


def test_the_keys_of_model_reach_the_engine(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    given = ModelConfig(engine="openvino", device="cpu", threads=3, precision="float32")
    load_model(given, path=tmp_path)
    load_model(ModelConfig(bundle="/b"))
    first, second = asked
    assert {k: first[k] for k in ("path", "engine", "device", "threads", "precision")} == {
        "path": tmp_path, "engine": "openvino", "device": "cpu", "threads": 3, "precision": "float32",
    }  # fmt: skip
    assert second["path"] == Path("/b")


def test_where_converted_networks_are_kept(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the configured folder, else with the service's state, else in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_model(ModelConfig(cache="/kept"), state=tmp_path)
    load_model(ModelConfig(), state=tmp_path)
    load_model(ModelConfig())
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    load_model(ModelConfig())

    def homeless(_: Path) -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "expanduser", homeless)
    load_model(ModelConfig())
    assert [a["cache"] for a in asked] == [
        Path("/kept"),
        tmp_path / "engines",
        tmp_path / "xdg" / "lumbar-node" / "engines",
        Path("/home/somebody/.cache/lumbar-node/engines"),
        None,
    ]
