"""The kernels compute what torch computes: logits, loss and every gradient."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dicomseg.structures import CHANNELS, StructureId
from model.networks.coordinates import coordinate_channels
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from training.data.cases import ALL_STRUCTURES
from training.fit.augment import SPACING_MM, Sample
from training.fit.cpu import kernels as cpu
from training.fit.cpu import network as training_step
from training.fit.loss import Objective, marginal_loss, upsampled

pytestmark = pytest.mark.process  # the C compiler

SPINE: tuple[StructureId, ...] = ("l4", "ivd", "l5", "dura")


@pytest.fixture(autouse=True)
def compiler() -> None:
    if cpu.load_kernels() is None:
        pytest.skip("needs a C compiler")


PLAIN = Architecture(width=8, dilations=(1, 2), decoder=3, position=5)


@pytest.fixture(
    params=[
        PLAIN,
        replace(PLAIN, stem=16, late_tap=True),
        replace(PLAIN, context=16),
    ],
    ids=["plain", "late tap", "context"],
)
def network(request: pytest.FixtureRequest) -> DeepLabV3Plus3D:
    torch.manual_seed(5)
    made = DeepLabV3Plus3D(request.param)
    torch.nn.init.normal_(made.position[2].weight, std=0.3)  # type: ignore[index]
    if made.context is not None:
        torch.nn.init.normal_(made.context.out.weight, std=0.3)
    place = torch.from_numpy(coordinate_channels((16, 20, 24), None, SPACING_MM))
    place = place.expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        for _ in range(3):
            made(torch.randn(2, 1, 16, 20, 24), place)
    return made.eval()


def sample_of(seed: int = 1) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 16, 20, 28)
    return Sample(
        torch.randn((1, *shape), generator=generator),
        torch.randint(0, CHANNELS, shape, generator=generator),
        (torch.rand(shape, generator=generator) > 0.2).float(),
        torch.from_numpy(coordinate_channels(shape[1:], (3.0, 12.0, 20.0), SPACING_MM))[None],
    )


@pytest.mark.parametrize(
    "objective", [Objective(), Objective(0.15, (1,) * 9), Objective(0.0)], ids=str
)
@pytest.mark.parametrize("labelled", [ALL_STRUCTURES, SPINE])
def test_loss_and_every_gradient_are_those_of_torch(
    network: DeepLabV3Plus3D, labelled: tuple[StructureId, ...], objective: Objective
) -> None:
    sample = sample_of()
    logits = network(sample.image, sample.coordinates)
    loss = marginal_loss(upsampled(logits), sample.labels, sample.valid, labelled, objective)
    truth = torch.autograd.grad(loss, list(network.parameters()))
    value, found = training_step.gradients(network, sample, labelled, objective)
    ours = training_step.forward(network, sample.image, sample.coordinates).permute(3, 0, 1, 2)
    torch.testing.assert_close(ours, logits[0], atol=1e-4, rtol=1e-4)
    assert value == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, a, b in zip(dict(network.named_parameters()), truth, found, strict=True):
        assert float((a - b).abs().max()) <= 1e-4 * float(a.abs().max()) + 1e-7, name


def test_without_places_they_compute_the_same_network(network: DeepLabV3Plus3D) -> None:
    plain = DeepLabV3Plus3D(replace(network.architecture, position=0))
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("position")}
    plain.load_state_dict(state)
    sample = sample_of()
    ours = training_step.forward(plain.eval(), sample.image, sample.coordinates).permute(3, 0, 1, 2)
    torch.testing.assert_close(ours, plain(sample.image)[0], atol=1e-4, rtol=1e-4)


def test_products_in_bfloat16_point_the_same_way(network: DeepLabV3Plus3D) -> None:
    if not cpu.has_bfloat16():
        pytest.skip("needs a CPU that multiplies bfloat16")
    if (
        network.context is not None
    ):  # a branch that speaks as loud as the rest doubles the depth of rounding
        network.context.out.weight.data *= 0.1
    plain = training_step.gradients(network, sample_of(), ALL_STRUCTURES)
    mixed = training_step.gradients(network, sample_of(), ALL_STRUCTURES, mixed=True)
    assert plain[0] != mixed[0]
    assert mixed[0] == pytest.approx(plain[0], rel=2e-3)
    names = [name for name, _ in network.named_parameters()]
    for part in ("", "context") if network.context is not None else ("",):
        a, b = (
            torch.cat(
                [g.flatten() for n, g in zip(names, found[1], strict=True) if n.startswith(part)]
            )
            for found in (plain, mixed)
        )
        # noise: 0.95 and more; trained networks on phantoms and patients: 0.998 to 0.9998
        assert float(torch.nn.functional.cosine_similarity(a, b, dim=0)) > 0.9
        assert float(b.norm() / a.norm()) == pytest.approx(1, abs=0.1)


def test_the_same_draw_gives_the_same_bits(network: DeepLabV3Plus3D) -> None:
    first = training_step.gradients(network, sample_of(), SPINE)
    second = training_step.gradients(network, sample_of(), SPINE)
    assert first[0] == second[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_a_network_that_they_do_not_compute_is_left_to_torch(network: DeepLabV3Plus3D) -> None:
    assert training_step.suits(network)
    assert not training_step.suits(network.train())
    assert not training_step.suits(DeepLabV3Plus3D(Architecture(norm="instance")).eval())
    assert not training_step.suits(DeepLabV3Plus3D(Architecture(width=4)).eval())
    assert not training_step.suits(DeepLabV3Plus3D(Architecture(separable_stem=False)).eval())


@pytest.fixture
def fresh() -> Iterator[None]:
    cpu.load_kernels.cache_clear()
    yield
    cpu.load_kernels.cache_clear()


def test_without_a_compiler_there_are_no_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    assert cpu.load_kernels() is None
    cpu.load_kernels.cache_clear()
    monkeypatch.setenv("CC", "false")  # there, and fails
    assert cpu.load_kernels() is None
    assert list((tmp_path / "lumbar-node").iterdir()) == []


@pytest.mark.slow
def test_loading_them_leaves_the_smallest_numbers_of_the_process_alone() -> None:
    asks = "from training.fit.cpu import kernels as cpu; assert cpu.load_kernels(); assert 2.3e-308 / 4 > 0; print('kept')"
    done = subprocess.run(
        [sys.executable, "-c", asks], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "kept\n", done.stderr


@pytest.mark.slow
def test_freed_memory_is_kept_for_the_next_step() -> None:
    asks = (
        "import resource, numpy as np; from training.fit.cpu import kernels as cpu\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    np.ones(25_000_000, np.float32)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "plain = [faults(), faults()]; kept = cpu.keep_memory(); then = [faults(), faults()]\n"
        "print(kept, plain[1] > 100, then[1] < plain[1] / 10)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asks], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "True True True\n", done.stdout + done.stderr
