"""Somebody's whole network as a final map and what lies behind it, with the class activation map exact where one is.

Four kinds of heads have an exact class activation map, one whose mean over the cells plus the bias is the logit:

- average pooling and one linear layer, or the same layer as a 1x1 convolution (Zhou et al., CVPR 2016);
- a 1x1 convolution to one map a class, ReLU and average pooling (SqueezeNet): what is averaged, bias included;
- average pooling, a LayerNorm, and one linear layer (ConvNeXt and others): exact when the LayerNorm's mean and variance
  are those of the pooled vector at every cell (`with_pooled_statistics`);
- neither: the network is kept whole behind its final map (`TailHead`), for map methods that use gradients.

Which kind a network is, is tried out on random pixels, not looked up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from wsol.errors import UserError, first_line
from wsol.models.classifier import Parts
from wsol.models.head import PooledClassMaps, PooledLinear, TailHead
from wsol.models.mode import evaluation_mode


class Whole(Protocol):
    """A network that can be run up to its final map, and from there on."""

    def features(self, body: nn.Module, images: Tensor) -> Any:
        """The final map of images [N, 3, S, S], as the network lays it out."""
        ...

    def tail(self, body: nn.Module, features: Tensor) -> Tensor:
        """What the network makes of its final map: [N, K], or [N, D] once its last layer was replaced by nothing."""
        ...


class WholeBackbone(nn.Module):
    """A network up to the final map [N, C, h, w]; its weights keep the names that they have in `body`.

    `nhwc`: the body gives [N, h, w, C]. `norm`: the name of a LayerNorm behind the pooling, which is applied to the
    map instead, with the statistics of the pooled vector.
    """

    def __init__(self, whole: Whole, body: nn.Module, nhwc: bool, norm: str | None) -> None:
        super().__init__()
        self.whole = whole
        self.body = body
        self.nhwc = nhwc
        self.norm = norm

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.whole.features(self.body, images)
        if self.nhwc:
            features = features.permute(0, 3, 1, 2)
        return (
            features
            if self.norm is None
            else with_pooled_statistics(features, self.body.get_submodule(self.norm))
        )

    def tail(self, features: Tensor) -> Tensor:
        """The network's own way from the final map [N, C, h, w] to the vector [N, D] of its last layer."""
        return self.whole.tail(self.body, features.permute(0, 2, 3, 1) if self.nhwc else features)


def with_pooled_statistics(features: Tensor, norm: nn.Module) -> Tensor:
    """A final map [N, C, h, w] whose mean over the cells is the LayerNorm of the map's mean over the cells.

    gamma * (F - mean over channels of F) / sigma + beta at every cell, where sigma is the deviation over the channels
    of the *pooled* vector. LayerNorm is linear but for sigma, so a linear layer on the result has an exact class
    activation map. Computed in float32.
    """
    features = features.float()
    pooled = features.mean((2, 3))  # [N, C]
    sigma = (pooled.var(1, unbiased=False) + float(norm.eps)).sqrt()  # type: ignore[arg-type]
    centred = (features - features.mean(1, keepdim=True)) / sigma[:, None, None, None]
    if norm.weight is None:
        return centred
    shift = 0.0 if norm.bias is None else norm.bias[:, None, None]  # type: ignore[index]
    return centred * norm.weight[:, None, None] + shift  # type: ignore[index]


