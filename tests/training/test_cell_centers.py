"""Where cells look, by the layers, against the input gradients of the same layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsol.cams.cell_centers import cell_centers
from wsol.cams.cells import CellCenters
from wsol.models import Classifier, ClassifierSpec, build_classifier
from wsol.models.classifier import Parts
from wsol.models.head import PooledLinear


@pytest.mark.parametrize(
    ("arch", "stride", "layer", "offset"),
    [
        pytest.param("resnet50", 32, "final", 15.5, id="resnet50 stride 32"),
        pytest.param("resnet50", 16, "final", 7.5, id="resnet50 stride 16"),
        pytest.param("resnet50", 8, "final", 3.5, id="resnet50 stride 8"),
        pytest.param("resnet50", 32, "layer3", 7.5, id="resnet50 layer3"),
        pytest.param("vgg16_gap", 16, "final", 0.0, id="vgg16 stride 16"),
        pytest.param("vgg16_gap", 8, "final", 0.0, id="vgg16 stride 8"),
    ],
)
def test_the_known_offsets_of_resnet_and_vgg(arch: str, stride: int, layer: str, offset: float) -> None:
    with torch.device("meta"):
        model = build_classifier(ClassifierSpec(arch, 2, stride, 224))
    found = cell_centers(model, layer)
    assert found is not None
    assert found.offset_xy == (offset, offset)


class Crooked(nn.Module):
    """Uneven paddings, dilation, a pooling that halves, and one that repeats cells."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ZeroPad2d((0, 3, 2, 1)),
            nn.Conv2d(3, 4, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(4, 4, (3, 5), padding=(2, 0), dilation=(2, 1)),
            nn.MaxPool2d(3, 2),
            nn.Upsample(scale_factor=2),
            nn.AvgPool2d(2, 2, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def by_gradients(backbone: nn.Module, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre (x, y) of what two inner cells see, and their (column, row), each [2, 2].

    Weights have one sign; average pooling stands in for max pooling, whose ties would shift the answer.
    """
    plain = copy.deepcopy(backbone).double().eval()
    for name, module in list(plain.named_modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.MaxPool2d):
            parent = plain.get_submodule(name.rpartition(".")[0])
            even = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, count_include_pad=True)
            setattr(parent, name.rpartition(".")[2], even)
    image = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    out = plain(image).sum(1)[0]
    pixels = torch.arange(size, dtype=torch.float64)
    centers, cells = [], []
    middle = out.shape[0] // 2
    for row, column in ((middle, middle - 1), (middle - 1, middle)):
        (gradient,) = torch.autograd.grad(out[row, column], image, retain_graph=True)
        seen = gradient[0].sum(0)
        centers.append(
            [
                float((seen.sum(0) * pixels).sum() / seen.sum()),
                float((seen.sum(1) * pixels).sum() / seen.sum()),
            ]
        )
        cells.append([column, row])
    return np.array(centers), np.array(cells)


@pytest.mark.parametrize("name", ["crooked", "resnet_small", "vgg16_gap"])
def test_equals_what_the_input_gradient_of_a_cell_sees(name: str) -> None:
    size = 100
    stride = 16 if name == "vgg16_gap" else 8
    model = build_classifier(ClassifierSpec(name, 2, stride, size)) if name != "crooked" else None
    if model is None:
        model = Classifier(
            ClassifierSpec("resnet_small", 2, 8, size), Parts(Crooked(), PooledLinear(4, 2), 8)
        )
    elif name == "vgg16_gap":  # what its inner cells see must lie within the image
        model.backbone.features = model.backbone.features[:17]
        model.backbone.conv6 = nn.Conv2d(256, 4, 3, padding=1)
    found = cell_centers(model)
    assert found is not None
    centers, cells = by_gradients(model.backbone, size)
    expected = np.stack(
        [found.x.start + found.x.step * cells[:, 0], found.y.start + found.y.step * cells[:, 1]], 1
    )
    np.testing.assert_allclose(centers, expected, atol=0.1)


def test_an_operation_that_cannot_be_followed_gives_none() -> None:
    class Folded(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.pixel_unshuffle(images, 4)

    parts = Parts(Folded(), PooledLinear(48, 2), 8)
    assert cell_centers(Classifier(ClassifierSpec("resnet_small", 2, 8, 32), parts)) is None


def test_records_hold_it_as_plain_values() -> None:
    found = cell_centers(build_classifier(ClassifierSpec("resnet_small", 2, 8, 64)))
    assert found is not None
    assert found.to_dict()["offset_xy"] == [3.5, 3.5]
    assert CellCenters.from_dict(found.to_dict()) == found
