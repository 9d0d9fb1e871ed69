"""A converted network in a file: what is written is read, and a damaged file is refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from model.engines.graph_file import ConvertedGraph
from model.errors import BundleError

MADE = ConvertedGraph(
    b"<net/>" * 50,
    bytes(range(256)) * 9,
    (np.ones((1, 1, 4, 4, 4), np.float32), np.zeros((1, 3, 1, 1, 1), np.float32)),
    np.full((1, 9, 2, 2, 2), 0.5, np.float32),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    MADE.write(tmp_path / "weights.graph.zip")
    return tmp_path / "weights.graph.zip"


def test_what_is_written_is_read(path: Path) -> None:
    read = ConvertedGraph.read(path)
    assert (read.topology, read.weights) == (MADE.topology, MADE.weights)
    for found, expected in zip(
        (*read.inputs, read.expected), (*MADE.inputs, MADE.expected), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float32


def test_the_same_graph_makes_the_same_bytes(path: Path, tmp_path: Path) -> None:
    MADE.write(tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "one byte", "member", "pickle"])
def test_a_damaged_file_is_refused(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage in {"empty", "cut"}:
        path.write_bytes(content[: 0 if damage == "empty" else -200])
    elif damage == "one byte":
        content[content.index(b"graph.bin") + 20] ^= 0xFF
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("graph.xml", "<net/>")
            if damage == "pickle":
                file.writestr("graph.bin", b"")
                file.writestr("expected.npy", b"\x80\x04N.")
    with pytest.raises(BundleError, match=r"weights\.graph\.zip cannot be read") as refusal:
        ConvertedGraph.read(path)
    assert "\n" not in str(refusal.value)
