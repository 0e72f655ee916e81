"""Boxes: the coordinate rule, and each habit of the published protocols as a named function.

THE COORDINATE RULE. A box is `xyxy`: (x0, y0, x1, y1) in float pixels of a named frame, half-open. Pixel (column i,
row j) covers the square [i, i+1) x [j, j+1); the box of that one pixel is (i, j, i+1, j+1) and has area 1; the box of
a whole W x H image is (0, 0, W, H). Manifests hold boxes so, as far as their source's corners allow.

The reference protocol (Choe et al., CVPR 2020, arXiv 2001.07437) scores otherwise: it takes both ends of a box as
pixels inside it, and feeds that formula with contour boxes whose end is exclusive. Published numbers depend on it, so
these functions keep each such habit under its own name:

    rescaled            ground truth into a frame, product first (then truncated to integers)
    contour_boxes       bounding rectangles as predictions, exclusive end clamped to the last pixel
    empty_prediction    what a map without foreground predicts
    inclusive_iou       IoU with both ends counted
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsol.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt


def inclusive_iou(boxes_a: npt.ArrayLike, boxes_b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Pairwise IoU with both ends counted: sides are x1 - x0 + 1; [N, 4] and [M, 4] give [N, M].

    The reference's formula. [0, 0, 0, 0] is therefore one pixel, not an empty box. A side of the intersection
    below 0 counts as 0.

    Raises:
        ValueError: another shape than [N, 4], or a box with x1 < x0 or y1 < y0.

    >>> inclusive_iou([[0, 0, 0, 0]], [[0, 0, 1, 0], [1, 1, 1, 1]])
    array([[0.5, 0. ]])
    """
    a, b = _as_boxes(boxes_a, "boxes_a"), _as_boxes(boxes_b, "boxes_b")
    for name, boxes in (("boxes_a", a), ("boxes_b", b)):
        if (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError(f"`{name}` holds a box with x1 < x0 or y1 < y0")
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # [N, M, 2]
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])  # [N, M, 2]
    intersection = np.maximum(high - low + 1, 0).prod(axis=2)  # [N, M]
    area_a = (a[:, 2:] - a[:, :2] + 1).prod(axis=1)  # [N]
    area_b = (b[:, 2:] - b[:, :2] + 1).prod(axis=1)  # [M]
    return np.asarray(intersection / (area_a[:, None] + area_b[None, :] - intersection))


def rescaled(
    boxes_xyxy: npt.ArrayLike,
    size_wh: npt.ArrayLike,
    frame_wh: tuple[int, int],
    image_id: str | Sequence[str],
) -> npt.NDArray[np.float64]:
    """Ground truth of an image of `size_wh` in a frame of `frame_wh`: (x * W) / w, [M, 4] to float64 [M, 4].

    `size_wh` is one (width, height), or [M, 2] with the size of each box's own image; `image_id` is one or each box's
    own likewise. The product comes first: the protocols then truncate, and x * (W / w) gives other integers. No boxes
    give shape [0, 4].

    Raises:
        UserError: a negative or non-finite coordinate, or x1 < x0 or y1 < y0; the message names `image_id`.
        ValueError: `size_wh` or `frame_wh` is not positive.

    >>> np.trunc(rescaled([[60, 27, 385, 331]], (500, 335), (224, 224), "001.jpg")).tolist()
    [[26.0, 18.0, 172.0, 221.0]]
    """
    sizes = np.asarray(size_wh, dtype=np.float64).reshape(-1, 2)
    if sizes.min(initial=1) < 1 or min(frame_wh) < 1:
        raise ValueError(
            f"sizes must be positive, got size_wh={size_wh!r}, frame_wh={frame_wh} for '{image_id}'"
        )
    boxes = _as_boxes(boxes_xyxy, "boxes_xyxy")
    bad = ~np.isfinite(boxes).all(1) | (boxes < 0).any(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    if bad.any():
        box = [float(value) for value in boxes[bad][0]]
        whose = image_id if isinstance(image_id, str) else image_id[int(np.flatnonzero(bad)[0])]
        raise UserError(
            f"image '{whose}': ground-truth box {box} is not a box; expected 0 <= x0 <= x1 and 0 <= y0 <= y1 in "
            "pixels of the stored image; correct or remove the row"
        )
    frame = np.array([*frame_wh, *frame_wh], dtype=np.float64)
    return np.asarray((boxes * frame) / np.tile(sizes, 2))


def contour_boxes(rects_xywh: npt.ArrayLike, frame_wh: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Bounding rectangles of contours as the reference predicts them: x, y, min(x + w, W - 1), min(y + h, H -
    1).

    [K, 4] to int64 [K, 4]. The end is exclusive, unless the rectangle reaches the last column or row, where
    it is the last pixel itself.

    >>> contour_boxes([[30, 10, 20, 40], [0, 0, 224, 224]], (224, 224))
    array([[ 30,  10,  50,  50],
           [  0,   0, 223, 223]])
    """
    rects = _as_boxes(rects_xywh, "rects_xywh")
    ends = np.minimum(rects[:, :2] + rects[:, 2:], np.array(frame_wh, dtype=np.float64) - 1)
    return np.concatenate([rects[:, :2], ends], axis=1).astype(np.int64)


def empty_prediction() -> npt.NDArray[np.int64]:
    """What a map without foreground predicts: the one box [0, 0, 0, 0], int64 [1, 4].

    Under `inclusive_iou` it is the top left pixel, so it can score above 0.
    """
    return np.zeros((1, 4), dtype=np.int64)


def _as_boxes(boxes: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    """`boxes` as float64 [N, 4]; an empty list is no boxes."""
    array = np.asarray(boxes, dtype=np.float64)
    if array.shape == (0,):
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"`{name}` must have shape [N, 4], got {list(array.shape)}")
    return array
