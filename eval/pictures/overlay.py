"""A score map and boxes drawn over a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import numpy.typing as npt

TRUE_COLOUR = (255, 255, 255)
PREDICTED_COLOUR = (255, 176, 0)
"""White and amber: they differ in lightness, so that colour-blind readers can tell them too; the outline is dark."""
_OUTLINE = (20, 20, 20)
_DASH, _GAP = 7, 4  # pixels
_STRONGEST = 0.75  # opacity of the map where it is largest; a map's zero leaves the photograph as it is


def coloured(score: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A score map uint8 [H, W] in the colour scale inferno, uint8 RGB [H, W, 3]."""
    return np.ascontiguousarray(cv2.applyColorMap(score, cv2.COLORMAP_INFERNO)[..., ::-1])


def overlay(image: npt.NDArray[np.uint8], score: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A photograph uint8 [H, W, 3] under its map uint8 [H, W]: the larger the score, the more opaque the colour."""
    opacity = (score.astype(np.float32) * (_STRONGEST / 255))[..., None]  # [H, W, 1]
    mixed = image * (1 - opacity) + coloured(score) * opacity
    return np.rint(mixed).astype(np.uint8)


def draw_boxes(
    picture: Image.Image,
    boxes_xyxy: npt.NDArray[np.floating | np.integer],
    colour: tuple[int, int, int],
    *,
    dashed: bool = False,
    width: int = 2,
) -> None:
    """Draw boxes [K, 4] (exclusive ends, in the picture's pixels), each line with a dark outline."""
    pen = ImageDraw.Draw(picture)
    right, bottom = picture.width - 1, picture.height - 1
    for x0, y0, x1, y1 in np.asarray(boxes_xyxy, np.float64).tolist():
        left, top = round(max(0.0, min(x0, right))), round(max(0.0, min(y0, bottom)))
        end_x, end_y = round(max(left, min(x1 - 1, right))), round(max(top, min(y1 - 1, bottom)))
        pen.rectangle((left - 1, top - 1, end_x + 1, end_y + 1), outline=_OUTLINE, width=width + 2)
        if not dashed:
            pen.rectangle((left, top, end_x, end_y), outline=colour, width=width)
            continue
        for start in range(left, end_x + 1, _DASH + _GAP):
            stop = min(start + _DASH - 1, end_x)
            pen.rectangle((start, top, stop, top + width - 1), fill=colour)
            pen.rectangle((start, end_y - width + 1, stop, end_y), fill=colour)
        for start in range(top, end_y + 1, _DASH + _GAP):
            stop = min(start + _DASH - 1, end_y)
            pen.rectangle((left, start, left + width - 1, stop), fill=colour)
            pen.rectangle((end_x - width + 1, start, end_x, stop), fill=colour)
