"""A network from outside the package: small, with the names that torchvision's ResNets have."""

from __future__ import annotations

from torch import Tensor, nn

from wsol.models import ClassifierSpec, Network, Parts, Pixels, PooledLinear

WIDTH = 8


def block(channels: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(nn.ModuleDict({"conv1": conv, "bn1": nn.BatchNorm2d(WIDTH)}))


class TinyBackbone(nn.Module):
    """Two strided stages: [N, 3, H, W] -> [N, 8, H / 4, W / 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2 = block(3), block(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        for (stage,) in (self.layer1, self.layer2):
            images = stage["bn1"](stage["conv1"](images)).relu()  # type: ignore[index]
        return images


class TinyNet(TinyBackbone):
    """The same with its head, as somebody would train it."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(super().forward(images).mean((2, 3)))


def build(spec: ClassifierSpec) -> Parts:
    return Parts(TinyBackbone(), PooledLinear(WIDTH, spec.num_classes), 4)


TINY = Network(
    "tiny",
    "two stages for tests",
    build,
    strides=(4,),
    pixels=Pixels((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 32, "bicubic", 1.0),
)
