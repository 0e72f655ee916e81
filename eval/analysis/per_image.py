"""What happened to each image at one threshold, gathered over all blocks; means over images with bootstrap values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.maps.blocks import BLOCK
from eval.metrics.bootstrap import Bootstrap, resampled_means
from eval.metrics.curves import ThresholdGrid, box_hits
from eval.protocols import Protocol
from eval.records.store import LEVELS, Records

if TYPE_CHECKING:
    import numpy.typing as npt


_MAIN = ("maxboxacc_transferred", "maxboxacc", "gt_known_fixed")
"""The protocol that images are broken down by, first that is there: its threshold is chosen honestly."""


@dataclass(frozen=True)
class PerImage:
    """N images under one protocol at given taus.

    `hit` [N, K] is the protocol's own decision, class condition included; `iou` [N] and `box_xyxy` [N, 4] (of the
    largest contour, frame pixels) are those at the first tau; `scored` [N] is false where an image has no true box.
    `top1`, `top5` are 1, 0 or -1 (nothing predicts).
    """

    label: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.int32]
    top1: npt.NDArray[np.int8]
    top5: npt.NDArray[np.int8]
    num_boxes: npt.NDArray[np.int32]
    scored: npt.NDArray[np.bool_]
    hit: npt.NDArray[np.bool_]
    iou: npt.NDArray[np.float32]
    box_xyxy: npt.NDArray[np.int16]


def main_protocol(protocols: Sequence[Protocol]) -> Protocol | None:
    """The protocol whose decisions sub-groups and error kinds are counted by."""
    by_name = {p.name: p for p in protocols}
    chosen = next((by_name[n] for n in _MAIN if n in by_name), None)
    return chosen or next(
        (p for p in protocols if p.metric == "box_accuracy" and p.class_gate == "none"), None
    )


def grid_of(taus: Sequence[float]) -> ThresholdGrid:
    """The grid of exactly these taus, in this order, none merged."""
    values = np.asarray(taus, np.float64)
    table = (values[None, :] * np.arange(LEVELS, dtype=np.float64)[:, None]).astype(np.uint8)
    return ThresholdGrid(values, table)


def per_image(records: Records, protocol: Protocol, taus: Sequence[float]) -> PerImage:
    """Gather one protocol's decisions; `taus` has one entry per IoU threshold."""
    if len(taus) != len(protocol.iou_thresholds):
        raise ValueError(
            f"{protocol.name}: {len(taus)} taus for {len(protocol.iou_thresholds)} IoU thresholds"
        )
    grid = grid_of(taus)
    columns: dict[str, list[npt.NDArray[Any]]] = {}
    for block in records.blocks():
        rows = np.arange(len(block))
        maps = block.channel(protocol.channel)
        level = grid.levels[maps.max_level, 0]
        hits = box_hits(block, protocol, grid)
        found = {name: getattr(block, name) for name in ("label", "predicted", "top1", "top5", "num_boxes")}
        found["hit"] = np.stack([hits[k][:, k] for k in range(len(taus))], axis=1)
        found["iou"] = maps.iou(protocol.contours, protocol.gt_boxes)[rows, level]
        found["box_xyxy"] = maps.largest_box[rows, level]
        for name, array in found.items():
            columns.setdefault(name, []).append(array)
    joined = {name: np.concatenate(pieces) for name, pieces in columns.items()}
    return PerImage(scored=joined["num_boxes"] > 0, **joined)


def means_of_images(
    values: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_], bootstrap: Bootstrap
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means in percent over the valid images, and in each bootstrap resample: [N, G] -> ([G], [G, B]).

    The resamples are those of `eval.metrics.summarize.summarize`. NaN where no image is valid.
    """
    starts = range(0, len(values), BLOCK)
    parts = [slice(start, min(start + BLOCK, len(values))) for start in starts]
    means = resampled_means(
        ((values[p].astype(np.float32), valid[p]) for p in parts),
        [p.stop - p.start for p in parts],
        bootstrap,
    )
    return means[0], means[1:].T


def group_sums(
    values: npt.NDArray[np.float32], groups: npt.NDArray[np.integer], count: int, bootstrap: Bootstrap
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums over the images of each group, of the whole set (row 0) and of each resample.

    Args:
        values: [N, R], a column a run.
        groups: each image's group, [N] in 0..count - 1; -1 for none.
        count: the number of groups G.

    Returns the sums of the values, [R, 1 + B, G], and the number of images drawn, [1 + B, G]. Each image is touched
    once whatever the number of groups. The resamples are those of `eval.metrics.summarize.summarize`.
    """
    parts = [slice(s, min(s + BLOCK, len(values))) for s in range(0, len(values), BLOCK)]
    totals = np.zeros((values.shape[1], 1 + bootstrap.resamples, count))
    drawn = np.zeros((1 + bootstrap.resamples, count))
    for part, weights in zip(parts, bootstrap.weights([p.stop - p.start for p in parts])):
        rows = np.argsort(groups[part], kind="stable")
        rows = rows[groups[part][rows] >= 0]
        if not len(rows):
            continue
        present, first = np.unique(groups[part][rows], return_index=True)
        sorted_weights = weights[:, rows]
        drawn[:, present] += np.add.reduceat(sorted_weights, first, axis=1)
        for total, value in zip(totals, values[part][rows].T):
            total[:, present] += np.add.reduceat(sorted_weights * value, first, axis=1)
    for total, value in zip(totals, values.T):  # the whole set in double precision
        total[0] = np.bincount(groups[groups >= 0], value[groups >= 0], minlength=count)
    return totals, drawn
