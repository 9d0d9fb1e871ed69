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
from model.engines.coded import encode_labels
from model.engines.port import Engine, EngineOptions
from model.errors import EngineError
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


def chosen(
    of: DeepLabV3Plus3D | None = None, *, engine: str = "auto", device: str = "cpu", **more: Any
) -> Engine:
    return choose_engine(of or network(), EngineOptions(engine, device, **more), "0" * 64)[0]


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


@pytest.mark.slow
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
