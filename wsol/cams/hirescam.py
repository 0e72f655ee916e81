"""HiResCAM (Draelos and Carin, arXiv 2011.08891): the sum over channels of gradient times features, cell by cell.

On the final map of pooling and a linear head it is CAM divided by the number of cells. No ReLU, as in the paper."""

from __future__ import annotations

from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    return (gradient * features).sum(1)


HIRESCAM = MapMethod("hirescam", _maps, "Draelos and Carin, 2020, arXiv 2011.08891")
