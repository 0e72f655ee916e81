"""VGG16-GAP, the network of the CAM paper (Zhou et al., CVPR 2016, arXiv 1512.04150) up to its final map."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from wsol.models.classifier import Parts
from wsol.models.head import PooledLinear
from wsol.models.spec import ClassifierSpec

# Where torchvision's vgg16().features holds its poolings; pool5 is not part of VGG16-GAP.
_POOLINGS = {"pool3": 16, "pool4": 23, "pool5": 30}
_DROPPED = {16: ("pool5",), 8: ("pool5", "pool4"), 4: ("pool5", "pool4", "pool3")}


def build_vgg16_gap(spec: ClassifierSpec) -> Parts:
    """VGG16-GAP in parts."""
    backbone = Vgg16GapBackbone(spec.stride)
    head = PooledLinear(backbone.channels, spec.num_classes)
    return Parts(backbone, head, spec.stride, backbone.stride_changes)


def numbered_without_gaps(stride: int) -> dict[str, str]:
    """Names of convolutions in files whose dropped poolings left no gap in the numbering, to the network's own names.

    So are those of wsolevaluation (Choe et al., CVPR 2020) at 28x28 maps. Empty where the numbers are the same.
    """
    dropped = [_POOLINGS[name] for name in _DROPPED[stride]]
    at = [i for i, layer in enumerate(make_layers(cfgs["D"])) if isinstance(layer, nn.Conv2d)]
    shifted = {i - sum(place < i for place in dropped): i for i in at}
    return {
        f"features.{theirs}.{kind}": f"features.{ours}.{kind}"
        for theirs, ours in shifted.items()
        if theirs != ours
        for kind in ("weight", "bias")
    }


class Vgg16GapBackbone(nn.Module):
    """VGG16's convolutions and conv6: [N, 3, H, W] -> [N, 1024, h, w], h = floor(H / stride).

    Convolutions up to conv5_3 as in torchvision (same names, so its weights load), no pool5, then conv6: 3x3, 1024
    channels, ReLU. Smaller strides drop pool4 (8) and pool3 (4) too. conv6 never has ImageNet weights.
    """

    channels = 1024

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        self.features = make_layers(cfgs["D"])  # without the 0.5 GB of dense layers
        dropped = _DROPPED[output_stride]
        for name in dropped:
            self.features[_POOLINGS[name]] = nn.Identity()  # keeps the later layers' names
        self.conv6 = nn.Conv2d(512, self.channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.stride_changes = tuple(f"{name}: dropped" for name in dropped)

    def forward(self, images: Tensor) -> Tensor:
        return self.relu(self.conv6(self.features(images)))
