"""One image, and one split of images in columns. `wsol.manifest` gathers splits into a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One image as the manifest knows it.

    `size_wh` is None where the source does not state it. `boxes_xyxy` has shape [M, 4] (M may be 0), float64,
    pixels of the stored image. `masks`, `ignore_mask` and `part_mask` are paths under the manifest's root.
    `parts` is [P, 3] (x, y, visible) or None.
    """

    image_id: str
    path: str
    label: int
    size_wh: tuple[int, int] | None = None
    boxes_xyxy: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    masks: tuple[str, ...] = ()
    ignore_mask: str | None = None
    part_mask: str | None = None
    parts: npt.NDArray[np.float64] | None = None


class Split(Sequence[Sample]):
    """The rows of one split, in columns so that a million rows stay small; indexing builds a `Sample`.

    `paths` is None where every path equals its image id. `sizes_wh` is 0, 0 where unknown. The
    boxes of image i are rows `box_offsets[i]` to `box_offsets[i + 1]` of `boxes_xyxy`. Masks and
    parts are sparse: index to value.
    """

    def __init__(
        self,
        image_ids: list[str],
        labels: npt.NDArray[np.int32],
        *,
        paths: list[str] | None = None,
        sizes_wh: npt.NDArray[np.int32] | None = None,
        boxes_xyxy: npt.NDArray[np.float64] | None = None,
        box_offsets: npt.NDArray[np.int64] | None = None,
        masks: Mapping[int, tuple[str, ...]] | None = None,
        ignore_masks: Mapping[int, str] | None = None,
        part_masks: Mapping[int, str] | None = None,
        parts: Mapping[int, npt.NDArray[np.float64]] | None = None,
    ) -> None:
        n = len(image_ids)
        self.image_ids = image_ids
        self.labels = np.ascontiguousarray(labels, dtype=np.int32)
        self.paths = paths
        self.sizes_wh = np.zeros((n, 2), np.int32) if sizes_wh is None else np.asarray(sizes_wh, np.int32)
        self.boxes_xyxy = np.zeros((0, 4)) if boxes_xyxy is None else np.asarray(boxes_xyxy, np.float64)
        self.box_offsets = (
            np.zeros(n + 1, np.int64) if box_offsets is None else np.asarray(box_offsets, np.int64)
        )
        self.masks = dict(masks or {})
        self.ignore_masks = dict(ignore_masks or {})
        self.part_masks = dict(part_masks or {})
        self.parts = dict(parts or {})
        if self.labels.shape != (n,) or self.sizes_wh.shape != (n, 2):
            raise ValueError(
                f"expected {n} labels and sizes, got {self.labels.shape} and {self.sizes_wh.shape}"
            )
        if paths is not None and len(paths) != n:
            raise ValueError(f"expected {n} paths, got {len(paths)}")
        if self.boxes_xyxy.ndim != 2 or self.boxes_xyxy.shape[1] != 4:
            raise ValueError(f"boxes_xyxy must have shape [M, 4], got {self.boxes_xyxy.shape}")
        if (
            self.box_offsets.shape != (n + 1,)
            or self.box_offsets[0] != 0
            or self.box_offsets[-1] != len(self.boxes_xyxy)
            or (np.diff(self.box_offsets) < 0).any()
        ):
            raise ValueError(
                "box_offsets must rise from 0 to the number of boxes, one entry more than images"
            )

    @classmethod
    def from_samples(cls, samples: Iterable[Sample]) -> Split:
        """Build a split from rows; convenient for readers of small datasets."""
        rows = list(samples)
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(s.boxes_xyxy) for s in rows], out=offsets[1:])
        return cls(
            [s.image_id for s in rows],
            np.array([s.label for s in rows], np.int32),
            paths=None if all(s.path == s.image_id for s in rows) else [s.path for s in rows],
            sizes_wh=np.array([s.size_wh or (0, 0) for s in rows], np.int32).reshape(-1, 2),
            boxes_xyxy=np.concatenate([s.boxes_xyxy for s in rows]) if rows else None,
            box_offsets=offsets,
            masks={i: s.masks for i, s in enumerate(rows) if s.masks},
            ignore_masks={i: s.ignore_mask for i, s in enumerate(rows) if s.ignore_mask},
            part_masks={i: s.part_mask for i, s in enumerate(rows) if s.part_mask},
            parts={i: s.parts for i, s in enumerate(rows) if s.parts is not None},
        )

    def replace(self, **columns: Any) -> Split:
        """The same rows with some columns exchanged, named as the constructor names them."""
        names = (
            "paths",
            "sizes_wh",
            "boxes_xyxy",
            "box_offsets",
            "masks",
            "ignore_masks",
            "part_masks",
            "parts",
        )
        kept: dict[str, Any] = {name: getattr(self, name) for name in ("image_ids", "labels", *names)}
        return Split(**{**kept, **columns})

    def __len__(self) -> int:
        return len(self.image_ids)

    def path(self, index: int) -> str:
        """Path of one image under the manifest's root."""
        return self.image_ids[index] if self.paths is None else self.paths[index]

    def boxes(self, index: int) -> npt.NDArray[np.float64]:
        """Boxes of one image, [M, 4]; M is 0 where the source has none."""
        return self.boxes_xyxy[self.box_offsets[index] : self.box_offsets[index + 1]]

    def size_wh(self, index: int) -> tuple[int, int] | None:
        """Stored (width, height) of one image, or None where the source does not state it."""
        w, h = (int(v) for v in self.sizes_wh[index])
        return (w, h) if w and h else None

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        index = range(len(self))[index]
        return Sample(
            image_id=self.image_ids[index],
            path=self.path(index),
            label=int(self.labels[index]),
            size_wh=self.size_wh(index),
            boxes_xyxy=self.boxes(index),
            masks=self.masks.get(index, ()),
            ignore_mask=self.ignore_masks.get(index),
            part_mask=self.part_masks.get(index),
            parts=self.parts.get(index),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: npt.NDArray[np.int64]) -> Split:
        """A new split with the given rows, in the given order; negative indices count from the end."""
        at = np.arange(len(self))[np.asarray(indices, np.int64)]
        rows = at.tolist()
        counts = np.diff(self.box_offsets)[at]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        # The k-th box of new row i sits k rows after the first box of its old row.
        source = np.repeat(self.box_offsets[at] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Split(
            [self.image_ids[i] for i in rows],
            self.labels[at],
            paths=None if self.paths is None else [self.paths[i] for i in rows],
            sizes_wh=self.sizes_wh[at],
            boxes_xyxy=self.boxes_xyxy[source],
            box_offsets=offsets,
            masks=_moved(self.masks, rows),
            ignore_masks=_moved(self.ignore_masks, rows),
            part_masks=_moved(self.part_masks, rows),
            parts=_moved(self.parts, rows),
        )


def _moved(sparse: Mapping[int, T], rows: list[int]) -> dict[int, T]:
    return {new: sparse[old] for new, old in enumerate(rows) if old in sparse} if sparse else {}
