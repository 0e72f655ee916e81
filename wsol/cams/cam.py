"""Class activation maps (Zhou et al., CVPR 2016, arXiv 1512.04150, section 2), in the forward pass.

The map of class k is M(y, x) = sum over channels c of weight[k, c] * features[c, y, x]: raw, without ReLU,
bias or normalisation. Its mean over the cells plus the head's bias is the logit of k.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsol.cams.map_method import MapMethod
from wsol.errors import UserError
from wsol.models.head import PooledClassMaps, PooledLinear
from wsol.models.mode import without_autocast


def class_activation_maps(features: Tensor, weight: Tensor, class_ids: Tensor) -> Tensor:
    """Raw maps [N, h, w] of one class per image, or [N, M, h, w] of M classes per image.

    `features` is the final map [N, C, h, w], `weight` the head's [K, C], `class_ids` integer [N] or [N, M],
    in [0, K). Computed and returned in float32 (float64 for float64 features), under autocast too: rounding
    to half precision would tie cells that differ. N = 0 gives an empty batch of maps. Raises TypeError or
    ValueError for kinds, shapes or ids that do not fit.

    >>> features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    >>> class_activation_maps(features, torch.tensor([[1.0, -10.0]]), torch.tensor([0])).tolist()
    [[[1.0, -8.0], [3.0, -6.0]]]
    """
    class_ids = checked_class_ids(class_ids, features.shape[0], weight.shape[0]).to(features.device)
    if features.ndim != 4 or weight.ndim != 2 or features.shape[1] != weight.shape[1]:
        raise ValueError(
            f"`features` [N, C, h, w] and `weight` [K, C] do not fit: "
            f"{tuple(features.shape)}, {tuple(weight.shape)}"
        )
    exact = torch.promote_types(features.dtype, torch.float32)
    with without_autocast(features.device):
        rows = weight.to(exact)[class_ids]  # [N, C] or [N, M, C]
        pattern = "nchw,nc->nhw" if class_ids.ndim == 1 else "nchw,nmc->nmhw"
        return torch.einsum(pattern, features.to(exact), rows)


def checked_class_ids(class_ids: Tensor, num_images: int, num_classes: int) -> Tensor:
    """`class_ids` as int64 after checks: integer, [N] or [N, M], each in [0, K); TypeError or ValueError
    else.
    """
    if class_ids.is_floating_point() or class_ids.is_complex() or class_ids.dtype == torch.bool:
        raise TypeError(f"`class_ids` must be integers, got {class_ids.dtype}")
    if class_ids.ndim not in (1, 2) or class_ids.shape[0] != num_images:
        raise ValueError(
            f"`class_ids` must have shape [{num_images}] or [{num_images}, M], got {tuple(class_ids.shape)}"
        )
    if class_ids.numel():
        low, high = (int(bound) for bound in class_ids.aminmax())
        if low < 0 or high >= num_classes:
            raise ValueError(f"`class_ids` must lie in [0, {num_classes}), got values from {low} to {high}")
    return class_ids.to(torch.int64)


def _cam(features: Tensor, gradient: Tensor, head: nn.Module, class_ids: Tensor) -> Tensor:
    if isinstance(head, PooledClassMaps):
        return head.finish(class_activation_maps(features, head.weight, class_ids), class_ids)
    if not isinstance(head, PooledLinear):
        raise UserError(
            f"a {type(head).__name__} head has no class activation map: its logits are not one linear layer over the "
            "average of the final map; --map-method hirescam or layercam works on any head"
        )
    return class_activation_maps(features, head.weight, class_ids)


CAM = MapMethod(
    "cam",
    _cam,
    "Zhou et al., CVPR 2016, arXiv 1512.04150",
    needs_gradient=False,
    final_only=True,
    linear_head=True,
)
