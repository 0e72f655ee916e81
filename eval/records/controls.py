"""Controls that need no model: the centre Gaussian and the full-image box.

Centre Gaussian: g(x, y) = exp(-((x - S/2)^2 + (y - S/2)^2) / (2 s^2)) on a frame of S pixels, s = S/4, min-max
normalised and scored like any map (PROTOCOLS: CUB test gives maxboxacc 59.72 and maxboxacc_v2 56.97).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.boxes.best_iou import boxes_at_level
from eval.boxes.frames import Frame, split_boxes
from eval.boxes.geometry import inclusive_iou
from eval.maps.batch import unpredicted
from eval.maps.normalization import MapStatus, normalize, quantize
from eval.protocols import Channel
from eval.records.store import BLOCK, LEVELS, RecordIndex

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Manifest, Split

CONTROLS = ("center_gaussian", "full_image")


def center_gaussian(size: int) -> npt.NDArray[np.float64]:
    """The raw centre Gaussian [size, size]; its standard deviation is a quarter of the side."""
    axis = np.arange(size, dtype=np.float64) - size / 2
    spread = size / 4
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    return np.asarray(np.exp(-square / (2 * spread**2)))


class ControlRecords:
    """Records of a map that is the same for every image, computed block by block as they are read.

    Serves wherever a `RecordStore` is read. The map's boxes are found once; only their IoU differs by image.
    """

    def __init__(
        self, control: str, manifest: Manifest, split: Split, role: str, channels: Sequence[Channel]
    ) -> None:
        self.control = control
        self.split = split
        self.channels = tuple(
            c for c in channels if control == "center_gaussian" or c.normalization == "minmax"
        )
        self.index = RecordIndex(
            manifest.dataset,
            role,
            "",
            len(split),
            tuple(str(c) for c in self.channels),
            False,
            (),
            {"kind": "control", "control": control},
        )
        self._cache: dict[Channel, tuple[list[npt.NDArray[np.int64]], npt.NDArray[np.int64], int, int]] = {}

    def block_range(self, block: int) -> range:
        return range(block * BLOCK, min((block + 1) * BLOCK, len(self.split)))

    def blocks(self) -> Iterator[ControlBlock]:
        for b in range(self.index.num_blocks):
            yield ControlBlock(
                self, np.arange(len(self.split))[self.block_range(b).start : self.block_range(b).stop]
            )

    def boxes(self, channel: Channel) -> tuple[list[npt.NDArray[np.int64]], npt.NDArray[np.int64], int, int]:
        """(every contour's boxes by level, the largest one's [256, 4], largest 8-bit value, status)."""
        if channel not in self._cache:
            side = channel.frame_size
            if self.control == "full_image":
                whole = np.array([[0, 0, side - 1, side - 1]])
                self._cache[channel] = ([whole] * LEVELS, np.repeat(whole, LEVELS, 0), 255, 0)
            else:
                m, status = normalize(center_gaussian(side), channel.normalization, channel.fraction)
                u = quantize(m) if status == MapStatus.OK else np.zeros((side, side), np.uint8)
                every = [np.asarray(boxes_at_level(u, level, "all"), np.int64) for level in range(LEVELS)]
                largest = np.concatenate([boxes_at_level(u, level, "largest") for level in range(LEVELS)])
                self._cache[channel] = (every, np.asarray(largest, np.int64), int(u.max()), int(status))
        return self._cache[channel]


class ControlBlock:
    """One block of a control's records; the interface of `eval.records.store.Block`."""

    def __init__(self, records: ControlRecords, rows: npt.NDArray[np.int64]) -> None:
        self._records = records
        self._rows = rows
        self._by_name = {str(c): c for c in records.channels}
        self._iou: dict[tuple[str, str, str], npt.NDArray[np.float32]] = {}

    def __contains__(self, name: str) -> bool:
        return name in ("num_boxes", "label", "predicted", "top1", "top5", "index")

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        n = len(self._rows)
        if name == "num_boxes":
            return np.diff(self._records.split.box_offsets)[self._rows]
        if name == "index":
            return self._rows
        if name == "label":
            return self._records.split.labels[self._rows]
        if name in ("predicted", "top1", "top5"):
            return unpredicted(n)[("predicted", "top1", "top5").index(name)]
        channel, _, what = name.rpartition(".")
        _, largest, max_level, status = self._records.boxes(self._by_name[channel])
        if what == "max_level":
            return np.full(n, max_level, np.uint8)
        if what == "status":
            return np.full(n, status, np.uint8)
        if what == "largest_box":
            return np.broadcast_to(largest.astype(np.int16), (n, LEVELS, 4))
        raise KeyError(name)

    def iou(self, channel: str, contours: str, gt_boxes: str) -> npt.NDArray[np.float32]:
        """Best IoU at every level, [n, 256]."""
        kind = self._by_name[channel]
        every, largest, _, _ = self._records.boxes(kind)
        if all(len(boxes) == 1 for boxes in every):
            contours = "largest"  # one contour at every level: both rules agree
        key = (channel, contours, gt_boxes)
        if key not in self._iou:
            self._iou[key] = self._best_iou(kind, every, largest, contours, gt_boxes)
        return self._iou[key]

    def _best_iou(
        self,
        kind: Channel,
        every: list[npt.NDArray[np.int64]],
        largest: npt.NDArray[np.int64],
        contours: str,
        gt_boxes: str,
    ) -> npt.NDArray[np.float32]:
        frame = Frame.of(kind.frame, kind.frame_size)
        truth, offsets = split_boxes(self._records.split, self._rows, frame)
        if gt_boxes == "first":
            has = np.diff(offsets) > 0
            truth = truth[offsets[:-1][has]]
            offsets = np.concatenate([[0], np.cumsum(has)])
        best = np.zeros((len(self._rows), LEVELS))
        if not len(truth):
            return best.astype(np.float32)
        filled = np.flatnonzero(np.diff(offsets) > 0)
        starts = offsets[:-1][filled]
        if contours == "largest":
            best[filled] = np.maximum.reduceat(_inclusive_iou(truth, largest), starts, axis=0)
        else:
            for level in range(LEVELS):
                best[filled, level] = np.maximum.reduceat(_inclusive_iou(truth, every[level]).max(1), starts)
        return best.astype(np.float32)


def _inclusive_iou(truth: npt.NDArray[np.int64], boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return inclusive_iou(truth, boxes)
