"""Metric objects: the same numbers as the command, in any order of batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eval.maps.normalization import score_levels
from eval.metrics.objects import BoxAccuracy, MaxBoxAcc, MaxBoxAccV2, PixelMetric, PxAP
from eval.protocols import PROTOCOLS, protocol_named
from tests.eval.test_pixels import naive_pxap
from tests.helpers.contour_oracle import reference_loop
from tests.helpers.map_folders import smooth_maps


def boxes_of(rng: np.random.Generator, n: int, side: int) -> list[np.ndarray]:
    found = []
    for _ in range(n):
        low = rng.integers(0, side // 2, (int(rng.integers(1, 3)), 2))
        found.append(np.concatenate([low, low + rng.integers(3, side // 2, low.shape)], axis=1))
    return found


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    maps = smooth_maps(14, seed=3, side=48)
    maps[2] *= 0.4
    return maps, boxes_of(rng, 14, 48)


def test_equals_the_reference_loop(images: tuple[np.ndarray, list[np.ndarray]]) -> None:
    maps, boxes = images
    curves = [reference_loop(m, b, np.arange(0, 1, 0.001)) for m, b in zip(maps, boxes)]
    largest, every = (np.array([c[k] for c in curves]) for k in (0, 1))
    v1, v2 = MaxBoxAcc(resamples=0), MaxBoxAccV2(resamples=0)
    for part in (slice(0, 5), slice(5, 6), slice(6, 14)):
        v1.update(maps[part], boxes[part])
        v2.update(torch.from_numpy(maps[part]), boxes[part])
    np.testing.assert_allclose(v1.compute().value, (largest >= 0.5).mean(0).max() * 100, rtol=1e-12)
    expected = np.mean([(every >= d).mean(0).max() * 100 for d in (0.3, 0.5, 0.7)])
    np.testing.assert_allclose(v2.compute().value, expected, rtol=1e-12)


def test_merge_and_reset(images: tuple[np.ndarray, list[np.ndarray]]) -> None:
    maps, boxes = images
    whole, left, right = (MaxBoxAcc(resamples=50) for _ in range(3))
    whole.update(maps, boxes)
    left.update(maps[:6], boxes[:6])
    right.update(maps[6:], boxes[6:])
    left.merge(right)
    assert (left.compute().value, left.compute().ci95) == (whole.compute().value, whole.compute().ci95)
    left.reset()
    assert len(left) == 0
    with pytest.raises(ValueError, match="update"):
        left.compute()
    with pytest.raises(ValueError, match="cannot merge"):
        left.merge(MaxBoxAccV2())


def test_pxap_equals_its_definition() -> None:
    rng = np.random.default_rng(1)
    scores, masks, ignore = rng.random((5, 9, 8)), rng.random((5, 9, 8)) < 0.3, rng.random((5, 9, 8)) < 0.2
    metric = PxAP(resamples=20)
    metric.update(scores[:2], masks[:2], ignore[:2])
    metric.update(scores[2:], masks[2:].astype(np.uint8) * 255, ignore[2:])
    expected = naive_pxap(list(scores), list(masks), list(ignore & ~masks), 0.001)
    summary = metric.compute()
    np.testing.assert_allclose(summary.value, expected, rtol=1e-12)
    assert summary.ci95 is not None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: BoxAccuracy(PROTOCOLS["top1_loc"]), "needs more than"),
        (lambda: BoxAccuracy(protocol_named("maxboxacc_transferred")), "needs more than"),
        (lambda: BoxAccuracy(PROTOCOLS["cam2016"]), "needs raw maps"),
        (lambda: PixelMetric(protocol_named("pxap@max")), "needs raw maps"),
        (lambda: PixelMetric(PROTOCOLS["maxboxacc"]), "not one of masks"),
        (lambda: MaxBoxAcc().update(np.zeros((2, 4, 4)), [np.zeros((0, 4))]), "boxes of 1 images"),
        (lambda: MaxBoxAcc().update(np.zeros((4, 4)), []), r"\[n, H, W\]"),
        (lambda: MaxBoxAcc().update(np.full((1, 4, 4), 1.5), [np.zeros((0, 4))]), r"\[0, 1\]"),
        (lambda: PxAP().update(np.zeros((1, 4, 4)), np.zeros((1, 4, 5))), "differ in shape"),
    ],
)
def test_misuse_is_refused(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]


def test_images_without_boxes_cannot_be_scored() -> None:
    metric = MaxBoxAcc(resamples=0)
    metric.update(np.zeros((1, 4, 4)), [np.zeros((0, 4))])
    with pytest.raises(ValueError, match="no image has a ground-truth box"):
        metric.compute()


def test_a_batch_without_images_changes_nothing() -> None:
    """Such as the last share of a process that has none left."""
    none, one = np.zeros((0, 8, 8)), np.zeros((1, 8, 8))
    one[0, 2:6, 2:6] = 1
    boxes, masks = MaxBoxAcc(resamples=0), PxAP(resamples=0)
    boxes.update(none, [])
    masks.update(none, none)
    assert (len(boxes), len(masks)) == (0, 0)
    boxes.update(one, [np.array([[2, 2, 6, 6]])])
    masks.update(one, one)
    assert (boxes.compute().value, masks.compute().value) == (100.0, 100.0)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([0.25, 0.25, 0.75, 0.75], id="in [0, 1]"),
        pytest.param([125, 94, 375, 281], id="in pixels of the image"),
        pytest.param([float("nan"), 56, 168, 168], id="NaN"),
        pytest.param([-56, -56, 168, 168], id="negative"),
        pytest.param([168, 56, 56, 168], id="turned around"),
        pytest.param([56.5, 56, 168, 168], id="fractional"),
    ],
)
def test_boxes_that_are_none_of_the_frame_are_refused(box: list[float]) -> None:
    """They gave 0.00 without a word, or were truncated."""
    metric = MaxBoxAcc(resamples=0)
    with pytest.raises(ValueError, match=r"image 1 of the batch: box .* whole pixels of the 224 x 224 frame"):
        metric.update(np.zeros((2, 224, 224)), [[[0, 0, 224, 224]], [box]])
    assert len(metric) == 0


def test_without_resamples_memory_does_not_grow_and_the_number_is_the_same(
    images: tuple[np.ndarray, list[np.ndarray]],
) -> None:
    """4 KB an image were kept to be summed up once."""
    maps, boxes = images
    for protocol in (PROTOCOLS["maxboxacc"], PROTOCOLS["maxboxacc_v2"], PROTOCOLS["gt_known_fixed"]):
        counts, records = BoxAccuracy(protocol, resamples=0), BoxAccuracy(protocol, resamples=2)
        for part in (slice(0, 9), slice(9, 14)):
            other = BoxAccuracy(protocol, resamples=0)
            other.update(maps[part], [*boxes[part][:-1], []])
            counts.merge(other)
            records.update(maps[part], [*boxes[part][:-1], []])
        a, b = counts.compute(), records.compute()
        assert (a.value, a.per_iou, a.thresholds, a.ties) == (b.value, b.per_iou, b.thresholds, b.ties)
        assert (a.num_scored, a.ci95) == (12, None)
        assert not counts._batches


def test_raw_maps_are_normalised_as_the_protocol_says(images: tuple[np.ndarray, list[np.ndarray]]) -> None:
    maps, boxes = images
    for name in ("maxboxacc", "maxboxacc@max", "maxboxacc@pas", "maxboxacc@ivr", "cam2016"):
        protocol = protocol_named(name)
        raw, ready = (BoxAccuracy(protocol, values="raw", resamples=0) for _ in range(2))
        raw.update(7 * maps - 3, boxes)
        levels, _ = score_levels(7 * maps - 3, protocol.normalization, protocol.normalization_fraction)
        ready.update(levels, boxes)
        assert raw.compute().value == ready.compute().value
