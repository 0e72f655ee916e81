"""Class activation maps of other people's networks: exact where the head allows it, else refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from tests.helpers.oracles import oracle
from wsol.cams.extract import extract_cams, extract_maps
from wsol.cams.map_method import LayerMap
from wsol.cams.registry import MAP_METHODS
from wsol.errors import UserError
from wsol.models import Classifier, ClassifierSpec, find_network, load_state
from wsol.models.head import PooledClassMaps, PooledLinear, TailHead
from wsol.models.mode import evaluation_mode
from wsol.models.taken_apart import with_pooled_statistics

CLASSES = 3


def ours_and_theirs(arch: str, size: int) -> tuple[Classifier, nn.Module]:
    """A network with random weights, as its own library makes it and as ours, with the same weights."""
    torch.manual_seed(0)
    if arch.startswith("timm:"):
        net = oracle("timm").create_model(arch.removeprefix("timm:"), num_classes=CLASSES)
    else:
        net = getattr(torchvision.models, arch)(weights=None, num_classes=CLASSES)
    for name, value in net.state_dict().items():
        if name.endswith(("running_mean", "norm.bias", "classifier.1.bias")):
            value.normal_(0, 0.1)
    spec = ClassifierSpec(arch, CLASSES, None, size)
    model = Classifier(spec, find_network(arch).parts(spec)).eval()
    load_state(model, net.state_dict(), arch, allow_new_head=False)
    return model, net.eval()


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        pytest.param("timm:test_resnet", 96, id="linear"),
        pytest.param("timm:edgenext_xx_small", 64, id="LayerNorm head"),
        pytest.param("timm:test_convnext", 96, id="LayerNorm head of ConvNeXt"),
        pytest.param("timm:dla46_c", 64, id="1x1 convolution as head"),
        pytest.param("timm:poolformer_s12", 64, id="LayerNorm head in a Sequential"),
        pytest.param("mobilenet_v2", 64, id="torchvision"),
        pytest.param("squeezenet1_1", 64, id="1x1 convolution, ReLU, average"),
    ],
)
def test_maps_sum_up_to_the_logits_of_the_original_network(arch: str, size: int) -> None:
    model, net = ours_and_theirs(arch, size)
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = net(image)
        found = extract_cams(model, image, torch.arange(CLASSES).expand(2, -1))
    scale = float(logits.abs().max())
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-4 * scale)
    bias = 0 if isinstance(model.head, PooledClassMaps) else model.head.bias  # then it is in the map
    pooled = found.maps.mean((2, 3)) + bias
    torch.testing.assert_close(pooled, logits, rtol=1e-4, atol=1e-4 * scale)


def test_a_body_that_gives_channels_last_is_turned() -> None:
    """Swin's layout, on a network small enough: the map [N, h, w, C] becomes [N, C, h, w]."""
    model, net = _channels_last()
    image = torch.rand(1, 3, 24, 16)
    assert model(image).shape == (1, 5, 6, 4)
    torch.testing.assert_close(model(image), net(image).permute(0, 3, 1, 2))


def _channels_last() -> tuple[nn.Module, Any]:
    from wsol.models.taken_apart import take_apart

    class Steps:
        def features(self, body: Any, images: Tensor) -> Tensor:
            return body.conv(images).permute(0, 2, 3, 1)

        def tail(self, body: Any, features: Tensor) -> Tensor:
            return body.fc(features.mean((1, 2)))

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 5, 4, stride=4), nn.Linear(5, 2)

        def forward(self, images: Tensor) -> Tensor:
            return Steps().tail(self, Steps().features(self, images))

    body = Body()
    parts = take_apart(Steps(), body, "fc", "turned", 32)
    assert isinstance(parts.head, PooledLinear)
    return parts.backbone, lambda images: Steps().features(body, images)


def test_layer_norm_with_the_statistics_of_the_pooled_vector() -> None:
    """By hand: the mean of the result over the cells is the LayerNorm of the mean of the map over the cells."""
    features = torch.randn(2, 6, 3, 4, dtype=torch.float64).float()
    norm = nn.LayerNorm(6, eps=1e-3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    expected = layer_norm(features.mean((2, 3)), (6,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(
        with_pooled_statistics(features, norm).mean((2, 3)), expected, rtol=1e-4, atol=1e-5
    )


def test_further_layers_behind_the_pooling_have_no_exact_map_and_hirescam_reads_them() -> None:
    model, net = ours_and_theirs("mobilenet_v3_small", 64)
    assert isinstance(model.head, TailHead)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([2, 0])
    with pytest.raises(
        UserError, match=r"mobilenet_v3_small has no exact .* classifier\.3.*--map-method hirescam"
    ):
        extract_cams(model, image, ids)
    found = extract_maps(model, image, ids, [LayerMap(MAP_METHODS["hirescam"])])
    with torch.inference_mode():
        torch.testing.assert_close(found.logits, net(image))
    features = net.features(image).detach().requires_grad_()
    own = net.classifier(net.avgpool(features).flatten(1)).gather(1, ids[:, None]).sum()
    gradient = torch.autograd.grad(own, features)[0]
    torch.testing.assert_close(found.maps[0], (gradient * features).sum(1).detach(), rtol=1e-4, atol=1e-6)


def test_evaluation_mode_is_left_even_where_a_module_cannot_enter_it() -> None:
    class Stubborn(nn.Linear):
        def train(self, mode: bool = True) -> Stubborn:
            if not mode:
                raise RuntimeError("always in training")
            return super().train(mode)

    model = nn.Sequential(nn.Linear(2, 2), Stubborn(2, 2))
    with pytest.raises(RuntimeError, match="always in training"), evaluation_mode(model):
        pass
    assert [module.training for module in model.modules()] == [True, True, True]
