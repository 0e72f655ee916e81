"""Networks of which no tensor has a usual value, and random images."""

from __future__ import annotations

import torch
from torch import nn


def images(n: int, side: int, seed: int = 0) -> torch.Tensor:
    """Normally distributed values, [n, 3, side, side]."""
    return torch.randn((n, 3, side, side), generator=torch.Generator().manual_seed(seed))


def randomized(net: nn.Module, seed: int = 0) -> nn.Module:
    """Every tensor of the network random, running statistics included, so that a missed one shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.rand(value.shape, generator=generator) * 0.1 + (0.5 if "running_var" in name else 0.0)
            )
    return net.eval()
