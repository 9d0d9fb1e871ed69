"""What every engine keeps to, and which ones can be asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicomseg.structures import CHANNELS
from model import oracle
from model.engines import Engine, OracleEngine, torch_engine
from model.errors import EngineError, EngineFailed
from model.network import Architecture, DeepLabV3Plus3D
from model.window import Patch

SHAPE = (8, 16, 12)
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def network() -> DeepLabV3Plus3D:
    torch.manual_seed(6)
    return DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2))


def patch() -> Patch:
    """Values that a network and the oracle can both read."""
    rng = np.random.default_rng(5)
    best = rng.integers(0, CHANNELS, SHAPE).astype(np.uint8)
    raw = oracle.code(best, ((best + 1) % CHANNELS).astype(np.uint8), rng.uniform(1, 8, SHAPE))
    valid = np.ones(SHAPE, bool)
    valid[:, :, -1] = False
    mean, sd = float(raw[valid].mean()), float(raw[valid].std())
    values = np.where(valid, (raw - mean) / sd, 0).astype(np.float32)
    return Patch(values, valid, np.eye(4), mean, sd)


def engine_of(name: str) -> Engine:
    if name == "oracle":
        return OracleEngine()
    return torch_engine(network(), engine="torch", device=name, threads=0)


@pytest.mark.parametrize(
    "name", ["cpu", "oracle", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS_CUDA])]
)
def test_contract(name: str) -> None:
    engine = engine_of(name)
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


def test_the_oracle_undoes_the_z_score_exactly() -> None:
    given = patch()
    rng = np.random.default_rng(5)
    best = rng.integers(0, CHANNELS, SHAPE)
    found = OracleEngine().run(given).argmax(0)
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
    engine = torch_engine(plain.float(), engine="torch", device="cpu", threads=0)
    np.testing.assert_allclose(engine.run(given), expected, atol=1e-4)
    assert np.abs(expected).max() > 0.1


def test_an_answer_that_is_not_finite_is_an_error_and_not_background() -> None:
    broken = network()
    with torch.no_grad():
        next(iter(broken.decoder[-1].parameters())).fill_(torch.nan)
    engine = torch_engine(broken, engine="auto", device="cpu", threads=0)
    with pytest.raises(EngineFailed, match=r"torch-cpu .* not finite") as failure:
        engine.run(patch())
    assert failure.value.exit_code == 6


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(EngineError, match="'openvino'") as refusal:
        torch_engine(network(), engine="openvino", device="cpu", threads=0)
    assert refusal.value.exit_code == 6


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(EngineError, match="'tpu'"):
        torch_engine(network(), engine="auto", device="tpu", threads=0)


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="no CUDA device"):
        torch_engine(network(), engine="auto", device="cuda", threads=0)
    assert torch_engine(network(), engine="auto", device="auto", threads=0).name == "torch-cpu"


def test_threads_are_set_only_when_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        torch_engine(network(), engine="auto", device="cpu", threads=0)
        assert torch.get_num_threads() == before
        torch_engine(network(), engine="auto", device="cpu", threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
