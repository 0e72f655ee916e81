"""Every habit of the reference protocol, by hand: what its integers are, and where our own coordinate rule
differs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.boxes.geometry import (
    contour_boxes,
    empty_prediction,
    inclusive_iou,
    rescaled,
)
from wsol.errors import UserError


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        pytest.param([3, 4, 4, 5], [3, 4, 4, 5], 1.0, id="2 x 2 pixels with themselves"),
        pytest.param([0, 0, 224, 224], [0, 0, 112, 224], 113 / 225, id="full image with its left half"),
        pytest.param([0, 0, 1, 1], [1, 0, 2, 1], 2 / 6, id="neighbours overlap"),
        pytest.param([0, 0, 2, 2], [5, 5, 9, 9], 0.0, id="apart"),
        pytest.param([0, 0, 9, 9], [2, 3, 5, 5], 12 / 100, id="inside"),
        pytest.param([7, 7, 7, 7], [7, 7, 7, 7], 1.0, id="zero extent is a pixel"),
    ],
)
def test_iou_by_hand(a: list[int], b: list[int], iou: float) -> None:
    assert inclusive_iou([a], [b]).item() == iou
    assert inclusive_iou([b], [a]).item() == iou


def test_iou_refuses_a_box_that_is_turned_around() -> None:
    with pytest.raises(ValueError, match="`boxes_a` holds a box with x1 < x0 or y1 < y0"):
        inclusive_iou([[5, 0, 2, 4]], [[0, 0, 4, 4]])


def test_iou_is_pairwise() -> None:
    a = np.array([[0, 0, 4, 4], [1, 1, 3, 2], [6, 0, 9, 3]])
    b = np.array([[0, 0, 2, 2], [2, 0, 8, 4]])
    assert inclusive_iou(a, b).shape == (3, 2)
    assert inclusive_iou(a, b).tolist() == [[inclusive_iou([x], [y]).item() for y in b] for x in a]


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (2, 0)])
def test_iou_without_boxes_has_an_empty_axis(n: int, m: int) -> None:
    assert inclusive_iou(np.ones((n, 4)), np.ones((m, 4))).shape == (n, m)


def test_iou_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"`boxes_b` must have shape \[N, 4\], got \[4\]"):
        inclusive_iou([[0, 0, 1, 1]], [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("box", "size_wh", "expected"),
    [
        pytest.param([0, 0, 500, 375], (500, 375), [0, 0, 224, 224], id="full image ends at 224"),
        pytest.param([60, 27, 385, 331], (500, 335), [26, 18, 172, 221], id="truncated, not rounded"),
        pytest.param([1, 1, 1, 1], (224, 224), [1, 1, 1, 1], id="identity, one pixel"),
        pytest.param([5, 2, 5, 9], (10, 10), [112, 44, 112, 201], id="zero width is kept"),
    ],
)
def test_rescale_by_hand(box: list[int], size_wh: tuple[int, int], expected: list[int]) -> None:
    assert np.trunc(rescaled([box], size_wh, (224, 224), "x.jpg")).tolist() == [expected]


def test_rescale_multiplies_before_it_divides() -> None:
    """The quotient 224 / w is inexact, so the other order loses one now and then: here at exact multiples."""
    w, x = next(
        (w, x) for w in range(1, 600) for x in range(w + 1) if int((x * 224) / w) != int(x * (224 / w))
    )
    assert (x * 224) % w == 0
    assert rescaled([[x, 0, x, 0]], (w, 10), (224, 224), "x")[0, 0] == x * 224 // w


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1000), st.data())
def test_rescale_is_the_scalar_formula(w: int, h: int, frame: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, w)), data.draw(st.integers(0, h))
    expected = [int((x * frame) / w), int((y * 224) / h)]
    assert np.trunc(rescaled([[x, y, x, y]], (w, h), (frame, 224), "x")).tolist() == [expected * 2]


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([-1, 0, 5, 5], id="negative"),
        pytest.param([5, 0, 4, 5], id="x1 < x0"),
        pytest.param([0, 5, 4, 4], id="y1 < y0"),
        pytest.param([0, 0, float("nan"), 4], id="nan"),
        pytest.param([0, 0, float("inf"), 4], id="infinite"),
    ],
)
def test_rescale_refuses_with_the_image_id(box: list[float]) -> None:
    with pytest.raises(UserError, match=r"image 'birds/7.jpg': ground-truth box .* expected 0 <= x0 <= x1"):
        rescaled([[0, 0, 1, 1], box], (10, 10), (224, 224), "birds/7.jpg")


def test_rescale_without_boxes_and_without_size() -> None:
    assert rescaled([], (10, 10), (224, 224), "x").shape == (0, 4)
    with pytest.raises(ValueError, match="sizes must be positive"):
        rescaled([[0, 0, 1, 1]], (0, 10), (224, 224), "x")


@pytest.mark.parametrize(
    ("rect", "expected"),
    [
        pytest.param([3, 1, 2, 4], [3, 1, 5, 5], id="exclusive end"),
        pytest.param([3, 4, 1, 1], [3, 4, 4, 5], id="one pixel"),
        pytest.param([9, 7, 1, 1], [9, 7, 9, 7], id="one pixel in the last corner"),
        pytest.param([0, 0, 10, 8], [0, 0, 9, 7], id="full frame, clamped"),
    ],
)
def test_contour_box_end(rect: list[int], expected: list[int]) -> None:
    assert contour_boxes([rect], (10, 8)).tolist() == [expected]


def test_quirk_a_20_by_10_region_counts_as_21_by_11() -> None:
    predicted = contour_boxes([[30, 10, 20, 10]], (224, 224))
    assert inclusive_iou(predicted, [[30, 10, 49, 19]]).item() == 200 / 231


def test_empty_prediction_is_one_pixel_not_nothing() -> None:
    assert empty_prediction().tolist() == [[0, 0, 0, 0]]
    assert inclusive_iou(empty_prediction(), [[0, 0, 9, 9]]).item() == 0.01
