"""From per-image records to numbers: accumulate over blocks, then summarise, protocol by protocol.

Everything streams: one block of records is in memory at a time, together with one row of sums per threshold and per
bootstrap resample. `value` is count * 100 / N over the scored images; an image without any ground-truth box cannot be
scored on boxes and is counted apart, every other image stays in the denominator whatever its map was like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.bootstrap import (
    DEFAULT_BOOTSTRAP,
    NO_BOOTSTRAP,
    Bootstrap,
    percentile_interval,
    weighted_sum,
)
from eval.metrics.outcomes import NotComputed, Outcome, Summary
from eval.metrics.pixels import finish_histograms
from eval.protocols import Channel, Protocol, channels_of
from eval.records.block import RecordBlock
from eval.records.store import Records

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class ThresholdGrid:
    """The thresholds of a protocol that lead to different foregrounds.

    `taus` [T] are the smallest of each group of equivalent thresholds; `levels` [256, T] gives, for a map whose
    largest 8-bit value is m, the level int(tau * m) that its pixels must exceed.
    """

    taus: npt.NDArray[np.float64]
    levels: npt.NDArray[np.uint8]

    @classmethod
    def build(
        cls, protocol: Protocol, max_levels: Sequence[int], given: Sequence[float] | None = None
    ) -> ThresholdGrid:
        """Grid for the largest values that really occur: equal columns are kept once. `given` taus (chosen
        elsewhere) or a fixed one are the whole grid."""
        if given is not None:
            taus = np.unique(np.asarray(given, np.float64))
        elif protocol.threshold == "fixed":
            taus = np.array([protocol.fixed_threshold], np.float64)
        else:
            taus = np.arange(0, 1, protocol.threshold_step)
        table = (taus[None, :] * np.arange(256, dtype=np.float64)[:, None]).astype(np.uint8)  # [256, T]
        present = sorted({int(m) for m in max_levels} - {0})
        if present:
            used = table[present]
            new = np.ones(len(taus), bool)
            new[1:] = (used[:, 1:] != used[:, :-1]).any(0)
        else:
            new = np.zeros(len(taus), bool)
            new[0] = True
        return cls(taus[new], table[:, new])

    def column(self, tau: float) -> int:
        """The column that a threshold belongs to."""
        return max(int(np.searchsorted(self.taus, tau, side="right")) - 1, 0)


@dataclass
class _Sums:
    """Running sums of one protocol under the bootstrap's weights; row 0 of each is the whole set."""

    grid: ThresholdGrid | None
    images: npt.NDArray[np.float64] | float = 0.0
    """Images in the denominator [1 + B]."""
    hits: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """For boxes one [1 + B, T] an IoU threshold; for masks the two histograms [1 + B, bins]."""

    def add(
        self,
        arrays: Sequence[npt.NDArray[np.floating]],
        counted: npt.NDArray[np.bool_],
        weights: npt.NDArray[np.float32],
    ) -> None:
        found = [weighted_sum(weights, array) for array in arrays]
        self.hits = [a + b for a, b in zip(self.hits, found)] if self.hits else found
        self.images = self.images + weights[:, counted].sum(1, dtype=np.float64)


def box_hits(
    block: RecordBlock, protocol: Protocol, grid: ThresholdGrid
) -> tuple[npt.NDArray[np.float32], ...]:
    """For each IoU threshold the 0/1 matrix [n, T]: is the image localised at this threshold of its map?

    Rows of images without a ground-truth box are 0; callers leave them out of the denominator.
    """
    records = block.channel(protocol.channel)
    iou = records.iou(protocol.contours, protocol.gt_boxes)  # [n, 256]
    levels = grid.levels[records.max_level]  # [n, T]
    at = np.take_along_axis(iou, levels.astype(np.intp), axis=1)  # [n, T]
    scored = (block.num_boxes > 0) & (block.right_class(protocol) == 1)
    found = []
    for threshold in protocol.iou_thresholds:
        limit = np.float32(threshold)
        hit = (at >= limit) if protocol.iou_comparison == ">=" else (at > limit)
        found.append((hit & scored[:, None]).astype(np.float32))
    return tuple(found)


