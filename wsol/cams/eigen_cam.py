"""Eigen-CAM (Muhammad and Yeasin, IJCNN 2020, arXiv 2008.00299): features projected on their first principal component.

Knows no class: the control that tells what a layer's strongest pattern alone localises. As in the paper the features
are not centred. The component's sign is free; the one whose map has a positive sum is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    maps = first_component(features)
    return torch.where(maps.sum((1, 2), keepdim=True) < 0, -maps, maps).float()


def first_component(features: Tensor) -> Tensor:
    """Features [N, C, h, w] projected on the first right singular vector of each image's own, [N, h, w] in float64, of
    either sign."""
    n, channels, height, width = features.shape
    cells = features.flatten(2).double()  # [N, C, A]
    if height * width <= channels:
        values, vectors = torch.linalg.eigh(cells.mT @ cells)  # [N, A, A]; ascending eigenvalues
        maps = vectors[..., -1] * values[:, -1:].clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(cells @ cells.mT)  # [N, C, C]
        maps = (cells * vectors[..., -1:]).sum(1)
    return maps.view(n, height, width)


EIGEN_CAM = MapMethod(
    "eigencam",
    _maps,
    "Muhammad and Yeasin, IJCNN 2020, arXiv 2008.00299",
    needs_gradient=False,
    class_agnostic=True,
)
