"""Curves summed by where they change, against the sums of whole curves."""

from __future__ import annotations

import numpy as np
import pytest

from eval.metrics.bootstrap import Bootstrap
from eval.metrics.curves import Curves, ThresholdGrid, box_hits
from eval.metrics.step_curves import changes_of, summed_changes
from eval.protocols import PROTOCOLS
from eval.records.block import RecordBlock, channel_array


def test_one_curve_by_hand() -> None:
    changes = changes_of(np.array([[True, True, False, True], [False, False, False, False]]))
    assert changes.toarray().tolist() == [[1, 0, -1, 1], [0, 0, 0, 0]]
    summed = summed_changes(changes, np.array([[1, 1], [3, 5]], np.float32))
    assert np.cumsum(summed, axis=0).T.tolist() == [[1, 1, 0, 1], [3, 3, 0, 3]]


@pytest.mark.parametrize("gate", ["maxboxacc_v2", "top1_loc"])
def test_equal_to_the_sums_of_whole_curves(gate: str) -> None:
    """Maps of every largest value, images without a box, curves that change at random: bit for bit."""
    rng = np.random.default_rng(0)
    n, p = 300, PROTOCOLS[gate]
    levels = rng.choice([0, 1, 7, 100, 254, 255], n).astype(np.uint8)
    arrays = {
        "num_boxes": rng.integers(0, 3, n).astype(np.int32),
        "top1": rng.integers(0, 2, n).astype(np.int8),
        channel_array(p.channel, "max_level"): levels,
        channel_array(p.channel, f"{p.contours}_any"): rng.random((n, 256)).astype(np.float32),
    }
    block = RecordBlock(arrays)
    grid = ThresholdGrid.build(p, levels.tolist())
    curves = Curves(grid, p, p.iou_thresholds, out_of_bag=True)
    (weights,) = Bootstrap(250, 4).weights([n])
    curves.add(block, weights)
    curves.add(block, weights)
    with_box = block.num_boxes > 0
    left = weights[1:201] == 0
    for iou, hit in zip(p.iou_thresholds, box_hits(block, p, grid)):
        whole = 2 * (weights.astype(np.float64) @ hit) * 100.0 / (2 * weights[:, with_box].sum(1))[:, None]
        np.testing.assert_array_equal(curves.percent(iou), whole)
        outside = 2 * (left.astype(np.float64) @ hit) * 100.0 / (2 * left[:, with_box].sum(1))[:, None]
        np.testing.assert_array_equal(curves.percent_outside(iou), outside)
