"""Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412): blend two images and their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.batch import MixedBatch, Size, check_batch, unmixed
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class MixupDraw:
    """`permutation` is int64 [N], the partner of each image; `lam` is the weight of the image itself."""

    permutation: Tensor
    lam: float


@dataclass(frozen=True)
class Mixup(Method):
    """Mixup's settings; alpha = 1 is what the CutMix paper used for its ImageNet comparison (for its localization runs
    it gives none)."""

    name: ClassVar[str] = "mixup"
    alpha: float = setting(1.0, "lambda ~ Beta(alpha, alpha), one for the batch.", check_positive)
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def draw(self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0) -> MixupDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        lam = float(rng.beta(self.alpha, self.alpha)) if rng.random() < self.prob else 1.0
        return MixupDraw(permutation, lam)

    def apply(self, images: Tensor, labels: Tensor, draw: MixupDraw, look: Look | None = None) -> MixedBatch:
        check_batch(images, labels, len(draw.permutation))
        if draw.lam == 1.0:
            return unmixed(images, labels)
        permutation = draw.permutation.to(images.device, non_blocking=True)
        blended = images[permutation].mul_(1.0 - draw.lam).add_(images, alpha=draw.lam)
        return MixedBatch(blended, labels, labels[permutation], draw.lam)
