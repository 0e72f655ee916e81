"""How far, and to which side, predicted boxes lie from the objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.boxes.frames import split_boxes
from eval.maps.normalization import MapStatus
from eval.metrics.bootstrap import Bootstrap, resampled_means
from eval.metrics.outcomes import Outcome, Summary
from eval.protocols import Protocol
from eval.records.store import Records
from eval.statistics.law import Law

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split

PROTOCOLS_SHOWN = ("maxboxacc", "maxboxacc@aligned")
_FINE = MapStatus.RESIZED | MapStatus.CLIPPED


def displacements(
    records: Records, split: Split, outcomes: Mapping[str, Outcome], bootstrap: Bootstrap
) -> dict[str, Any]:
    """The entry `displacement` of results.json: by protocol the mean of predicted minus true box centre.

    In pixels of the frame, `dx` to the right and `dy` down, each with value and ci95, at the threshold that the
    protocol was scored at. Images with exactly one true box and a map that could be scored; `num_images` counts them.
    Empty where neither protocol of `PROTOCOLS_SHOWN` was scored, or no image is like that.
    """
    found = {}
    for name in PROTOCOLS_SHOWN:
        outcome = outcomes.get(name)
        if isinstance(outcome, Summary):
            entry = _displacement(records, split, outcome.protocol, outcome.thresholds[0], bootstrap)
            if entry:
                found[name] = entry
    return found


def _displacement(
    records: Records, split: Split, protocol: Protocol, tau: float, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    counted = 0

    def blocks() -> Iterator[tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]]:
        nonlocal counted
        for number, block in enumerate(records.blocks()):
            rows = np.asarray(records.index.block_range(number))
            held = block.channel(protocol.channel)
            single = (block.num_boxes == 1) & ((held.status & ~np.uint8(_FINE)) == 0)
            counted += int(single.sum())
            levels = (tau * held.max_level.astype(np.float64)).astype(np.uint8)
            boxes = held.largest_box[np.arange(len(rows)), levels].astype(np.float64)  # [n, 4]
            truth = np.zeros((len(rows), 4))
            truth[single], _ = split_boxes(split, rows[single], records.index.frame(protocol.channel))
            yield _centers(boxes) - _centers(truth), np.repeat(single[:, None], 2, 1)

    means = resampled_means(blocks(), records.index.block_sizes, bootstrap) / 100  # [1 + B, 2]
    if not counted:
        return None
    entry: dict[str, Any] = {"frame_size": protocol.frame_size, "num_images": counted}
    varies = bootstrap.resamples > 0 and counted > 1
    for i, name in enumerate(("dx", "dy")):
        value = float(means[0, i])
        spread = Law(value, float(np.nanvar(means[1:, i])), counted - 1).interval() if varies else None
        entry[name] = {"value": value, "ci95": list(spread) if spread else None}
    return entry


def _centers(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(x, y) of the centres of boxes [n, 4]."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2
