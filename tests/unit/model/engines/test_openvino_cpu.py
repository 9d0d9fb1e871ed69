"""The graph answers as the network, in the precision asked for, and its cache is never taken on trust."""

from __future__ import annotations

import copy
import functools
import importlib
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional

from dicomseg.structures import CHANNELS
from model.engines import openvino_cpu as openvino_engine
from model.engines.choose import choose_engine
from model.engines.graph_cache import GraphCache
from model.engines.openvino_cpu import OpenVinoEngine, convert, effective_precision
from model.engines.port import EngineOptions
from model.engines.torch_engine import TorchEngine
from model.errors import EngineError, EngineFailed
from model.grid import SPACING_MM
from model.networks.blocks import coordinate_channels
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.roots_unet import RootsArchitecture, RootsNet
from model.patch import Patch

ov = pytest.importorskip("openvino")

SHAPE = (16, 32, 24)
DIGEST = "ab" * 32


@functools.cache
def network(norm: str = "batch", seed: int = 3) -> DeepLabV3Plus3D:
    """Random weights, statistics as after training, and logits far enough apart to mean something."""
    torch.manual_seed(seed)
    made = DeepLabV3Plus3D(
        Architecture(width=4, dilations=(1,), decoder=2, norm=norm)  # type: ignore[arg-type]
    )
    with torch.no_grad():
        made.train()(torch.from_numpy(patch().values)[None, None])
        made.eval()
        head = made.decoder[-1]
        assert isinstance(head, nn.Conv3d)
        head.weight.mul_(20)
        assert head.bias is not None
        head.bias.zero_()
        spread = made(torch.from_numpy(patch().values)[None, None]).mean((0, 2, 3, 4))
        head.bias.sub_(spread)
    return made


def with_group_norms(made: nn.Module) -> nn.Module:
    for module in list(made.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm3d):
                setattr(module, name, nn.GroupNorm(2, child.num_features))
    return made


def patch(shape: tuple[int, int, int] = SHAPE) -> Patch:
    rng = np.random.default_rng(1)
    blobs = gaussian_filter(rng.standard_normal(shape), 3)
    values = blobs / blobs.std() + 0.2 * rng.standard_normal(shape)
    return Patch(values.astype(np.float32), np.ones(shape, bool), np.eye(4), 0.0, 1.0)


@functools.cache
def ready(norm: str = "batch") -> OpenVinoEngine:
    """One engine for the tests that only run it."""
    return engine_of(network(norm))


def engine_of(made: nn.Module, cache: Path | None = None, digest: str = DIGEST) -> OpenVinoEngine:
    return OpenVinoEngine(made, digest=digest, cache=cache, threads=1)


def eager(made: nn.Module, given: Patch) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.inference_mode():
        return made(torch.from_numpy(given.values)[None, None])[0].numpy()  # type: ignore[no-any-return]


def labels(logits: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    full = functional.interpolate(
        torch.from_numpy(logits)[None], scale_factor=2.0, mode="trilinear", align_corners=False
    )
    return full[0].argmax(0).numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_every_norm_answers_as_the_network_does(norm: str) -> None:
    made: nn.Module = network("instance" if norm == "group" else norm)
    made = with_group_norms(copy.deepcopy(made)) if norm == "group" else made
    before = {k: v.clone() for k, v in made.state_dict().items()}
    expected = eager(made, patch())
    engine = engine_of(made) if norm == "group" else ready(norm)
    np.testing.assert_allclose(engine.run(patch()), expected, atol=1e-4 * np.abs(expected).max())
    assert engine.precision == "float32"
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_all_engines_name_the_same_voxels(norm: str) -> None:
    given = patch()
    expected = labels(eager(network(norm), given))
    assert len(np.unique(expected)) == CHANNELS
    for engine in (TorchEngine(copy.deepcopy(network(norm)), "cpu"), ready(norm)):
        found = labels(engine.run(given))
        front = (found > 0) | (expected > 0)
        assert (found == expected).mean() >= 0.999
        assert (found == expected)[front].mean() >= 0.999


def test_a_network_that_is_told_its_places_answers_the_same_off_the_middle() -> None:
    torch.manual_seed(6)
    made = DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2, position=5)).eval()
    nn.init.normal_(made.position[2].weight, std=100.0)  # type: ignore[index]
    given = replace(patch(), centre=(2.0, 17.0, 5.0))
    place = coordinate_channels(given.values.shape, given.centre, SPACING_MM)[None]
    with torch.inference_mode():
        expected = made(torch.from_numpy(given.values)[None, None], place)[0].numpy()
    engine = engine_of(made)
    for found in (engine.run(given), TorchEngine(copy.deepcopy(made), "cpu").run(given)):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    middle = engine.run(replace(given, centre=None))
    assert np.abs(middle - expected).max() > 0.01 * np.abs(expected).max()


