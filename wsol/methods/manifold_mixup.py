"""Manifold Mixup (Verma et al., ICML 2019, arXiv 1806.05236): blend two images' features at a random layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.cams.layers import layer_named
from wsol.errors import UserError
from wsol.methods.batch import MixedBatch, check_batch, unmixed
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.models import Classifier
    from wsol.training.look import Look


@dataclass(frozen=True)
class ManifoldMixupDraw:
    """`permutation` int64 [N], the partners; `lam`, the weight of the image itself; `layer`, where they are blended."""

    permutation: Tensor
    lam: float
    layer: str


@dataclass(frozen=True)
class ManifoldMixup(Method):
    """One layer a batch, each of `layers` as likely; 'input' is the image. Defaults: the paper's for ResNets."""

    name: ClassVar[str] = "manifold_mixup"
    alpha: float = setting(2.0, "lambda ~ Beta(alpha, alpha), one for the batch.", check_positive)
    layers_to_mix: tuple[str, ...] = setting(
        ("input", "layer1", "layer2"), "Layers of the backbone to choose from; 'input' is the image."
    )
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers_to_mix:
            raise UserError("manifold_mixup: `layers_to_mix` must name at least one layer")

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> ManifoldMixupDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        lam = float(rng.beta(self.alpha, self.alpha)) if rng.random() < self.prob else 1.0
        return ManifoldMixupDraw(permutation, lam, self.layers_to_mix[rng.integers(len(self.layers_to_mix))])

    def apply(
        self, images: Tensor, labels: Tensor, draw: ManifoldMixupDraw, look: Look | None = None
    ) -> MixedBatch:
        check_batch(images, labels, len(draw.permutation))
        if draw.lam == 1.0:
            return unmixed(images, labels)
        partners = labels[draw.permutation.to(labels.device)]
        return MixedBatch(
            blend(images, draw) if draw.layer == "input" else images, labels, partners, draw.lam
        )

    def extend(self, model: Classifier) -> None:
        for name in self.layers_to_mix:
            if name != "input":
                layer_named(model.backbone, name)  # a `UserError` for a layer that this network does not have

    def layers(self, model: Classifier, draw: ManifoldMixupDraw) -> Mapping[str, Callable[[Tensor], Tensor]]:
        if draw.layer == "input" or draw.lam == 1.0:
            return {}
        return {draw.layer: lambda features: blend(features, draw)}


def blend(values: Tensor, draw: ManifoldMixupDraw) -> Tensor:
    """lam * values + (1 - lam) * the partners' values, [N, ...]."""
    return draw.lam * values + (1.0 - draw.lam) * values[draw.permutation.to(values.device)]
