"""LayerCAM (Jiang et al., IEEE Transactions on Image Processing 2021): features weighted, cell by cell, by the positive
part of their gradient; ReLU of the sum over channels."""

from __future__ import annotations

from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    return (gradient.relu() * features).sum(1).relu()


LAYERCAM = MapMethod("layercam", _maps, "Jiang et al., IEEE TIP 2021")
