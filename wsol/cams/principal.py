"""Features on their first principal component, as they are shown for self-supervised transformers (Oquab et al. 2023).

Eigen-CAM does not centre the features, so that what all cells share leads; here their mean over the image's cells is
taken off first. Knows no class. The component's sign is free: the one with positive skewness is taken, so that fewer
cells stand out than not, as an object's do.
"""

from __future__ import annotations

from torch import Tensor, nn

from wsol.cams.eigen_cam import first_component
from wsol.cams.map_method import MapMethod


def _maps(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    maps = first_component(features.double() - features.double().mean((2, 3), keepdim=True))
    return maps.where(maps.pow(3).sum((1, 2), keepdim=True) >= 0, -maps).float()


PRINCIPAL = MapMethod(
    "principal",
    _maps,
    "Oquab et al. 2023, arXiv 2304.07193, section 7.5",
    needs_gradient=False,
    class_agnostic=True,
)
