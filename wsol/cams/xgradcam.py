"""XGrad-CAM (Fu et al., BMVC 2020, arXiv 2008.02312): channels weighted by their gradient, averaged over the cells in
proportion to the features; then ReLU. A channel whose features sum to 0 has weight 0.

On the final map of pooling and a linear head, where the gradient is one value a channel, it equals Grad-CAM times the
number of cells divided by it: the same map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    total = features.sum((2, 3), keepdim=True)  # [N, C, 1, 1]
    share = torch.where(total == 0, 0.0, (gradient * features).sum((2, 3), keepdim=True) / total)
    return (share * features).sum(1).relu()


XGRADCAM = MapMethod("xgradcam", _maps, "Fu et al., BMVC 2020, arXiv 2008.02312")
