"""Accuracy over thresholds under the bootstrap, added up once for all protocols that decide alike.

MaxBoxAcc, its transferred form and GT-known Loc read one curve at different thresholds; so do both MaxBoxAccV2s. One
pass over the blocks adds up every curve that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.step_curves import changes_of, summed_changes
from eval.protocols import Channel, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.records.block import RecordBlock

OUT_OF_BAG = 200
"""Resamples whose thresholds are also read on the images that they left out; their mean is all that is used."""


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
        table = levels_of(taus)
        present = sorted({int(m) for m in max_levels} - {0})
        if present:
            used = table[present]
            new = np.ones(len(taus), bool)
            new[1:] = (used[:, 1:] != used[:, :-1]).any(0)
        else:
            new = np.zeros(len(taus), bool)
            new[0] = True
        return cls(taus[new], table[:, new])

    def columns(self, taus: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """The columns that thresholds belong to."""
        return np.maximum(np.searchsorted(self.taus, taus, side="right") - 1, 0)

    @cached_property
    def first_columns(self) -> npt.NDArray[np.int32]:
        """The first column whose level is at least l, for a map whose largest value is m: [256 (m), 256 (l)]; T where
        there is none."""
        every = np.arange(len(self.levels))
        return np.stack([np.searchsorted(row, every) for row in self.levels]).astype(np.int32)


def levels_of(taus: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """int(tau * m) for every largest value m, [256, T]."""
    return (taus[None, :] * np.arange(256, dtype=np.float64)[:, None]).astype(np.uint8)


@dataclass(frozen=True)
class Rule:
    """What makes an image count as localised, IoU threshold aside: protocols with equal rules read one curve."""

    channel: Channel
    contours: str
    gt_boxes: str
    comparison: str
    gate: str
    grid_of: tuple[object, ...]

    @classmethod
    def of(cls, protocol: Protocol, grid_of: tuple[object, ...]) -> Rule:
        return cls(
            protocol.channel,
            protocol.contours,
            protocol.gt_boxes,
            protocol.iou_comparison,
            protocol.class_gate,
            grid_of,
        )


@dataclass
class Curves:
    """Sums of one rule under the bootstrap's weights; row 0 is the whole set, the others are resamples.

    `changes` by IoU threshold, [T, 1 + B]: cumulative over thresholds they count the images that are localised.
    `changes_outside` likewise over the images that resample b left out, [T, B'], where `out_of_bag` is asked for.
    """

    grid: ThresholdGrid
    protocol: Protocol
    ious: tuple[float, ...]
    out_of_bag: bool
    images: npt.NDArray[np.float64] | float = 0.0
    images_outside: npt.NDArray[np.float64] | float = 0.0
    changes: dict[float, npt.NDArray[np.float64]] = field(default_factory=dict)
    changes_outside: dict[float, npt.NDArray[np.float64]] = field(default_factory=dict)

    def add(self, block: RecordBlock, weights: npt.NDArray[np.float32]) -> None:
        """Add one block of images."""
        has_box = (block.num_boxes > 0).astype(np.float32)
        left = (weights[1 : 1 + OUT_OF_BAG] == 0).astype(np.float32) if self.out_of_bag else None
        self.images = self.images + (weights @ has_box).astype(np.float64)
        if left is not None:
            self.images_outside = self.images_outside + (left @ has_box).astype(np.float64)
        columns = self.grid.first_columns[block.channel(self.protocol.channel).max_level]  # [n, 256]
        size = len(self.grid.taus)
        for iou, hit in zip(self.ious, hits_at_levels(block, self.protocol, self.ious)):
            changes = changes_of(hit, columns, size + 1)  # the last: levels that no threshold reaches
            _add(self.changes, iou, summed_changes(changes, weights)[:size])
            if left is not None:
                _add(self.changes_outside, iou, summed_changes(changes, left)[:size])

    def percent(self, iou: float) -> npt.NDArray[np.float64]:
        """The curve of the whole set and of each resample, [1 + B, T]; NaN where no image was drawn."""
        return _percent(self.changes[iou], self.images)

    def percent_outside(self, iou: float) -> npt.NDArray[np.float64]:
        """The curve over the images that resamples left out, [B', T]; B' is 0 where that was not asked for."""
        if not self.changes_outside:
            return np.zeros((0, len(self.grid.taus)))
        return _percent(self.changes_outside[iou], self.images_outside)


def _add(sums: dict[float, npt.NDArray[np.float64]], iou: float, changes: npt.NDArray[np.float32]) -> None:
    if iou in sums:
        sums[iou] += changes
    else:
        sums[iou] = changes.astype(np.float64)


def _percent(
    changes: npt.NDArray[np.float64], images: npt.NDArray[np.float64] | float
) -> npt.NDArray[np.float64]:
    some = np.asarray(images)
    return np.cumsum(changes.T, axis=1) * 100.0 / np.where(some > 0, some, np.nan)[:, None]


def hits_at_levels(
    block: RecordBlock, protocol: Protocol, ious: Sequence[float]
) -> list[npt.NDArray[np.bool_]]:
    """For each IoU threshold [n, 256]: is the image localised at this level of its map?

    Rows of images without a ground-truth box are False; callers leave them out of the denominator.
    """
    iou = block.channel(protocol.channel).iou(protocol.contours, protocol.gt_boxes)  # [n, 256]
    scored = (block.num_boxes > 0) & (block.right_class(protocol) == 1)
    limits = [np.float32(threshold) for threshold in ious]
    return [
        ((iou >= limit) if protocol.iou_comparison == ">=" else (iou > limit)) & scored[:, None]
        for limit in limits
    ]


def box_hits(
    block: RecordBlock, protocol: Protocol, grid: ThresholdGrid
) -> tuple[npt.NDArray[np.bool_], ...]:
    """For each of the protocol's IoU thresholds [n, T]: is the image localised at this threshold of its map?"""
    levels = grid.levels[block.channel(protocol.channel).max_level].astype(np.intp)  # [n, T]
    return tuple(
        np.take_along_axis(hit, levels, axis=1)
        for hit in hits_at_levels(block, protocol, protocol.iou_thresholds)
    )


def planned_curves(
    protocols: Sequence[Protocol],
    max_levels: Mapping[Channel, Sequence[int]],
    given: Mapping[str, Sequence[float]],
    *,
    out_of_bag: bool,
) -> dict[str, Curves]:
    """Which curve each protocol reads, by its name; protocols that decide alike share one.

    `given` are the thresholds of protocols that read just these. A fixed or given threshold is read from a whole curve
    where there is one on which it stands exactly, else it is a grid of its own.
    """
    plans: dict[Rule, Curves] = {}

    def whole(p: Protocol) -> Rule:
        return Rule.of(p, ("every", p.threshold_step))

    def join(rule: Rule, p: Protocol, grid: ThresholdGrid) -> None:
        free = p.threshold == "oracle"
        if rule not in plans:
            plans[rule] = Curves(grid, p, p.iou_thresholds, out_of_bag and free)
            return
        there = plans[rule]
        there.ious = tuple(dict.fromkeys((*there.ious, *p.iou_thresholds)))
        there.out_of_bag = there.out_of_bag or (out_of_bag and free)

    read: dict[str, Rule] = {}
    searching = [p for p in protocols if p.threshold in ("oracle", "transferred") and p.name not in given]
    for p in searching:
        read[p.name] = whole(p)
        join(read[p.name], p, ThresholdGrid.build(p, max_levels[p.channel]))
    for p in protocols:
        if p.name in read:
            continue
        taus = given.get(p.name, (float(p.fixed_threshold or 0),))
        rule = whole(p)
        if rule not in plans or not _stands_on(plans[rule].grid, taus, max_levels[p.channel]):
            rule = Rule.of(p, ("given", *taus))
        read[p.name] = rule
        join(rule, p, ThresholdGrid.build(p, max_levels[p.channel], taus))
    return {name: plans[rule] for name, rule in read.items()}


def _stands_on(grid: ThresholdGrid, taus: Sequence[float], max_levels: Sequence[int]) -> bool:
    """Whether each threshold has, for all maps at hand, the very levels of the grid's column that it belongs to."""
    present = sorted({int(m) for m in max_levels} - {0})
    mine = levels_of(np.asarray(taus, np.float64))[present]
    return bool((grid.levels[:, grid.columns(taus)][present] == mine).all())
