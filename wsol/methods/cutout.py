"""Cutout (DeVries and Taylor 2017, arXiv 1708.04552): hide one square of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.batch import Size, box_masks, check_batch, hidden, unmixed
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_count, check_fraction, numpy_generator

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from wsol.methods.batch import MixedBatch
    from wsol.training.look import Look


@dataclass(frozen=True)
class CutoutDraw:
    """`boxes_xyxy` is int64 [N, 4]: half-open boxes clipped to the image; (0, 0, 0, 0) leaves an image alone."""

    boxes_xyxy: Tensor


@dataclass(frozen=True)
class Cutout(Method):
    """Cutout's settings; half a side is the 112 of 224 pixels that the CutMix paper used on ImageNet.

    The square's centre is uniform over the image, so it may reach beyond the border and is clipped there. It is filled
    with 0, which is the mean colour of a normalised image.
    """

    name: ClassVar[str] = "cutout"
    side: float = setting(0.5, "Side of the square, as a share of the image's shorter side.", check_fraction)
    side_px: int | None = setting(
        None, "Side of the square in pixels, instead of --cutout-side.", check_count
    )
    prob: float = setting(1.0, "Chance that an image is cut.", check_fraction)

    def draw(self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0) -> CutoutDraw:
        import numpy as np
        import torch

        rng = numpy_generator(generator)
        height, width = size_hw
        side = self.side_px if self.side_px is not None else round(self.side * min(size_hw))
        x0 = rng.integers(width, size=batch_size) - side // 2  # [N]
        y0 = rng.integers(height, size=batch_size) - side // 2  # [N]
        boxes = np.stack([x0, y0, x0 + side, y0 + side], axis=1)  # [N, 4]
        boxes = np.clip(boxes, 0, [width, height, width, height])
        boxes[rng.random(batch_size) >= self.prob] = 0
        return CutoutDraw(torch.from_numpy(boxes.astype("int64")))

    def apply(self, images: Tensor, labels: Tensor, draw: CutoutDraw, look: Look | None = None) -> MixedBatch:
        check_batch(images, labels, len(draw.boxes_xyxy))
        masks = box_masks(draw.boxes_xyxy.to(images.device, non_blocking=True), images.shape[-2:])
        return unmixed(hidden(images, masks), labels)
