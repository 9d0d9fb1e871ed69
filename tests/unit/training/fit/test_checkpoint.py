"""Checkpoints: complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.errors import CheckpointUnreadable
from training.fit import checkpoint


def test_a_checkpoint_comes_back_bit_equal(tmp_path: Path) -> None:
    weights = torch.randn(5, 3)
    state = {"step": 7, "weights": weights, "nested": {"rate": 0.1}}
    path = tmp_path / "run" / "checkpoint.pt"
    checkpoint.save(path, state)
    back = checkpoint.load(path)
    assert back["step"] == 7
    assert torch.equal(back["weights"], weights)
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"step": 1})
    with pytest.raises(AttributeError):
        checkpoint.save(path, {"step": lambda: 2})
    assert checkpoint.load(path) == {"step": 1}


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_a_torn_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointUnreadable, match=r"checkpoint\.pt.*start again"):
        checkpoint.load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable):
        checkpoint.load(tmp_path / "none.pt")
