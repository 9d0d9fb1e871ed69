"""Compute loss and gradients of one sample by the kernels. Tensors are (D, H, W, C) inside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomseg.structures import StructureId
from model.networks.deeplab import DeepLabV3Plus3D
from training.fit.augment import Sample
from training.fit.cpu.kernels import has_bfloat16, load_kernels
from training.fit.loss import Objective, classes_of

LANES = 8
"""Channels that the kernels take at a time; every depthwise convolution must have a multiple."""


def suits(network: nn.Module) -> bool:
    """Return whether the kernels are available and compute this network, with fixed statistics."""
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.groups > 1]
    norms = [m for m in network.modules() if isinstance(m, nn.InstanceNorm3d)]
    separable = isinstance(network, DeepLabV3Plus3D) and network.architecture.separable_stem
    divisible = all(c.in_channels % LANES == 0 for c in convolutions)
    on_cpu = next(network.parameters()).device.type == "cpu"
    fixed = not norms and not network.training
    return separable and divisible and fixed and on_cpu and load_kernels() is not None


def gradients(
    network: DeepLabV3Plus3D,
    sample: Sample,
    labelled: Collection[StructureId],
    objective: Objective | None = None,
    *,
    mixed: bool = False,
) -> tuple[float, tuple[Tensor, ...]]:
    """Return the loss of one sample and its gradients by the network's parameters, in their order.

    labelled: structures that the sample's case labels.
    mixed: products of matrices take bfloat16 and sum in float32, where the CPU has such an instruction.
    """
    logits = forward(network, sample.image, sample.coordinates, mixed=mixed and has_bfloat16())
    loss = cast("Tensor", _Loss.apply(logits, sample, labelled, objective or Objective()))  # type: ignore[no-untyped-call]
    return float(loss.detach()), torch.autograd.grad(loss, list(network.parameters()))


def forward(
    network: DeepLabV3Plus3D, image: Tensor, coordinates: Tensor, *, mixed: bool = False
) -> Tensor:
    """Return logits (D/2, H/2, W/2, channels) of a network with fixed statistics for an image (1, 1, D, H, W)."""
    first: Any = network.stem[0]
    scale, shift = _folded(first[1])
    x = functional.conv3d(
        image, first[0].weight * scale.view(-1, 1, 1, 1, 1), shift, stride=2, padding=1
    )
    low = _seconv(network.stem[1], x.relu_()[0].permute(1, 2, 3, 0), mixed=mixed)
    encoder: Any = network.encoder
    inner = _inner(encoder[0], low, mixed=mixed)
    high = _last(encoder[0], inner, low, mixed=mixed)
    if network.position is not None:
        position: Any = network.position
        hidden = functional.linear(
            coordinates[0].permute(1, 2, 3, 0), _matrix(position[0]), position[0].bias
        )
        high = high + functional.linear(hidden.relu_(), _matrix(position[2]))
    for block in encoder[1:]:
        high = _block(block, high, mixed=mixed)
    if network.context is not None:
        high = _with_context(network.context, high, mixed=mixed)
    branches: Any = network.pyramid.branches
    parts = [
        _point(branches[0], high, mixed=mixed),
        *(_seconv(b, high, mixed=mixed) for b in branches[1:]),
    ]
    high = _upsampled(_point(network.pyramid.join, torch.cat(parts, -1), mixed=mixed))
    tap = torch.cat([low, inner], -1) if network.architecture.late_tap else low
    high = torch.cat([high, _point(network.low, tap, mixed=mixed)], -1)
    decoder: Any = network.decoder
    high = _seconv(decoder[1], _seconv(decoder[0], high, mixed=mixed), mixed=mixed)
    return functional.linear(high, _matrix(decoder[2]), decoder[2].bias)


def _folded(norm: Any) -> tuple[Tensor, Tensor]:
    """Return a fixed normalisation as one factor and one summand per channel."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _matrix(convolution: Any) -> Tensor:
    weight: Tensor = convolution.weight
    return weight.reshape(weight.shape[0], -1)


def _seconv(module: Any, x: Tensor, *, mixed: bool) -> Tensor:
    depthwise, first, pointwise, second = module[0], module[1], module[2], module[3]
    scale, shift = _folded(first)
    taps = _matrix(depthwise).t() * scale
    moved = _Depthwise.apply(x, taps, depthwise.stride[0], depthwise.dilation[0])  # type: ignore[no-untyped-call]
    scale, last = _folded(second)
    matrix = _matrix(pointwise) * scale[:, None]
    return _product(moved, matrix, torch.mv(matrix, shift) + last, mixed=mixed)


