"""The convolution of TS-CAM, behind a network whose final map carries the class token's attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from wsol.models.head import Outputs
from wsol.models.patch_tokens import PatchTokens

if TYPE_CHECKING:
    from wsol.models import Classifier


class TsCamHead(nn.Module):
    """A 3x3 convolution of the patch tokens [N, C, h, w] to one map a class; logits are the maps' means.

    `extra` holds all classes' `maps` [N, K, h, w] and the `attention` [N, h, w], the channel behind the tokens.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(channels, classes, 3, padding=1)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor, class_ids: Tensor | None = None) -> Outputs:
        tokens, attention = features[:, : self.channels], features[:, self.channels :]
        maps = self.conv(tokens)
        extra = {"maps": maps, "attention": attention.sum(1)}  # sum: without the channel, 0
        return Outputs(maps.float().mean((2, 3)), tokens, extra)


def put_ts_cam_head(model: Classifier) -> None:
    """Replace the head of a network of `wsol.models.patch_tokens`, in place."""
    assert isinstance(model.backbone, PatchTokens)
    model.backbone.with_attention = True
    model.head = TsCamHead(model.head.in_features, model.spec.num_classes)  # type: ignore[assignment]
