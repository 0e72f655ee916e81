"""Feature CutMix (Yun et al., ICCV 2019, arXiv 1905.04899, section 4.1): CutMix on the output of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from wsol.cams.layers import layer_named
from wsol.methods.batch import MixedBatch, check_batch, unmixed
from wsol.methods.cutmix_box import clipped_box, kept_share, pasted
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.models import Classifier
    from wsol.training.look import Look


@dataclass(frozen=True)
class FeatureCutMixDraw:
    """`permutation` int64 [N]; `lam` as CutMix draws it; `centre_xy` in [0, 1), shares of the map's sides.

    `weights` is empty until `apply` puts the labels' weights [N] there, which are known when the layer has run.
    """

    permutation: Tensor
    lam: float
    centre_xy: tuple[float, float]
    weights: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class FeatureCutMix(Method):
    """One box for the batch, in cells of the layer's output; the labels' lambda is that of the clipped box there."""

    name: ClassVar[str] = "feature_cutmix"
    layer: str | None = setting(None, "Layer of the backbone, such as layer2.", required=True)
    alpha: float = setting(1.0, "lambda ~ Beta(alpha, alpha).", check_positive)
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> FeatureCutMixDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        lam = float(rng.beta(self.alpha, self.alpha)) if rng.random() < self.prob else 1.0
        return FeatureCutMixDraw(permutation, lam, (rng.random(), rng.random()))

    def apply(
        self, images: Tensor, labels: Tensor, draw: FeatureCutMixDraw, look: Look | None = None
    ) -> MixedBatch:
        check_batch(images, labels, len(draw.permutation))
        if draw.lam == 1.0:
            return unmixed(images, labels)
        draw.weights[:] = [images.new_ones(len(labels))]
        return MixedBatch(images, labels, labels[draw.permutation.to(labels.device)], draw.weights[0])

    def extend(self, model: Classifier) -> None:
        layer_named(
            model.backbone, str(self.layer)
        )  # a `UserError` for a layer that this network does not have

    def layers(self, model: Classifier, draw: FeatureCutMixDraw) -> Mapping[str, Callable[[Tensor], Tensor]]:
        def paste(features: Tensor) -> Tensor:
            height, width = features.shape[-2:]
            centre = int(draw.centre_xy[0] * width), int(draw.centre_xy[1] * height)
            box = clipped_box((height, width), draw.lam, centre)
            draw.weights[0].fill_(kept_share(box, (height, width)))
            return pasted(features, draw.permutation.to(features.device), (box,))

        return {} if draw.lam == 1.0 else {str(self.layer): paste}
