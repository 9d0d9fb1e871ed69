"""What every engine keeps to, and which ones can be asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dicomseg.structures import CHANNELS
from model.engines import choose as engines
from model.engines.choose import choose_engine
from model.engines.coded import CodedEngine, encode_labels
from model.engines.port import Engine, EngineOptions
from model.engines.torch_engine import TorchEngine
from model.errors import EngineError, EngineFailed
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.patch import Patch

SHAPE = (8, 16, 12)
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def network() -> DeepLabV3Plus3D:
    torch.manual_seed(6)
    return DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2))


def patch() -> Patch:
    """Values that a network and the fake engine can both read."""
    rng = np.random.default_rng(5)
    best = rng.integers(0, CHANNELS, SHAPE).astype(np.uint8)
    raw = encode_labels(best, ((best + 1) % CHANNELS).astype(np.uint8), rng.uniform(1, 8, SHAPE))
    valid = np.ones(SHAPE, bool)
    valid[:, :, -1] = False
    mean, sd = float(raw[valid].mean()), float(raw[valid].std())
    values = np.where(valid, (raw - mean) / sd, 0).astype(np.float32)
    return Patch(values, valid, np.eye(4), mean, sd)


def engine_of(name: str) -> Engine:
    if name == "coded":
        return CodedEngine()
    if name == "openvino":
        pytest.importorskip("openvino")
        return chosen(engine="openvino")
    return chosen(engine="torch", device=name)


def chosen(
    of: DeepLabV3Plus3D | None = None, *, engine: str = "auto", device: str = "cpu", **more: Any
) -> Engine:
    return choose_engine(of or network(), EngineOptions(engine, device, **more), "0" * 64)[0]


@pytest.mark.parametrize(
    "name",
    ["cpu", "openvino", "coded", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])],
)
def test_contract(name: str) -> None:
    engine = engine_of(name)
    engine.warm(SHAPE)
    logits = engine.run(patch())
    factor = SHAPE[0] // logits.shape[1]
    assert factor in {1, 2}
    assert logits.shape == (CHANNELS, *(n // factor for n in SHAPE))
    assert logits.dtype == np.float32
    assert logits.flags.c_contiguous
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(engine.run(patch()), logits)
    assert engine.name
    assert engine.precision
    assert engine.interpolation in {"linear", "nearest"}


@pytest.mark.gpu
@NEEDS_CUDA
def test_cuda_agrees_with_the_cpu() -> None:
    a, b = (engine_of(name).run(patch()) for name in ("cpu", "cuda"))
    assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_the_fake_engine_undoes_the_z_score_exactly() -> None:
    given = patch()
    rng = np.random.default_rng(5)
    best = rng.integers(0, CHANNELS, SHAPE)
    found = CodedEngine().run(given).argmax(0)
    np.testing.assert_array_equal(found[given.valid], best[given.valid])
    assert not found[~given.valid].any()


def test_the_engine_s_quicker_norms_answer_as_the_network_does() -> None:
    """Against the network itself in 64-bit numbers, with norms that do scale and shift."""
    plain = network().double().eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if parameter.ndim == 1 and not name.startswith("decoder.2"):
                parameter.add_(torch.linspace(-0.5, 0.5, len(parameter), dtype=torch.float64))
    given = patch()
    with torch.inference_mode():
        expected = plain(torch.from_numpy(given.values).double()[None, None])[0].numpy()
    engine = TorchEngine(plain.float(), "cpu")
    np.testing.assert_allclose(engine.run(given), expected, atol=1e-4)
    assert np.abs(expected).max() > 0.1


def test_an_answer_that_is_not_finite_is_an_error_and_not_background() -> None:
    broken = network()
    with torch.no_grad():
        next(iter(broken.decoder[-1].parameters())).fill_(torch.nan)
    engine = TorchEngine(broken, "cpu")
    with pytest.raises(EngineFailed, match=r"torch-cpu .* not finite") as failure:
        engine.run(patch())
    assert failure.value.exit_code == 6


@pytest.mark.parametrize(
    ("key", "value"), [("engine", "onnx"), ("device", "tpu"), ("precision", "int8")]
)
def test_an_unknown_word_is_refused(key: str, value: str) -> None:
    with pytest.raises(EngineError, match=f"{key} '{value}' is unknown") as refusal:
        chosen(**{key: value})
    assert refusal.value.exit_code == 6


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="no CUDA device"):
        chosen(device="cuda")
    assert chosen(engine="torch", device="auto").name == "torch-cpu"


def test_openvino_on_cuda_is_refused() -> None:
    with pytest.raises(EngineError, match="openvino runs on the CPU"):
        chosen(engine="openvino", device="cuda")


def test_auto_takes_cuda_where_it_is_and_openvino_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[str, str]] = []

    def torch_engine(_: Any, device: str, precision: str = "auto") -> str:
        made.append((device, precision))
        return "torch"

    monkeypatch.setattr(engines, "TorchEngine", torch_engine)
    monkeypatch.setattr(
        engines, "OpenVinoEngine", lambda *_, **__: SimpleNamespace(name="ov", note="")
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen(device="auto", precision="float32") == "torch"
    assert chosen(device="cpu").name == "ov"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen(device="auto").name == "ov"
    assert made == [("cuda", "float32")]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_threads_are_set_only_when_asked_for(engine: str) -> None:
    """Conversion included, which runs the network once."""
    if engine == "openvino":
        pytest.importorskip("openvino")
    before = torch.get_num_threads()
    made = network()
    try:
        chosen(made, engine=engine).run(patch())
        assert torch.get_num_threads() == before
        chosen(made, engine=engine, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
