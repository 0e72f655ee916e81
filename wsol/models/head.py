"""What a classifier gives, and the part of it behind the final map."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

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