def summarize(
    store: Records,
    protocols: Sequence[Protocol],
    *,
    thresholds: Mapping[str, Sequence[float]] | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> dict[str, Outcome]:
    """Every protocol that these records can answer, in one pass over the blocks.

    `thresholds` gives, for protocols with threshold "transferred", the taus chosen elsewhere (one per IoU threshold).
    Their intervals are conditional on those taus.
    """
    outcomes: dict[str, Outcome] = {}
    wanted: list[Protocol] = []
    for protocol in protocols:
        reason = _why_not(store, protocol, thresholds or {})
        if reason:
            outcomes[protocol.name] = NotComputed(protocol, reason)
        else:
            wanted.append(protocol)
    boxes = [p for p in wanted if p.metric == "box_accuracy"]
    channels = channels_of(boxes)
    gated = [p for p in wanted if p.class_gate != "none"]
    unpredicted: set[str] = set()
    max_levels: dict[Channel, set[int]] = {c: set() for c in channels}
    scored = 0
    for block in store.blocks():
        scored += int((block.num_boxes > 0).sum())
        unpredicted |= {p.name for p in gated if (block.right_class(p) < 0).any()}
        for c in channels:
            max_levels[c].update(np.unique(block.channel(c).max_level).tolist())
    for protocol in list(wanted):
        if protocol.metric == "box_accuracy" and scored == 0:
            outcomes[protocol.name] = NotComputed(protocol, "no image has a ground-truth box")
        elif protocol.name in unpredicted:
            cropped = protocol.class_view == "scored" and protocol.frame != "resize"
            view = f" of the '{protocol.frame}' view" if cropped else ""
            outcomes[protocol.name] = NotComputed(
                protocol, f"there are no class predictions{view} for these score maps"
            )
        else:
            continue
        wanted.remove(protocol)
    sums = {
        p.name: _Sums(
            ThresholdGrid.build(p, sorted(max_levels[p.channel]), (thresholds or {}).get(p.name))
            if p.metric == "box_accuracy"
            else None
        )
        for p in wanted
    }
    for block, weights in zip(store.blocks(), bootstrap.weights(store.index.block_sizes)):
        has_box = block.num_boxes > 0
        for p in wanted:
            s = sums[p.name]
            if s.grid is not None:
                s.add(box_hits(block, p, s.grid), has_box, weights)
            else:
                hists = [h.astype(np.float64) for h in block.channel(p.channel).histograms]
                s.add(hists, np.ones(len(block), bool), weights)
    for p in wanted:
        outcomes[p.name] = _finish(p, sums[p.name], (thresholds or {}).get(p.name))
    return {p.name: outcomes[p.name] for p in protocols}


def _why_not(store: Records, protocol: Protocol, thresholds: Mapping[str, Sequence[float]]) -> str | None:
    if not store.index.holds(protocol.channel):
        why = store.index.maps.get("not_computed", {}).get(str(protocol.channel))
        return str(why or f"these records hold no '{protocol.channel}' score maps")
    if protocol.metric != "box_accuracy" and not store.index.masks:
        return "the dataset has no masks"
    if protocol.threshold == "transferred" and protocol.name not in thresholds:
        return (
            "no threshold was chosen on another split (train-fullsup): it has no boxes, or not all of its images have "
            "a map (--threshold-maps names a folder of its own)"
        )
    return None


def _finish(protocol: Protocol, sums: _Sums, given: Sequence[float] | None) -> Outcome:
    images = np.asarray(sums.images)
    if sums.grid is None:
        return finish_histograms(protocol, sums.hits, int(images[0]))
    grid = sums.grid
    shares = [h * 100.0 / np.where(images > 0, images, np.nan)[:, None] for h in sums.hits]  # each [1 + B, T]
    curves = np.stack([share[0] for share in shares])  # [K, T]
    if given is not None:
        columns = [grid.column(t) for t in given]
        taus = tuple(float(t) for t in given)
        ties = tuple(1 for _ in given)
    else:
        columns = [int(np.argmax(curve)) for curve in curves]
        taus = tuple(float(grid.taus[c]) for c in columns)
        ties = tuple(int((curve == curve.max()).sum()) for curve in curves)
    best = [float(curve[c]) for curve, c in zip(curves, columns)]
    free = given is None and protocol.threshold == "oracle"
    resampled = np.mean(
        [share[1:].max(1) if free else share[1:, c] for share, c in zip(shares, columns)], axis=0
    )
    per_iou = {f"{t * 100:g}": v for t, v in zip(protocol.iou_thresholds, best)}
    return Summary(
        protocol,
        float(np.mean(best)),
        percentile_interval(resampled),
        per_iou,
        taus,
        ties,
        int(images[0]),
        taus=grid.taus,
        curves=curves,
        resampled=resampled if len(resampled) else None,
    )


def chosen_thresholds(store: Records, protocols: Sequence[Protocol]) -> dict[str, tuple[float, ...]]:
    """The best taus on these records (train-fullsup) for every protocol whose threshold is transferred."""
    asked = [p for p in protocols if p.threshold == "transferred"]
    oracle = [dataclasses.replace(p, threshold="oracle") for p in asked]
    found = summarize(store, oracle, bootstrap=NO_BOOTSTRAP)
    return {p.name: o.thresholds for p, o in zip(asked, found.values()) if isinstance(o, Summary)}