def test_a_network_that_sees_further_answers_the_same_on_any_grid() -> None:
    """Five and seven voxels at stride 4 come back from stride 8 as six and eight, of which one is cut off."""
    torch.manual_seed(6)
    made = DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2, context=8)).eval()
    silent = eager(made, patch((16, 20, 28)))
    nn.init.normal_(made.context.out.weight, std=1e4)  # type: ignore[union-attr]
    engine = engine_of(made)
    for shape in ((16, 20, 28), (16, 32, 24)):
        expected = eager(made, patch(shape))
        found = engine.run(patch(shape))
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    heard = np.abs(eager(made, patch((16, 20, 28))) - silent).max()
    assert heard > 0.01 * np.abs(silent).max()


def test_shapes_may_come_in_any_order() -> None:
    made, engine = network(), ready()
    engine.warm((8, 8, 8))
    for shape in ((16, 16, 12), (32, 20, 16), (16, 16, 12)):
        given = patch(shape)
        np.testing.assert_allclose(engine.run(given), eager(made, given), atol=1e-3)


def test_a_shape_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ready()
    engine.warm(SHAPE)
    monkeypatch.setattr(OpenVinoEngine, "_compile", None)
    engine.warm(SHAPE)
    engine.run(patch())


# ---- precision -----------------------------------------------------------------------------------


def test_the_precision_is_what_the_graph_runs_in() -> None:
    core = ov.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    graph = convert(network())
    graph.reshape([1, 1, *SHAPE])
    low = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    assert effective_precision(low) == "bfloat16"


@pytest.mark.parametrize(
    ("steps", "lowest"),
    [(["f32", "i32"], "float32"), (["f32", "bf16"], "bfloat16"), (["f16", "f32"], "float16")],
)
def test_one_step_in_a_lower_precision_counts(steps: list[str], lowest: str) -> None:
    def step(precision: str) -> Any:
        element_type = SimpleNamespace(astype=lambda _: precision)
        return SimpleNamespace(get_rt_info=lambda: {"runtimePrecision": element_type})

    graph = SimpleNamespace(get_ops=lambda: [step(p) for p in steps])
    compiled = SimpleNamespace(get_runtime_model=lambda: graph)
    assert effective_precision(compiled) == lowest


def test_another_precision_than_told_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ready()
    engine.warm((8, 8, 8))
    monkeypatch.setattr(openvino_engine, "effective_precision", lambda _: "bfloat16")
    with pytest.raises(EngineFailed, match="in bfloat16, not float32"):
        engine.run(patch())


# ---- the cache -----------------------------------------------------------------------------------


