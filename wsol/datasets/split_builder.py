"""Rows gathered one by one into the columns of a `Split`, flat in memory for a million images."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsol.datasets.boxes import Box, BoxCounts, BoxError, BoxRules, describe, fit_boxes
from wsol.errors import UserError
from wsol.manifest import Split

if TYPE_CHECKING:
    import numpy.typing as npt

NAMED = 3
"""How many of the images that are left out a note names."""


class SplitBuilder:
    """Gathers rows and makes a `Split` of them. Counts what was moved or left out, for the manifest's notes."""

    def __init__(self, rules: BoxRules | None = None) -> None:
        self.rules = rules or BoxRules()
        self.counts = BoxCounts()
        self.left_out: dict[str, list[str]] = {}
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
        """Append one image.

        Args:
            path: the image id unless given.
            size_wh: (0, 0) where it is not known.
            boxes_xyxy: in the units of `rules`; see `wsol.datasets.boxes` for what is done with them.
            where: the file (and line) that states the boxes, for errors.
        """
        row = len(self._ids)
        if path is not None and path != image_id and self._paths is None:
            self._paths = self._ids.copy()
        self._ids.append(image_id)
        if self._paths is not None:
            self._paths.append(image_id if path is None else path)
        self._labels.append(label)
        self._sizes.extend(size_wh)
        if boxes := list(boxes_xyxy):
            self._boxes.extend(self._fitted(boxes, size_wh, image_id, where).ravel().tolist())
        self._offsets.append(len(self._boxes) // 4)
        if masks:
            self._masks[row] = tuple(masks)
        if ignore_mask:
            self._ignore[row] = ignore_mask
        if parts is not None:
            self._parts[row] = parts

    def _fitted(
        self, boxes: list[Box], size_wh: tuple[int, int], image_id: str, where: str
    ) -> npt.NDArray[np.float64]:
        sizes = np.tile(np.array(size_wh, np.int32), (len(boxes), 1))
        try:
            return fit_boxes(np.array(boxes, np.float64), sizes, self.rules, self.counts)
        except BoxError as error:
            of = f" of {size_wh[0]}x{size_wh[1]}" if size_wh[0] else ""
            raise UserError(
                f"{where or image_id}: box {describe(boxes[error.index])} of image '{image_id}'{of} {error}"
            ) from error

    def leave_out(self, path: str, reason: str) -> None:
        """Count an image that the split does not hold; `reason` completes 'N images ...'."""
        self.left_out.setdefault(reason, []).append(path)

    def notes(self, split: str) -> list[str]:
        """What the manifest says of the boxes that were moved and the images that were left out."""
        found = self.counts.notes(split)
        for reason, paths in self.left_out.items():
            some = ", ".join(paths[:NAMED]) + (", ..." if len(paths) > NAMED else "")
            found.append(f"{split}: {len(paths)} images {reason} and were left out: {some}")
        return found

    def build(self) -> Split:
        """The split of all rows added so far."""
        return Split(
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


def common_folder(first: str, second: str) -> tuple[str, str, str]:
    """The folder above two locations, and both relative to it ("" for itself).

    >>> common_folder("/data/CUB/images", "/data/CUB")
    ('/data/CUB', 'images', '')
    """
    above = Path(os.path.commonpath([first, second]))
    below = (Path(p).relative_to(above).as_posix() for p in (first, second))
    return (above.as_posix(), *("" if p == "." else p for p in below))  # type: ignore[return-value]


def seen_from_above(split: Split, images: str, masks: str | None = None) -> Split:
    """The split with its paths prefixed by the folder of the images, and its masks by theirs ("" for none)."""
    masks = images if masks is None else masks

    def below(folder: str, path: str) -> str:
        return f"{folder}/{path}" if folder else path

    return split.replace(
        paths=[below(images, split.path(i)) for i in range(len(split))],
        masks={i: tuple(below(masks, m) for m in paths) for i, paths in split.masks.items()},
        ignore_masks={i: below(masks, m) for i, m in split.ignore_masks.items()},
        part_masks={i: below(masks, m) for i, m in split.part_masks.items()},
    )
