"""Score-CAM (Wang et al., CVPR Workshops 2020, arXiv 1910.01279, algorithm 1): channels weighted by what they show.

Each channel of the layer, enlarged to the image and scaled to [0, 1], masks the image; the weights are the softmax over
the channels of the class's logits of the masked images, and the map is ReLU of the weighted sum. It costs a forward
pass a channel, and needs no gradient. A constant channel masks everything. The logit of a black image, which the paper
subtracts, falls out of the softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsol.cams.map_method import MapMethod
from wsol.models.classifier import Classifier
from wsol.models.mode import evaluation_mode

AT_ONCE = 64
"""Masked images in one forward pass."""


def _maps(model: Classifier, images: Tensor, features: Tensor, class_ids: Tensor) -> Tensor:
    with evaluation_mode(model), torch.no_grad():
        each = [
            _weights(model, image, own, class_id) for image, own, class_id in zip(images, features, class_ids)
        ]
    weights = torch.stack(each) if each else features.new_zeros(features.shape[:2])  # [N, C]
    return torch.einsum("nchw,nc->nhw", features, weights).relu()


def _weights(model: Classifier, image: Tensor, channels: Tensor, class_id: Tensor) -> Tensor:
    """The weights [C] of one image's channels [C, h, w]."""
    logits = []
    for some in channels[:, None].split(AT_ONCE):
        masks = interpolate(some, image.shape[-2:], mode="bilinear", align_corners=False)  # [B, 1, S, S]
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = (masks - low) / (high - low).where(high > low, 1)
        logits.append(model(image * masks, class_id.expand(len(masks))).logits[:, class_id])
    return torch.cat(logits).softmax(0)


SCORE_CAM = MapMethod(
    "scorecam",
    None,
    "Wang et al., CVPR Workshops 2020, arXiv 1910.01279",
    needs_gradient=False,
    through=_maps,
    pass_a_channel=True,
)
