"""Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391): channels weighted by their mean gradient, then ReLU.

On the final map of pooling and a linear head it is ReLU(CAM) divided by the number of cells."""

from __future__ import annotations

from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    weights = gradient.mean((2, 3), keepdim=True)  # [N, C, 1, 1]
    return (weights * features).sum(1).relu()


GRADCAM = MapMethod("gradcam", _maps, "Selvaraju et al., ICCV 2017, arXiv 1610.02391")
