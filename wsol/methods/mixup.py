"""Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412): blend two images and their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.batch import MixedBatch, check_batch, unmixed
from wsol.methods.contract import Recorded
from wsol.methods.rng import check_fraction, check_positive, numpy_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class MixupDraw:
    """`permutation` is int64 [N], the partner of each image; `lam` is the weight of the image itself."""

    permutation: Tensor
    lam: float


@dataclass(frozen=True)
class Mixup(Recorded):
    """Mixup's settings: lambda ~ Beta(alpha, alpha), one per batch; `prob` is the chance that a batch is
    mixed.

    alpha = 1 is what the CutMix paper used for its ImageNet comparison; for its localization runs it gives
    none.
    """

    name: ClassVar[str] = "mixup"
    alpha: float = 1.0
    prob: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.name, "alpha", self.alpha)
        check_fraction(self.name, "prob", self.prob)

    def draw(self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator) -> MixupDraw:
        import torch

        chance = numpy_generator(generator)
        permutation = torch.from_numpy(chance.permutation(batch_size).astype("int64"))
        lam = float(chance.beta(self.alpha, self.alpha)) if chance.random() < self.prob else 1.0
        return MixupDraw(permutation, lam)

    def apply(self, images: Tensor, labels: Tensor, draw: MixupDraw) -> MixedBatch:
        check_batch(images, labels, len(draw.permutation))
        if draw.lam == 1.0:
            return unmixed(images, labels)
        permutation = draw.permutation.to(images.device, non_blocking=True)
        blended = images[permutation].mul_(1.0 - draw.lam).add_(images, alpha=draw.lam)
        return MixedBatch(blended, labels, labels[permutation], draw.lam)
