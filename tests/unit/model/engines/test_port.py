"""The contract of every engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicomseg.structures import CHANNELS
from model.engines.coded import CodedEngine, encode_labels
from model.engines.convert import convert
from model.engines.openvino_cpu import OpenVinoEngine, OpenVinoGraph
from model.engines.port import Engine
from model.engines.torch_engine import TorchEngine
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
        return OpenVinoEngine(OpenVinoGraph(convert(network()), threads=1))
    return TorchEngine(network(), name)


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
