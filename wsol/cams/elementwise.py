"""Element-wise Grad-CAM, as released with pytorch-grad-cam: the sum over channels of ReLU(gradient * features).

Where features are not negative it equals LayerCAM."""

from __future__ import annotations

from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    return (gradient * features).relu().sum(1)


ELEMENTWISE = MapMethod("elementwise", _maps, "Grad-CAM Element-wise, as in pytorch-grad-cam")
