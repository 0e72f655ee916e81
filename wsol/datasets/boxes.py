"""The one way in for boxes: from the units of a source to pixels that lie inside their image.

Sources differ in units (pixels, shares of the image), in how they round at the edge, and in what they let through.
The rules are the same for every reader:

- corners are `x0, y0, x1, y1` with x0 <= x1 and y0 <= y1; others are refused (which corner was meant is a guess);
- a box that reaches over its image by less than a pixel is clipped, counted and noted: exporters round;
- a box that reaches over by more is refused, or clipped with `--clip-boxes`, on every side;
- a box that lies wholly outside is refused too; clipped, it has no area and no prediction can hit it.

Where the size of an image is not known, its right and lower edge are looked at later, by `fit_split`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from wsol.errors import UserError
from wsol.split import Split

if TYPE_CHECKING:
    import numpy.typing as npt

Box = tuple[float, float, float, float]
Units = Literal["pixels", "shares", "percent", "thousandths"]
WHOLE: dict[str, float] = {"shares": 1.0, "percent": 100.0, "thousandths": 1000.0}
"""What the width or height of the image is in each unit other than pixels."""
ROUNDING = 1.0
"""A box that reaches over its image by less than this many pixels is taken for rounded, not for wrong."""


@dataclass(frozen=True)
class BoxRules:
    """How a source's boxes are read.

    Args:
        units: what the coordinates count; anything but pixels is multiplied by the image's size.
        scale: factor on coordinates in pixels, for images that were resized while their boxes were not.
        clip: clip boxes that reach over their image by a pixel or more, instead of refusing them.
    """

    units: Units = "pixels"
    scale: float = 1.0
    clip: bool = False

    @property
    def in_pixels(self) -> BoxRules:
        """The same rules for boxes that have been converted to pixels already."""
        return BoxRules(clip=self.clip)


@dataclass
class BoxCounts:
    """How many boxes were moved into their image: by less than a pixel, by more, and from wholly outside."""

    rounded: int = 0
    clipped: int = 0
    outside: int = 0

    def notes(self, split: str) -> list[str]:
        """What the manifest says of them; nothing where no box was moved."""
        found = []
        if self.rounded:
            found.append(
                f"{split}: {self.rounded} boxes reached over their image by less than a pixel and were clipped"
            )
        if self.clipped:
            found.append(f"{split}: {self.clipped} boxes were clipped to their image")
        if self.outside:
            found.append(
                f"{split}: {self.outside} boxes lay wholly outside their image; clipped to its edge, they have no area"
            )
        return found


class BoxError(ValueError):
    """A box that no rule admits; `index` is its row."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def fit_boxes(
    boxes_xyxy: npt.NDArray[np.float64], sizes_wh: npt.NDArray[np.int32], rules: BoxRules, counts: BoxCounts
) -> npt.NDArray[np.float64]:
    """Boxes [M, 4] in pixels inside images of `sizes_wh` [M, 2] (width, height; 0, 0 where unknown).

    Raises:
        BoxError: for the first box that is inverted, wholly outside, or reaches over its image by a pixel or more
            while `rules.clip` is off.

    >>> counts = BoxCounts()
    >>> fit_boxes(np.array([[10.0, 0.0, 640.06, 20.0]]), np.array([[640, 480]]), BoxRules(), counts).tolist()
    [[10.0, 0.0, 640.0, 20.0]]
    >>> counts.rounded, counts.clipped
    (1, 0)
    >>> fit_boxes(np.array([[0.1, 0.2, 0.5, 1.0]]), np.array([[200, 100]]), BoxRules("shares"), counts).tolist()
    [[20.0, 20.0, 100.0, 100.0]]
    """
    boxes = boxes_xyxy * rules.scale
    extent = np.concatenate([sizes_wh, sizes_wh], axis=1).astype(np.float64)  # [M, 4]
    if rules.units != "pixels":
        unknown = np.flatnonzero(extent[:, 0] == 0)
        if len(unknown):
            raise BoxError(
                int(unknown[0]), f"is given in {rules.units} of its image, whose size is not known"
            )
        boxes = boxes * extent / WHOLE[rules.units]
    high = np.where(extent > 0, extent, np.inf)
    inverted = (boxes[:, 0] > boxes[:, 2]) | (boxes[:, 1] > boxes[:, 3])
    if inverted.any():
        raise BoxError(int(inverted.argmax()), "is not x0 <= x1, y0 <= y1")
    over = np.maximum(-boxes, boxes - high).max(axis=1, initial=0.0)  # pixels beyond the nearest edge
    rounded = (over > 0) & (over < ROUNDING)
    beyond = over >= ROUNDING
    outside = beyond & ((boxes[:, :2] >= high[:, :2]).any(1) | (boxes[:, 2:] <= 0).any(1))
    if beyond.any() and not rules.clip:
        worst = outside if outside.any() else beyond
        what = "lies wholly outside its image" if outside.any() else "leaves its image"
        raise BoxError(
            int(worst.argmax()),
            f"{what}; {int(worst.sum())} boxes are so. Correct the source, or pass --clip-boxes to clip them",
        )
    counts.rounded += int(rounded.sum())
    counts.clipped += int((beyond & ~outside).sum())
    counts.outside += int(outside.sum())
    return np.clip(boxes, 0, high)


def fit_split(
    split: Split, sizes_wh: npt.NDArray[np.int32], rules: BoxRules, counts: BoxCounts | None = None
) -> Split:
    """The split with sizes [N, 2] filled in where it states none, and its boxes (in pixels) fitted to them.

    Raises `UserError` naming the image of a box that no rule admits.
    """
    sizes = np.where(split.sizes_wh > 0, split.sizes_wh, sizes_wh).astype(np.int32)
    owner = np.repeat(np.arange(len(split)), np.diff(split.box_offsets))
    try:
        boxes = fit_boxes(split.boxes_xyxy, sizes[owner], rules.in_pixels, counts or BoxCounts())
    except BoxError as error:
        row = int(owner[error.index])
        width, height = sizes[row].tolist()
        raise UserError(
            f"box {describe(split.boxes_xyxy[error.index])} of image '{split.image_ids[row]}' of {width}x{height} "
            f"{error}"
        ) from error
    return split.replace(sizes_wh=sizes, boxes_xyxy=boxes)


def upright_to_stored(
    boxes_xyxy: npt.NDArray[np.float64], orientation: int, stored_wh: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Boxes [M, 4] drawn on the upright image (as a viewer shows it), in pixels of the stored image.

    `orientation` is EXIF's, 1 to 8; `stored_wh` the size of the stored image. Boxes are half-open.

    >>> upright_to_stored(np.array([[0.0, 0.0, 10.0, 20.0]]), 6, (100, 50)).tolist()
    [[0.0, 40.0, 20.0, 50.0]]
    """
    width, height = stored_wh
    x0, y0, x1, y1 = boxes_xyxy.T
    if orientation >= 5:  # rows and columns are exchanged: an upright x is a stored y
        x0, y0, x1, y1 = y0, x0, y1, x1
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return np.stack([x0, y0, x1, y1], axis=1)


def describe(box: Iterable[float]) -> str:
    """
    >>> describe((1.0, 2.5, 3.0, 4.0))
    '1 2.5 3 4'
    """
    return " ".join(f"{float(v):g}" for v in box)
