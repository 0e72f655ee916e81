"""FMix (Harris et al. 2020, arXiv 2002.12047): mix two images by a mask of random low-frequency shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from wsol.methods.batch import MixedBatch, Size, check_batch, unmixed
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Generator, Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class FMixDraw:
    """`permutation` int64 [N]; `own` bool [H, W], where the image stays; `lam`, the share that was asked for."""

    permutation: Tensor
    own: Tensor
    lam: float


@dataclass(frozen=True)
class FMix(Method):
    """One mask for the batch, and labels by the lambda that was drawn; the defaults are those of the authors' code."""

    name: ClassVar[str] = "fmix"
    alpha: float = setting(1.0, "lambda ~ Beta(alpha, alpha).", check_positive)
    decay: float = setting(3.0, "Power by which frequencies fade; higher is smoother.", check_positive)
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def draw(self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0) -> FMixDraw:
        import torch

        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        lam = float(rng.beta(self.alpha, self.alpha)) if rng.random() < self.prob else 1.0
        shape = low_frequency_image(size_hw, self.decay, rng)
        return FMixDraw(permutation, torch.from_numpy(highest(shape, lam, round_up=rng.random() > 0.5)), lam)

    def apply(self, images: Tensor, labels: Tensor, draw: FMixDraw, look: Look | None = None) -> MixedBatch:
        import torch

        check_batch(images, labels, len(draw.permutation))
        if draw.lam == 1.0:
            return unmixed(images, labels)
        permutation = draw.permutation.to(images.device, non_blocking=True)
        mixed = torch.where(draw.own.to(images.device, non_blocking=True), images, images[permutation])
        return MixedBatch(mixed, labels, labels[permutation], draw.lam)


def low_frequency_image(size_hw: Size, decay: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Real part of the inverse Fourier transform of complex Gaussian noise over frequency^decay (section 3)."""
    height, width = size_hw
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))  # [H, W // 2 + 1]
    scale = 1.0 / np.maximum(frequency, 1.0 / max(size_hw)) ** decay
    noise = rng.standard_normal((2, *scale.shape))
    return np.fft.irfft2(scale * (noise[0] + 1j * noise[1]), size_hw)


def highest(image: npt.NDArray[np.float64], share: float, round_up: bool) -> npt.NDArray[np.bool_]:
    """True at the highest `share` of an image's values, their number rounded up or down.

    >>> highest(np.array([[4.0, 1.0], [3.0, 2.0]]), 0.6, round_up=True).tolist()
    [[True, False], [True, True]]
    """
    count = math.ceil(share * image.size) if round_up else math.floor(share * image.size)
    mask = np.zeros(image.size, bool)
    mask[image.ravel().argsort()[::-1][:count]] = True
    return mask.reshape(image.shape)
