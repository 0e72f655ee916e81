"""Controls that need no model: the centre Gaussian and the full-image box.

Centre Gaussian: g(x, y) = exp(-((x - S/2)^2 + (y - S/2)^2) / (2 s^2)) on a frame of S pixels, s = S/4, min-max
normalised and scored like any map (docs/protocols.md: CUB test gives maxboxacc 59.72 and maxboxacc_v2 56.97).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.boxes.best_iou import boxes_at_level
from eval.boxes.frames import Frame, split_boxes
from eval.boxes.geometry import inclusive_iou
from eval.maps.batch import unpredicted
from eval.maps.center_gaussian import center_gaussian
from eval.maps.normalization import MapStatus, normalize, quantize
from eval.protocols import Channel
from eval.records.block import LazyArrays, RecordBlock, channel_array
from eval.records.judged import JudgedRecords
from eval.records.store import LEVELS, RecordIndex
from wsol.manifest import split_hash

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from eval.maps.source import MapSource
    from eval.records.judged import Work
    from eval.records.wanted import Wanted
    from wsol.manifest import Manifest, Split

CONTROLS = ("center_gaussian", "full_image")
_NO_PIXELS = "a control is scored by its boxes alone; its pixels are not recorded"


@dataclass(frozen=True)
class _Predicted:
    """A control's boxes: every contour's by level, the largest one's [256, 4]; the map's largest level and status."""

    every: list[npt.NDArray[np.int64]]
    largest: npt.NDArray[np.int64]
    max_level: int
    status: int


class ControlRecords:
    """Records of a map that is the same for every image, computed block by block as they are read.

    Serves wherever a `RecordStore` is read. The map's boxes are found once; only their IoU differs by image.
    """

    def __init__(
        self,
        control: str,
        manifest: Manifest,
        split: Split,
        role: str,
        channels: Sequence[Channel],
        *,
        input_size: int | None = None,
    ) -> None:
        """`input_size` is that of the network beside which the control stands: crops are made from it."""
        self.control = control
        self.split = split
        self.channels = tuple(
            c for c in channels if control == "center_gaussian" or c.normalization == "minmax"
        )
        self.index = RecordIndex(
            manifest.dataset,
            role,
            split_hash(split),
            len(split),
            tuple(str(c) for c in self.channels),
            False,
            (),
            {
                "kind": "control",
                "control": control,
                **({"pixels": _NO_PIXELS} if split.masks else {}),
                **({"input_size": input_size} if input_size else {}),
            },
        )
        self._predicted: dict[Channel, _Predicted] = {}

    def blocks(self) -> Iterator[RecordBlock]:
        for b in range(self.index.num_blocks):
            yield RecordBlock(LazyArrays(self._makers(np.asarray(self.index.block_range(b)))))

    def _makers(self, rows: npt.NDArray[np.int64]) -> dict[str, Callable[[], npt.NDArray[Any]]]:
        """What computes each array of a block."""
        n = len(rows)
        makers: dict[str, Callable[[], npt.NDArray[Any]]] = {
            "index": lambda: rows,
            "num_boxes": lambda: np.diff(self.split.box_offsets)[rows],
            "label": lambda: self.split.labels[rows],
        }
        for name, array in zip(("predicted", "top1", "top5"), unpredicted(n)):
            makers[name] = partial(np.asarray, array)
        for c in self.channels:
            found = self.predicted(c)
            makers[channel_array(c, "max_level")] = partial(np.full, n, found.max_level, np.uint8)
            makers[channel_array(c, "status")] = partial(np.full, n, found.status, np.uint8)
            makers[channel_array(c, "largest_box")] = partial(
                np.broadcast_to, found.largest.astype(np.int16), (n, LEVELS, 4)
            )
            for contours, gt_boxes in itertools.product(("largest", "all"), ("any", "first")):
                makers[channel_array(c, f"{contours}_{gt_boxes}")] = partial(
                    self._best_iou, c, rows, contours, gt_boxes
                )
        return makers

    def predicted(self, channel: Channel) -> _Predicted:
        """What the control predicts on one kind of score map."""
        if channel not in self._predicted:
            side = channel.frame_size
            if self.control == "full_image":
                whole = np.array([[0, 0, side - 1, side - 1]])
                self._predicted[channel] = _Predicted([whole] * LEVELS, np.repeat(whole, LEVELS, 0), 255, 0)
            else:
                m, status = normalize(center_gaussian(side), channel.normalization, channel.fraction)
                u = quantize(m) if status == MapStatus.OK else np.zeros((side, side), np.uint8)
                every = [np.asarray(boxes_at_level(u, level, "all"), np.int64) for level in range(LEVELS)]
                largest = np.concatenate([boxes_at_level(u, level, "largest") for level in range(LEVELS)])
                self._predicted[channel] = _Predicted(
                    every, np.asarray(largest, np.int64), int(u.max()), int(status)
                )
        return self._predicted[channel]

    def _best_iou(
        self, channel: Channel, rows: npt.NDArray[np.int64], contours: str, gt_boxes: str
    ) -> npt.NDArray[np.float32]:
        """Best IoU at every level, [n, 256]."""
        found = self.predicted(channel)
        truth, offsets = split_boxes(self.split, rows, self.index.frame(channel))
        if gt_boxes == "first":
            has = np.diff(offsets) > 0
            truth = truth[offsets[:-1][has]]
            offsets = np.concatenate([[0], np.cumsum(has)])
        best = np.zeros((len(rows), LEVELS))
        if not len(truth):
            return best.astype(np.float32)
        filled = np.flatnonzero(np.diff(offsets) > 0)
        starts = offsets[:-1][filled]
        # with one contour at every level both rules agree
        if contours == "largest" or all(len(boxes) == 1 for boxes in found.every):
            best[filled] = np.maximum.reduceat(inclusive_iou(truth, found.largest), starts, axis=0)
        else:
            for level, boxes in enumerate(found.every):
                best[filled, level] = np.maximum.reduceat(inclusive_iou(truth, boxes).max(1), starts)
        return best.astype(np.float32)


@dataclass(frozen=True)
class JudgedControl:
    """A control as what is judged; `name` is one of `CONTROLS`."""

    name: str
    manifest: Manifest

    def covers(self, split: Split, role: str) -> bool:
        return True

    def records(self, split: Split, role: str, wanted: Wanted, work: Work) -> JudgedRecords:
        work.advance(len(split))
        return JudgedRecords(ControlRecords(self.name, self.manifest, split, role, wanted.channels))

    def maps(self, split: Split, role: str, folder: Path, frame: Frame) -> MapSource | None:
        return None
