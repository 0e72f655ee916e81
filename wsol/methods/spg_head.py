"""SPG's branches, the loss that guides them, and where they are put into our networks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wsol.models.classifier import Classifier
from wsol.models.head import Outputs


class SpgHead(nn.Module):
    """A3 (VGG16 alone), A4, B and C; logits are the mean of A4's maps. `read` are the channels that B1 and B2 read.

    `extra` holds A4's maps of all classes, `maps` [N, K, h, w], and in training the foreground logits `b1`, `b2`, `c`
    [N, 1, h, w]. The earlier layers' outputs come through `keep`, a forward hook there.
    """

    def __init__(self, read: tuple[int, int], width: int, final: int, classes: int, a3: nn.Module) -> None:
        super().__init__()
        self.a3 = a3
        self.a4 = nn.Conv2d(final, classes, 1)
        self.b1, self.b2 = (nn.Sequential(nn.Conv2d(n, width, 3, padding=1), nn.ReLU()) for n in read)
        self.shared = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))
        self.c = nn.Sequential(nn.Conv2d(final, 512, 3, padding=1), nn.ReLU(), nn.Conv2d(512, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        self._seen: dict[str, Tensor] = {}

    def keep(self, branch: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """Forward hook of the layer that a branch reads."""
        self._seen[branch] = output

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:
        seen, self._seen = self._seen, {}
        read = self.a3(features)
        extra = {"maps": self.a4(read)}
        if self.training:
            extra["b1"], extra["b2"] = self.shared(self.b1(seen["b1"])), self.shared(self.b2(seen["b2"]))
            extra["c"] = self.c(read)
        return Outputs(extra["maps"].float().mean((2, 3)), features, extra)


def guided_loss(logits: Tensor, guide: Tensor, high: float, low: float) -> Tensor:
    """Binary cross entropy of foreground `logits` [N, H, W] where the guide [N, H, W] is above `high` (1) or below
    `low` (0); 0 where it is nowhere so. An image with fewer foreground pixels than 30 of 224 x 224 takes as foreground
    what is above 0.7 of its maximum."""
    front = guide > high
    few = front.sum((1, 2), keepdim=True) < 30 / 224**2 * guide[0].numel()
    front = torch.where(few, guide > 0.7 * guide.amax((1, 2), keepdim=True), front)
    back = guide < low
    target, taught = (front & ~back).float(), front | back
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * taught).sum() / taught.sum().clamp(min=1)


def put_spg_head(model: Classifier) -> None:
    """Replace the head of a ResNet, VGG16-GAP or InceptionV3, in place; VGG16 loses conv6, its pool4 overlaps."""
    backbone: Any = model.backbone
    a3, sites, read, width = nn.Sequential(), ("layer3.0", "layer3"), (512, 512), 512
    channels = model.head.in_features
    if model.spec.arch == "inception_v3":
        sites, read = ("maxpool3", "Mixed_6e"), (288, 768)
    elif model.spec.arch == "vgg16_gap":
        if isinstance(backbone.features[23], nn.MaxPool2d):
            backbone.features[23] = nn.MaxPool2d(3, 2, 1)
        backbone.conv6, sites, channels = nn.Identity(), ("features.23", "features.29"), 512
        a3 = nn.Sequential(*(m for _ in range(2) for m in (nn.Conv2d(512, 512, 3, padding=1), nn.ReLU())))
    else:
        width = backbone.layer3[0].downsample[0].out_channels
        read = (width, width)
    head = SpgHead(read, width, channels, model.spec.num_classes, a3)
    for branch, site in zip(("b1", "b2"), sites):
        backbone.get_submodule(site).register_forward_hook(partial(head.keep, branch))
    model.head = head  # type: ignore[assignment]
