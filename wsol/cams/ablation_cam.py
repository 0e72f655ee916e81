"""Ablation-CAM (Desai and Ramaswamy, WACV 2020): channels weighted by how much of the logit they carry.

Channel weight = (z - z without the channel) / z, then ReLU of the weighted sum. Behind the final map the network is
the head alone, so no channel costs another pass through the network. A logit of exactly 0 has no shares: its map is
zero. Deeper layers would cost one forward pass a channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol.cams.map_method import MapMethod
from wsol.models.head import PooledLinear


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    logit = head(features, class_ids).logits.gather(1, class_ids[:, None])  # [N, 1]
    if isinstance(head, PooledLinear):
        carried = head.weight[class_ids] * features.mean((2, 3))  # [N, C]
    else:
        carried = logit - _without_each_channel(features, head, class_ids)
    weights = torch.where(logit == 0, 0.0, carried / logit)
    return torch.einsum("nchw,nc->nhw", features, weights).relu()


def _without_each_channel(features: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    """Logits [N, C] of the images' classes with each channel at 0 in turn."""
    found = []
    for channel in range(features.shape[1]):
        less = features.clone()
        less[:, channel] = 0
        found.append(head(less, class_ids).logits.gather(1, class_ids[:, None]))
    return torch.cat(found, 1)


ABLATION_CAM = MapMethod(
    "ablationcam", _maps, "Desai and Ramaswamy, WACV 2020", needs_gradient=False, final_only=True
)
