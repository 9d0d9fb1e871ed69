"""A network is converted once; a converted one from the cache is checked against the network each time."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model.engines import convert as converting
from model.engines.convert import cached_graph, convert, convert_to_graph
from model.engines.graph_cache import GraphCache
from model.engines.openvino_cpu import OpenVinoGraph, package
from model.errors import EngineError
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.roots_unet import RootsNet
from model.networks.sizes import RootsArchitecture

pytest.importorskip("openvino")

DIGEST = "ab" * 32
IMAGE = np.random.default_rng(1).normal(size=(1, 1, 16, 32, 24)).astype(np.float32)


@functools.cache
def network(seed: int = 3) -> DeepLabV3Plus3D:
    torch.manual_seed(seed)
    return DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2)).eval()


def graph_of_bundle(
    made: nn.Module, cache: Path | None = None, digest: str = DIGEST
) -> OpenVinoGraph:
    return cached_graph(made, digest=digest, cache=cache, threads=1)[0]


def eager(made: nn.Module) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.inference_mode():
        return made(torch.from_numpy(IMAGE)).numpy()  # type: ignore[no-any-return]


def test_a_network_that_cannot_be_converted_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: nn.Module) -> Any:
        raise RuntimeError("no conversion rule\nmore")

    monkeypatch.setattr(converting, "convert_to_graph", refuse)
    with pytest.raises(EngineError, match=r"cannot convert this network: no conversion rule$"):
        convert(network())


graph_once = functools.cache(convert_to_graph)


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that were converted, in order; each really once, to save time."""
    done: list[nn.Module] = []

    def counted(made: nn.Module) -> Any:
        done.append(made)
        return graph_once(made)

    monkeypatch.setattr(converting, "convert_to_graph", counted)
    return done


def file_of(folder: Path, digest: str = DIGEST) -> Path:
    return GraphCache(folder, digest, package().get_version()).path


def test_a_kept_graph_is_used_again(tmp_path: Path, converted: list[nn.Module]) -> None:
    made = network()
    first = graph_of_bundle(made, tmp_path / "deep" / "er").infer(IMAGE)
    again = graph_of_bundle(made, tmp_path / "deep" / "er").infer(IMAGE)
    assert len(converted) == 1
    np.testing.assert_array_equal(first, again)
    assert [p.name for p in (tmp_path / "deep" / "er").iterdir()] == [
        file_of(tmp_path).name
    ]  # no parts left


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def no_graph(path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        about = file.read("about.json")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("about.json", about)
        file.writestr("graph.xml", "<net/>")
        file.writestr("graph.bin", b"")


@pytest.mark.parametrize("damage", [cut_short, emptied, one_byte, no_graph])
def test_a_damaged_file_is_made_again(
    tmp_path: Path, converted: list[nn.Module], damage: Callable[[Path], None]
) -> None:
    made = network()
    graph_of_bundle(made, tmp_path)
    damage(file_of(tmp_path))
    engine = graph_of_bundle(made, tmp_path)
    np.testing.assert_allclose(engine.infer(IMAGE), eager(made), atol=1e-3)
    assert len(converted) == 2
    graph_of_bundle(made, tmp_path)
    assert len(converted) == 2


@pytest.mark.slow
def test_weights_of_another_bundle_are_not_used(tmp_path: Path, converted: list[nn.Module]) -> None:
    """A file renamed to another digest, and one that also says so inside."""
    graph_of_bundle(network(seed=4), tmp_path, "cd" * 32)
    other = file_of(tmp_path, "cd" * 32)
    made = network()
    expected = eager(made)
    other.rename(file_of(tmp_path))
    np.testing.assert_allclose(graph_of_bundle(made, tmp_path).infer(IMAGE), expected, atol=1e-3)
    assert len(converted) == 2
    graph_of_bundle(network(seed=4), tmp_path / "forged", DIGEST)
    file_of(tmp_path / "forged").replace(file_of(tmp_path))
    np.testing.assert_allclose(graph_of_bundle(made, tmp_path).infer(IMAGE), expected, atol=1e-3)
    assert len(converted) == 4


def test_a_folder_that_takes_no_file_costs_the_cache_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "engines"
    graph, note = cached_graph(network(), digest=DIGEST, cache=folder, threads=1)
    assert "not kept in" in note
    assert np.isfinite(graph.infer(IMAGE)).all()


@pytest.mark.parametrize("places", [False, True])
def test_the_roots_network_runs_as_in_torch_and_is_kept(tmp_path: Path, places: bool) -> None:
    torch.manual_seed(11)
    architecture = RootsArchitecture(width=4, deep=(4, 8, 8), places=places)
    roots = RootsNet(architecture).eval()
    rng = np.random.default_rng(2)
    image = rng.normal(size=(1, 1, 24, 16, 32)).astype(np.float32)
    guidance = rng.random((1, architecture.guidance_count, 12, 8, 16)).astype(np.float32)
    with torch.inference_mode():
        expected = roots(torch.from_numpy(image), torch.from_numpy(guidance)).numpy()
    for _ in range(2):  # converted, then from the cache
        engine = graph_of_bundle(roots, tmp_path, "d-roots")
        assert engine.precision == "float32"
        engine.warm((24, 16, 32))
        np.testing.assert_allclose(engine.infer(image, guidance), expected, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1