def _point(module: Any, x: Tensor, *, mixed: bool) -> Tensor:
    scale, shift = _folded(module[1])
    return _product(x, _matrix(module[0]) * scale[:, None], shift, mixed=mixed)


def _block(block: Any, x: Tensor, *, mixed: bool) -> Tensor:
    return _last(block, _inner(block, x, mixed=mixed), x, mixed=mixed)


def _inner(block: Any, x: Tensor, *, mixed: bool) -> Tensor:
    return _seconv(block.body[1], _seconv(block.body[0], x, mixed=mixed), mixed=mixed)


def _last(block: Any, inner: Tensor, x: Tensor, *, mixed: bool) -> Tensor:
    stride = block.shortcut.stride[0]
    y = _seconv(block.body[2], inner, mixed=mixed)
    return y + _product(x[::stride, ::stride, ::stride], _matrix(block.shortcut), None, mixed=mixed)


def _with_context(context: Any, x: Tensor, *, mixed: bool) -> Tensor:
    coarse = _seconv(context.down, x, mixed=mixed)
    for block in context.blocks:
        coarse = _block(block, coarse, mixed=mixed)
    fine = _upsampled(_product(coarse, _matrix(context.out), None, mixed=mixed))
    return x + fine[: x.shape[0], : x.shape[1], : x.shape[2]]


def _upsampled(x: Tensor) -> Tensor:
    planes = x.permute(3, 0, 1, 2)[None]
    twice = functional.interpolate(planes, scale_factor=2.0, mode="trilinear", align_corners=False)
    return twice[0].permute(1, 2, 3, 0)


def _product(x: Tensor, matrix: Tensor, shift: Tensor | None, *, mixed: bool) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    y = cast("Tensor", _Product.apply(rows, matrix, shift, mixed))  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """max(x · matrixᵀ + shift, 0), or without a shift x · matrixᵀ; keeps no more for the way back than it needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, shift: Tensor | None, mixed: bool) -> Tensor:
        ctx.rectified, ctx.mixed = shift is not None, mixed
        if mixed:
            x, matrix = x.bfloat16(), matrix.bfloat16()
        y = (x @ matrix.t()).float()
        if shift is not None:
            y.add_(shift).clamp_(min=0)
        ctx.save_for_backward(x, matrix, *([y] if ctx.rectified else []))
        return y

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, matrix, *kept = ctx.saved_tensors
        by, by_shift = given[0], None
        if ctx.rectified:
            by = torch.ops.aten.threshold_backward(by, kept[0], 0)
            by_shift = by.sum(0)
        if ctx.mixed:
            by = by.bfloat16()
        return (by @ matrix).float(), (by.t() @ x).float(), by_shift, None


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, stride: int, dilation: int) -> Tensor:
        x, taps = x.contiguous(), taps.contiguous()
        y = torch.empty(*((n - 1) // stride + 1 for n in x.shape[:3]), x.shape[3])
        _run("depthwise", (x, taps, y), (*x.shape, stride, dilation))
        ctx.save_for_backward(x, taps)
        ctx.steps = (stride, dilation)
        return y

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, taps = ctx.saved_tensors
        by, sizes = given[0].contiguous(), (*x.shape, *ctx.steps)
        by_taps, by_x = torch.empty_like(taps), torch.empty_like(x)
        _run("depthwise_weight_gradient", (x, by, by_taps), sizes)
        if ctx.steps[0] == 1:
            _run("depthwise", (by, taps.flip(0).contiguous(), by_x), sizes)
        else:
            _run("depthwise_input_gradient", (by, taps, by_x), sizes)
        return by_x, by_taps, None, None


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        sample: Sample,
        labelled: Collection[StructureId],
        objective: Objective,
    ) -> Tensor:
        logits = logits.contiguous()
        labels = sample.labels[0].to(torch.uint8).contiguous()
        valid = (sample.valid[0] > 0).to(torch.uint8).contiguous()
        classes = torch.tensor(classes_of(labelled), dtype=torch.int32)
        by, value = torch.empty_like(logits), torch.zeros((), dtype=torch.float64)
        weights = torch.tensor(objective.class_weights, dtype=torch.float32)
        arrays = (logits, labels, valid, classes, weights, by, value)
        _run("marginal_loss", arrays, (*logits.shape, objective.dice))
        ctx.save_for_backward(by)
        return value.float()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.saved_tensors[0] * given[0], None, None, None


def _run(name: str, arrays: Sequence[Tensor], sizes: Sequence[float]) -> None:
    if getattr(load_kernels(), name)(*(a.data_ptr() for a in arrays), *sizes):
        raise MemoryError(f"{name}: no memory for {tuple(sizes)}")
