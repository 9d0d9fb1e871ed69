"""A converted network is kept intact, and only for the bundle and the version that it names."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from model.engines.graph_cache import GraphCache

DIGEST = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> GraphCache:
    return GraphCache(tmp_path / "deep" / "er", DIGEST, "2026.4/release")


def test_a_graph_comes_back_and_leaves_one_file(cache: GraphCache) -> None:
    assert cache.read() is None
    cache.write(b"<net/>", b"weights")
    assert cache.read() == (b"<net/>", b"weights")
    cache.write(b"<net/>", b"others")
    assert cache.read() == (b"<net/>", b"others")
    assert [p.name for p in cache.folder.iterdir()] == [f"{DIGEST}-openvino-2026.4_release.zip"]


@pytest.mark.parametrize("harm", ["cut short", "emptied", "one byte", "without weights"])
def test_a_damaged_file_is_read_as_none(cache: GraphCache, harm: str) -> None:
    cache.write(b"<net/>" * 50, b"weights" * 50)
    data = bytearray(cache.path.read_bytes())
    if harm == "cut short":
        cache.path.write_bytes(data[:-100])
    elif harm == "emptied":
        cache.path.write_bytes(b"")
    elif harm == "one byte":
        data[len(data) // 2] ^= 0xFF
        cache.path.write_bytes(data)
    else:
        with zipfile.ZipFile(cache.path) as file:
            about = file.read("about.json")
        with zipfile.ZipFile(cache.path, "w") as file:
            file.writestr("about.json", about)
            file.writestr("graph.xml", "<net/>")
    assert cache.read() is None


@pytest.mark.parametrize("change", [{"digest": "cd" * 32}, {"version": "2026.5"}])
def test_a_file_that_names_another_bundle_or_version_is_not_used(
    cache: GraphCache, change: dict[str, str]
) -> None:
    cache.write(b"<net/>", b"weights")
    other = replace(cache, **change)
    cache.path.rename(other.path)
    assert other.read() is None


def test_a_folder_that_cannot_be_made_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        GraphCache(tmp_path / "file" / "engines", DIGEST, "1").write(b"", b"")
