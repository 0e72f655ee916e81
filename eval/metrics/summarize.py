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

from eval.metrics.bootstrap import RESAMPLES, percentile_interval, resample_weights
from eval.metrics.outcomes import NotComputed, Outcome, Summary
from eval.metrics.pixels import finish_histograms
from eval.protocols import Protocol
from eval.records.store import RecordBlock, Records

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
    """Running sums of one protocol: whole set [.., T] and per resample [B, .., T]."""

    grid: ThresholdGrid | None
    n: float = 0.0
    n_boot: npt.NDArray[np.float64] | None = None
    hits: list[npt.NDArray[np.float64]] = field(default_factory=list)
    hits_boot: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(
        self, arrays: Sequence[npt.NDArray[np.floating]], weights: npt.NDArray[np.float32] | None
    ) -> None:
        for k, array in enumerate(arrays):
            total = array.sum(0, dtype=np.float64)
            boot = (
                None
                if weights is None
                else (weights.astype(array.dtype, copy=False) @ array).astype(np.float64)
            )
            if k < len(self.hits):
                self.hits[k] += total
                if boot is not None:
                    self.hits_boot[k] += boot
            else:
                self.hits.append(total)
                if boot is not None:
                    self.hits_boot.append(boot)


def box_hits(
    block: RecordBlock, protocol: Protocol, grid: ThresholdGrid
) -> tuple[npt.NDArray[np.float32], ...]:
    """For each IoU threshold the 0/1 matrix [n, T]: is the image localised at this threshold of its map?

    Rows of images without a ground-truth box are 0; callers leave them out of the denominator.
    """
    channel = str(protocol.channel)
    iou = block.iou(channel, protocol.contours, protocol.gt_boxes)  # [n, 256]
    levels = grid.levels[block[f"{channel}.max_level"]]  # [n, T]
    at = np.take_along_axis(iou, levels.astype(np.intp), axis=1)  # [n, T]
    scored = block["num_boxes"] > 0
    if protocol.class_gate != "none":
        scored = scored & (block[protocol.class_gate] == 1)
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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Outcome]:
    """Every protocol that these records can answer, in one pass over the blocks.

    `thresholds` gives, for protocols with threshold "transferred", the taus chosen elsewhere (one per IoU threshold).
    Their intervals are conditional on those taus. With `resamples` 0 there are no intervals.
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
    channels = sorted({str(p.channel) for p in boxes})
    max_levels: dict[str, set[int]] = {c: set() for c in channels}
    scored = 0
    predicted = True
    for block in store.blocks():
        scored += int((block["num_boxes"] > 0).sum())
        predicted &= bool((block["top1"] >= 0).all())
        for c in channels:
            max_levels[c].update(np.unique(block[f"{c}.max_level"]).tolist())
    for protocol in list(wanted):
        if protocol.metric == "box_accuracy" and scored == 0:
            outcomes[protocol.name] = NotComputed(protocol, "no image has a ground-truth box")
        elif protocol.class_gate != "none" and not predicted:
            outcomes[protocol.name] = NotComputed(
                protocol, "there are no class predictions for these score maps"
            )
        else:
            continue
        wanted.remove(protocol)
    sums = {
        p.name: _Sums(
            ThresholdGrid.build(p, sorted(max_levels[str(p.channel)]), (thresholds or {}).get(p.name))
            if p.metric == "box_accuracy"
            else None
        )
        for p in wanted
    }
    sizes = [len(store.block_range(b)) for b in range(store.index.num_blocks)]
    weights = resample_weights(sizes, resamples, seed) if resamples else iter(lambda: None, 0)
    for block, weight in zip(store.blocks(), weights):
        has_box = block["num_boxes"] > 0
        for p in wanted:
            s = sums[p.name]
            if p.metric == "box_accuracy":
                assert s.grid is not None
                rows = has_box
                s.add(box_hits(block, p, s.grid), weight)
            else:
                rows = np.ones(len(has_box), bool)
                channel = str(p.channel)
                hist = [
                    block[f"{channel}.{k}"].astype(np.float64) for k in ("hist_object", "hist_background")
                ]
                s.add(hist, weight)
            s.n += float(rows.sum())
            if weight is not None:
                drawn = weight[:, rows].sum(1, dtype=np.float64)
                s.n_boot = drawn if s.n_boot is None else s.n_boot + drawn
    for p in wanted:
        outcomes[p.name] = _finish(p, sums[p.name], (thresholds or {}).get(p.name))
    return {p.name: outcomes[p.name] for p in protocols}


def _why_not(store: Records, protocol: Protocol, thresholds: Mapping[str, Sequence[float]]) -> str | None:
    if str(protocol.channel) not in store.index.channels:
        return str(
            store.index.maps.get("not_computed", {}).get(str(protocol.channel))
            or f"these records hold no '{protocol.channel}' score maps"
        )
    if protocol.metric != "box_accuracy" and not store.index.masks:
        return "the dataset has no masks"
    if protocol.threshold == "transferred" and protocol.name not in thresholds:
        return "there is no other split with boxes (train-fullsup) to choose the threshold on"
    return None


def _finish(protocol: Protocol, sums: _Sums, given: Sequence[float] | None) -> Outcome:
    if protocol.metric != "box_accuracy":
        return finish_histograms(protocol, sums.hits, sums.hits_boot, int(sums.n))
    assert sums.grid is not None
    grid = sums.grid
    curves = np.stack(sums.hits) * 100.0 / sums.n  # [K, T]
    if given is not None:
        columns = [grid.column(t) for t in given]
        taus = tuple(float(t) for t in given)
        ties = tuple(1 for _ in given)
    else:
        columns = [int(np.argmax(curve)) for curve in curves]
        taus = tuple(float(grid.taus[c]) for c in columns)
        ties = tuple(int((curve == curve.max()).sum()) for curve in curves)
    best = [float(curve[c]) for curve, c in zip(curves, columns)]
    ci95, resampled = None, None
    if sums.hits_boot and sums.n_boot is not None:
        denominator = np.where(sums.n_boot > 0, sums.n_boot, np.nan)[:, None]
        boot = [h * 100.0 / denominator for h in sums.hits_boot]  # each [B, T]
        free = given is None and protocol.threshold == "oracle"
        picked = [b.max(1) if free else b[:, c] for b, c in zip(boot, columns)]
        resampled = np.mean(picked, axis=0)
        ci95 = percentile_interval(resampled)
    per_iou = {f"{t * 100:g}": v for t, v in zip(protocol.iou_thresholds, best)}
    return Summary(
        protocol,
        float(np.mean(best)),
        ci95,
        per_iou,
        taus,
        ties,
        int(sums.n),
        taus=grid.taus,
        curves=curves,
        resampled=resampled,
    )


def chosen_thresholds(store: Records, protocols: Sequence[Protocol]) -> dict[str, tuple[float, ...]]:
    """The best taus on these records (train-fullsup) for every protocol whose threshold is transferred."""
    asked = [p for p in protocols if p.threshold == "transferred"]
    oracle = [dataclasses.replace(p, threshold="oracle") for p in asked]
    found = summarize(store, oracle, resamples=0)
    return {p.name: o.thresholds for p, o in zip(asked, found.values()) if isinstance(o, Summary)}
