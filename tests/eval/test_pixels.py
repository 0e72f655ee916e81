"""PxAP and mask IoU."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.boxes.frames import resize_mask
from eval.metrics.outcomes import NotComputed
from eval.metrics.pixels import average_precision, finish_histograms, pooled_iou
from eval.protocols import PROTOCOLS
from eval.records.histograms import histogram_edges, score_histograms


def naive_pxap(
    scores: list[np.ndarray], masks: list[np.ndarray], ignores: list[np.ndarray], step: float
) -> float:
    """PxAP by the definition: np.histogram over the reference's edges, then the rectangle rule."""
    edges = np.append(np.arange(0, 1, step), [1.0, 2.0, 3.0])
    inside = sum(np.histogram(s[m], edges)[0] for s, m in zip(scores, masks))
    outside = sum(np.histogram(s[~m & ~g], edges)[0] for s, m, g in zip(scores, masks, ignores))
    tp, fp = inside[::-1].cumsum(), outside[::-1].cumsum()
    area, recall_before = 0.0, tp[0] / tp[-1]
    for t, f in list(zip(tp, fp))[1:]:
        recall = t / tp[-1]
        if t + f:
            area += t / (t + f) * (recall - recall_before)
        recall_before = recall
    return float(area * 100)


def test_by_hand() -> None:
    score = np.array([[1.0, 0.5], [0.5, 0.0]])
    mask = np.array([[True, True], [False, False]])
    inside, outside = score_histograms(score, mask, None, histogram_edges(0.5))
    assert inside.tolist() == [0, 1, 1, 0]  # bins [0, .5), [.5, 1), [1, 2), [2, 3]
    assert outside.tolist() == [1, 1, 0, 0]
    # from above: recall 0 -> 1/2 at precision 1, then 1/2 -> 1 at precision 2/3
    np.testing.assert_allclose(average_precision(inside, outside), 100 * (0.5 + 0.5 * 2 / 3))
    np.testing.assert_allclose(pooled_iou(inside, outside)[:3], [50, 200 / 3, 50])


def test_ignored_pixels_count_on_neither_side() -> None:
    score = np.array([[0.9, 0.9, 0.1]])
    mask = np.array([[True, False, False]])
    ignore = np.array([[False, True, False]])
    inside, outside = score_histograms(score, mask, ignore, histogram_edges(0.5))
    assert (inside.sum(), outside.sum()) == (1, 1)
    assert float(average_precision(inside, outside)) == 100.0


def test_without_any_object_pixel_it_is_undefined() -> None:
    inside, outside = score_histograms(np.array([[0.3]]), np.array([[False]]), None, histogram_edges(0.1))
    assert np.isnan(average_precision(inside, outside))


def test_what_has_no_number_is_not_computed() -> None:
    """NaN is no number of results.json."""
    empty = np.zeros(1002)
    for name in ("pxap", "mask_iou"):
        found = finish_histograms(PROTOCOLS[name], [empty[None]] * 2, 1, 1)
        assert isinstance(found, NotComputed)
        assert "no pixel of any mask" in found.reason


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.01, 0.1]))
def test_equals_the_definition(seed: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    # multiples of the step land on bin edges, where a rounding slip would show
    scores = [np.clip(np.round(rng.random((6, 7)), 3), 0, 1) for _ in range(3)]
    masks = [rng.random((6, 7)) < 0.4 for _ in range(3)]
    masks[0][0, 0] = True
    ignores = [rng.random((6, 7)) < 0.2 for _ in range(3)]
    edges = histogram_edges(step)
    pairs = [score_histograms(s, m, g, edges) for s, m, g in zip(scores, masks, ignores)]
    ours = average_precision(sum(p[0] for p in pairs).astype(float), sum(p[1] for p in pairs).astype(float))
    np.testing.assert_allclose(ours, naive_pxap(scores, masks, ignores, step), rtol=1e-12)


def test_masks_are_resized_by_opencvs_nearest_first() -> None:
    mask = (np.random.default_rng(0).random((37, 53)) < 0.5).astype(np.uint8) * 255
    expected = cv2.resize(mask, (224, 224), interpolation=cv2.INTER_NEAREST) > 0.5
    np.testing.assert_array_equal(resize_mask(mask, (224, 224)), expected)
    assert resize_mask(np.ones((4, 4), np.uint8), (2, 2)).all(), "any non-zero grey counts"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0.001, 0.003, 0.01, 0.07, 0.3, 0.5]), st.integers(0, 2**32 - 1))
def test_bins_equal_a_search_over_the_edges(step: float, seed: int) -> None:
    edges = histogram_edges(step)
    rng = np.random.default_rng(seed)
    on_edges = rng.choice(edges[:-2], 40)
    near = np.clip(np.concatenate([np.nextafter(on_edges, 0), on_edges, np.nextafter(on_edges, 1)]), 0, 1)
    scores = np.concatenate([near, rng.random(40), [0.0, 1.0]])[None]
    inside, _ = score_histograms(scores, np.ones(scores.shape, bool), None, edges)
    expected = np.bincount(np.searchsorted(edges, scores.ravel(), side="right") - 1, minlength=len(edges) - 1)
    np.testing.assert_array_equal(inside, expected)