def take_apart(whole: Whole, body: nn.Module, last: str, arch: str, input_size: int) -> Parts:
    """A network with its last layer taken off: `last` is that layer's name in `body`, which is changed in place.

    `Parts.stride` is measured at `input_size` pixels. Raises UserError where the network cannot take such images, gives
    no map, or ends otherwise than in one linear layer.
    """
    layer = body.get_submodule(last)
    if not isinstance(layer, nn.Linear | nn.Conv2d) or (
        isinstance(layer, nn.Conv2d) and (layer.kernel_size != (1, 1) or layer.groups != 1)
    ):
        raise UserError(
            f"{arch} ends in {last}, a {type(layer).__name__}, and not in one linear layer; its maps can be scored "
            "with --score-maps if you make them yourself"
        )
    if isinstance(layer, nn.Conv2d) and layer.bias is not None:
        with torch.no_grad():
            layer.bias[0] = -100.0  # so that a ReLU behind it shows in the trial
    features, logits = _trial(whole, body, arch, input_size)
    if not isinstance(features, Tensor) or features.ndim != 4 or min(features.shape[1:]) < 1:
        shape = (
            f"tokens {list(features.shape)}"
            if isinstance(features, Tensor)
            else f"a {type(features).__name__}"
        )
        raise UserError(
            f"{arch} has no final map [N, C, h, w]: before its pooling it gives {shape}. Make maps with a tool for "
            "such networks and score them with --score-maps"
        )
    matrix, bias = layer.weight.detach().flatten(1), layer.bias
    width = matrix.shape[1]
    nhwc = features.shape[1] != features.shape[3] and features.shape[3] == width
    if nhwc:
        features = features.permute(0, 3, 1, 2)
    stride = round(input_size / features.shape[-1])
    norm = None
    exact = _agrees(features.mean((2, 3)), matrix, bias, logits)
    if not exact and isinstance(layer, nn.Conv2d) and layer.bias is not None:
        head = PooledClassMaps(width, matrix.shape[0])
        head.load_state_dict({"weight": matrix, "bias": layer.bias.detach()})
        with torch.inference_mode():
            own = head(features).logits
        if _close(own, logits):
            _replace(body, last)
            return Parts(WholeBackbone(whole, body, nhwc, None), head, stride)
    if not exact:
        fitting = (
            n for n in _layer_norms(body, features) if _is_between(n, body, features, matrix, bias, logits)
        )
        norm = next(fitting, None)
    _replace(body, last)
    backbone = WholeBackbone(whole, body, nhwc, norm)
    if exact or norm is not None:
        return Parts(backbone, PooledLinear(width, matrix.shape[0]), stride)
    try:
        with evaluation_mode(body), torch.inference_mode():
            vector = backbone.tail(features)
    except (RuntimeError, ValueError):  # it needs what the last layer gave
        vector = logits.new_empty(0)
    if vector.ndim != 2 or not _agrees(vector, matrix, bias, logits):
        raise UserError(
            f"{arch} computes its logits otherwise than by {last} alone, so no map can be made for its classes here; "
            "make maps yourself and score them with --score-maps"
        )
    why = f"{arch} has no exact class activation map: further layers stand between its pooling and {last}"
    return Parts(backbone, TailHead(backbone.tail, width, matrix.shape[0], why), stride)


def _trial(whole: Whole, body: nn.Module, arch: str, input_size: int) -> tuple[Any, Tensor]:
    """The final map of an image of random pixels, and its logits [1, K]."""
    image = torch.rand((1, 3, input_size, input_size), generator=torch.Generator().manual_seed(0))
    try:
        with evaluation_mode(body), torch.inference_mode():
            return whole.features(body, image), body(image)
    except (AssertionError, RuntimeError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"{arch} does not take images of {input_size} pixels: {first_line(error)}") from error


def _agrees(vector: Tensor, matrix: Tensor, bias: Tensor | None, logits: Any) -> bool:
    """Whether a linear layer makes these logits of a vector [1, D]."""
    if not isinstance(logits, Tensor) or vector.shape[1] != matrix.shape[1]:
        return False
    return _close(nn.functional.linear(vector, matrix, None if bias is None else bias.detach()), logits)


def _close(found: Tensor, logits: Any) -> bool:
    """Whether two tensors of logits [1, K] are equal but for rounding."""
    if not isinstance(logits, Tensor) or found.shape != logits.shape:
        return False
    return bool(torch.allclose(found, logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max())))


def _layer_norms(body: nn.Module, features: Tensor) -> Iterator[str]:
    """Names of the LayerNorms over as many channels as the final map has, the last first."""
    named = list(body.named_modules())
    for name, module in reversed(named):
        if isinstance(module, nn.LayerNorm) and module.normalized_shape == (features.shape[1],):
            yield name


def _is_between(
    name: str, body: nn.Module, features: Tensor, matrix: Tensor, bias: Tensor | None, logits: Tensor
) -> bool:
    norm = body.get_submodule(name)
    assert isinstance(norm, nn.LayerNorm)
    vector = layer_norm(features.mean((2, 3)), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return _agrees(vector.detach(), matrix, bias, logits)


def _replace(body: nn.Module, name: str) -> None:
    """Put an Identity in the place of a module."""
    parent, _, child = name.rpartition(".")
    setattr(body.get_submodule(parent), child, nn.Identity())
