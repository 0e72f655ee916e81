"""MaxBoxAcc, MaxBoxAccV2 and PxAP as objects for somebody's own loop: `update / compute / reset / merge`.

Thin state over the same functions that `eval.localize` calls: per-image records in memory, summarised on demand.

    metric = MaxBoxAccV2()
    for images, boxes in loader:
        metric.update(score_maps_of(images), boxes)
    metric.compute().value
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.boxes.best_iou import best_iou_per_level_batch
from eval.maps.normalization import quantize
from eval.metrics.bootstrap import RESAMPLES, Bootstrap
from eval.metrics.outcomes import NotComputed, Summary
from eval.metrics.summarize import summarize
from eval.protocols import PROTOCOLS, Protocol
from eval.records.block import channel_array, histogram_name
from eval.records.histograms import histogram_edges, score_histograms
from eval.records.store import MemoryRecords, RecordIndex

if TYPE_CHECKING:
    import numpy.typing as npt

Arrays = dict[str, "npt.NDArray[Any]"]


class _Metric:
    """Records of the images seen so far, and the protocol that summarises them."""

    higher_is_better = True

    def __init__(self, protocol: Protocol, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.protocol = protocol
        self.resamples = resamples
        self.seed = seed
        self._batches: list[Arrays] = []

    def __len__(self) -> int:
        return sum(len(b["num_boxes"]) for b in self._batches)

    def reset(self) -> None:
        """Forget every image."""
        self._batches = []

    def merge(self, other: _Metric) -> None:
        """Take over another metric's images, as if they had been given to this one after its own.

        Raises ValueError where the other follows another protocol.
        """
        if type(other) is not type(self) or other.protocol != self.protocol:
            raise ValueError(
                f"cannot merge a metric of {other.protocol.name} into one of {self.protocol.name}"
            )
        self._batches.extend(other._batches)

    def compute(self) -> Summary:
        """The number with its interval and thresholds.

        Raises ValueError before the first image, or where no image can be scored.
        """
        if not len(self):
            raise ValueError("no images yet: call update() first")
        outcome = summarize(self._records(), [self.protocol], bootstrap=Bootstrap(self.resamples, self.seed))[
            self.protocol.name
        ]
        if isinstance(outcome, NotComputed):
            raise ValueError(outcome.reason)
        return outcome

    def _records(self) -> MemoryRecords:
        arrays = {name: np.concatenate([b[name] for b in self._batches]) for name in self._batches[0]}
        channel = str(self.protocol.channel)
        masks = self.protocol.metric != "box_accuracy"
        index = RecordIndex("memory", "test", "", len(arrays["num_boxes"]), (channel,), masks, ())
        return MemoryRecords(index, arrays)

    def _add(self, num_boxes: npt.NDArray[np.integer], on_maps: Arrays) -> None:
        """Take over one batch's records; `on_maps` are those of the protocol's kind of score map."""
        named = {channel_array(self.protocol.channel, name): array for name, array in on_maps.items()}
        self._batches.append({"num_boxes": num_boxes.astype(np.int32), **named})


class MaxBoxAcc(_Metric):
    """MaxBoxAcc (Choe et al., CVPR 2020, arXiv 2001.07437), or any protocol of boxes with an oracle or fixed
    threshold and no class gate.

    >>> metric = MaxBoxAcc(resamples=0)
    >>> score = np.zeros((1, 8, 8)); score[0, 2:6, 2:6] = 1.0
    >>> metric.update(score, [np.array([[2, 2, 6, 6]])])
    >>> metric.compute().value
    100.0
    """

    def __init__(
        self, protocol: Protocol = PROTOCOLS["maxboxacc"], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        if (
            protocol.metric != "box_accuracy"
            or protocol.class_gate != "none"
            or protocol.threshold == "transferred"
        ):
            raise ValueError(f"protocol {protocol.name} needs more than score maps and boxes")
        super().__init__(protocol, resamples=resamples, seed=seed)

    def update(self, score_maps: Any, boxes: Sequence[npt.ArrayLike]) -> None:
        """Add n images: score maps [n, H, W] in [0, 1] (arrays or tensors; uint8 is taken as quantised already), and
        for each image its integer boxes [M, 4], xyxy in the maps' own frame. M may be 0: such an image cannot be
        scored and leaves the denominator.

        Raises ValueError for shapes that do not fit, and for maps outside [0, 1] or with NaN.
        """
        scores = _as_array(score_maps)
        if len(scores) != len(boxes):
            raise ValueError(f"{len(scores)} score maps, but boxes of {len(boxes)} images")
        if not len(scores):
            return
        levels = scores if scores.dtype == np.uint8 else quantize(scores)
        truth = [np.asarray(b).reshape(-1, 4) for b in boxes]
        offsets = np.concatenate([[0], np.cumsum([len(t) for t in truth])]).astype(np.int64)
        flat = np.concatenate(truth).astype(np.int64) if len(truth) else np.zeros((0, 4), np.int64)
        best = best_iou_per_level_batch(levels, flat, offsets)
        self._add(
            np.diff(offsets),
            {
                "max_level": levels.reshape(len(levels), -1).max(1),
                "largest_any": best.largest_any.astype(np.float32),
                "largest_first": best.largest_first.astype(np.float32),
                "all_any": best.all_any.astype(np.float32),
                "all_first": best.all_first.astype(np.float32),
            },
        )


class MaxBoxAccV2(MaxBoxAcc):
    """MaxBoxAccV2 (Choe et al., TPAMI 2022, arXiv 2007.04178): all contours, IoU 0.3, 0.5 and 0.7."""

    def __init__(
        self, protocol: Protocol = PROTOCOLS["maxboxacc_v2"], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        super().__init__(protocol, resamples=resamples, seed=seed)


class PxAP(_Metric):
    """PxAP (Choe et al., CVPR 2020, arXiv 2001.07437): pixel average precision over all images' pixels."""

    def __init__(
        self, protocol: Protocol = PROTOCOLS["pxap"], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        if protocol.metric == "box_accuracy":
            raise ValueError(f"protocol {protocol.name} is not one of masks")
        super().__init__(protocol, resamples=resamples, seed=seed)

    def update(self, score_maps: Any, masks: Any, ignore: Any = None) -> None:
        """Add n images: score maps [n, H, W] in [0, 1], object masks [n, H, W] (non-zero is object) and, if any,
        regions to leave out [n, H, W]; object pixels are never left out.

        Raises ValueError for shapes that do not fit and for maps outside [0, 1] or with NaN.
        """
        scores = _as_array(score_maps).astype(np.float64)
        inside = _as_array(masks) != 0
        left_out = None if ignore is None else _as_array(ignore) != 0
        if scores.shape != inside.shape or (left_out is not None and left_out.shape != inside.shape):
            raise ValueError(
                f"score maps {list(scores.shape)} and masks {list(inside.shape)} differ in shape"
            )
        if not len(scores):
            return
        quantize(scores)  # checks the range
        step = self.protocol.threshold_step
        edges = histogram_edges(step)
        pairs = [
            score_histograms(s, m, None if left_out is None else left_out[i], edges)
            for i, (s, m) in enumerate(zip(scores, inside))
        ]
        self._add(
            np.zeros(len(scores), np.int32),
            {
                "max_level": np.zeros(len(scores), np.uint8),
                histogram_name("object", step): np.array([p[0] for p in pairs]),
                histogram_name("background", step): np.array([p[1] for p in pairs]),
            },
        )


def _as_array(values: Any) -> npt.NDArray[Any]:
    """An array [n, H, W] from an array or a tensor on any device."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.ndim != 3:
        raise ValueError(f"expected shape [n, H, W], got {list(array.shape)}")
    return array
