"""Plain torch computes what the network does, and reports values that are not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicomseg.structures import CHANNELS
from model.engines.coded import encode_labels
from model.engines.torch_engine import TorchEngine
from model.errors import EngineFailed
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


@pytest.mark.gpu
@NEEDS_CUDA
def test_cuda_agrees_with_the_cpu() -> None:
    a, b = (TorchEngine(network(), device).run(patch()) for device in ("cpu", "cuda"))
    assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


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
