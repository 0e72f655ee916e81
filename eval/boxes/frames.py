"""Where an image's annotations lie in the frame that its score map is scored in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eval.boxes.geometry import rescaled
from eval.protocols import Channel
from wsol.errors import UserError
from wsol.views import EvalView

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

    @classmethod
    def of_channel(cls, channel: Channel, input_size: int | None = None) -> Frame:
        """The frame that a kind of score map is scored in; `input_size` as in `of`."""
        return cls.of(channel.frame, channel.frame_size, input_size)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.size, self.size

    def boxes(
        self, boxes_xyxy: npt.NDArray[np.float64], size_wh: npt.ArrayLike, image_id: str | Sequence[str]
    ) -> npt.NDArray[np.int64]:
        """Ground truth [M, 4] in the frame, as integers truncated towards zero. `size_wh` is the image's (width,
        height), or [M, 2] where the boxes belong to several images, whose ids `image_id` then holds, one a box.

        In a crop, boxes are clipped to it; one wholly outside becomes a sliver at the edge, which nothing localises,
        so that the image stays in the denominator.
        """
        side = self.size if self.name == "resize" else self.view.resized_side
        inside = rescaled(boxes_xyxy, size_wh, (side, side), image_id)
        if self.name == "resize":
            return np.trunc(inside).astype(np.int64)
        moved = (inside - self.view.crop_offset) * (self.size / self.view.size)
        return np.clip(np.trunc(moved), 0, self.size - 1).astype(np.int64)

    def mask(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """A whole-image mask in the frame; only frames without a crop have masks."""
        if self.name != "resize":
            raise ValueError(f"masks are scored in the 'resize' frame, not in '{self.name}'")
        return resize_mask(mask, self.size_hw)


def resize_mask(mask: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """An 8-bit grey mask in the frame: OpenCV's nearest resize first, then > 0.5."""
    resized = cv2.resize(
        np.ascontiguousarray(mask), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(resized) > 0.5


@dataclass(frozen=True)
class _Owners(Sequence[str]):
    """The image id of each box, looked up where one is asked for."""

    split: Split
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, box: Any) -> Any:
        return self.split.image_ids[int(self.rows[box])]


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
    owners = _Owners(split, np.repeat(rows, counts))
    return frame.boxes(split.boxes_xyxy[picked], sizes, owners), offsets
