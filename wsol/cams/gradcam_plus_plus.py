"""Grad-CAM++ (Chattopadhay et al., WACV 2018, arXiv 1710.11063, equations 10 and 19).

Channel weight = sum over cells of alpha * ReLU(g), with alpha = g^2 / (2 g^2 + g^3 * sum of the channel's features), g
being the gradient of the logit: the paper's factor exp(logit) scales a whole map and is left out. alpha is 0 where g
is 0. A denominator of exactly 0 counts as 1, as in the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    total = features.sum((2, 3), keepdim=True)  # [N, C, 1, 1]
    denominator = 2 + gradient * total  # g^2 is divided out: it underflows in float32
    alpha = 1 / torch.where(denominator == 0, 1.0, denominator)
    weights = (alpha * gradient.relu()).sum((2, 3), keepdim=True)
    return (weights * features).sum(1).relu()


GRADCAM_PLUS_PLUS = MapMethod("gradcam++", _maps, "Chattopadhay et al., WACV 2018, arXiv 1710.11063")
