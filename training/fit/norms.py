"""Take the statistics of batch normalisation again, over the weights as they stand.

While a network is trained they are a mean over weights that have since changed: a recipe that gathers them to its last
step ends with statistics that fit no weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def retake_statistics(
    network: nn.Module, inputs: Iterable[tuple[Tensor, Tensor]], *, autocast: bool = False
) -> None:
    """Replace the running means and variances of `network` by those over these inputs, each the same share, in place.

    inputs: image (1, 1, D, H, W) and coordinates (1, 3, D/4, H/4, W/4), as in a step. autocast: computes in bfloat16,
    as the steps do. Weights and the network's mode stay.
    """
    mode = network.training
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.reset_running_stats()
    network.train()
    device = next(network.parameters()).device
    for image, coordinates in inputs:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            network(image.to(device, memory_format=torch.channels_last_3d), coordinates.to(device))
    network.train(mode)
