"""How an image is framed for evaluation: resized whole, or its centre cut out. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from wsol.errors import unknown_name
from wsol.models.pixels import Interpolation

if TYPE_CHECKING:
    import numpy.typing as npt

VIEW_NAMES = ("resize", "center-crop")
_CROP_MARGIN = 256 / 224  # the side before a crop, relative to the side after it
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize_rgb(
    rgb: npt.NDArray[np.uint8], side: int, interpolation: Interpolation = "bilinear"
) -> npt.NDArray[np.uint8]:
    """Resize an image [H, W, 3] to [side, side, 3], aspect ignored.

    With antialiasing, by Pillow (as torchvision and timm do), whose integer arithmetic gives the same bytes on every
    machine. An image that already has the size is returned as it is.
    """
    if rgb.shape[:2] == (side, side):
        return rgb

    return np.asarray(Image.fromarray(rgb).resize((side, side), _RESAMPLING[interpolation]))


@dataclass(frozen=True)
class EvalView:
    """How an image is framed for evaluation.

    `resize`: straight to size x size, aspect ignored (the reference protocol's frame). `center-crop`: resized
    to round(size * 256 / 224) squared, then the centre size x size of that (CutMix 2019, appendix B). A point
    x of an image of width w lands at `x * resized_side / w - crop_offset`, likewise y. `interpolation` is the
    network's own; it moves no point.
    """

    name: Literal["resize", "center-crop"]
    size: int
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.name not in VIEW_NAMES:
            raise unknown_name("view", self.name, VIEW_NAMES)
        if self.size < 1:
            raise ValueError(f"`size` must be at least 1 pixel, got {self.size}")

    @property
    def resized_side(self) -> int:
        """Side of the square the whole image is resized to, before any crop."""
        return self.size if self.name == "resize" else round(self.size * _CROP_MARGIN)

    @property
    def crop_offset(self) -> int:
        """Pixels cut away at the left and at the top of the resized image (0 for `resize`)."""
        return (self.resized_side - self.size) // 2

    def frame(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Frame one image: uint8 [H, W, 3] to uint8 [size, size, 3], perhaps a view of the input."""
        resized = resize_rgb(rgb, self.resized_side, self.interpolation)
        cut = slice(self.crop_offset, self.crop_offset + self.size)
        return resized[cut, cut]

    def apply(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Frame one image: uint8 [H, W, 3] to a new contiguous uint8 [3, size, size]."""
        return np.ascontiguousarray(self.frame(rgb).transpose(2, 0, 1))  # [3, size, size]
