"""What is annotated of an image beside its boxes: masks of the object, regions to ignore, and parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from eval.boxes.frames import Frame
from wsol.images import decode_grey

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.files.roots import FileRoot
    from wsol.manifest import Split


@dataclass(frozen=True)
class ImageTruth:
    """One image's annotations in a frame, each [H, W]; None where there is none.

    `mask` is the union of the image's objects, `ignore` leaves out pixels that are in the mask, `parts` holds k + 1 on
    part k and 0 elsewhere.
    """

    mask: npt.NDArray[np.bool_] | None
    ignore: npt.NDArray[np.bool_] | None
    parts: npt.NDArray[np.uint8] | None


def read_truth(split: Split, row: int, files: FileRoot, frame: Frame) -> ImageTruth:
    """The annotations of an image in a frame that shows it whole. Raises `UserError` for files that cannot be read."""

    def grey(path: str) -> npt.NDArray[np.uint8]:
        return decode_grey(files.read_bytes(path), path)

    if row not in split.masks:
        return ImageTruth(None, None, None)
    mask = np.zeros(frame.size_hw, bool)
    for path in split.masks[row]:
        mask |= frame.mask(grey(path))
    ignore = parts = None
    if row in split.ignore_masks:
        ignore = frame.mask(grey(split.ignore_masks[row])) & ~mask
    if row in split.part_masks:
        side = (frame.size, frame.size)
        labels = cv2.resize(grey(split.part_masks[row]), side, interpolation=cv2.INTER_NEAREST)
        parts = np.asarray(labels, np.uint8)
    return ImageTruth(mask, ignore, parts)


def object_region(truth: ImageTruth, boxes: npt.NDArray[np.int64], frame: Frame) -> npt.NDArray[np.bool_]:
    """Where the object is [H, W]: its mask, else the union of its boxes [M, 4] in the frame, both ends counted."""
    if truth.mask is not None:
        return truth.mask
    region = np.zeros(frame.size_hw, bool)
    for x0, y0, x1, y1 in boxes:
        region[y0 : y1 + 1, x0 : x1 + 1] = True
    return region


def visible_part_points(split: Split, row: int, num_parts: int, size: int) -> npt.NDArray[np.float64]:
    """Points of an image's parts in a frame of `size` pixels that shows it whole, [P, 2] (x, y); NaN where a part is
    not visible, or the image's size is not known."""
    points = np.full((num_parts, 2), np.nan)
    wh = split.sizes_wh[row].astype(np.float64)
    if row in split.parts and wh.min() >= 1:
        listed = split.parts[row]
        visible = listed[:, 2] > 0
        points[visible] = listed[visible, :2] * size / wh
    return points
