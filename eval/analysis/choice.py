"""Choosing a run and its threshold on other images than those that are scored, by true boxes or by pseudo-boxes.

MaxBoxAcc's rule throughout: the largest contour's box, IoU at least 0.5. It follows from the records, which hold that
box at every level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.per_image import means_of_images
from eval.boxes.frames import Frame
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.curves import levels_of
from eval.protocols import CONVENTIONAL_THRESHOLD, PROTOCOLS
from eval.records.predicted_boxes import PredictedBox, boxes_in_frame
from eval.records.store import Records
from eval.statistics.counts import score_interval

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split

PROTOCOL = PROTOCOLS["maxboxacc"]
TAUS = np.arange(0, 1, PROTOCOL.threshold_step)


@dataclass(frozen=True)
class IouOverThresholds:
    """IoU of each image at each of `TAUS` [N, T], of the images that have a box to compare with."""

    iou: npt.NDArray[np.float32]

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        """Percent of images localised at each threshold [T]."""
        return np.asarray(100 * (self.iou >= np.float32(PROTOCOL.iou_thresholds[0])).mean(0))

    def at(self, column: int, bootstrap: Bootstrap) -> dict[str, Any]:
        """MaxBoxAcc and mean IoU at one threshold with intervals, which are conditional on that threshold."""
        iou = self.iou[:, column]
        values = np.stack([iou >= np.float32(PROTOCOL.iou_thresholds[0]), iou], 1).astype(np.float32)
        means, boot = means_of_images(values, np.ones(values.shape, bool), bootstrap)
        cis = [
            list(score_interval(float(m), float(np.nanvar(b)), len(iou))) if len(b) else None
            for m, b in zip(means, boot)
        ]
        return {
            "maxboxacc": {"value": float(means[0]), "ci95": cis[0]},
            "mean_iou": {"value": float(means[1]), "ci95": cis[1]},
        }


def with_true_boxes(records: Records) -> IouOverThresholds:
    """By the annotated boxes, any of them."""
    found = []
    for block in records.blocks():
        maps = block.channel(PROTOCOL.channel)
        iou = np.take_along_axis(
            maps.iou(PROTOCOL.contours, PROTOCOL.gt_boxes), _levels(maps.max_level), axis=1
        )
        found.append(iou[block.num_boxes > 0])
    return IouOverThresholds(np.concatenate(found))


def with_pseudo_boxes(
    records: Records, split: Split, boxes: Mapping[str, Sequence[PredictedBox]]
) -> IouOverThresholds:
    """By one given box an image, the one of the highest score; images without one are left out."""
    frame = Frame.of_channel(PROTOCOL.channel)
    found = []
    for number, block in enumerate(records.blocks()):
        maps = block.channel(PROTOCOL.channel)
        rows = list(records.index.block_range(number))
        given = [boxes.get(split.image_ids[r]) or boxes.get(split.path(r)) for r in rows]
        some = [k for k, g in enumerate(given) if g]
        if not some:
            continue
        truth = np.stack([boxes_in_frame(given[k] or (), split, rows[k], frame)[0] for k in some])
        levels = _levels(np.asarray(maps.max_level)[some])
        predicted = np.take_along_axis(maps.largest_box[some], levels[..., None], axis=1).astype(np.int64)
        found.append(_iou(predicted, truth[:, None]))
    iou = np.concatenate(found) if found else np.zeros((0, len(TAUS)))
    return IouOverThresholds(iou.astype(np.float32))


def _levels(max_level: npt.NDArray[np.uint8]) -> npt.NDArray[np.intp]:
    return levels_of(TAUS)[max_level].astype(np.intp)  # [n, T]


def _iou(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """IoU of boxes that broadcast, [..., 4]; both ends count."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    shared = np.maximum(sides, 0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2] + 1).prod(-1) for x in (a, b)]
    return np.asarray(shared / (areas[0] + areas[1] - shared))


LABELS_TAU = int(np.searchsorted(TAUS, CONVENTIONAL_THRESHOLD))
"""Column of `TAUS` where class labels alone have chosen a run: the conventional one, for labels choose no threshold."""


def classification_accuracy(records: Records) -> float | None:
    """Percent of images whose class is ranked first; None where no classes were predicted."""
    right = np.concatenate([b.top1 for b in records.blocks()])
    return 100 * float((right == 1).mean()) if (right >= 0).all() else None


def chosen(candidates: Sequence[IouOverThresholds]) -> tuple[int, int]:
    """The run and the column of `TAUS` of the highest accuracy; of equal ones the first run, the smallest threshold."""
    curves = np.stack([c.accuracy for c in candidates])
    run, column = np.unravel_index(int(np.argmax(curves)), curves.shape)
    return int(run), int(column)
