"""Rows gathered one by one into the columns of a `Split`, flat in memory for a million images."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsol.errors import UserError
from wsol.manifest import Manifest, Split

if TYPE_CHECKING:
    import numpy.typing as npt

Box = tuple[float, float, float, float]


class SplitBuilder:
    """Gathers rows and makes a `Split` of them. `clipped` counts the boxes that `clip` moved into their
    image."""

    def __init__(self, *, clip: bool = False) -> None:
        self.clip = clip
        self.clipped = 0
        self._ids: list[str] = []
        self._paths: list[str] | None = None
        self._labels = array("i")
        self._sizes = array("i")
        self._boxes = array("d")
        self._offsets = array("q", [0])
        self._masks: dict[int, tuple[str, ...]] = {}
        self._ignore: dict[int, str] = {}
        self._parts: dict[int, npt.NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(
        self,
        image_id: str,
        label: int,
        *,
        path: str | None = None,
        size_wh: tuple[int, int] = (0, 0),
        boxes_xyxy: Iterable[Box] = (),
        masks: Sequence[str] = (),
        ignore_mask: str | None = None,
        parts: npt.NDArray[np.float64] | None = None,
        where: str = "",
    ) -> None:
        """Append one image; `path` is the image id unless given, `size_wh` (0, 0) where it is not known. `where` is
        the file that states the boxes, for the error on one that leaves its image."""
        row = len(self._ids)
        if path is not None and path != image_id and self._paths is None:
            self._paths = self._ids.copy()
        self._ids.append(image_id)
        if self._paths is not None:
            self._paths.append(image_id if path is None else path)
        self._labels.append(label)
        self._sizes.extend(size_wh)
        width, height = size_wh if size_wh[0] and not self.clip else (math.inf, math.inf)
        for box in boxes_xyxy:
            if not (0 <= box[0] <= box[2] <= width and 0 <= box[1] <= box[3] <= height):
                raise UserError(
                    f"{where or image_id}: box {' '.join(f'{v:g}' for v in box)} of image '{image_id}' of "
                    f"{size_wh[0]}x{size_wh[1]} leaves its image; mend the source, or pass --clip-boxes"
                )
            self._boxes.extend(box)
        self._offsets.append(len(self._boxes) // 4)
        if masks:
            self._masks[row] = tuple(masks)
        if ignore_mask:
            self._ignore[row] = ignore_mask
        if parts is not None:
            self._parts[row] = parts

    def build(self) -> Split:
        """The split of all rows added so far."""
        split = Split(
            self._ids,
            np.array(self._labels, np.int32),
            paths=self._paths,
            sizes_wh=np.array(self._sizes, np.int32).reshape(-1, 2),
            boxes_xyxy=np.array(self._boxes, np.float64).reshape(-1, 4),
            box_offsets=np.array(self._offsets, np.int64),
            masks=self._masks,
            ignore_masks=self._ignore,
            parts=self._parts,
        )
        if not self.clip:
            return split
        split, self.clipped = clip_boxes(split)
        return split


def clip_boxes(split: Split) -> tuple[Split, int]:
    """Boxes moved into their images (where the size is known), and how many changed. A box that lies wholly
    outside cannot be moved in and is refused."""
    sizes = np.repeat(split.sizes_wh, np.diff(split.box_offsets), axis=0).astype(np.float64)
    high = np.where(sizes > 0, sizes, np.inf)
    boxes = split.boxes_xyxy
    outside = (boxes[:, :2] >= high).any(1) | (boxes[:, 2:] < 0).any(1)
    if outside.any():
        b = int(np.flatnonzero(outside)[0])
        owner = int(np.searchsorted(split.box_offsets, b, side="right")) - 1
        raise UserError(
            f"box {boxes[b].tolist()} of image '{split.image_ids[owner]}' lies wholly outside its image of "
            f"{sizes[b].astype(int).tolist()} (width, height); {int(outside.sum())} boxes are so. Mend the "
            f"source"
        )
    moved = np.clip(boxes, 0, np.concatenate([high, high], axis=1))
    return _with(split, boxes_xyxy=moved), int((moved != boxes).any(1).sum())


def with_sizes(split: Split, sizes_wh: npt.NDArray[np.int32], *, clip: bool) -> tuple[Split, int]:
    """The split with sizes filled in where it states none, and how many boxes had to be clipped (0 without
    `clip`)."""
    filled = np.where(split.sizes_wh > 0, split.sizes_wh, sizes_wh).astype(np.int32)
    split = _with(split, sizes_wh=filled)
    return clip_boxes(split) if clip else (split, 0)


def with_splits(manifest: Manifest, splits: dict[str, Split], notes: Iterable[str] = ()) -> Manifest:
    """The manifest with other splits and further notes."""
    return Manifest(
        manifest.dataset,
        manifest.classes,
        splits,
        manifest.root,
        manifest.part_names,
        manifest.corners,
        (*manifest.notes, *notes),
    )


def seen_from_above(split: Split, images: str, masks: str | None = None) -> Split:
    """The split with its paths prefixed by the folder of the images, and its masks by theirs ("" for
    none)."""
    masks = images if masks is None else masks

    def below(folder: str, path: str) -> str:
        return f"{folder}/{path}" if folder else path

    return Split(
        split.image_ids,
        split.labels,
        paths=[below(images, split.path(i)) for i in range(len(split))],
        sizes_wh=split.sizes_wh,
        boxes_xyxy=split.boxes_xyxy,
        box_offsets=split.box_offsets,
        masks={i: tuple(below(masks, m) for m in paths) for i, paths in split.masks.items()},
        ignore_masks={i: below(masks, m) for i, m in split.ignore_masks.items()},
        part_masks={i: below(masks, m) for i, m in split.part_masks.items()},
        parts=split.parts,
    )


def _with(
    split: Split,
    *,
    sizes_wh: npt.NDArray[np.int32] | None = None,
    boxes_xyxy: npt.NDArray[np.float64] | None = None,
) -> Split:
    return Split(
        split.image_ids,
        split.labels,
        paths=split.paths,
        sizes_wh=split.sizes_wh if sizes_wh is None else sizes_wh,
        boxes_xyxy=split.boxes_xyxy if boxes_xyxy is None else boxes_xyxy,
        box_offsets=split.box_offsets,
        masks=split.masks,
        ignore_masks=split.ignore_masks,
        part_masks=split.part_masks,
        parts=split.parts,
    )
