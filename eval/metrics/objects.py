"""Metrics as objects for somebody's own loop: `update / compute / reset / merge`.

`BoxAccuracy` and `PixelMetric` follow any protocol that needs nothing but maps and boxes, or maps and masks;
`MaxBoxAcc`, `MaxBoxAccV2` and `PxAP` are those of Choe et al. (CVPR 2020, arXiv 2001.07437; TPAMI 2022, arXiv
2007.04178). Thin state over the same functions that `eval.localize` calls. With `resamples` 0 only counts are kept, so
that memory does not grow with the images.

    metric = MaxBoxAccV2()
    for images, boxes in loader:
        metric.update(score_maps_of(images), boxes)
    metric.compute().value
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eval.boxes.best_iou import best_iou_per_level_batch
from eval.maps.normalization import NORMALIZATIONS, normalize, quantize, score_levels
from eval.metrics.bootstrap import NO_BOOTSTRAP, RESAMPLES, Bootstrap
from eval.metrics.curves import Curves, ThresholdGrid
from eval.metrics.outcomes import NotComputed, Outcome, Summary
from eval.metrics.pixels import finish_histograms
from eval.metrics.summarize import finish_curves, summarize
from eval.protocols import PROTOCOLS, Protocol
from eval.records.block import channel_array, histogram_name
from eval.records.histograms import histogram_edges, score_histograms
from eval.records.store import LEVELS, MemoryRecords, RecordIndex

if TYPE_CHECKING:
    import numpy.typing as npt

Arrays = dict[str, "npt.NDArray[Any]"]
Values = Literal["normalized", "raw"]


class _Metric:
    """What was measured of the images seen so far, and the protocol that summarises it.

    With resamples `_batches` holds records of every image, without them `_totals` holds sums.
    """

    higher_is_better = True

    def __init__(self, protocol: Protocol, values: Values, resamples: int, seed: int) -> None:
        if values == "normalized" and not NORMALIZATIONS[protocol.normalization].affine_invariant:
            raise ValueError(
                f"protocol {protocol.name} normalises by '{protocol.normalization}', which needs raw maps: "
                "give them, and say values='raw'"
            )
        self.protocol = protocol
        self.values = values
        self.bootstrap = Bootstrap(resamples, seed)
        self.reset()

    def __len__(self) -> int:
        return self._images

    def reset(self) -> None:
        """Forget every image."""
        self._images = 0
        self._batches: list[Arrays] = []
        self._totals: Arrays = {}

    def merge(self, other: _Metric) -> None:
        """Take over another metric's images, as if they had been given to this one after its own.

        Raises ValueError where the other follows another protocol, or only one of the two keeps resamples.
        """
        if other.protocol != self.protocol:
            raise ValueError(
                f"cannot merge a metric of {other.protocol.name} into one of {self.protocol.name}"
            )
        if bool(other.bootstrap.resamples) != bool(self.bootstrap.resamples):
            raise ValueError("cannot merge a metric with resamples and one without")
        self._images += other._images
        self._batches.extend(other._batches)
        self._add_totals(other._totals)

    def compute(self) -> Summary:
        """The number with its interval and thresholds.

        Raises ValueError before the first image, or where no image can be scored.
        """
        if not self._images:
            raise ValueError("no images yet: call update() first")
        outcome = self._from_records() if self._batches else self._from_totals()
        if isinstance(outcome, NotComputed):
            raise ValueError(outcome.reason)
        return outcome

    def _from_records(self) -> Outcome:
        arrays = {name: np.concatenate([b[name] for b in self._batches]) for name in self._batches[0]}
        channel = str(self.protocol.channel)
        masks = self.protocol.metric != "box_accuracy"
        index = RecordIndex("memory", "test", "", self._images, (channel,), masks, ())
        records = MemoryRecords(index, arrays)
        return summarize(records, [self.protocol], bootstrap=self.bootstrap)[self.protocol.name]

    def _from_totals(self) -> Outcome:
        raise NotImplementedError

    def _add_totals(self, found: Arrays) -> None:
        self._totals = {k: self._totals[k] + v if k in self._totals else v for k, v in found.items()}

    def _keep(self, num_boxes: npt.NDArray[np.integer], on_maps: Arrays) -> None:
        """Keep one batch's records; `on_maps` are those of the protocol's kind of score map."""
        named = {channel_array(self.protocol.channel, name): array for name, array in on_maps.items()}
        self._batches.append({"num_boxes": num_boxes.astype(np.int32), **named})


class BoxAccuracy(_Metric):
    """The share of images whose box, taken from the score map, overlaps a true one enough: any protocol of boxes with
    the best or a fixed threshold and no condition on the class.

    Args:
        protocol: such as `PROTOCOLS["maxboxacc"]`, or one of your own.
        values: "normalized" maps lie in [0, 1]; "raw" ones have any values and are normalised by the protocol's rule.
        resamples, seed: of the bootstrap; 0 resamples give no interval and keep nothing of the single images.

    Raises:
        ValueError: the protocol needs more than score maps and boxes, or raw maps.
    """

    def __init__(
        self,
        protocol: Protocol,
        *,
        values: Values = "normalized",
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        if (
            protocol.metric != "box_accuracy"
            or protocol.class_gate != "none"
            or protocol.threshold == "transferred"
        ):
            raise ValueError(f"protocol {protocol.name} needs more than score maps and boxes")
        super().__init__(protocol, values, resamples, seed)

    def update(self, score_maps: Any, boxes: Sequence[npt.ArrayLike]) -> None:
        """Add n images.

        Args:
            score_maps: [n, H, W], arrays or tensors, already in the frame that they are scored in; uint8 is taken as
                quantised already.
            boxes: for each image its true boxes [M, 4], xyxy in pixels of that frame, whole numbers, 0 <= x0 <= x1 <= W
                and 0 <= y0 <= y1 <= H. M may be 0: such an image cannot be scored and leaves the denominator.

        Raises:
            ValueError: shapes that do not fit; maps outside [0, 1] or with NaN (where not raw); boxes that are NaN,
                negative, fractional, turned around or out of the frame, with the image's place in the batch.

        >>> metric = BoxAccuracy(PROTOCOLS["maxboxacc"], resamples=0)
        >>> score = np.zeros((1, 8, 8)); score[0, 2:6, 2:6] = 1.0
        >>> metric.update(score, [[[2, 2, 6, 6]]])
        >>> metric.compute().value
        100.0
        """
        scores = _as_array(score_maps)
        if len(scores) != len(boxes):
            raise ValueError(f"{len(scores)} score maps, but boxes of {len(boxes)} images")
        if not len(scores):
            return
        truth = [checked_boxes(b, scores.shape[1:], f"image {i} of the batch") for i, b in enumerate(boxes)]
        offsets = np.concatenate([[0], np.cumsum([len(t) for t in truth])]).astype(np.int64)
        levels = self._levels(scores)
        best = best_iou_per_level_batch(levels, np.concatenate(truth), offsets)
        name = f"{self.protocol.contours}_{self.protocol.gt_boxes}"
        iou = getattr(best, name).astype(np.float32)  # [n, 256]
        max_level = levels.reshape(len(levels), -1).max(1)
        self._images += len(levels)
        if self.bootstrap.resamples:
            self._keep(np.diff(offsets), {"max_level": max_level, name: iou})
            return
        scored = np.diff(offsets) > 0
        present = max_level[scored]
        limits = np.asarray(self.protocol.iou_thresholds, np.float32)[:, None, None]  # [K, 1, 1]
        over = iou[scored][None]
        hits = over >= limits if self.protocol.iou_comparison == ">=" else over > limits  # [K, n, 256]
        counts = np.zeros((len(limits), LEVELS, LEVELS), np.int64)
        for k in range(len(limits)):
            np.add.at(counts[k], present, hits[k])
        self._add_totals({"hits": counts, "images": np.bincount(present, minlength=LEVELS)})

    def _levels(self, scores: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        if scores.dtype == np.uint8:
            return scores
        plain = self.values == "normalized" and self.protocol.normalization == "minmax"
        if self.values == "normalized":
            quantized = quantize(scores)  # checks the range
            if plain:
                return quantized
        return score_levels(
            scores.astype(np.float64), self.protocol.normalization, self.protocol.normalization_fraction
        )[0]

    def _from_totals(self) -> Outcome:
        """From counts by largest level and level: image by image they add up to the same curve."""
        images = self._totals["images"]
        if not images.sum():
            return NotComputed(self.protocol, "no image has a ground-truth box")
        grid = ThresholdGrid.build(self.protocol, np.flatnonzero(images).tolist())
        by_level = np.arange(LEVELS)[:, None], grid.levels.astype(np.intp)  # [256, T]
        curves = Curves(grid, self.protocol, self.protocol.iou_thresholds, False, np.array([images.sum()]))
        for iou, counts in zip(self.protocol.iou_thresholds, self._totals["hits"]):
            localised = counts[by_level].sum(0, dtype=np.float64)  # [T]
            curves.changes[iou] = np.diff(localised, prepend=0.0)[:, None]
        return finish_curves(self.protocol, curves, None, NO_BOOTSTRAP)


class MaxBoxAcc(BoxAccuracy):
    """MaxBoxAcc (Choe et al., CVPR 2020, arXiv 2001.07437): the largest contour, IoU 0.5, the best threshold."""

    def __init__(self, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        super().__init__(PROTOCOLS["maxboxacc"], resamples=resamples, seed=seed)


class MaxBoxAccV2(BoxAccuracy):
    """MaxBoxAccV2 (Choe et al., TPAMI 2022, arXiv 2007.04178): all contours, IoU 0.3, 0.5 and 0.7."""

    def __init__(self, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        super().__init__(PROTOCOLS["maxboxacc_v2"], resamples=resamples, seed=seed)


class PixelMetric(_Metric):
    """Pixels of all images against their masks: PxAP or the best pooled IoU, as the protocol says.

    Arguments and errors as `BoxAccuracy`.
    """

    def __init__(
        self,
        protocol: Protocol,
        *,
        values: Values = "normalized",
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        if protocol.metric == "box_accuracy":
            raise ValueError(f"protocol {protocol.name} is not one of masks")
        super().__init__(protocol, values, resamples, seed)

    def update(self, score_maps: Any, masks: Any, ignore: Any = None) -> None:
        """Add n images: score maps [n, H, W], object masks [n, H, W] (non-zero is object) and, if any, regions to leave
        out [n, H, W]; object pixels are never left out.

        Raises ValueError for shapes that do not fit, and for maps outside [0, 1] or with NaN (where not raw).
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
        if self.values == "normalized":
            quantize(scores)  # checks the range
        if self.values == "raw" or self.protocol.normalization != "minmax":
            rule = self.protocol.normalization, self.protocol.normalization_fraction
            scores = np.stack([normalize(s, *rule)[0] for s in scores])
        step = self.protocol.threshold_step
        edges = histogram_edges(step)
        pairs = [
            score_histograms(s, m, None if left_out is None else left_out[i], edges)
            for i, (s, m) in enumerate(zip(scores, inside))
        ]
        self._images += len(scores)
        named = {histogram_name(place, step): np.array([p[k] for p in pairs]) for k, place in _PLACES}
        if self.bootstrap.resamples:
            nothing = np.zeros(len(scores), np.int32)
            self._keep(nothing, {"max_level": nothing.astype(np.uint8), **named})
        else:
            self._add_totals({name: h.sum(0, dtype=np.float64) for name, h in named.items()})

    def _from_totals(self) -> Outcome:
        hists = [self._totals[histogram_name(p, self.protocol.threshold_step)][None] for _, p in _PLACES]
        return finish_histograms(self.protocol, hists, self._images, self._images)


