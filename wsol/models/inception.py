"""InceptionV3 with SPG's additions (Zhang et al., ECCV 2018), as Choe et al. (CVPR 2020) build it for every method."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torchvision.models import inception_v3
from torchvision.models.inception import InceptionB

from wsol.models.classifier import Parts
from wsol.models.head import PooledLinear
from wsol.models.spec import ClassifierSpec

_BLOCKS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
    *("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "maxpool3"),
    *("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
)


def build(spec: ClassifierSpec) -> Parts:
    """The network in parts; its head is A4, a 1x1 convolution and average pooling."""
    backbone = InceptionBackbone(spec.stride)
    return Parts(
        backbone, PooledLinear(backbone.channels, spec.num_classes), spec.stride, backbone.stride_changes
    )


class InceptionBackbone(nn.Module):
    """InceptionV3 up to Mixed_6e and SPG's A3: [N, 3, H, W] -> [N, 1024, h, w], 14 x 14 or 28 x 28 of 224 pixels.

    Names are torchvision's and Choe et al.'s, so their weights load unchanged. Against torchvision's network the first
    convolution and the poolings are padded, Mixed_6a keeps the resolution, and at stride 16 a pooling before it halves
    it. A3 is two 3x3 convolutions, each behind a dropout of 0.5, as is the map; it never has ImageNet weights.
    """

    channels = 1024

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        net = inception_v3(weights=None, aux_logits=False, init_weights=False)
        net.Conv2d_1a_3x3.conv.padding = (1, 1)
        net.maxpool1, net.maxpool2 = (nn.MaxPool2d(3, 2, 1, ceil_mode=True) for _ in range(2))
        net.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True) if output_stride == 16 else nn.Identity()
        net.Mixed_6a = _UnstridedInceptionB(288)
        for name in _BLOCKS:
            self.add_module(name, net.get_submodule(name))
        self.SPG_A3_1b = nn.Sequential(nn.Conv2d(768, self.channels, 3, padding=1), nn.ReLU())
        self.SPG_A3_2b = nn.Sequential(nn.Conv2d(self.channels, self.channels, 3, padding=1), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.stride_changes = () if output_stride == 16 else ("pooling behind Mixed_5d: dropped",)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for name in _BLOCKS:
            x = getattr(self, name)(x)
        return self.dropout(self.SPG_A3_2b(self.dropout(self.SPG_A3_1b(self.dropout(x)))))


class _UnstridedInceptionB(InceptionB):
    """torchvision's Mixed_6a with every stride at 1, padded to keep the resolution."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        for block in (self.branch3x3, self.branch3x3dbl_3):
            block.conv.stride, block.conv.padding = (1, 1), (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, max_pool2d(x, 3, 1, 1)], 1)
