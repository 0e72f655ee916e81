"""CAM of the positive weights alone (negative weight clamping, Bae et al., ECCV 2020): sum of ReLU(w) * features.

The weights are the head's gradient times the number of cells: its own ones behind pooling and a linear layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    cells = features.shape[2] * features.shape[3]  # the gradient of a mean is the weight divided by them
    return (gradient.relu() * cells * features).sum(1)


POSITIVE_CAM = MapMethod(
    "positivecam", _maps, "Bae et al., ECCV 2020, negative weight clamping", final_only=True
)