_PLACES = ((0, "object"), (1, "background"))


class PxAP(PixelMetric):
    """PxAP (Choe et al., CVPR 2020, arXiv 2001.07437): pixel average precision over all images' pixels."""

    def __init__(self, *, resamples: int = RESAMPLES, seed: int = 0) -> None:
        super().__init__(PROTOCOLS["pxap"], resamples=resamples, seed=seed)


def checked_boxes(boxes: npt.ArrayLike, size_hw: Sequence[int], where: str) -> npt.NDArray[np.int64]:
    """True boxes of one image as int64 [M, 4]; no boxes give [0, 4].

    Raises ValueError, beginning with `where`, for boxes that are NaN, negative, fractional, turned around or out of a
    frame of `size_hw`.
    """
    found = np.asarray(boxes, np.float64)
    if found.size == 0:
        return np.zeros((0, 4), np.int64)
    if found.ndim != 2 or found.shape[1] != 4:
        raise ValueError(f"{where}: boxes must have shape [M, 4], got {list(found.shape)}")
    height, width = size_hw
    whole = np.isfinite(found).all(1) & (found == np.trunc(np.nan_to_num(found))).all(1)
    inside = (found >= 0).all(1) & (found[:, [0, 2]] <= width).all(1) & (found[:, [1, 3]] <= height).all(1)
    fine = whole & inside & (found[:, 2:] >= found[:, :2]).all(1)
    if not fine.all():
        raise ValueError(
            f"{where}: box {found[~fine][0].tolist()} is not one of the maps' frame; expected x0 y0 x1 y1 as whole "
            f"pixels of the {width} x {height} frame, 0 <= x0 <= x1 <= {width} and 0 <= y0 <= y1 <= {height}"
        )
    return found.astype(np.int64)


def _as_array(values: Any) -> npt.NDArray[Any]:
    """An array [n, H, W] from an array or a tensor on any device."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.ndim != 3:
        raise ValueError(f"expected shape [n, H, W], got {list(array.shape)}")
    return array
