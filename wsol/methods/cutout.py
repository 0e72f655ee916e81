"""Cutout (DeVries and Taylor 2017, arXiv 1708.04552): hide one square of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.batch import box_masks, check_batch, hidden, unmixed
from wsol.methods.contract import Recorded
from wsol.methods.rng import check_count, check_fraction, numpy_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.methods.batch import MixedBatch


@dataclass(frozen=True)
class CutoutDraw:
    """`boxes_xyxy` is int64 [N, 4]: half-open boxes clipped to the image; (0, 0, 0, 0) leaves an image
    alone.
    """

    boxes_xyxy: Tensor


@dataclass(frozen=True)
class Cutout(Recorded):
    """Cutout's settings.

    The hidden square's side is `side` of the image's shorter side (0.5 is the 112 of 224 pixels that the
    CutMix paper used on ImageNet), or `side_px` pixels where that is given. Its centre is uniform over the
    image, so the square may reach beyond the border and is clipped there. It is filled with 0, which is the
    mean colour of a normalised image. `prob` is the chance that an image is cut at all.
    """

    name: ClassVar[str] = "cutout"
    side: float = 0.5
    side_px: int | None = None
    prob: float = 1.0

    def __post_init__(self) -> None:
        check_fraction(self.name, "side", self.side)
        check_fraction(self.name, "prob", self.prob)
        if self.side_px is not None:
            check_count(self.name, "side_px", self.side_px)

    def draw(self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator) -> CutoutDraw:
        import numpy as np
        import torch

        chance = numpy_generator(generator)
        height, width = size_hw
        side = self.side_px if self.side_px is not None else round(self.side * min(size_hw))
        x0 = chance.integers(width, size=batch_size) - side // 2  # [N]
        y0 = chance.integers(height, size=batch_size) - side // 2  # [N]
        boxes = np.stack([x0, y0, x0 + side, y0 + side], axis=1)  # [N, 4]
        boxes = np.clip(boxes, 0, [width, height, width, height])
        boxes[chance.random(batch_size) >= self.prob] = 0
        return CutoutDraw(torch.from_numpy(boxes.astype("int64")))

    def apply(self, images: Tensor, labels: Tensor, draw: CutoutDraw) -> MixedBatch:
        check_batch(images, labels, len(draw.boxes_xyxy))
        masks = box_masks(draw.boxes_xyxy.to(images.device, non_blocking=True), images.shape[-2:])
        return unmixed(hidden(images, masks), labels)
