"""Take initial weights from a bundle; convert normalisation, width, position layer or context where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors import torch as tensors_of
from torch import Tensor, nn

from model.bundle.card import WEIGHTS, read_card
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from training.data.cases import load_case
from training.errors import UsageError
from training.fit.augment import Sample, window_sample

TAP: Final = "low.0.weight"
CALIBRATED_ON: Final = 12
"""Windows whose mean statistics an instance-normalised network takes when they are to be fixed."""


def initial_network(
    bundle: Path, architecture: Architecture, paths: Sequence[Path]
) -> DeepLabV3Plus3D:
    """Return a bundle's network in the wanted architecture.

    That may fix its normalisation, be wider, take positions, or see a context; the function is kept.

    paths: prepared cases to take the statistics from when instance normalisation becomes batch
    normalisation, and for a new context; some of them, evenly spread, are used.

    Raises:
        BundleError: the bundle is not what its card says.
        UsageError: another architecture, or weights that do not fit it.
    """
    network = _read_network(bundle)
    current = network.architecture
    if current.position == 0 and architecture.position:
        current = replace(current, position=architecture.position)
        network = with_position_layer(network, current)
    _check_convertible(bundle, current, architecture)
    spread = paths[:: max(1, len(paths) // CALIBRATED_ON)]
    if current.norm != architecture.norm:
        network = with_fixed_statistics(network, _windows(spread))
    without = replace(architecture, context=current.context)
    if network.architecture != without:
        network = widened(network, without)
    if without == architecture:
        return network
    return with_context(network, architecture, _windows(spread))


def _read_network(bundle: Path) -> DeepLabV3Plus3D:
    card = read_card(bundle)
    try:
        network = DeepLabV3Plus3D(Architecture.from_dict(dict(card["architecture"])))
        network.load_state_dict(tensors_of.load((bundle / WEIGHTS).read_bytes()))
    except (LookupError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{bundle}: no network to start from ({reason})") from error
    return network


def _check_convertible(bundle: Path, current: Architecture, architecture: Architecture) -> None:
    """Refuse an architecture that the bundle's cannot be converted to."""
    like_wanted = replace(
        current,
        norm=architecture.norm,
        width=architecture.width,
        stem=architecture.stem,
        late_tap=architecture.late_tap,
        context=current.context or architecture.context,
    )
    if (
        like_wanted != architecture
        or not _can_grow(current, architecture)
        or (current.norm == "batch" and architecture.norm == "instance")
    ):
        raise UsageError(
            f"{bundle} has the architecture {current}, the recipe {architecture}; give the recipe the bundle's"
            " (it may be wider, tap later, take positions, and see a context)"
        )


def _windows(paths: Iterable[Path]) -> Iterator[Sample]:
    return (window_sample(load_case(path)) for path in paths)


def _can_grow(current: Architecture, wanted: Architecture) -> bool:
    """Return whether `widened` keeps the function: no part shrinks, and what a late tap joins grows alike."""
    alike = current.entry * wanted.width == wanted.entry * current.width
    return (
        current.width <= wanted.width
        and current.entry <= wanted.entry
        and current.late_tap <= wanted.late_tap
        and (alike or not current.late_tap)
    )


def with_position_layer(network: DeepLabV3Plus3D, architecture: Architecture) -> DeepLabV3Plus3D:
    """Return the same network with a zero-initialised positional-encoding layer."""
    extended = DeepLabV3Plus3D(architecture)
    extended.load_state_dict({**extended.state_dict(), **network.state_dict()})
    return extended.eval()


@torch.no_grad()
def with_context(
    network: DeepLabV3Plus3D, architecture: Architecture, samples: Iterable[Sample]
) -> DeepLabV3Plus3D:
    """Return the same network with a context branch whose output is multiplied by zero.

    samples: windows whose mean statistics normalise the branch from now on, as training keeps them.
    """
    torch.manual_seed(0)
    extended = DeepLabV3Plus3D(architecture)
    extended.load_state_dict({**extended.state_dict(), **network.state_dict()})
    extended.eval()
    if extended.context is None:
        raise ValueError("an architecture without a context has nothing to add")
    extended.context.train()
    for sample in samples:
        extended(sample.image, sample.coordinates)
    return extended.eval()


@torch.no_grad()
def widened(network: DeepLabV3Plus3D, architecture: Architecture, seed: int = 0) -> DeepLabV3Plus3D:
    """Return a wider network of the same function: channels doubled, their consumers sharing the weight.

    architecture: at least as wide as the network's in every part; a new late tap has weights of zero. Where there is one
    already, `width` and `stem` must grow alike.

    Net2WiderNet (Chen, Goodfellow, Shlens, 2016). How a weight is shared among copies is random and differs
    from consumer to consumer, or copies would remain equal.
    """
    wide = DeepLabV3Plus3D(architecture)
    tapped = 2 * architecture.entry
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, blank in wide.state_dict().items():
        value, target = network.state_dict()[name], blank
        zeroed = architecture.late_tap and not network.architecture.late_tap and name == TAP
        if zeroed:
            target = blank[:, :tapped]
        if target.ndim and len(target) != len(value):
            value = value[_copies(len(value), len(target))]
        if target.ndim > 1 and target.shape[1] != value.shape[1]:
            source = _copies(value.shape[1], target.shape[1])
            share = torch.rand(len(value), len(source), generator=generator) + 0.1
            total = torch.zeros(value.shape[:2]).index_add_(1, source, share)
            share /= total[:, source]
            value = value[:, source] * share.view(*share.shape, *[1] * (value.ndim - 2))
        if zeroed:
            value = torch.cat([value, torch.zeros_like(blank[:, tapped:])], dim=1)
        state[name] = value
    wide.load_state_dict(state)
    return wide.eval()


def _copies(count: int, wanted: int) -> Tensor:
    """Return which of `count` channels each of `wanted` copies; the same for parts that are joined and for their sum."""
    return torch.arange(wanted) * count // wanted


@torch.no_grad()
def with_fixed_statistics(network: DeepLabV3Plus3D, samples: Iterable[Sample]) -> DeepLabV3Plus3D:
    """Return an instance-normalised network with the mean statistics of these windows, fixed.

    With a single window, both networks answer the same for it.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
    hooks = [
        module.register_forward_pre_hook(_note(seen.setdefault(name, [])))
        for name, module in network.named_modules()
        if isinstance(module, nn.InstanceNorm3d)
    ]
    network.eval()
    for sample in samples:
        network(sample.image, sample.coordinates)
    for hook in hooks:
        hook.remove()
    fixed = DeepLabV3Plus3D(replace(network.architecture, norm="batch"))
    state = {**fixed.state_dict(), **network.state_dict()}
    for name, noted in seen.items():
        state[f"{name}.running_mean"] = torch.stack([mean for mean, _ in noted]).mean(0)
        state[f"{name}.running_var"] = torch.stack([var for _, var in noted]).mean(0)
    fixed.load_state_dict(state)
    return fixed.eval()


def _note(into: list[tuple[Tensor, Tensor]]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)
        into.append((values.mean(1), values.var(1, unbiased=False)))

    return hook
