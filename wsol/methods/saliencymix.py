"""SaliencyMix (Uddin et al., ICLR 2021, arXiv 2006.01791): CutMix whose box lies about the most salient pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.batch import MixedBatch, check_batch, unmixed
from wsol.methods.cutmix_box import clipped_box, kept_share, pasted
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class SaliencyMixDraw:
    """`permutation` int64 [N], the partners; `lam` as CutMix draws it, 1 for a batch that is left alone."""

    permutation: Tensor
    lam: float


@dataclass(frozen=True)
class SaliencyMix(Method):
    """One box for the batch, about the most salient pixel of the first image's partner, as in the authors' code; the
    defaults are theirs for ImageNet (CIFAR: prob 0.5)."""

    name: ClassVar[str] = "saliencymix"
    alpha: float = setting(1.0, "lambda ~ Beta(alpha, alpha).", check_positive)
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> SaliencyMixDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        return SaliencyMixDraw(
            permutation, float(rng.beta(self.alpha, self.alpha)) if rng.random() < self.prob else 1.0
        )

    def apply(
        self, images: Tensor, labels: Tensor, draw: SaliencyMixDraw, look: Look | None = None
    ) -> MixedBatch:
        check_batch(images, labels, len(draw.permutation))
        if draw.lam == 1.0:
            return unmixed(images, labels)
        permutation = draw.permutation.to(images.device, non_blocking=True)
        height, width = images.shape[-2:]
        place = int(spectral_residual(images[draw.permutation[0]].mean(0)).argmax())
        box = clipped_box((height, width), draw.lam, (place % width, place // width))
        mixed = pasted(images, permutation, (box,))
        return MixedBatch(mixed, labels, labels[permutation], kept_share(box, (height, width)))


def spectral_residual(grey: Tensor, side: int = 64) -> Tensor:
    """Saliency [H, W] of a grey image [H, W] (Hou and Zhang, CVPR 2007): what its log spectrum has beyond its own
    average over 3 x 3 frequencies, at 64 x 64 pixels, blurred by a Gaussian of 2.5 pixels.

    The authors take OpenCV's fine-grained saliency instead, which the usual OpenCV packages do not contain.
    """
    import torch
    from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

    small = interpolate(grey[None, None].float(), (side, side), mode="bilinear", align_corners=False)
    spectrum = torch.fft.fft2(small)
    log = (spectrum.abs() + math.ulp(1.0)).log()
    smooth = avg_pool2d(pad(log, (1, 1, 1, 1), mode="replicate"), 3, 1)
    saliency = torch.fft.ifft2(torch.polar((log - smooth).exp(), spectrum.angle())).abs().square()
    steps = torch.arange(-4.0, 5.0, device=grey.device)
    kernel = (-steps.square() / (2 * 2.5**2)).exp()
    kernel = kernel / kernel.sum()
    saliency = conv2d(pad(saliency, (4, 4, 4, 4), mode="reflect"), (kernel[:, None] * kernel)[None, None])
    return interpolate(saliency, grey.shape, mode="bilinear", align_corners=False)[0, 0]
