"""The boxes of CutMix and its relatives: how they are drawn, clipped and filled, and what they leave of a label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsol.methods.batch import Size, box_masks

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Box = tuple[int, int, int, int]
NO_BOX: Box = (0, 0, 0, 0)


@dataclass(frozen=True)
class BoxDraw:
    """The boxes of one batch: half-open pixels x0, y0, x1, y1 inside the image, `NO_BOX` where nothing is pasted.

    `permutation` is int64 [N]: image i receives a box from image `permutation[i]`. `boxes_xyxy` are one box for the
    whole batch, or one per image; `lam` has as many entries: the share of the image that stays, `kept_share`.
    """

    permutation: Tensor
    boxes_xyxy: tuple[Box, ...]
    lam: tuple[float, ...]


def draw_box(
    rng: np.random.Generator,
    size_hw: Size,
    alpha: float,
    side: float | None = None,
    sigma: float | None = None,
) -> Box:
    """A box whose area asks for 1 - lambda, lambda ~ Beta(alpha, alpha), about a uniform centre, clipped.

    `side` asks for this share of the sides instead; with `sigma` the centre is normal about the image's, with so many
    sides as standard deviation, kept inside.
    """
    lam = rng.beta(alpha, alpha)
    if sigma is None:
        centre_xy = uniform_centre(rng, size_hw)
    else:
        height, width = size_hw
        x, y = rng.normal((width / 2, height / 2), (sigma * width, sigma * height))
        centre_xy = min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)
    if side is not None:
        return box_around(size_hw, (int(size_hw[0] * side), int(size_hw[1] * side)), centre_xy)
    return clipped_box(size_hw, lam, centre_xy)


def uniform_centre(rng: np.random.Generator, size_hw: Size) -> tuple[int, int]:
    """A pixel x, y of the image, each as likely."""
    return int(rng.integers(size_hw[1])), int(rng.integers(size_hw[0]))


def clipped_box(size_hw: Size, lam: float, centre_xy: tuple[int, int]) -> Box:
    """The half-open box x0, y0, x1, y1 around `centre_xy` whose area asks for 1 - lam, clipped to the image.

    Side lengths are int(W * sqrt(1 - lam)) and int(H * sqrt(1 - lam)), and each half is rounded down, as in
    the paper's code. A box without area is `NO_BOX`.

    >>> clipped_box((8, 8), 0.75, (1, 4))  # a 4 x 4 box, one column of which falls outside
    (0, 2, 3, 6)
    """
    ratio = math.sqrt(1.0 - lam)
    return box_around(size_hw, (int(size_hw[0] * ratio), int(size_hw[1] * ratio)), centre_xy)


def box_around(size_hw: Size, box_hw: Size, centre_xy: tuple[int, int]) -> Box:
    """The half-open box x0, y0, x1, y1 of a height and width around a centre, each half rounded down, clipped."""
    (height, width), (half_h, half_w) = size_hw, (box_hw[0] // 2, box_hw[1] // 2)
    x, y = centre_xy
    box = (max(x - half_w, 0), max(y - half_h, 0), min(x + half_w, width), min(y + half_h, height))
    return box if box[2] > box[0] and box[3] > box[1] else NO_BOX


def kept_share(box_xyxy: Box, size_hw: Size) -> float:
    """The share of an image that lies outside the half-open box.

    >>> kept_share((0, 2, 3, 6), (8, 8))
    0.8125
    """
    x0, y0, x1, y1 = box_xyxy
    return 1.0 - (x1 - x0) * (y1 - y0) / (size_hw[0] * size_hw[1])


def label_weight(kept: float, kind: str) -> float:
    """The weight of an image's own label where the share `kept` of it stays (Table 8 of the CutMix paper).

    >>> [label_weight(0.75, kind) for kind in ("area", "larger", "half")]
    [0.75, 1.0, 0.5]
    """
    if kept == 1.0 or kind == "area":
        return kept
    return float(kept >= 0.5) if kind == "larger" else 0.5


def pasted(images: Tensor, permutation: Tensor, boxes_xyxy: tuple[Box, ...]) -> Tensor:
    """A copy of `images` [N, C, H, W] whose boxes show the partners' same pixels: one box for all, or N of them."""
    import torch

    if len(boxes_xyxy) == 1:
        x0, y0, x1, y1 = boxes_xyxy[0]
        mixed = images.clone()
        mixed[:, :, y0:y1, x0:x1] = images[:, :, y0:y1, x0:x1][permutation]
        return mixed
    boxes = torch.tensor(boxes_xyxy, dtype=torch.int64).reshape(-1, 4)  # [N, 4], also for N = 0
    masks = box_masks(boxes.to(images.device, non_blocking=True), images.shape[-2:])
    return torch.where(masks, images[permutation], images)