graph_of = functools.cache(convert)


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that were converted, in order; each really once, to save time."""
    done: list[nn.Module] = []

    def counted(made: nn.Module) -> Any:
        done.append(made)
        return graph_of(made)

    monkeypatch.setattr(openvino_engine, "convert", counted)
    return done


def file_of(folder: Path, digest: str = DIGEST) -> Path:
    return GraphCache(folder, digest, ov.get_version()).path


def test_a_kept_graph_is_used_again(tmp_path: Path, converted: list[nn.Module]) -> None:
    made = network()
    first = engine_of(made, tmp_path / "deep" / "er").run(patch())
    again = engine_of(made, tmp_path / "deep" / "er").run(patch())
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
    engine_of(made, tmp_path)
    damage(file_of(tmp_path))
    engine = engine_of(made, tmp_path)
    np.testing.assert_allclose(engine.run(patch()), eager(made, patch()), atol=1e-3)
    assert len(converted) == 2
    engine_of(made, tmp_path)
    assert len(converted) == 2


@pytest.mark.slow
def test_weights_of_another_bundle_are_not_used(tmp_path: Path, converted: list[nn.Module]) -> None:
    """A file renamed to another digest, and one that also says so inside."""
    engine_of(network(seed=4), tmp_path, "cd" * 32)
    other = file_of(tmp_path, "cd" * 32)
    made = network()
    expected = eager(made, patch())
    other.rename(file_of(tmp_path))
    np.testing.assert_allclose(engine_of(made, tmp_path).run(patch()), expected, atol=1e-3)
    assert len(converted) == 2
    engine_of(network(seed=4), tmp_path / "forged", DIGEST)
    file_of(tmp_path / "forged").replace(file_of(tmp_path))
    np.testing.assert_allclose(engine_of(made, tmp_path).run(patch()), expected, atol=1e-3)
    assert len(converted) == 4


def test_a_folder_that_takes_no_file_costs_the_cache_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine = engine_of(network(), tmp_path / "file" / "engines")
    assert "not kept in" in engine.note
    assert np.isfinite(engine.run(patch())).all()


# ---- what can be wrong ---------------------------------------------------------------------------


def test_without_the_package_auto_is_torch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    engine, note = choose_engine(copy.deepcopy(network()), EngineOptions(device="cpu"), DIGEST)
    assert (engine.name, engine.precision) == ("torch-cpu", "float32")
    assert note.startswith("plain torch")
    assert "openvino cannot be imported" in note
    assert "\n" not in note
    with pytest.raises(EngineError, match=r"install it or set \[model\] engine") as refusal:
        choose_engine(network(), EngineOptions("openvino", "cpu"), DIGEST)
    assert refusal.value.exit_code == 6


@pytest.mark.parametrize("fault", [OSError("libopenvino.so: cannot open"), RuntimeError("a\nb")])
def test_a_damaged_package_is_no_crash(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    real = importlib.import_module

    def damaged(name: str) -> Any:
        if name == "openvino":
            raise fault
        return real(name)

    monkeypatch.setattr(importlib, "import_module", damaged)
    engine, note = choose_engine(copy.deepcopy(network()), EngineOptions(device="cpu"), DIGEST)
    assert engine.name == "torch-cpu"
    assert "openvino is damaged" in note
    assert "\n" not in note


def test_a_network_that_cannot_be_converted_is_run_by_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: nn.Module) -> Any:
        raise RuntimeError("no conversion rule\nmore")

    monkeypatch.setattr(openvino_engine, "convert", refuse)
    engine, note = choose_engine(copy.deepcopy(network()), EngineOptions(device="cpu"), DIGEST)
    assert engine.name == "torch-cpu"
    assert "no conversion rule" in note
    with pytest.raises(EngineError, match="no conversion rule"):
        choose_engine(network(), EngineOptions("openvino", "cpu"), DIGEST)


def test_a_graph_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = convert(network(seed=4))
    monkeypatch.setattr(openvino_engine, "convert", lambda _: other)
    with pytest.raises(EngineError, match="differ from the network's"):
        engine_of(network())


def test_an_answer_that_is_not_finite_is_an_error() -> None:
    engine, given = ready(), patch()
    given.values[0, 0, 0] = np.nan
    with pytest.raises(EngineFailed, match=r"openvino-cpu .* not finite") as failure:
        engine.run(given)
    assert failure.value.exit_code == 6


def test_a_shape_that_cannot_be_compiled_is_an_error() -> None:
    with pytest.raises(EngineFailed, match="engine to torch"):
        ready().warm((6, 10, 10))


def test_its_maker_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`openvino.convert_model` would send a report; the frontend alone must not."""
    telemetry = pytest.importorskip("openvino_telemetry")

    def sends(*_: Any, **__: Any) -> None:
        raise AssertionError("telemetry was started")

    monkeypatch.setattr(telemetry.Telemetry, "init", sends)
    monkeypatch.setattr(type(telemetry.Telemetry), "__call__", sends)
    engine_of(network()).run(patch())


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
        engine = OpenVinoEngine(roots, digest="d-roots", cache=tmp_path, threads=1)
        assert engine.precision == "float32"
        engine.warm((24, 16, 32))
        np.testing.assert_allclose(engine.infer(image, guidance), expected, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1
