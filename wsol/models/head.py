"""What a classifier gives, and the part of it behind the final map."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from wsol.models.mode import without_autocast


class Outputs(NamedTuple):
    """What one forward pass gives.

    `logits` is float [N, K]; `features` is the final map [N, C, h, w] that they were computed from. `extra` holds
    what a training method's own loss or score map reads, by name; it is empty for a plain classifier.
    """

    logits: Tensor
    features: Tensor
    extra: dict[str, Tensor]


class PooledLinear(nn.Linear):
    """Average over the cells of the final map, then one linear layer (Zhou et al., CVPR 2016).

    Any other head has the same call: the final map [N, C, h, w], and the class ids [N] that the pass is about
    where they are known (a method that erases by class needs them), to `Outputs`. Pooling and layer run in
    float32 under autocast, which costs nothing and keeps the identity of class activation maps.
    """

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:  # type: ignore[override]
        with without_autocast(features.device):
            pooled = features.mean((2, 3), dtype=self.weight.dtype)  # [N, C, h, w] -> [N, C]
            return Outputs(super().forward(pooled), features, {})


class PooledClassMaps(nn.Linear):
    """A 1x1 convolution that gives a map a class, ReLU, then the average over the cells (SqueezeNet, arXiv 1602.07360).

    The class's map is the network's own: what is averaged into its logit. `weight` [K, C] and `bias` [K] are the
    convolution's.
    """

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:  # type: ignore[override]
        with without_autocast(features.device):
            maps = linear(features.movedim(1, -1).to(self.weight.dtype), self.weight, self.bias).relu()
            return Outputs(maps.mean((1, 2)), features, {})

    def finish(self, maps: Tensor, class_ids: Tensor) -> Tensor:
        """Weighted sums of the final map [N, h, w] or [N, M, h, w] as the maps that are averaged: bias and ReLU."""
        return (maps + self.bias[class_ids][..., None, None]).relu()


class TailHead(nn.Module):
    """A last linear layer behind further layers of the network, which `tail` runs: [N, C, h, w] to [N, D].

    Such a head has no exact class activation map, and `why_no_cam` says why. `tail` belongs to the backbone, which
    owns its weights.
    """

    def __init__(
        self, tail: Callable[[Tensor], Tensor], in_features: int, out_features: int, why_no_cam: str
    ) -> None:
        super().__init__()
        self.tail = tail
        self.in_features = in_features
        self.out_features = out_features
        self.why_no_cam = why_no_cam
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:
        vector = self.tail(features)
        with without_autocast(features.device):
            return Outputs(linear(vector.to(self.weight.dtype), self.weight, self.bias), features, {})
