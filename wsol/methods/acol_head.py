"""The two branches of ACoL, and what they replace in a network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from wsol.methods.scaled_maps import scaled
from wsol.models.classifier import Classifier
from wsol.models.head import Outputs

WIDTH = 1024


class AcolHead(nn.Module):
    """Branch A on the features [N, C, h, w], branch B on what A leaves; logits are A's.

    `extra` holds `logits_b` [N, K] and both branches' maps of all classes, `map_a` and `map_b` [N, K, h, w]. Without
    class ids A's own predictions erase. `smooth`: the features are first averaged over 3 x 3 cells.
    """

    def __init__(self, channels: int, classes: int, threshold: float, smooth: bool) -> None:
        super().__init__()
        self.a, self.b = _branch(channels, classes), _branch(channels, classes)
        self.threshold = threshold
        self.smooth = smooth

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:
        read = avg_pool2d(features, 3, 1, 1) if self.smooth else features
        map_a = self.a(read)
        logits = map_a.float().mean((2, 3))
        ids = logits.argmax(1) if class_ids is None else class_ids
        attention = scaled(map_a.detach().float()[range(len(ids)), ids])[:, None]  # [N, 1, h, w]
        map_b = self.b(read * (attention < self.threshold))
        extra = {"logits_b": map_b.float().mean((2, 3)), "map_a": map_a, "map_b": map_b}
        return Outputs(logits, features, extra)


def strip(model: Classifier) -> int:
    """Take away what ACoL's branches replace, in place; returns the channels of the final map.

    InceptionV3 loses A3. VGG16 loses conv6 and gets ACoL's poolings: 3 x 3, overlapping, at stride 1 where a pooling
    was left out and at the end.
    """
    backbone: Any = model.backbone
    if model.spec.arch == "inception_v3":
        backbone.SPG_A3_1b, backbone.SPG_A3_2b, backbone.dropout = (nn.Identity() for _ in range(3))
        return 768
    if model.spec.arch != "vgg16_gap":
        return model.head.in_features
    for place in (4, 9, 16, 23, 30):
        dropped = isinstance(backbone.features[place], nn.Identity)
        backbone.features[place] = nn.MaxPool2d(3, 1 if dropped else 2, 1)
    backbone.conv6 = nn.Identity()
    return 512


def _branch(channels: int, classes: int) -> nn.Sequential:
    branch = nn.Sequential(
        nn.Conv2d(channels, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(WIDTH, classes, 1),
    )
    for module in branch:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return branch
