"""torchvision's classifiers that consist of `features` and `classifier`, taken apart at the final map."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from wsol.models.classifier import Parts
from wsol.models.pixels import Interpolation, Pixels
from wsol.models.spec import ClassifierSpec
from wsol.models.taken_apart import take_apart


class _Torchvision:
    """How these networks are run in two steps."""

    def features(self, body: Any, images: Tensor) -> Tensor:
        features = body.features(images)
        return features.relu() if isinstance(body, torchvision.models.DenseNet) else features

    def tail(self, body: Any, features: Tensor) -> Tensor:
        pooled = features.mean((2, 3), keepdim=True)
        return body.classifier(pooled if _takes_maps(body.classifier) else pooled.flatten(1)).flatten(1)


def _takes_maps(classifier: nn.Module) -> bool:
    """Whether the classifier flattens by itself, as ConvNeXt's does behind its LayerNorm."""
    return any(isinstance(module, nn.Flatten) for module in classifier.modules())


_STEPS = _Torchvision()


def build(spec: ClassifierSpec) -> Parts:
    """The network of the spec's name in parts."""
    body = getattr(torchvision.models, spec.arch)(weights=None, num_classes=spec.num_classes)
    return take_apart(_STEPS, body, _last_layer(body), spec.arch, spec.input_size)


def head_names(name: str) -> tuple[str, ...]:
    """The name of the network's last layer, as its checkpoints spell it."""
    with torch.device("meta"):
        return (_last_layer(getattr(torchvision.models, name)(weights=None)),)


def pixels(name: str) -> Pixels:
    """The input of the network's first set of weights, from torchvision's own transforms."""
    preset = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    side, resized = preset.crop_size[0], preset.resize_size[0]
    interpolation: Interpolation = "bicubic" if preset.interpolation.value == "bicubic" else "bilinear"
    return Pixels(tuple(preset.mean), tuple(preset.std), side, interpolation, side / resized)


def weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights as torchvision names them, downloaded on first use; the first set, which the field uses.

    Raises OSError (URLError without network) or RuntimeError (a damaged download).
    """
    found = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    return dict(found.get_state_dict(progress=False, check_hash=True))


def vgg16_weights(name: str) -> dict[str, Tensor]:
    """VGG16's, of which VGG16-GAP takes the convolutions; as `weights`."""
    return weights("vgg16")


def _last_layer(body: nn.Module) -> str:
    """The name of the last layer with classes as its outputs."""
    return [n for n, m in body.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
