"""The graph answers as the network, in the precision asked for, and is not taken on trust."""

from __future__ import annotations

import copy
import functools
import os
from dataclasses import replace
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
from model.engines.convert import convert, convert_to_graph
from model.engines.openvino_cpu import (
    GraphUnusable,
    OpenVinoEngine,
    OpenVinoGraph,
    default_threads,
    effective_precision,
)
from model.engines.torch_engine import TorchEngine, infer_heat
from model.errors import EngineFailed
from model.grid import SPACING_MM
from model.level.finder import MIN_GRID
from model.networks.coordinates import coordinate_channels
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import HeatNet, LevelArchitecture, LevelNet, LevelNets
from model.patch import Patch

ov = pytest.importorskip("openvino")

SHAPE = (16, 32, 24)


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


def engine_of(made: nn.Module) -> OpenVinoEngine:
    return OpenVinoEngine(OpenVinoGraph(convert(made), threads=1))


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
        image = torch.from_numpy(given.values)[None, None]
        expected = made(image, torch.from_numpy(place))[0].numpy()
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
    monkeypatch.setattr(OpenVinoGraph, "_compile", None)
    engine.warm(SHAPE)
    engine.run(patch())


# ---- precision -----------------------------------------------------------------------------------


def test_the_precision_is_what_the_graph_runs_in() -> None:
    core = ov.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    graph = convert_to_graph(network())
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


# ---- what can be wrong ---------------------------------------------------------------------------


def test_a_graph_that_answers_otherwise_is_refused() -> None:
    made, other = convert(network()), convert(network(seed=4))
    for wrong in (
        replace(made, expected=other.expected),
        replace(made, expected=made.expected[:, 1:]),
    ):
        with pytest.raises(GraphUnusable, match="differs from the network's") as refusal:
            OpenVinoGraph(wrong, threads=1)
        assert refusal.value.exit_code == 6


@pytest.mark.parametrize("topology", [b"", b"<net/>"])
def test_what_is_no_graph_is_refused_in_one_line(topology: bytes) -> None:
    with pytest.raises(GraphUnusable, match="cannot run this network") as refusal:
        OpenVinoGraph(replace(convert(network()), topology=topology), threads=1)
    assert "\n" not in str(refusal.value)


def test_the_level_network_keeps_several_shapes_and_the_oldest_leaves_first() -> None:
    torch.manual_seed(2)
    level = LevelNets([LevelNet(LevelArchitecture(width=4)) for _ in range(2)]).eval()
    graph = OpenVinoGraph(convert(HeatNet(level)), threads=1, kept=2)
    assert graph.precision == "float32"
    for shape in ((9, 11, 4), MIN_GRID, (9, 11, 4), (13, 9, 5)):
        images = np.random.default_rng(1).normal(size=(2, 1, *shape)).astype(np.float32)
        found = graph.infer(images)
        np.testing.assert_allclose(found, infer_heat(level)(images), atol=1e-5)
        assert found.min() >= 0 < found.max() <= 1
    assert [shapes[0][2:] for shapes in graph._compiled] == [(9, 11, 4), (13, 9, 5)]
    with pytest.raises(EngineFailed, match="cannot compile"):
        graph.infer(np.zeros((2, 1, 8, 9, 3), np.float32))


@pytest.mark.parametrize(
    ("wanted", "threads"), [("3", 3), ("", None), ("0", None), ("many", None), ("-1", None)]
)
def test_threads_are_those_of_openmp_else_the_cores(
    monkeypatch: pytest.MonkeyPatch, wanted: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert default_threads() == (threads or len(os.sched_getaffinity(0)))


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
