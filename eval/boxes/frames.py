"""Where an image's annotations lie in the frame that its score map is scored in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eval.boxes.geometry import rescale_truncated
from eval.records.histograms import resize_mask
from wsol.errors import UserError
from wsol.loading import EvalView

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split


@dataclass(frozen=True)
class Frame:
    """A square of `size` pixels in which maps, boxes and masks meet.

    `view` is how the network saw the image; for "center-crop" the frame shows the same crop at its own scale.
    """

    name: str
    size: int
    view: EvalView

    @classmethod
    def of(cls, name: str, size: int, input_size: int | None = None) -> Frame:
        """The frame of a protocol, for a network input of `input_size` (default: the frame's own size)."""
        return cls(name, size, EvalView(name, input_size or size))  # type: ignore[arg-type]

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.size, self.size

    def boxes(
        self, boxes_xyxy: npt.NDArray[np.float64], size_wh: npt.ArrayLike, image_id: str
    ) -> npt.NDArray[np.int64]:
        """Ground truth [M, 4] in the frame, as integers truncated towards zero. `size_wh` is the image's (width,
        height), or [M, 2] where the boxes belong to several images.

        In a crop, boxes are clipped to it; one wholly outside becomes a sliver at the edge, which nothing localises,
        so that the image stays in the denominator.
        """
        if self.name == "resize":
            return rescale_truncated(boxes_xyxy, size_wh, (self.size, self.size), image_id)
        side = self.view.resized_side
        inside = (
            rescale_truncated(boxes_xyxy, size_wh, (side, side), image_id) if len(boxes_xyxy) else boxes_xyxy
        )
        scale = self.size / self.view.size
        moved = (np.asarray(inside, np.float64) - self.view.crop_offset) * scale
        return np.clip(np.trunc(moved), 0, self.size - 1).astype(np.int64)

    def mask(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """A whole-image mask in the frame; only frames without a crop have masks."""
        if self.name != "resize":
            raise ValueError(f"masks are scored in the 'resize' frame, not in '{self.name}'")
        return resize_mask(mask, self.size_hw)


def split_boxes(
    split: Split, rows: npt.NDArray[np.int64], frame: Frame
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ground truth of some rows in a frame: all boxes [M, 4] and where each row's begin, offsets [n + 1]."""
    counts = np.diff(split.box_offsets)[rows]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    if not offsets[-1]:
        return np.zeros((0, 4), np.int64), offsets
    picked = np.repeat(split.box_offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])  # [M]
    sizes = np.repeat(split.sizes_wh[rows], counts, axis=0)  # [M, 2]
    unknown = np.flatnonzero(sizes.min(1) < 1)
    if len(unknown):
        owner = int(np.repeat(rows, counts)[unknown[0]])
        raise UserError(
            f"image '{split.image_ids[owner]}' has boxes, but the manifest does not state its width and height; "
            "prepare the dataset again with its image files in place"
        )
    return frame.boxes(split.boxes_xyxy[picked], sizes, split.image_ids[int(rows[0])]), offsets
