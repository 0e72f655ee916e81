"""SPG's branches, the loss that guides them, and where they are put into our networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wsol.models.head import Outputs

if TYPE_CHECKING:
    from wsol.models import Classifier

FEWEST = 30 / 224**2
"""Share of pixels below which a mask takes its foreground from 0.7 of the guide's maximum instead (30 at 224 x 224)."""


class SpgHead(nn.Module):
    """A3 (VGG16 alone), A4, B and C; logits are the mean of A4's maps.

    `extra` holds A4's maps of all classes, `maps` [N, K, h, w], and in training the foreground logits `b1`, `b2`, `c`
    [N, 1, h, w]. The earlier layers' outputs come through `keep_b1` and `keep_b2`, which are forward hooks there.
    """

    def __init__(self, early: int, final: int, classes: int, a3: nn.Module) -> None:
        super().__init__()
        width = 512
        self.a3 = a3
        self.a4 = nn.Conv2d(final, classes, 1)
        self.b1, self.b2 = (nn.Sequential(nn.Conv2d(early, early, 3, padding=1), nn.ReLU()) for _ in range(2))
        self.shared = nn.Sequential(nn.Conv2d(early, early, 3, padding=1), nn.ReLU(), nn.Conv2d(early, 1, 1))
        self.c = nn.Sequential(nn.Conv2d(final, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        self._seen: dict[str, Tensor] = {}

    def keep_b1(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """Forward hook of the layer that B1 reads."""
        self._seen["b1"] = output

    def keep_b2(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """Forward hook of the layer that B2 reads."""
        self._seen["b2"] = output

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:
        seen, self._seen = self._seen, {}
        read = self.a3(features)
        extra = {"maps": self.a4(read)}
        if self.training:
            extra |= {
                name: self.shared(branch(seen[name])) for name, branch in (("b1", self.b1), ("b2", self.b2))
            }
            extra["c"] = self.c(read)
        return Outputs(extra["maps"].float().mean((2, 3)), features, extra)


def guided_loss(logits: Tensor, guide: Tensor, high: float, low: float) -> Tensor:
    """Binary cross entropy of foreground `logits` [N, H, W] where the guide [N, H, W] is above `high` (1) or below
    `low` (0); 0 where it is nowhere so. An image with hardly any foreground takes what is above 0.7 of its maximum."""
    front = guide > high
    few = front.sum((1, 2), keepdim=True) < FEWEST * guide[0].numel()
    front = torch.where(few, guide > 0.7 * guide.amax((1, 2), keepdim=True), front)
    back = guide < low
    target, taught = (front & ~back).float(), front | back
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * taught).sum() / taught.sum().clamp(min=1)


def put_spg_head(model: Classifier) -> None:
    """Replace the head of a ResNet or VGG16-GAP, in place; VGG16 loses conv6, its pool4 overlaps."""
    backbone, classes = model.backbone, model.spec.num_classes
    if model.spec.arch == "vgg16_gap":
        features = backbone.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        if isinstance(features[23], nn.MaxPool2d):
            features[23] = nn.MaxPool2d(3, 2, 1)
        backbone.conv6 = nn.Identity()
        a3 = nn.Sequential(*(m for _ in range(2) for m in (nn.Conv2d(512, 512, 3, padding=1), nn.ReLU())))
        head = SpgHead(512, 512, classes, a3)
        first, second = "features.23", "features.29"
    else:
        widening = backbone.get_submodule("layer3.0.downsample.0")
        assert isinstance(widening, nn.Conv2d)
        early = widening.out_channels
        head = SpgHead(early, model.head.in_features, classes, nn.Identity())
        first, second = "layer3.0", "layer3"
    backbone.get_submodule(first).register_forward_hook(head.keep_b1)
    backbone.get_submodule(second).register_forward_hook(head.keep_b2)
    model.head = head  # type: ignore[assignment]
