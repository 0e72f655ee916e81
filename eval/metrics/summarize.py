"""From per-image records to numbers: accumulate over blocks, then summarise, protocol by protocol.

Everything streams: one block of records is in memory at a time, together with one row of sums per threshold and per
bootstrap resample. `value` is count * 100 / N over the scored images; an image without any ground-truth box cannot be
scored on boxes and is counted apart, every other image stays in the denominator whatever its map was like.

Intervals (docs/statistics.md): Wilson's score interval with the bootstrap's variance. An oracle threshold's is centred
below the value by its estimated optimism; a transferred one's also covers the images that chose the threshold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.bootstrap import DEFAULT_BOOTSTRAP, NO_BOOTSTRAP, Bootstrap, weighted_sum
from eval.metrics.curves import Curves, planned_curves
from eval.metrics.outcomes import NotComputed, Outcome, Summary
from eval.metrics.pixels import finish_histograms
from eval.protocols import Channel, Protocol, channels_of
from eval.records.store import Records
from eval.statistics.counts import score_interval
from eval.statistics.law import CONFIDENCE, Law
from eval.statistics.selection import AtChosen, best_column, oracle, transferred

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Chosen:
    """Thresholds chosen on other images: `taus`, one per IoU threshold, how many are equally good (`ties`), and those
    that each resample of these images chooses, [B] each; empty where that is not known."""

    taus: tuple[float, ...]
    ties: tuple[int, ...] = ()
    resampled: tuple[npt.NDArray[np.float64], ...] = ()


@dataclass
class _Histograms:
    """Sums of the two histograms [1 + B, bins] of one protocol of masks."""

    sums: list[npt.NDArray[np.float64]] = dataclasses.field(default_factory=list)


def summarize(
    store: Records,
    protocols: Sequence[Protocol],
    *,
    thresholds: Mapping[str, Chosen | Sequence[float]] | None = None,
    why_no_threshold: str = "",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> dict[str, Outcome]:
    """Every protocol that these records can answer, in one pass over the blocks.

    `thresholds` gives, for protocols with threshold "transferred", the taus chosen elsewhere (one per IoU threshold);
    `why_no_threshold` is said of those that have none. Where they come with resamples, the intervals cover the choice
    of the threshold too, else they are conditional on it.
    """
    chosen = {
        name: found if isinstance(found, Chosen) else Chosen(tuple(found))
        for name, found in (thresholds or {}).items()
    }
    outcomes: dict[str, Outcome] = {}
    wanted: list[Protocol] = []
    for protocol in protocols:
        reason = _why_not(store, protocol, chosen, why_no_threshold)
        if reason:
            outcomes[protocol.name] = NotComputed(protocol, reason)
        else:
            wanted.append(protocol)
    boxes = [p for p in wanted if p.metric == "box_accuracy"]
    channels = channels_of(boxes)
    gated = [p for p in wanted if p.class_gate != "none"]
    pixels = [p for p in wanted if p.metric != "box_accuracy"]
    unpredicted: set[str] = set()
    no_histograms: set[str] = set()
    max_levels: dict[Channel, set[int]] = {c: set() for c in channels}
    scored = 0
    for block in store.blocks():
        scored += int((block.num_boxes > 0).sum())
        unpredicted |= {p.name for p in gated if (block.right_class(p) < 0).any()}
        for p in pixels:
            if block.channel(p.channel).histograms(p.threshold_step) is None:
                no_histograms.add(p.name)
        for c in channels:
            max_levels[c].update(np.unique(block.channel(c).max_level).tolist())
    for protocol in list(wanted):
        if protocol.metric == "box_accuracy" and scored == 0:
            outcomes[protocol.name] = NotComputed(protocol, "no image has a ground-truth box")
        elif protocol.name in no_histograms:
            outcomes[protocol.name] = NotComputed(
                protocol,
                f"the records hold no score histograms of step {protocol.threshold_step:g}; run eval.localize again",
            )
        elif protocol.name in unpredicted:
            cropped = protocol.class_view == "scored" and protocol.frame != "resize"
            view = f" of the '{protocol.frame}' view" if cropped else ""
            outcomes[protocol.name] = NotComputed(protocol, f"there are no class predictions{view}")
        else:
            continue
        wanted.remove(protocol)
    curves = planned_curves(
        [p for p in wanted if p.metric == "box_accuracy"],
        {c: sorted(levels) for c, levels in max_levels.items()},
        {name: c.taus for name, c in chosen.items() if not c.resampled},
        out_of_bag=bootstrap.resamples > 0,
    )
    separate = list({id(c): c for c in curves.values()}.values())
    masks = {p.name: _Histograms() for p in wanted if p.metric != "box_accuracy"}
    images = 0
    for block, weights in zip(store.blocks(), bootstrap.weights(store.index.block_sizes)):
        images += len(block)
        for curve in separate:
            curve.add(block, weights)
        for p in wanted:
            if p.name in masks:
                hists = block.channel(p.channel).histograms(p.threshold_step)
                assert hists is not None  # else it is not in `wanted`
                found = [weighted_sum(weights, h.astype(np.float64)) for h in hists]
                sums = masks[p.name].sums
                masks[p.name].sums = [a + b for a, b in zip(sums, found)] if sums else found
    for p in wanted:
        if p.name in masks:
            outcomes[p.name] = finish_histograms(p, masks[p.name].sums, images, bootstrap.units(images))
        else:
            outcomes[p.name] = finish_curves(p, curves[p.name], chosen.get(p.name), bootstrap)
    return {p.name: outcomes[p.name] for p in protocols}


def _why_not(
    store: Records, protocol: Protocol, chosen: Mapping[str, Chosen], no_threshold: str
) -> str | None:
    if not store.index.holds(protocol.channel):
        why = store.index.maps.get("not_computed", {}).get(str(protocol.channel))
        return str(why or f"these records hold no '{protocol.channel}' score maps")
    if protocol.metric != "box_accuracy" and not store.index.masks:
        return str(store.index.maps.get("pixels", "the dataset has no masks"))
    if protocol.threshold == "transferred" and protocol.name not in chosen:
        return no_threshold or "no threshold was chosen on other images (train-fullsup)"
    return None


def finish_curves(protocol: Protocol, sums: Curves, given: Chosen | None, bootstrap: Bootstrap) -> Outcome:
    """The outcome of a protocol of boxes from its summed curves; `given` are thresholds chosen elsewhere."""
    grid = sums.grid
    shares = [sums.percent(iou) for iou in protocol.iou_thresholds]  # each [1 + B, T]
    curves = np.stack([share[0] for share in shares])  # [K, T]
    images = int(np.asarray(sums.images)[0])
    boot = [share[1:] for share in shares]
    free = protocol.threshold == "oracle" and given is None
    if free:
        columns = [int(c) for c in best_column(curves, protocol.plateau)]
        taus = tuple(float(grid.taus[c]) for c in columns)
        ties = tuple(int((curve == curve.max()).sum()) for curve in curves)
    else:
        taus = given.taus if given is not None else (float(protocol.fixed_threshold or 0),)
        columns = [int(c) for c in grid.columns(taus)]
        ties = given.ties if given is not None and given.ties else tuple(1 for _ in taus)
        if protocol.threshold == "fixed":
            columns, ties = columns * len(curves), ties * len(curves)
            taus = taus * len(curves)
    best = [float(curve[c]) for curve, c in zip(curves, columns)]
    value = float(np.mean(best))
    found: AtChosen | None = None
    if bootstrap.resamples:
        if free:
            outside = [sums.percent_outside(iou) for iou in protocol.iou_thresholds]
            found = oracle(list(curves), boot, outside)
        else:
            chosen = [np.full(len(b), c) for b, c in zip(boot, columns)]
            if given is not None and given.resampled:
                chosen = [grid.columns(taus_drawn) for taus_drawn in given.resampled]
            found = transferred(list(curves), boot, columns, chosen)
    whole = len(grid.taus) > 1 and protocol.threshold == "oracle"
    return Summary(
        protocol,
        value,
        None if found is None else _interval(found, images, bootstrap),
        {f"{t * 100:g}": v for t, v in zip(protocol.iou_thresholds, best)},
        taus,
        ties,
        images,
        taus=grid.taus,
        curves=curves,
        resampled=None if found is None else found.resampled,
        optimism=None if found is None else found.optimism,
        resampled_curves=tuple(b.astype(np.float32) for b in boot) if whole and found is not None else (),
    )


def _interval(found: AtChosen, images: int, bootstrap: Bootstrap) -> tuple[float, float]:
    if bootstrap.clusters is None:
        return score_interval(found.centre, found.variance, images)
    clusters = bootstrap.units(images)
    law = Law(found.centre, found.variance * clusters / max(clusters - 1, 1), max(clusters - 1, 1))
    low, high = law.interval(CONFIDENCE)
    return max(0.0, low), min(100.0, high)


def chosen_thresholds(
    store: Records, protocols: Sequence[Protocol], bootstrap: Bootstrap = NO_BOOTSTRAP
) -> dict[str, Chosen]:
    """The best taus on these records (train-fullsup) for every protocol whose threshold is transferred: of the whole
    set and of every resample, by the protocol's rule for equally good ones."""
    asked = [p for p in protocols if p.threshold == "transferred"]
    best = [dataclasses.replace(p, threshold="oracle") for p in asked]
    found: dict[str, Chosen] = {}
    for p, o in zip(asked, summarize(store, best, bootstrap=bootstrap.choosing()).values()):
        if isinstance(o, Summary):
            assert o.taus is not None
            taus = o.taus
            moved = tuple(
                taus[best_column(np.nan_to_num(c, nan=-1.0), p.plateau)] for c in o.resampled_curves
            )
            found[p.name] = Chosen(o.thresholds, o.ties, moved)
    return found
