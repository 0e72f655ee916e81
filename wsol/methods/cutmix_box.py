"""CutMix's boxes: sides by the share of the image that is asked for, clipped at its borders (the paper's code)."""

from __future__ import annotations

import math

Box = tuple[int, int, int, int]


def clipped_box(size_hw: tuple[int, int], lam: float, centre_xy: tuple[int, int]) -> Box:
    """The half-open box x0, y0, x1, y1 around `centre_xy` whose area asks for 1 - lam, clipped to the image.

    Side lengths are int(W * sqrt(1 - lam)) and int(H * sqrt(1 - lam)), and each half is rounded down, as in
    the paper's code. A box without area is (0, 0, 0, 0).

    >>> clipped_box((8, 8), 0.75, (1, 4))  # a 4 x 4 box, one column of which falls outside
    (0, 2, 3, 6)
    """
    ratio = math.sqrt(1.0 - lam)
    return box_around(size_hw, (int(size_hw[0] * ratio), int(size_hw[1] * ratio)), centre_xy)


def box_around(size_hw: tuple[int, int], box_hw: tuple[int, int], centre_xy: tuple[int, int]) -> Box:
    """The half-open box x0, y0, x1, y1 of a height and width around a centre, each half rounded down, clipped."""
    (height, width), (half_h, half_w) = size_hw, (box_hw[0] // 2, box_hw[1] // 2)
    x, y = centre_xy
    box = (max(x - half_w, 0), max(y - half_h, 0), min(x + half_w, width), min(y + half_h, height))
    return box if box[2] > box[0] and box[3] > box[1] else (0, 0, 0, 0)


def kept_share(box_xyxy: Box, size_hw: tuple[int, int]) -> float:
    """The share of an image that lies outside the half-open box: the lambda of the labels.

    >>> kept_share((0, 2, 3, 6), (8, 8))
    0.8125
    """
    x0, y0, x1, y1 = box_xyxy
    return 1.0 - (x1 - x0) * (y1 - y0) / (size_hw[0] * size_hw[1])
