"""The box kernel against hand-made maps, then against OpenCV's contour search, for both of its paths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eval import component_tree
from eval.component_tree import LevelIoU, best_iou_per_level, best_iou_per_level_batch, boxes_at_level
from tests.contour_oracle import oracle_levels

KERNELS = ("hills", "union_find")
FIELDS = ("largest_any", "largest_first", "all_any", "all_first", "largest_box")


def score_with(kernel: component_tree.Kernel, score: np.ndarray, gt: np.ndarray) -> LevelIoU:
    offsets = np.array([0, len(gt)], np.int64)
    return component_tree._score_batch(score[None], gt.astype(np.float64), offsets, 1, kernel)[0]


def assert_equals_oracle(score: np.ndarray, gt: np.ndarray) -> None:
    expected = oracle_levels(score, gt)
    for kernel in KERNELS:
        record = score_with(kernel, score, gt)
        for name, value in expected.items():
            np.testing.assert_array_equal(getattr(record, name), value, err_msg=f"{kernel} {name}\n{score!r}")


@st.composite
def maps_and_boxes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    levels = draw(st.sampled_from([(0, 255), (0, 9), (0, 9, 10), (0, 1, 2, 254, 255), tuple(range(256))]))
    score = draw(hnp.arrays(np.uint8, (height, width), elements=st.sampled_from(levels)))
    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        x = sorted(draw(st.tuples(st.integers(0, width), st.integers(0, width))))
        y = sorted(draw(st.tuples(st.integers(0, height), st.integers(0, height))))
        boxes.append([x[0], y[0], x[1], y[1]])
    return score, np.array(boxes)


@settings(max_examples=150, deadline=None)
@given(maps_and_boxes())
def test_small_maps_equal_the_contour_search(case: tuple[np.ndarray, np.ndarray]) -> None:
    assert_equals_oracle(*case)
