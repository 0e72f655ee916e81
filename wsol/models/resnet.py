"""ResNets (He et al., CVPR 2016, arXiv 1512.03385) up to the final map: torchvision's, and a small one for CPUs."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from wsol.models.classifier import Parts
from wsol.models.head import PooledLinear
from wsol.models.spec import ClassifierSpec
from wsol.models.strides import stages_to_unstride, unstride

_NATIVE_STRIDE = 32


def build_resnet(spec: ClassifierSpec) -> Parts:
    """torchvision's ResNet of the spec's name in parts."""
    backbone = ResNetBackbone(spec.arch, spec.stride, spec.stride_plan)
    head = PooledLinear(backbone.channels, spec.num_classes)
    return Parts(backbone, head, spec.stride, backbone.stride_changes)


def build_small(spec: ClassifierSpec) -> Parts:
    """The small network in parts."""
    backbone = SmallResNet(spec.stride)
    head = PooledLinear(backbone.channels, spec.num_classes)
    return Parts(backbone, head, spec.stride, backbone.stride_changes)


class ResNetBackbone(nn.Module):
    """A torchvision ResNet without pooling and head: [N, 3, H, W] -> [N, channels, h, w], h = ceil(H / stride).

    Submodules keep torchvision's names, so its weights load unchanged. `stride_changes` says in words which strides
    were turned to 1.
    """

    def __init__(self, arch: str, output_stride: int, plan: str) -> None:
        super().__init__()
        net = getattr(torchvision.models, arch)(weights=None)
        self.channels: int = net.fc.in_features
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        names = stages_to_unstride(_NATIVE_STRIDE, output_stride, plan)
        self.stride_changes = tuple(unstride(self, name) for name in names)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class SmallResNet(nn.Module):
    """A residual network for small images on a CPU: [N, 3, H, W] -> [N, 128, h, w], h = ceil(H / stride).

    Stem of one 3x3 convolution at stride 2 and no pooling, then torchvision's BasicBlocks in widths 32, 64, 128 (1, 1
    and 2 blocks), which gives 8 x 8 maps at 64 pixels for 0.07 G multiply-adds. The second block of the last stage
    widens the receptive field from 47 to 79 pixels, so that a 64-pixel image lies inside it.
    """

    channels = 128

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(32, 32))
        self.layer2 = nn.Sequential(_widening(32, 64, 2))
        self.layer3 = nn.Sequential(_widening(64, 128, 2), BasicBlock(128, 128))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # Of two strided stages only the last can go: stride 8 -> 4.
        self.stride_changes = (unstride(self, "layer3"),) if output_stride == 4 else ()

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(x)))


def _widening(channels_in: int, channels: int, stride: int) -> BasicBlock:
    """A BasicBlock that changes width and resolution, with torchvision's 1x1 shortcut."""
    shortcut = nn.Sequential(
        nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
    )
    return BasicBlock(channels_in, channels, stride, shortcut)
