"""CutMix (Yun et al., ICCV 2019, arXiv 1905.04899): paste a box of one image into another, mix the labels.

The share lambda ~ Beta(alpha, alpha) asks for a box of area 1 - lambda; its centre is uniform over the
image and the box is clipped at the borders, so the pasted area is smaller than asked for (0.318 of the
image on average at alpha = 1, not 0.5). Lambda is therefore computed again from the clipped box (the
paper's code does so too). The paper's variants (Table 8) are settings: where the box lies, how large it is, and what
the labels weigh; its scheduled variant is `--method-schedule linear`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from wsol.errors import UserError
from wsol.methods.batch import MixedBatch, box_masks, check_batch, unmixed
from wsol.methods.cutmix_box import Box, box_around, clipped_box, kept_share
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_choice, check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class CutMixDraw:
    """The random choices for one batch.

    `permutation` is int64 [N]: image i receives a box from image `permutation[i]`. `boxes_xyxy` holds
    half-open pixel boxes inside the image: one for the whole batch, or one per image; an empty
    box is (0, 0, 0, 0). `lam` has as many entries: the share of the image that stays, which is 1 minus the
    clipped box's area over the image's, whatever the labels weigh.
    """

    permutation: Tensor
    boxes_xyxy: tuple[Box, ...]
    lam: tuple[float, ...]


@dataclass(frozen=True)
class CutMix(Method):
    """CutMix's settings; the defaults are the paper's for ImageNet (its CIFAR runs used prob 0.5)."""

    name: ClassVar[str] = "cutmix"
    alpha: float = setting(1.0, "lambda ~ Beta(alpha, alpha)", check_positive)
    prob: float = setting(1.0, "Chance that a batch (with per-sample, an image) is mixed.", check_fraction)
    per_sample: bool = setting(False, "A box for each image; the paper's code draws one for the batch.")
    center: Literal["uniform", "gaussian"] = setting(
        "uniform", "gaussian: boxes lie about the image's centre."
    )
    sigma: float | None = setting(
        None,
        "With center gaussian: standard deviation of the box's centre, as a share of the side.",
        check_positive,
    )
    side: float | None = setting(
        None, "A box of this share of the sides instead of one by lambda (paper: 0.5).", check_fraction
    )
    labels: Literal["area", "larger", "half"] = setting(
        "area",
        "Weights of the labels: by area, all to the larger part (one-hot), or half each (complete-label).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.name, "center", self.center, ("uniform", "gaussian"))
        check_choice(self.name, "labels", self.labels, ("area", "larger", "half"))
        if (self.center == "gaussian") != (self.sigma is not None):
            raise UserError(
                "cutmix: --cutmix-center gaussian needs --cutmix-sigma, which the paper does not state, and nothing "
                "else does"
            )

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> CutMixDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        boxes = tuple(self._draw_box(size_hw, rng) for _ in range(batch_size if self.per_sample else 1))
        return CutMixDraw(permutation, boxes, tuple(kept_share(box, size_hw) for box in boxes))

    def _draw_box(self, size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
        if rng.random() >= self.prob:
            return (0, 0, 0, 0)
        height, width = size_hw
        lam = rng.beta(self.alpha, self.alpha)
        if self.sigma is None:
            centre_xy = int(rng.integers(width)), int(rng.integers(height))
        else:
            x, y = rng.normal((width / 2, height / 2), (self.sigma * width, self.sigma * height))
            centre_xy = min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)
        if self.side is not None:
            return box_around(size_hw, (int(height * self.side), int(width * self.side)), centre_xy)
        return clipped_box(size_hw, lam, centre_xy)

    def weight(self, kept: float) -> float:
        """The weight of an image's own label where the share `kept` of it stays.

        >>> [CutMix(labels=kind).weight(0.75) for kind in ("area", "larger", "half")]
        [0.75, 1.0, 0.5]
        """
        if kept == 1.0 or self.labels == "area":
            return kept
        return float(kept >= 0.5) if self.labels == "larger" else 0.5

    def apply(self, images: Tensor, labels: Tensor, draw: CutMixDraw, look: Look | None = None) -> MixedBatch:
        check_batch(images, labels, len(draw.permutation))
        permutation = draw.permutation.to(images.device, non_blocking=True)
        if self.per_sample:
            return self._apply_per_sample(images, labels, permutation, draw)
        (box,), (lam,) = draw.boxes_xyxy, draw.lam
        if lam == 1.0:
            return unmixed(images, labels)
        x0, y0, x1, y1 = box
        mixed = images.clone()
        mixed[:, :, y0:y1, x0:x1] = images[:, :, y0:y1, x0:x1][permutation]
        return MixedBatch(mixed, labels, labels[permutation], self.weight(lam))

    def _apply_per_sample(
        self, images: Tensor, labels: Tensor, permutation: Tensor, draw: CutMixDraw
    ) -> MixedBatch:
        import torch

        boxes = torch.tensor(draw.boxes_xyxy, dtype=torch.int64).reshape(-1, 4)  # [N, 4], also for N = 0
        weights = [self.weight(kept) for kept in draw.lam]
        lam = torch.tensor(weights, dtype=torch.float32).to(images.device, non_blocking=True)  # [N]
        masks = box_masks(boxes.to(images.device, non_blocking=True), images.shape[-2:])
        mixed = torch.where(masks, images[permutation], images)
        return MixedBatch(mixed, labels, labels[permutation], lam)
